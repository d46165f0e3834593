//! Setting timers for futures, on any thread.
//!
//! A waker is cloned before the wheel's lock is taken, and dropped after it is let go: both are user code. An alarm that is set
//! already, for no later time, stays where it is: so it costs one look under the lock to poll a sleep again, or to put it off.
//!
//! **The end of the runtime.** The last worker that leaves marks the reactor as abandoned, and then takes all alarms out of the
//! wheels and wakes their tasks, so that they are polled once more. Who sets an alarm looks at the mark under the lock: it is
//! either refused or still taken out.

use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::Waker;

use crate::base::deadline::Deadline;
use crate::sched::alarm::{self, TimerOwner};
use crate::sched::context;
use crate::sched::green::GreenRef;
use crate::sched::scheduler::Shared;

pub(crate) type Alarm = alarm::Alarm<GreenRef>;

/// Which shard of its runtime an alarm stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlarmPlace(u32);

/// No worker looks at the runtime's timers any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abandoned;

/// Where a new alarm is to stand: with the worker that the caller runs on, if it is one of this runtime's.
pub(crate) fn place(shared: &Arc<Shared>, alarm: &Alarm) -> AlarmPlace {
    let index = match context::worker() {
        Some(worker) if Arc::ptr_eq(&worker.shared, shared) => worker.index,
        // One of them, by and by each.
        _ => ptr::from_ref(alarm).addr() / size_of::<Alarm>() % shared.shards.len(),
    };
    AlarmPlace(index as u32)
}

/// Sees to it that `waker` is woken at `deadline`, or before.
///
/// # Errors
///
/// If the runtime has ended.
///
/// # Safety
///
/// The alarm is used with this runtime and place only, by one thread at a time, and stays where it is until [`cancel`] has
/// returned. If it `may_be_set`, that is said.
pub(crate) unsafe fn set(
    shared: &Arc<Shared>,
    alarm: &Alarm,
    AlarmPlace(index): AlarmPlace,
    deadline: Deadline,
    may_be_set: bool,
    waker: &Waker,
) -> Result<(), Abandoned> {
    let shard = shared.shards.get(index as usize);
    let mut own = (!may_be_set).then(|| waker.clone());
    let (before, fires) = loop {
        let mut wheel = shard.wheel();
        let is_kept = wheel.fires_by(&alarm.timer, deadline.as_nanos());
        if is_kept {
            let held = alarm.waker.take();
            let is_same = held.as_ref().is_some_and(|held| held.will_wake(waker));
            alarm.waker.set(held);
            if is_same {
                return Ok(());
            }
        }
        let Some(new) = own.take() else {
            drop(wheel);
            own = Some(waker.clone());
            continue;
        };
        if shared.reactor.is_abandoned() {
            drop(wheel);
            drop(new);
            return Err(Abandoned);
        }
        let before = alarm.waker.replace(Some(new));
        if is_kept {
            break (before, None);
        }
        // SAFETY: the alarm is used with this place only, by this function's contract.
        if !unsafe { wheel.cancel(&alarm.timer) } {
            shard.alarms().add();
        }
        let owner = TimerOwner::Alarm(NonNull::from(alarm));
        // SAFETY: it is in no wheel now, and stays where it is, by this function's contract.
        let fires = unsafe { shard.insert_into(&mut wheel, &alarm.timer, deadline, owner) };
        break (before, Some(fires));
    };
    if let Some(fires) = fires {
        match context::worker() {
            Some(worker) if Arc::ptr_eq(&worker.shared, shared) => shared.timer_inserted(fires),
            _ => shared.timer_inserted_outside(fires),
        }
    }
    // Last, as it may panic.
    drop(before);
    Ok(())
}

/// Takes an alarm out, whether or not it has gone off.
pub(crate) fn cancel(shared: &Shared, alarm: &Alarm, AlarmPlace(index): AlarmPlace) {
    let shard = shared.shards.get(index as usize);
    let mut wheel = shard.wheel();
    // SAFETY: an alarm is used with its place only.
    if unsafe { wheel.cancel(&alarm.timer) } {
        shard.alarms().remove();
    }
    let waker = alarm.waker.take();
    drop(wheel);
    drop(waker);
}
