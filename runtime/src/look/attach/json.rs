//! What is told, as JSON: the same as serde writes with the feature `json`, which most programs do not have.

use std::fmt::Write;
use std::panic::Location;
use std::time::Duration;

use crate::base::reason::WaitReason;
use crate::body::slot_pool::SlotMetrics;
use crate::look::dump::{Dump, GreenThread, Owner, State, Turn, Wait, Worker};
use crate::look::metrics::Metrics;
use crate::look::trace::Frame;

/// Something that can be written as a JSON value.
pub(super) trait Json {
    fn write(&self, text: &mut String);
}

/// An object in the making.
pub(super) struct Object<'a> {
    text: &'a mut String,
    is_empty: bool,
}

impl Object<'_> {
    pub(super) fn field(&mut self, name: &str, value: &(impl Json + ?Sized)) -> &mut Self {
        if !self.is_empty {
            self.text.push(',');
        }
        self.is_empty = false;
        name.write(self.text);
        self.text.push(':');
        value.write(self.text);
        self
    }
}

/// Writes an object with the fields that `fill` gives.
fn write_object(text: &mut String, fill: impl FnOnce(&mut Object<'_>)) {
    text.push('{');
    fill(&mut Object {
        text,
        is_empty: true,
    });
    text.push('}');
}

/// An object with the fields that `fill` gives.
pub(super) fn object(fill: impl FnOnce(&mut Object<'_>)) -> String {
    let mut text = String::new();
    write_object(&mut text, fill);
    text
}

impl Json for str {
    fn write(&self, text: &mut String) {
        text.push('"');
        for character in self.chars() {
            match character {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\0'..' ' => {
                    // Writing to a string does not fail.
                    let _ = write!(text, "\\u{:04x}", u32::from(character));
                }
                _ => text.push(character),
            }
        }
        text.push('"');
    }
}

impl Json for String {
    fn write(&self, text: &mut String) {
        self.as_str().write(text);
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {
        $(
            impl Json for $number {
                fn write(&self, text: &mut String) {
                    // Writing to a string does not fail.
                    let _ = write!(text, "{self}");
                }
            }
        )*
    };
}

numbers!(i32 u32 u64 usize bool);

/// Seconds.
impl Json for Duration {
    fn write(&self, text: &mut String) {
        // Neither infinite nor not a number, which JSON could not say.
        let _ = write!(text, "{:?}", self.as_secs_f64());
    }
}

/// As text.
impl Json for Location<'_> {
    fn write(&self, text: &mut String) {
        self.to_string().write(text);
    }
}

impl<T: Json + ?Sized> Json for &T {
    fn write(&self, text: &mut String) {
        (**self).write(text);
    }
}

impl<T: Json> Json for Option<T> {
    fn write(&self, text: &mut String) {
        match self {
            Some(value) => value.write(text),
            None => text.push_str("null"),
        }
    }
}

impl<T: Json> Json for [T] {
    fn write(&self, text: &mut String) {
        text.push('[');
        for (index, value) in self.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            value.write(text);
        }
        text.push(']');
    }
}

impl<T: Json> Json for Vec<T> {
    fn write(&self, text: &mut String) {
        self.as_slice().write(text);
    }
}

/// An object with the fields of a struct by their names; all are named, so that a new one is not forgotten.
macro_rules! structs {
    ($($name:ident { $($field:ident),* })*) => {
        $(
            impl Json for $name {
                fn write(&self, text: &mut String) {
                    let $name { $($field),* } = self;
                    write_object(text, |json| {
                        $(json.field(stringify!($field), $field);)*
                    });
                }
            }
        )*
    };
}

structs! {
    Dump { runtime, metrics, workers, green_threads, omitted }
    GreenThread { id, name, spawned_at, stack_size, stack_high_water, state, backtrace }
    Worker { number, os_thread, is_asleep, queued, turn }
    Frame { address, function, file, line }
    SlotMetrics { stack_size, in_use, pooled, trimmed }
    Metrics {
        live, peak_live, running, runnable, parked, spawned, switches, unparks, steals, reactor_polls, timers,
        blocking_sections, hogs, workers, spare_workers, spare_workers_called, slots, os_threads
    }
}

impl Json for Turn {
    fn write(&self, text: &mut String) {
        let Turn {
            green_thread,
            name,
            duration,
            is_blocking,
        } = self;
        write_object(text, |json| {
            json.field("green_thread", green_thread)
                .field("name", name)
                .field("for_seconds", duration)
                .field("is_blocking", is_blocking);
        });
    }
}

