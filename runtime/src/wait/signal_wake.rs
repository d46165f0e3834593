//! Wake-ups that a signal handler may make, as POSIX allows it for `sem_post`.
//!
//! To wake a green thread takes locks of the runtime, and may take memory. A handler can have interrupted the very code
//! that holds them, and nothing tells handlers from other code. One place is safe: a green thread's own code, on its
//! own stack. No thread holds a lock of the runtime there, and its worker's queue takes no memory. From any other place
//! the address is left in a table, by atomic operations alone, and an OS thread of its own, the *messenger*, makes the
//! wake-up. It starts with the first green thread that waits to be woken so ([`SignalWaiter`]); while none waits,
//! whoever waits is an OS thread, and the kernel is asked directly.
//!
//! A full table is no reason to wait, as that could be for ever. Then the messenger wakes all green threads that wait on
//! any word, which each of them takes for a wake-up without cause.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::thread;

use rustix::thread::futex::{self, Flags};

use crate::base::kernel_futex;
use crate::base::process;
use crate::base::thread_counts::CountedThread;
use crate::sched::context::{self, NativeSection, OwnWork};
use crate::sched::parking_lot::{ANY, wake_all_green, wake_bitset, wake_green, wake_kernel};

const PLACES: usize = 64;

/// Where to wake, and how many: an address, which user space has 47 bits for, and above it a count. 0 is free.
static TABLE: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];

const ADDRESS: u64 = (1 << 48) - 1;
const ONE: u64 = ADDRESS + 1;

/// An address did not fit into the table.
static OVERFLOW: AtomicBool = AtomicBool::new(false);

/// Raised after each change of the two. The messenger waits on it.
static REQUESTS: AtomicU32 = AtomicU32::new(0);

/// Whether there is a messenger.
static MESSENGER: AtomicU32 = AtomicU32::new(ABSENT);

const ABSENT: u32 = 0;
const STARTING: u32 = 1;
const PRESENT: u32 = 2;

/// Green threads that wait to be woken by [`wake_one_from_signal`].
static WAITERS: AtomicU32 = AtomicU32::new(0);

/// A green thread that waits on a word whose waker may be a signal handler.
pub struct SignalWaiter(());

impl SignalWaiter {
    /// Made before the word is compared, dropped after the wait.
    ///
    /// # Errors
    ///
    /// The kernel's if it gives no OS thread.
    pub fn register() -> io::Result<SignalWaiter> {
        start_messenger()?;
        WAITERS.fetch_add(1, Ordering::SeqCst);
        Ok(SignalWaiter(()))
    }
}

impl Drop for SignalWaiter {
    fn drop(&mut self) {
        WAITERS.fetch_sub(1, Ordering::SeqCst);
    }
}

fn start_messenger() -> io::Result<()> {
    while MESSENGER.load(Ordering::Acquire) != PRESENT {
        let turn =
            MESSENGER.compare_exchange(ABSENT, STARTING, Ordering::Acquire, Ordering::Relaxed);
        if turn.is_err() {
            kernel_futex::wait(&MESSENGER, STARTING);
            continue;
        }
        let _native = NativeSection::enter();
        let _own = OwnWork::enter();
        let started = thread::Builder::new()
            .name("green-post".to_owned())
            .spawn(deliver);
        let state = if started.is_ok() { PRESENT } else { ABSENT };
        MESSENGER.store(state, Ordering::Release);
        kernel_futex::wake(&MESSENGER, u32::MAX);
        started?;
    }
    Ok(())
}

/// Wakes one waiter of the word at `address`, of either kind, now or soon. Async-signal-safe; only the address counts, so the
/// word may be gone. Its waiters that are green threads are [`SignalWaiter`]s.
pub fn wake_one_from_signal(address: *const u32) {
    if context::current().is_some() {
        wake_bitset(address, 1, ANY);
        return;
    }
    // The waiter counts itself, then compares the word; the caller has changed the word. One of the two sees the other.
    fence(Ordering::SeqCst);
    if WAITERS.load(Ordering::SeqCst) == 0 || process::is_passive() {
        wake_kernel(address, 1, ANY);
        return;
    }
    if !note(address) {
        wake_kernel(address, 1, ANY);
    }
}

/// As [`wake_one_from_signal`], of green threads only: for a word whose other waiters somebody else wakes.
pub fn wake_one_green_from_signal(address: *const u32) {
    if context::current().is_some() {
        wake_green(address, 1, ANY);
        return;
    }
    // As above.
    fence(Ordering::SeqCst);
    if WAITERS.load(Ordering::SeqCst) != 0 && !process::is_passive() {
        note(address);
    }
}

/// Leaves a wake-up to the messenger. False if the table was full, so that it will wake green threads only.
fn note(address: *const u32) -> bool {
    let is_placed = place(address as u64);
    if !is_placed {
        OVERFLOW.store(true, Ordering::Release);
    }
    REQUESTS.fetch_add(1, Ordering::Release);
    let _ = futex::wake(&REQUESTS, Flags::PRIVATE, 1);
    is_placed
}

/// Notes one wake-up at `address`; false if there is no room.
fn place(address: u64) -> bool {
    let first = (address / 16) as usize;
    (0..PLACES).any(|offset| {
        TABLE[(first + offset) % PLACES]
            .fetch_update(Ordering::Release, Ordering::Relaxed, |noted| match noted {
                0 => Some(address | ONE),
                _ if noted & ADDRESS == address => noted.checked_add(ONE),
                _ => None,
            })
            .is_ok()
    })
}

/// The body of the messenger.
fn deliver() {
    let _own = OwnWork::thread();
    loop {
        let seen = REQUESTS.load(Ordering::Acquire);
        for place in &TABLE {
            let noted = place.swap(0, Ordering::Acquire);
            if noted != 0 {
                let address = (noted & ADDRESS) as *const u32;
                wake_bitset(address, (noted / ONE) as u32, ANY);
            }
        }
        if OVERFLOW.swap(false, Ordering::Acquire) {
            wake_all_green();
        }
        let _waiting = CountedThread::own_thread();
        let _ = futex::wait(&REQUESTS, Flags::PRIVATE, seen, None);
    }
}

/// A forked child has neither messenger nor waiters.
pub(crate) fn reset_after_fork() {
    MESSENGER.store(ABSENT, Ordering::Relaxed);
    WAITERS.store(0, Ordering::Relaxed);
    OVERFLOW.store(false, Ordering::Relaxed);
    for place in &TABLE {
        place.store(0, Ordering::Relaxed);
    }
}
