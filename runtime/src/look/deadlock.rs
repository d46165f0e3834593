//! Deadlocks: said once, with the dump that shows who waits where for what.
//!
//! A runtime is in a deadlock when each of its green threads waits for a lock, a channel, a join or an unpark without
//! deadline, and nothing is left that could end one of these waits. Only a running thread can. So the whole process
//! counts:
//!
//! - no green thread of any runtime runs, is ready to, sleeps, or waits for a descriptor or with a deadline;
//! - no green thread is in [`block_on`](crate::block_on()) while a waker of its future is left anywhere;
//! - no waker is left for an event of a descriptor or for a timer ([`future`](crate::future)): what polls the task then, and how
//!   that is woken, is its executor's affair;
//! - every OS thread is either the runtime's own and at rest (a worker asleep or retired, a monitor, the
//!   thread that dumps on a signal), or waits by the runtime's futexes, or a shim's, without deadline (in `Runtime::run`,
//!   most often; in `block_on` with no waker left), and the kernel says that it sleeps;
//! - no signal handler is installed but those of std and the runtime.
//!
//! Any other OS thread, in a read, in `epoll_wait`, in C code, could wake somebody, as far as we can know. Then nothing
//! is said: a deadlock may go unreported, but what is reported is one, unless another process has its hands in this one's
//! memory.
//!
//! The threads are counted, not known one by one: each of the two kinds counts itself while it surely is one, so
//! the sum is never larger than the number of such threads, and equals that of all OS threads only if there are no others.
//! It must be the same, with nobody newly counted, before the threads are looked at and after: so each of those seen
//! asleep was one all the time, and none had woken another before it went to sleep itself.
//!
//! The monitor asks, once each time that the workers have slept for some seconds, so an idle process still uses no CPU; if
//! the answer is no, it asks again only after somebody has run. (Rejected: following who owns what and looking for cycles.
//! std's locks do not tell their owners, and channels and condition variables have none.)

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::base::os_thread;
use crate::base::policy::OnDeadlock;
use crate::base::reason::WaitReason;
use crate::base::report;
use crate::base::thread_counts::{self, Counts};
use crate::look::dump::{self, DumpOptions};
use crate::sched::alarm;
use crate::sched::context::OwnWork;
use crate::sched::green::GreenRef;
use crate::sched::park::ThreadState;
use crate::sched::parking_lot;
use crate::sched::scheduler::Shared;
use crate::wait::descriptor;

/// Green threads that a report lists.
const LISTED: usize = 1000;

/// How often the OS threads are looked at, one of which may be about to go to sleep, and the time in between.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// What a monitor remembers of deadlocks.
#[derive(Default)]
pub(crate) struct DeadlockWatch {
    /// The waits that were reported last.
    reported: Option<Waits>,
}

impl DeadlockWatch {
    /// Reports a deadlock if there is one that was not reported yet. Called by the monitor when all workers of its
    /// runtime have slept for a while.
    pub(crate) fn look(&mut self, shared: &Arc<Shared>) {
        let action = shared.settings.deadlock;
        if action == OnDeadlock::Off || shared.live() == 0 {
            return;
        }
        let waits = waits_for_ever(shared);
        if waits.is_some() && waits != self.reported {
            self.reported = waits;
            report(shared, action);
        }
    }
}

/// Tells the waits of a runtime's green threads from others: which they are, for what, since when.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Waits(u64);

/// The waits of the runtime's green threads, if nothing can end one of them.
fn waits_for_ever(shared: &Shared) -> Option<Waits> {
    let before = endless_waits(shared)?;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            thread::sleep(PAUSE);
        }
        if is_everybody_at_rest() && !has_foreign_handlers() {
            // Nobody has run in between.
            return endless_waits(shared).filter(|&after| after == before);
        }
    }
    None
}

