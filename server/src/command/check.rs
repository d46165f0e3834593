//! What does not fit together, although each setting alone is right.

use std::path::Path;

use super::load::Loaded;
use super::origin::{Origin, SettingsError};
use super::settings::{ClientCerts, Settings};
use super::table;
use crate::protocol;
use crate::worker::WorkerClass;

/// Adds what keeps the server from running.
pub(crate) fn faults(settings: &Settings, origins: &[Origin], faults: &mut Vec<String>) {
    let from = |name: &str| origin(origins, name);
    if settings.bind.is_empty() {
        faults.push(format!(
            "bind ({}) names no address; give one, such as 127.0.0.1:8000",
            from("bind")
        ));
    }
    if let Some(shared) = settings
        .admin_bind
        .iter()
        .find(|address| settings.bind.contains(address) && !takes_any_port(address))
    {
        faults.push(format!(
            "admin_bind ({}) and bind ({}) both name {shared}; give the admin application another address",
            from("admin-bind"),
            from("bind"),
        ));
    }
    tls(settings, origins, faults);
    if let Some(directory) = &settings.process.chdir
        && !directory.is_dir()
    {
        faults.push(format!(
            "chdir ({}) names '{}', which is no directory; create it or give another",
            from("chdir"),
            directory.display()
        ));
    }
}

fn takes_any_port(address: &super::bind::Bind) -> bool {
    matches!(address, super::bind::Bind::Tcp { port: 0, .. })
}

fn tls(settings: &Settings, origins: &[Origin], faults: &mut Vec<String>) {
    let from = |name: &str| origin(origins, name);
    let tls = &settings.tls;
    let (certificates, keys) = (tls.certfile.len(), tls.keyfile.len());
    if keys > 0 && keys != certificates {
        faults.push(format!(
            "keyfile ({}) names {keys} and certfile ({}) names {certificates}; give one key for each certificate, in the same \
             order, or none if each stands in its certificate's file",
            from("keyfile"),
            from("certfile"),
        ));
    }
    if tls.client_certs != ClientCerts::None {
        let name = tls.client_certs.name();
        if tls.ca_certs.is_none() {
            faults.push(format!(
                "client_certs ({}) is {name}, and nobody's certificates are accepted; name their authorities with ca_certs",
                from("client-certs")
            ));
        }
        if !tls.is_on() {
            faults.push(format!(
                "client_certs ({}) is {name}, and the server has no certificate of its own; name one with certfile",
                from("client-certs")
            ));
        }
    }
    if tls.is_on() && !cfg!(feature = "tls") {
        faults.push(format!(
            "certfile ({}) needs TLS, which this program was built without; build greenpatch-server with its feature tls",
            from("certfile")
        ));
    }
}

/// Whether the files that settings name can be used. Relative paths count from where the server goes.
pub(crate) fn files(loaded: &Loaded, directory: &Path) -> Result<(), SettingsError> {
    let settings = &loaded.settings;
    let directory = settings.process.chdir.as_deref().unwrap_or(directory);
    protocol::check_files(&settings.tls, directory).map_err(|error| SettingsError {
        faults: vec![error.to_string()],
    })
}

