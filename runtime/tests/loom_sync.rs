//! loom models of the protocols under `sync`.
//!
//! The files under test are compiled here once more, against loom's atomics and a futex modelled below. Its
//! waiters sleep until they are woken, so a lost wake-up shows as a deadlock, which loom reports; cells that loom watches
//! stand for what the protocols guard.
//!
//! No time passes in a model. Where the limit of a wait counts, the wait ends at once: a waiter that may starve does after its
//! first wait, and a wait with a deadline ends without a wake-up; what happens before that end is up to loom.

#![allow(dead_code, unreachable_pub)]

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

mod atomic {
    pub(crate) use loom::cell::Cell;
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

mod deadline {
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Deadline;

    impl Deadline {
        pub(crate) fn after(_: std::time::Duration) -> Deadline {
            Deadline
        }

        pub(crate) fn has_passed(self) -> bool {
            true
        }
    }
}

mod futex {
    use std::cell::Cell;

    use loom::sync::Mutex;
    use loom::thread::{self, Thread};

    use crate::Interrupted;
    use crate::atomic::{AtomicU32, Ordering};
    use crate::deadline::Deadline;

    struct Waiter {
        address: *const AtomicU32,
        thread: Thread,
    }

    // SAFETY: the address is never followed.
    unsafe impl Send for Waiter {}

    loom::thread_local! {
        /// With 1, the next wait of this thread that would end at its limit does not.
        pub(crate) static PATIENCE: Cell<u32> = Cell::new(0);
    }

    loom::lazy_static! {
        static ref QUEUE: Mutex<Vec<Waiter>> = Mutex::new(Vec::new());
    }

    pub(crate) fn wait(word: &AtomicU32, expected: u32, _: Option<Deadline>) {
        let address: *const AtomicU32 = word;
        let mut queue = QUEUE.lock().unwrap();
        if word.load(Ordering::SeqCst) != expected {
            return;
        }
        let thread = thread::current();
        let me = thread.id();
        queue.push(Waiter { address, thread });
        while queue.iter().any(|waiter| waiter.thread.id() == me) {
            drop(queue);
            thread::park();
            queue = QUEUE.lock().unwrap();
        }
    }

    pub(crate) fn wait_interruptible(
        word: &AtomicU32,
        expected: u32,
        deadline: Option<Deadline>,
    ) -> Result<(), Interrupted> {
        if deadline.is_some() && PATIENCE.with(|patience| patience.replace(0)) == 0 {
            return Err(Interrupted::TimedOut);
        }
        wait(word, expected, None);
        Ok(())
    }

    pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
        let address: *const AtomicU32 = word;
        let mut queue = QUEUE.lock().unwrap();
        let mut woken = 0;
        while woken < count
            && let Some(first) = queue.iter().position(|waiter| waiter.address == address)
        {
            queue.remove(first).thread.unpark();
            woken += 1;
        }
        woken
    }
}

/// What the protocols take a lock from; the real one is a model of its own.
mod lock {
    use loom::sync::{Mutex, MutexGuard};

    use crate::Interrupted;
    use crate::wait_limit::WaitLimit;

    pub(crate) struct Lock<T>(Mutex<T>);

    pub(crate) type Guard<'a, T> = MutexGuard<'a, T>;

    impl<T> Lock<T> {
        pub(crate) fn new(value: T) -> Lock<T> {
            Lock(Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> Guard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    /// Who would have to wait at a limit that has passed gives up, or finds the lock free just in time.
    pub(crate) fn lock_within<T>(
        lock: &Lock<T>,
        limit: WaitLimit,
    ) -> Result<Guard<'_, T>, Interrupted> {
        match limit {
            WaitLimit::Until(Some(_)) => lock.0.try_lock().map_err(|_| Interrupted::TimedOut),
            _ => Ok(lock.lock()),
        }
    }
}

/// A thread that waits on a word of its own. (Not by loom's `park`: its `unpark` would order what only the word
/// may.)
mod sleeper {
    use loom::sync::{Arc, Condvar, Mutex};

    use crate::Interrupted;
    use crate::atomic::{AtomicU32, Ordering};
    use crate::wait_limit::WaitLimit;

    #[derive(Clone)]
    pub(crate) struct Sleeper(Arc<(Mutex<bool>, Condvar)>);

    impl Sleeper {
        pub(crate) fn current() -> Sleeper {
            Sleeper(Arc::new((Mutex::new(false), Condvar::new())))
        }

