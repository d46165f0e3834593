//! Dumps on demand: a signal, and all runtimes of the process are written to standard error.
//!
//! The handler, which `signal-hook` calls, only writes an eventfd; an OS thread of its own reads it, so a dump can be had while
//! every worker is busy or blocked.

use std::fmt::{self, Write};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use signal_hook::low_level::{self, signal_name};

use crate::context::{NativeSection, OwnWork};
use crate::deadlock::{self, Counted};
use crate::dump::{DumpOptions, dump_all};
use crate::own_descriptor::{OwnDescriptor, lost};
use crate::report;

/// Green threads of a runtime that are listed.
const LISTED: usize = 10_000;

/// The highest number of a signal.
const LAST: i32 = 64;

/// Signals that are waited for in this process, a bit each.
static WAITED_FOR: AtomicU64 = AtomicU64::new(0);

/// In a forked child nobody waits.
pub(crate) fn reset_after_fork() {
    WAITED_FOR.store(0, Ordering::SeqCst);
}

/// From now on, each time the process is sent `signal`, a [dump](crate::dump()) of all runtimes, with backtraces, and their
/// [figures](crate::Metrics) are written to standard error: `dump_on_signal(libc::SIGQUIT)` and `kill -QUIT`, or Ctrl-\ on
/// a terminal, show what a program is at, as a Java virtual machine does. The signal's default action is gone.
///
/// An OS thread waits for the signal; a second call for the same signal does nothing. The setting
/// [`dump_signal`](crate::RuntimeBuilder::dump_signal) does the same as a runtime is built.
///
/// # Errors
///
/// `InvalidInput` if there is no such signal or it cannot be waited for, as `SIGKILL`; the kernel's error if it gives no
/// thread or no pipe.
///
/// ```
/// greenpatch_runtime::dump_on_signal(libc::SIGUSR2)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn dump_on_signal(signal: i32) -> io::Result<()> {
    let _native = NativeSection::enter();
    let refused = |remedy| {
        let text = format!("signal {signal} cannot be waited for; {remedy}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    if !(1..=LAST).contains(&signal) {
        return Err(refused("use a number from 1 to 64"));
    }
    if signal_hook::consts::FORBIDDEN.contains(&signal) {
        return Err(refused("use QUIT, USR1 or USR2, say"));
    }
    let bit = 1 << (signal - 1);
    if WAITED_FOR.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
        return Ok(());
    }
    start(signal).inspect_err(|_| {
        WAITED_FOR.fetch_and(!bit, Ordering::SeqCst);
    })
}

fn start(signal: i32) -> io::Result<()> {
    let is_ours_alone = !is_handled(signal);
    let sent = Arc::new(OwnDescriptor::keep(eventfd(0, EventfdFlags::CLOEXEC)?));
    let (noted, process) = (sent.clone(), std::process::id());
    let note = move || {
        // A forked child has the same eventfd, and nobody of its own who reads it.
        if std::process::id() == process {
            let _ = rustix::io::write(&*noted, &1_u64.to_ne_bytes());
        }
    };
    // SAFETY: the function makes system calls only, and leaves errno alone.
    unsafe { low_level::register(signal, note) }?;
    if is_ours_alone {
        deadlock::own_signal(signal);
    }
    thread::Builder::new()
        .name("green-dump".to_owned())
        .spawn(move || {
            let _own = OwnWork::thread();
            loop {
                let waiting = Counted::own_thread();
                let waited = rustix::io::read(&*sent, &mut [0; 8]);
                drop(waiting);
                match waited {
                    Ok(_) => write_dump(),
                    Err(Errno::INTR) => {}
                    Err(error) => lost("eventfd", error),
                }
            }
        })?;
    Ok(())
}

/// Whether somebody handles the signal already, who will still be called.
fn is_handled(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action, the call writes the present one to a valid place.
    let action = unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction)
}

fn write_dump() {
    let dumps = dump_all(DumpOptions::new().backtraces(true).limit(LISTED));
    let mut text = String::new();
    for dump in &dumps {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{dump}{}", dump.metrics);
    }
    if dumps.is_empty() {
        text.push_str("no runtime has green threads\n");
    }
    report::write_to_stderr(&text);
}

/// A signal as the setting names it: `QUIT`, `SIGQUIT` or `3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signal(pub(crate) i32);

impl FromStr for Signal {
    type Err = ();

    fn from_str(word: &str) -> Result<Signal, ()> {
        if let Ok(number) = word.parse() {
            return Ok(Signal(number));
        }
        let is_called = |number: &i32| {
            signal_name(*number)
                .is_some_and(|name| name == word || name.strip_prefix("SIG") == Some(word))
        };
        (1..=LAST).find(is_called).map(Signal).ok_or(())
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match signal_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_by_either_name_or_number() {
        for word in ["QUIT", "SIGQUIT", "3"] {
            assert_eq!(word.parse(), Ok(Signal(libc::SIGQUIT)));
        }
        assert_eq!("QUITE".parse::<Signal>(), Err(()));
    }

    #[test]
    fn a_signal_that_nobody_can_wait_for_is_refused() {
        for signal in [0, 65, libc::SIGKILL, libc::SIGSEGV] {
            let error = dump_on_signal(signal).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
