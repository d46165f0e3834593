//! OS threads that block in the kernel in the place of green threads.
//!
//! Some calls wait inside the C library or the kernel for what another process does, and nothing could tell the scheduler of
//! their end: futexes and pthread objects that processes share. A *stand-in* is an OS thread that makes such a call while the
//! green thread parks. It is no worker: any number of green threads can wait so on one worker, and none needs a spare one.
//!
//! A stand-in makes one call after another. While nobody needs it, it sleeps in a list, and ends after [`IDLE_TIME`]. A green
//! thread may also keep one to itself, for calls that belong to the calling OS thread (mutexes that inherit priorities, whose
//! owner the kernel must know); it ends with that green thread if it still holds something, so that the kernel sees an owner
//! die.
//!
//! # Protocol
//!
//! The green thread writes `job`, then makes `order` [`RUN`]. The stand-in exchanges `order` for [`NONE`], makes the call,
//! writes the value, sets the job's `done`, and wakes who waits on that word. The job is in the green thread's frame and may
//! be gone as soon as `done` is set: the wake-up needs its address only. `order` is written by whoever took the stand-in out
//! of the list, and by nobody else until the job is done; a stand-in that is about to end takes itself out of the list first.
//!
//! # Why one OS thread for each wait
//!
//! Rejected: one thread that waits for many words by futex_waitv(2). It is not queued while it returns, and takes in new words;
//! a wake-up in that time is lost unless the word has changed for good, and of several words that are woken at once the kernel
//! names one. Both can be mended only by waking every green thread at each return, and as each then waits again, that
//! never ends. Nor would it help with the waits that glibc makes inside its own code. A thread that waits for a single word is queued
//! in the kernel's order from the first comparison to the wake-up, as any other thread is.

use std::cell::{Cell, UnsafeCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use rustix::thread::futex;
use rustix::time::Timespec;

use crate::base::kernel_futex;
use crate::base::reason::Packed;
use crate::base::signal;
use crate::base::spin::{self, SpinLock};
use crate::base::thread_counts::CountedThread;
use crate::sched::context::{NativeSection, OwnWork};
use crate::sched::green::{Green, GreenRef};
use crate::sched::parking_lot::{self, ParkRequest, park_at};

/// So many at once, which leaves room for others within the limits that systems commonly set for a user's threads.
const MOST: usize = 4096;

/// For calls into libc, none of which calls back. std adds what the C library needs for thread-local storage.
const STACK_SIZE: usize = 64 << 10;

/// How long one that nobody needs stays.
const IDLE_TIME: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// States of `order`: nothing to do.
const NONE: u32 = 0;
/// There is a job.
const RUN: u32 = 1;
/// The thread is to end.
const END: u32 = 2;

/// Those that nobody needs, the latest first.
static IDLE: SpinLock<Option<Arc<StandIn>>> = SpinLock::new(None);

/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// An OS thread that makes calls for green threads.
pub(crate) struct StandIn {
    order: AtomicU32,
    /// Written before `order` becomes `RUN`.
    job: Cell<*const Header>,
    /// The next in the list; used under its lock.
    next: Cell<Option<Arc<StandIn>>>,
    /// Written by the starter, taken by who ends it.
    thread: Cell<Option<JoinHandle<()>>>,
}

// SAFETY: `job` passes from one thread to the other by `order`, `next` is used under the list's lock, and `thread` by whoever
// has the stand-in to itself.
unsafe impl Sync for StandIn {}
// SAFETY: as above; a thread's handle and a pointer may move between threads.
unsafe impl Send for StandIn {}

/// What a job begins with.
struct Header {
    run: unsafe extern "C" fn(*const Header),
    /// 1 when the value is there.
    done: AtomicU32,
}

#[repr(C)]
struct Job<'a, F, T> {
    header: Header,
    call: &'a F,
    value: UnsafeCell<Option<T>>,
}