        pub(crate) fn wait(
            &self,
            word: &AtomicU32,
            expected: u32,
            limit: WaitLimit,
        ) -> Result<(), Interrupted> {
            if matches!(limit, WaitLimit::Until(Some(_))) {
                return Err(Interrupted::TimedOut);
            }
            if word.load(Ordering::Acquire) == expected {
                let mut woken = self.0.0.lock().unwrap();
                while !*woken {
                    woken = self.0.1.wait(woken).unwrap();
                }
                *woken = false;
            }
            Ok(())
        }

        pub(crate) fn wake(self, _: *const AtomicU32) {
            *self.0.0.lock().unwrap() = true;
            self.0.1.notify_one();
        }
    }
}

/// No time passes in a model.
mod spin {
    pub(crate) fn while_held(_: impl Fn() -> bool) {}
}

// The modules above, where the files under test look for them.
mod base {
    pub(crate) use crate::{atomic, deadline};
}
mod wait {
    pub(crate) use crate::{futex, interrupt};

    pub(crate) mod section {
        pub(crate) use loom::thread::yield_now;
    }
}
#[path = "../src/sync/raw/barrier.rs"]
mod barrier;
#[path = "../src/sync/raw/condvar.rs"]
mod condvar;
#[path = "../src/sync/raw/count.rs"]
mod count;
#[path = "../src/sync/raw/event.rs"]
mod event;
#[path = "../src/sync/raw/exchange.rs"]
mod exchange;
#[path = "../src/sync/raw/line.rs"]
mod line;
#[path = "../src/sync/raw/mutex.rs"]
mod mutex;
#[path = "../src/sync/raw/once.rs"]
mod once;
#[path = "../src/sync/raw/permits.rs"]
mod permits;
#[path = "../src/sync/raw/rwlock.rs"]
mod rwlock;
#[path = "../src/sync/raw/select.rs"]
mod select;
#[path = "../src/sync/raw/wait_limit.rs"]
mod wait_limit;

mod sync {
    pub(crate) mod raw {
        pub(crate) use crate::{exchange, line, lock, sleeper, spin, wait_limit};
    }
}

use atomic::{AtomicU32, AtomicU64};
use deadline::Deadline;
use wait_limit::WaitLimit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupted {
    TimedOut,
}

mod interrupt {
    pub(crate) use crate::Interrupted;

    pub(crate) fn cuts_every_wait() -> bool {
        false
    }
}

/// Is cut short as soon as it has to wait.
const EXPIRED: WaitLimit = WaitLimit::Until(Some(Deadline));

/// Waits until it is served.
const INTERRUPTIBLE: WaitLimit = WaitLimit::Until(None);

/// All interleavings with at most so many involuntary switches; more find nothing in reasonable time.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    // Without optimization a model takes ten times as long.
    let preemptions = if cfg!(debug_assertions) {
        preemptions - 1
    } else {
        preemptions
    };
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Runs the bodies, each on a thread of its own but the last one, which runs on this.
macro_rules! together {
    ($($body:expr),+ ; $last:expr) => {{
        let threads = [$(thread::spawn($body)),+];
        $last;
        for thread in threads {
            thread.join().unwrap();
        }
    }};
}

/// A protocol and what it guards: loom fails a model that touches the number without order.
struct Guarded<P> {
    protocol: P,
    number: UnsafeCell<u32>,
}

// SAFETY: the protocol under test is what makes the accesses exclusive; loom checks that.
unsafe impl<P: Sync> Sync for Guarded<P> {}
// SAFETY: as above.
unsafe impl<P: Send> Send for Guarded<P> {}

impl<P> Guarded<P> {
    fn new(protocol: P) -> Arc<Guarded<P>> {
        Arc::new(Guarded {
            protocol,
            number: UnsafeCell::new(0),
        })
    }

    fn add_one(&self) {
        // SAFETY: checked by loom.
        self.number.with_mut(|number| unsafe { *number += 1 });
    }

    fn number(&self) -> u32 {
        // SAFETY: checked by loom.
        self.number.with(|number| unsafe { *number })
    }
}

mod a_mutex {
    use super::*;
    use mutex::RawMutex;

    impl Guarded<RawMutex> {
        pub(super) fn visit(&self) {
            self.protocol.lock();
            self.add_one();
            self.protocol.unlock();
        }
    }

