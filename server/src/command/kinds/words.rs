//! Switches, choices, names, paths and addresses.

use std::fmt::Display;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;

use greenpatch::Patch;
use toml::Value;

use super::{Form, Hint, Kind};
use crate::command::accounts;
use crate::command::bind::Bind;
use crate::command::networks;
use crate::command::settings::{
    ClientCerts, Group, LogFile, LogFormat, LogLevel, ProxyProtocol, User,
};
use crate::observe::access;
use crate::worker::WorkerClass;

fn string(text: impl Into<String>) -> Option<Value> {
    Some(Value::String(text.into()))
}

/// On or off.
pub(crate) struct Switch;

impl Kind for Switch {
    type Value = bool;
    const PLACEHOLDER: &'static str = "on|off";
    const FORM: Form = Form::Optional("true");
    const CHOICES: &'static [&'static str] = &["true", "false"];

    fn read(text: &str) -> Result<bool, String> {
        match text {
            "true" | "on" | "yes" | "1" => Ok(true),
            "false" | "off" | "no" | "0" => Ok(false),
            _ => Err("give true or false".to_owned()),
        }
    }

    fn show(value: &bool) -> Option<Value> {
        Some(Value::Boolean(*value))
    }
}

/// One of a few words.
pub(crate) struct Choice<T>(PhantomData<T>);

macro_rules! choices {
    ($($type:ident $placeholder:literal $form:expr;)+) => {
        $(impl Kind for Choice<$type> {
            type Value = $type;
            const PLACEHOLDER: &'static str = $placeholder;
            const FORM: Form = $form;
            const CHOICES: &'static [&'static str] = $type::NAMES;

            fn read(text: &str) -> Result<$type, String> {
                $type::from_name(text).ok_or_else(|| one_of(Self::CHOICES))
            }

            fn show(value: &$type) -> Option<Value> {
                string(value.name())
            }
        })+
    };
}

choices! {
    ClientCerts "WHETHER" Form::One;
    LogFormat "FORMAT" Form::One;
    LogLevel "LEVEL" Form::One;
    // As in gunicorn, the option alone takes either version.
    ProxyProtocol "VERSION" Form::Optional("auto");
}

fn one_of(words: &[&str]) -> String {
    match words {
        [first @ .., last] => format!("give {} or {last}", first.join(", ")),
        [] => String::new(),
    }
}

/// A worker class, under its name or that of gunicorn's that does the same.
pub(crate) struct Class;

impl Kind for Class {
    type Value = WorkerClass;
    const PLACEHOLDER: &'static str = "CLASS";
    const CHOICES: &'static [&'static str] = &["sync", "gthread", "green", "async"];

    fn read(text: &str) -> Result<WorkerClass, String> {
        match text {
            "gevent" | "eventlet" => Ok(WorkerClass::Green),
            _ => text.parse().map_err(|_| one_of(Self::CHOICES)),
        }
    }

    fn show(value: &WorkerClass) -> Option<Value> {
        string(value.name())
    }
}

/// Families of calls that are patched; what the class says if it is not set.
pub(crate) struct Families;

impl Kind for Families {
    type Value = Option<Patch>;
    const PLACEHOLDER: &'static str = "FAMILIES";
    const FORM: Form = Form::Joined;
    const CHOICES: &'static [&'static str] = &[
        "all", "none", "time", "socket", "select", "lock", "thread", "os", "dns", "process",
    ];

    fn read(text: &str) -> Result<Option<Patch>, String> {
        read_by_itself(text).map(Some)
    }

    fn show(value: &Option<Patch>) -> Option<Value> {
        value.and_then(|value| string(value.to_string()))
    }
}

/// What reads itself; its own error names the fault and the remedy.
fn read_by_itself<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// A list of networks.
pub(crate) struct Networks;

impl Kind for Networks {
    type Value = networks::Networks;
    const PLACEHOLDER: &'static str = "NETWORKS";
    const FORM: Form = Form::Joined;

