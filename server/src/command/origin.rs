//! Where a setting's value comes from, and what is wrong with it.

use std::fmt;
use std::path::PathBuf;

/// Where a value comes from. Later ones win over earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nothing sets it.
    Default,
    /// A variable of other programs, such as `PORT`.
    Fallback(&'static str),
    /// A line of the settings' file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
    },
    /// The setting's own variable.
    Environment(String),
    /// An option in `GREENPATCH_CMD_ARGS`.
    CommandArguments,
    /// An option on the command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Fallback(variable) => write!(f, "environment {variable}"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Environment(variable) => write!(f, "environment {variable}"),
            Origin::CommandArguments => f.write_str("GREENPATCH_CMD_ARGS"),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}

/// A value as it was given, before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The setting's row in the table.
    pub(crate) setting: usize,
    /// The name under which it was given.
    pub(crate) written: String,
    /// The value; several texts if it was given several times, or as an array.
    pub(crate) texts: Vec<String>,
    /// Where.
    pub(crate) origin: Origin,
}

impl Given {
    /// The words that lead the reader to one of its texts.
    pub(crate) fn place(&self, index: usize) -> String {
        let (name, value) = (&self.written, self.texts.get(index).map_or("", |text| text));
        match &self.origin {
            Origin::File { path, line } => {
                format!("{}:{line}: {name} = '{value}'", path.display())
            }
            Origin::Fallback(_) | Origin::Environment(_) => {
                format!("{name}='{value}' in the environment")
            }
            Origin::CommandArguments => format!("{name} '{value}' in GREENPATCH_CMD_ARGS"),
            Origin::CommandLine => format!("{name} '{value}' on the command line"),
            Origin::Default => format!("{name} '{value}'"),
        }
    }
}

/// Settings that cannot be used: every fault that was found, a line each, which names the setting, its value, where that
/// comes from, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    pub(crate) faults: Vec<String>,
}

impl SettingsError {
    /// What is wrong, fault by fault.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        self.faults.iter().map(String::as_str)
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.faults.join("\n"))
    }
}

impl std::error::Error for SettingsError {}