    #[test]
    fn lets_in_one_at_a_time_and_in_the_end_everybody() {
        check(4, || {
            let it = Guarded::new(RawMutex(AtomicU32::new(mutex::FREE)));
            let (first, second) = (it.clone(), it.clone());
            together!(move || first.visit(), move || second.visit(); it.visit());
            assert_eq!(it.number(), 3);
            assert!(!it.protocol.is_locked());
        });
    }

    #[test]
    fn is_handed_to_a_waiter_that_starves() {
        check(4, || {
            let it = Guarded::new(RawMutex(AtomicU32::new(mutex::FREE)));
            let greedy = it.clone();
            together!(
                move || (0..3).for_each(|_| greedy.visit());
                (0..2).for_each(|_| it.visit())
            );
            assert_eq!(it.number(), 5);
        });
    }
}

mod a_mutex_whose_waiters_give_up {
    use super::*;
    use mutex::RawMutex;

    impl Guarded<RawMutex> {
        /// Whether it came in before the limit, which lets pass so many waits.
        fn try_to_visit(&self, waits: u32) -> u32 {
            futex::PATIENCE.with(|patience| patience.set(waits));
            let outcome = self.protocol.lock_within(EXPIRED);
            futex::PATIENCE.with(|patience| patience.set(0));
            if outcome.is_err() {
                return 0;
            }
            self.add_one();
            self.protocol.unlock();
            1
        }

        fn is_free_after(&self, visits: u32) {
            assert_eq!(self.number(), visits);
            assert!(self.protocol.try_lock(), "left as if somebody held it");
        }
    }

    #[test]
    fn lets_in_those_who_wait_on() {
        check(4, || {
            let it = Guarded::new(RawMutex(AtomicU32::new(mutex::FREE)));
            let (hasty, patient) = (it.clone(), it.clone());
            let hasty = thread::spawn(move || hasty.try_to_visit(0));
            let patient = thread::spawn(move || patient.visit());
            it.visit();
            patient.join().unwrap();
            let visits = 2 + hasty.join().unwrap();
            it.is_free_after(visits);
        });
    }

    #[test]
    fn is_not_left_to_waiters_that_have_gone() {
        check(4, || {
            let it = Guarded::new(RawMutex(AtomicU32::new(mutex::FREE)));
            let hasty = it.clone();
            // It waits once, starves, asks for the mutex, and gives up then.
            let hasty = thread::spawn(move || hasty.try_to_visit(1));
            (0..3).for_each(|_| it.visit());
            let visits = 3 + hasty.join().unwrap();
            it.is_free_after(visits);
        });
    }

    #[test]
    fn is_left_to_another_waiter_if_the_one_that_starves_gives_up() {
        check(3, || {
            let it = Guarded::new(RawMutex(AtomicU32::new(mutex::FREE)));
            let (hasty, patient) = (it.clone(), it.clone());
            let hasty = thread::spawn(move || hasty.try_to_visit(1));
            let patient = thread::spawn(move || patient.visit());
            (0..2).for_each(|_| it.visit());
            patient.join().unwrap();
            let visits = 3 + hasty.join().unwrap();
            it.is_free_after(visits);
        });
    }
}

mod a_readers_writer_lock {
    use super::*;
    use lock::Lock;
    use rwlock::RawRwLock;

    fn new() -> Arc<Guarded<RawRwLock>> {
        Guarded::new(RawRwLock {
            word: AtomicU32::new(0),
            gate: Lock::new(()),
        })
    }

    impl Guarded<RawRwLock> {
        fn write(&self) {
            self.protocol.write();
            self.add_one();
            self.protocol.unlock_exclusive();
        }

        fn look(&self) {
            self.read();
        }

        fn read(&self) -> u32 {
            self.protocol.read();
            let number = self.number();
            self.protocol.unlock_shared();
            number
        }
    }

    #[test]
    fn keeps_writers_apart_from_each_other_and_from_readers() {
        check(3, || {
            let it = new();
            let (first, second) = (it.clone(), it.clone());
            together!(move || first.write(), move || second.look(); it.write());
            assert_eq!(it.read(), 2);
            assert!(!it.protocol.is_locked());
        });
    }

    #[test]
    fn lets_a_writer_in_between_readers() {
        check(3, || {
            let it = new();
            let (first, second) = (it.clone(), it.clone());
            together!(
                move || (0..2).for_each(|_| first.look()),
                move || second.look();
                it.write()
            );
            assert_eq!(it.read(), 1);
        });
    }

