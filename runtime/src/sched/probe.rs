//! How somebody outside learns the call stack of a parked green thread: the green thread takes it itself.
//!
//! A parked green thread is woken, which may happen anywhere without a reason, finds a probe in its control block as it
//! resumes, takes its own stack, and goes on waiting. So nobody reads a stack that may be in use.
//!
//! | step | who |
//! |---|---|
//! | the probe is put into the control block ([`ProbeCell::offer`]), then the green thread is unparked | the dumper |
//! | it is taken out, filled, marked as answered ([`ProbeCell::answer`]) | the green thread |
//! | it is sent back unanswered ([`ProbeCell::decline`]) if the green thread has ended meanwhile | whoever ends it |
//! | it is taken back if it was not answered in time ([`ProbeCell::withdraw`]) | the dumper |
//!
//! No end is missed: it is first made known (`GreenRef::snapshot` gives nothing), then whoever ends the green thread looks
//! for a probe; the dumper first puts the probe in, then asks whether the green thread lives, else it withdraws. Between
//! the two both sides pass through the lock of the name, or a fence.
//!
//! Whoever takes the probe out of the control block, by an exchange of the word, owns the reference that the word held;
//! so each side may come late. A probe that its green thread never saw is answered by the next one in the slot, if that
//! parks in time; the answer bears its id, by which the dumper tells.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering, fence};

use crate::base::arch;
use crate::base::call_stack::CallStack;

/// Bytes that a green thread must have left on its stack to take it.
const ROOM: usize = 12 << 10;

/// Whoever has asked, and waits for a number of answers.
pub(crate) trait Answered: Send + Sync {
    /// One more answer has come, or the probe was sent back. May be called on a worker's own stack, so it must not park.
    fn count(&self);
}

/// What a green thread fills in.
pub(crate) struct Probe {
    /// Set, with release order, after the answer was written.
    answered: AtomicBool,
    answer: UnsafeCell<(u64, CallStack)>,
    asker: Arc<dyn Answered>,
}

// SAFETY: the green thread that took the probe out of its control block writes the answer before it sets `answered`;
// others read it afterwards only.
unsafe impl Sync for Probe {}

impl Probe {
    pub(crate) fn new(asker: Arc<dyn Answered>) -> Probe {
        Probe {
            answered: AtomicBool::new(false),
            answer: UnsafeCell::new((0, CallStack::new())),
            asker,
        }
    }

    /// The stack, if the green thread with this id has answered.
    pub(crate) fn stack_of(&self, id: u64) -> Option<&CallStack> {
        if !self.answered.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: answered, and not written again.
        let (who, stack) = unsafe { &*self.answer.get() };
        (*who == id).then_some(stack)
    }
}

/// The word in the control block: null, or a reference to a probe.
pub(crate) struct ProbeCell(AtomicPtr<Probe>);

impl ProbeCell {
    pub(crate) const fn empty() -> ProbeCell {
        ProbeCell(AtomicPtr::new(ptr::null_mut()))
    }

    /// From anywhere: false if another dumper's probe stands here. Afterwards the caller asks whether the green thread
    /// lives, and unparks it.
    pub(crate) fn offer(&self, probe: &Arc<Probe>) -> bool {
        let reference = Arc::into_raw(probe.clone()).cast_mut();
        let offered = self.replace(ptr::null_mut(), reference);
        if !offered {
            // SAFETY: the reference made above, which was not given away.
            drop(unsafe { Arc::from_raw(reference) });
        }
        fence(Ordering::SeqCst);
        offered
    }

    /// Takes back a probe that was offered here; false if it does not stand here any more.
    pub(crate) fn withdraw(&self, probe: &Arc<Probe>) -> bool {
        let reference = Arc::as_ptr(probe).cast_mut();
        // While the caller holds `probe` no other one can have its address.
        let withdrawn = self.replace(reference, ptr::null_mut());
        if withdrawn {
            // SAFETY: the reference that the word held is ours by the exchange.
            drop(unsafe { Arc::from_raw(reference) });
        }
        withdrawn
    }

    fn replace(&self, from: *mut Probe, to: *mut Probe) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Whether there is something to answer.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        !self.0.load(Ordering::Relaxed).is_null()
    }

    /// On the green thread with this id, in a native section: fills in the probe, if one stands here. The stack is taken
    /// up to `end`, where the green thread's body began; not from a stack that the program has switched to, of which nobody
    /// knows how much is left.
    #[cold]
    #[inline(never)]
    pub(crate) fn answer(&self, id: u64, (limit, base): (usize, usize), end: usize) {
        let Some(probe) = self.take() else { return };
        let stack_pointer = arch::stack_pointer();
        if (limit..base).contains(&stack_pointer) && stack_pointer - limit >= ROOM {
            // SAFETY: the probe was in our control block only, and `answered` is not set.
            let (who, stack) = unsafe { &mut *probe.answer.get() };
            *who = id;
            stack.capture(end);
        }
        probe.answered.store(true, Ordering::Release);
        probe.asker.count();
    }

    /// The green thread has ended, which is known by now: a lock was released, or a fence passed, in between.
    #[inline]
    pub(crate) fn decline(&self) {
        if self.is_set()
            && let Some(probe) = self.take()
        {
            probe.asker.count();
        }
    }

    fn take(&self) -> Option<Arc<Probe>> {
        let reference = self.0.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: null, or the reference that the word held, which is ours by the exchange.
        (!reference.is_null()).then(|| unsafe { Arc::from_raw(reference) })
    }
}