/// What changes nothing although it was set, or is risky.
pub(crate) fn warnings(settings: &Settings, origins: &[Origin]) -> Vec<String> {
    let mut warnings = Vec::new();
    let class = settings.effective_class();
    let is_set = |name: &str| *origin(origins, name) != Origin::Default;
    let mut idle = |name: &str, reason: &str| {
        if is_set(name) {
            let from = origin(origins, name);
            warnings.push(format!(
                "{} ({from}) changes nothing: {reason}",
                name.replace('-', "_")
            ));
        }
    };
    if class != WorkerClass::Gthread && settings.threads.get() > 1 {
        idle(
            "threads",
            &format!("worker class {class} has no pool of threads; use -k gthread with it"),
        );
    }
    if class != WorkerClass::Green {
        idle(
            "green-workers",
            &format!(
                "worker class {class} runs no handlers on green threads; use -k green with it"
            ),
        );
    }
    if class == WorkerClass::Gthread {
        idle(
            "patch",
            "worker class gthread runs handlers on OS threads; use -k green or -k sync with it",
        );
    }
    if settings.tls.client_certs == ClientCerts::None {
        idle(
            "ca-certs",
            "no client is asked for a certificate; set client_certs to optional or required",
        );
    }
    if settings.recycling.max_requests.is_none() && settings.recycling.max_requests_jitter > 0 {
        idle("max-requests-jitter", "max_requests is not set");
    }
    if !settings.process.reload && !settings.process.reload_extra_files.is_empty() {
        idle("reload-extra-file", "reload is not set");
    }
    if class == WorkerClass::Sync
        && settings.timeouts.request.is_some()
        && settings.effective_patch().is_empty()
    {
        let from = origin(origins, "request-timeout");
        warnings.push(format!(
            "request_timeout ({from}) cuts no handler off that blocks: in worker class sync nobody else can look at the time; \
             use -k green or -k gthread for it"
        ));
    }
    warnings
}

fn origin<'a>(origins: &'a [Origin], name: &str) -> &'a Origin {
    table::find(name).map_or(&Origin::Default, |index| &origins[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> Vec<String> {
        match Settings::from_toml(text, "a.toml") {
            Ok(_) => Vec::new(),
            Err(error) => error.faults().map(str::to_owned).collect(),
        }
    }

    fn fault_of(text: &str) -> String {
        let faults = faults_of(text);
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].clone()
    }

    #[test]
    fn a_server_without_an_address_is_refused() {
        assert!(fault_of("bind = []").starts_with("bind (a.toml:1) names no address"));
    }

    #[test]
    fn the_admin_application_has_its_own_address() {
        let fault = fault_of("bind = ':80'\nadmin_bind = ':80'");
        assert!(fault.starts_with("admin_bind (a.toml:2) and bind (a.toml:1) both name :80"));
        assert!(faults_of("bind = ':0'\nadmin_bind = ':0'").is_empty());
    }

    #[test]
    #[cfg(feature = "tls")]
    fn each_certificate_has_a_key_or_none_has() {
        assert!(faults_of("certfile = ['a', 'b']\nkeyfile = ['c', 'd']").is_empty());
        assert!(faults_of("certfile = ['a', 'b']").is_empty());
        let fault = fault_of("certfile = ['a', 'b']\nkeyfile = 'c'");
        assert!(fault.starts_with("keyfile (a.toml:2) names 1 and certfile (a.toml:1) names 2"));
        assert!(fault_of("keyfile = 'c'").contains("certfile (default) names 0"));
    }

    #[test]
    fn client_certificates_need_authorities_and_tls() {
        let faults = faults_of("client_certs = 'required'");
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("ca_certs") && faults[1].contains("certfile"));
    }

    #[test]
    fn a_class_that_cannot_keep_the_time_of_handlers_says_so() {
        let warnings = |text: &str| {
            let settings = Settings::from_toml(text, "a.toml").expect("it is right");
            super::warnings(&settings, &vec![Origin::Default; table::TABLE.len()])
        };
        let [warning] = &warnings("request_timeout = 5")[..] else {
            panic!("one is expected");
        };
        assert!(warning.starts_with("request_timeout (default) cuts no handler off that blocks"));
        for class in ["green", "gthread", "async"] {
            let text = format!("request_timeout = 5\nworker_class = '{class}'");
            assert_eq!(warnings(&text), [""; 0], "{class}");
        }
        let patched = "request_timeout = 5\npatch = 'all'";
        assert_eq!(warnings(patched), [""; 0]);
    }

    #[test]
    fn the_directory_must_be_there() {
        let fault = fault_of("chdir = '/nonexistent'");
        assert!(
            fault.starts_with("chdir (a.toml:1) names '/nonexistent'"),
            "{fault}"
        );
    }
}