    #[test]
    fn lets_everybody_in_between_two_visits_of_a_writer() {
        check(2, || {
            let it = new();
            let (first, second) = (it.clone(), it.clone());
            together!(
                move || first.look(),
                move || second.write();
                (0..2).for_each(|_| it.write())
            );
            assert_eq!(it.read(), 3);
        });
    }

    #[test]
    fn is_never_without_a_holder_while_a_writer_turns_into_a_reader() {
        check(2, || {
            let it = new();
            let (writer, reader) = (it.clone(), it.clone());
            together!(
                move || writer.write(),
                move || reader.look();
                {
                    it.protocol.write();
                    it.add_one();
                    let written = it.number();
                    it.protocol.downgrade();
                    assert_eq!(it.number(), written);
                    it.protocol.unlock_shared();
                }
            );
            assert_eq!(it.read(), 2);
        });
    }

    #[test]
    fn is_free_after_those_who_have_given_up() {
        for waits in [0, 1] {
            check(2, move || {
                let it = new();
                let (writer, reader) = (it.clone(), it.clone());
                let writer = thread::spawn(move || {
                    futex::PATIENCE.with(|patience| patience.set(waits));
                    let outcome = writer.protocol.write_within(EXPIRED);
                    futex::PATIENCE.with(|patience| patience.set(0));
                    if outcome.is_err() {
                        return 0;
                    }
                    writer.add_one();
                    writer.protocol.unlock_exclusive();
                    1
                });
                let reader = thread::spawn(move || {
                    if reader.protocol.read_within(EXPIRED).is_ok() {
                        reader.number();
                        reader.protocol.unlock_shared();
                    }
                    reader.look();
                });
                (0..2).for_each(|_| it.write());
                reader.join().unwrap();
                let writes = 2 + writer.join().unwrap();
                assert!(it.protocol.try_write(), "left as if somebody held it");
                assert_eq!(it.number(), writes);
            });
        }
    }

    #[test]
    fn tries_without_a_wait() {
        check(4, || {
            let it = new();
            let (writer, reader) = (it.clone(), it.clone());
            together!(
                move || {
                    if writer.protocol.try_write() {
                        writer.add_one();
                        writer.protocol.unlock_exclusive();
                    }
                },
                move || {
                    if reader.protocol.try_read() {
                        reader.number();
                        reader.protocol.unlock_shared();
                    }
                };
                it.write()
            );
            assert!(matches!(it.read(), 1 | 2));
        });
    }
}

mod a_condition_variable {
    use super::*;
    use condvar::RawCondvar;
    use lock::Lock;

    struct Queue {
        items: Lock<u32>,
        changed: RawCondvar,
    }

    impl Queue {
        fn new() -> Arc<Queue> {
            Arc::new(Queue {
                items: Lock::new(0),
                changed: RawCondvar {
                    notifications: AtomicU32::new(0),
                    waiters: AtomicU32::new(0),
                },
            })
        }

        fn push(&self, items: u32, wake: u32) {
            *self.items.lock() += items;
            self.changed.notify(wake);
        }

        fn pop(&self, limit: WaitLimit) -> Result<(), Interrupted> {
            let mut items = self.items.lock();
            let mut outcome = Ok(());
            while *items == 0 {
                outcome?;
                let seen = self.changed.begin();
                drop(items);
                outcome = self.changed.wait(seen, limit);
                items = self.items.lock();
            }
            *items -= 1;
            Ok(())
        }
    }

    #[test]
    fn wakes_one_waiter_for_each_notification() {
        check(3, || {
            let it = Queue::new();
            let (first, second) = (it.clone(), it.clone());
            together!(
                move || first.pop(WaitLimit::Endless).unwrap(),
                move || second.pop(WaitLimit::Endless).unwrap();
                {
                    it.push(1, 1);
                    it.push(1, 1);
                }
            );
        });
    }

    #[test]
    fn wakes_all_waiters_at_once() {
        check(3, || {
            let it = Queue::new();
            let (first, second) = (it.clone(), it.clone());
            together!(
                move || first.pop(WaitLimit::Endless).unwrap(),
                move || second.pop(WaitLimit::Endless).unwrap();
                it.push(2, u32::MAX)
            );
        });
    }

