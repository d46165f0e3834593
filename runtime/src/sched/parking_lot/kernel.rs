//! The OS threads of the parking lot: they wait in the kernel, on the real futex, and are counted here.

use std::sync::atomic::{AtomicU32, Ordering, fence};

use rustix::io::Errno;
use rustix::thread::futex;

use super::table::{Bucket, Wait, bucket};
use crate::base::arch;
use crate::base::deadline::Deadline;
use crate::base::process;
use crate::base::thread_counts::CountedThread;

/// As [`wait`](super::wait), but always blocks the kernel thread, green thread or not.
pub(crate) fn wait_in_kernel(word: &AtomicU32, expected: u32, deadline: Option<Deadline>) -> Wait {
    let waiter = match deadline {
        Some(_) => KernelWaiter::register(word.as_ptr()),
        None => KernelWaiter::register_endless(word.as_ptr()),
    };
    wait_in_kernel_as(waiter, word, expected, deadline)
}

pub(super) fn wait_in_kernel_as(
    _waiter: KernelWaiter,
    word: &AtomicU32,
    expected: u32,
    deadline: Option<Deadline>,
) -> Wait {
    let timeout = deadline.map(Deadline::timeout);
    match futex::wait(word, futex::Flags::PRIVATE, expected, timeout.as_ref()) {
        Err(Errno::AGAIN) => Wait::Changed,
        Err(Errno::TIMEDOUT) => Wait::TimedOut,
        _ => Wait::Woken,
    }
}

/// The real call.
pub(crate) fn wake_kernel(address: *const u32, count: u32, bitset: u32) -> u32 {
    if count == 0 {
        return 0;
    }
    let operation = libc::FUTEX_WAKE_BITSET | libc::FUTEX_PRIVATE_FLAG;
    let most = count.min(i32::MAX as u32);
    let arguments = [
        address as usize,
        operation as usize,
        most as usize,
        0,
        0,
        bitset as usize,
    ];
    // SAFETY: the kernel only compares the address with those of its waiters.
    let woken = unsafe { arch::system_call(libc::SYS_futex, arguments) };
    u32::try_from(woken).unwrap_or(0)
}

/// Counts an OS thread that waits on an address by the real futex call, so that wakers make the
/// real call too. Made before the call, dropped after it.
pub struct KernelWaiter {
    bucket: &'static Bucket,
    _endless: Option<CountedThread>,
}

impl KernelWaiter {
    /// Counts the caller as a waiter of `address`.
    #[inline]
    pub fn register(address: *const u32) -> KernelWaiter {
        KernelWaiter::new(address, None)
    }

    /// As [`register`](Self::register), of a caller who waits without deadline, and whom this process alone can wake.
    #[inline]
    pub fn register_endless(address: *const u32) -> KernelWaiter {
        KernelWaiter::new(address, Some(CountedThread::endless_waiter()))
    }

    #[inline]
    fn new(address: *const u32, endless: Option<CountedThread>) -> KernelWaiter {
        let bucket = bucket(address as usize);
        bucket.kernel_waiters.fetch_add(1, Ordering::SeqCst);
        KernelWaiter {
            bucket,
            _endless: endless,
        }
    }
}

impl Drop for KernelWaiter {
    fn drop(&mut self) {
        self.bucket.kernel_waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

/// OS threads that wait in the kernel on addresses nobody here knows.
static UNCOUNTED: AtomicU32 = AtomicU32::new(0);

/// An OS thread that waits in the kernel by a call that names its addresses in a way of its own
/// (`futex_waitv`): while there is one, every wake goes to the kernel too.
pub struct UncountedWaiter(());

impl UncountedWaiter {
    /// Made before the call, dropped after it.
    pub fn register() -> UncountedWaiter {
        UNCOUNTED.fetch_add(1, Ordering::SeqCst);
        UncountedWaiter(())
    }
}

impl Drop for UncountedWaiter {
    fn drop(&mut self) {
        UNCOUNTED.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether an OS thread may wait on `address` in the kernel. To be asked after the word changed.
#[inline]
pub fn has_kernel_waiters(address: *const u32) -> bool {
    fence(Ordering::SeqCst);
    bucket(address as usize)
        .kernel_waiters
        .load(Ordering::SeqCst)
        != 0
        || UNCOUNTED.load(Ordering::SeqCst) != 0
        || process::is_passive()
}
