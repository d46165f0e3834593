//! Stack memory that parked green threads do not need goes back to the kernel.
//!
//! A stack takes memory as deep as it has ever been used. A green thread that has once handled a large request, and waits for the
//! next one, keeps those pages. Everything below the stack pointer of one that is parked is garbage, so the kernel may have it: the
//! next use finds zeros in fresh pages, at the price of a fault for each.
//!
//! **Which pages.** A green thread notes its stack pointer before it parks (`parked_at`). Below that stand the frames of the switch,
//! and what the ABI lets a function keep below the stack pointer (the red zone, 128 bytes). They are some hundred bytes, with or
//! without optimization; [`KEPT`] is a page, and the page that it ends in stays too. If the note does not lie in the slot's stack, the
//! green thread is adopted, or it parks on a stack that the program has made: nobody knows then what stands where, and nothing
//! is given back.
//!
//! **Whose word that is.** A program may make a stack *within* its green thread's: a context in an array of a function's. Who parks
//! there has frames both above and far below its stack pointer, and nothing here can tell. (The unwinder could, but it needs
//! kilobytes of a stack of which nobody knows how large it is.) So nothing is given back unless whoever asks for it says that
//! there is no such stack: the functions are unsafe, and the setting is off.
//!
//! **When.** The green thread is *held* meanwhile (`park.rs`): it is parked, and nobody resumes it. A wake-up that comes is carried out
//! afterwards, some microseconds late. Upon request ([`Runtime::trim`](crate::Runtime::trim)) that is done to all who have waited
//! for long enough. With the setting `trim_after` the monitor does it by itself to those who have waited for so long, and to those
//! who have waited for [`LONG_WAIT`] when memory is short: when the kernel says that tasks have waited for memory ("some" of its pressure stall
//! information) for more than [`SHORTAGE`] of the time since the last look. It looks while the process does something. One that is
//! quite idle is not woken for this.
//!
//! Each wait is trimmed once. `benches/trim.rs` measures it: 10,000 green threads that had used 196 KiB of their stacks each gave back
//! 1,914 MiB in 0.29 s, nearly all of it the kernel's time to free the pages; to use as much again took each of them 50 µs
//! longer. To find that a green thread's wait was trimmed before takes 0.13 µs.

use std::ffi::c_void;
use std::fs;
use std::time::Duration;

use rustix::mm::{Advice, madvise};

use crate::base::deadline::Deadline;
use crate::body::region::PAGE;
use crate::body::slot;
use crate::sched::green::GreenRef;
use crate::sched::park::ThreadState;
use crate::sched::scheduler::Shared;

/// Bytes below the noted stack pointer that stay.
const KEPT: usize = 4096;

/// When memory is short, who has waited for so long gives back what it does not need.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// Memory is short if tasks have waited for it for this part of the time: one in a hundred.
const SHORTAGE: u32 = 100;

/// Gives back stack memory of the runtime's green threads that have been parked for at least `parked_for`. Gives the number
/// of bytes.
///
/// # Safety
///
/// None of them is parked on a stack that stands within its own.
pub(crate) unsafe fn trim_parked(shared: &Shared, parked_for: Duration) -> usize {
    let now = Deadline::now();
    let is_long = |green: &GreenRef| {
        let state = green.park.look();
        state == ThreadState::Parked && green.waiting().since.plus(parked_for) <= now
    };
    GreenRef::all()
        .filter(|green| green.is_of(shared) && is_long(green))
        // SAFETY: by this function's contract.
        .map(|green| unsafe { green.trim() })
        .sum()
}

impl GreenRef {
    /// Gives back what the green thread does not need, if it is parked. Gives the number of bytes.
    ///
    /// # Safety
    ///
    /// As [`trim_parked`].
    unsafe fn trim(self) -> usize {
        if !self.park.hold() {
            return 0;
        }
        let since = Some(self.waiting().since);
        let mut given_back = 0;
        if self.trimmed.replace(since) != since {
            // SAFETY: it is held, and the rest by this function's contract.
            given_back = unsafe { self.trim_held() };
        }
        self.let_go();
        given_back
    }

