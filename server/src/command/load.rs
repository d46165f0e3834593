//! From what was given to settings: one layer over the other, each value read, all of it checked together.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::absent;
use super::check;
use super::file;
use super::kinds::Form;
use super::origin::{Given, Origin, SettingsError};
use super::settings::Settings;
use super::show;
use super::table::TABLE;

/// Settings, and where each comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The origin of each row of the table.
    pub(crate) origins: Vec<Origin>,
    /// What is not wrong and yet should be said.
    pub(crate) warnings: Vec<String>,
}

impl Loaded {
    /// As [`Settings::from_toml`].
    pub(crate) fn from_toml(text: &str, path: &Path) -> Result<Loaded, SettingsError> {
        let mut faults = Vec::new();
        let given = file::parse(text, path, &mut faults);
        resolve(given, Path::new(""), faults)
    }

    /// The settings as a file that sets them all again, each with its origin: what `--print-config` prints.
    pub fn to_toml(&self) -> String {
        show::toml(self)
    }

    /// Where the value of a setting comes from; `None` if there is no setting of that name.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        super::table::find(name).map(|index| &self.origins[index])
    }

    /// What should be looked at although the server can run with it.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Settings {
    /// Reads settings from the text of a settings' file; `path` names it in errors.
    ///
    /// # Errors
    /// Names every fault with its line, and what to write instead.
    ///
    /// ```
    /// use greenpatch_server::{Settings, WorkerClass};
    ///
    /// let settings = Settings::from_toml("worker_class = 'green'\nworkers = 4", "app.toml")?;
    /// assert_eq!(settings.worker_class, WorkerClass::Green);
    ///
    /// let error = Settings::from_toml("wrokers = 4", "app.toml").unwrap_err();
    /// assert_eq!(error.to_string(), "app.toml:1: wrokers is no setting; did you mean workers?");
    /// # Ok::<(), greenpatch_server::SettingsError>(())
    /// ```
    pub fn from_toml(text: &str, path: impl AsRef<Path>) -> Result<Settings, SettingsError> {
        Ok(Loaded::from_toml(text, path.as_ref())?.settings)
    }
}

/// The texts of a list with commas.
pub(crate) fn split_list(list: &str) -> Vec<String> {
    let words = list.split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The variables that concern a server.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    variables: BTreeMap<String, OsString>,
}

/// The variable of further options.
pub(crate) const COMMAND_ARGUMENTS: &str = "GREENPATCH_CMD_ARGS";

/// The variable that names the settings' file.
pub(crate) const CONFIG: &str = "GREENPATCH_CONFIG";

impl Environment {
    /// Those among `variables`.
    pub(crate) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        let variables = variables.into_iter();
        let named = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let ours = |name: &str| {
            let followed = |setting: &super::table::Setting| {
                setting
                    .fallback
                    .is_some_and(|fallback| fallback.variable == name)
            };
            name.starts_with("GREENPATCH_") || TABLE.iter().any(followed)
        };
        Environment {
            variables: named.filter(|(name, _)| ours(name)).collect(),
        }
    }

    /// A variable's value; text that is no UTF-8 is a fault.
    pub(crate) fn get(&self, variable: &str, faults: &mut Vec<String>) -> Option<String> {
        let value = self.variables.get(variable)?;
        let text = value.to_str();
        if text.is_none() {
            faults.push(format!(
                "{variable}={value:?} in the environment: this is no UTF-8 text; write it as such"
            ));
        }
        text.map(str::to_owned)
    }

    /// What the variables of other programs set.
    pub(crate) fn fallbacks(&self, faults: &mut Vec<String>) -> Vec<Given> {
        let rows = TABLE.iter().enumerate();
        let set = rows.filter_map(|(index, setting)| {
            let fallback = setting.fallback?;
            let value = self.get(fallback.variable, faults)?;
            let text = format!("{}{}", fallback.prefix, value);
            self.given(
                index,
                fallback.variable,
                text,
                Origin::Fallback(fallback.variable),
            )
        });
        set.collect()
    }

    /// What the settings' own variables set.
    pub(crate) fn own(&self, faults: &mut Vec<String>) -> Vec<Given> {
        let rows = TABLE.iter().enumerate();
        let set = rows.filter_map(|(index, setting)| {
            let variable = setting.variable();
            let value = self.get(&variable, faults)?;
            let origin = Origin::Environment(variable.clone());
            self.given(index, &variable, value, origin)
        });
        set.collect()
    }

    fn given(
        &self,
        setting: usize,
        variable: &str,
        value: String,
        origin: Origin,
    ) -> Option<Given> {
        let texts = match TABLE[setting].form {
            Form::Several => split_list(&value),
            // An empty list is a list; of other settings an empty variable sets nothing, as in files for containers.
            Form::Joined => vec![value],
            Form::One | Form::Optional(_) if value.is_empty() => return None,
            Form::One | Form::Optional(_) => vec![value],
        };
        (!texts.is_empty()).then(|| Given {
            setting,
            written: variable.to_owned(),
            texts,
            origin,
        })
    }

    /// Variables that look like a slip of a setting's.
    pub(crate) fn slips(&self) -> Vec<String> {
        /// Of the runtime and of `greenpatch run`.
        const KNOWN: [&str; 12] = [
            "GREENPATCH_ATTACH",
            "GREENPATCH_CHILDREN",
            "GREENPATCH_COMPENSATION",
            "GREENPATCH_DEADLOCK",
            "GREENPATCH_DUMP_SIGNAL",
            "GREENPATCH_LIBRARY",
            "GREENPATCH_MAX_BLOCKING_TIME",
            "GREENPATCH_MAX_SPARE_WORKERS",
            "GREENPATCH_ON_DROP",
            "GREENPATCH_REPORT",
            COMMAND_ARGUMENTS,
            CONFIG,
        ];
        let own: Vec<String> = TABLE.iter().map(|setting| setting.variable()).collect();
        let names = self.variables.keys();
        let strange = names.filter(|name| {
            name.starts_with("GREENPATCH_")
                && !KNOWN.contains(&name.as_str())
                && !own.contains(name)
        });
        let slips = strange.filter_map(|name| {
            let meant = absent::slip(name)?;
            Some(format!(
                "the environment variable {name} sets nothing; did you mean {meant}?"
            ))
        });
        slips.collect()
    }
}

