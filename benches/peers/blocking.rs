//! The peers whose tasks block: a scheduler, and the types that are used on it.

use std::io::{Read, Write};
use std::marker::PhantomData;
use std::net::TcpStream;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::sync::mpsc;
use std::sync::{Mutex, Once};
use std::thread;
use std::time::Duration;

use greenpatch::{Patch, Runtime};
use may::coroutine;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::mode;
use crate::peer::{Calls, Peer, Setup};
use crate::works;

/// What runs the tasks.
pub(crate) trait Scheduler: Sync + Sized + 'static {
    /// Tasks that are started before they are joined.
    const BATCH: u64 = 10_000;

    /// The one of that `number`, or `None` if there cannot be so many.
    fn start(setup: Setup, number: usize) -> Option<Self>;

    /// Runs `main` as a task and waits for its end.
    fn run<R: Send + 'static>(&self, main: impl FnOnce() -> R + Send + 'static) -> R;
}

/// What tasks use.
pub(crate) trait Types: 'static {
    type JoinHandle<R>;
    type Sender: Send + 'static;
    type Receiver: Send + 'static;
    type Mutex: Send + Sync + 'static;
    type Stream: Read + Write;

    /// Whether sockets are std's, and C's functions can be called for them as on an OS thread.
    const CALLS_C: bool = false;

    fn spawn<R: Send + 'static>(task: impl FnOnce() -> R + Send + 'static) -> Self::JoinHandle<R>;
    fn join<R>(handle: Self::JoinHandle<R>) -> R;
    fn yield_now();
    fn sleep(duration: Duration);
    fn channel() -> (Self::Sender, Self::Receiver);
    fn send(sender: &Self::Sender, number: u64);
    /// The next number; `None` once the sender has gone.
    fn receive(receiver: &Self::Receiver) -> Option<u64>;
    fn stream(stream: TcpStream) -> Self::Stream;
    fn mutex() -> Self::Mutex;
    fn lock(mutex: &Self::Mutex, change: impl FnOnce(&mut u64));
}

/// A peer.
pub(crate) struct Blocking<S, T> {
    scheduler: S,
    other_scheduler: Option<S>,
    types: PhantomData<T>,
}

impl<S: Scheduler, T: Types> Blocking<S, T> {
    pub(crate) fn start(setup: Setup) -> Option<Box<dyn Peer>> {
        let scheduler = S::start(setup, 0)?;
        let other_scheduler = match setup.runtimes {
            1 => None,
            _ => Some(S::start(setup, 1)?),
        };
        Some(Box::new(Blocking::<S, T> {
            scheduler,
            other_scheduler,
            types: PhantomData,
        }))
    }
}

impl<S: Scheduler, T: Types> Peer for Blocking<S, T> {
    fn yield_in_turns(&self, tasks: u64, count: u64) -> Duration {
        self.scheduler
            .run(move || works::yield_in_turns::<T>(tasks, count))
    }

    fn spawn_one_by_one(&self, count: u64) -> Duration {
        self.scheduler
            .run(move || works::spawn_one_by_one::<T>(count))
    }

    fn spawn_in_batches(&self, count: u64) -> Duration {
        self.scheduler
            .run(move || works::spawn_in_batches::<T>(S::BATCH, count))
    }

    fn ping_pong(&self, count: u64) -> Duration {
        let (to_pong, from_ping) = T::channel();
        let (to_ping, from_pong) = T::channel();
        let pong = move || works::pong::<T>(&to_ping, &from_ping);
        // Owns its ends of the channels, so that its end ends the other.
        let ping = move || {
            let (to_pong, from_pong) = (to_pong, from_pong);
            works::ping::<T>(&to_pong, &from_pong, count)
        };
        match &self.other_scheduler {
            None => self.scheduler.run(move || {
                let pong = T::spawn(pong);
                let elapsed = ping();
                T::join(pong);
                elapsed
            }),
            Some(other) => thread::scope(|scope| {
                scope.spawn(|| other.run(pong));
                self.scheduler.run(ping)
            }),
        }
    }