/// The waits of this runtime's green threads, if all green threads of the process wait for threads, without deadline.
fn endless_waits(shared: &Shared) -> Option<Waits> {
    let mut hasher = DefaultHasher::new();
    let mut count = 0;
    for green in GreenRef::all() {
        let Some(snapshot) = green.snapshot() else {
            continue;
        };
        let waiting = snapshot.waiting;
        let is_endless = snapshot.thread_state == ThreadState::Parked
            && waiting.until.is_none()
            && (waiting.reason.unpack()).is_some_and(|reason| needs_a_thread(green, reason));
        if !is_endless {
            return None;
        }
        if green.is_of(shared) {
            count += 1;
            let id = snapshot.task.header().id;
            (id, waiting.reason.word(), waiting.since.as_nanos()).hash(&mut hasher);
        }
    }
    (count > 0 && !may_wake_tasks()).then(|| Waits(hasher.finish()))
}

/// Whether an event or a timer may wake a future's task, whoever polls it, and whomever that wakes.
fn may_wake_tasks() -> bool {
    alarm::is_any_set() || descriptor::has_wakers()
}

/// Whether only another thread can end such a wait, which is under way: neither the kernel nor time.
fn needs_a_thread(green: GreenRef, reason: WaitReason) -> bool {
    match reason {
        WaitReason::Sleep | WaitReason::Read(_) | WaitReason::Write(_) | WaitReason::Poll(_) => {
            false
        }
        WaitReason::Futex(_) | WaitReason::Join(_) | WaitReason::Mutex(_) | WaitReason::Park => {
            true
        }
        // Who keeps a waker, and what makes them use it, cannot be known. Without one the wait never ends.
        WaitReason::Future(address) => {
            let signal = &green.future_signal;
            if signal.address() == address {
                !signal.has_wakers()
            } else {
                !parking_lot::may_be_woken(address)
            }
        }
    }
}

/// Whether every OS thread but the caller is at rest, and counted as one that wakes nobody or waits without deadline.
fn is_everybody_at_rest() -> bool {
    let before = Counts::now();
    let Some(sleepers) = sleeping_threads() else {
        return false;
    };
    // The caller, a monitor, is counted and runs.
    sleepers as u64 + 1 == before.present() && Counts::now() == before
}

/// How many OS threads there are beside the caller, if the kernel says that all of them sleep.
fn sleeping_threads() -> Option<usize> {
    let caller = rustix::thread::gettid().as_raw_pid();
    let mut others = os_thread::all()?;
    others.retain(|&other| other != caller);
    let sleeps = |&other: &i32| os_thread::state(other) == Some('S');
    others.iter().all(sleeps).then_some(others.len())
}

/// Whether a signal is caught by a handler that is not known to wake nobody. True if the kernel does not tell.
fn has_foreign_handlers() -> bool {
    let caught = || {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    // glibc's own, for cancellation and setuid.
    let of_libc = 1 << (32 - 1) | 1 << (33 - 1);
    let known = thread_counts::own_signals() | of_libc;
    caught().is_none_or(|caught| caught & !known != 0)
}

/// Who listens may wait for a lock that one of them holds, and so may who gives names to their stacks: the monitor must
/// not.
fn report(shared: &Arc<Shared>, action: OnDeadlock) {
    let shared = shared.clone();
    let _ = thread::Builder::new()
        .name("green-report".to_owned())
        .spawn(move || {
            let _own = OwnWork::thread();
            let text = describe(&shared, action);
            if action == OnDeadlock::Abort {
                report::write_to_stderr(&format!("greenpatch: {text}"));
                std::process::abort();
            }
            // Not kept alive by a listener that waits.
            drop(shared);
            report::warn(format_args!("{}", text.trim_end()));
        });
}

fn describe(shared: &Arc<Shared>, action: OnDeadlock) -> String {
    let options = DumpOptions::new().backtraces(true).limit(LISTED);
    let dump = dump::of(shared, &options);
    format!(
        "deadlock: every green thread waits for another one, and no other thread of this process could wake one \
         (the setting deadlock is {action})\n{dump}"
    )
}
