//! The life of green threads and runtimes: what is inherited, run, released.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::c_void;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenpatch_runtime::thread::{Thread, current, is_green};
use greenpatch_runtime::{
    Builder, GreenPool, JoinHandle, Runtime, net, run, spawn, sync, time, yield_now,
};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder()
        .workers(workers)
        .build()
        .expect("this machine has what green threads need")
}

#[test]
fn run_returns_the_value_and_may_borrow() {
    let mut numbers = vec![3, 1, 2];
    let longest = run(|| {
        numbers.sort_unstable();
        numbers.last().copied()
    });
    assert_eq!((longest, numbers), (Some(3), vec![1, 2, 3]));
}

#[test]
fn a_panic_in_run_goes_on_in_the_caller() {
    let outcome = std::panic::catch_unwind(|| run(|| panic!("from the green thread")));
    let payload = outcome.unwrap_err();
    assert_eq!(
        payload.downcast_ref::<&str>(),
        Some(&"from the green thread")
    );
}

#[test]
fn a_panic_is_returned_by_join_and_harms_no_other_green_thread() {
    runtime(2).run(|| {
        let other = spawn(|| {
            for _ in 0..100 {
                assert!(!std::thread::panicking());
                yield_now();
            }
            7
        });
        let payload = spawn(|| panic!("alone")).join().unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"alone"));
        assert_eq!(other.join().unwrap(), 7);
    });
}

#[test]
fn thread_local_destructors_run_before_join_returns() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
    thread_local!(static VALUE: RefCell<Option<Counted>> = const { RefCell::new(None) });
    runtime(1).run(|| {
        for round in 1..=100 {
            let thread = spawn(|| {
                VALUE.with_borrow_mut(|value| {
                    assert!(value.is_none(), "a value of an earlier green thread");
                    *value = Some(Counted);
                });
                yield_now();
            });
            thread.join().unwrap();
            assert_eq!(DROPPED.load(Ordering::Relaxed), round);
        }
    });
}

#[test]
fn pthread_key_destructors_run_and_values_do_not_pass_to_the_next_green_thread() {
    static DESTROYED: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn destroy(value: *mut c_void) {
        DESTROYED.fetch_add(value as usize, Ordering::Relaxed);
    }
    // Enough keys to need a second block of values.
    let keys: Vec<libc::pthread_key_t> = (0..40)
        .map(|_| {
            let mut key = 0;
            // SAFETY: a valid place for the key, and a destructor that accepts any value.
            let error = unsafe { libc::pthread_key_create(&mut key, Some(destroy)) };
            assert_eq!(error, 0);
            key
        })
        .collect();
    let keys = Arc::new(keys);
    runtime(1).run(move || {
        for _ in 0..10 {
            let keys = keys.clone();
            let thread = spawn(move || {
                for &key in keys.iter() {
                    // SAFETY: the key lives.
                    let before = unsafe { libc::pthread_getspecific(key) };
                    assert!(before.is_null(), "a value of an earlier green thread");
                    // SAFETY: as above; the destructor does not follow the pointer.
                    unsafe { libc::pthread_setspecific(key, std::ptr::without_provenance(1)) };
                }
                yield_now();
            });
            thread.join().unwrap();
        }
    });
    assert_eq!(DESTROYED.load(Ordering::Relaxed), 400);
}

