//! The kinds of work.

use std::sync::Arc;

use fastrand::Rng;

use crate::work::World;
use crate::{destruction, limits, numbers, stacks, work};

/// One kind of work.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Threads that do it.
    pub(crate) actors: u64,
    /// Whether it can be done on OS threads, because it uses std and C only.
    pub(crate) anywhere: bool,
    pub(crate) round: fn(&Arc<World>, &mut Rng),
}

const fn green(name: &'static str, actors: u64, round: fn(&Arc<World>, &mut Rng)) -> Kind {
    Kind {
        name,
        actors,
        anywhere: false,
        round,
    }
}

const fn std(name: &'static str, actors: u64, round: fn(&Arc<World>, &mut Rng)) -> Kind {
    Kind {
        name,
        actors,
        anywhere: true,
        round,
    }
}

pub(crate) const KINDS: &[Kind] = &[
    green("sleep", 8, work::sleeps),
    std("std sleep", 4, work::std_sleeps),
    green("bank", 8, work::transfers),
    std("std bank", 8, work::std_transfers),
    green("readers-writer", 6, work::reads_and_writes),
    green("send", 4, work::sends),
    green("receive", 4, work::receives),
    green("condvar", 6, work::passes_tokens),
    std("std condvar", 6, work::std_passes_tokens),
    green("semaphore", 6, work::takes_permits),
    green("barrier", 2, work::meets),
    green("echo", 6, work::is_echoed),
    green("std echo", 4, work::std_is_echoed),
    green("spawn storm", 2, work::spawns),
    std("std spawn", 2, work::std_spawns),
    green("cancel", 6, work::cancels),
    green("nested timeouts", 4, work::nests_timeouts),
    green("park", 3, work::parks),
    std("std park", 3, work::std_parks),
    std("std pipeline", 3, work::std_pipeline),
    green("blocking", 2, work::blocks),
    green("os threads", 1, work::works_with_os_threads),
    green("interrupted receipt", 6, limits::receives_or_not),
    std("condition reuse", 4, destruction::reuses_conditions),
    std("mutex reuse", 3, destruction::reuses_mutexes),
    std("rwlock reuse", 3, destruction::reuses_rwlocks),
    std("semaphore reuse", 3, destruction::reuses_semaphores),
    std("barrier reuse", 3, destruction::reuses_barriers),
    std("nested talk", 3, stacks::talks_from_another_stack),
    std("nested waits", 3, stacks::waits_on_another_stack),
    green("changed accept", 2, numbers::accepts_as_the_number_changes),
    green("changed recv", 2, numbers::receives_as_the_number_changes),
    green("changed send", 2, numbers::sends_as_the_number_changes),
    green(
        "changed long recv",
        2,
        numbers::receives_much_as_the_number_changes,
    ),
    green("changed kind", 2, numbers::reads_what_a_number_stands_for),
];
