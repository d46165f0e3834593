//! std::thread, unmodified: the same bodies on OS threads and on green threads.

use std::backtrace::Backtrace;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::panic;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

// For its shims.
use greenpatch as _;
use harness::{on_every_kind_of_thread, patched_runtime, process, with_1_and_2_workers};

on_every_kind_of_thread! {
    join_returns_the_value,
    join_returns_the_panic_payload,
    a_panic_ends_only_its_own_thread,
    an_unwinding_thread_may_wait_while_others_panic_and_catch,
    is_finished_tells_a_parked_thread_from_an_ended_one,
    a_detached_thread_runs_to_its_end,
    a_scope_lends_its_locals_and_joins_its_threads,
    a_scope_panics_if_an_unjoined_thread_did,
    a_thread_knows_its_name,
    thread_ids_are_unique_and_stay,
    sleep_lasts_at_least_its_duration,
    sleepers_wake_in_the_order_of_their_deadlines,
    a_hundred_sleeps_pass_together,
    waits_of_no_length_return,
    yield_now_lets_the_awaited_thread_run,
    unpark_before_park_is_not_lost,
    park_and_unpark_hand_over_a_turn,
    park_timeout_ends_without_unpark,
    a_thread_can_use_most_of_the_default_stack,
    a_thread_gets_the_stack_it_asked_for,
    a_backtrace_names_the_calling_function,
    each_thread_has_its_own_random_state,
    threads_start_threads,
}

with_1_and_2_workers! {
    a_thousand_std_threads_start_no_kernel_threads,
    available_parallelism_is_that_of_the_process,
}

const SHORT: Duration = Duration::from_millis(50);

fn join_returns_the_value() {
    let threads: Vec<_> = (0..100u64)
        .map(|n| thread::spawn(move || vec![n; 3]))
        .collect();
    for (n, thread) in (0..100).zip(threads) {
        assert_eq!(thread.join().unwrap(), [n; 3]);
    }
}

fn join_returns_the_panic_payload() {
    let literal = thread::spawn(|| panic!("plain")).join().unwrap_err();
    assert_eq!(literal.downcast_ref::<&str>(), Some(&"plain"));
    let number = 6;
    let formatted = thread::spawn(move || panic!("number {number}"))
        .join()
        .unwrap_err();
    assert_eq!(
        formatted.downcast_ref::<String>().map(String::as_str),
        Some("number 6")
    );
    let value = thread::spawn(|| panic::panic_any(42u8)).join().unwrap_err();
    assert_eq!(value.downcast_ref::<u8>(), Some(&42));
}

fn a_panic_ends_only_its_own_thread() {
    let (sender, receiver) = mpsc::channel();
    let survivor = thread::spawn(move || receiver.recv().unwrap());
    assert!(thread::spawn(|| panic!("alone")).join().is_err());
    assert!(!thread::panicking());
    sender.send("alive").unwrap();
    assert_eq!(survivor.join().unwrap(), "alive");
}

fn an_unwinding_thread_may_wait_while_others_panic_and_catch() {
    struct WaitsInDrop(Arc<Barrier>);
    impl Drop for WaitsInDrop {
        fn drop(&mut self) {
            assert!(thread::panicking());
            self.0.wait();
            thread::sleep(Duration::from_millis(10));
            self.0.wait();
            assert!(thread::panicking());
        }
    }
    let barrier = Arc::new(Barrier::new(2));
    let unwinding = {
        let barrier = Arc::clone(&barrier);
        thread::spawn(move || {
            let _waits = WaitsInDrop(barrier);
            panic!("slowly");
        })
    };
    barrier.wait();
    assert!(!thread::panicking());
    assert!(panic::catch_unwind(|| panic!("meanwhile")).is_err());
    assert!(!thread::panicking());
    barrier.wait();
    assert_eq!(
        unwinding.join().unwrap_err().downcast_ref::<&str>(),
        Some(&"slowly")
    );
}

fn is_finished_tells_a_parked_thread_from_an_ended_one() {
    let (sender, receiver) = mpsc::channel::<()>();
    let thread = thread::spawn(move || receiver.recv());
    thread::sleep(SHORT);
    assert!(!thread.is_finished());
    drop(sender);
    while !thread.is_finished() {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(thread.join().unwrap().is_err());
}

fn a_detached_thread_runs_to_its_end() {
    let (sender, receiver) = mpsc::channel();
    drop(thread::spawn(move || {
        thread::sleep(SHORT);
        sender.send(1).unwrap();
    }));
    assert_eq!(receiver.recv(), Ok(1));
}

fn a_scope_lends_its_locals_and_joins_its_threads() {
    let words = vec!["a".to_owned(), "bc".to_owned(), "def".to_owned()];
    let total = AtomicUsize::new(0);
    let longest = thread::scope(|scope| {
        for word in &words {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(5));
                total.fetch_add(word.len(), Ordering::SeqCst)
            });
        }
        scope
            .spawn(|| words.iter().map(String::len).max())
            .join()
            .unwrap()
    });
    assert_eq!(longest, Some(3));
    assert_eq!(total.load(Ordering::SeqCst), 6);
}

