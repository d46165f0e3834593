//! What is measured, and whom.

use std::time::Duration;

use crate::blocking::{Blocking, GreenTypes, Greenpatch, May, MayTypes, OsThreads, StdTypes};
use crate::tokio::Tokio;

/// The works. A peer does each of them `count` times and tells how long that took.
pub(crate) trait Peer {
    /// Tasks on one run queue give way to each other in turns; counted is each yield of each task.
    fn yield_in_turns(&self, tasks: u64, count: u64) -> Duration;

    /// A task is started and joined before the next is.
    fn spawn_one_by_one(&self, count: u64) -> Duration;

    /// Tasks are started, 10,000 (OS threads: 1,000) of them, and then joined.
    fn spawn_in_batches(&self, count: u64) -> Duration;

    /// Two tasks send a number to and fro through two unbounded channels; counted are the round trips.
    fn ping_pong(&self, count: u64) -> Duration;

    /// Two tasks send a message of 64 bytes to and fro over a TCP connection; counted are the round trips.
    fn echo(&self, count: u64) -> Duration;

    /// Eight tasks increment a number behind a mutex. `over_yield` has them give way while they hold it, so
    /// that the others have to wait even if there is one worker only.
    fn increment(&self, count: u64, over_yield: bool) -> Duration;

    /// So many tasks sleep at the same time.
    fn sleep(&self, count: u64, duration: Duration) -> Duration;

    /// So many tasks, none of which ever has to wait, are at work for so long: each sends messages of 64 bytes over a TCP
    /// connection of its own and receives them at the other end. Gives how many it was for each task, or nothing if the peer
    /// has no such `calls`.
    fn share(&self, tasks: usize, duration: Duration, calls: Calls) -> Option<Vec<u64>>;
}

/// How a task that never has to wait calls.
#[derive(Clone, Copy)]
pub(crate) enum Calls {
    /// As a task does that may have to wait.
    Waiting,
    /// By `send` and `recv` with `MSG_DONTWAIT`.
    DontWait,
    /// By `send` and `recv` on sockets in non-blocking mode.
    NonBlocking,
}

/// On what the work is done.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) workers: usize,
    /// Runtimes, each with so many workers: with two of them, the two tasks of the ping-pong are on workers of
    /// their own and stay there.
    pub(crate) runtimes: usize,
    pub(crate) stack_size: usize,
}

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) setup: Setup,
    pub(crate) work: Work,
}

pub(crate) enum Work {
    /// Measured again and again.
    Timed(fn(&dyn Peer, u64) -> Duration),
    /// So many sleep for so long; measured once, with the peak of resident memory.
    Sleepers(u64, Duration),
    /// So many that never wait share the workers for so long.
    Shares(usize, Duration, Calls),
}

pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    /// Whether a failure is one of this bench, rather than something to be told.
    pub(crate) is_ours: bool,
    /// The peer made ready, unless it cannot be set up so.
    pub(crate) start: fn(Setup) -> Option<Box<dyn Peer>>,
    /// How long a work is done at a time, at least.
    pub(crate) sample: Duration,
    /// The most sleepers that it can have.
    pub(crate) most_sleepers: u64,
}

/// As large as Greenpatch's default; memory is taken as it is touched.
const STACK: usize = 256 << 10;
const SMALL_STACK: usize = 64 << 10;

/// Less than the time for which the kernel lets somebody else run in between.
const SAMPLE: Duration = Duration::from_millis(2);

/// Long enough that it does not matter how much later than the first the last thread starts.
const LONG_SAMPLE: Duration = Duration::from_millis(50);

const fn timed(
    name: &'static str,
    workers: usize,
    runtimes: usize,
    work: fn(&dyn Peer, u64) -> Duration,
) -> Row {
    Row {
        name,
        setup: Setup {
            workers,
            runtimes,
            stack_size: STACK,
        },
        work: Work::Timed(work),
    }
}

const fn shares(name: &'static str, workers: usize, calls: Calls) -> Row {
    Row {
        name,
        setup: Setup {
            workers,
            runtimes: 1,
            stack_size: STACK,
        },
        // Long enough for OS threads to get some time slices each.
        work: Work::Shares(400, Duration::from_secs(4), calls),
    }
}

