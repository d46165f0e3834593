//! Marks: how a server of the demonstration tells when each call of its handler begins and ends.
//!
//! The handler's own lines do not say whose call they belong to. So what is around the handler prints a line of JSON before
//! it calls it, and one when it has returned, on the handler's own thread. The time is that of the kernel's monotonic clock,
//! which all processes share.

use std::time::Duration;

use greenpatch_server::application::{Next, Request, RequestExt, Response};
use serde::{Deserialize, Serialize};

/// What has happened to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Moment {
    Begins,
    Ends,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    #[serde(rename = "call")]
    pub(crate) moment: Moment,
    /// The number that the request's target has: `?request=3`.
    pub(crate) request: u32,
    /// The OS thread, as the kernel numbers it.
    pub(crate) thread: i32,
    /// Since the clock began.
    pub(crate) at: Duration,
}

impl Mark {
    /// Reads a line; `None` if it is another one.
    pub(crate) fn read(line: &str) -> Option<Mark> {
        line.starts_with("{\"call\":")
            .then(|| serde_json::from_str(line).ok())?
    }

    fn print(moment: Moment, request: u32) {
        let mark = Mark {
            moment,
            request,
            thread: rustix::thread::gettid().as_raw_nonzero().get(),
            at: now(),
        };
        let line = serde_json::to_string(&mark).expect("numbers and names can be written");
        println!("{line}");
    }
}

/// The time of the clock that marks are by.
pub(crate) fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // It begins at zero and only goes up.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A call under way; its end is printed when this is dropped, so also when the handler panics or is cancelled.
pub(crate) struct Marked(u32);

impl Marked {
    /// Prints that the call for this request begins. A request without a number is 0.
    pub(crate) fn begin(request: &Request) -> Marked {
        let number = request.query("request");
        let number = number.and_then(|text| text.parse().ok()).unwrap_or(0);
        Mark::print(Moment::Begins, number);
        Marked(number)
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        Mark::print(Moment::Ends, self.0);
    }
}

/// Calls a handler that is a function between its two marks. What it does not answer has none.
pub(crate) fn around(request: Request, next: Next<'_>) -> Response {
    let _marked = (request.uri().path() == "/").then(|| Marked::begin(&request));
    next.run(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_printed_and_the_handlers_lines_are_none() {
        let mark = Mark {
            moment: Moment::Ends,
            request: 3,
            thread: 71,
            at: Duration::new(5, 6),
        };
        let line = serde_json::to_string(&mark).unwrap();
        assert_eq!(Mark::read(&line), Some(mark));
        for line in ["hello 0", "world", "{\"call\":", "{}"] {
            assert_eq!(Mark::read(line), None, "{line}");
        }
    }
}
