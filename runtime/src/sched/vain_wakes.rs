//! Whether a green thread is woken again and again in vain: it *starves*. What follows, `parking_lot.rs` says.

use std::cell::Cell;
use std::time::Duration;

use crate::base::deadline::Deadline;

/// Wake-ups in a row after which it is asked for how long they have gone on.
const VAIN_WAKES: u32 = 8;

/// How long a green thread is woken and waits for the same again before it is starving. Those that answer each other are woken
/// so, too; to let them run costs little, as rarely as that.
const VAIN_TIME: Duration = Duration::from_millis(5);

/// How often a green thread was woken in vain, in a row. Used by that green thread alone.
#[derive(Default)]
pub(crate) struct VainWakes {
    address: Cell<usize>,
    count: Cell<u32>,
    /// When there had been so many for the first time.
    since: Cell<Option<Deadline>>,
    /// The worker's turn in which it was last woken.
    turn: Cell<u32>,
}

impl VainWakes {
    /// The green thread waits at `address`, in this turn: whether it is starving.
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

    /// The green thread was woken, and goes on in this turn.
    #[inline]
    pub(super) fn wakes(&self, turn: u32) {
        self.turn.set(turn);
    }
}
