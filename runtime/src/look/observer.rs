//! What the monitor sees and people should hear of: green threads that keep their worker, and deadlocks.

use std::sync::Arc;

use crate::look::deadlock;
use crate::look::hog::{Listener, Reporter};
use crate::sched::monitor::{Case, Observer};
use crate::sched::scheduler::Shared;

/// Tells of what the monitor of one runtime sees.
pub(crate) struct Observers {
    reporter: Reporter,
    deadlocks: deadlock::Watch,
}

impl Observers {
    /// With whom to tell of green threads that keep their worker; without, they are warned of.
    pub(crate) fn new(on_blocked: Option<Listener>) -> Observers {
        Observers {
            reporter: Reporter::new(on_blocked),
            deadlocks: deadlock::Watch::default(),
        }
    }
}

impl Observer for Observers {
    fn blocked(&mut self, shared: &Shared, case: Case) {
        self.reporter.report(&shared.settings.name, case);
    }

    fn all_asleep(&mut self, shared: &Arc<Shared>) {
        self.deadlocks.look(shared);
    }
}