    #[test]
    fn does_not_waste_a_notification_on_a_wait_that_was_cut_short() {
        check(3, || {
            let it = Queue::new();
            let (first, second) = (it.clone(), it.clone());
            together!(
                move || if first.pop(EXPIRED).is_ok() { first.push(1, 1) },
                move || second.pop(INTERRUPTIBLE).unwrap();
                it.push(1, 1)
            );
        });
    }
}

mod once_only {
    use super::*;
    use once::{Claim, INCOMPLETE, RawOnce};

    fn new() -> Arc<Guarded<RawOnce>> {
        Guarded::new(RawOnce(AtomicU32::new(INCOMPLETE)))
    }

    impl Guarded<RawOnce> {
        fn call(&self, panics: bool) {
            if let Claim::Mine { .. } = self.protocol.begin(true) {
                if !panics {
                    self.add_one();
                }
                self.protocol.end(panics);
            }
        }
    }

    #[test]
    fn one_does_it_and_all_see_it_done() {
        check(4, || {
            let it = new();
            let (first, second) = (it.clone(), it.clone());
            together!(
                move || {
                    first.call(false);
                    assert_eq!(first.number(), 1);
                },
                move || {
                    assert_eq!(second.protocol.wait(true, INTERRUPTIBLE), Ok(true));
                    assert_eq!(second.number(), 1);
                };
                it.call(false)
            );
            assert_eq!(it.number(), 1);
        });
    }

    #[test]
    fn whoever_forgives_a_panic_does_it_again() {
        check(4, || {
            let it = new();
            let (first, second) = (it.clone(), it.clone());
            together!(
                move || first.call(true),
                move || assert!(second.protocol.wait(false, INTERRUPTIBLE).is_ok());
                it.call(false)
            );
            // The panic may have come last.
            it.call(false);
            assert_eq!(it.number(), 1);
        });
    }

    #[test]
    fn a_wait_can_be_cut_short() {
        check(4, || {
            let it = new();
            let theirs = it.clone();
            together!(
                move || if theirs.protocol.wait(true, EXPIRED).is_ok() {
                    assert_eq!(theirs.number(), 1);
                };
                it.call(false)
            );
        });
    }
}

mod a_barrier {
    use super::*;
    use barrier::RawBarrier;
    use lock::Lock;

    #[test]
    fn lets_each_generation_go_when_it_is_complete() {
        check(3, || {
            let it = Arc::new(RawBarrier {
                arrived: Lock::new(0),
                generation: AtomicU32::new(0),
            });
            let leaders = Arc::new(AtomicU32::new(0));
            let visit = |it: Arc<RawBarrier>, leaders: Arc<AtomicU32>| {
                move || {
                    for generation in 1..=2 {
                        let led = it.wait(2, WaitLimit::Endless).unwrap();
                        leaders.fetch_add(led.into(), atomic::Ordering::Relaxed);
                        assert!(generation <= 2);
                    }
                }
            };
            together!(visit(it.clone(), leaders.clone()); visit(it, leaders.clone())());
            assert_eq!(leaders.load(atomic::Ordering::Relaxed), 2);
        });
    }

    #[test]
    fn does_not_count_who_has_given_up() {
        check(4, || {
            let it = Arc::new(RawBarrier {
                arrived: Lock::new(0),
                generation: AtomicU32::new(0),
            });
            let (hasty, patient) = (it.clone(), it.clone());
            let hasty = thread::spawn(move || hasty.wait(2, EXPIRED));
            let patient = thread::spawn(move || patient.wait(2, WaitLimit::Endless).unwrap());
            // With the hasty one the patient one has a partner, or it has this.
            let partner = match hasty.join().unwrap() {
                Ok(led) => led,
                Err(_) => it.wait(2, WaitLimit::Endless).unwrap(),
            };
            assert_ne!(patient.join().unwrap(), partner, "one of the two leads");
            assert_eq!(*it.arrived.lock(), 0);
        });
    }
}

mod an_event {
    use super::*;
    use event::RawEvent;

    #[test]
    fn wakes_all_that_wait_for_it() {
        check(4, || {
            let it = Guarded::new(RawEvent(AtomicU32::new(0)));
            let (first, second) = (it.clone(), it.clone());
            let wait = |it: Arc<Guarded<RawEvent>>| {
                move || {
                    it.protocol.wait(INTERRUPTIBLE).unwrap();
                    assert_eq!(it.number(), 1);
                }
            };
            together!(wait(first), wait(second); {
                it.add_one();
                it.protocol.set();
            });
        });
    }

