//! How a worker sleeps: in the reactor or on standby, as `idle.rs` and `standby.rs` say.

use rustix::thread::sched_getcpu;

use crate::base::deadline::Deadline;
use crate::sched::green::GreenRef;
use crate::sched::idle::SleepPlace;
use crate::sched::standby;
use crate::sched::worker::Worker;

impl Worker {
    /// Sleeps unless there is something to do. The worker is a searcher afterwards, and may have taken a green thread out of
    /// another worker's run-next slot.
    pub(crate) fn sleep(&self, searching: bool) -> Option<GreenRef> {
        let shared = &*self.shared;
        let shard = &*self.shard;
        // One worker alone has nobody to stand by for.
        let place = if shared.worker_count.serving() > 1 && self.others_are_prompt() {
            // It may have taken the timer's event.
            shared.keep_timer_armed();
            SleepPlace::Standby
        } else {
            SleepPlace::Reactor
        };
        let signals = shared.standby.signals();
        shared.idle.sleep(searching, place);
        shard.prepare_wait_for_pinned();
        let has_work = match place {
            SleepPlace::Reactor => shared.may_have_work(),
            SleepPlace::Standby => shared.has_work(),
        };
        let stay = has_work || !shard.pinned_queue.is_empty() || shared.is_over();
        if stay || (place == SleepPlace::Reactor && !shared.arm_timer()) {
            shard.cancel_wait_for_pinned();
            shared.idle.wake(place, false);
            return None;
        }
        self.shard.progress.falls_asleep(sched_getcpu() as u32);
        shared.worker_sleeps();
        // No notification here: this worker still counts as a sleeper. As a searcher that finds work
        // it will look whether there is more.
        let mut stolen = None;
        if place == SleepPlace::Reactor || self.stand_by(signals, &mut stolen) {
            self.wait_in_reactor();
        }
        self.count_turn();
        shared.worker_wakes();
        self.shard.progress.wakes();
        stolen
    }

    /// Whether the other workers find what they do next as soon as they look.
    fn others_are_prompt(&self) -> bool {
        let finds = self.others().map(|shard| shard.progress.prompt());
        let finds = finds.fold(0, u32::wrapping_add);
        self.pace.is_prompt(finds, Deadline::now().as_nanos())
    }

    /// As a poller.
    fn wait_in_reactor(&self) {
        let shared = &*self.shared;
        let shard = &*self.shard;
        let serving = shared.worker_count.serving();
        let began = (serving > 1).then(Deadline::now);
        if shard.has_pinned() {
            shard.notifier.wait(&shared.reactor);
        }
        self.dispatching.set(true);
        self.shard.counters.reactor_polls.add();
        let signalled = shared
            .reactor
            .turn(&mut self.events.borrow_mut(), !shard.has_pinned());
        self.dispatching.set(false);
        if let Some(began) = began
            && shared.sleeping() == serving
            && standby::is_momentary(began, Deadline::now(), self.events.borrow().len())
        {
            self.shard.progress.count_prompt();
        }
        shared.idle.wake(SleepPlace::Reactor, signalled);
    }

    /// True if the worker is to wait in the reactor now; otherwise it is a searcher, and may have `stolen` something.
    fn stand_by(&self, mut signals: u32, stolen: &mut Option<GreenRef>) -> bool {
        let (idle, standby) = (&self.shared.idle, &self.shared.standby);
        let shard = &*self.shard;
        let mut is_watcher = standby.become_watcher();
        let joins = loop {
            standby.wait(signals, is_watcher);
            signals = standby.signals();
            if idle.is_signalled(SleepPlace::Standby) {
                idle.wake(SleepPlace::Standby, false);
                break false;
            }
            if !shard.pinned_queue.is_empty() {
                idle.wake(SleepPlace::Standby, false);
                break false;
            }
            if !is_watcher {
                // It looks after a while: were all of them to go to the reactor at once, all would be woken there.
                is_watcher = standby.become_watcher();
                continue;
            }
            *stolen = self.steal_next();
            if stolen.is_some() {
                idle.wake(SleepPlace::Standby, false);
                break false;
            }
            if self.may_retire() || !self.others_are_prompt() {
                break idle.join();
            }
        };
        if is_watcher {
            standby.stop_watching();
        }
        if idle.standing_by() && !standby.has_watcher() {
            standby.signal();
        }
        // What was put into a run-next slot while it stood by has woken nobody.
        let waits = joins && !self.shared.may_have_work() && self.shared.arm_timer();
        if joins && !waits {
            idle.wake(SleepPlace::Reactor, false);
        }
        if !waits {
            shard.cancel_wait_for_pinned();
        }
        waits
    }
}
