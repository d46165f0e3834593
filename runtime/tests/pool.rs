//! Pools: how many run at once, who waits, what comes back in which order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use greenpatch_runtime::time::{sleep, timeout};
use greenpatch_runtime::{GreenPile, GreenPool, Runtime, checkpoint, spawn, thread, yield_now};
use harness::unpatched::on_workers;

#[test]
fn no_more_than_the_size_run_at_once_and_all_run() {
    on_workers(|| {
        let pool = GreenPool::new(7);
        let (now, most, total) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
        );
        for _ in 0..500 {
            let (now, most, total) = (now.clone(), most.clone(), total.clone());
            pool.spawn_n(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_micros(20));
                now.fetch_sub(1, Ordering::SeqCst);
                total.fetch_add(1, Ordering::SeqCst);
            });
        }
        pool.wait_all();
        assert_eq!(total.load(Ordering::SeqCst), 500);
        assert!((2..=7).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(
            (pool.running(), pool.free(), pool.waiting(), pool.size()),
            (0, 7, 0, 7)
        );
    });
}

#[test]
fn results_come_in_the_order_of_the_items() {
    on_workers(|| {
        let pool = GreenPool::new(5);
        let numbers = pool.map(0..50_u64, |n| {
            sleep(Duration::from_micros(500 - 10 * n));
            n
        });
        assert!(numbers.into_iter().eq(0..50));
        let mut pile = GreenPile::new(pool);
        for n in 0..20 {
            pile.spawn(move || n * 2);
        }
        assert!(pile.by_ref().eq((0..20).map(|n| n * 2)));
        pile.spawn(|| 7);
        assert_eq!(pile.next(), Some(7));
    });
}

#[test]
fn imap_takes_no_more_items_than_there_are_places() {
    on_workers(|| {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let items = (0..).inspect(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let mut endless = GreenPool::new(3).imap(items, |n: u32| n);
        assert_eq!(endless.next(), Some(0));
        assert_eq!(endless.next(), Some(1));
        assert!(taken.load(Ordering::SeqCst) <= 2 + 2 * 3);
    });
}

#[test]
fn imap_gives_a_result_that_is_there_however_slow_the_items_come() {
    // Each result is there before the next item is.
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.run(|| {
        let items = (0..).inspect(|_| sleep(Duration::from_micros(100)));
        let mut endless = GreenPool::new(3).imap(items, |n: u32| n);
        assert!(endless.by_ref().take(10).eq(0..10));
    });
}

#[test]
fn a_panic_frees_its_place_and_reaches_who_takes_the_result() {
    on_workers(|| {
        let pool = GreenPool::new(1);
        let doomed = pool.spawn(|| std::panic::resume_unwind(Box::new("work")));
        assert!(doomed.join().is_err());
        assert_eq!(pool.spawn(|| 1).join().unwrap(), 1);
        let outcome = std::panic::catch_unwind(|| {
            GreenPool::new(2).map(0..4, |n| {
                if n == 2 {
                    std::panic::resume_unwind(Box::new("work"));
                }
            })
        });
        assert!(outcome.is_err());
    });
}

#[test]
fn a_member_that_spawns_into_the_full_pool_does_the_work_itself() {
    on_workers(|| {
        let pool = GreenPool::new(1);
        let inner = pool.clone();
        let outer = pool.spawn(move || {
            let outer = thread::current().id();
            let inner = inner.spawn(|| thread::current().id()).join().unwrap();
            (outer, inner)
        });
        let (outer, inner) = outer.join().unwrap();
        assert_eq!(outer, inner);
    });
}

#[test]
fn wait_all_by_a_member_is_refused() {
    on_workers(|| {
        let pool = GreenPool::new(2);
        let inner = pool.clone();
        let outcome = pool.spawn(move || inner.wait_all()).join();
        let message = *outcome.unwrap_err().downcast::<&str>().unwrap();
        assert!(message.contains("wait for itself"), "{message}");
    });
}

#[test]
fn a_full_pool_makes_wait_and_resize_lets_in() {
    on_workers(|| {
        let pool = GreenPool::new(1);
        let release = Arc::new(AtomicBool::new(false));
        let held = release.clone();
        pool.spawn_n(move || {
            while !held.load(Ordering::SeqCst) {
                sleep(Duration::from_micros(100));
            }
        });
        assert!(pool.try_spawn(|| ()).is_err());
        let theirs = pool.clone();
        let waiter = spawn(move || theirs.spawn(|| 5).join().unwrap());
        while pool.waiting() == 0 {
            yield_now();
        }
        assert!(!pool.wait_all_timeout(Duration::from_millis(1)));
        let cut = timeout(Duration::from_millis(1), || {
            pool.wait_all_timeout(Duration::from_secs(3600))
        });
        assert!(!cut.unwrap_or_else(|late| late.into_inner()));
        pool.resize(2);
        assert_eq!(waiter.join().unwrap(), 5);
        release.store(true, Ordering::SeqCst);
        pool.wait_all();
    });
}

#[test]
fn cancel_all_reaches_every_member() {
    on_workers(|| {
        let pool = GreenPool::new(100);
        let (begun, cancelled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..100 {
            let (begun, cancelled) = (begun.clone(), cancelled.clone());
            pool.spawn_n(move || {
                begun.fetch_add(1, Ordering::SeqCst);
                sleep(Duration::from_secs(3600));
                if checkpoint().is_err() {
                    cancelled.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        while pool.free() > 0 {
            yield_now();
        }
        sleep(Duration::from_millis(2));
        pool.cancel_all();
        pool.wait_all();
        // Those that had not begun never did.
        assert_eq!(
            cancelled.load(Ordering::SeqCst),
            begun.load(Ordering::SeqCst)
        );
        assert_eq!(pool.running(), 0);
    });
}