    #[test]
    fn wakes_who_waits_though_it_is_cleared_at_once() {
        check(4, || {
            let it = Arc::new(RawEvent(AtomicU32::new(0)));
            let theirs = it.clone();
            let waiter = thread::spawn(move || theirs.wait(INTERRUPTIBLE).unwrap());
            it.set();
            it.clear();
            // The waiter has come too late for that, or it goes on without this.
            it.set();
            it.clear();
            it.set();
            waiter.join().unwrap();
        });
    }

    #[test]
    fn can_be_set_by_two_while_a_wait_is_cut_short() {
        check(3, || {
            let it = Arc::new(RawEvent(AtomicU32::new(0)));
            let (first, second) = (it.clone(), it.clone());
            together!(
                move || _ = first.wait(EXPIRED),
                move || second.set();
                it.wait(INTERRUPTIBLE).unwrap()
            );
            assert!(it.is_set());
        });
    }
}

mod a_count {
    use super::*;
    use count::RawCount;

    #[test]
    fn lets_waiters_go_at_zero() {
        check(4, || {
            let it = Guarded::new(RawCount(AtomicU32::new(0)));
            assert!(it.protocol.add(1));
            let (first, second) = (it.clone(), it.clone());
            together!(
                move || {
                    first.protocol.wait(INTERRUPTIBLE).unwrap();
                    assert_eq!(first.number(), 1);
                },
                move || _ = second.protocol.wait(EXPIRED);
                {
                    it.add_one();
                    assert!(it.protocol.subtract(1));
                }
            );
            assert!(!it.protocol.subtract(1));
        });
    }

    #[test]
    fn comes_down_by_the_work_of_several() {
        check(3, || {
            let it = Arc::new(RawCount(AtomicU32::new(0)));
            assert!(it.add(2));
            let (first, second) = (it.clone(), it.clone());
            together!(
                move || assert!(first.subtract(1)),
                move || assert!(second.subtract(1));
                it.wait(INTERRUPTIBLE).unwrap()
            );
            assert_eq!(it.get(), 0);
        });
    }
}

mod permits_for {
    use super::*;
    use line::Line;
    use lock::Lock;
    use permits::{ONE, RawPermits};

    fn new(permits: u64) -> Arc<Guarded<RawPermits>> {
        Guarded::new(RawPermits {
            word: AtomicU64::new(permits * ONE),
            line: Lock::new(Line::new()),
        })
    }

    impl Guarded<RawPermits> {
        /// With one permit in all, a mutex.
        fn visit(&self, limit: WaitLimit) -> bool {
            let acquired = self.protocol.acquire(limit).is_ok();
            if acquired {
                self.add_one();
                assert!(self.protocol.release(1, 1));
            }
            acquired
        }
    }

    #[test]
    fn one_at_a_time_reach_everybody() {
        check(3, || {
            let it = new(1);
            let (first, second) = (it.clone(), it.clone());
            together!(
                move || assert!(first.visit(INTERRUPTIBLE)),
                move || assert!(second.visit(WaitLimit::Endless));
                assert!(it.visit(INTERRUPTIBLE))
            );
            assert_eq!(it.number(), 3);
            assert_eq!(it.protocol.free(), 1);
        });
    }

    #[test]
    fn a_waiter_that_was_cut_short_go_to_the_next() {
        check(3, || {
            let it = new(1);
            let (first, second) = (it.clone(), it.clone());
            together!(
                move || _ = first.visit(EXPIRED),
                move || assert!(second.visit(INTERRUPTIBLE));
                assert!(it.visit(INTERRUPTIBLE))
            );
            assert!(matches!(it.number(), 2 | 3));
            assert_eq!(it.protocol.free(), 1);
        });
    }

    #[test]
    fn several_come_from_one_release() {
        check(3, || {
            let it = new(0);
            let (first, second) = (it.clone(), it.clone());
            let visit = |it: Arc<Guarded<RawPermits>>| {
                move || {
                    it.protocol.acquire(INTERRUPTIBLE).unwrap();
                    assert_eq!(it.number(), 1);
                }
            };
            together!(visit(first), visit(second); {
                it.add_one();
                assert!(it.protocol.release(3, 3));
            });
            assert_eq!(it.protocol.free(), 1);
        });
    }
}

mod an_exchange {
    use super::*;
    use exchange::{Exchange, Failure, Refusal};
    use std::collections::VecDeque;

