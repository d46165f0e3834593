//! The kinds of values that settings have: how each is read from text and shown as TOML.
//!
//! Reading is the same wherever the text comes from. An error says what to do instead; the setting, the value and its origin are
//! named by who [loads](super::load) them. **Invariant:** what [`Kind::show`] makes, [`Kind::read`] reads back as the same
//! value, and `None` stands for what is not set.
//!
//! | file | kinds |
//! |---|---|
//! | [`numbers`] | counts and bytes |
//! | [`times`] | times |
//! | [`words`] | switches, choices, names, paths, addresses |

mod numbers;
mod times;
mod words;

use toml::Value;

pub(crate) use numbers::{ByteLimit, Bytes, CountLimit, Number, Processors, Threads};
pub(crate) use times::{PositiveTime, Time, TimeLimit};
pub(crate) use words::{
    AccessFormat, Account, AccountGroup, Address, Choice, Class, Directory, Families, File, Log,
    Maybe, Networks, Switch, Text, Umask,
};

/// How the values of a setting are written.
pub(crate) trait Kind {
    /// What it is in the program.
    type Value;

    /// What help puts in the value's place.
    const PLACEHOLDER: &'static str;
    /// Whether it is one text, or several.
    const FORM: Form = Form::One;
    /// What it can be, if that is a choice among a few.
    const CHOICES: &'static [&'static str] = &[];
    /// Whether it names a file or a directory, for completion.
    const HINT: Hint = Hint::Other;

    /// Reads it. The error says what to give instead.
    fn read(text: &str) -> Result<Self::Value, String>;

    /// Shows it as [`Kind::read`] takes it; `None` if it is not set.
    fn show(value: &Self::Value) -> Option<Value>;
}

/// Of how many texts a value is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One; of several options the last counts.
    One,
    /// One, which is a list with commas; a file may also give an array.
    Joined,
    /// Any number: several options, an array in a file, a list with commas in the environment.
    Several,
    /// A word that need not be given: the option alone means this one.
    Optional(&'static str),
}

/// What completion offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Files.
    File,
    /// Directories.
    Directory,
    /// Users of the machine.
    User,
    /// Nothing.
    Other,
}
