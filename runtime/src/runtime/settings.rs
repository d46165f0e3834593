//! The settings of a runtime: one table of names, environment variables, defaults and meanings.

use std::env;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::base::error::BuildError;
use crate::base::patch::Patch;
use crate::base::policy::{OnDeadlock, OnDrop};
use crate::body::slot::MAX_STACK;
use crate::look::blocked::BlockedCallback;
use crate::look::dump_signal::Signal;
use crate::sched::settings::Settings;

/// Stack of a green thread made by `spawn`, unless its builder asks otherwise.
const STACK_SIZE: usize = 256 << 10;

/// The most workers a runtime may have, and the most spare ones.
const MAX_WORKERS: usize = 1024;

/// Spare workers a runtime may have, unless told otherwise.
const SPARE_WORKERS: usize = 64;

/// A row of the settings table.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The name of the [`RuntimeBuilder`](crate::RuntimeBuilder) method.
    pub name: &'static str,
    /// The environment variable that sets it where the builder does not.
    pub variable: &'static str,
    /// The default, in words.
    pub default: &'static str,
    /// What it means, and its unit.
    pub meaning: &'static str,
}

/// The settings table.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "workers",
        variable: "GREENPATCH_WORKERS",
        default: "the number of processors",
        meaning: "OS threads that run green threads, 1 to 1024",
    },
    Setting {
        name: "stack_size",
        variable: "GREENPATCH_STACK_SIZE",
        default: "262144",
        meaning: "bytes of stack of a green thread made by spawn, at most 536870912",
    },
    Setting {
        name: "patch",
        variable: "GREENPATCH_PATCH",
        default: "all",
        meaning: "shim families that yield: all, none, or some of time,socket,select,lock,thread,os,dns,process",
    },
    Setting {
        name: "compensation",
        variable: "GREENPATCH_COMPENSATION",
        default: "on",
        meaning: "whether a spare worker serves while a worker is blocked or a green thread computes for long: on or off",
    },
    Setting {
        name: "max_spare_workers",
        variable: "GREENPATCH_MAX_SPARE_WORKERS",
        default: "64",
        meaning: "spare workers at most, 0 to 1024",
    },
    Setting {
        name: "max_green_threads",
        variable: "GREENPATCH_MAX_GREEN_THREADS",
        default: "0",
        meaning: "green threads that may live at once; one more is not spawned, with the error EAGAIN; 0 is any number",
    },
    Setting {
        name: "max_blocking_time",
        variable: "GREENPATCH_MAX_BLOCKING_TIME",
        default: "0",
        meaning: "milliseconds that a green thread may run without giving way before it is reported; 0 is for ever",
    },
    Setting {
        name: "trim_after",
        variable: "GREENPATCH_TRIM_AFTER",
        default: "0",
        meaning: "milliseconds that a green thread waits before unused memory of its stack goes back to the kernel, at most a second when memory is short; not for programs that make stacks within their threads' own; 0 is for ever",
    },
    Setting {
        name: "on_drop",
        variable: "GREENPATCH_ON_DROP",
        default: "detach",
        meaning: "what a dropped runtime does about its green threads: detach, wait for their end, or cancel them and wait",
    },
    Setting {
        name: "deadlock",
        variable: "GREENPATCH_DEADLOCK",
        default: "warn",
        meaning: "what is done when all green threads wait for each other for ever: nothing (off), warn, or abort",
    },
    Setting {
        name: "dump_signal",
        variable: "GREENPATCH_DUMP_SIGNAL",
        default: "none",
        meaning: "the signal, by name or number, upon which all green threads are written to standard error, with backtraces",
    },
    Setting {
        name: "attach",
        variable: "GREENPATCH_ATTACH",
        default: "on",
        meaning: "whether greenpatch top and greenpatch dump may look into the process: on or off",
    },
    Setting {
        name: "name",
        variable: "GREENPATCH_NAME",
        default: "green",
        meaning: "beginning of the names of the runtime's OS threads",
    },
];

/// What the builder was told; the rest comes from the environment, or is the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) workers: Option<usize>,
    pub(crate) stack_size: Option<usize>,
    pub(crate) patch: Option<Patch>,
    pub(crate) compensation: Option<Switch>,
    pub(crate) max_spare_workers: Option<usize>,
    pub(crate) max_green_threads: Option<usize>,
    pub(crate) max_blocking_time: Option<Duration>,
    pub(crate) on_blocked: Option<BlockedCallback>,
    pub(crate) trim_after: Option<Duration>,
    pub(crate) on_drop: Option<OnDrop>,
    pub(crate) deadlock: Option<OnDeadlock>,
    pub(crate) dump_signal: Option<Signal>,
    pub(crate) attach: Option<Switch>,
    pub(crate) name: Option<String>,
}

/// A time that the environment gives in milliseconds.
struct Milliseconds(Duration);

impl FromStr for Milliseconds {
    type Err = std::num::ParseIntError;

    fn from_str(word: &str) -> Result<Milliseconds, Self::Err> {
        word.parse()
            .map(|number| Milliseconds(Duration::from_millis(number)))
    }
}

/// A setting that is on or off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switch(pub(crate) bool);

impl FromStr for Switch {
    type Err = ();

    fn from_str(word: &str) -> Result<Switch, ()> {
        match word {
            "on" | "true" | "yes" | "1" => Ok(Switch(true)),
            "off" | "false" | "no" | "0" => Ok(Switch(false)),
            _ => Err(()),
        }
    }
}