fn a_scope_panics_if_an_unjoined_thread_did() {
    let others_ended = AtomicBool::new(false);
    let outcome = panic::catch_unwind(|| {
        thread::scope(|scope| {
            scope.spawn(|| panic!("in the scope"));
            scope.spawn(|| {
                thread::sleep(SHORT);
                others_ended.store(true, Ordering::SeqCst);
            });
        });
    });
    assert!(outcome.is_err());
    assert!(others_ended.load(Ordering::SeqCst));
    let joined = thread::scope(|scope| scope.spawn(|| panic::panic_any(5i32)).join());
    assert_eq!(joined.unwrap_err().downcast_ref::<i32>(), Some(&5));
}

fn a_thread_knows_its_name() {
    let named = thread::Builder::new()
        .name("reader".to_owned())
        .spawn(|| {
            thread::sleep(Duration::from_millis(5));
            thread::current().name().map(str::to_owned)
        })
        .unwrap();
    assert_eq!(named.thread().name(), Some("reader"));
    let unnamed = thread::spawn(|| thread::current().name().map(str::to_owned));
    assert_eq!(named.join().unwrap().as_deref(), Some("reader"));
    assert_eq!(unnamed.join().unwrap(), None);
}

fn thread_ids_are_unique_and_stay() {
    let ids = Arc::new(Mutex::new(HashSet::new()));
    assert!(ids.lock().unwrap().insert(thread::current().id()));
    let threads: Vec<_> = (0..50)
        .map(|_| {
            let ids = Arc::clone(&ids);
            thread::spawn(move || {
                let id = thread::current().id();
                assert!(ids.lock().unwrap().insert(id));
                for _ in 0..20 {
                    thread::sleep(Duration::from_micros(100));
                    assert_eq!(thread::current().id(), id);
                }
                id
            })
        })
        .collect();
    for thread in threads {
        let id = thread.thread().id();
        assert_eq!(thread.join().unwrap(), id);
    }
    assert_eq!(ids.lock().unwrap().len(), 51);
}

fn sleep_lasts_at_least_its_duration() {
    for micros in [1, 100, 1_000, 10_000, 100_000] {
        let duration = Duration::from_micros(micros);
        let started = Instant::now();
        thread::sleep(duration);
        assert!(started.elapsed() >= duration);
    }
}

fn sleepers_wake_in_the_order_of_their_deadlines() {
    let (sender, receiver) = mpsc::channel();
    for rank in [3u64, 1, 4, 2] {
        let sender = sender.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(150) * rank as u32);
            sender.send(rank).unwrap();
        });
    }
    drop(sender);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

fn a_hundred_sleeps_pass_together() {
    const DURATION: Duration = Duration::from_millis(100);
    let started = Instant::now();
    let threads: Vec<_> = (0..100)
        .map(|_| thread::spawn(|| thread::sleep(DURATION)))
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(started.elapsed() >= DURATION);
    assert!(started.elapsed() < DURATION * 50);
}

fn waits_of_no_length_return() {
    thread::sleep(Duration::ZERO);
    let (sender, receiver) = mpsc::channel::<()>();
    assert!(receiver.recv_timeout(Duration::ZERO).is_err());
    drop(sender);
}

fn yield_now_lets_the_awaited_thread_run() {
    let done = Arc::new(AtomicBool::new(false));
    let setter = {
        let done = Arc::clone(&done);
        thread::spawn(move || done.store(true, Ordering::SeqCst))
    };
    while !done.load(Ordering::SeqCst) {
        thread::yield_now();
    }
    setter.join().unwrap();
}

fn unpark_before_park_is_not_lost() {
    thread::current().unpark();
    thread::park();
    let ready = Arc::new(Barrier::new(2));
    let parker = {
        let ready = Arc::clone(&ready);
        thread::spawn(move || {
            ready.wait();
            ready.wait();
            thread::park();
        })
    };
    ready.wait();
    parker.thread().unpark();
    ready.wait();
    parker.join().unwrap();
}

