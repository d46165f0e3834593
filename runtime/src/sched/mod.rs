//! Who runs what, and when.
//!
//! **Belongs here** what the way of a green thread needs, from its first turn to its last: to be queued, run, parked, woken.
//! **May use** `body` and `base`. **Used by** `wait` and the rooms above it. What one waits *for* is the matter of `wait`.
//!
//! | what | files |
//! |---|---|
//! | a green thread: its control block, its name within, and the part that outlives it | `green`, `task` |
//! | who is running, thread-locally; the runtime's own OS threads, of which a panic ends the process | `context` |
//! | its life: into the slot, first and last steps; join and detach by `pthread_t` (those of a handle: `thread/spawn`) | `slots`, `life_cycle`, `join` |
//! | who else looks again when one is cancelled | `dependents` |
//! | its switch to the worker and back; what happens if its stack overflows | `switch`, `coroutine`, `overflow` |
//! | its state: running, parked, woken; how one that is ready comes to a worker | `park`, `wake` |
//! | a worker: its loop, its OS thread, what of it others see | `worker`, `worker_thread`, `shard`, `progress` |
//! | a worker's queues: ready ones, the one that is next, those whose turn comes, pinned ones | `run_queue`, `run_next`, `due_queue`, `pinned` |
//! | what a worker takes from others; how it sleeps, and who is woken | `steal`, `sleep`, `idle`, `standby`, `notifier` |
//! | how many workers should serve | `spare_workers` |
//! | calling in workers and retiring them, and how long a retired one stays | `compensation` |
//! | sections that block a worker; OS threads that block in a green thread's place | `blocking_section`, `stand_in` |
//! | what all workers of a runtime share; its end; the values that it goes by | `scheduler`, `ending`, `settings` |
//! | what wakes: descriptors' events and the next timer, all timers, words | `reactor`, `wheel`, `parking_lot` |
//! | timers that wake futures (set in `wait/alarm`); how a future's wakers reach the green thread that awaits it | `alarm`, `future_signal` |
//! | whether one is woken in vain again and again | `vain_wakes` |
//! | how stacks of parked green threads give memory back, and when it is short | `trim` |
//! | who watches the workers, and sees that free slots give memory back; how a parked green thread is asked for its stack | `monitor`, `probe` |

pub(crate) mod alarm;
pub(crate) mod blocking_section;
mod compensation;
pub(crate) mod context;
mod coroutine;
pub(crate) mod dependents;
pub(crate) mod due_queue;
mod ending;
pub(crate) mod future_signal;
pub(crate) mod green;
pub(crate) mod idle;
mod join;
mod life_cycle;
pub(crate) mod monitor;
mod notifier;
pub(crate) mod overflow;
pub(crate) mod park;
pub(crate) mod parking_lot;
pub(crate) mod pinned;
pub(crate) mod probe;
pub(crate) mod progress;
pub(crate) mod reactor;
pub(crate) mod run_next;
pub(crate) mod run_queue;
pub(crate) mod scheduler;
pub(crate) mod settings;
pub(crate) mod shard;
pub(crate) mod sleep;
mod slots;
pub(crate) mod spare_workers;
pub(crate) mod stand_in;
pub(crate) mod standby;
pub(crate) mod steal;
mod switch;
pub(crate) mod task;
pub(crate) mod trim;
pub(crate) mod vain_wakes;
pub(crate) mod wake;
pub(crate) mod wheel;
pub(crate) mod worker;
mod worker_thread;

/// After a fork: the parent's waiters do not exist.
///
/// # Safety
///
/// The process is passive: it has no green thread and no worker, and no other thread looks at the tables.
pub(crate) unsafe fn reset_after_fork() {
    alarm::reset_after_fork();
    // SAFETY: no green thread exists and no other thread looks at the tables, by this function's contract.
    unsafe {
        parking_lot::reset_after_fork();
        stand_in::reset_after_fork();
    }
}