/// What a runtime is built with.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) settings: Settings,
    pub(crate) on_blocked: Option<BlockedCallback>,
    pub(crate) dump_signal: Option<Signal>,
    pub(crate) attach: bool,
}

impl Given {
    pub(crate) fn resolve(self) -> Result<Resolved, BuildError> {
        let count = "give it as a number in digits";
        let workers = given_or(self.workers, "GREENPATCH_WORKERS", count)?
            .unwrap_or_else(|| available_parallelism().map_or(1, NonZeroUsize::get));
        let stack_size =
            given_or(self.stack_size, "GREENPATCH_STACK_SIZE", count)?.unwrap_or(STACK_SIZE);
        let families = "use all, none, or some of time,socket,select,lock,thread,os,dns,process";
        let patch = given_or(self.patch, "GREENPATCH_PATCH", families)?.unwrap_or(Patch::all());
        let name = given_or(self.name, "GREENPATCH_NAME", "use UTF-8 text")?
            .unwrap_or_else(|| "green".to_owned());
        let compensation = given_or(
            self.compensation,
            "GREENPATCH_COMPENSATION",
            "use on or off",
        )?
        .is_none_or(|Switch(on)| on);
        let max_spare_workers = given_or(
            self.max_spare_workers,
            "GREENPATCH_MAX_SPARE_WORKERS",
            count,
        )?
        .unwrap_or(SPARE_WORKERS);
        let max_green_threads = given_or(
            self.max_green_threads,
            "GREENPATCH_MAX_GREEN_THREADS",
            count,
        )?
        .filter(|most| *most != 0);
        let given = self.max_blocking_time.map(Milliseconds);
        let milliseconds = "give it as a number of milliseconds in digits";
        let max_blocking_time = given_or(given, "GREENPATCH_MAX_BLOCKING_TIME", milliseconds)?
            .map(|Milliseconds(time)| time)
            .filter(|time| !time.is_zero());
        let given = self.trim_after.map(Milliseconds);
        let trim_after = given_or(given, "GREENPATCH_TRIM_AFTER", milliseconds)?
            .map(|Milliseconds(time)| time)
            .filter(|time| !time.is_zero());
        let on_drop = given_or(
            self.on_drop,
            "GREENPATCH_ON_DROP",
            "use detach, wait or cancel",
        )?
        .unwrap_or_default();
        let deadlock = given_or(
            self.deadlock,
            "GREENPATCH_DEADLOCK",
            "use off, warn or abort",
        )?
        .unwrap_or_default();
        let dump_signal = given_or(
            self.dump_signal,
            "GREENPATCH_DUMP_SIGNAL",
            "use a signal's name, as QUIT, or its number",
        )?;
        let attach = given_or(self.attach, "GREENPATCH_ATTACH", "use on or off")?
            .is_none_or(|Switch(on)| on);
        if name.contains('\0') {
            let remedy = "use text without zero bytes";
            return Err(BuildError::setting("name", name, remedy));
        }
        if max_spare_workers > MAX_WORKERS {
            return Err(BuildError::setting(
                "max_spare_workers",
                max_spare_workers.to_string(),
                "use 0 to 1024",
            ));
        }
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(BuildError::setting(
                "workers",
                workers.to_string(),
                "use 1 to 1024",
            ));
        }
        if stack_size > MAX_STACK {
            let remedy = "use at most 536870912 bytes";
            return Err(BuildError::setting(
                "stack_size",
                stack_size.to_string(),
                remedy,
            ));
        }
        Ok(Resolved {
            settings: Settings {
                workers,
                stack_size,
                patch,
                compensation,
                max_spare_workers,
                max_green_threads,
                max_blocking_time,
                trim_after,
                on_drop,
                deadlock,
                name,
            },
            on_blocked: self.on_blocked,
            dump_signal,
            attach,
        })
    }
}

/// The builder's value, or the environment's.
fn given_or<T: FromStr>(
    given: Option<T>,
    variable: &'static str,
    remedy: &'static str,
) -> Result<Option<T>, BuildError> {
    if given.is_some() {
        return Ok(given);
    }
    let Some(value) = env::var_os(variable) else {
        return Ok(None);
    };
    let parsed = value.to_str().and_then(|value| value.parse().ok());
    match parsed {
        Some(value) => Ok(Some(value)),
        None => Err(BuildError::setting(
            variable,
            value.to_string_lossy().into_owned(),
            remedy,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_range_is_refused_with_its_name_value_and_remedy() {
        let error = Given {
            workers: Some(0),
            ..Given::default()
        }
        .resolve()
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "setting workers cannot be '0'; use 1 to 1024"
        );
        let error = Given {
            stack_size: Some(1 << 40),
            ..Given::default()
        }
        .resolve()
        .unwrap_err();
        assert!(error.to_string().contains("stack_size"));
        let error = Given {
            name: Some("no\0name".to_owned()),
            ..Given::default()
        }
        .resolve()
        .unwrap_err();
        assert!(error.to_string().contains("setting name"), "{error}");
    }

    #[test]
    fn every_shim_family_is_named_where_they_are_listed() {
        let patch = SETTINGS.iter().find(|setting| setting.name == "patch");
        let listed = patch.unwrap().meaning;
        for (name, _) in Patch::all().iter_names() {
            assert!(listed.contains(&name.to_lowercase()), "{name}");
        }
    }

    #[test]
    fn every_setting_has_a_variable_named_after_it() {
        for setting in SETTINGS {
            assert_eq!(
                setting.variable,
                format!("GREENPATCH_{}", setting.name.to_uppercase())
            );
        }
    }
}
