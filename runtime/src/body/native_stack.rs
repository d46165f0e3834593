//! The stacks on which green threads' code never runs: those of the workers' OS threads, and their alternate signal stacks.
//!
//! Code on any other stack belongs to the green thread whose thread pointer is set, be it the stack of its slot or one that
//! the program has switched to: a coroutine's, one of `makecontext`, one that was grown. On a worker's stacks a green
//! thread's thread pointer says nothing. It may be set there while a signal handler runs, also in the moment between
//! two green threads, when the one just left goes on on another worker already; and while a function
//! runs there that needs more stack than a green thread has.
//!
//! The list is read in signal handlers, so it takes no lock. Its entries are never freed, but used again; there are twice
//! as many as there ever were workers at once.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// In `start` of an entry that nobody uses.
const FREE: usize = 0;
/// In `start` of an entry that is being written; no address is as high.
const CLAIMED: usize = usize::MAX;

struct StackEntry {
    /// The lowest address, or one of the marks above.
    start: AtomicUsize,
    /// The first address beyond.
    end: AtomicUsize,
    /// Written before the entry is published.
    next: AtomicPtr<StackEntry>,
}

static FIRST: AtomicPtr<StackEntry> = AtomicPtr::new(ptr::null_mut());

fn entries() -> impl Iterator<Item = &'static StackEntry> {
    // SAFETY: null, or a leaked entry that was published with release order.
    let entry =
        |pointer: &AtomicPtr<StackEntry>| unsafe { pointer.load(Ordering::Acquire).as_ref() };
    std::iter::successors(entry(&FIRST), move |last| entry(&last.next))
}

/// Whether `address` lies in a native stack.
pub(crate) fn holds(address: usize) -> bool {
    entries().any(|entry| {
        let start = entry.start.load(Ordering::Acquire);
        start <= address
            && address < entry.end.load(Ordering::Acquire)
            // Otherwise the end may be that of another stack.
            && entry.start.load(Ordering::Relaxed) == start
            && start != FREE
    })
}

/// In a forked child, which has none of its parent's workers; where their stacks were, others may be by now.
///
/// # Safety
///
/// The child has no worker of its own yet.
pub(crate) unsafe fn reset_after_fork() {
    for entry in entries() {
        entry.start.store(FREE, Ordering::Release);
    }
}

/// A native stack, until it is dropped.
pub(crate) struct NativeStack(&'static StackEntry);

impl NativeStack {
    pub(crate) fn register(start: usize, size: usize) -> NativeStack {
        let entry = entries()
            .find(|entry| {
                entry
                    .start
                    .compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            })
            .unwrap_or_else(add);
        entry.end.store(start + size, Ordering::Release);
        entry.start.store(start, Ordering::Release);
        NativeStack(entry)
    }

    /// The stack of the calling OS thread.
    pub(crate) fn of_this_thread() -> std::io::Result<NativeStack> {
        let (mut start, mut size) = (ptr::null_mut(), 0);
        // SAFETY: the attributes are filled in before they are read, and the two places can be written to.
        let error = unsafe {
            let mut attributes = std::mem::zeroed();
            match libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) {
                0 => {
                    let error = libc::pthread_attr_getstack(&attributes, &mut start, &mut size);
                    libc::pthread_attr_destroy(&mut attributes);
                    error
                }
                error => error,
            }
        };
        match error {
            0 => Ok(NativeStack::register(start as usize, size)),
            error => Err(std::io::Error::from_raw_os_error(error)),
        }
    }
}

impl Drop for NativeStack {
    fn drop(&mut self) {
        self.0.start.store(CLAIMED, Ordering::Relaxed);
        self.0.end.store(0, Ordering::Release);
        self.0.start.store(FREE, Ordering::Release);
    }
}

/// Adds an entry, claimed.
fn add() -> &'static StackEntry {
    let entry: &'static StackEntry = Box::leak(Box::new(StackEntry {
        start: AtomicUsize::new(CLAIMED),
        end: AtomicUsize::new(0),
        next: AtomicPtr::new(ptr::null_mut()),
    }));
    let mut first = FIRST.load(Ordering::Relaxed);
    loop {
        entry.next.store(first, Ordering::Relaxed);
        let pointer = ptr::from_ref(entry).cast_mut();
        match FIRST.compare_exchange(first, pointer, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return entry,
            Err(other) => first = other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_held_as_long_as_its_stack_is_registered() {
        let memory = [0_u8; 100];
        let start = memory.as_ptr() as usize;
        let stack = NativeStack::register(start, 100);
        assert!(holds(start) && holds(start + 99));
        assert!(!holds(start - 1) && !holds(start + 100));
        drop(stack);
        assert!(!holds(start));
    }
}
