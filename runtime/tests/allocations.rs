//! What a signal handler may do on a green thread allocates nothing: it may have interrupted malloc.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::fd::AsRawFd;
use std::time::Duration;

use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::{Runtime, hook};
use rustix::io::Errno;

/// Counts what threads allocate that have asked for it.
struct Counting;

thread_local! {
    static COUNT: Cell<Option<usize>> = const { Cell::new(None) };
}

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get().map(|count| count + 1));
        // SAFETY: the layout is not empty, by the trait's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: `alloc` has given out the place with this layout, and so has the system's allocator.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often the calling thread allocates meanwhile.
fn allocations(act: impl FnOnce()) -> usize {
    COUNT.set(Some(0));
    act();
    COUNT.replace(None).unwrap()
}

#[test]
fn the_first_use_of_a_descriptor_allocates_nothing() {
    assert_eq!(allocations(|| drop(Box::new(1))), 1);
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        // Far above all that was used before.
        for number in [500, 1_000] {
            let far = rustix::io::fcntl_dupfd_cloexec(&reader, number).unwrap();
            let section = hook::enter_any().unwrap();
            let count = allocations(|| {
                let soon = Deadline::after(Duration::from_millis(1));
                let outcome = section.call(far.as_raw_fd()).unwrap().retry(
                    hook::Interest::Read,
                    |_, _| Ok(Some(soon)),
                    || Err::<(), _>(Errno::AGAIN),
                );
                assert_eq!(outcome, Err(Errno::AGAIN));
            });
            assert_eq!(count, 0, "number {number}");
        }
    });
}