    fn read(text: &str) -> Result<networks::Networks, String> {
        read_by_itself(text)
    }

    fn show(value: &networks::Networks) -> Option<Value> {
        string(value.to_string())
    }
}

/// An address to listen on.
pub(crate) struct Address;

impl Kind for Address {
    type Value = Bind;
    const PLACEHOLDER: &'static str = "ADDRESS";

    fn read(text: &str) -> Result<Bind, String> {
        read_by_itself(text)
    }

    fn show(value: &Bind) -> Option<Value> {
        string(value.to_string())
    }
}

/// Text that is not empty.
pub(crate) struct Text;

impl Kind for Text {
    type Value = String;
    const PLACEHOLDER: &'static str = "TEXT";

    fn read(text: &str) -> Result<String, String> {
        if text.is_empty() || text.contains(char::is_control) {
            return Err("give some text, without control characters".to_owned());
        }
        Ok(text.to_owned())
    }

    fn show(value: &String) -> Option<Value> {
        string(value)
    }
}

/// What a line of the access log tells.
pub(crate) struct AccessFormat;

impl Kind for AccessFormat {
    type Value = String;
    const PLACEHOLDER: &'static str = "FORMAT";
    const CHOICES: &'static [&'static str] = &["common", "combined", "json"];

    fn read(text: &str) -> Result<String, String> {
        let text = Text::read(text)?;
        match read_by_itself::<access::Format>(&text) {
            Ok(_) => Ok(text),
            Err(remedy) => Err(remedy),
        }
    }

    fn show(value: &String) -> Option<Value> {
        string(value)
    }
}

/// A file.
pub(crate) struct File;

impl Kind for File {
    type Value = PathBuf;
    const PLACEHOLDER: &'static str = "FILE";
    const HINT: Hint = Hint::File;

    fn read(text: &str) -> Result<PathBuf, String> {
        if text.is_empty() || text.contains('\0') {
            return Err("give a path".to_owned());
        }
        Ok(text.into())
    }

    fn show(value: &PathBuf) -> Option<Value> {
        string(value.to_string_lossy())
    }
}

/// A directory.
pub(crate) struct Directory;

impl Kind for Directory {
    type Value = PathBuf;
    const PLACEHOLDER: &'static str = "DIRECTORY";
    const HINT: Hint = Hint::Directory;

    fn read(text: &str) -> Result<PathBuf, String> {
        File::read(text)
    }

    fn show(value: &PathBuf) -> Option<Value> {
        File::show(value)
    }
}

/// Where a log goes: a file, or `-`.
pub(crate) struct Log;

impl Kind for Log {
    type Value = LogFile;
    const PLACEHOLDER: &'static str = "FILE";
    const HINT: Hint = Hint::File;

    fn read(text: &str) -> Result<LogFile, String> {
        match text {
            "-" => Ok(LogFile::Standard),
            _ => File::read(text)
                .map(LogFile::Path)
                .map_err(|_| "give a path, or '-'".to_owned()),
        }
    }

    fn show(value: &LogFile) -> Option<Value> {
        match value {
            LogFile::Standard => string("-"),
            LogFile::Path(path) => File::show(path),
        }
    }
}

/// The mask of permissions, in octal digits that begin with 0.
pub(crate) struct Umask;

impl Kind for Umask {
    type Value = u32;
    const PLACEHOLDER: &'static str = "MASK";

    fn read(text: &str) -> Result<u32, String> {
        // Without the 0, TOML and shells would disagree about the base.
        let digits = text.strip_prefix('0').map(|rest| match rest {
            "" => "0",
            rest => rest.strip_prefix('o').unwrap_or(rest),
        });
        digits
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| u32::from_str_radix(digits, 8).ok())
            .filter(|mask| *mask <= 0o777)
            .ok_or_else(|| "give octal digits that begin with 0, such as 022 or 0o022".to_owned())
    }

    fn show(value: &u32) -> Option<Value> {
        string(format!("0o{value:03o}"))
    }
}