#[test]
fn a_result_nobody_joins_is_dropped() {
    let value = Arc::new(());
    let theirs = value.clone();
    runtime(1).run(move || {
        drop(spawn(move || theirs));
        yield_now();
        yield_now();
    });
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn current_tells_green_threads_from_os_threads() {
    assert!(!is_green());
    let outside = current();
    assert_eq!(outside, current());
    assert_eq!(outside.spawned_at(), None);
    runtime(2).run(|| {
        assert!(is_green());
        let mine = current();
        let theirs = spawn(current).join().unwrap();
        assert_ne!(mine, theirs);
        assert_ne!(mine, outside);
        let place = theirs.spawned_at().unwrap();
        assert!(place.file().ends_with("lifecycle.rs"));
    });
}

#[test]
fn spawning_off_a_green_thread_is_an_error_that_says_what_to_do() {
    let error = Builder::new().spawn(|| ()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    assert!(error.to_string().contains("greenpatch::run"));
}

#[test]
fn a_stack_that_is_too_large_is_refused() {
    runtime(1).run(|| {
        let error = Builder::new().stack_size(1 << 40).spawn(|| ()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    });
}

#[test]
fn each_stack_size_can_be_used_to_its_end() {
    #[inline(never)]
    fn descend(bytes: usize) -> usize {
        let page = std::hint::black_box([1_u8; 4096]);
        let below = if bytes > 8192 {
            descend(bytes - 4096 - 512)
        } else {
            0
        };
        below + page.iter().map(|&byte| usize::from(byte)).sum::<usize>()
    }
    runtime(1).run(|| {
        for size in [64 << 10, 256 << 10, 2 << 20, 8 << 20, 64 << 20] {
            let thread = Builder::new()
                .stack_size(size)
                .spawn(move || descend(size / 2))
                .unwrap();
            assert!(thread.join().unwrap() > size / 4);
        }
    });
}

#[test]
fn runtimes_stand_side_by_side_and_wake_each_others_green_threads() {
    use greenpatch_runtime::sync::{Condvar, Mutex};
    let shared = Arc::new((Mutex::new(0), Condvar::new()));
    let (first, second) = (runtime(1), runtime(2));
    let players: Vec<_> = [&first, &second]
        .into_iter()
        .enumerate()
        .map(|(player, runtime)| {
            let shared = shared.clone();
            runtime.spawn(move || {
                let (turn, changed) = &*shared;
                for round in 0..1000 {
                    let mut turn = turn.lock().unwrap();
                    while *turn != round * 2 + player {
                        turn = changed.wait(turn).unwrap();
                    }
                    *turn += 1;
                    changed.notify_all();
                }
            })
        })
        .collect();
    for player in players {
        player.join().unwrap();
    }
    assert_eq!(*shared.0.lock().unwrap(), 2000);
}

#[test]
fn a_dropped_runtime_does_not_hang_over_parked_green_threads() {
    let start = Instant::now();
    let runtime = runtime(2);
    for _ in 0..10 {
        drop(runtime.spawn(|| time::sleep(Duration::from_secs(3600))));
    }
    drop(runtime);
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn in_a_forked_child_blocking_calls_block_and_the_process_ends_with_the_green_thread() {
    runtime(2).run(|| {
        let ticker = spawn(|| {
            for _ in 0..50 {
                time::sleep(Duration::from_millis(1));
            }
        });
        // SAFETY: the child only sleeps and returns.
        let child = unsafe { libc::fork() };
        if child == 0 {
            time::sleep(Duration::from_millis(20));
            if is_green() {
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(3) };
            }
            return;
        }
        assert!(child > 0);
        ticker.join().unwrap();
        let mut status = 0;
        // SAFETY: a valid place for the status.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "the child must end with status 0");
    });
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let theirs = order.clone();
    runtime(1).run(move || {
        let threads: Vec<_> = [50, 10, 30, 20, 40]
            .into_iter()
            .map(|millis| {
                let order = theirs.clone();
                spawn(move || {
                    let start = Instant::now();
                    time::sleep(Duration::from_millis(millis));
                    assert!(start.elapsed() >= Duration::from_millis(millis));
                    order.lock().unwrap().push(millis);
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(*order.lock().unwrap(), [10, 20, 30, 40, 50]);
}

#[test]
fn a_closure_of_any_size_can_be_spawned() {
    runtime(1).run(|| {
        let large = [7_u8; 20_000];
        let sum = spawn(move || large.iter().map(|&byte| u64::from(byte)).sum::<u64>());
        assert_eq!(sum.join().unwrap(), 140_000);
    });
}

#[test]
fn a_result_nobody_joins_is_dropped_while_the_thread_locals_still_live() {
    thread_local!(static MARK: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) });
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    struct Looks;
    impl Drop for Looks {
        fn drop(&mut self) {
            let marks = MARK.try_with(|mark| mark.borrow().len());
            SEEN.fetch_add(marks.unwrap_or(0), Ordering::Relaxed);
        }
    }
    let runtime = runtime(2);
    runtime.run(|| {
        for _ in 0..100 {
            drop(spawn(|| {
                MARK.with_borrow_mut(|mark| mark.push(1));
                Looks
            }));
        }
    });
    // The marks of those whose handle was dropped first; the handle's owner has none.
    while runtime.live() > 0 {
        std::thread::yield_now();
    }
    assert!(SEEN.load(Ordering::Relaxed) <= 100);
}

#[test]
fn green_threads_go_on_after_their_runtime_is_dropped() {
    let done = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = {
        let runtime = runtime(2);
        (0..10)
            .map(|_| {
                let done = done.clone();
                runtime.spawn(move || {
                    time::sleep(Duration::from_millis(20));
                    done.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect()
    };
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
    assert_eq!(done.load(Ordering::Relaxed), 10);
}

#[test]
fn a_forked_child_can_build_a_runtime_of_its_own() {
    use std::io::{Read, Write};
    use std::net::Shutdown;

    use greenpatch_runtime::net::{TcpListener, TcpStream};
    runtime(2).run(|| {
        // A listener that the parent's reactor knows, and waiters on descriptor and lock.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut ours = TcpStream::connect(address).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        let reader = spawn(move || {
            let mut text = String::new();
            theirs.read_to_string(&mut text).unwrap();
            text
        });
        time::sleep(Duration::from_millis(5));
        // SAFETY: the child exits by itself.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let status = match Runtime::builder().workers(2).build() {
                Ok(runtime) => runtime.run(|| {
                    let server = spawn(move || listener.accept().map(drop).is_ok());
                    let connected = TcpStream::connect(address).is_ok();
                    i32::from(!(connected && server.join().unwrap()))
                }),
                Err(_) => 2,
            };
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(status) };
        }
        let mut status = 0;
        // SAFETY: a valid place for the status.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "the child's runtime did not serve");
        // What the child closed or forgot is still registered here.
        ours.write_all(b"still here").unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        assert_eq!(reader.join().unwrap(), "still here");
    });
}

#[test]
fn a_sleeper_wakes_while_the_worker_that_woke_the_last_one_computes() {
    const WATCHDOG: Duration = Duration::from_secs(60);
    // A spare worker would wake it too.
    let runtime = Runtime::builder().workers(2).compensation(false).build();
    runtime.unwrap().run(|| {
        let woken = Arc::new(AtomicBool::new(false));
        let theirs = woken.clone();
        let busy = spawn(move || {
            time::sleep(Duration::from_millis(20));
            let start = Instant::now();
            while !theirs.load(Ordering::SeqCst) {
                assert!(start.elapsed() < WATCHDOG, "nobody looks at the timers");
                std::hint::spin_loop();
            }
        });
        time::sleep(Duration::from_millis(60));
        woken.store(true, Ordering::SeqCst);
        busy.join().unwrap();
    });
}

#[test]
fn what_may_cross_a_catch_unwind_in_std_may_here() {
    fn may_cross<T: UnwindSafe + RefUnwindSafe>() {}
    may_cross::<Runtime>();
    may_cross::<JoinHandle<Box<dyn Any + Send>>>();
    may_cross::<Thread>();
    may_cross::<GreenPool>();
    may_cross::<sync::Mutex<RefCell<u32>>>();
    may_cross::<sync::RwLock<RefCell<u32>>>();
    may_cross::<sync::Condvar>();
    may_cross::<sync::Barrier>();
    may_cross::<sync::Semaphore>();
    may_cross::<sync::Event>();
    may_cross::<sync::Queue<RefCell<u32>>>();
    may_cross::<net::TcpListener>();
    may_cross::<net::TcpStream>();
}

#[test]
fn joining_oneself_is_refused() {
    run(|| {
        let (give, take) =
            greenpatch_runtime::sync::mpmc::channel::<greenpatch_runtime::JoinHandle<()>>();
        let (tell, told) = greenpatch_runtime::sync::mpmc::channel();
        let myself = spawn(move || {
            let handle = take.recv().unwrap();
            let outcome = std::panic::catch_unwind(|| handle.join());
            tell.send(outcome.is_err()).unwrap();
        });
        give.send(myself).unwrap();
        assert_eq!(told.recv(), Ok(true));
    });
}

#[test]
fn no_more_green_threads_live_than_the_setting_allows() {
    for workers in [1, 2] {
        let runtime = Runtime::builder()
            .workers(workers)
            .max_green_threads(3)
            .build()
            .unwrap();
        runtime.run(|| {
            let parked: Vec<_> = (0..2)
                .map(|_| spawn(greenpatch_runtime::thread::park))
                .collect();
            let refused = Builder::new().spawn(|| ()).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
            assert!(
                refused.to_string().contains("max_green_threads"),
                "{refused}"
            );
            for handle in parked {
                handle.thread().unpark();
                handle.join().unwrap();
                // Whoever has joined one can spawn the next, each time.
                spawn(|| ()).join().unwrap();
            }
            for _ in 0..1000 {
                let pair = [spawn(|| ()), spawn(|| ())];
                pair.into_iter().for_each(|handle| handle.join().unwrap());
            }
        });
        // The thread that ran has given its place back.
        let three: Vec<_> = (0..3).map(|_| runtime.spawn(|| ())).collect();
        three.into_iter().for_each(|handle| handle.join().unwrap());
    }
}
