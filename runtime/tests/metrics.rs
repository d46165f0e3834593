//! The figures of a runtime say what it has done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use greenpatch_runtime::sync::Mutex;
use greenpatch_runtime::{Builder, Metrics, blocking, metrics, spawn, thread, time, yield_now};
use harness::{Watchdog, eventually, unpatched};

#[test]
fn off_a_green_thread_there_are_no_figures() {
    assert_eq!(metrics(), None);
}

#[test]
fn states_add_up_to_the_living() {
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(1);
    assert_eq!(runtime.metrics().live, 0);
    let figures = runtime.run(|| {
        let sleepers: Vec<_> = (0..10).map(|_| spawn(thread::park)).collect();
        yield_now();
        let ready: Vec<_> = (0..3).map(|_| spawn(|| ())).collect();
        let figures = metrics().unwrap();
        for thread in &sleepers {
            thread.thread().unpark();
        }
        for thread in sleepers.into_iter().chain(ready) {
            thread.join().unwrap();
        }
        figures
    });
    let Metrics {
        live,
        running,
        runnable,
        parked,
        spawned,
        ..
    } = figures;
    assert_eq!((live, running, runnable, parked), (14, 1, 3, 10));
    assert_eq!(spawned, 14);
    eventually(|| {
        let figures = runtime.metrics();
        (figures.live, figures.running, figures.parked) == (0, 0, 0)
    });
    assert_eq!(runtime.metrics().peak_live, 14);
}

#[test]
fn a_green_thread_that_keeps_its_worker_to_itself_is_counted() {
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(1);
    let before = runtime.metrics().hogs;
    runtime.run(|| while metrics().unwrap().hogs == before {});
}

#[test]
fn turns_and_wake_ups_are_counted() {
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(1);
    let (before, after) = runtime.run(|| {
        let before = metrics().unwrap();
        for _ in 0..1000 {
            yield_now();
        }
        let parked = spawn(thread::park);
        yield_now();
        parked.thread().unpark();
        parked.join().unwrap();
        (before, metrics().unwrap())
    });
    // The yields, two turns of the other thread, and one after the join.
    assert_eq!(after.switches - before.switches, 1001 + 2 + 1);
    // The other thread by us, and we by its end.
    assert_eq!(after.unparks - before.unparks, 2);
    assert_eq!(after.spawned - before.spawned, 1);
}

#[test]
fn a_wake_up_from_outside_is_counted() {
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(1);
    let parked = runtime.spawn(thread::park);
    eventually(|| runtime.metrics().parked == 1);
    let before = runtime.metrics().unparks;
    parked.thread().unpark();
    parked.join().unwrap();
    assert_eq!(runtime.metrics().unparks - before, 1);
}

#[test]
fn timers_are_counted_while_they_are_under_way() {
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(2);
    runtime.run(|| {
        assert_eq!(metrics().unwrap().timers, 0);
        let sleepers: Vec<_> = (0..20)
            .map(|_| spawn(|| time::sleep(Duration::from_secs(3600))))
            .collect();
        eventually(|| metrics().unwrap().timers >= 20);
        for sleeper in &sleepers {
            sleeper.cancel();
        }
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        assert_eq!(metrics().unwrap().timers, 0);
    });
}

#[test]
fn blocking_sections_are_counted() {
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(1);
    runtime.run(|| {
        for _ in 0..7 {
            blocking(|| ());
        }
        assert_eq!(metrics().unwrap().blocking_sections, 7);
    });
}

#[test]
fn a_spare_worker_is_counted_while_it_serves() {
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(1);
    let release = Arc::new(AtomicBool::new(false));
    let flag = release.clone();
    let blocked = runtime.spawn(move || {
        blocking(|| {
            while !flag.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    });
    eventually(|| runtime.metrics().spare_workers == 1);
    let figures = runtime.metrics();
    assert_eq!((figures.workers, figures.running), (2, 1));
    assert!(figures.spare_workers_called >= 1);
    assert!(figures.os_threads >= 4, "two workers, a monitor, and us");
    release.store(true, Ordering::Release);
    blocked.join().unwrap();
    eventually(|| runtime.metrics().spare_workers == 0);
}

#[test]
fn idle_workers_steal_and_poll() {
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(2);
    runtime.run(|| {
        eventually(|| {
            let busy: Vec<_> = (0..100)
                .map(|_| {
                    spawn(|| {
                        for _ in 0..100 {
                            yield_now();
                        }
                    })
                })
                .collect();
            for thread in busy {
                thread.join().unwrap();
            }
            let figures = metrics().unwrap();
            figures.steals > 0 && figures.reactor_polls > 0
        });
    });
}

#[test]
fn slots_are_counted_by_class() {
    const STACK: usize = 64 << 20;
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(1);
    let count = |figures: Metrics| {
        let class = figures
            .slots
            .into_iter()
            .find(|slots| slots.stack_size == STACK);
        class.expect("there is a class of this size")
    };
    let before = count(runtime.metrics());
    runtime.run(move || {
        let lock = Arc::new(Mutex::new(()));
        let held = lock.lock();
        let large: Vec<_> = (0..3)
            .map(|_| {
                let lock = lock.clone();
                let builder = Builder::new().stack_size(STACK);
                builder.spawn(move || drop(lock.lock())).unwrap()
            })
            .collect();
        let during = count(metrics().unwrap());
        assert_eq!(during.in_use, before.in_use + 3);
        drop(held);
        for thread in large {
            thread.join().unwrap();
        }
    });
    eventually(|| {
        let after = count(runtime.metrics());
        after.in_use == before.in_use && after.pooled + after.trimmed == 3
    });
}

#[test]
fn the_high_water_mark_follows_the_deepest_stack() {
    #[inline(never)]
    fn use_stack(kibibytes: usize) -> u8 {
        let page = std::hint::black_box([1_u8; 1024]);
        match kibibytes {
            0 => page[0],
            _ => page[1] + use_stack(kibibytes - 1) / 2,
        }
    }
    let _watchdog = Watchdog::start();
    let runtime = unpatched::runtime(1);
    let builder = Builder::new().stack_size(8 << 20);
    let deep = runtime
        .spawn_with(builder, || {
            std::hint::black_box(use_stack(3000));
            thread::park();
        })
        .unwrap();
    eventually(|| runtime.metrics().parked == 1);
    let mark = runtime.stack_high_water();
    assert!((3000 << 10..8 << 20).contains(&mark), "{mark} bytes");
    deep.thread().unpark();
    deep.join().unwrap();
    eventually(|| runtime.stack_high_water() == 0);
}

#[test]
fn figures_are_shown_as_lines_and_as_json() {
    let figures = unpatched::runtime(1).run(|| metrics().unwrap());
    let text = figures.to_string();
    assert!(
        text.contains("green threads     1 live: 1 running, 0 runnable, 0 parked"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&figures.to_json()).unwrap();
    assert_eq!(json["live"], 1);
    assert_eq!(json["slots"][0]["stack_size"], 65536);
}
