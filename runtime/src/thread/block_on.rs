//! Futures in blocking code: [`block_on`].
//!
//! A green thread has a signal in its control block, of which `sched/future_signal.rs` tells: there a wait is a park, and neither
//! a call nor a waker takes memory. (Measured by `handover` of `benches/futures.rs`: a wait takes 96 ns, and took 150 by a signal
//! that was allocated for each call and by the wait queues of words.)
//!
//! **On an OS thread**, and on a green thread inside of a poll of another call, the signal between a future's wakers and the thread
//! that waits is one word:
//!
//! | state | meaning | set by |
//! |---|---|---|
//! | `QUIET` | nobody has woken since the last poll began | the thread, before it polls |
//! | `WAITING` | the same, and the thread waits on the word | the thread, from `QUIET` |
//! | `NOTIFIED` | there is something to poll for | a waker, from any state |
//!
//! No wake-up is lost: `NOTIFIED` stays until the thread takes it, and the thread polls after that. What was written
//! before a wake is seen by that poll, because the waker's swap releases and the thread's acquires; both are
//! read-modify-write operations, so this holds for each of several wakers. Only the one that finds `WAITING` goes to
//! the wait queue; the others cost a swap. The word is shared by count, so a late waker finds it in place.
//!
//! The count also tells the deadlock report whether anybody has a waker besides the thread itself. If so, the wait may
//! end, as nobody can know what makes them use it; if not, it never does.

use std::mem::ManuallyDrop;
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};

use crate::base::atomic::{AtomicU32, Ordering};
use crate::base::reason::Packed;
use crate::sched::context::{self, NativeSection};
use crate::sched::future_signal::{Awaiting, ON_FUTEX};
use crate::sched::green::GreenRef;
use crate::wait::futex;
use crate::wait::interrupt::{Interrupted, Limits};
use crate::wait::section;

/// Waits for a future on the calling thread and gives its output. A green thread parks while the future is not
/// ready, an OS thread blocks.
///
/// So a crate that is async only can be used from blocking code, and its executor, if it needs one, runs on OS
/// threads beside the workers. The future runs as code of the caller: it may block, which delays nobody but itself,
/// and may call `block_on` again. It stands on the caller's stack. One that is always woken at once gives way to
/// other green threads now and then.
///
/// The wait cannot say that it was cut short, so deadline scopes ([`time::timeout`](crate::time::timeout)) and
/// cancellation do not touch it; they do end what blocks inside the future. [`block_on_interruptible`] can.
///
/// # Panics
///
/// If the future panics, the panic goes on in the caller.
///
/// ```
/// use greenpatch_runtime::{block_on, run, spawn};
///
/// let sum = run(|| {
///     let (sender, receiver) = async_channel::bounded(1);
///     let producer = spawn(move || {
///         block_on(async {
///             for n in 1..=10 {
///                 sender.send(n).await.unwrap();
///             }
///         })
///     });
///     let mut sum = 0;
///     while let Ok(n) = block_on(receiver.recv()) {
///         sum += n;
///     }
///     producer.join().unwrap();
///     sum
/// });
/// assert_eq!(sum, 55);
/// ```
///
/// With Tokio, whose runtime has its own threads:
///
/// ```
/// use greenpatch_runtime::{block_on, run};
///
/// let tokio = tokio::runtime::Runtime::new()?;
/// let handle = tokio.handle().clone();
/// let answer = run(move || {
///     // Inside of it, its timers and sockets can be made and awaited here.
///     let _inside = handle.enter();
///     block_on(async {
///         tokio::time::sleep(std::time::Duration::from_millis(1)).await;
///         tokio::spawn(async { 42 }).await
///     })
/// })?;
/// assert_eq!(answer, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    let outcome = block_on_within(pin!(future.into_future()), None);
    outcome.expect("a wait without limits is not cut short")
}

/// As [`block_on`], and cut short by deadline scopes and cancellation. The future is dropped then, as any future that nobody
/// polls any more.
///
/// # Errors
///
/// Why the wait was cut short, if the future was not ready by then.
///
/// # Panics
///
/// As [`block_on`].
///
/// ```
/// use std::time::Duration;
/// use greenpatch_runtime::{Interrupted, block_on_interruptible, run, time};
///
/// run(|| {
///     let never = || block_on_interruptible(std::future::pending::<()>());
///     let late = time::timeout(Duration::from_millis(5), never);
///     assert_eq!(late.unwrap_err().into_inner(), Err(Interrupted::TimedOut));
///     assert_eq!(block_on_interruptible(async { 1 }), Ok(1));
/// });
/// ```
pub fn block_on_interruptible<F: IntoFuture>(future: F) -> Result<F::Output, Interrupted> {
    let outcome = block_on_within(pin!(future.into_future()), Some(Limits::new(None)));
    if outcome.is_err() {
        // A loop around this must not keep its worker for itself.
        section::yield_now();
    }
    outcome
}