impl<F: Fn() -> T, T> Job<'_, F, T> {
    /// A panic ends the process: nobody could be told of it.
    ///
    /// # Safety
    ///
    /// `header` is that of a job of this type, which stays in place until `done` is set.
    unsafe extern "C" fn run(header: *const Header) {
        // SAFETY: a job begins with its header, and is in place, by this function's contract. Nobody else uses the value
        // before `done` is set.
        unsafe {
            let job = &*header.cast::<Job<'_, F, T>>();
            *job.value.get() = Some((job.call)());
            let done = job.header.done.as_ptr();
            job.header.done.store(1, Ordering::Release);
            // From here on the job may be gone.
            parking_lot::wake_one(done);
        }
    }
}

/// Waits for a job's end when dropped, as its frame must not be left before.
struct Pending<'a> {
    header: &'a Header,
    green: GreenRef,
    reason: Packed,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let done = &self.header.done;
        while done.load(Ordering::Acquire) == 0 {
            let request = ParkRequest::new(done.as_ptr(), 0).because(self.reason);
            // SAFETY: the borrow keeps the word in place, and the green thread is in a native section, as `run` demands.
            unsafe { park_at(self.green, request, None) };
        }
    }
}

impl StandIn {
    /// One that nobody needs, or a new one; `None` if there are as many as there may be, or the kernel gives no thread.
    pub(crate) fn take() -> Option<Arc<StandIn>> {
        {
            let mut idle = IDLE.lock();
            if let Some(first) = idle.take() {
                *idle = first.next.take();
                return Some(first);
            }
        }
        if COUNT.fetch_add(1, Ordering::Relaxed) >= MOST {
            COUNT.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let stand_in = Arc::new(StandIn {
            order: AtomicU32::new(NONE),
            job: Cell::new(std::ptr::null()),
            next: Cell::new(None),
            thread: Cell::new(None),
        });
        let its_own = stand_in.clone();
        let _native = NativeSection::enter();
        let _own = OwnWork::enter();
        let thread = thread::Builder::new()
            .name("green-stand-in".to_owned())
            .stack_size(STACK_SIZE);
        let started = signal::spawn_undisturbed(thread, move || its_own.main());
        match started {
            Ok(thread) => {
                stand_in.thread.set(Some(thread));
                Some(stand_in)
            }
            Err(_) => {
                COUNT.fetch_sub(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Leaves it to the next who needs one.
    pub(crate) fn give_back(self: Arc<StandIn>) {
        let mut idle = IDLE.lock();
        self.next.set(idle.take());
        *idle = Some(self);
    }

    /// Has `call` made on this OS thread. Does `meanwhile`, then parks `green` until the call has returned; gives its value.
    ///
    /// # Safety
    ///
    /// `green` is the calling green thread, in a native section. `call` and its value may go to another thread.
    pub(crate) unsafe fn run<F: Fn() -> T, T>(
        &self,
        green: GreenRef,
        reason: Packed,
        call: &F,
        meanwhile: impl FnOnce(),
    ) -> T {
        let job = Job {
            header: Header {
                run: Job::<F, T>::run,
                done: AtomicU32::new(0),
            },
            call,
            value: UnsafeCell::new(None),
        };
        self.job.set((&raw const job).cast());
        self.order(RUN);
        let pending = Pending {
            header: &job.header,
            green,
            reason,
        };
        meanwhile();
        drop(pending);
        let value = job.value.into_inner();
        value.expect("a job that is done has left its value")
    }

    fn order(&self, order: u32) {
        self.order.store(order, Ordering::Release);
        kernel_futex::wake(&self.order, 1);
    }

    /// Ends the OS thread, and waits until the kernel has seen to what it still held.
    fn end(self: Arc<StandIn>) {
        let thread = self.thread.take();
        self.order(END);
        let _native = NativeSection::enter();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// The body of the OS thread.
    fn main(self: Arc<StandIn>) {
        let _own = OwnWork::thread();
        loop {
            match self.next_order() {
                RUN => {
                    let job = self.job.get();
                    // SAFETY: who gave the order has put a job there, which stays in place until it is done.
                    unsafe { ((*job).run)(job) };
                }
                END => break,
                _ if self.leave_list() => break,
                _ => {}
            }
        }
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }

    /// The next order, or `NONE` if none has come for a while.
    fn next_order(&self) -> u32 {
        let _at_rest = CountedThread::own_thread();
        loop {
            let order = self.order.swap(NONE, Ordering::Acquire);
            if order != NONE {
                return order;
            }
            let waited = futex::wait(&self.order, futex::Flags::PRIVATE, NONE, Some(&IDLE_TIME));
            if waited == Err(rustix::io::Errno::TIMEDOUT) {
                return self.order.swap(NONE, Ordering::Acquire);
            }
        }
    }

    /// Takes this one out of the list; false if it is not in there, since somebody has it.
    fn leave_list(self: &Arc<StandIn>) -> bool {
        let mut found = None;
        {
            let mut idle = IDLE.lock();
            let mut rest = idle.take();
            while let Some(stand_in) = rest {
                rest = stand_in.next.take();
                if Arc::ptr_eq(&stand_in, self) {
                    found = Some(stand_in);
                } else {
                    stand_in.next.set(idle.take());
                    *idle = Some(stand_in);
                }
            }
        }
        found.is_some()
    }
}

/// The stand-in that a green thread keeps to itself, and for how much.
struct Kept {
    stand_in: Arc<StandIn>,
    count: u32,
}

impl Kept {
    /// Takes it out of the control block.
    fn take(green: &Green) -> Option<Kept> {
        let (stand_in, count) = green.stand_in.take()?;
        let stand_in = stand_in.downcast().ok()?;
        Some(Kept { stand_in, count })
    }
}

impl Green {
    /// Whether it keeps a stand-in to itself.
    pub(crate) fn keeps_stand_in(&self) -> bool {
        let kept = self.stand_in.take();
        let keeps = kept.is_some();
        self.stand_in.set(kept);
        keeps
    }
}

impl GreenRef {
    /// Has `call` made by the stand-in that this green thread keeps, or by one that it keeps from now on if `acquires` says so of
    /// the value. `releases` says that the value means that one of the things for which it is kept is given back.
    /// `None` if there is no stand-in.
    ///
    /// # Safety
    ///
    /// As for [`StandIn::run`].
    pub(crate) unsafe fn run_on_kept_stand_in<F: Fn() -> T, T>(
        self,
        reason: Packed,
        call: &F,
        acquires: impl FnOnce(&T) -> bool,
        releases: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let Kept {
            stand_in,
            mut count,
        } = match Kept::take(&self) {
            Some(kept) => kept,
            None => Kept {
                stand_in: StandIn::take()?,
                count: 0,
            },
        };
        // SAFETY: this is the calling green thread, in a native section, by this function's contract, as is what it says
        // of the call.
        let value = unsafe { stand_in.run(self, reason, call, || ()) };
        if acquires(&value) {
            count += 1;
        } else if releases(&value) {
            count = count.saturating_sub(1);
        }
        if count == 0 {
            stand_in.give_back();
        } else {
            self.stand_in.set(Some((stand_in, count)));
        }
        Some(value)
    }

    /// Ends the stand-in that this green thread keeps, if it keeps one: the kernel then does with what is still held as it
    /// does when a thread ends.
    pub(crate) fn end_kept_stand_in(self) {
        if let Some(kept) = Kept::take(&self) {
            kept.stand_in.end();
        }
    }
}

/// After a fork the parent's OS threads do not exist.
///
/// # Safety
///
/// The process is passive: no other thread looks at the list.
pub(super) unsafe fn reset_after_fork() {
    COUNT.store(0, Ordering::Relaxed);
    // SAFETY: no other thread uses the lock, by this function's contract. The list's memory is left as it is: a thread may
    // have been changing it.
    unsafe { spin::seize(&IDLE, |idle| std::mem::forget(idle.take())) };
}
