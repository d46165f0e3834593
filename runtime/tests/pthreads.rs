//! Green threads as pthreads: joining, detaching, leaving.

use std::ffi::c_void;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::hook::exit;
use greenpatch_runtime::hook::thread::{self, Attributes};
use greenpatch_runtime::{Runtime, time, yield_now};
use rustix::io::Errno;

unsafe extern "C-unwind" fn pass_on(argument: *mut c_void) -> *mut c_void {
    yield_now();
    argument
}

fn create(start: thread::Start, argument: usize) -> libc::pthread_t {
    create_on(64 << 10, start, argument)
}

fn create_on(stack_size: usize, start: thread::Start, argument: usize) -> libc::pthread_t {
    let home = thread::home().expect("on a patched green thread");
    let argument = ptr::without_provenance_mut(argument);
    let attributes = Attributes {
        stack_size,
        guard_size: 4096,
        is_detached: false,
        has_own_policy: false,
    };
    let mut green = 0;
    // SAFETY: the start routines here accept any argument, and the place lives.
    unsafe { thread::create(&home, &mut green, start, argument, attributes) }.unwrap();
    green
}

fn join(thread: libc::pthread_t, deadline: Option<Deadline>) -> Result<*mut c_void, Errno> {
    // SAFETY: a green thread of these tests. When it is joined or detached late, its slot is no other test's.
    unsafe { thread::join(thread, deadline) }
}

fn detach(thread: libc::pthread_t) -> Result<(), Errno> {
    // SAFETY: as for a join, a green thread of these tests.
    unsafe { thread::detach(thread) }
}

/// A late join or detach, of which these tests make some, must not meet another test's thread in the same slot.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn on_green_threads(test: fn()) {
    let _turn = ONE_AT_A_TIME.lock().unwrap();
    for workers in [1, 2] {
        Runtime::builder()
            .workers(workers)
            .build()
            .unwrap()
            .run(test);
    }
}

#[test]
fn join_gives_the_value_once() {
    on_green_threads(|| {
        let green = create(pass_on, 42);
        assert!(thread::is_green(green));
        assert_eq!(join(green, None).unwrap().addr(), 42);
    });
}

#[test]
fn joining_oneself_or_a_detached_thread_is_an_error() {
    on_green_threads(|| {
        let of_itself = greenpatch_runtime::spawn(|| {
            // SAFETY: always sound.
            let own = unsafe { libc::pthread_self() };
            join(own, None).err()
        });
        assert_eq!(of_itself.join().unwrap(), Some(Errno::DEADLK));
        let green = create(pass_on, 1);
        detach(green).unwrap();
        assert!(detach(green).is_err());
    });
}

/// A timed join, a second join and a detach race for the right to release the slot: one wins, always.
#[test]
fn of_racing_joins_and_detaches_exactly_one_releases_the_slot() {
    // Those that lose may find the slot's next green thread, which must not be another test's: no other one uses this size.
    const STACK: usize = 2 << 20;
    on_green_threads(|| {
        for round in 0..3000_u64 {
            let green = create_on(STACK, pass_on, 7);
            let releases = std::sync::Arc::new(AtomicUsize::new(0));
            let rivals: Vec<_> = (0..3)
                .map(|rival| {
                    let releases = releases.clone();
                    greenpatch_runtime::spawn(move || {
                        for _ in 0..round % 4 {
                            yield_now();
                        }
                        let released = match rival {
                            0 => {
                                let soon = Deadline::after(Duration::from_micros(round % 20));
                                join(green, Some(soon)).is_ok()
                            }
                            1 => join(green, Some(Deadline::now())).is_ok(),
                            _ => detach(green).is_ok(),
                        };
                        releases.fetch_add(usize::from(released), Ordering::Relaxed);
                    })
                })
                .collect();
            rivals.into_iter().for_each(|rival| rival.join().unwrap());
            if releases.load(Ordering::Relaxed) == 0 {
                join(green, None).unwrap();
            }
            assert!(releases.load(Ordering::Relaxed) <= 1, "released twice");
        }
    });
}

#[test]
fn exit_runs_the_destructors_of_the_frames_it_leaves() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
    unsafe extern "C-unwind" fn leaves(argument: *mut c_void) -> *mut c_void {
        #[inline(never)]
        fn deep(depth: usize, value: *mut c_void) {
            let _counted = Counted;
            if depth > 0 {
                deep(depth - 1, value);
            } else {
                let stack = exit::own_stack().expect("on a green thread");
                // SAFETY: the frames above are this test's, and can be unwound.
                unsafe { exit::exit(stack, value) }
            }
            std::hint::black_box(depth);
        }
        deep(9, argument);
        ptr::null_mut()
    }
    on_green_threads(|| {
        let before = DROPPED.load(Ordering::Relaxed);
        let green = create(leaves, 5);
        assert_eq!(join(green, None).unwrap().addr(), 5);
        assert_eq!(DROPPED.load(Ordering::Relaxed) - before, 10);
        time::sleep(Duration::from_millis(1));
    });
}
