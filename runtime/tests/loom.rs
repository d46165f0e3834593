//! loom models of the protocols that every green thread's life depends on: park and unpark, who sleeps and
//! who is woken, and which workers serve; of how a future's wakers reach who waits for it; and of whom a cancellation reaches.
//!
//! The files under test are compiled here once more, against loom's atomics. What surrounds them (run
//! queues, the epoll set) is modelled by a lock and a condition variable, so a lost wake-up shows as a
//! deadlock, which loom reports.

#![allow(dead_code, unreachable_pub)]

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loom::model::Builder;
use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

mod atomic {
    pub(crate) use loom::cell::Cell;
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

    pub(crate) fn order_after_exchange() {
        fence(Ordering::SeqCst);
    }
}
/// A green thread that waits: its wake-ups are a counter and a condition variable.
mod green {
    use std::ops::Deref;
    use std::ptr::NonNull;

    use loom::sync::{Condvar, Mutex};

    use crate::future_signal::FutureSignal;
    use crate::reason::Packed;

    pub(crate) struct Parker {
        woken: Mutex<bool>,
        changed: Condvar,
        pub(crate) future_signal: FutureSignal,
    }

    impl Default for Parker {
        fn default() -> Parker {
            Parker {
                woken: Mutex::default(),
                changed: Condvar::default(),
                future_signal: FutureSignal::new(),
            }
        }
    }

    impl Parker {
        pub(crate) fn park(&self) {
            let mut woken = self.woken.lock().unwrap();
            while !std::mem::take(&mut *woken) {
                woken = self.changed.wait(woken).unwrap();
            }
        }
    }

    /// As the real one, good for ever: the parker outlives the model's threads.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) struct GreenRef(pub(crate) *const Parker);

    // SAFETY: a parker may be used by any thread.
    unsafe impl Send for GreenRef {}

    impl Deref for GreenRef {
        type Target = Parker;

        fn deref(&self) -> &Parker {
            // SAFETY: the parker outlives the model's threads.
            unsafe { &*self.0 }
        }
    }

    impl GreenRef {
        pub(crate) unsafe fn new(parker: NonNull<Parker>) -> GreenRef {
            GreenRef(parker.as_ptr())
        }

        pub(crate) fn as_ptr(self) -> *mut Parker {
            self.0.cast_mut()
        }

        pub(crate) fn park_until(self, _: GreenRef, _: Option<()>, _: Packed) {
            self.park();
        }

        pub(crate) fn unpark(self) {
            *self.woken.lock().unwrap() = true;
            self.changed.notify_one();
        }
    }
}
/// What a green thread waits for is of no concern here.
mod reason {
    pub(crate) struct Packed;

    impl Packed {
        pub(crate) fn future(_address: usize) -> Packed {
            Packed
        }
    }
}
/// A lock, whose own protocol has its own model.
mod spin {
    use loom::sync::{Mutex, MutexGuard};

    pub(crate) type SpinGuard<'a, T> = MutexGuard<'a, T>;

    pub(crate) struct SpinLock<T>(Mutex<T>);

