//! Barriers keep the promises of POSIX on every kind of thread.

use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use libc::{PTHREAD_BARRIER_SERIAL_THREAD as SERIAL, pthread_barrier_t};

use harness::on_every_kind_of_thread;

on_every_kind_of_thread! {
    a_barrier_for_one_keeps_nobody,
    nobody_passes_before_the_last_has_come,
    more_threads_than_the_barrier_is_for_pass_in_rounds,
    a_barrier_can_be_destroyed_by_whoever_has_passed,
    a_barrier_for_none_is_refused;
    blocking:
    a_barrier_shared_with_processes_works,
}

struct Barrier(UnsafeCell<MaybeUninit<pthread_barrier_t>>);

// SAFETY: only barrier functions touch it.
unsafe impl Sync for Barrier {}
// SAFETY: it stays where it is, in an `Arc`.
unsafe impl Send for Barrier {}

impl Barrier {
    fn new(count: u32) -> Arc<Barrier> {
        let barrier = Arc::new(Barrier(UnsafeCell::new(MaybeUninit::uninit())));
        // SAFETY: room for one.
        let error = unsafe { libc::pthread_barrier_init(barrier.get(), ptr::null(), count) };
        assert_eq!(error, 0);
        barrier
    }

    fn shared(count: u32) -> Arc<Barrier> {
        let barrier = Arc::new(Barrier(UnsafeCell::new(MaybeUninit::uninit())));
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialised in this order.
        unsafe {
            libc::pthread_barrierattr_init(attributes.as_mut_ptr());
            libc::pthread_barrierattr_setpshared(
                attributes.as_mut_ptr(),
                libc::PTHREAD_PROCESS_SHARED,
            );
            let error = libc::pthread_barrier_init(barrier.get(), attributes.as_ptr(), count);
            assert_eq!(error, 0);
        }
        barrier
    }

    fn get(&self) -> *mut pthread_barrier_t {
        self.0.get().cast()
    }

    fn wait(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::pthread_barrier_wait(self.get()) }
    }

    fn destroy(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::pthread_barrier_destroy(self.get()) }
    }
}

fn a_barrier_for_one_keeps_nobody() {
    let barrier = Barrier::new(1);
    assert_eq!((barrier.wait(), barrier.wait()), (SERIAL, SERIAL));
    assert_eq!(barrier.destroy(), 0);
}

fn a_barrier_for_none_is_refused() {
    let mut barrier = MaybeUninit::uninit();
    // SAFETY: room for one.
    let error = unsafe { libc::pthread_barrier_init(barrier.as_mut_ptr(), ptr::null(), 0) };
    assert_eq!(error, libc::EINVAL);
}

fn nobody_passes_before_the_last_has_come() {
    const THREADS: usize = 6;
    const ROUNDS: usize = 1_000;
    let barrier = Barrier::new(THREADS as u32);
    let come = Arc::new(AtomicUsize::new(0));
    let work = || {
        let (barrier, come) = (barrier.clone(), come.clone());
        move || {
            let mut serial = 0;
            for round in 1..=ROUNDS {
                come.fetch_add(1, Ordering::Relaxed);
                match barrier.wait() {
                    SERIAL => serial += 1,
                    error => assert_eq!(error, 0),
                }
                let now = come.load(Ordering::Relaxed);
                assert!(now >= round * THREADS && now < (round + 1) * THREADS);
            }
            serial
        }
    };
    // Threads of both kinds meet at the barrier.
    let runtime = greenpatch_runtime::Runtime::builder()
        .workers(2)
        .build()
        .unwrap();
    let greens = [work(), work(), work()].map(|work| runtime.spawn(work));
    let threads = [work(), work(), work()].map(thread::spawn);
    let mut serial = 0;
    for green in greens {
        serial += green.join().unwrap();
    }
    for thread in threads {
        serial += thread.join().unwrap();
    }
    assert_eq!(serial, ROUNDS);
    assert_eq!(barrier.destroy(), 0);
}

/// Each takes one of a fixed number of passes, which comes out even.
fn more_threads_than_the_barrier_is_for_pass_in_rounds() {
    const PASSES: usize = 4_000;
    let barrier = Barrier::new(2);
    let begun = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (barrier, begun) = (barrier.clone(), begun.clone());
            thread::spawn(move || {
                let mut serial = 0;
                while begun.fetch_add(1, Ordering::Relaxed) < PASSES {
                    serial += usize::from(barrier.wait() == SERIAL);
                }
                serial
            })
        })
        .collect();
    let serial: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(serial, PASSES / 2);
    assert_eq!(barrier.destroy(), 0);
}

fn a_barrier_can_be_destroyed_by_whoever_has_passed() {
    for round in 0..300 {
        let barrier = Barrier::new(4);
        let pass = |destroys: fn(c_int, usize) -> bool, number: usize| {
            let barrier = barrier.clone();
            move || {
                let outcome = barrier.wait();
                if destroys(outcome, number) {
                    assert_eq!(barrier.destroy(), 0);
                    // SAFETY: nobody uses it as a barrier any more.
                    unsafe {
                        let bytes = barrier.get().cast::<u8>();
                        bytes.write_bytes(0xff, size_of::<pthread_barrier_t>());
                    }
                }
            }
        };
        let destroys: fn(c_int, usize) -> bool = match round % 2 {
            0 => |outcome, _| outcome == SERIAL,
            _ => |_, number| number == 0,
        };
        let threads: Vec<_> = (0..4)
            .map(|number| thread::spawn(pass(destroys, number)))
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }
}

fn a_barrier_shared_with_processes_works() {
    let barrier = Barrier::shared(3);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let barrier = barrier.clone();
            thread::spawn(move || barrier.wait())
        })
        .collect();
    let mut serial = usize::from(barrier.wait() == SERIAL);
    for thread in threads {
        serial += usize::from(thread.join().unwrap() == SERIAL);
    }
    assert_eq!((serial, barrier.destroy()), (1, 0));
}