    type Fifo = Exchange<u32, VecDeque<u32>>;

    #[test]
    fn of_no_capacity_passes_items_from_hand_to_hand() {
        check(3, || {
            let it = Arc::new(Fifo::new(0));
            let (first, second) = (it.clone(), it.clone());
            let sum = Arc::new(AtomicU32::new(0));
            let theirs = sum.clone();
            together!(
                move || (1..=2).for_each(|item| first.send(item, INTERRUPTIBLE).unwrap()),
                move || {
                    let item = second.receive(INTERRUPTIBLE).unwrap();
                    theirs.fetch_add(item, atomic::Ordering::Relaxed);
                };
                {
                    let item = it.receive(INTERRUPTIBLE).unwrap();
                    sum.fetch_add(item, atomic::Ordering::Relaxed);
                }
            );
            assert_eq!(sum.load(atomic::Ordering::Relaxed), 3);
        });
    }

    #[test]
    fn with_a_full_buffer_makes_senders_wait_in_line() {
        check(3, || {
            let it = Arc::new(Fifo::new(1));
            let theirs = it.clone();
            together!(
                move || (1..=3).for_each(|item| theirs.send(item, INTERRUPTIBLE).unwrap());
                (1..=3).for_each(|item| assert_eq!(it.receive(INTERRUPTIBLE), Ok(item)))
            );
        });
    }

    #[test]
    fn loses_nothing_to_a_receiver_that_was_cut_short() {
        check(3, || {
            let it = Arc::new(Fifo::new(1));
            let (impatient, patient) = (it.clone(), it.clone());
            together!(
                move || if let Ok(item) = impatient.receive(EXPIRED) {
                    impatient.send(item, INTERRUPTIBLE).unwrap();
                },
                move || assert_eq!(patient.receive(INTERRUPTIBLE), Ok(7));
                it.send(7, INTERRUPTIBLE).unwrap()
            );
        });
    }

    #[test]
    fn loses_nothing_of_a_sender_that_was_cut_short() {
        check(3, || {
            let it = Arc::new(Fifo::new(0));
            let (impatient, patient) = (it.clone(), it.clone());
            together!(
                move || if let Err((item, failure)) = impatient.send(7, EXPIRED) {
                    assert_eq!(failure, Failure::CutShort(Interrupted::TimedOut));
                    impatient.send(item, INTERRUPTIBLE).unwrap();
                },
                move || patient.send(7, INTERRUPTIBLE).unwrap();
                (0..2).for_each(|_| assert_eq!(it.receive(INTERRUPTIBLE), Ok(7)))
            );
        });
    }

    #[test]
    fn gives_everybody_notice_when_it_closes() {
        check(3, || {
            let it = Arc::new(Fifo::new(0));
            let (sender, receiver) = (it.clone(), it.clone());
            together!(
                move || match sender.send(7, INTERRUPTIBLE) {
                    Ok(()) => {}
                    Err(refused) => assert_eq!(refused, (7, Failure::Closed)),
                },
                move || match receiver.receive(INTERRUPTIBLE) {
                    Ok(item) => assert_eq!(item, 7),
                    Err(failure) => assert_eq!(failure, Failure::Closed),
                };
                it.close()
            );
            assert_eq!(it.try_receive(), Err(Refusal::Closed));
        });
    }
}

mod a_selection {
    use std::collections::VecDeque;

    use super::*;
    use exchange::Exchange;
    use select::{Case, ReceiveCase, SendCase, select};

    type Channel = Exchange<Box<u32>, VecDeque<Box<u32>>>;

    /// Side by side, so that the order of their addresses is always the same: loom repeats what it has seen.
    fn channels(capacities: [usize; 2]) -> Arc<[Channel; 2]> {
        Arc::new(capacities.map(Exchange::new))
    }

    /// What came from which of the two; `None` from one that is closed.
    fn receive(
        channels: &[Channel; 2],
        limit: WaitLimit,
    ) -> Result<(usize, Option<u32>), Interrupted> {
        let mut cases = channels
            .each_ref()
            .map(|channel| Box::new(ReceiveCase::new(channel)));
        let number = select(&cases, 0..2, || false, Some(limit))?.unwrap();
        let [first, second] = cases.each_mut();
        let won = [first, second].into_iter().nth(number).unwrap();
        let won = std::mem::replace(won, Box::new(ReceiveCase::new(&channels[0])));
        Ok((number, won.into_item().map(|item| *item)))
    }