    /// As [`trim`](Self::trim).
    ///
    /// # Safety
    ///
    /// As [`trim_parked`]; the caller holds the green thread.
    unsafe fn trim_held(self) -> usize {
        let (slot, stack_pointer) = (&self.slot, self.parked_at.get());
        if !slot.holds_stack(stack_pointer) {
            return 0;
        }
        let end = stack_pointer.saturating_sub(KEPT) & !(PAGE - 1);
        if end <= slot.stack_limit {
            return 0;
        }
        let used = slot::deepest_use(slot.stack_limit, end);
        if used == 0 {
            return 0;
        }
        // SAFETY: pages of the slot's stack below the frame that has parked, and below which are no others, by this function's
        // contract. The green thread is held, so that it is not resumed: nobody uses what stands there.
        let outcome = unsafe { madvise((end - used) as *mut c_void, used, Advice::LinuxDontNeed) };
        if outcome.is_ok() { used } else { 0 }
    }
}

/// What the monitor knows of how short memory is.
pub(crate) struct MemoryWatch {
    /// When it last looked, and for how long tasks had waited by then.
    last: Option<(Deadline, Duration)>,
}

impl MemoryWatch {
    pub(crate) fn new() -> MemoryWatch {
        MemoryWatch { last: None }
    }

    /// At regular intervals: trims what is to be trimmed, if that is wanted at all.
    pub(crate) fn look(&mut self, shared: &Shared, now: Deadline) {
        let Some(parked_for) = shared.settings.trim_after else {
            return;
        };
        let is_short = time_waited().is_some_and(|waited| self.is_short(now, waited));
        let parked_for = match is_short {
            true => parked_for.min(LONG_WAIT),
            false => parked_for,
        };
        // SAFETY: whoever has chosen the setting has said so.
        unsafe { trim_parked(shared, parked_for) };
    }

    /// Whether tasks, which have waited for so long by now, have done so for much of the time since the last look.
    fn is_short(&mut self, now: Deadline, waited: Duration) -> bool {
        let Some((then, before)) = self.last.replace((now, waited)) else {
            return false;
        };
        waited.saturating_sub(before) * SHORTAGE > now.since(then)
    }
}

/// For how long tasks have waited for memory so far: those of the process's group if the kernel tells, else all. `None` if it tells
/// nothing.
fn time_waited() -> Option<Duration> {
    let of_group = || {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        fs::read_to_string(format!("/sys/fs/cgroup{group}/memory.pressure")).ok()
    };
    let pressure = of_group().or_else(|| fs::read_to_string("/proc/pressure/memory").ok())?;
    total(&pressure).map(Duration::from_micros)
}

/// The microseconds that the line "some" counts.
fn total(pressure: &str) -> Option<u64> {
    let some = pressure.lines().find(|line| line.starts_with("some "))?;
    let total = some
        .split_whitespace()
        .find_map(|word| word.strip_prefix("total="));
    total?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::runtime::handle::Runtime;

    #[test]
    fn the_kernels_page_on_pressure_is_read() {
        let page = "some avg10=0.12 avg60=0.09 avg300=0.02 total=4576445\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=2460286\n";
        assert_eq!(total(page), Some(4_576_445));
        assert_eq!(total("full avg10=0.00 total=1\n"), None);
        assert_eq!(total(""), None);
    }

    #[test]
    fn without_the_setting_nobody_looks_whether_memory_is_short() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let mut watch = MemoryWatch::new();
        watch.look(&runtime.shared, Deadline::now());
        assert!(watch.last.is_none());
    }

    #[test]
    fn memory_is_short_if_tasks_wait_for_it_for_more_than_a_hundredth_of_the_time() {
        let at = |seconds: u64| Deadline::from_nanos(seconds * 1_000_000_000);
        let mut watch = MemoryWatch::new();
        assert!(
            !watch.is_short(at(1), Duration::from_secs(9)),
            "the first look"
        );
        assert!(!watch.is_short(at(2), Duration::from_millis(9_010)));
        assert!(watch.is_short(at(3), Duration::from_millis(9_021)));
        assert!(!watch.is_short(at(4), Duration::from_millis(9_021)));
    }
}
