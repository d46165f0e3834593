//! The kinds of threads that a test's body runs on, and the runtimes that these belong to.

use std::panic::resume_unwind;

use greenpatch_runtime::{Builder, Patch, Runtime};

use crate::Watchdog;

/// What a body runs on.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The calling OS thread.
    OsThread,
    /// The calling OS thread while it is a green one of a fully patched runtime with one worker, by `Runtime::run`.
    Adopted,
    /// A green thread of a fully patched runtime.
    Green {
        /// How many workers the runtime has.
        workers: usize,
    },
}

impl Kind {
    /// Runs `body` on this kind of thread, under a [`Watchdog`]. The runtime calls in no spare worker, so that with one
    /// worker a call that blocks instead of parking hangs.
    pub fn run(self, body: impl FnOnce() + Send + 'static) {
        self.run_on(patched_runtime, body);
    }

    /// As [`run`](Self::run), for calls that are blocking sections: the runtime calls in spare workers.
    pub fn run_with_spare_workers(self, body: impl FnOnce() + Send + 'static) {
        self.run_on(compensated_runtime, body);
    }

    fn run_on(self, runtime: fn(usize) -> Runtime, body: impl FnOnce() + Send + 'static) {
        let _watchdog = Watchdog::start();
        match self {
            Kind::OsThread => body(),
            Kind::Adopted => runtime(1).run(body),
            Kind::Green { workers } => {
                let stack = Builder::new().stack_size(8 << 20);
                let green = runtime(workers).spawn_with(stack, body);
                let green = green.unwrap_or_else(|error| panic!("no green thread: {error}"));
                if let Err(payload) = green.join() {
                    resume_unwind(payload);
                }
            }
        }
    }
}

/// Runs `body` on a green thread that cannot hide a blocked worker, under a [`Watchdog`]: its fully patched runtime has one
/// worker, which nobody stands in for.
pub fn on_one_worker<T>(body: impl FnOnce() -> T) -> T {
    let _watchdog = Watchdog::start();
    patched_runtime(1).run(body)
}

/// A runtime with every shim family on. It calls in no spare worker, so that with one worker a call that blocks instead of
/// parking hangs.
pub fn patched_runtime(workers: usize) -> Runtime {
    build(workers, false)
}

/// A runtime with every shim family on. It calls in spare workers, as is the default.
pub fn compensated_runtime(workers: usize) -> Runtime {
    build(workers, true)
}

fn build(workers: usize, compensation: bool) -> Runtime {
    assert!(
        has_shims(),
        "the test program is without the shims, as it names nothing of their crate or of the facade"
    );
    Runtime::builder()
        .workers(workers)
        .patch(Patch::all())
        .compensation(compensation)
        .build()
        .unwrap_or_else(|error| panic!("cannot build a runtime: {error}"))
}

/// Whether the program has the shims of threads, and not the C library's functions alone.
fn has_shims() -> bool {
    const NAME: &std::ffi::CStr = c"pthread_create";
    // SAFETY: C strings; the library is loaded already, and stays.
    unsafe {
        let libc = libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
        assert!(!libc.is_null(), "the program uses the C library");
        libc::dlsym(libc::RTLD_DEFAULT, NAME.as_ptr()) != libc::dlsym(libc, NAME.as_ptr())
    }
}

/// Makes four tests of each body: `body::os_thread`, `body::adopted`, `body::green_1_worker`, `body::green_2_workers`. Those
/// that are `blocking` do what is a blocking section, which spare workers compensate for.
#[macro_export]
macro_rules! on_every_kind_of_thread {
    ($($body:ident),+ $(,)? $(; blocking: $($blocking:ident),+ $(,)?)?) => {
        $($crate::on_every_kind_of_thread! { @ run $body })+
        $($($crate::on_every_kind_of_thread! { @ run_with_spare_workers $blocking })+)?
    };
    (@ $run:ident $body:ident) => {
        mod $body {
            #[test]
            fn os_thread() {
                $crate::Kind::OsThread.$run(super::$body);
            }

            #[test]
            fn adopted() {
                $crate::Kind::Adopted.$run(super::$body);
            }

            #[test]
            fn green_1_worker() {
                $crate::Kind::Green { workers: 1 }.$run(super::$body);
            }

            #[test]
            fn green_2_workers() {
                $crate::Kind::Green { workers: 2 }.$run(super::$body);
            }
        }
    };
}

/// Makes two tests of each body: `body::green_1_worker`, `body::green_2_workers`.
#[macro_export]
macro_rules! on_green_threads {
    ($($body:ident),+ $(,)?) => {$(
        mod $body {
            #[test]
            fn green_1_worker() {
                $crate::Kind::Green { workers: 1 }.run(super::$body);
            }

            #[test]
            fn green_2_workers() {
                $crate::Kind::Green { workers: 2 }.run(super::$body);
            }
        }
    )+};
}

/// Makes two tests of each `fn(workers: usize)`: `body::with_1_worker`, `body::with_2_workers`. The body runs on the test's
/// OS thread, under a [`Watchdog`], and builds its own runtime.
#[macro_export]
macro_rules! with_1_and_2_workers {
    ($($body:ident),+ $(,)?) => {$(
        mod $body {
            #[test]
            fn with_1_worker() {
                let _watchdog = $crate::Watchdog::start();
                super::$body(1);
            }

            #[test]
            fn with_2_workers() {
                let _watchdog = $crate::Watchdog::start();
                super::$body(2);
            }
        }
    )+};
}
