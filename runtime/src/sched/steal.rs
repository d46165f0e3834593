//! What a worker takes from the others: when it has nothing to do itself, and to even out the queues.

use std::{hint, iter};

use crate::base::deadline::Deadline;
use crate::sched::green::GreenRef;
use crate::sched::run_next;
use crate::sched::shard::Shard;
use crate::sched::worker::Worker;

/// The time between two looks at another worker's queue.
const BALANCE_NANOS: u64 = 1_000_000;

impl Worker {
    /// The shards of the other workers.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Shard> {
        self.others_from(0)
    }

    /// The shards of the other workers, in the order of the list, from some place on.
    fn others_from(&self, start: usize) -> impl Iterator<Item = &Shard> {
        let count = self.shared.shards.len();
        let indices = (0..count).map(move |offset| (start + offset) % count);
        indices
            .filter(|&index| index != self.index)
            .map(|index| &**self.shared.shards.get(index))
    }

    /// Takes half of another worker's queue, beginning with a random one, or what stands in a run-next slot.
    pub(crate) fn steal(&self) -> Option<GreenRef> {
        let start = self.random(self.shared.shards.len());
        let queued = self.others_from(start).find_map(|shard| {
            let early = shard.early.take();
            early.or_else(|| self.queue().steal_from(&shard.thief))
        });
        if queued.is_some() {
            self.shard.counters.steals.add();
        }
        queued
            .or_else(|| self.take_injected())
            .or_else(|| self.steal_next())
    }

    /// Takes what has stood in another worker's run-next slot for long, or waits for a moment whether it does.
    pub(crate) fn steal_next(&self) -> Option<GreenRef> {
        let left = self.others().find(|shard| is_left(shard));
        let green = left?.take_next()?;
        self.shard.counters.steals.add();
        Some(green)
    }

    /// Takes over what stuck workers cannot run.
    pub(crate) fn relieve_stuck(&self) {
        for shard in self.others().filter(|shard| shard.is_stuck()) {
            let early = iter::from_fn(|| shard.early.take());
            for green in shard.take_next().into_iter().chain(early) {
                self.shard.counters.steals.add();
                self.enqueue(green);
            }
            self.take_over(shard, usize::MAX);
        }
    }

    /// If a random other worker's queue is half as long again as this one's, evens out the two, every [`BALANCE_NANOS`]:
    /// without that, each worker's green threads share one processor, however many they are. Smaller differences
    /// come and go, and a green thread's data moves with it.
    pub(crate) fn balance(&self, now: u64) {
        if now < self.balanced.get() + BALANCE_NANOS {
            return;
        }
        self.balanced.set(now);
        let shards = &self.shared.shards;
        let shard = shards.get(self.random(shards.len()));
        let (theirs, own) = (shard.thief.len(), self.queue().len());
        if theirs > own + own / 2 + 1 {
            self.take_over(shard, (theirs - own) / 2);
        }
    }

    fn take_over(&self, shard: &Shard, count: usize) {
        if count > 0 && self.queue().take_over(&shard.thief, count) > 0 {
            self.shard.counters.steals.add();
        }
    }
}

/// Whether a green thread stands in the run-next slot that the worker will not run soon; see `run_next.rs`.
fn is_left(shard: &Shard) -> bool {
    let (run_next, progress) = (&shard.run_next, &shard.progress);
    let turn = progress.turn();
    if !run_next.is_occupied() {
        return false;
    }
    if shard.is_stuck() || run_next.is_announced(turn) {
        return true;
    }
    let until = Deadline::after(run_next::STEAL_AFTER);
    while run_next.is_occupied() && progress.turn() == turn {
        if until.has_passed() {
            return true;
        }
        hint::spin_loop();
    }
    false
}