/// A user of this machine, by name or number.
pub(crate) struct Account;

impl Kind for Account {
    type Value = User;
    const PLACEHOLDER: &'static str = "USER";
    const HINT: Hint = Hint::User;

    fn read(text: &str) -> Result<User, String> {
        accounts::user(text)
    }

    fn show(value: &User) -> Option<Value> {
        string(&value.name)
    }
}

/// A group of this machine, by name or number.
pub(crate) struct AccountGroup;

impl Kind for AccountGroup {
    type Value = Group;
    const PLACEHOLDER: &'static str = "GROUP";

    fn read(text: &str) -> Result<Group, String> {
        accounts::group(text)
    }

    fn show(value: &Group) -> Option<Value> {
        string(&value.name)
    }
}

/// What need not be set, and cannot be unset by a value.
pub(crate) struct Maybe<K>(PhantomData<K>);

impl<K: Kind> Kind for Maybe<K> {
    type Value = Option<K::Value>;
    const PLACEHOLDER: &'static str = K::PLACEHOLDER;
    const FORM: Form = K::FORM;
    const CHOICES: &'static [&'static str] = K::CHOICES;
    const HINT: Hint = K::HINT;

    fn read(text: &str) -> Result<Option<K::Value>, String> {
        K::read(text).map(Some)
    }

    fn show(value: &Option<K::Value>) -> Option<Value> {
        value.as_ref().and_then(K::show)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_names_all_its_words_when_it_refuses_one() {
        for word in Choice::<LogLevel>::CHOICES {
            let level = Choice::<LogLevel>::read(word).expect("a level");
            assert_eq!(Choice::<LogLevel>::show(&level), string(*word));
        }
        assert_eq!(
            Choice::<LogLevel>::read("loud"),
            Err("give debug, info, warning, error or critical".to_owned())
        );
    }

    #[test]
    fn gunicorns_green_classes_are_ours() {
        assert_eq!(Class::read("gevent"), Ok(WorkerClass::Green));
        assert_eq!(Class::read("eventlet"), Ok(WorkerClass::Green));
        for class in WorkerClass::ALL {
            assert_eq!(Class::read(class.name()), Ok(class));
        }
        assert_eq!(
            Class::read("tornado"),
            Err("give sync, gthread, green or async".to_owned())
        );
    }

    #[test]
    fn a_mask_is_octal_and_says_so() {
        for (text, mask) in [("0", 0), ("022", 0o22), ("0o022", 0o22), ("0777", 0o777)] {
            assert_eq!(Umask::read(text), Ok(mask), "{text}");
        }
        for text in ["", "22", "0x12", "08", "01000", "-022", "0o", "0-1"] {
            assert!(Umask::read(text).is_err(), "{text}");
        }
        assert_eq!(Umask::show(&0o22), string("0o022"));
    }

    #[test]
    fn a_dash_is_the_standard_stream() {
        assert_eq!(Log::read("-"), Ok(LogFile::Standard));
        assert_eq!(Log::read("a.log"), Ok(LogFile::Path("a.log".into())));
        assert!(Log::read("").is_err());
        assert_eq!(Log::show(&LogFile::Standard), string("-"));
    }

    #[test]
    fn a_log_format_has_atoms_that_there_are() {
        for text in ["json", "%(h)s %({x-request-id}i)s"] {
            assert_eq!(AccessFormat::read(text).as_deref(), Ok(text));
        }
        let error = AccessFormat::read("%(h)s %(z)s").expect_err("no such atom");
        assert!(
            error.contains("no atom \"z\"; the atoms are h l u"),
            "{error}"
        );
        assert!(AccessFormat::read("").is_err());
    }

    #[test]
    fn switches_take_the_usual_words() {
        for text in ["true", "on", "yes", "1"] {
            assert_eq!(Switch::read(text), Ok(true));
        }
        for text in ["false", "off", "no", "0"] {
            assert_eq!(Switch::read(text), Ok(false));
        }
        assert!(Switch::read("").is_err());
    }
}
