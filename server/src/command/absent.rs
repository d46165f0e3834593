//! Names that are no settings: what their writer may have meant.

use super::table::{self, TABLE};

/// gunicorn's settings that have no counterpart here, and what to do instead.
pub(crate) const ABSENT: &[(&str, &str)] = &[
    (
        "preload",
        "each worker starts the program itself, which takes milliseconds; leave it out",
    ),
    (
        "preload-app",
        "each worker starts the program itself, which takes milliseconds; leave it out",
    ),
    (
        "daemon",
        "let systemd or another supervisor keep the server in the background",
    ),
    ("env", "set the variable before the server is started"),
    ("raw-env", "set the variable before the server is started"),
    ("pythonpath", "there is no Python here; leave it out"),
    ("paste", "there is no Python here; leave it out"),
    (
        "wsgi-app",
        "the application is the program itself; leave it out",
    ),
    (
        "spew",
        "a worker's green threads are shown at /threads of --admin-bind",
    ),
    (
        "worker-tmp-dir",
        "workers give signs of life over a socket, not through a file; leave it out",
    ),
    (
        "tmp-upload-dir",
        "content is not kept in files; leave it out",
    ),
    (
        "initgroups",
        "--user takes the user's further groups along; leave it out",
    ),
    (
        "reuse-port",
        "the workers share the master's sockets; leave it out",
    ),
    (
        "sendfile",
        "the application files chooses how it sends; leave it out",
    ),
    (
        "no-sendfile",
        "the application files chooses how it sends; leave it out",
    ),
    (
        "capture-output",
        "let the supervisor collect standard output",
    ),
    (
        "logger-class",
        "an application logs with the crate tracing, whose events are in the server's log",
    ),
    (
        "log-config",
        "use --log-level, --log-format and --error-logfile",
    ),
    (
        "log-config-dict",
        "use --log-level, --log-format and --error-logfile",
    ),
    (
        "log-config-json",
        "use --log-level, --log-format and --error-logfile",
    ),
    (
        "disable-redirect-access-to-syslog",
        "access lines never go to syslog; leave it out",
    ),
    (
        "log-syslog",
        "let the supervisor's journal collect standard error",
    ),
    (
        "log-syslog-to",
        "let the supervisor's journal collect standard error",
    ),
    (
        "log-syslog-facility",
        "let the supervisor's journal collect standard error",
    ),
    (
        "log-syslog-prefix",
        "let the supervisor's journal collect standard error",
    ),
    (
        "enable-stdio-inheritance",
        "standard output is inherited; leave it out",
    ),
    (
        "statsd-host",
        "metrics are at /metrics of --admin-bind, for Prometheus",
    ),
    (
        "statsd-prefix",
        "metrics are at /metrics of --admin-bind, for Prometheus",
    ),
    (
        "dogstatsd-tags",
        "metrics are at /metrics of --admin-bind, for Prometheus",
    ),
    (
        "secure-scheme-headers",
        "X-Forwarded-Proto and Forwarded are known; --forwarded-allow-ips says whose are believed",
    ),
    (
        "forwarder-headers",
        "X-Forwarded-For and its kin are known; --forwarded-allow-ips says whose are believed",
    ),
    (
        "header-map",
        "a field's name reaches the application as it came; leave it out",
    ),
    (
        "strip-header-spaces",
        "a space before a field's colon is always refused; leave it out",
    ),
    (
        "permit-unconventional-http-method",
        "every method that HTTP allows is let through; leave it out",
    ),
    (
        "permit-unconventional-http-version",
        "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken; leave it out",
    ),
    (
        "permit-obsolete-folding",
        "folded fields are always refused; leave it out",
    ),
    (
        "casefold-http-method",
        "methods are taken as they come; leave it out",
    ),
    ("ssl-version", "TLS 1.2 and 1.3 are spoken; leave it out"),
    ("cert-reqs", "use --client-certs none, optional or required"),
    (
        "do-handshake-on-connect",
        "a handshake holds nobody up; leave it out",
    ),
    ("suppress-ragged-eofs", "leave it out"),
    (
        "ciphers",
        "the ciphers are rustls's safe ones; leave it out",
    ),
    (
        "reload-engine",
        "the kernel tells of changes; use --reload alone",
    ),
];

/// What to write instead of a name that is no setting.
pub(crate) fn remedy(name: &str) -> String {
    let name = name.trim_start_matches('-').replace('_', "-");
    if let Some((_, remedy)) = ABSENT.iter().find(|(absent, _)| *absent == name) {
        return format!("it is gunicorn's: {remedy}");
    }
    match nearest(&name) {
        Some(near) => format!("did you mean {}?", near.replace('-', "_")),
        None => "see --help for those that there are".to_owned(),
    }
}

/// The setting whose name, or alias, is most like this one.
fn nearest(name: &str) -> Option<&'static str> {
    /// Below, two names have little more in common than letters.
    const LIKE: f64 = 0.8;
    let names = TABLE.iter().flat_map(|setting| {
        [setting.name]
            .into_iter()
            .chain(setting.aliases.iter().copied())
    });
    let likeness = names.map(|candidate| (strsim::jaro_winkler(candidate, name), candidate));
    let (likeness, near) = likeness.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (likeness > LIKE).then(|| table::find(near).map_or(near, |index| TABLE[index].name))
}

/// The setting's variable that a variable of nobody's is a slip of.
pub(crate) fn slip(variable: &str) -> Option<String> {
    /// Two letters swapped, left out or wrong.
    const SLIPS: usize = 2;
    let variables = TABLE.iter().map(|setting| setting.variable());
    let distances =
        variables.map(|candidate| (strsim::damerau_levenshtein(&candidate, variable), candidate));
    let (distance, near) = distances.min()?;
    (distance <= SLIPS).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_leads_to_the_nearest_setting() {
        assert_eq!(remedy("wrokers"), "did you mean workers?");
        assert_eq!(remedy("worker_clas"), "did you mean worker_class?");
        assert_eq!(
            remedy("limit_request_lines"),
            "did you mean limit_request_line?"
        );
        assert_eq!(remedy("pid_file"), "did you mean pid?");
        assert_eq!(remedy("colour"), "see --help for those that there are");
        assert_eq!(
            slip("GREENPATCH_WROKERS").as_deref(),
            Some("GREENPATCH_WORKERS")
        );
        assert_eq!(slip("GREENPATCH_REPORT"), None);
    }

    #[test]
    fn what_gunicorn_alone_has_is_explained() {
        assert!(remedy("preload_app").starts_with("it is gunicorn's: each worker"));
        assert!(remedy("--daemon").starts_with("it is gunicorn's: let systemd"));
        for (name, _) in ABSENT {
            assert_eq!(table::find(name), None, "{name} is a setting");
        }
    }
}
