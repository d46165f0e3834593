//! pthread objects whose memory is gone, or is something else, as soon as POSIX allows it.
//!
//! A condition may be destroyed once all its waiters have been woken, though they have yet to get the mutex; a lock by who
//! knows that nobody else will take it, though the one that released it last may not have returned from that; a semaphore and
//! a barrier after the wait that needed them last. glibc keeps these promises.

use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::hint;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;
use libc::{pthread_barrier_t, pthread_cond_t, pthread_mutex_t, pthread_rwlock_t, sem_t, timespec};

use crate::work::{World, micros};

const PAGE: usize = 4096;

/// A page of memory of its own, for one object.
struct Page<T>(NonNull<T>);

// SAFETY: the objects in it are made to be shared, and so is the pointer; it is unmapped by the one who retires it.
unsafe impl<T> Send for Page<T> {}

impl<T> Clone for Page<T> {
    fn clone(&self) -> Page<T> {
        *self
    }
}

impl<T> Copy for Page<T> {}

impl<T> Page<T> {
    fn new() -> Page<T> {
        assert!(size_of::<T>() <= PAGE);
        // SAFETY: a mapping of its own.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(address, libc::MAP_FAILED, "there is memory for a page");
        Page(NonNull::new(address.cast()).expect("a mapping is not at zero"))
    }

    fn get(self) -> *mut T {
        self.0.as_ptr()
    }

    /// Makes the page something else, for its next user if there is one.
    ///
    /// # Safety
    ///
    /// The object has been destroyed.
    unsafe fn retire(self, fate: Fate) {
        // SAFETY: the page is ours, and nothing in it is used any more.
        unsafe {
            match fate {
                Fate::Unmapped => {
                    assert_eq!(libc::munmap(self.get().cast(), PAGE), 0);
                }
                Fate::Filled(byte) => self.get().cast::<u8>().write_bytes(byte, PAGE),
            }
        }
    }
}

/// What becomes of memory after its object.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Unmapped,
    Filled(u8),
}

impl Fate {
    fn choose(random: &mut Rng) -> Fate {
        match random.u8(0..4) {
            0 | 1 => Fate::Unmapped,
            2 => Fate::Filled(0),
            _ => Fate::Filled(random.u8(..)),
        }
    }
}

fn done(status: c_int) {
    assert_eq!(status, 0, "a call on a pthread object fails");
}

/// Asks again and again, and gives way now and then.
fn give_way_until(is_so: impl Fn() -> bool) {
    let mut tries = 0;
    while !is_so() {
        tries += 1;
        if tries % 100 == 0 {
            thread::yield_now();
        }
    }
}

fn linger(chance: u8) {
    if chance < 64 {
        thread::yield_now();
    }
}

fn join_all(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("the asserts of a child hold");
    }
}

/// What the waiters for conditions share, behind `mutex`, which outlives them.
struct Station {
    mutex: UnsafeCell<pthread_mutex_t>,
    state: UnsafeCell<State>,
    /// How many conditions have been made.
    made: AtomicUsize,
}

#[derive(Default)]
struct State {
    conditions: Vec<Condition>,
    gone_on: usize,
}

struct Condition {
    page: Page<pthread_cond_t>,
    waiting: usize,
    /// Whether nobody need wait for it any more.
    is_over: bool,
}

// SAFETY: the state is behind the mutex, and that is made to be shared.
unsafe impl Sync for Station {}
// SAFETY: neither belongs to a thread.
unsafe impl Send for Station {}

impl Station {
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        // SAFETY: the mutex was made by its initialiser, and is locked and unlocked in turns.
        unsafe {
            done(libc::pthread_mutex_lock(self.mutex.get()));
            let result = f(self.state());
            done(libc::pthread_mutex_unlock(self.mutex.get()));
            result
        }
    }

    /// As [`with`](Station::with), but tries for the mutex again and again, so as to have it as soon as it is unlocked.
    fn with_at_once<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut tries = 0;
        // SAFETY: as in `with`.
        unsafe {
            while libc::pthread_mutex_trylock(self.mutex.get()) != 0 {
                tries += 1;
                if tries % 1000 == 0 {
                    thread::yield_now();
                }
            }
            let result = f(self.state());
            done(libc::pthread_mutex_unlock(self.mutex.get()));
            result
        }
    }

    /// # Safety
    ///
    /// The caller owns the mutex for as long as it uses what it gets.
    #[expect(clippy::mut_from_ref, reason = "the mutex sees to it")]
    unsafe fn state(&self) -> &mut State {
        // SAFETY: nobody else owns the mutex, which guards the state.
        unsafe { &mut *self.state.get() }
    }

    /// Waits for the condition of that number, with a time limit that is over soon, or in an hour, or never.
    fn wait(&self, number: usize, limit: Option<Duration>) {
        let mutex = self.mutex.get();
        // SAFETY: the condition lives until all of its waiters have been woken, and none waits again when it is over. The
        // state is used with the mutex locked.
        unsafe {
            done(libc::pthread_mutex_lock(mutex));
            self.state().conditions[number].waiting += 1;
            let condition = self.state().conditions[number].page;
            while !self.state().conditions[number].is_over {
                let Some(limit) = limit else {
                    done(libc::pthread_cond_wait(condition.get(), mutex));
                    continue;
                };
                let deadline = from_now(limit);
                let status = libc::pthread_cond_timedwait(condition.get(), mutex, &deadline);
                assert!(status == 0 || status == libc::ETIMEDOUT);
            }
            self.state().gone_on += 1;
            done(libc::pthread_mutex_unlock(mutex));
        }
    }
}

