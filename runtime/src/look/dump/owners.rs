//! Who holds what others wait for: pthread mutexes have an owner, std's locks and ours do not.
//!
//! A mutex names its owner by thread id. That of a green thread stands in its thread control block, so all slots are looked
//! through; an id that none of them has is an OS thread's.

use std::collections::HashMap;

use super::Owner;
use crate::base::reason::WaitReason;
use crate::body::tls;
use crate::sched::green::{GreenRef, GreenSnapshot};
use crate::sched::park::ThreadState;
use crate::sched::parking_lot;

/// Who holds the mutexes that are waited for.
pub(super) struct Owners(HashMap<usize, Owner>);

impl Owners {
    pub(super) fn none() -> Owners {
        Owners(HashMap::new())
    }

    /// Of the mutexes that these green threads wait for.
    pub(super) fn find<'a>(waiting: impl Iterator<Item = &'a GreenSnapshot>) -> Owners {
        let mut ids: HashMap<usize, i32> = HashMap::new();
        for snapshot in waiting {
            if let Some(WaitReason::Mutex(address)) = snapshot.waiting.reason.unpack()
                && snapshot.thread_state == ThreadState::Parked
                && !ids.contains_key(&address)
                && let Some(id) = parking_lot::owner_of(address).filter(|&id| id != 0)
            {
                ids.insert(address, id);
            }
        }
        if ids.is_empty() {
            return Owners::none();
        }
        let layout = tls::layout();
        let mut owners: HashMap<i32, Owner> =
            ids.values().map(|&id| (id, Owner::OsThread(id))).collect();
        for green in GreenRef::all() {
            if let Some(owner) = owners.get_mut(&green.block().thread_id(layout))
                && let Some(snapshot) = green.snapshot()
            {
                *owner = Owner::GreenThread {
                    id: snapshot.task.header().id,
                    name: snapshot.name.to_text(),
                };
            }
        }
        let named = ids.iter().filter_map(|(&address, id)| {
            let owner = owners.get(id)?.clone();
            Some((address, owner))
        });
        Owners(named.collect())
    }
    /// Who holds the mutex at this address, if that is known.
    pub(super) fn of(&self, address: usize) -> Option<Owner> {
        self.0.get(&address).cloned()
    }
}
