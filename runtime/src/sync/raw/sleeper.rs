//! A thread that waits on a word of its own, and whom its waker knows.
//!
//! A green thread needs no wait queue for that: it parks, and its waker unparks it. An OS thread waits in the kernel.

use crate::base::atomic::{AtomicU32, Ordering};
use crate::base::process;
use crate::base::reason::Packed;
use crate::sched::context::{self, NativeSection};
use crate::sched::green::GreenRef;
use crate::sync::raw::wait_limit::WaitLimit;
use crate::wait::futex;
use crate::wait::interrupt::{Interrupted, Limits, WaitEnd};

/// The thread; `None` is an OS thread.
#[derive(Clone)]
pub(crate) struct Sleeper(Option<GreenRef>);

impl Sleeper {
    /// The calling thread.
    #[inline]
    pub(crate) fn current() -> Sleeper {
        Sleeper(context::green())
    }

    /// By the thread itself, as [`WaitLimit::wait`].
    pub(crate) fn wait(
        &self,
        word: &AtomicU32,
        expected: u32,
        limit: WaitLimit,
    ) -> Result<(), Interrupted> {
        let Some(green) = self.0 else {
            return limit.wait(word, expected);
        };
        match limit {
            WaitLimit::Endless => {
                park(green, word, None);
                Ok(())
            }
            WaitLimit::Until(deadline) => {
                let limits = Limits::new(deadline);
                let outcome = limits
                    .check_cancelled()
                    .map_err(WaitEnd::from)
                    .and_then(|()| {
                        park(green, word, Some(&limits));
                        if word.load(Ordering::Acquire) == expected {
                            limits.check()
                        } else {
                            Ok(())
                        }
                    });
                WaitLimit::give_way(outcome.map_err(Interrupted::from))
            }
        }
    }

    /// Wakes the thread after the word on which it waits, at `word`, has changed. The word, and the thread, may be gone
    /// by now.
    #[inline]
    pub(crate) fn wake(self, word: *const AtomicU32) {
        match self.0 {
            Some(_) if process::is_passive() => {}
            Some(green) => green.unpark(),
            None => {
                futex::wake_address(word, 1);
            }
        }
    }
}

/// Waits for an unpark, which may have come by now.
fn park(green: GreenRef, word: &AtomicU32, limits: Option<&Limits>) {
    let _native = NativeSection::enter();
    let reason = Packed::futex(word.as_ptr() as usize);
    green.park_until(green, limits.and_then(Limits::until), reason);
}
