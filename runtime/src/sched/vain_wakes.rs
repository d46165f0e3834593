//! Whether a green thread *starves*: is woken again and again in vain. `parking_lot.rs` says what is done about that.

use std::cell::Cell;
use std::time::Duration;

use crate::base::deadline::Deadline;

/// After so many vain wake-ups in a row, the clock is asked how long they have gone on.
const VAIN_WAKES: u32 = 8;

/// How long a green thread must have been woken in vain before it counts as starving. Green threads that answer each other look
/// the same after that time; to yield to them costs little, as it happens so rarely.
const VAIN_TIME: Duration = Duration::from_millis(5);

/// How often a green thread was woken in vain, in a row. Used by that green thread alone.
#[derive(Default)]
pub(crate) struct VainWakes {
    address: Cell<usize>,
    count: Cell<u32>,
    /// When there had been [`VAIN_WAKES`] for the first time.
    since: Cell<Option<Deadline>>,
    /// The worker's turn in which it was last woken.
    turn: Cell<u32>,
}

impl VainWakes {
    /// Notes that the green thread waits at `address` in this turn; true if it is starving.
    #[inline]
    pub(super) fn waits_at(&self, address: usize, turn: u32) -> bool {
        let is_vain = self.address.replace(address) == address && self.turn.get() == turn;
        if !is_vain {
            self.count.set(0);
            self.since.set(None);
            return false;
        }
        let count = self.count.get() + 1;
        self.count.set(count % VAIN_WAKES);
        count == VAIN_WAKES && self.have_lasted()
    }

    #[cold]
    fn have_lasted(&self) -> bool {
        let now = Deadline::now_coarse();
        match self.since.get() {
            None => {
                self.since.set(Some(now));
                false
            }
            Some(since) => {
                let have_lasted = since.plus(VAIN_TIME) <= now;
                if have_lasted {
                    self.since.set(None);
                }
                have_lasted
            }
        }
    }

    /// Notes that the green thread was woken, and goes on in this turn.
    #[inline]
    pub(super) fn wakes(&self, turn: u32) {
        self.turn.set(turn);
    }
}