#[inline]
fn block_on_within<F: Future>(
    future: Pin<&mut F>,
    limits: Option<Limits>,
) -> Result<F::Output, Interrupted> {
    match context::green() {
        Some(green) if green.future_signal.claim() => ClaimedSignal(green).block_on(future, limits),
        _ => block_on_signal(future, limits),
    }
}

/// A green thread's own signal, while this call has it.
struct ClaimedSignal(GreenRef);

impl ClaimedSignal {
    fn block_on<F: Future>(
        &self,
        mut future: Pin<&mut F>,
        limits: Option<Limits>,
    ) -> Result<F::Output, Interrupted> {
        // SAFETY: the functions of the table take what `data` gives, whose green thread's control block stays for ever. This one is
        // not counted, so it is not dropped.
        let waker = unsafe { Waker::new(data(self.0), &WAKER) };
        let waker = ManuallyDrop::new(waker);
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Ok(output);
            }
            self.wait(limits.as_ref())?;
        }
    }

    /// Waits for a notification and takes it.
    fn wait(&self, limits: Option<&Limits>) -> Result<(), Interrupted> {
        let green = self.0;
        let signal = &green.future_signal;
        let is_here = context::green() == Some(green);
        if signal.prepare_wait(!is_here) {
            let _native = NativeSection::enter();
            while signal.waits() {
                let mut outcome = limits.map_or(Ok(()), Limits::check);
                if outcome.is_ok() && is_here {
                    let reason = Packed::future(signal.address());
                    green.park_until(green, limits.and_then(Limits::until), reason);
                } else if outcome.is_ok() {
                    let has_wakers = || signal.has_wakers();
                    outcome = futex::wait_for_waker(signal.word(), ON_FUTEX, &has_wakers, limits);
                }
                if let Err(end) = outcome {
                    // Whoever comes too late wakes nobody.
                    signal.take();
                    return Err(end.into());
                }
            }
        } else {
            // Woken while it was polled, maybe by itself, and maybe for ever.
            section::give_way();
        }
        signal.take();
        Ok(())
    }
}

impl Drop for ClaimedSignal {
    fn drop(&mut self) {
        self.0.future_signal.release();
    }
}

/// Of a waker that is a pointer to a control block.
static WAKER: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

fn data(green: GreenRef) -> *const () {
    green.as_ptr().cast_const().cast()
}

/// # Safety
///
/// `data` is what [`data`] gave.
unsafe fn green(data: *const ()) -> GreenRef {
    let green = NonNull::new(data.cast_mut().cast()).expect("a waker has a control block");
    // SAFETY: it is a control block, by this function's contract.
    unsafe { GreenRef::new(green) }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: called with the data of a waker of this table.
    unsafe { green(data) }.future_signal.add_waker();
    RawWaker::new(data, &WAKER)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: called with the data of a waker of this table, which it takes.
    unsafe {
        wake_by_ref(data);
        drop_waker(data);
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: called with the data of a waker of this table.
    let green = unsafe { green(data) };
    match green.future_signal.notify() {
        Awaiting::Nobody => {}
        Awaiting::Parked => green.unpark(),
        Awaiting::OnFutex => {
            futex::wake(green.future_signal.word(), 1);
        }
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: called with the data of a waker of this table.
    unsafe { green(data) }.future_signal.remove_waker();
}

/// By a signal of its own.
fn block_on_signal<F: Future>(
    mut future: Pin<&mut F>,
    limits: Option<Limits>,
) -> Result<F::Output, Interrupted> {
    let signal = Arc::new(Signal::new());
    let waker = Waker::from(signal.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        signal.wait(limits.as_ref())?;
    }
}

/// See the module's page.
struct Signal(AtomicU32);

/// References to the signal that `block_on` holds: its own, and the waker that it polls with.
const OWN_REFERENCES: usize = 2;

const QUIET: u32 = 0;
const WAITING: u32 = 1;
const NOTIFIED: u32 = 2;

impl Signal {
    fn new() -> Signal {
        Signal(AtomicU32::new(QUIET))
    }

    /// Waits for a notification and takes it.
    fn wait(self: &Arc<Self>, limits: Option<&Limits>) -> Result<(), Interrupted> {
        let begun = self
            .0
            .compare_exchange(QUIET, WAITING, Ordering::Relaxed, Ordering::Relaxed);
        if begun.is_ok() {
            while self.0.load(Ordering::Relaxed) == WAITING {
                let has_wakers = || Arc::strong_count(self) > OWN_REFERENCES;
                futex::wait_for_waker(&self.0, WAITING, &has_wakers, limits)?;
            }
        } else {
            // Woken while it was polled, maybe by itself, and maybe for ever.
            section::give_way();
        }
        self.0.swap(QUIET, Ordering::Acquire);
        Ok(())
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.0.swap(NOTIFIED, Ordering::Release) == WAITING {
            futex::wake(&self.0, 1);
        }
    }
}
