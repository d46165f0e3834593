//! loom models of the read-write lock's protocol.
//!
//! The file under test is compiled here once more, against loom's atomics and a futex modelled below. Its waiters sleep
//! until they are woken, so a lost wake-up shows as a deadlock, which loom reports; a cell that loom watches stands for
//! what the lock guards. A wait with a time ends when loom has run others for once, woken or not.

#![allow(dead_code)]

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicI32, AtomicU32, Ordering};
}

mod word {
    use std::cell::Cell;

    use loom::sync::Mutex;
    use loom::thread::{self, Thread};

    use crate::atomic::{AtomicU32, Ordering};

    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Wait {
        Woken,
        Changed,
        TimedOut,
    }

    #[derive(Clone, Copy)]
    pub(crate) enum Cancellation {
        Ignored,
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Until;

    loom::thread_local! {
        static ID: Cell<i32> = Cell::new(0);
    }

    pub(crate) fn set_thread_id(id: i32) {
        ID.with(|own| own.set(id));
    }

    pub(crate) fn thread_id() -> i32 {
        ID.with(Cell::get)
    }

    pub(crate) fn address(word: &AtomicU32) -> *const u32 {
        std::ptr::from_ref(word).cast()
    }

    struct Waiter {
        bitset: u32,
        thread: Thread,
    }

    loom::lazy_static! {
        /// Those who wait for the one word.
        static ref QUEUE: Mutex<Vec<Waiter>> = Mutex::new(Vec::new());
    }

    pub(crate) fn wait(
        word: &AtomicU32,
        expected: u32,
        bitset: u32,
        until: Option<Until>,
        _: Cancellation,
    ) -> Wait {
        let mut queue = QUEUE.lock().unwrap();
        if word.load(Ordering::SeqCst) != expected {
            return Wait::Changed;
        }
        let thread = thread::current();
        let me = thread.id();
        queue.push(Waiter { bitset, thread });
        loop {
            drop(queue);
            if until.is_some() {
                thread::yield_now();
            } else {
                thread::park();
            }
            queue = QUEUE.lock().unwrap();
            match queue.iter().position(|waiter| waiter.thread.id() == me) {
                None => return Wait::Woken,
                Some(place) if until.is_some() => {
                    queue.remove(place);
                    return Wait::TimedOut;
                }
                Some(_) => {}
            }
        }
    }

    pub(crate) fn wake(_: *const u32, count: u32, bitset: u32) -> u32 {
        let mut queue = QUEUE.lock().unwrap();
        let mut woken = 0;
        while woken < count
            && let Some(first) = queue.iter().position(|waiter| waiter.bitset & bitset != 0)
        {
            queue.remove(first).thread.unpark();
            woken += 1;
        }
        woken
    }
}

#[path = "../src/read_write.rs"]
mod read_write;

use atomic::{AtomicI32, AtomicU32};
use read_write::ReadWrite;
use word::Until;

struct Lock {
    state: AtomicU32,
    writer: AtomicI32,
    prefers_writers: bool,
    guarded: UnsafeCell<u32>,
}

impl Lock {
    fn words(&self) -> ReadWrite<'_> {
        ReadWrite {
            state: &self.state,
            writer: &self.writer,
            prefers_writers: self.prefers_writers,
        }
    }

    fn write(&self, until: Option<Until>) {
        match self.words().write(until) {
            0 => {
                // SAFETY: loom finds a second one who is in there.
                self.guarded.with_mut(|value| unsafe { *value += 1 });
                assert_eq!(self.words().unlock(), 0);
            }
            error => assert_eq!((error, until.is_some()), (libc::ETIMEDOUT, true)),
        }
    }

    fn read(&self, until: Option<Until>) {
        match self.words().read(until) {
            0 => {
                // SAFETY: loom finds a writer who is in there.
                self.guarded.with(|value| unsafe { *value });
                assert_eq!(self.words().unlock(), 0);
            }
            error => assert_eq!((error, until.is_some()), (libc::ETIMEDOUT, true)),
        }
    }
}

/// Runs these at once, with either preference, in every order up to some switches against the rules of chance.
fn model<const N: usize>(acts: [fn(&Lock); N]) {
    for prefers_writers in [false, true] {
        let mut builder = Builder::new();
        // Without optimization, fewer.
        builder.preemption_bound = Some(if cfg!(debug_assertions) { 1 } else { 2 });
        builder.check(move || {
            let lock = Arc::new(Lock {
                state: AtomicU32::new(0),
                writer: AtomicI32::new(0),
                prefers_writers,
                guarded: UnsafeCell::new(0),
            });
            let threads: Vec<_> = (1..N)
                .map(|number| {
                    let lock = lock.clone();
                    thread::spawn(move || {
                        word::set_thread_id(number as i32 + 1);
                        acts[number](&lock);
                    })
                })
                .collect();
            word::set_thread_id(1);
            acts[0](&lock);
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            // Free for whoever comes.
            lock.write(None);
        });
    }
}

#[test]
fn two_writers_and_a_reader_pass() {
    model([
        |lock| lock.write(None),
        |lock| lock.write(None),
        |lock| lock.read(None),
    ]);
}

#[test]
fn two_readers_and_a_writer_pass() {
    model([
        |lock| lock.read(None),
        |lock| lock.read(None),
        |lock| lock.write(None),
    ]);
}

#[test]
fn a_writer_that_gives_up_leaves_nobody_behind() {
    model([|lock| lock.read(None), |lock| lock.write(Some(Until))]);
    model([|lock| lock.write(None), |lock| lock.write(Some(Until))]);
}

#[test]
fn a_reader_that_gives_up_leaves_nobody_behind() {
    model([|lock| lock.write(None), |lock| lock.read(Some(Until))]);
}
