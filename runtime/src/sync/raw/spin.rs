//! A short wait on the processor, for a holder that may be about to leave.

use std::hint;

use crate::sched::context;

/// Looks at a word before a lock parks its thread; as many as std's locks take.
const LOOKS: u32 = 100;

/// Returns as soon as `is_held` is false, or after a microsecond or so. At once where the holder cannot be running
/// now: on the only worker of a runtime.
pub(crate) fn while_held(is_held: impl Fn() -> bool) {
    if context::worker().is_some_and(|worker| worker.shared.settings.workers == 1) {
        return;
    }
    for _ in 0..LOOKS {
        if !is_held() {
            return;
        }
        hint::spin_loop();
    }
}