    fn echo(&self, count: u64) -> Duration {
        let (near, far) = works::connection().expect("loopback is there");
        self.scheduler
            .run(move || works::echo::<T>(near, far, count))
    }

    fn increment(&self, count: u64, over_yield: bool) -> Duration {
        self.scheduler
            .run(move || works::increment::<T>(count, over_yield))
    }

    fn sleep(&self, count: u64, duration: Duration) -> Duration {
        self.scheduler
            .run(move || works::sleep::<T>(count, duration))
    }

    fn share(&self, tasks: usize, duration: Duration, calls: Calls) -> Option<Vec<u64>> {
        if !matches!(calls, Calls::Waiting) && !T::CALLS_C {
            return None;
        }
        let connections = works::connections(tasks).expect("loopback is there");
        let shares = move || works::serve_all::<T>(connections, duration, calls);
        Some(self.scheduler.run(shares))
    }
}

pub(crate) struct Greenpatch(Runtime);

impl Scheduler for Greenpatch {
    fn start(setup: Setup, _number: usize) -> Option<Greenpatch> {
        Runtime::builder()
            .workers(setup.workers)
            // A spare worker would be one more than the others have.
            .compensation(false)
            .stack_size(setup.stack_size)
            .patch(Patch::all())
            .build()
            .map(Greenpatch)
            .map_err(|error| eprintln!("peers: {error}"))
            .ok()
    }

    fn run<R: Send + 'static>(&self, main: impl FnOnce() -> R + Send + 'static) -> R {
        self.0.run(main)
    }
}

pub(crate) struct May;

impl Scheduler for May {
    /// The scheduler is the process's, so there can be one only.
    fn start(setup: Setup, number: usize) -> Option<May> {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            may::config()
                .set_workers(setup.workers)
                // Counted in words.
                .set_stack_size(setup.stack_size / size_of::<usize>())
                // Stacks for a whole batch are made beforehand.
                .set_pool_capacity(if mode::is_test() { 100 } else { 10_000 });
        });
        (number == 0).then_some(May)
    }

    fn run<R: Send + 'static>(&self, main: impl FnOnce() -> R + Send + 'static) -> R {
        MayTypes::join(MayTypes::spawn(main))
    }
}

/// Kernel threads, on a processor of their own if there is to be one worker.
pub(crate) struct OsThreads {
    processors: CpuSet,
}

impl Scheduler for OsThreads {
    const BATCH: u64 = 1_000;

    fn start(setup: Setup, number: usize) -> Option<OsThreads> {
        let mut processors = sched_getaffinity(None).expect("the kernel tells the affinity");
        if setup.workers == 1 {
            let mut allowed = (0..CpuSet::MAX_CPU).filter(|&index| processors.is_set(index));
            let processor = allowed.nth(number)?;
            processors = CpuSet::new();
            processors.set(processor);
        }
        Some(OsThreads { processors })
    }

    fn run<R: Send + 'static>(&self, main: impl FnOnce() -> R + Send + 'static) -> R {
        let processors = self.processors;
        let main = thread::spawn(move || {
            // The threads that it starts inherit this.
            sched_setaffinity(None, &processors).expect("the set is part of the old one");
            main()
        });
        main.join().expect("a work does not panic")
    }
}

/// Greenpatch's own types.
pub(crate) struct GreenTypes;

impl Types for GreenTypes {
    type JoinHandle<R> = greenpatch::JoinHandle<R>;
    type Sender = greenpatch::sync::mpmc::Sender<u64>;
    type Receiver = greenpatch::sync::mpmc::Receiver<u64>;
    type Mutex = greenpatch::sync::Mutex<u64>;
    type Stream = greenpatch::net::TcpStream;