    /// To receive from one and to send to the other: whether it has sent, or what it got.
    fn exchange_with(from: &Channel, to: &Channel, item: u32) -> Result<bool, Option<u32>> {
        let mut place = Some(Box::new(item));
        let receiving = ReceiveCase::new(from);
        let sending = SendCase::new(to, &mut place);
        let cases: [Box<dyn Case>; 2] = [Box::new(receiving), Box::new(sending)];
        let number = select(&cases, 0..2, || false, Some(INTERRUPTIBLE))
            .unwrap()
            .unwrap();
        let [receiving, sending] = cases.map(Box::into_raw);
        // SAFETY: the types are those that the boxes were made with.
        let (receiving, sending) = unsafe {
            (
                Box::from_raw(receiving.cast::<ReceiveCase<'_, Box<u32>>>()),
                Box::from_raw(sending.cast::<SendCase<'_, Box<u32>>>()),
            )
        };
        if number == 1 {
            assert!(sending.was_sent());
            drop(sending);
            assert_eq!(place, None);
            Ok(true)
        } else {
            drop(sending);
            assert_eq!(place.as_deref(), Some(&item), "only what wins is moved");
            Err(receiving.into_item().map(|item| *item))
        }
    }

    #[test]
    fn gets_each_item_once_whichever_channel_it_comes_by() {
        check(3, || {
            let it = channels([0, 1]);
            let (first, second) = (it.clone(), it.clone());
            together!(
                move || first[0].send(Box::new(1), INTERRUPTIBLE).unwrap(),
                move || second[1].send(Box::new(2), INTERRUPTIBLE).unwrap();
                {
                    let mut got = [(); 2].map(|()| receive(&it, INTERRUPTIBLE).unwrap());
                    got.sort_unstable();
                    assert_eq!(got, [(0, Some(1)), (1, Some(2))]);
                }
            );
        });
    }

    #[test]
    fn is_passed_over_by_what_comes_too_late() {
        check(3, || {
            let it = channels([1, 0]);
            let (buffered, direct) = (it.clone(), it.clone());
            let buffered =
                thread::spawn(move || buffered[0].send(Box::new(1), INTERRUPTIBLE).unwrap());
            let direct = thread::spawn(move || direct[1].try_send(Box::new(2)).is_ok());
            let (number, item) = receive(&it, INTERRUPTIBLE).unwrap();
            buffered.join().unwrap();
            // A meeting that took place was with this one; else the item was refused.
            assert_eq!(direct.join().unwrap(), number == 1);
            assert_eq!(item, Some(number as u32 + 1));
            assert_eq!(it[0].try_receive().is_ok(), number == 1);
        });
    }

    #[test]
    fn finds_another_selection() {
        check(3, || {
            let it = channels([0, 0]);
            let theirs = it.clone();
            let other = thread::spawn(move || exchange_with(&theirs[1], &theirs[0], 2));
            let mine = exchange_with(&it[0], &it[1], 1);
            match other.join().unwrap() {
                Ok(_) => assert_eq!(mine, Err(Some(2))),
                Err(got) => assert_eq!((got, mine), (Some(1), Ok(true))),
            }
        });
    }

    #[test]
    fn that_is_cut_short_loses_nothing() {
        check(3, || {
            let it = channels([0, 1]);
            let (direct, buffered) = (it.clone(), it.clone());
            let direct = thread::spawn(move || direct[0].try_send(Box::new(1)).is_ok());
            let buffered =
                thread::spawn(move || buffered[1].send(Box::new(2), INTERRUPTIBLE).unwrap());
            let got = receive(&it, EXPIRED).map(|(number, _)| number);
            assert_eq!(direct.join().unwrap(), got == Ok(0));
            buffered.join().unwrap();
            assert_eq!(it[1].try_receive().is_ok(), got != Ok(1));
        });
    }

    #[test]
    fn learns_of_a_close() {
        check(3, || {
            let it = channels([0, 0]);
            let closing = it.clone();
            together!(
                move || closing[0].close();
                assert_eq!(receive(&it, INTERRUPTIBLE), Ok((0, None)))
            );
        });
    }
}
