//! Calls that an OS thread makes in the place of a green thread, which parks; see `sched/stand_in.rs`.

use super::section::Section;
use crate::base::reason::Packed;
use crate::sched::stand_in::StandIn;

impl Section {
    /// Has `call` made by another OS thread, does `meanwhile`, and parks the green thread until the call has returned. For
    /// those who look from outside it waits on the word at `address`.
    ///
    /// In `call` every shim passes through. The call and what it waits for need no worker. `None` if the system has no OS
    /// thread left for it, or thousands make such calls already; then neither was called.
    ///
    /// # Safety
    ///
    /// `call` and its value may go to another thread. `call` does not depend on who makes it, uses no [`Section`] and does
    /// not panic.
    pub unsafe fn hand_over<F: Fn() -> T, T>(
        &self,
        address: usize,
        call: &F,
        meanwhile: impl FnOnce(),
    ) -> Option<T> {
        let stand_in = StandIn::take()?;
        // SAFETY: a section stands for the calling green thread, which is native meanwhile; the rest is this function's
        // contract.
        let value = unsafe { stand_in.run(self.green(), Packed::futex(address), call, meanwhile) };
        stand_in.give_back();
        Some(value)
    }

    /// As [`hand_over`](Self::hand_over), by one OS thread for all such calls of this green thread: for a mutex at `address`
    /// whose owner the kernel must know. The OS thread is kept after a call whose value `acquires`, until as many calls had
    /// values that `releases`. If the green thread ends before, so does the OS thread.
    ///
    /// # Safety
    ///
    /// As for [`hand_over`](Self::hand_over), but that the call may belong to the OS thread.
    pub unsafe fn hand_over_to_kept<F: Fn() -> T, T>(
        &self,
        address: usize,
        call: &F,
        acquires: impl FnOnce(&T) -> bool,
        releases: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let reason = Packed::mutex(address);
        // SAFETY: a section stands for the calling green thread, which is native meanwhile; the rest is this function's
        // contract.
        unsafe {
            self.green()
                .run_on_kept_stand_in(reason, call, acquires, releases)
        }
    }

    /// Whether an OS thread is kept for this green thread.
    pub fn keeps_stand_in(&self) -> bool {
        self.green().keeps_stand_in()
    }
}