    fn spawn<R: Send + 'static>(task: impl FnOnce() -> R + Send + 'static) -> Self::JoinHandle<R> {
        greenpatch::spawn(task)
    }

    fn join<R>(handle: Self::JoinHandle<R>) -> R {
        handle.join().expect("a task does not panic")
    }

    #[inline(always)]
    fn yield_now() {
        greenpatch::yield_now();
    }

    fn sleep(duration: Duration) {
        greenpatch::time::sleep(duration);
    }

    fn channel() -> (Self::Sender, Self::Receiver) {
        greenpatch::sync::mpmc::channel()
    }

    fn send(sender: &Self::Sender, number: u64) {
        sender.send(number).expect("the receiver is there");
    }

    fn receive(receiver: &Self::Receiver) -> Option<u64> {
        receiver.recv().ok()
    }

    fn stream(stream: TcpStream) -> Self::Stream {
        stream.into()
    }

    fn mutex() -> Self::Mutex {
        greenpatch::sync::Mutex::new(0)
    }

    fn lock(mutex: &Self::Mutex, change: impl FnOnce(&mut u64)) {
        change(&mut mutex.lock().expect("nobody panics with the lock"));
    }
}

/// std's types: the kernel's on an OS thread, those that the shims make of them on a green thread.
pub(crate) struct StdTypes;

impl Types for StdTypes {
    type JoinHandle<R> = thread::JoinHandle<R>;
    type Sender = mpsc::Sender<u64>;
    type Receiver = mpsc::Receiver<u64>;
    type Mutex = Mutex<u64>;
    type Stream = TcpStream;

    const CALLS_C: bool = true;

    fn spawn<R: Send + 'static>(task: impl FnOnce() -> R + Send + 'static) -> Self::JoinHandle<R> {
        thread::spawn(task)
    }

    fn join<R>(handle: Self::JoinHandle<R>) -> R {
        handle.join().expect("a task does not panic")
    }

    #[inline(always)]
    fn yield_now() {
        thread::yield_now();
    }

    fn sleep(duration: Duration) {
        thread::sleep(duration);
    }

    fn channel() -> (Self::Sender, Self::Receiver) {
        mpsc::channel()
    }

    fn send(sender: &Self::Sender, number: u64) {
        sender.send(number).expect("the receiver is there");
    }

    fn receive(receiver: &Self::Receiver) -> Option<u64> {
        receiver.recv().ok()
    }

    fn stream(stream: TcpStream) -> Self::Stream {
        stream
    }

    fn mutex() -> Self::Mutex {
        Mutex::new(0)
    }

    fn lock(mutex: &Self::Mutex, change: impl FnOnce(&mut u64)) {
        change(&mut mutex.lock().expect("nobody panics with the lock"));
    }
}

/// may's types.
pub(crate) struct MayTypes;

impl Types for MayTypes {
    type JoinHandle<R> = coroutine::JoinHandle<R>;
    type Sender = may::sync::mpsc::Sender<u64>;
    type Receiver = may::sync::mpsc::Receiver<u64>;
    type Mutex = may::sync::Mutex<u64>;
    type Stream = may::net::TcpStream;

    fn spawn<R: Send + 'static>(task: impl FnOnce() -> R + Send + 'static) -> Self::JoinHandle<R> {
        // SAFETY: the works use no thread-local variable over a switch, and little stack.
        unsafe { coroutine::spawn(task) }
    }

    fn join<R>(handle: Self::JoinHandle<R>) -> R {
        handle.join().expect("a task does not panic")
    }

    #[inline(always)]
    fn yield_now() {
        coroutine::yield_now();
    }

    fn sleep(duration: Duration) {
        coroutine::sleep(duration);
    }

    fn channel() -> (Self::Sender, Self::Receiver) {
        may::sync::mpsc::channel()
    }

    fn send(sender: &Self::Sender, number: u64) {
        sender.send(number).expect("the receiver is there");
    }

    fn receive(receiver: &Self::Receiver) -> Option<u64> {
        receiver.recv().ok()
    }

    fn stream(stream: TcpStream) -> Self::Stream {
        // SAFETY: the descriptor is handed over.
        unsafe { may::net::TcpStream::from_raw_fd(stream.into_raw_fd()) }
    }

    fn mutex() -> Self::Mutex {
        may::sync::Mutex::new(0)
    }

    fn lock(mutex: &Self::Mutex, change: impl FnOnce(&mut u64)) {
        change(&mut mutex.lock().expect("nobody panics with the lock"));
    }
}
