//! The pthread barrier, one implementation for green threads and OS threads.
//!
//! glibc's object and `init`; `wait` and `destroy` are replaced together, on all threads. Barriers shared between
//! processes are left to glibc, and the call to another OS thread while a green thread parks (see `shared`).
//!
//! # Algorithm
//!
//! One 64-bit word holds the number of threads that have come in this round and the number of the round. To come is to
//! raise the first; the last one to come sets it to 0 and raises the second in the same exchange, so that those who
//! come later count for the next round. Who is not the last waits while the round is the one it came in.
//!
//! **Destruction.** The last one returns while the others have yet to see the new round, and may destroy the
//! barrier. So before that exchange it counts those that have to leave, each of which counts itself out with its last touch,
//! and `destroy` waits for all to have left.

use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use greenpatch_runtime::futex::ANY;
use libc::pthread_barrier_t;

use crate::shared::handed_over;
use crate::word::{self, Cancellation};

originals! {
    fn pthread_barrier_wait(barrier: *mut pthread_barrier_t) -> c_int;
    fn pthread_barrier_destroy(barrier: *mut pthread_barrier_t) -> c_int;
}

/// glibc's `struct pthread_barrier`.
#[repr(C)]
struct Barrier {
    /// glibc's `in` and `current_round`: who has come, and above it the round.
    progress: AtomicU64,
    count: AtomicU32,
    /// 0 if only this process uses it.
    sharing: AtomicI32,
    /// glibc's `out`: how many have to leave, and whether `DESTROYED`.
    leaving: AtomicU32,
}

const _: () = assert!(size_of::<Barrier>() <= size_of::<pthread_barrier_t>());
const _: () = assert!(align_of::<Barrier>() <= align_of::<pthread_barrier_t>());

/// In `leaving`: `destroy` waits for the number to be 0.
const DESTROYED: u32 = 1 << 31;

impl Barrier {
    /// The barrier at this address if it is ours.
    ///
    /// # Safety
    ///
    /// `barrier` points to an initialised barrier, which stays in place for `'a`.
    unsafe fn ours<'a>(barrier: *mut pthread_barrier_t) -> Option<&'a Barrier> {
        // SAFETY: the barrier is initialised and stays in place, by this function's contract; every field is an atomic.
        let barrier = unsafe { &*barrier.cast::<Barrier>() };
        (barrier.sharing.load(Ordering::Relaxed) == 0).then_some(barrier)
    }

    /// The half of the word that is waited on: the second, on a little-endian machine.
    fn round(&self) -> &AtomicU32 {
        // SAFETY: within the word, and aligned. Nothing writes it so.
        unsafe { AtomicU32::from_ptr(self.progress.as_ptr().cast::<u32>().add(1)) }
    }

    fn wait(&self) -> c_int {
        let count = self.count.load(Ordering::Relaxed);
        let mut before = self.progress.load(Ordering::Relaxed);
        loop {
            let (round, come) = ((before >> 32) as u32, before as u32 + 1);
            let is_last = come == count;
            let after = if is_last {
                // None of those who will leave does so before the exchange.
                self.leaving.fetch_add(count - 1, Ordering::Relaxed);
                u64::from(round.wrapping_add(1)) << 32
            } else {
                before + 1
            };
            match self.progress.compare_exchange_weak(
                before,
                after,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) if is_last => break,
                Ok(_) => {
                    self.wait_for_end_of(round);
                    return 0;
                }
                Err(current) => {
                    if is_last {
                        self.leaving.fetch_sub(count - 1, Ordering::Relaxed);
                    }
                    before = current;
                }
            }
        }
        let address = self.round().as_ptr();
        if count > 1 {
            word::wake(address, u32::MAX, ANY);
        }
        libc::PTHREAD_BARRIER_SERIAL_THREAD
    }

    fn wait_for_end_of(&self, round: u32) {
        while self.round().load(Ordering::Acquire) == round {
            word::wait(self.round(), round, ANY, None, Cancellation::Ignored);
        }
        let address = self.leaving.as_ptr();
        if self.leaving.fetch_sub(1, Ordering::Release) == DESTROYED + 1 {
            word::wake(address, 1, ANY);
        }
    }

    fn destroy(&self) {
        let mut leaving = self.leaving.fetch_or(DESTROYED, Ordering::Acquire) | DESTROYED;
        while leaving != DESTROYED {
            word::wait(&self.leaving, leaving, ANY, None, Cancellation::Ignored);
            leaving = self.leaving.load(Ordering::Acquire);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_barrier_wait(barrier: *mut pthread_barrier_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised barrier, in place until it is destroyed.
    match unsafe { Barrier::ours(barrier) } {
        Some(barrier) => barrier.wait(),
        None => handed_over(barrier, || {
            pass_on!(original::pthread_barrier_wait(barrier))
        }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_barrier_destroy(barrier: *mut pthread_barrier_t) -> c_int {
    // SAFETY: POSIX asks the caller for an initialised barrier, in place until it is destroyed.
    match unsafe { Barrier::ours(barrier) } {
        Some(barrier) => {
            barrier.destroy();
            0
        }
        None => handed_over(barrier, || {
            pass_on!(original::pthread_barrier_destroy(barrier))
        }),
    }
}