/// Everything that was given, layer by layer: later ones win.
pub(crate) struct Layers {
    /// Options on the command line.
    pub(crate) options: Vec<Given>,
    /// Options in `GREENPATCH_CMD_ARGS`.
    pub(crate) arguments: Vec<Given>,
    /// The file, if one is named.
    pub(crate) file: Option<PathBuf>,
}

/// Reads the file and the environment, and puts the options over them.
pub(crate) fn load(
    layers: Layers,
    environment: &Environment,
    directory: &Path,
    mut faults: Vec<String>,
) -> Result<Loaded, SettingsError> {
    let mut given = environment.fallbacks(&mut faults);
    let path = layers.file.or_else(|| {
        let default = Path::new(file::DEFAULT_FILE);
        directory.join(default).exists().then(|| default.to_owned())
    });
    if let Some(path) = path {
        given.extend(file::read(directory, &path, &mut faults));
    }
    given.extend(environment.own(&mut faults));
    given.extend(layers.arguments);
    given.extend(layers.options);
    let mut loaded = resolve(given, directory, faults)?;
    loaded.warnings.extend(environment.slips());
    Ok(loaded)
}

/// Reads every value, also those that are overridden: a fault in a file is one even if an option hides it today.
fn resolve(
    given: Vec<Given>,
    directory: &Path,
    mut faults: Vec<String>,
) -> Result<Loaded, SettingsError> {
    let mut settings = Settings::default();
    let mut origins = vec![Origin::Default; TABLE.len()];
    for given in given {
        let setting = &TABLE[given.setting];
        let texts: Vec<&str> = given.texts.iter().map(String::as_str).collect();
        match (setting.read)(&mut settings, &texts) {
            Ok(()) => origins[given.setting] = given.origin,
            Err(refusal) => {
                let place = given.place(refusal.text);
                faults.push(format!("{place}: {}", refusal.remedy));
            }
        }
    }
    // The directory is gone to once, and then no longer where it was.
    if let Some(chdir) = &mut settings.process.chdir {
        *chdir = directory.join(&*chdir);
    }
    // What does not fit together is only known when each part is.
    if faults.is_empty() {
        check::faults(&settings, &origins, &mut faults);
    }
    if !faults.is_empty() {
        return Err(SettingsError { faults });
    }
    let warnings = check::warnings(&settings, &origins);
    Ok(Loaded {
        settings,
        origins,
        warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::WorkerClass;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter();
        Environment::new(variables.map(|(name, value)| ((*name).into(), (*value).into())))
    }

    fn layers() -> Layers {
        Layers {
            options: Vec::new(),
            arguments: Vec::new(),
            file: None,
        }
    }

    fn load_from(variables: &[(&str, &str)]) -> Result<Loaded, SettingsError> {
        let nowhere = Path::new("/nonexistent");
        load(layers(), &environment(variables), nowhere, Vec::new())
    }

    #[test]
    fn nothing_given_gives_the_defaults() {
        let loaded = load_from(&[]).expect("the defaults");
        assert_eq!(loaded.settings, Settings::default());
        assert_eq!(loaded.origin("workers"), Some(&Origin::Default));
        assert_eq!(loaded.origin("wrokers"), None);
    }

    #[test]
    fn variables_of_other_programs_yield_to_ours() {
        let loaded = load_from(&[("WEB_CONCURRENCY", "3"), ("PORT", "5000")]).expect("settings");
        assert_eq!(loaded.settings.workers.get(), 3);
        assert_eq!(loaded.settings.bind[0].to_string(), "0.0.0.0:5000");
        assert_eq!(loaded.origin("bind"), Some(&Origin::Fallback("PORT")));
        let loaded =
            load_from(&[("WEB_CONCURRENCY", "3"), ("GREENPATCH_WORKERS", "4")]).expect("settings");
        assert_eq!(loaded.settings.workers.get(), 4);
    }

    #[test]
    fn lists_in_variables_have_commas() {
        let loaded = load_from(&[("GREENPATCH_BIND", ":80, unix:/run/a,")]).expect("settings");
        let shown: Vec<String> = loaded
            .settings
            .bind
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, [":80", "unix:/run/a"]);
    }

    #[test]
    fn an_empty_variable_sets_nothing_but_an_empty_list() {
        let loaded = load_from(&[
            ("GREENPATCH_WORKERS", ""),
            ("GREENPATCH_BIND", ""),
            ("GREENPATCH_FORWARDED_ALLOW_IPS", ""),
        ]);
        let settings = loaded.expect("settings").settings;
        assert_eq!(settings.workers.get(), 1);
        assert_eq!(settings.bind, Settings::default().bind);
        assert!(settings.proxy.forwarded_allow_ips.is_empty());
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let error = load_from(&[
            ("GREENPATCH_WORKERS", "many"),
            ("GREENPATCH_TIMEOUT", "soon"),
        ]);
        let error = error.expect_err("two faults");
        let faults: Vec<&str> = error.faults().collect();
        assert_eq!(
            faults[0],
            "GREENPATCH_WORKERS='many' in the environment: give a whole number, 1 to 1024, or auto"
        );
        assert!(
            faults[1].starts_with("GREENPATCH_TIMEOUT='soon' in the environment: give seconds")
        );
        assert_eq!(faults.len(), 2);
    }

    #[test]
    fn a_variable_that_looks_like_a_slip_is_told_and_harmless() {
        let loaded = load_from(&[("GREENPATCH_WROKERS", "3"), ("GREENPATCH_REPORT", "1")]);
        assert_eq!(
            loaded.expect("settings").warnings(),
            [
                "the environment variable GREENPATCH_WROKERS sets nothing; did you mean GREENPATCH_WORKERS?"
            ]
        );
    }

    #[test]
    fn a_file_sets_what_gunicorns_would() {
        let text = "bind = '127.0.0.1:80'\nworkers = 2\nworker-class = 'gevent'\nkeepalive = 0.5\nreload = true\n\
                    forwarded_allow_ips = ['10.0.0.0/8', '::1']\naccesslog = '-'\numask = 0o027\n\
                    [application]\ncolour = 'green'\n";
        let settings = Settings::from_toml(text, "a.toml").expect("settings");
        assert_eq!(settings.bind[0].to_string(), "127.0.0.1:80");
        assert_eq!(settings.workers.get(), 2);
        assert_eq!(settings.worker_class, WorkerClass::Green);
        assert_eq!(settings.timeouts.keep_alive.as_millis(), 500);
        assert!(settings.process.reload);
        assert_eq!(settings.process.umask, Some(0o027));
        assert_eq!(
            settings.proxy.forwarded_allow_ips.to_string(),
            "10.0.0.0/8,::1"
        );
    }

    #[test]
    fn faults_of_a_file_have_its_lines() {
        let text = "workers = 2\n\ncolour = 'green'\nworkers_ = 1\ntimeout = [1]\nbind = ['a', '::1']\nuser = {}\n";
        let error = Settings::from_toml(text, "a.toml").expect_err("faults");
        let faults: Vec<&str> = error.faults().collect();
        assert_eq!(
            faults,
            [
                "a.toml:3: colour is no setting; see --help for those that there are",
                "a.toml:5: timeout is an array; give one value",
                "a.toml:7: user is a table; give a value",
                "a.toml:4: workers_ is no setting; did you mean workers?",
                "a.toml:6: bind = '::1': '::1' has an IPv6 address without brackets; write HOST:PORT \
                 (127.0.0.1:8000, [::1]:8000, :8000), unix:PATH or fd://NUMBER",
            ]
        );
        let error = Settings::from_toml("workers = 2\nbind 80\n", "a.toml").expect_err("no TOML");
        assert!(
            error
                .to_string()
                .starts_with("a.toml:2: this is not TOML: "),
            "{error}"
        );
    }
}
