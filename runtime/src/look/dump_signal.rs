//! Dumps on demand: a signal, and all runtimes of the process are written to standard error.
//!
//! The handler only counts the signal and wakes an OS thread that waits for it, so a dump can be had while every worker is
//! busy or blocked. Then it calls the handler that was there before.

use std::ffi::{c_int, c_void};
use std::fmt::{self, Write};
use std::io;
use std::mem::MaybeUninit;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

use rustix::thread::futex;

use crate::base::report;
use crate::base::signal;
use crate::base::thread_counts::{self, CountedThread};
use crate::look::dump::{DumpOptions, dump_all};
use crate::sched::context::{NativeSection, OwnWork};

/// Green threads of a runtime that are listed.
const LISTED: usize = 10_000;

/// The highest number of a signal.
const LAST: i32 = 64;

/// Signals that a program cannot catch, or that a fault of its own raises.
const FORBIDDEN: [i32; 5] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGSEGV,
];

/// Signals by the names that kill(1) gives them.
const NAMES: [(&str, i32); 22] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("SYS", libc::SIGSYS),
];

/// How often each signal has come. Who waits for one waits on its count.
static SENT: [AtomicU32; LAST as usize] = [const { AtomicU32::new(0) }; LAST as usize];

/// What handled each signal before.
static PREVIOUS: [OnceLock<libc::sigaction>; LAST as usize] =
    [const { OnceLock::new() }; LAST as usize];

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
/// thread.
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
    if FORBIDDEN.contains(&signal) {
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
    let count = &SENT[signal as usize - 1];
    let mut seen = count.load(Ordering::Acquire);
    install(signal)?;
    thread::Builder::new()
        .name("green-dump".to_owned())
        .spawn(move || {
            let _own = OwnWork::thread();
            loop {
                let waiting = CountedThread::own_thread();
                let _ = futex::wait(count, futex::Flags::PRIVATE, seen, None);
                drop(waiting);
                let sent = count.load(Ordering::Acquire);
                if sent != seen {
                    seen = sent;
                    write_dump();
                }
            }
        })?;
    Ok(())
}

/// Puts the handler in front of whatever handles the signal now, unless that was done before: a forked child has it from
/// its parent.
fn install(signal: i32) -> io::Result<()> {
    let place = &PREVIOUS[signal as usize - 1];
    if place.get().is_some() {
        return Ok(());
    }
    let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: `handle` has the type that SA_SIGINFO asks for and is async-signal-safe; both places are valid.
    let (error, previous) = unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        let error = libc::sigaction(signal, &action, previous.as_mut_ptr());
        (error, previous.assume_init())
    };
    if error != 0 {
        return Err(io::Error::last_os_error());
    }
    if [libc::SIG_DFL, libc::SIG_IGN].contains(&previous.sa_sigaction) {
        thread_counts::own_signal(signal);
    }
    place.get_or_init(|| previous);
    Ok(())
}

unsafe extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let index = signal as usize - 1;
    SENT[index].fetch_add(1, Ordering::Release);
    let _ = futex::wake(&SENT[index], futex::Flags::PRIVATE, 1);
    if let Some(previous) = PREVIOUS[index].get() {
        // SAFETY: the action that was installed for this signal, with the arguments that the kernel gave us.
        unsafe { signal::call_previous(previous, signal, info, context) };
    }
}

fn write_dump() {
    let options = DumpOptions::new().backtraces(true).limit(LISTED);
    report::write_to_stderr(&text(options));
}

/// All runtimes of the process and their figures, as text for people.
pub(crate) fn text(options: DumpOptions) -> String {
    let dumps = dump_all(options);
    let mut text = String::new();
    for dump in &dumps {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{dump}{}", dump.metrics);
    }
    if dumps.is_empty() {
        text.push_str("no runtime has green threads\n");
    }
    text
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
        let name = word.strip_prefix("SIG").unwrap_or(word);
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|&(_, number)| Signal(number))
            .ok_or(())
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|&&(_, number)| number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
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
