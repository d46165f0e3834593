//! Runs one test body on every kind of thread: what a C function promises holds on all of them.

#![allow(dead_code, unused_macros, reason = "each test file uses its part")]

use std::ffi::c_int;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use greenpatch_runtime::{Builder, Patch, Runtime};
// For its symbols.
use greenpatch_shims as _;

/// How long a body may take before it counts as hung.
const LIMIT: Duration = Duration::from_secs(60);

/// Long enough that a thread which could go on has gone on.
pub(crate) const SHORT: Duration = Duration::from_millis(20);

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    OsThread,
    /// An OS thread that is a green one for the time; its runtime has one worker and calls in spare ones.
    Adopted,
    /// Of a runtime that calls in no spare worker, so that with one worker a call that blocks instead of yielding hangs.
    Green {
        workers: usize,
    },
    /// Of a runtime that calls in spare workers, for calls that are blocking sections.
    Compensated {
        workers: usize,
    },
}

impl Kind {
    pub(crate) fn run(self, name: &'static str, body: fn()) {
        let (_done, ended) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            if ended.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{name} hangs");
                std::process::abort();
            }
        });
        let (workers, compensation) = match self {
            Kind::OsThread => return body(),
            Kind::Adopted => return runtime(1, true).run(body),
            Kind::Green { workers } => (workers, false),
            Kind::Compensated { workers } => (workers, true),
        };
        let stack = Builder::new().stack_size(8 << 20);
        let green = runtime(workers, compensation).spawn_with(stack, body);
        if let Err(payload) = green.unwrap().join() {
            std::panic::resume_unwind(payload);
        }
    }
}

fn runtime(workers: usize, compensation: bool) -> Runtime {
    Runtime::builder()
        .workers(workers)
        .patch(Patch::all())
        .compensation(compensation)
        .build()
        .unwrap()
}

/// Makes four tests of each body: on an OS thread, on an adopted one, and on a green thread with one and with two workers. Those that are
/// `blocking` do what is a blocking section, which spare workers compensate for.
macro_rules! on_every_kind_of_thread {
    ($($body:ident),+ $(,)? $(; blocking: $($blocking:ident),+ $(,)?)?) => {
        $(on_every_kind_of_thread! { @ Green $body })+
        $($(on_every_kind_of_thread! { @ Compensated $blocking })+)?
    };
    (@ $kind:ident $body:ident) => {
        mod $body {
            use crate::threads::Kind;

            #[test]
            fn os_thread() {
                Kind::OsThread.run(stringify!($body), super::$body);
            }

            #[test]
            fn adopted() {
                Kind::Adopted.run(stringify!($body), super::$body);
            }

            #[test]
            fn green_1_worker() {
                Kind::$kind { workers: 1 }.run(stringify!($body), super::$body);
            }

            #[test]
            fn green_2_workers() {
                Kind::$kind { workers: 2 }.run(stringify!($body), super::$body);
            }
        }
    };
}

pub(crate) fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap()
}

/// The value of a C call that must succeed.
#[track_caller]
pub(crate) fn ok<T: PartialOrd + From<i8>>(value: T) -> T {
    assert!(value >= T::from(0), "{}", io::Error::last_os_error());
    value
}

/// Asserts that a C call failed with this `errno`.
#[track_caller]
pub(crate) fn fails<T: PartialEq + From<i8>>(value: T, error: c_int) {
    let last = errno();
    assert!(value == T::from(-1), "did not fail");
    assert_eq!(last, error, "{}", io::Error::from_raw_os_error(last));
}

pub(crate) fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs() as libc::time_t,
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// The time on `clock`, `later` from now.
pub(crate) fn on_clock(clock: libc::clockid_t, later: Duration) -> libc::timespec {
    let mut now = timespec(Duration::ZERO);
    // SAFETY: the result is ours.
    ok(unsafe { libc::clock_gettime(clock, &mut now) });
    timespec(Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + later)
}