impl Json for State {
    fn write(&self, text: &mut String) {
        write_object(text, |json| match self {
            State::Running { worker } => {
                json.field("is", "running").field("worker", worker);
            }
            State::Runnable => {
                json.field("is", "runnable");
            }
            State::Parked(wait) => {
                let Wait {
                    reason,
                    duration,
                    time_left,
                    owner,
                } = wait;
                json.field("is", "parked")
                    .field("reason", reason)
                    .field("for_seconds", duration)
                    .field("seconds_left", time_left)
                    .field("owner", owner);
            }
        });
    }
}

impl Json for WaitReason {
    fn write(&self, text: &mut String) {
        let (kind, on): (&str, Option<&dyn Json>) = match self {
            WaitReason::Sleep => ("sleep", None),
            WaitReason::Read(descriptor) => ("read", Some(descriptor)),
            WaitReason::Write(descriptor) => ("write", Some(descriptor)),
            WaitReason::Poll(count) => ("poll", Some(count)),
            WaitReason::Futex(address) => ("futex", Some(address)),
            WaitReason::Join(id) => ("join", Some(id)),
            WaitReason::Mutex(address) => ("mutex", Some(address)),
            WaitReason::Park => ("park", None),
            WaitReason::Future(address) => ("future", Some(address)),
        };
        write_object(text, |json| {
            json.field("kind", kind);
            if let Some(on) = on {
                json.field("on", on);
            }
        });
    }
}

impl Json for Owner {
    fn write(&self, text: &mut String) {
        write_object(text, |json| match self {
            Owner::GreenThread { id, name } => {
                let green = object(|json| {
                    json.field("id", id).field("name", name);
                });
                json.field("green_thread", &Written(green));
            }
            Owner::OsThread(id) => {
                json.field("os_thread", id);
            }
        });
    }
}

/// A value that is JSON already.
struct Written(String);

impl Json for Written {
    fn write(&self, text: &mut String) {
        text.push_str(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Runtime;
    use serde_json::Value;

    fn read(value: &(impl Json + ?Sized)) -> Value {
        let mut text = String::new();
        value.write(&mut text);
        assert!(!text.contains('\n'), "a value stands in one line: {text}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn every_text_is_read_as_it_was() {
        let all: String = ('\0'..'\u{a0}').collect();
        for text in [&*all, "", "\u{2028} \u{1f600} \u{7f}", "\\\"\\u0000"] {
            assert_eq!(read(text), Value::from(text));
        }
    }

    #[test]
    fn every_wait_is_written_as_serde_does() {
        let reasons = [
            WaitReason::Sleep,
            WaitReason::Read(3),
            WaitReason::Write(4),
            WaitReason::Poll(5),
            WaitReason::Futex(6),
            WaitReason::Join(7),
            WaitReason::Mutex(8),
            WaitReason::Park,
            WaitReason::Future(9),
        ];
        let owners = [
            None,
            Some(Owner::OsThread(5)),
            Some(Owner::GreenThread {
                id: 6,
                name: Some("\"owner\"".to_owned()),
            }),
        ];
        for reason in reasons {
            for owner in &owners {
                let wait = |time_left| {
                    State::Parked(Wait {
                        reason,
                        duration: Duration::from_millis(1500),
                        time_left,
                        owner: owner.clone(),
                    })
                };
                for state in [wait(None), wait(Some(Duration::from_secs(3)))] {
                    assert_eq!(read(&state), serde_json::to_value(&state).unwrap());
                }
            }
        }
        for state in [State::Runnable, State::Running { worker: 2 }] {
            assert_eq!(read(&state), serde_json::to_value(&state).unwrap());
        }
    }

    #[test]
    fn a_dump_is_written_as_serde_does() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let parked = runtime.spawn(crate::thread::park);
        while runtime.metrics().parked == 0 {
            std::thread::yield_now();
        }
        let options = crate::DumpOptions::new().backtraces(true);
        let dump = runtime.run(move || crate::dump(options).unwrap());
        assert!(!dump.workers.is_empty() && dump.green_threads.len() == 2);
        assert_eq!(read(&dump), serde_json::to_value(&dump).unwrap());
        parked.thread().unpark();
        parked.join().unwrap();
    }
}
