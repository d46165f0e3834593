//! Wake-ups that a signal handler may make, as POSIX allows it for `sem_post`.
//!
//! To wake a green thread takes locks of the runtime, and may take memory. A handler can have interrupted the very code
//! that holds them, and nothing tells handlers from other code. One place is safe: a green thread's own code, on its
//! own stack. No thread holds a lock of the runtime there, and its worker's queue takes no memory. From any other place
//! the address is left in a table, by atomic operations alone, and an OS thread of its own, the *delivery thread*, makes
//! the wake-up. It starts with the first green thread that waits to be woken so ([`SignalWaiter`]); while none waits,
//! whoever waits is an OS thread, and the kernel is asked directly.
//!
//! A full table is no reason to wait, as that could be for ever. Then the delivery thread wakes all green threads that
//! wait on any word, which each of them takes for a wake-up without cause.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::thread;

use rustix::thread::futex::{self, Flags};

use crate::base::kernel_futex;
use crate::base::process;
use crate::base::thread_counts::CountedThread;
use crate::sched::context::{self, NativeSection, OwnWork};
use crate::sched::parking_lot::{ANY, wake_all_green, wake_bitset, wake_kernel};

const CAPACITY: usize = 64;

/// Where to wake, and how many: an address, which user space has 47 bits for, and above it a count. 0 is free.
static TABLE: [AtomicU64; CAPACITY] = [const { AtomicU64::new(0) }; CAPACITY];

const ADDRESS: u64 = (1 << 48) - 1;
const ONE: u64 = ADDRESS + 1;

/// An address did not fit into the table.
static OVERFLOW: AtomicBool = AtomicBool::new(false);

/// Raised after each change of the two. The delivery thread waits on it.
static REQUESTS: AtomicU32 = AtomicU32::new(0);

/// Whether there is a delivery thread.
static DELIVERY_THREAD: AtomicU32 = AtomicU32::new(ABSENT);

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
        start_delivery_thread()?;
        WAITERS.fetch_add(1, Ordering::SeqCst);
        Ok(SignalWaiter(()))
    }
}

impl Drop for SignalWaiter {
    fn drop(&mut self) {
        WAITERS.fetch_sub(1, Ordering::SeqCst);
    }
}

fn start_delivery_thread() -> io::Result<()> {
    while DELIVERY_THREAD.load(Ordering::Acquire) != PRESENT {
        let claim = DELIVERY_THREAD.compare_exchange(
            ABSENT,
            STARTING,
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        if claim.is_err() {
            kernel_futex::wait(&DELIVERY_THREAD, STARTING);
            continue;
        }
        let _native = NativeSection::enter();
        let _own = OwnWork::enter();
        let started = thread::Builder::new()
            .name("green-post".to_owned())
            .spawn(deliver);
        let state = if started.is_ok() { PRESENT } else { ABSENT };
        DELIVERY_THREAD.store(state, Ordering::Release);
        kernel_futex::wake(&DELIVERY_THREAD, u32::MAX);
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
    if !hand_over(address) {
        wake_kernel(address, 1, ANY);
    }
}

/// Leaves a wake-up to the delivery thread. False if the table was full, so that it will wake green threads only.
fn hand_over(address: *const u32) -> bool {
    let is_remembered = remember(address as u64);
    if !is_remembered {
        OVERFLOW.store(true, Ordering::Release);
    }
    REQUESTS.fetch_add(1, Ordering::Release);
    let _ = futex::wake(&REQUESTS, Flags::PRIVATE, 1);
    is_remembered
}

/// Remembers one wake-up at `address`; false if there is no room.
fn remember(address: u64) -> bool {
    let first = (address / 16) as usize;
    (0..CAPACITY).any(|offset| {
        TABLE[(first + offset) % CAPACITY]
            .fetch_update(Ordering::Release, Ordering::Relaxed, |noted| match noted {
                0 => Some(address | ONE),
                _ if noted & ADDRESS == address => noted.checked_add(ONE),
                _ => None,
            })
            .is_ok()
    })
}

/// The body of the delivery thread.
fn deliver() {
    let _own = OwnWork::thread();
    loop {
        let seen = REQUESTS.load(Ordering::Acquire);
        for entry in &TABLE {
            let noted = entry.swap(0, Ordering::Acquire);
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

/// A forked child has neither delivery thread nor waiters.
pub(crate) fn reset_after_fork() {
    DELIVERY_THREAD.store(ABSENT, Ordering::Relaxed);
    WAITERS.store(0, Ordering::Relaxed);
    OVERFLOW.store(false, Ordering::Relaxed);
    for entry in &TABLE {
        entry.store(0, Ordering::Relaxed);
    }
}
