//! One-time initialization.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::AtomicU32;

use super::raw::once::{Claim, INCOMPLETE, RawOnce};
use super::raw::wait_limit::{Interrupted, WaitLimit};

/// Runs something once; mirrors [`std::sync::Once`], poisoning included.
///
/// ```
/// use greenpatch_runtime::sync::Once;
///
/// static START: Once = Once::new();
/// let mut runs = 0;
/// START.call_once(|| runs += 1);
/// START.call_once(|| runs += 1);
/// assert!(START.is_completed() && runs == 1);
/// ```
pub struct Once(RawOnce);

impl UnwindSafe for Once {}
impl RefUnwindSafe for Once {}

/// What [`Once::call_once_force`] tells its closure; mirrors [`std::sync::OnceState`].
pub struct OnceState {
    poisoned: bool,
}

impl Once {
    /// One that nothing was run for.
    pub const fn new() -> Once {
        Once(RawOnce(AtomicU32::new(INCOMPLETE)))
    }

    /// Runs `f` if nothing has been run yet; waits for whoever does it. Afterwards it has been run, and what it did is
    /// visible to the caller. It must not call this again for the same `Once`: that would wait for itself.
    ///
    /// # Panics
    ///
    /// If a closure has panicked, this one or an earlier one.
    #[track_caller]
    pub fn call_once<F: FnOnce()>(&self, f: F) {
        if !self.is_completed() {
            self.call(false, |_| f());
        }
    }

    /// As [`call_once`](Self::call_once), but runs `f` also if an earlier closure has panicked, and tells it so.
    ///
    /// # Panics
    ///
    /// If `f` does.
    pub fn call_once_force<F: FnOnce(&OnceState)>(&self, f: F) {
        if !self.is_completed() {
            self.call(true, f);
        }
    }

    /// Whether a closure has run to its end.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.0.is_complete()
    }

    /// Waits until a closure has run to its end, without running one.
    ///
    /// # Panics
    ///
    /// If a closure has panicked.
    #[track_caller]
    pub fn wait(&self) {
        if self.0.wait(false, WaitLimit::Endless) == Ok(false) {
            panic_poisoned();
        }
    }

    /// As [`wait`](Self::wait), but goes on waiting if a closure has panicked.
    pub fn wait_force(&self) {
        self.wait_until(WaitLimit::Endless)
            .expect("an endless wait is not cut short");
    }

    /// As [`wait_force`](Self::wait_force), and can be cut short.
    pub(super) fn wait_until(&self, limit: WaitLimit) -> Result<(), Interrupted> {
        self.0.wait(true, limit).map(|_| ())
    }

    #[cold]
    #[track_caller]
    fn call(&self, forgive: bool, f: impl FnOnce(&OnceState)) {
        match self.0.begin(forgive) {
            Claim::Complete => {}
            Claim::Poisoned => panic_poisoned(),
            Claim::Mine { poisoned } => {
                let mut running = Running {
                    once: &self.0,
                    panicked: true,
                };
                f(&OnceState { poisoned });
                running.panicked = false;
            }
        }
    }
}

#[cold]
#[track_caller]
fn panic_poisoned() -> ! {
    panic!("a one-time initialization is not repeated after it has panicked");
}

/// Ends the run, by a panic too.
struct Running<'a> {
    once: &'a RawOnce,
    panicked: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.once.end(self.panicked);
    }
}

impl Default for Once {
    fn default() -> Once {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}

impl OnceState {
    /// Whether an earlier closure has panicked.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }
}

impl fmt::Debug for OnceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceState")
            .field("poisoned", &self.is_poisoned())
            .finish()
    }
}
