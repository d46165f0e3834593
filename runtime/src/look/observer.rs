//! What the monitor sees and people should hear of: green threads that keep their worker, and deadlocks.

use std::sync::Arc;

use crate::look::blocked::{BlockedCallback, Reporter};
use crate::look::deadlock;
use crate::sched::monitor::{BlockedWorker, Observer};
use crate::sched::scheduler::Shared;

/// Tells of what the monitor of one runtime sees.
pub(crate) struct Observers {
    reporter: Reporter,
    deadlocks: deadlock::DeadlockWatch,
}

impl Observers {
    /// With whom to tell of green threads that keep their worker; without, they are warned of.
    pub(crate) fn new(on_blocked: Option<BlockedCallback>) -> Observers {
        Observers {
            reporter: Reporter::new(on_blocked),
            deadlocks: deadlock::DeadlockWatch::default(),
        }
    }
}

impl Observer for Observers {
    fn blocked(&mut self, shared: &Shared, worker: BlockedWorker) {
        self.reporter.report(&shared.settings.name, worker);
    }

    fn all_asleep(&mut self, shared: &Arc<Shared>) {
        self.deadlocks.look(shared);
    }
}