fn from_now(limit: Duration) -> timespec {
    let mut now = MaybeUninit::uninit();
    // SAFETY: the kernel writes the time.
    let now: timespec = unsafe {
        libc::clock_gettime(libc::CLOCK_REALTIME, now.as_mut_ptr());
        now.assume_init()
    };
    let nanos = now.tv_nsec as u128 + limit.as_nanos();
    timespec {
        tv_sec: now.tv_sec + (nanos / 1_000_000_000) as i64,
        tv_nsec: (nanos % 1_000_000_000) as i64,
    }
}

/// One condition after another at the same place or at a new one: its waiters are woken, it is destroyed, its memory is gone.
pub(crate) fn reuses_conditions(_: &Arc<World>, random: &mut Rng) {
    let (conditions, count) = (random.usize(1..60), random.usize(1..5));
    let station = Arc::new(Station {
        mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
        state: UnsafeCell::default(),
        made: AtomicUsize::new(0),
    });
    let is_over = Arc::new(AtomicBool::new(false));
    let passers_by = (0..random.u8(0..3))
        .map(|_| {
            let (station, is_over) = (station.clone(), is_over.clone());
            thread::spawn(move || pass_by(&station, &is_over))
        })
        .collect();
    let waiters = (0..count)
        .map(|_| {
            let (station, limit) = (station.clone(), limit(random));
            thread::spawn(move || {
                for number in 0..conditions {
                    give_way_until(|| station.made.load(Ordering::SeqCst) > number);
                    station.wait(number, limit);
                }
            })
        })
        .collect();
    let mut page = Page::new();
    for number in 0..conditions {
        // SAFETY: nobody uses the page.
        done(unsafe { libc::pthread_cond_init(page.get(), ptr::null()) });
        station.with(|state| {
            state.conditions.push(Condition {
                page,
                waiting: 0,
                is_over: false,
            });
        });
        station.made.store(number + 1, Ordering::SeqCst);
        // SAFETY: the condition is in use. All who wait for it are woken, and nobody waits for it again. So it may be
        // destroyed, and its memory be used for another purpose.
        unsafe {
            let (wake_inside, by_broadcast) = (random.bool(), random.bool());
            let wake = || {
                if by_broadcast {
                    done(libc::pthread_cond_broadcast(page.get()));
                } else {
                    (0..count).for_each(|_| done(libc::pthread_cond_signal(page.get())));
                }
            };
            // The last of them has unlocked the mutex only now, perhaps, in order to wait.
            give_way_until(|| {
                station.with_at_once(|state| {
                    let condition = &mut state.conditions[number];
                    condition.is_over = condition.waiting == count;
                    if condition.is_over && wake_inside {
                        wake();
                    }
                    condition.is_over
                })
            });
            if !wake_inside {
                wake();
            }
            done(libc::pthread_cond_destroy(page.get()));
            let fate = Fate::choose(random);
            page.retire(fate);
            if fate == Fate::Unmapped {
                page = Page::new();
            }
        }
    }
    join_all(waiters);
    is_over.store(true, Ordering::SeqCst);
    join_all(passers_by);
    station.with(|state| assert_eq!(state.gone_on, conditions * count));
    // SAFETY: no condition is there any more.
    unsafe { page.retire(Fate::Unmapped) };
}

/// Uses the mutex and not the condition. A waiter that unlocks the mutex has to wake somebody for it, and so comes to wait for
/// the condition the later.
fn pass_by(station: &Station, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        station.with(|_| (0..200).for_each(|_| hint::spin_loop()));
        thread::yield_now();
    }
}

fn limit(random: &mut Rng) -> Option<Duration> {
    match random.u8(0..4) {
        0 => Some(micros(random, 300)),
        1 => Some(Duration::from_secs(3600)),
        _ => None,
    }
}

/// A lock, and how many are still to take it.
struct Counted<L> {
    lock: L,
    left: usize,
}

