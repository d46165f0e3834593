//! Thread-local storage, unmodified: the same bodies on OS threads and on green threads.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

// For its shims.
use greenpatch as _;
use harness::on_every_kind_of_thread;

on_every_kind_of_thread! {
    each_thread_has_its_own_value,
    a_value_outlives_every_wait,
    a_new_thread_starts_from_the_initial_value,
    destructors_have_run_when_join_returns,
    destructors_run_after_a_panic,
    a_destructor_may_use_another_thread_local_and_wait,
    each_thread_has_its_own_errno,
    each_thread_has_its_own_pthread_identity,
    pthread_keys_hold_a_value_per_thread_and_destroy_it,
}

/// Runs `body(index)` on `count` threads, which all are alive until the last has come to its end,
/// and returns the results in order.
fn on_threads<T: Send + 'static>(
    count: usize,
    body: impl Fn(usize) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let body = Arc::new(body);
    let all_done = Arc::new(Barrier::new(count));
    let threads: Vec<_> = (0..count)
        .map(|index| {
            let (body, all_done) = (Arc::clone(&body), Arc::clone(&all_done));
            thread::spawn(move || {
                let result = body(index);
                all_done.wait();
                result
            })
        })
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect()
}

fn each_thread_has_its_own_value() {
    thread_local!(static VALUE: Cell<usize> = const { Cell::new(0) });
    let addresses = on_threads(50, |index| {
        VALUE.set(index);
        thread::sleep(Duration::from_millis(2));
        assert_eq!(VALUE.get(), index);
        VALUE.with(|value| ptr::from_ref(value).addr())
    });
    assert_eq!(addresses.into_iter().collect::<HashSet<_>>().len(), 50);
}

fn a_value_outlives_every_wait() {
    thread_local!(static HISTORY: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) });
    let lock = Arc::new(Mutex::new(()));
    on_threads(20, move |index| {
        for round in 0..50 {
            HISTORY.with_borrow_mut(|history| history.push(index * 1_000 + round));
            match round % 3 {
                0 => thread::yield_now(),
                1 => thread::sleep(Duration::from_micros(50)),
                _ => {
                    let _guard = lock.lock().unwrap();
                    thread::yield_now();
                }
            }
        }
        HISTORY.with_borrow(|history| {
            assert!(
                history
                    .iter()
                    .copied()
                    .eq((0..50).map(|round| index * 1_000 + round))
            );
        });
    });
}

fn a_new_thread_starts_from_the_initial_value() {
    thread_local! {
        static CONSTANT: Cell<u64> = const { Cell::new(11) };
        static COMPUTED: RefCell<String> = RefCell::new("fresh".to_owned());
    }
    // One after the other, so that stacks and their storage are used again.
    for _ in 0..100 {
        let thread = thread::spawn(|| {
            assert_eq!(CONSTANT.replace(99), 11);
            assert_eq!(COMPUTED.replace("used".to_owned()), "fresh");
        });
        thread.join().unwrap();
    }
}

/// Adds one to a counter when it is dropped.
struct CountsDrop(Arc<AtomicUsize>);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

thread_local!(static COUNTED: RefCell<Option<CountsDrop>> = const { RefCell::new(None) });

fn destructors_have_run_when_join_returns() {
    let drops = Arc::new(AtomicUsize::new(0));
    for expected in 1..=100 {
        let counter = Arc::clone(&drops);
        let thread = thread::spawn(move || {
            COUNTED.set(Some(CountsDrop(counter)));
            thread::yield_now();
        });
        thread.join().unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), expected);
    }
}

fn destructors_run_after_a_panic() {
    let drops = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&drops);
    let thread = thread::spawn(move || {
        COUNTED.set(Some(CountsDrop(counter)));
        panic!("with a value in thread-local storage");
    });
    assert!(thread.join().is_err());
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

fn a_destructor_may_use_another_thread_local_and_wait() {
    thread_local! {
        static LAST_WORD: Cell<u32> = const { Cell::new(0) };
        static SPEAKS: RefCell<Option<Speaks>> = const { RefCell::new(None) };
    }
    struct Speaks(Arc<Mutex<Vec<u32>>>);
    impl Drop for Speaks {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(5));
            self.0.lock().unwrap().push(LAST_WORD.get());
        }
    }
    let spoken = Arc::new(Mutex::new(Vec::new()));
    let threads: Vec<_> = (0..10)
        .map(|index| {
            let spoken = Arc::clone(&spoken);
            thread::spawn(move || {
                SPEAKS.set(Some(Speaks(spoken)));
                LAST_WORD.set(index);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let mut spoken = spoken.lock().unwrap().clone();
    spoken.sort_unstable();
    assert!(spoken.into_iter().eq(0..10));
}

fn each_thread_has_its_own_errno() {
    let addresses = on_threads(50, |_| {
        // SAFETY: the call has no precondition.
        unsafe { libc::__errno_location() }.addr()
    });
    assert_eq!(addresses.into_iter().collect::<HashSet<_>>().len(), 50);

    let failures = on_threads(2, |index| {
        for _ in 0..1_000 {
            let fails_with = if index == 0 {
                libc::EBADF
            } else {
                libc::EINVAL
            };
            // SAFETY: neither call touches memory: there is no descriptor -1, and no signal -1.
            let result = unsafe {
                if index == 0 {
                    libc::fsync(-1)
                } else {
                    libc::raise(-1)
                }
            };
            assert_ne!(result, 0);
            thread::yield_now();
            assert_eq!(
                std::io::Error::last_os_error().raw_os_error(),
                Some(fails_with)
            );
        }
        index
    });
    assert_eq!(failures, [0, 1]);
}

fn each_thread_has_its_own_pthread_identity() {
    let identities = on_threads(50, |_| {
        // SAFETY: the call has no precondition.
        let before = unsafe { libc::pthread_self() };
        thread::sleep(Duration::from_millis(2));
        // SAFETY: as above.
        let after = unsafe { libc::pthread_self() };
        assert_eq!(before, after);
        before
    });
    assert_eq!(identities.into_iter().collect::<HashSet<_>>().len(), 50);
}

fn pthread_keys_hold_a_value_per_thread_and_destroy_it() {
    /// The value is the address of a counter.
    unsafe extern "C" fn count(value: *mut c_void) {
        // SAFETY: `value` came from `Arc::into_raw` of a counter, once per thread.
        let counter = unsafe { Arc::from_raw(value.cast::<AtomicUsize>()) };
        counter.fetch_add(1, Ordering::SeqCst);
    }
    let mut key = 0;
    // SAFETY: `key` is writable, and `count` takes the values that the threads set.
    let result = unsafe { libc::pthread_key_create(&mut key, Some(count)) };
    assert_eq!(result, 0);
    let counter = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..50)
        .map(|_| {
            let counter = Arc::clone(&counter);
            thread::spawn(move || {
                // SAFETY: the key lives until the test's end.
                assert!(unsafe { libc::pthread_getspecific(key) }.is_null());
                let value = Arc::into_raw(counter).cast::<c_void>();
                // SAFETY: as above.
                assert_eq!(unsafe { libc::pthread_setspecific(key, value) }, 0);
                thread::sleep(Duration::from_millis(1));
                // SAFETY: as above.
                let found = unsafe { libc::pthread_getspecific(key) };
                assert_eq!(found.cast_const(), value);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(counter.load(Ordering::SeqCst), 50);
    // SAFETY: no thread uses the key any more.
    assert_eq!(unsafe { libc::pthread_key_delete(key) }, 0);
}