    impl<T> SpinLock<T> {
        pub(crate) fn new(value: T) -> SpinLock<T> {
            SpinLock(Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    pub(crate) unsafe fn seize<T>(lock: &SpinLock<T>, change: impl FnOnce(&mut T)) {
        change(&mut lock.lock());
    }
}
/// Wait queues by address: as the real ones, they compare under a lock that the waker takes.
mod futex {
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};

    use crate::interrupt::{Limits, WaitEnd};

    loom::lazy_static! {
        static ref QUEUE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    pub(crate) fn wait_for_waker(
        word: &AtomicU32,
        expected: u32,
        _may_be_woken: &(dyn Fn() -> bool + Sync),
        limits: Option<&Limits>,
    ) -> Result<(), WaitEnd> {
        let queue = QUEUE.0.lock().unwrap();
        if word.load(Ordering::SeqCst) == expected {
            limits.map_or(Ok(()), Limits::check)?;
            drop(QUEUE.1.wait(queue).unwrap());
        }
        Ok(())
    }

    pub(crate) fn wake(_word: &AtomicU32, _count: u32) {
        let _queue = QUEUE.0.lock().unwrap();
        QUEUE.1.notify_all();
    }
}
/// The kernel's wait queues, which work alike.
mod kernel_futex {
    use loom::sync::atomic::AtomicU32;

    pub(crate) fn wait(word: &AtomicU32, expected: u32) {
        let _ = crate::futex::wait_for_waker(word, expected, &|| true, None);
    }

    pub(crate) fn wake(word: *const AtomicU32, count: u32) {
        // SAFETY: no word of a model is gone before its threads are.
        crate::futex::wake(unsafe { &*word }, count);
    }
}
/// Who is running.
mod context {
    use std::cell::Cell;

    use crate::green::GreenRef;

    pub(crate) struct UserSection;

    impl UserSection {
        pub(crate) fn enter(_: GreenRef) -> UserSection {
            UserSection
        }
    }

    pub(crate) struct NativeSection;

    impl NativeSection {
        pub(crate) fn enter() -> NativeSection {
            NativeSection
        }
    }

    loom::thread_local! {
        static GREEN: Cell<Option<GreenRef>> = Cell::new(None);
    }

    pub(crate) fn green() -> Option<GreenRef> {
        GREEN.with(Cell::get)
    }

    /// The calling thread is this green thread from now on.
    pub(crate) fn become_green(green: GreenRef) {
        GREEN.with(|own| own.set(Some(green)));
    }
}
/// A wait with limits has none that has not passed.
mod interrupt {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Interrupted;

    #[derive(Debug)]
    pub(crate) struct WaitEnd;

    impl From<WaitEnd> for Interrupted {
        fn from(_: WaitEnd) -> Interrupted {
            Interrupted
        }
    }

    pub(crate) struct Limits;

    impl Limits {
        pub(crate) fn new(_: Option<()>) -> Limits {
            Limits
        }

        pub(crate) fn until(&self) -> Option<()> {
            None
        }

        pub(crate) fn check(&self) -> Result<(), WaitEnd> {
            Err(WaitEnd)
        }
    }
}
mod section {
    pub(crate) use loom::thread::yield_now;

    pub(crate) fn give_way() {
        loom::thread::yield_now();
    }
}
// The modules above, where the files under test look for them.
mod base {
    pub(crate) use crate::{atomic, interest, kernel_futex, reason, spin, task_waker};
}
mod sched {
    pub(crate) use crate::{context, future_signal, green};
}
mod wait {
    pub(crate) use crate::{futex, interrupt, section};
}
#[path = "../src/thread/block_on.rs"]
mod block_on;
#[path = "../src/sched/dependents.rs"]
mod dependents;
#[path = "../src/sched/future_signal.rs"]
mod future_signal;
#[path = "../src/sched/idle.rs"]
mod idle;
#[path = "../src/base/interest.rs"]
mod interest;
#[path = "../src/wait/descriptor/line.rs"]
mod line;
#[path = "../src/wait/descriptor/opening.rs"]
mod opening;
#[path = "../src/sched/park.rs"]
mod park;
#[path = "../src/sched/run_next.rs"]
mod run_next;
#[path = "../src/sched/spare_workers.rs"]
mod spare_workers;
#[path = "../src/base/spin/word.rs"]
mod spin_word;
#[path = "../src/base/task_waker.rs"]
mod task_waker;
#[path = "../src/base/wait_flag.rs"]
mod wait_flag;
#[path = "../src/wait/descriptor/wakers.rs"]
mod wakers;

use idle::SleepPlace;

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

/// A run queue that waits for entries.
#[derive(Default)]
struct RunQueue {
    entries: Mutex<usize>,
    changed: Condvar,
}

impl RunQueue {
    fn push(&self) {
        let mut entries = self.entries.lock().unwrap();
        *entries += 1;
        assert_eq!(*entries, 1, "one green thread stands in the queue twice");
        self.changed.notify_one();
    }

    fn pop(&self) {
        let mut entries = self.entries.lock().unwrap();
        while *entries == 0 {
            entries = self.changed.wait(entries).unwrap();
        }
        *entries -= 1;
    }
}

struct Green {
    state: park::ParkState,
    queue: RunQueue,
    /// Stands for the stack: loom fails the model if two threads use it without order between them.
    stack: loom::cell::UnsafeCell<usize>,
    wakers: AtomicUsize,
}

// SAFETY: the protocol under test is what makes the stack's users exclusive; loom checks that.
unsafe impl Sync for Green {}

impl Green {
    fn new() -> Arc<Green> {
        Arc::new(Green {
            state: park::ParkState::unused(),
            queue: RunQueue::default(),
            stack: loom::cell::UnsafeCell::new(0),
            wakers: AtomicUsize::new(0),
        })
    }

    fn unpark(&self) {
        self.wakers.fetch_add(1, Ordering::Relaxed);
        if self.state.unpark() {
            self.queue.push();
        }
    }

    /// The green thread's code up to its next park, on its stack: true once `wakers` have come.
    fn turn(&self, wakers: usize) -> bool {
        self.state.resume();
        // SAFETY: checked by loom.
        self.stack.with_mut(|stack| unsafe { *stack += 1 });
        loop {
            if self.wakers.load(Ordering::Relaxed) == wakers {
                return true;
            }
            if self.state.begin() {
                return false;
            }
        }
    }

    /// The worker's part after the green thread has switched away.
    fn left(&self) {
        // SAFETY: checked by loom: the stack is still ours until the commit.
        self.stack.with_mut(|stack| unsafe { *stack += 1 });
        if !self.state.commit() {
            self.queue.push();
        }
    }
}

#[test]
fn no_unpark_is_lost_and_none_counts_twice() {
    check(4, || {
        let green = Green::new();
        green.state.start();
        green.queue.push();
        let wakers: Vec<_> = (0..2)
            .map(|_| {
                let green = green.clone();
                thread::spawn(move || green.unpark())
            })
            .collect();
        loop {
            green.queue.pop();
            if green.turn(2) {
                break;
            }
            green.left();
        }
        for waker in wakers {
            waker.join().unwrap();
        }
    });
}

#[test]
fn a_stack_is_resumed_only_after_it_was_left() {
    check(4, || {
        let green = Green::new();
        green.state.start();
        green.queue.push();
        let done = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (green, done) = (green.clone(), done.clone());
                thread::spawn(move || {
                    loop {
                        green.queue.pop();
                        if done.load(Ordering::SeqCst) == 1 || green.turn(1) {
                            done.store(1, Ordering::SeqCst);
                            // Lets the other worker go too.
                            green.queue.push();
                            break;
                        }
                        green.left();
                    }
                })
            })
            .collect();
        green.unpark();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn who_holds_a_parked_green_thread_has_its_stack_alone_and_no_wake_is_lost() {
    check(4, || {
        let green = Green::new();
        green.state.start();
        green.queue.push();
        let waker = {
            let green = green.clone();
            thread::spawn(move || green.unpark())
        };
        let holder = {
            let green = green.clone();
            thread::spawn(move || {
                if green.state.hold() {
                    // SAFETY: checked by loom.
                    green.stack.with_mut(|stack| unsafe { *stack += 1 });
                    if green.state.let_go() {
                        green.queue.push();
                    }
                }
            })
        };
        loop {
            green.queue.pop();
            if green.turn(1) {
                break;
            }
            green.left();
        }
        waker.join().unwrap();
        holder.join().unwrap();
    });
}

#[test]
fn a_yield_keeps_a_notification_for_the_next_park() {
    check(4, || {
        let green = Green::new();
        green.state.start();
        green.state.resume();
        let waker = {
            let green = green.clone();
            thread::spawn(move || green.unpark())
        };
        // The green thread is in a wait queue by now; it yields and is resumed, then parks.
        green.state.resume();
        if green.state.begin() && green.state.commit() {
            green.queue.pop();
        }
        waker.join().unwrap();
    });
}

/// The epoll set with the eventfd in it: a signal or an event wakes one waiter, or the next one to wait.
#[derive(Default)]
struct EventSet {
    /// Whether there is a signal, and how many events there are.
    ready: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl EventSet {
    fn signal(&self) {
        self.ready.lock().unwrap().0 = true;
        self.changed.notify_one();
    }

    fn happen(&self) {
        self.ready.lock().unwrap().1 += 1;
        self.changed.notify_one();
    }

    /// Whether there was a signal, and an event.
    fn wait(&self) -> (bool, bool) {
        let mut ready = self.ready.lock().unwrap();
        while *ready == (false, 0) {
            ready = self.changed.wait(ready).unwrap();
        }
        let event = ready.1 > 0;
        ready.1 -= usize::from(event);
        (std::mem::take(&mut ready.0), event)
    }
}

/// The futex that workers wait on who stand by, and who of them is on watch.
#[derive(Default)]
struct Standby {
    signals: Mutex<u32>,
    changed: Condvar,
    has_watcher: AtomicU32,
}

impl Standby {
    fn signals(&self) -> u32 {
        *self.signals.lock().unwrap()
    }

    fn signal(&self) {
        *self.signals.lock().unwrap() += 1;
        self.changed.notify_one();
    }

    fn wait(&self, seen: u32) {
        let signals = self.signals.lock().unwrap();
        if *signals == seen {
            drop(self.changed.wait(signals).unwrap());
        }
    }
}

/// What a worker does when it sleeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    /// It waits in the reactor.
    Poll,
    /// It stands by and does not look at the reactor.
    StandBy,
    /// It stands by, and on watch goes to the reactor at once.
    Watch,
}

struct Pool {
    idle: idle::Idle,
    worker_count: spare_workers::WorkerCount,
    events: EventSet,
    standby: Standby,
    sleep: Sleep,
    /// One is due when a worker first goes from standby to the reactor.
    timers: AtomicUsize,
    work: AtomicUsize,
    /// Of a worker that computes and never comes to take out what it has put in.
    run_next: run_next::RunNext<u32>,
    left: AtomicUsize,
}

impl Pool {
    /// `work` pieces are to be done, by workers of whom one is to remain.
    fn new(work: usize, sleep: Sleep) -> Arc<Pool> {
        Arc::new(Pool {
            idle: idle::Idle::new(),
            worker_count: spare_workers::WorkerCount::new(1),
            events: EventSet::default(),
            standby: Standby::default(),
            sleep,
            timers: AtomicUsize::new(1),
            work: AtomicUsize::new(0),
            run_next: run_next::RunNext::new(),
            left: AtomicUsize::new(work),
        })
    }

    fn push(&self) {
        self.work.fetch_add(1, Ordering::Relaxed);
        self.notify();
    }

    fn notify(&self) {
        match self.idle.notify() {
            Some(SleepPlace::Reactor) => self.events.signal(),
            Some(SleepPlace::Standby) => self.standby.signal(),
            None => {}
        }
    }

    /// `Worker::push_next`, into an empty slot.
    fn push_next(&self) {
        let item = std::ptr::from_ref(&0_u32).cast_mut();
        assert!(self.run_next.put(item).is_none());
        if self.idle.notify_next() {
            self.events.signal();
        }
    }

    fn take(&self) -> bool {
        let taken = self
            .work
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |work| {
                work.checked_sub(1)
            });
        taken.is_ok() || self.run_next.take().is_some()
    }

    fn has_work(&self) -> bool {
        self.work.load(Ordering::Relaxed) != 0
    }

    fn may_have_work(&self) -> bool {
        self.has_work() || self.run_next.is_occupied()
    }

    fn is_done(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    /// `Worker::find_work`, with what it looks at reduced to one counter.
    fn run(&self) {
        let mut searching = false;
        let mut stolen = false;
        loop {
            if self.is_done() {
                if searching {
                    self.idle.stop_searching();
                }
                self.events.signal();
                self.standby.signal();
                return;
            }
            if !searching {
                searching = self.idle.start_searching(1);
            }
            if std::mem::take(&mut stolen) || self.take() {
                if std::mem::take(&mut searching)
                    && self.idle.stop_searching()
                    && self.may_have_work()
                {
                    self.notify();
                }
                self.left.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            if self.worker_count.has_surplus() {
                if std::mem::take(&mut searching)
                    && self.idle.stop_searching()
                    && self.may_have_work()
                {
                    self.notify();
                }
                if self.worker_count.retire() {
                    return;
                }
                continue;
            }
            self.sleep(searching, &mut stolen);
            searching = true;
        }
    }

    /// `Worker::sleep`. True if an event has come.
    fn sleep(&self, searching: bool, stolen: &mut bool) -> bool {
        let place = match self.sleep {
            Sleep::Poll => SleepPlace::Reactor,
            Sleep::StandBy | Sleep::Watch => SleepPlace::Standby,
        };
        let signals = self.standby.signals();
        self.idle.sleep(searching, place);
        let has_work = match place {
            SleepPlace::Reactor => self.may_have_work(),
            SleepPlace::Standby => self.has_work(),
        };
        if has_work || self.is_done() {
            self.idle.wake(place, false);
            return false;
        }
        if place == SleepPlace::Standby && !self.stand_by(signals, stolen) {
            return false;
        }
        let (signalled, event) = self.events.wait();
        self.idle.wake(SleepPlace::Reactor, signalled);
        event
    }

    /// `Worker::stand_by`.
    fn stand_by(&self, mut signals: u32, stolen: &mut bool) -> bool {
        let take_watch = || self.standby.has_watcher.swap(1, Ordering::SeqCst) == 0;
        let mut is_watcher = take_watch();
        let joins = loop {
            if !is_watcher || self.sleep != Sleep::Watch {
                self.standby.wait(signals);
            }
            signals = self.standby.signals();
            if self.idle.is_signalled(SleepPlace::Standby) {
                self.idle.wake(SleepPlace::Standby, false);
                break false;
            }
            if is_watcher && self.run_next.take().is_some() {
                self.idle.wake(SleepPlace::Standby, false);
                *stolen = true;
                break false;
            }
            if (is_watcher && self.sleep == Sleep::Watch) || self.is_done() {
                break self.idle.join();
            }
            is_watcher = is_watcher || take_watch();
        };
        if is_watcher {
            self.standby.has_watcher.swap(0, Ordering::SeqCst);
        }
        if self.idle.standing_by() && self.standby.has_watcher.load(Ordering::SeqCst) == 0 {
            self.standby.signal();
        }
        if joins && (self.may_have_work() || self.timers.swap(0, Ordering::Relaxed) != 0) {
            self.idle.wake(SleepPlace::Reactor, false);
            return false;
        }
        joins
    }
}

/// Two pieces of work for so many workers, of whom all but one may be `surplus`.
fn push_two(preemptions: usize, workers: usize, surplus: bool, sleep: Sleep) {
    check(preemptions, move || {
        let pool = Pool::new(2, sleep);
        let workers: Vec<_> = (0..workers)
            .map(|_| {
                if surplus {
                    pool.worker_count.add();
                }
                let pool = pool.clone();
                thread::spawn(move || pool.run())
            })
            .collect();
        pool.push();
        pool.push();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn pushed_work_is_never_left_with_all_workers_asleep() {
    push_two(3, 2, false, Sleep::Poll);
}

#[test]
fn pushed_work_is_never_left_with_all_workers_on_standby() {
    push_two(2, 2, false, Sleep::StandBy);
}

#[test]
fn pushed_work_is_never_left_while_workers_go_from_standby_to_the_reactor() {
    push_two(3, 2, false, Sleep::Watch);
}

/// A green thread in a queue, and then one in a run-next slot whose worker goes on computing.
fn push_and_push_next(preemptions: usize, sleep: Sleep) {
    check(preemptions, move || {
        let pool = Pool::new(2, sleep);
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || pool.run())
            })
            .collect();
        pool.push();
        pool.push_next();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn what_a_computing_worker_was_to_run_next_is_never_left_with_all_others_asleep() {
    push_and_push_next(2, Sleep::Poll);
}

#[test]
fn what_a_computing_worker_was_to_run_next_is_found_by_those_who_stood_by() {
    push_and_push_next(2, Sleep::Watch);
}

#[test]
fn a_single_worker_finds_what_is_pushed_while_it_goes_to_sleep() {
    push_two(5, 1, false, Sleep::Poll);
}

#[test]
fn whoever_leaves_standby_has_the_next_one_look_for_events() {
    check(3, || {
        let pool = Pool::new(1, Sleep::Watch);
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || {
                    let mut searching = false;
                    // One event keeps a worker busy for ever.
                    while !pool.sleep(searching, &mut false) {
                        searching = true;
                    }
                })
            })
            .collect();
        pool.events.happen();
        pool.events.happen();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn a_surplus_worker_retires_and_leaves_no_work_behind() {
    push_two(3, 2, true, Sleep::Poll);
}

#[test]
fn a_surplus_worker_retires_beside_one_on_standby_and_leaves_no_work_behind() {
    push_two(3, 2, true, Sleep::Watch);
}

#[test]
fn no_fewer_workers_remain_than_should_serve() {
    check(3, || {
        let count = Arc::new(spare_workers::WorkerCount::new(1));
        (0..3).for_each(|_| count.add());
        let retired: Vec<_> = (0..3)
            .map(|_| {
                let count = count.clone();
                thread::spawn(move || usize::from(count.retire()))
            })
            .collect();
        // One gets stuck: as the monitor sees it, two should serve from now on.
        count.set_target(2);
        let serving = count.serving();
        (serving..2).for_each(|_| count.add());
        let joined = 2_usize.saturating_sub(serving);
        let retired: usize = retired.into_iter().map(|one| one.join().unwrap()).sum();
        assert_eq!(count.serving(), 3 + joined - retired);
        assert!(count.serving() >= 2);
    });
}

/// A worker's place with what belongs to it; the wait on the word of its state is a lock and a condition variable.
struct Workplace {
    worker_state: spare_workers::WorkerState,
    lock: Mutex<()>,
    changed: Condvar,
    /// Stands for the run queue: loom fails the model if two threads use it without order between them.
    queue: loom::cell::UnsafeCell<usize>,
    over: loom::sync::atomic::AtomicBool,
}

// SAFETY: the protocol under test is what makes the queue's users exclusive; loom checks that.
unsafe impl Sync for Workplace {}

impl Workplace {
    /// A place whose worker serves.
    fn serving() -> Arc<Workplace> {
        let place = Workplace {
            worker_state: spare_workers::WorkerState::vacant(),
            lock: Mutex::new(()),
            changed: Condvar::new(),
            queue: loom::cell::UnsafeCell::new(0),
            over: loom::sync::atomic::AtomicBool::new(false),
        };
        assert_eq!(
            place.worker_state.start(),
            Some(spare_workers::Start::NewThread)
        );
        Arc::new(place)
    }

    fn serve(&self) {
        // SAFETY: checked by loom.
        self.queue.with_mut(|queue| unsafe { *queue += 1 });
    }

    /// `Worker::retire`: true if the OS thread ends. It waits for ever, or not at all.
    fn retire(&self, waits: bool) -> bool {
        let retired = self.worker_state.retire();
        if waits && !self.over.load(Ordering::SeqCst) {
            let mut guard = self.lock.lock().unwrap();
            while self.worker_state.word().load(Ordering::SeqCst) == retired {
                guard = self.changed.wait(guard).unwrap();
            }
        }
        self.worker_state.give_up()
    }

    fn wake(&self) {
        let _guard = self.lock.lock().unwrap();
        self.changed.notify_one();
    }

    /// `Shared::add_worker`, with the new OS thread's work done by the caller.
    fn start(&self) {
        match self.worker_state.start() {
            Some(spare_workers::Start::NewThread) => self.serve(),
            Some(spare_workers::Start::Wake) => self.wake(),
            None => {}
        }
    }
}

#[test]
fn a_retired_worker_learns_that_it_is_started_again() {
    check(5, || {
        let place = Workplace::serving();
        let worker = {
            let place = place.clone();
            thread::spawn(move || {
                place.serve();
                assert!(!place.retire(true));
                place.serve();
            })
        };
        while place.worker_state.is_serving() {
            thread::yield_now();
        }
        place.start();
        worker.join().unwrap();
    });
}

#[test]
fn a_place_has_one_worker_though_one_is_started_as_the_old_one_gives_up() {
    check(5, || {
        let place = Workplace::serving();
        let worker = {
            let place = place.clone();
            thread::spawn(move || {
                place.serve();
                if !place.retire(false) {
                    place.serve();
                }
            })
        };
        place.start();
        worker.join().unwrap();
    });
}

#[test]
fn a_retired_worker_does_not_miss_the_end() {
    check(5, || {
        let place = Workplace::serving();
        let worker = {
            let place = place.clone();
            thread::spawn(move || {
                place.serve();
                // Ends, or is called just before and finds the runtime over.
                let ended = place.retire(true);
                assert!(ended || place.worker_state.is_serving());
            })
        };
        let monitor = {
            let place = place.clone();
            thread::spawn(move || {
                if let Some(spare_workers::Start::Wake) = place.worker_state.start() {
                    place.wake();
                }
            })
        };
        place.over.store(true, Ordering::SeqCst);
        if place.worker_state.dismiss() {
            place.wake();
        }
        worker.join().unwrap();
        monitor.join().unwrap();
    });
}

/// A descriptor from which `items` are to be had, one by one.
struct Items {
    line: line::Line<()>,
    /// What the kernel has.
    there: AtomicUsize,
    taken: AtomicUsize,
    /// From now on, those with a stricter condition take what there is.
    is_enough: AtomicUsize,
}

/// What a receiver does with what it finds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiver {
    /// Reads as from a TCP socket: does not ask the kernel while the bit is cleared.
    Reads,
    /// Likewise, and gives up as it is woken, or else when it would wait for the second time.
    GivesUp,
    /// Asks the kernel in any case, and clears no bit.
    Asks,
    /// Likewise, and has no use for what there is before there is enough.
    Strict,
}

// SAFETY: the line's cells are used under its lock only; loom checks that.
unsafe impl Sync for Items {}
// SAFETY: as for `Sync`: the line may be used by any thread.
unsafe impl Send for Items {}

impl Items {
    fn new() -> Arc<Items> {
        Arc::new(Items {
            line: line::Line::new(()),
            there: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            is_enough: AtomicUsize::new(0),
        })
    }

    /// Items come together, and the kernel tells once.
    fn come(&self, count: usize) {
        self.there.fetch_add(count, Ordering::SeqCst);
        self.line.edge(interest::Edges::READ, |()| true);
    }

    /// How many were taken before this one, if there is one.
    fn take(&self) -> Option<usize> {
        let took = self
            .there
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |there| {
                there.checked_sub(1)
            })
            .is_ok();
        took.then(|| self.taken.fetch_add(1, Ordering::SeqCst))
    }

    fn is_ready(&self) -> bool {
        self.there.load(Ordering::SeqCst) != 0
    }

    /// `Descriptor::is_known_unready`.
    fn is_known_unready(seen: u32) -> bool {
        seen >= line::EDGE && seen & interest::Edges::READ.bits() == 0
    }

    /// `Call::carry_out`. Gives how many were taken before.
    fn receive(&self, parker: &green::Parker, receiver: Receiver) -> usize {
        let mut place = 0;
        let waiter = line::Waiter::consumer(green::GreenRef(parker), interest::Edges::READ);
        loop {
            let seen = self.line.readiness();
            let queues_first =
                waiter.is_newcomer() && self.line.has_consumers(interest::Edges::READ);
            if queues_first && !self.line.is_passing(interest::Edges::READ) && self.is_ready() {
                self.line.prompt(&waiter);
            }
            if !queues_first || !self.wait(parker, &waiter, line::Tried::Not) {
                let reads = matches!(receiver, Receiver::Reads | Receiver::GivesUp);
                let is_unready = reads && Items::is_known_unready(seen) && !waiter.is_woken();
                let has_use =
                    receiver != Receiver::Strict || self.is_enough.load(Ordering::SeqCst) != 0;
                if !is_unready
                    && has_use
                    && let Some(before) = self.take()
                {
                    place = before;
                    break;
                }
                if reads {
                    self.line.clear(seen, interest::Edges::READ);
                }
                self.wait(parker, &waiter, line::Tried::At(seen));
            }
            if receiver == Receiver::GivesUp {
                break;
            }
        }
        if self.line.leave(&waiter) {
            self.line.pass_on(&waiter, self.is_ready());
        }
        place
    }

    /// `Place::wait`: false if it is to try at once.
    fn wait(&self, parker: &green::Parker, waiter: &line::Waiter, tried: line::Tried) -> bool {
        // SAFETY: `receive` has it leave before its frame ends.
        let queued = unsafe { self.line.join(waiter, tried, |()| Ok::<_, ()>(true)) };
        match queued.unwrap() {
            line::Queued::TryAgain => return false,
            line::Queued::Waiting => {}
            line::Queued::WaitingBefore => {
                if self.is_ready() {
                    self.line.pass_on_to_untried(waiter);
                }
            }
        }
        while waiter.waits() {
            parker.park();
        }
        true
    }
}

/// Two threads receive, `calls` times each, what comes together in `edges` events; another one comes, is woken, and gives up.
fn receive_all(preemptions: usize, calls: usize, edges: &'static [usize], with_quitter: bool) {
    check(preemptions, move || {
        let items = Items::new();
        let parkers: Arc<[green::Parker; 3]> = Arc::default();
        let receivers: Vec<_> = (0..2)
            .map(|index| {
                let (items, parkers) = (items.clone(), parkers.clone());
                thread::spawn(move || {
                    for _ in 0..calls {
                        items.receive(&parkers[index], Receiver::Reads);
                    }
                })
            })
            .collect();
        if with_quitter {
            let (quitter, others) = (items.clone(), parkers.clone());
            let quitter = thread::spawn(move || quitter.receive(&others[2], Receiver::GivesUp));
            edges.iter().for_each(|&count| items.come(count));
            quitter.join().unwrap();
        } else {
            edges.iter().for_each(|&count| items.come(count));
        }
        join_all(receivers);
    });
}

#[test]
fn an_edge_for_several_items_reaches_as_many_waiters() {
    receive_all(3, 1, &[2], false);
}

#[test]
fn newcomers_and_those_in_line_get_all_items() {
    receive_all(2, 2, &[2, 2], false);
}

#[test]
fn who_is_woken_and_gives_up_passes_the_wake_on() {
    receive_all(2, 1, &[3], true);
}

/// Of two that wait, the first has no use for the item: the other one gets it.
#[test]
fn who_has_no_use_for_what_there_is_passes_the_wake_on() {
    check(2, || {
        let items = Items::new();
        let parkers: Arc<[green::Parker; 2]> = Arc::default();
        let [strict, other] = [Receiver::Strict, Receiver::Reads].map(|receiver| {
            let (items, parkers) = (items.clone(), parkers.clone());
            thread::spawn(move || {
                items.receive(
                    &parkers[usize::from(receiver == Receiver::Strict)],
                    receiver,
                )
            })
        });
        items.come(1);
        other.join().unwrap();
        items.is_enough.store(1, Ordering::SeqCst);
        items.come(1);
        strict.join().unwrap();
    });
}

/// The kernel has two items, of which the event is still to come, when the second receiver does.
#[test]
fn a_newcomer_does_not_overtake_who_waits() {
    check(3, || {
        let items = Items::new();
        let parkers: Arc<[green::Parker; 2]> = Arc::default();
        // An edge for something that is gone, after which a reader has cleared the bit.
        items.line.edge(interest::Edges::READ, |()| true);
        items
            .line
            .clear(items.line.readiness(), interest::Edges::READ);
        let first = {
            let (items, parkers) = (items.clone(), parkers.clone());
            thread::spawn(move || items.receive(&parkers[0], Receiver::Asks))
        };
        while !items.line.has_consumers(interest::Edges::READ) {
            thread::yield_now();
        }
        items.there.store(2, Ordering::SeqCst);
        let newcomers = items.receive(&parkers[1], Receiver::Asks);
        assert_eq!((first.join().unwrap(), newcomers), (0, 1));
    });
}

/// The waker of a task that a thread polls, which waits in between.
struct Unparker(green::GreenRef);

// SAFETY: the parker outlives the model's threads, and any of them may use it.
unsafe impl Sync for Unparker {}

impl std::task::Wake for Unparker {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

fn waker(parker: &green::Parker) -> Waker {
    std::sync::Arc::new(Unparker(green::GreenRef(parker))).into()
}

impl Items {
    /// `Registration::poll_at`. Whether one was taken.
    fn poll(&self, place: &wakers::Place, waker: &Waker) -> bool {
        loop {
            let seen = self.line.readiness();
            if self.take().is_some() {
                return true;
            }
            let edge = interest::Edges::READ;
            let prepare = |(): &mut ()| Ok::<_, ()>(true);
            // SAFETY: those who poll withdraw the place before it goes.
            let left = unsafe { self.line.leave_waker(place, edge, waker, seen, prepare) };
            if left.unwrap() {
                return false;
            }
        }
    }

    /// A task takes one.
    fn await_one(&self, parker: &green::Parker) {
        let place = wakers::Place::new();
        let waker = waker(parker);
        while !self.poll(&place, &waker) {
            parker.park();
        }
        self.line.withdraw(&place);
    }
}

/// Tasks and a thread in line each take one of the items that come together in `edges` events, and so many there are; another task is
/// given up after its first poll.
fn await_all(preemptions: usize, tasks: usize, receivers: usize, edges: &'static [usize]) {
    check(preemptions, move || {
        let items = Items::new();
        let parkers: Arc<[green::Parker; 4]> = Arc::default();
        let threads: Vec<_> = (0..tasks + receivers)
            .map(|index| {
                let (items, parkers) = (items.clone(), parkers.clone());
                thread::spawn(move || {
                    let parker = &parkers[index];
                    if index < tasks {
                        items.await_one(parker);
                    } else {
                        items.receive(parker, Receiver::Reads);
                    }
                })
            })
            .collect();
        edges.iter().for_each(|&count| items.come(count));
        join_all(threads);
    });
}

#[test]
fn a_task_that_finds_nothing_is_woken_by_the_next_edge() {
    await_all(4, 1, 0, &[1]);
}

#[test]
fn an_edge_for_several_items_reaches_as_many_tasks() {
    await_all(3, 2, 0, &[2]);
    await_all(3, 2, 0, &[1, 1]);
}

#[test]
fn tasks_and_threads_in_line_get_all_items() {
    await_all(3, 1, 1, &[2]);
    await_all(3, 1, 1, &[1, 1]);
}

/// One task is dropped as it waits, or as it is woken, and takes nothing along.
#[test]
fn a_task_that_is_given_up_keeps_nothing_from_others() {
    check(3, || {
        let items = Items::new();
        let parkers: Arc<[green::Parker; 2]> = Arc::default();
        let patient = {
            let (items, parkers) = (items.clone(), parkers.clone());
            thread::spawn(move || items.await_one(&parkers[0]))
        };
        let fickle = {
            let (items, parkers) = (items.clone(), parkers.clone());
            thread::spawn(move || {
                let place = wakers::Place::new();
                let took = items.poll(&place, &waker(&parkers[1]));
                items.line.withdraw(&place);
                if took {
                    // Nobody has missed it: it was there.
                    items.come(1);
                }
            })
        };
        items.come(1);
        fickle.join().unwrap();
        patient.join().unwrap();
    });
}

/// A task is polled, is not ready, and goes on on another thread, with another waker.
#[test]
fn the_waker_that_was_left_last_is_woken() {
    check(3, || {
        let items = Items::new();
        let parkers: Arc<[green::Parker; 2]> = Arc::default();
        let place = Arc::new(wakers::Place::new());
        let polling = {
            let (items, parkers, place) = (items.clone(), parkers.clone(), place.clone());
            thread::spawn(move || {
                if items.poll(&place, &waker(&parkers[0])) {
                    return;
                }
                let waker = waker(&parkers[1]);
                while !items.poll(&place, &waker) {
                    parkers[1].park();
                }
            })
        };
        items.come(1);
        polling.join().unwrap();
        items.line.withdraw(&place);
        assert!(!items.line.has_wakers());
    });
}

/// The descriptor is closed while a task leaves its waker: that is either refused, or woken.
#[test]
fn a_close_wakes_the_tasks_or_refuses_their_wakers() {
    check(3, || {
        let line = Arc::new(line::Line::new(false));
        let parker: Arc<green::Parker> = Arc::default();
        let waiting = {
            let (line, parker) = (line.clone(), parker.clone());
            thread::spawn(move || {
                let (place, waker) = (wakers::Place::new(), waker(&parker));
                loop {
                    let seen = line.readiness();
                    let prepare =
                        |is_closed: &mut bool| if *is_closed { Err(()) } else { Ok(true) };
                    let edge = interest::Edges::WRITE;
                    // SAFETY: it is withdrawn below.
                    match unsafe { line.leave_waker(&place, edge, &waker, seen, prepare) } {
                        Ok(true) => parker.park(),
                        Ok(false) => {}
                        Err(()) => break,
                    }
                }
                line.withdraw(&place);
            })
        };
        line.reset(|is_closed| (true, *is_closed = true));
        waiting.join().unwrap();
    });
}

/// A descriptor number: what it stands for in the kernel, 0 for nothing, and its openings.
struct Number {
    descriptor: AtomicUsize,
    openings: opening::Openings,
}

impl Number {
    fn of(descriptor: usize) -> Arc<Number> {
        Arc::new(Number {
            descriptor: AtomicUsize::new(descriptor),
            openings: opening::Openings::new(),
        })
    }

    /// A system call: is in one order with all others.
    fn kernel(&self, next: impl Fn(usize) -> usize) -> usize {
        fence(Ordering::SeqCst);
        let order = Ordering::SeqCst;
        let before = self
            .descriptor
            .fetch_update(order, order, |now| Some(next(now)));
        fence(Ordering::SeqCst);
        before.unwrap()
    }

    /// On which descriptors the two steps of a call act; 0 stands for a step that fails.
    fn call(&self) -> [usize; 2] {
        let opening = self.openings.begin();
        let act = || self.kernel(|now| now);
        let first = act();
        if first == 0 {
            return [0, 0];
        }
        let going_on = self.openings.go_on(opening);
        [first, going_on.map_or(0, |_going_on| act())]
    }

    /// Puts another descriptor in place, or none: `hook::closing`, the system call, and `hook::closed`.
    fn close(&self, next: usize) {
        let closing = self.openings.closing();
        while self.openings.are_going_on() {
            thread::yield_now();
        }
        self.kernel(|_| next);
        self.openings.closed(closing);
    }

    /// The kernel gives the number out, if it is free, and `hook::opened` tells.
    fn open(&self, descriptor: usize) -> bool {
        let was_free = self.kernel(|now| if now == 0 { descriptor } else { now }) == 0;
        if was_free {
            self.openings.opened();
        }
        was_free
    }
}

fn acts_on_one(call: [usize; 2]) {
    assert!(call[1] == 0 || call[1] == call[0], "acts on {call:?}");
}

#[test]
fn a_call_acts_on_one_descriptor_though_the_number_is_used_again() {
    check(4, || {
        let number = Number::of(1);
        let caller = {
            let number = number.clone();
            thread::spawn(move || acts_on_one(number.call()))
        };
        let opener = {
            let number = number.clone();
            thread::spawn(move || {
                // Nobody closes that one.
                assert!(!number.open(2) || number.call() == [2, 2]);
            })
        };
        number.close(0);
        caller.join().unwrap();
        opener.join().unwrap();
    });
}

#[test]
fn a_call_acts_on_one_descriptor_though_another_takes_its_place() {
    check(4, || {
        let number = Number::of(1);
        let caller = {
            let number = number.clone();
            thread::spawn(move || acts_on_one(number.call()))
        };
        number.close(2);
        caller.join().unwrap();
        assert_eq!(number.call(), [2, 2]);
    });
}

#[test]
fn a_lock_for_short_sections_excludes_and_wakes_who_sleeps() {
    struct Guarded {
        word: spin_word::Word,
        value: loom::cell::UnsafeCell<usize>,
    }
    // SAFETY: the protocol under test is what makes the value's users exclusive; loom checks that.
    unsafe impl Sync for Guarded {}
    // SAFETY: as for `Sync`; an integer may go to any thread.
    unsafe impl Send for Guarded {}
    check(3, || {
        let guarded = Arc::new(Guarded {
            word: spin_word::Word(AtomicU32::new(spin_word::FREE)),
            value: loom::cell::UnsafeCell::new(0),
        });
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let guarded = guarded.clone();
                thread::spawn(move || {
                    guarded.word.lock();
                    // SAFETY: checked by loom.
                    guarded.value.with_mut(|value| unsafe { *value += 1 });
                    guarded.word.unlock();
                })
            })
            .collect();
        join_all(threads);
        assert!(guarded.word.try_lock());
        // SAFETY: checked by loom.
        guarded.value.with(|value| assert_eq!(unsafe { *value }, 3));
    });
}

/// A future of `count` parts, each of which a thread of its own brings: ready once all are there.
struct Parts {
    count: usize,
    brought: Arc<AtomicUsize>,
    wakes: Vec<fn(Waker)>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Parts {
    fn brought_by(wakes: &[fn(Waker)]) -> Parts {
        Parts {
            count: wakes.len(),
            brought: Arc::new(AtomicUsize::new(0)),
            wakes: wakes.to_vec(),
            threads: Vec::new(),
        }
    }
}

impl Future for Parts {
    type Output = Vec<thread::JoinHandle<()>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(wake) = self.wakes.pop() {
            let (waker, brought) = (context.waker().clone(), self.brought.clone());
            self.threads.push(thread::spawn(move || {
                // Only the wake orders this before the poll that looks at it.
                brought.fetch_add(1, Ordering::Relaxed);
                wake(waker);
            }));
        }
        if self.brought.load(Ordering::Relaxed) == self.count {
            Poll::Ready(std::mem::take(&mut self.threads))
        } else {
            Poll::Pending
        }
    }
}

fn join_all(threads: Vec<thread::JoinHandle<()>>) {
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_future_is_polled_after_its_last_wake() {
    check(4, || {
        let by_value = Waker::wake;
        let by_reference = |waker: Waker| waker.wake_by_ref();
        join_all(block_on::block_on(Parts::brought_by(&[
            by_value,
            by_reference,
        ])));
    });
}

#[test]
fn a_wake_that_comes_twice_or_too_late_does_no_harm() {
    check(4, || {
        let twice = |waker: Waker| {
            waker.wake_by_ref();
            waker.wake();
        };
        let threads = block_on::block_on(Parts::brought_by(&[twice]));
        // The second may still be under way, while the same thread waits for something else.
        let others = block_on::block_on(Parts::brought_by(&[Waker::wake]));
        join_all(threads);
        join_all(others);
    });
}

/// As on an OS thread, by the signal in the control block, whose wakers come too late for one call and to the next.
#[test]
fn a_green_thread_polls_its_future_after_the_last_wake() {
    check(4, || {
        let parker: Arc<green::Parker> = Arc::default();
        context::become_green(green::GreenRef(&*parker));
        let twice = |waker: Waker| {
            waker.wake_by_ref();
            waker.wake();
        };
        let threads = block_on::block_on(Parts::brought_by(&[twice]));
        let others = block_on::block_on(Parts::brought_by(&[Waker::wake]));
        join_all(threads);
        join_all(others);
        assert!(!parker.future_signal.has_wakers());
    });
}

#[test]
fn a_wake_for_a_future_that_was_given_up_does_no_harm() {
    check(4, || {
        let parker: Arc<green::Parker> = Arc::default();
        context::become_green(green::GreenRef(&*parker));
        let mut threads = Vec::new();
        let never = std::future::poll_fn(|context| {
            if threads.is_empty() {
                let waker = context.waker().clone();
                threads.push(thread::spawn(move || waker.wake()));
            }
            Poll::<()>::Pending
        });
        assert!(block_on::block_on_interruptible(never).is_err());
        let others = block_on::block_on(Parts::brought_by(&[Waker::wake]));
        join_all(threads);
        join_all(others);
        assert!(!parker.future_signal.has_wakers());
    });
}

#[test]
fn a_wait_of_a_green_thread_inside_a_poll_keeps_its_wakes_apart() {
    check(3, || {
        let parker: Arc<green::Parker> = Arc::default();
        context::become_green(green::GreenRef(&*parker));
        wait_inside_a_poll();
    });
}

#[test]
fn a_wait_inside_a_poll_keeps_its_wakes_apart() {
    check(3, wait_inside_a_poll);
}

fn wait_inside_a_poll() {
    let mut outer = Parts::brought_by(&[Waker::wake]);
    let nested = std::future::poll_fn(move |context| {
        let outcome = Pin::new(&mut outer).poll(context);
        join_all(block_on::block_on(Parts::brought_by(&[Waker::wake])));
        outcome
    });
    join_all(block_on::block_on(nested));
}

#[test]
fn who_waits_learns_of_what_was_done_before_it_was_notified() {
    check(4, || {
        struct Waiter {
            flag: wait_flag::WaitFlag,
            work: AtomicUsize,
            woken: Mutex<bool>,
            changed: Condvar,
        }
        let waiter = Arc::new(Waiter {
            flag: wait_flag::WaitFlag::new(),
            work: AtomicUsize::new(0),
            woken: Mutex::new(false),
            changed: Condvar::new(),
        });
        let notifiers: Vec<_> = (0..2)
            .map(|_| {
                let waiter = waiter.clone();
                thread::spawn(move || {
                    waiter.work.fetch_add(1, Ordering::Relaxed);
                    if waiter.flag.notify() {
                        *waiter.woken.lock().unwrap() = true;
                        waiter.changed.notify_one();
                    }
                })
            })
            .collect();
        loop {
            let seen = waiter.work.load(Ordering::Relaxed);
            if seen == 2 {
                break;
            }
            waiter.flag.prepare_wait();
            if waiter.work.load(Ordering::Relaxed) == seen {
                let mut woken = waiter.woken.lock().unwrap();
                while !*woken {
                    woken = waiter.changed.wait(woken).unwrap();
                }
                *woken = false;
            }
            waiter.flag.cancel_wait();
        }
        for notifier in notifiers {
            notifier.join().unwrap();
        }
    });
}

/// Someone who can be cancelled, and depends on somebody or is depended on.
struct Cancellable {
    mark: AtomicU32,
    dependents: dependents::Dependents,
    /// A look at one's own mark and at those of whom one depends on comes after this.
    green: Arc<Green>,
}

impl Cancellable {
    fn new() -> Arc<Cancellable> {
        Arc::new(Cancellable {
            mark: AtomicU32::new(0),
            dependents: dependents::Dependents::none(),
            green: Green::new(),
        })
    }

    fn is_cancelled(&self) -> bool {
        self.mark.load(Ordering::Acquire) != 0
    }

    fn cancel(&self) {
        self.mark.store(1, Ordering::Release);
        self.dependents.look_again();
    }

    /// Waits until `is_over`, looking before each park, as a green thread on its worker.
    fn wait(&self, is_over: impl Fn() -> bool) {
        let green = &self.green;
        loop {
            green.state.resume();
            loop {
                if is_over() {
                    return;
                }
                if green.state.begin() {
                    break;
                }
            }
            green.left();
            green.queue.pop();
        }
    }
}

impl dependents::Cancelled for Arc<Cancellable> {
    fn dependents(&self) -> &dependents::Dependents {
        &self.dependents
    }
}

/// A member of a group: it is woken.
struct Member(Arc<Cancellable>);

impl dependents::Dependent for Member {
    fn look_again(&self) -> Option<&dependents::Dependents> {
        if self.0.green.state.unpark() {
            self.0.green.queue.push();
        }
        None
    }
}

/// A group in another's list: it passes on.
struct Nested(Arc<Cancellable>);

impl dependents::Dependent for Nested {
    fn look_again(&self) -> Option<&dependents::Dependents> {
        Some(&self.0.dependents)
    }
}

#[test]
fn a_cancellation_that_races_a_child_that_attaches_and_parks_reaches_it() {
    check(3, || {
        let group = Cancellable::new();
        let child = thread::spawn({
            let group = group.clone();
            move || {
                let child = Cancellable::new();
                let told = std::sync::Arc::new(Member(child.clone()));
                let attached = dependents::Attached::new(group.clone(), told);
                child.wait(|| group.is_cancelled());
                drop(attached);
                child.green.state.retire();
            }
        });
        group.cancel();
        child.join().unwrap();
    });
}

#[test]
fn a_cancellation_reaches_the_members_of_a_scope_that_is_being_opened() {
    check(3, || {
        let owner = Cancellable::new();
        let child = thread::spawn({
            let owner = owner.clone();
            move || {
                let inner = Cancellable::new();
                let told = std::sync::Arc::new(Nested(inner.clone()));
                let opened = dependents::Attached::new(owner.clone(), told);
                let child = Cancellable::new();
                let told = std::sync::Arc::new(Member(child.clone()));
                let attached = dependents::Attached::new(inner.clone(), told);
                child.wait(|| inner.is_cancelled() || owner.is_cancelled());
                drop(attached);
                drop(opened);
            }
        });
        owner.cancel();
        child.join().unwrap();
    });
}

#[test]
fn a_cancellation_may_come_as_its_child_is_unparked_for_another_reason_and_ends() {
    check(3, || {
        let group = Cancellable::new();
        let child = Cancellable::new();
        let own = thread::spawn({
            let (group, child) = (group.clone(), child.clone());
            move || {
                let told = std::sync::Arc::new(Member(child.clone()));
                let attached = dependents::Attached::new(group.clone(), told);
                child.wait(|| {
                    group.is_cancelled() || child.green.wakers.load(Ordering::Relaxed) == 1
                });
                drop(attached);
                // Whoever was about to tell it does nothing to one that has ended.
                child.green.state.retire();
            }
        });
        let waker = thread::spawn({
            let child = child.clone();
            move || child.green.unpark()
        });
        group.cancel();
        waker.join().unwrap();
        own.join().unwrap();
    });
}