fn park_and_unpark_hand_over_a_turn() {
    const ROUNDS: usize = 1_000;
    let turn = Arc::new(AtomicUsize::new(0));
    let main = thread::current();
    let other = {
        let turn = Arc::clone(&turn);
        thread::spawn(move || {
            for round in 0..ROUNDS {
                while turn.load(Ordering::SeqCst) != 2 * round + 1 {
                    thread::park();
                }
                turn.fetch_add(1, Ordering::SeqCst);
                main.unpark();
            }
        })
    };
    for round in 0..ROUNDS {
        turn.fetch_add(1, Ordering::SeqCst);
        other.thread().unpark();
        while turn.load(Ordering::SeqCst) != 2 * round + 2 {
            thread::park();
        }
    }
    other.join().unwrap();
    assert_eq!(turn.load(Ordering::SeqCst), 2 * ROUNDS);
}

fn park_timeout_ends_without_unpark() {
    let started = Instant::now();
    while let Some(rest) = SHORT.checked_sub(started.elapsed()) {
        thread::park_timeout(rest);
    }
    assert!(started.elapsed() >= SHORT);
}

/// Recurses until at least `bytes` of the stack below `top` are in use, and tells how many are.
#[inline(never)]
fn use_stack(top: usize, bytes: usize) -> usize {
    let frame = black_box([0u8; 512]);
    let used = top - ptr::from_ref(&frame).addr();
    let below = if used < bytes {
        use_stack(top, bytes)
    } else {
        used
    };
    below + usize::from(black_box(&frame)[0])
}

/// Uses `bytes` of the calling thread's stack.
fn use_own_stack(bytes: usize) -> usize {
    let top = black_box(0u8);
    use_stack(ptr::from_ref(&top).addr(), bytes)
}

fn a_thread_can_use_most_of_the_default_stack() {
    const BYTES: usize = 1_800 * 1024;
    let threads: Vec<_> = (0..4)
        .map(|_| thread::spawn(|| use_own_stack(BYTES)))
        .collect();
    for thread in threads {
        assert!(thread.join().unwrap() >= BYTES);
    }
}

fn a_thread_gets_the_stack_it_asked_for() {
    for mebibytes in [1, 4, 8, 32] {
        let bytes = mebibytes * 1024 * 1024 - 128 * 1024;
        let thread = thread::Builder::new()
            .stack_size(mebibytes * 1024 * 1024)
            .spawn(move || use_own_stack(bytes))
            .unwrap();
        assert!(thread.join().unwrap() >= bytes);
    }
}

#[inline(never)]
fn capture_a_backtrace_here() -> String {
    let backtrace = black_box(Backtrace::force_capture());
    backtrace.to_string()
}

fn a_backtrace_names_the_calling_function() {
    let here = capture_a_backtrace_here();
    assert!(here.contains("capture_a_backtrace_here"), "{here}");
    let there = thread::spawn(capture_a_backtrace_here).join().unwrap();
    assert!(there.contains("capture_a_backtrace_here"), "{there}");
}

fn each_thread_has_its_own_random_state() {
    let hash = || {
        let map: HashMap<u32, u32> = (0..100).map(|n| (n, n * n)).collect();
        assert!((0..100).all(|n| map[&n] == n * n));
        RandomState::new().hash_one("the same word")
    };
    let threads: Vec<_> = (0..20).map(|_| thread::spawn(hash)).collect();
    let hashes: HashSet<u64> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(hashes.len(), 20);
}

fn threads_start_threads() {
    fn leaves(depth: u32) -> u32 {
        if depth == 0 {
            return 1;
        }
        let children: Vec<_> = (0..3)
            .map(|_| thread::spawn(move || leaves(depth - 1)))
            .collect();
        children
            .into_iter()
            .map(|child| child.join().unwrap())
            .sum()
    }
    assert_eq!(leaves(4), 81);
}

fn a_thousand_std_threads_start_no_kernel_threads(workers: usize) {
    const THREADS: usize = 1_000;
    patched_runtime(workers).run(|| {
        let all_started = Arc::new(Barrier::new(THREADS + 1));
        let counted = Arc::new(Barrier::new(THREADS + 1));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (all_started, counted) = (Arc::clone(&all_started), Arc::clone(&counted));
                thread::spawn(move || {
                    all_started.wait();
                    counted.wait();
                })
            })
            .collect();
        all_started.wait();
        let kernel_threads = process::kernel_threads();
        counted.wait();
        for thread in threads {
            thread.join().unwrap();
        }
        // Other tests of this process have some threads, too.
        assert!(
            kernel_threads < THREADS as u64 / 2,
            "{kernel_threads} kernel threads"
        );
    });
}

fn available_parallelism_is_that_of_the_process(workers: usize) {
    let outside = thread::available_parallelism().unwrap();
    patched_runtime(workers).run(move || {
        assert_eq!(thread::available_parallelism().unwrap(), outside);
        let inner = thread::spawn(|| thread::available_parallelism().unwrap());
        assert_eq!(inner.join().unwrap(), outside);
    });
}