pub(crate) const ROWS: &[Row] = &[
    timed("yield, 2 tasks, 1 worker", 1, 1, |peer, count| {
        peer.yield_in_turns(2, count)
    }),
    timed("yield, 100 tasks, 1 worker", 1, 1, |peer, count| {
        peer.yield_in_turns(100, count)
    }),
    timed("yield, 100 tasks, 2 workers", 2, 1, |peer, count| {
        peer.yield_in_turns(100, count)
    }),
    timed(
        "spawn and join, one by one, 1 worker",
        1,
        1,
        |peer, count| peer.spawn_one_by_one(count),
    ),
    timed(
        "spawn and join, one by one, 2 workers",
        2,
        1,
        |peer, count| peer.spawn_one_by_one(count),
    ),
    timed(
        "spawn and join, in batches, 1 worker",
        1,
        1,
        |peer, count| peer.spawn_in_batches(count),
    ),
    timed(
        "spawn and join, in batches, 2 workers",
        2,
        1,
        |peer, count| peer.spawn_in_batches(count),
    ),
    timed("channel ping-pong, 1 worker", 1, 1, |peer, count| {
        peer.ping_pong(count)
    }),
    timed("channel ping-pong, 2 workers", 2, 1, |peer, count| {
        peer.ping_pong(count)
    }),
    timed("channel ping-pong, kept apart", 1, 2, |peer, count| {
        peer.ping_pong(count)
    }),
    timed("TCP echo, 1 worker", 1, 1, |peer, count| peer.echo(count)),
    timed("TCP echo, 2 workers", 2, 1, |peer, count| peer.echo(count)),
    timed("mutex, 8 tasks, 1 worker", 1, 1, |peer, count| {
        peer.increment(count, false)
    }),
    timed("mutex, 8 tasks, 2 workers", 2, 1, |peer, count| {
        peer.increment(count, false)
    }),
    timed(
        "mutex over a yield, 8 tasks, 1 worker",
        1,
        1,
        |peer, count| peer.increment(count, true),
    ),
    timed(
        "mutex over a yield, 8 tasks, 2 workers",
        2,
        1,
        |peer, count| peer.increment(count, true),
    ),
    shares("shares of 400 ready tasks, 1 worker", 1, Calls::Waiting),
    shares("shares of 400 ready tasks, 2 workers", 2, Calls::Waiting),
    shares("shares, MSG_DONTWAIT, 1 worker", 1, Calls::DontWait),
    shares("shares, MSG_DONTWAIT, 2 workers", 2, Calls::DontWait),
    shares("shares, O_NONBLOCK, 1 worker", 1, Calls::NonBlocking),
    shares("shares, O_NONBLOCK, 2 workers", 2, Calls::NonBlocking),
    Row {
        name: "sleepers, 1 s, 2 workers",
        setup: Setup {
            workers: 2,
            runtimes: 1,
            stack_size: SMALL_STACK,
        },
        work: Work::Sleepers(100_000, Duration::from_secs(1)),
    },
];

/// The first is what the others are compared with.
pub(crate) const PEERS: &[Candidate] = &[
    Candidate {
        name: "greenpatch",
        is_ours: true,
        start: Blocking::<Greenpatch, GreenTypes>::start,
        sample: SAMPLE,
        most_sleepers: u64::MAX,
    },
    Candidate {
        name: "greenpatch, std types",
        is_ours: true,
        start: Blocking::<Greenpatch, StdTypes>::start,
        sample: SAMPLE,
        most_sleepers: u64::MAX,
    },
    Candidate {
        name: "may",
        is_ours: false,
        start: Blocking::<May, MayTypes>::start,
        sample: SAMPLE,
        // Each stack takes two of the 65,530 mappings that the kernel gives a process.
        most_sleepers: 30_000,
    },
    Candidate {
        name: "Tokio, current-thread",
        is_ours: false,
        start: Tokio::start_current_thread,
        sample: SAMPLE,
        most_sleepers: u64::MAX,
    },
    Candidate {
        name: "Tokio",
        is_ours: false,
        start: Tokio::start_multi_thread,
        sample: SAMPLE,
        most_sleepers: u64::MAX,
    },
    Candidate {
        name: "OS threads",
        is_ours: false,
        start: Blocking::<OsThreads, StdTypes>::start,
        sample: LONG_SAMPLE,
        // More than some 16,000 to 32,000 the kernel's limits do not allow, and the machine has other users.
        most_sleepers: 10_000,
    },
];