/// Whoever takes the lock last destroys it as soon as he has released it, and the memory is gone.
fn last_destroys<L: 'static>(
    random: &mut Rng,
    init: impl FnOnce(*mut L),
    lock: fn(*mut L, u8),
    unlock: fn(*mut L),
    destroy: fn(*mut L),
) {
    let page = Page::<Counted<L>>::new();
    let count = random.usize(2..8);
    // SAFETY: nobody else knows the page yet.
    let object = unsafe {
        (*page.get()).left = count;
        &raw mut (*page.get()).lock
    };
    init(object);
    let threads = (0..count)
        .map(|_| {
            let (how, fate) = (random.u8(..), Fate::choose(random));
            thread::spawn(move || {
                let page = page;
                // SAFETY: the lock lives until the last has released it, and the count is used by its owner.
                unsafe {
                    let object = &raw mut (*page.get()).lock;
                    lock(object, how);
                    (*page.get()).left -= 1;
                    let is_last = (*page.get()).left == 0;
                    linger(how);
                    unlock(object);
                    if is_last {
                        destroy(object);
                        page.retire(fate);
                        // What is not unmapped is a leak, and will be something else to the next.
                        if fate != Fate::Unmapped {
                            page.retire(Fate::Unmapped);
                        }
                    }
                }
            })
        })
        .collect();
    join_all(threads);
}

pub(crate) fn reuses_mutexes(_: &Arc<World>, random: &mut Rng) {
    let kind = random.choice([
        libc::PTHREAD_MUTEX_NORMAL,
        libc::PTHREAD_MUTEX_RECURSIVE,
        libc::PTHREAD_MUTEX_ERRORCHECK,
    ]);
    let kind = kind.expect("there are some");
    last_destroys::<pthread_mutex_t>(
        random,
        // SAFETY: nobody uses the mutex yet.
        |mutex| unsafe {
            let mut attributes = MaybeUninit::uninit();
            done(libc::pthread_mutexattr_init(attributes.as_mut_ptr()));
            done(libc::pthread_mutexattr_settype(
                attributes.as_mut_ptr(),
                kind,
            ));
            done(libc::pthread_mutex_init(mutex, attributes.as_ptr()));
        },
        // SAFETY: the mutex is there.
        |mutex, _| done(unsafe { libc::pthread_mutex_lock(mutex) }),
        // SAFETY: it is locked by the caller.
        |mutex| done(unsafe { libc::pthread_mutex_unlock(mutex) }),
        // SAFETY: nobody is going to use it any more.
        |mutex| done(unsafe { libc::pthread_mutex_destroy(mutex) }),
    );
}

pub(crate) fn reuses_rwlocks(_: &Arc<World>, random: &mut Rng) {
    last_destroys::<pthread_rwlock_t>(
        random,
        // SAFETY: nobody uses the lock yet.
        |lock| done(unsafe { libc::pthread_rwlock_init(lock, ptr::null()) }),
        // SAFETY: the lock is there. All who have it count, so all write.
        |lock, _| done(unsafe { libc::pthread_rwlock_wrlock(lock) }),
        // SAFETY: it is locked by the caller.
        |lock| done(unsafe { libc::pthread_rwlock_unlock(lock) }),
        // SAFETY: nobody is going to use it any more.
        |lock| done(unsafe { libc::pthread_rwlock_destroy(lock) }),
    );
}

/// Whoever has been posted to often enough destroys the semaphore, though the last post may not have returned yet.
pub(crate) fn reuses_semaphores(_: &Arc<World>, random: &mut Rng) {
    let page = Page::<sem_t>::new();
    // SAFETY: nobody uses the page yet.
    done(unsafe { libc::sem_init(page.get(), 0, 0) });
    let posts = random.usize(1..6);
    let posters = (0..posts)
        .map(|_| {
            let pause = random.u8(..);
            thread::spawn(move || {
                let page = page;
                linger(pause);
                // SAFETY: it is waited for as often as it is posted to, and lives that long.
                done(unsafe { libc::sem_post(page.get()) });
            })
        })
        .collect();
    // SAFETY: after the last wait nobody posts any more.
    unsafe {
        (0..posts).for_each(|_| done(libc::sem_wait(page.get())));
        done(libc::sem_destroy(page.get()));
        page.retire(Fate::Unmapped);
    }
    join_all(posters);
}

/// The one whom the barrier tells so destroys it, though the others may not have returned yet.
pub(crate) fn reuses_barriers(_: &Arc<World>, random: &mut Rng) {
    let page = Page::<pthread_barrier_t>::new();
    let count = random.usize(1..6);
    // SAFETY: nobody uses the page yet.
    done(unsafe { libc::pthread_barrier_init(page.get(), ptr::null(), count as u32) });
    let serial = Arc::new(AtomicUsize::new(0));
    let threads = (0..count)
        .map(|_| {
            let (pause, serial) = (random.u8(..), serial.clone());
            thread::spawn(move || {
                let page = page;
                linger(pause);
                // SAFETY: as many wait as the barrier is for, once each; the one destroys it after that.
                unsafe {
                    match libc::pthread_barrier_wait(page.get()) {
                        libc::PTHREAD_BARRIER_SERIAL_THREAD => {
                            serial.fetch_add(1, Ordering::SeqCst);
                            done(libc::pthread_barrier_destroy(page.get()));
                            page.retire(Fate::Unmapped);
                        }
                        status => done(status),
                    }
                }
            })
        })
        .collect();
    join_all(threads);
    assert_eq!(serial.load(Ordering::SeqCst), 1);
}
