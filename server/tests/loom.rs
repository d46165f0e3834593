//! loom model of how the executor's drivers share the search for tasks: no task is left lying while drivers are parked in
//! their polls, and no wake-up is lost.
//!
//! The file under test is compiled here once more, against loom's atomics. The queue is modelled by a count under a lock, a
//! driver's rest by a flag and a condition variable, so a lost wake-up shows as a deadlock, which loom reports.

#![allow(dead_code, unreachable_pub)]

use loom::model::Builder;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering, fence};

    pub(crate) fn fence_after_update() {
        fence(Ordering::SeqCst);
    }

    pub(crate) use loom::sync::{Mutex, MutexGuard};
}
#[path = "../src/worker/executor/roster.rs"]
mod roster;

use roster::Roster;

/// Tasks that are ready, and how many have been polled.
struct Queue {
    ready: Mutex<usize>,
    polled: Mutex<usize>,
    changed: Condvar,
}

struct Executor {
    queue: Queue,
    roster: Roster<usize>,
    /// The drivers' calls, by number.
    calls: Mutex<Vec<bool>>,
    called: Condvar,
    /// How many tasks there will be; a driver that has seen them all end, ends.
    tasks: usize,
}

impl Executor {
    fn new(tasks: usize) -> Arc<Executor> {
        Arc::new(Executor {
            queue: Queue {
                ready: Mutex::new(0),
                polled: Mutex::new(0),
                changed: Condvar::new(),
            },
            roster: Roster::new(1),
            calls: Mutex::new(vec![false; 4]),
            called: Condvar::new(),
            tasks,
        })
    }

    fn push(&self) {
        *self.queue.ready.lock().unwrap() += 1;
        if let Some(driver) = self.roster.call() {
            self.call(driver);
        }
    }

    fn pop(&self) -> bool {
        let mut ready = self.queue.ready.lock().unwrap();
        let is_one = *ready > 0;
        *ready -= usize::from(is_one);
        is_one
    }

    fn is_empty(&self) -> bool {
        *self.queue.ready.lock().unwrap() == 0
    }

    fn call(&self, driver: usize) {
        self.calls.lock().unwrap()[driver] = true;
        self.called.notify_all();
    }

    /// As in the executor: leaves the search and makes a spare, numbered one higher, if nobody is left.
    fn before_poll(this: &Arc<Self>, spares: &mut Vec<thread::JoinHandle<()>>, number: usize) {
        if this.roster.leave()
            && !this.is_empty()
            && let Some(driver) = this.roster.call()
        {
            this.call(driver);
        }
        if this.roster.needs_spare() {
            let executor = Arc::clone(this);
            spares.push(thread::spawn(move || {
                Executor::drive(&executor, number + 1)
            }));
        }
    }

    /// A poll that blocks until every task is being polled.
    fn poll(&self) {
        let mut polled = self.queue.polled.lock().unwrap();
        *polled += 1;
        if *polled == self.tasks {
            self.queue.changed.notify_all();
            // The drivers that rest are let go.
            for driver in self.roster.call_all() {
                self.call(driver);
            }
        }
        while *polled < self.tasks {
            polled = self.queue.changed.wait(polled).unwrap();
        }
    }

    fn is_over(&self) -> bool {
        *self.queue.polled.lock().unwrap() == self.tasks
    }

    fn drive(this: &Arc<Self>, number: usize) {
        let mut spares = Vec::new();
        loom::sync::atomic::fence(loom::sync::atomic::Ordering::SeqCst);
        while !this.is_over() {
            if this.pop() {
                Executor::before_poll(this, &mut spares, number);
                this.poll();
                this.roster.join();
                continue;
            }
            let rest = this.roster.rest(&number, 8);
            let is_needed = rest.is_last && !this.is_empty() || this.is_over();
            if !is_needed || !this.roster.call_off(&number) {
                let mut calls = this.calls.lock().unwrap();
                while !calls[number] {
                    calls = this.called.wait(calls).unwrap();
                }
                calls[number] = false;
            }
        }
        for spare in spares {
            spare.join().unwrap();
        }
    }
}

fn check(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// Both tasks block until both are polled, so each needs a driver.
#[test]
fn a_task_that_is_pushed_while_the_only_driver_polls_gets_another() {
    check(2, || {
        let executor = Executor::new(2);
        let driver = {
            let executor = Arc::clone(&executor);
            thread::spawn(move || Executor::drive(&executor, 0))
        };
        executor.push();
        executor.push();
        driver.join().unwrap();
    });
}

#[test]
fn two_threads_that_push_at_once_lose_no_task() {
    check(2, || {
        let executor = Executor::new(2);
        let driver = {
            let executor = Arc::clone(&executor);
            thread::spawn(move || Executor::drive(&executor, 0))
        };
        let other = {
            let executor = Arc::clone(&executor);
            thread::spawn(move || executor.push())
        };
        executor.push();
        other.join().unwrap();
        driver.join().unwrap();
    });
}
