//! Scopes: what they hand to the green threads that are spawned in them, and what ends with what.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use greenpatch_runtime::interrupt::Cancellable;
use greenpatch_runtime::net::TcpListener;
use greenpatch_runtime::sync::{Event, mpmc};
use greenpatch_runtime::time::{sleep, timeout};
use greenpatch_runtime::{
    Builder, Inherited, Interrupted, checkpoint, is_cancellation, scope, shield, spawn, thread,
    try_scope, yield_now,
};
use harness::unpatched::{on_workers, spawn_begun};

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(3600);

/// Sleeps until something cuts that short, and tells what.
fn sleep_for_ever() -> Interrupted {
    sleep(LONG);
    checkpoint().unwrap_err()
}

fn wait_for(count: &AtomicUsize, least: usize) {
    while count.load(Ordering::SeqCst) < least {
        yield_now();
    }
}

#[test]
fn a_scope_hands_its_deadline_to_what_is_spawned_in_it() {
    on_workers(|| {
        let late = timeout(SHORT, || {
            scope(|scope| {
                let children = [(); 3].map(|()| scope.spawn(sleep_for_ever));
                children.map(|child| child.join().unwrap())
            })
        });
        let cut = late.expect_err("its time has cut waits short");
        assert_eq!(cut.into_inner(), [Interrupted::TimedOut; 3]);
        assert_eq!(checkpoint(), Ok(()));
    });
}

#[test]
fn the_earliest_deadline_counts_on_a_child_and_the_right_one_is_told() {
    on_workers(|| {
        let outcome = timeout(LONG, || {
            let inner = timeout(SHORT, || {
                scope(|scope| scope.spawn(sleep_for_ever).join().unwrap())
            });
            assert_eq!(inner.unwrap_err().into_inner(), Interrupted::TimedOut);
            let child = scope(|scope| {
                let child = scope.spawn(|| timeout(SHORT, sleep_for_ever));
                child.join().unwrap()
            });
            child.unwrap_err().into_inner()
        });
        assert_eq!(outcome.unwrap(), Interrupted::TimedOut);
    });
}

#[test]
fn grandchildren_are_limited_by_all_scopes_around() {
    on_workers(|| {
        let late = timeout(SHORT, || {
            scope(|outer| {
                let child = outer.spawn(|| {
                    timeout(LONG, || {
                        scope(|inner| inner.spawn(sleep_for_ever).join().unwrap())
                    })
                    .expect("not this scope's time was over")
                });
                child.join().unwrap()
            })
        });
        assert_eq!(late.unwrap_err().into_inner(), Interrupted::TimedOut);
    });
}

#[test]
fn what_is_spawned_by_itself_inherits_no_deadline_and_no_cancellation() {
    on_workers(|| {
        let child = timeout(Duration::ZERO, || {
            spawn(|| {
                sleep(SHORT);
                checkpoint()
            })
        });
        assert_eq!(child.unwrap().join().unwrap(), Ok(()));

        let detached = scope(|scope| {
            scope.cancel();
            spawn(checkpoint)
        });
        assert_eq!(detached.join().unwrap(), Ok(()));
    });
}

#[test]
fn cancelling_the_owner_ends_the_waits_of_children_and_grandchildren() {
    on_workers(|| {
        let parked = Arc::new(AtomicUsize::new(0));
        let count = parked.clone();
        let owner = spawn_begun(move || {
            scope(|outer| {
                let children: Vec<_> = (0..3)
                    .map(|_| {
                        outer.spawn(|| {
                            scope(|inner| {
                                inner.spawn(|| {
                                    count.fetch_add(1, Ordering::SeqCst);
                                    sleep_for_ever()
                                });
                                count.fetch_add(1, Ordering::SeqCst);
                                sleep_for_ever()
                            })
                        })
                    })
                    .collect();
                children
                    .into_iter()
                    .map(|child| child.join().unwrap())
                    .collect::<Vec<_>>()
            })
        });
        wait_for(&parked, 6);
        sleep(SHORT);
        owner.cancel();
        assert_eq!(owner.join().unwrap(), [Interrupted::Cancelled; 3]);
    });
}

#[test]
fn cancelling_a_piece_of_work_ends_the_scopes_that_were_opened_in_it() {
    on_workers(|| {
        let (sender, pieces) = mpmc::channel();
        let server = spawn(move || {
            Cancellable::scope(|work| {
                let piece = work.begin();
                let first = scope(|scope| {
                    let child = scope.spawn(|| {
                        sender.send((work.clone(), piece)).unwrap();
                        sleep_for_ever()
                    });
                    child.join().unwrap()
                });
                work.begin();
                (
                    first,
                    scope(|scope| scope.spawn(checkpoint).join().unwrap()),
                )
            })
        });
        let (work, piece) = pieces.recv().unwrap();
        sleep(SHORT);
        assert!(work.cancel(piece));
        assert_eq!(server.join().unwrap(), (Interrupted::Cancelled, Ok(())));
    });
}

#[test]
fn a_scope_is_cancelled_as_a_whole_and_until_it_is_left() {
    on_workers(|| {
        let parked = AtomicUsize::new(0);
        scope(|scope| {
            let children: Vec<_> = (0..3)
                .map(|_| {
                    let parked = &parked;
                    scope.spawn(move || {
                        parked.fetch_add(1, Ordering::SeqCst);
                        sleep_for_ever()
                    })
                })
                .collect();
            // Cancelled by one of its children, while its owner waits.
            scope.spawn(|| {
                wait_for(&parked, 3);
                sleep(SHORT);
                scope.cancel();
            });
            assert_eq!(sleep_for_ever(), Interrupted::Cancelled);
            assert!(scope.is_cancelled());
            for child in children {
                assert_eq!(child.join().unwrap(), Interrupted::Cancelled);
            }
            let never = scope.spawn(|| unreachable!("cancelled before it begins"));
            let payload = never.join().unwrap_err();
            assert_eq!(payload.downcast_ref(), Some(&Interrupted::Cancelled));
        });
        assert_eq!(checkpoint(), Ok(()));
    });
}

#[test]
fn cancelling_the_outermost_of_many_nested_scopes_ends_all_of_them_at_once() {
    /// A scope within a scope, each of another green thread: what recursive work looks like.
    fn nest(depth: usize, parked: &AtomicUsize) -> usize {
        if depth == 0 {
            parked.fetch_add(1, Ordering::SeqCst);
            assert_eq!(sleep_for_ever(), Interrupted::Cancelled);
            return 1;
        }
        let below = scope(|scope| {
            let child = scope.spawn(|| nest(depth - 1, parked));
            child.join().unwrap()
        });
        assert_eq!(checkpoint(), Err(Interrupted::Cancelled));
        below + 1
    }

    /// The same, all of it of one green thread.
    fn nest_here(depth: usize, parked: &AtomicUsize) -> usize {
        match depth {
            0 => nest(0, parked),
            _ => 1 + scope(|_| nest_here(depth - 1, parked)),
        }
    }

    const DEPTH: usize = 500;
    on_workers(|| {
        for nest in [nest, nest_here] {
            let parked = AtomicUsize::new(0);
            let depth = scope(|scope| {
                let builder = Builder::new().stack_size(4 << 20);
                let outermost = builder.spawn_scoped(scope, || nest(DEPTH, &parked));
                wait_for(&parked, 1);
                scope.cancel();
                outermost.unwrap().join().unwrap()
            });
            assert_eq!(depth, DEPTH + 1);
        }
    });
}

#[test]
fn a_shield_keeps_what_is_around_from_a_child_and_what_is_spawned_in_it() {
    on_workers(|| {
        let outcome = timeout(Duration::ZERO, || {
            assert_eq!(checkpoint(), Err(Interrupted::TimedOut));
            scope(|scope| {
                let child = scope.spawn(|| {
                    assert_eq!(checkpoint(), Err(Interrupted::TimedOut));
                    shield(|| {
                        sleep(SHORT);
                        checkpoint()
                    })
                });
                assert_eq!(child.join().unwrap(), Ok(()));
            });
            shield(|| scope(|scope| scope.spawn(checkpoint).join().unwrap()))
        });
        assert_eq!(outcome.unwrap_or_else(|late| late.into_inner()), Ok(()));

        let shielded = spawn_begun(|| {
            while checkpoint().is_ok() {
                yield_now();
            }
            shield(|| scope(|scope| scope.spawn(checkpoint).join().unwrap()))
        });
        shielded.cancel();
        assert_eq!(shielded.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_delayed_child_does_not_begin_once_its_scope_is_cancelled() {
    on_workers(|| {
        scope(|scope| {
            let delayed = Builder::new()
                .delay(LONG)
                .spawn_scoped(scope, || unreachable!("its delay is an hour"))
                .unwrap();
            sleep(SHORT);
            scope.cancel();
            assert!(delayed.join().is_err());
        });
    });
}

#[test]
fn the_first_error_cancels_the_others_and_is_returned() {
    on_workers(|| {
        let ended = AtomicUsize::new(0);
        let outcome = try_scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    sleep(LONG);
                    ended.fetch_add(1, Ordering::SeqCst);
                    checkpoint().map_err(io::Error::from)
                });
            }
            let never = scope.spawn(|| {
                sleep(LONG);
                Ok(())
            });
            scope.spawn(|| {
                sleep(SHORT);
                Err::<(), _>(io::Error::other("the first"))
            });
            let () = never.join()?;
            Ok(())
        });
        assert_eq!(outcome.unwrap_err().to_string(), "the first");
        assert_eq!(ended.load(Ordering::SeqCst), 10);
    });
}

#[test]
fn an_error_of_the_body_cancels_its_children() {
    on_workers(|| {
        let outcome = try_scope(|scope| {
            scope.spawn(|| {
                sleep(LONG);
                Err::<(), _>("later")
            });
            yield_now();
            Err::<(), _>("the body")
        });
        assert_eq!(outcome, Err("the body"));
    });
}

#[test]
fn a_panic_in_a_try_scope_cancels_the_others_and_goes_on() {
    on_workers(|| {
        for panics_in_body in [false, true] {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                try_scope(|scope| {
                    let sleeper = scope.spawn(|| {
                        sleep(LONG);
                        Err::<(), _>("cancelled")
                    });
                    if panics_in_body {
                        std::panic::resume_unwind(Box::new("out"));
                    }
                    scope.spawn(|| -> Result<(), _> { std::panic::resume_unwind(Box::new("out")) });
                    assert_eq!(sleeper.join(), Err(Interrupted::Cancelled));
                    Err::<(), _>("the body's error comes second")
                })
            }));
            let payload = outcome.unwrap_err();
            assert_eq!(payload.downcast_ref(), Some(&"out"));
            assert_eq!(checkpoint(), Ok(()));
        }
    });
}

#[test]
fn a_try_scope_without_failure_returns_what_its_body_does() {
    on_workers(|| {
        let sum = try_scope(|scope| {
            let parts: Vec<_> = (0..100)
                .map(|n| {
                    scope.spawn(move || {
                        yield_now();
                        Ok::<_, io::Error>(n)
                    })
                })
                .collect();
            let mut sum = 0;
            for part in parts {
                sum += part.join()?;
            }
            Ok(sum)
        });
        assert_eq!(sum.unwrap(), 4950);
    });
}

#[test]
fn a_try_scope_that_is_cancelled_from_outside_tells_by_its_childrens_errors() {
    on_workers(|| {
        let owner = spawn_begun(|| {
            try_scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let listener = TcpListener::bind("127.0.0.1:0")?;
                        listener.accept().map(drop)
                    });
                }
                Ok(())
            })
        });
        owner.cancel();
        match owner.join() {
            Ok(outcome) => assert!(is_cancellation(&outcome.unwrap_err())),
            Err(_) => unreachable!("it had begun"),
        }
    });
}

#[test]
fn joining_in_a_try_scope_ends_with_the_scopes_time() {
    on_workers(|| {
        let late = timeout(SHORT, || {
            try_scope(|scope| {
                // Its wait is not cut short, but the join is.
                let busy = scope.spawn(|| {
                    shield(|| sleep(10 * SHORT));
                    Ok::<_, Interrupted>(())
                });
                busy.join()
            })
        });
        let outcome = late.expect_err("the join was cut short").into_inner();
        assert_eq!(outcome, Err(Interrupted::TimedOut));
    });
}

static TRACE: Inherited<&str> = Inherited::new();
static DEPTH: Inherited<u32> = Inherited::new();

#[test]
fn values_are_inherited_by_all_that_is_spawned_and_hidden_by_nothing() {
    on_workers(|| {
        assert_eq!(TRACE.get(), None);
        let detached = TRACE.bind("a", || {
            DEPTH.bind(1, || {
                let child = TRACE.bind("b", || {
                    spawn(|| (*TRACE.get().unwrap(), *DEPTH.get().unwrap()))
                });
                assert_eq!(child.join().unwrap(), ("b", 1));
                scope(|scope| {
                    // What is bound in the scope is not the child's.
                    let child = DEPTH.bind(2, || {
                        scope.spawn(|| {
                            let grandchild =
                                || shield(|| (*TRACE.get().unwrap(), *DEPTH.get().unwrap()));
                            spawn(grandchild).join().unwrap()
                        })
                    });
                    assert_eq!(child.join().unwrap(), ("a", 1));
                });
                spawn(|| {
                    sleep(SHORT);
                    DEPTH.bind(7, || {
                        let inner = spawn(|| *DEPTH.get().unwrap()).join().unwrap();
                        (*TRACE.get().unwrap(), inner)
                    })
                })
            })
        });
        assert_eq!((TRACE.get(), DEPTH.get()), (None, None));
        assert_eq!(detached.join().unwrap(), ("a", 7));
    });
}

#[test]
fn a_value_is_dropped_with_the_last_that_sees_it_and_may_use_scopes_then() {
    struct Noisy(Arc<AtomicUsize>);
    impl Drop for Noisy {
        fn drop(&mut self) {
            timeout(LONG, || TRACE.bind("dropping", yield_now)).unwrap();
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    static NOISY: Inherited<Noisy> = Inherited::new();
    on_workers(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        NOISY.bind(Noisy(drops.clone()), || ());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        let go_on = Arc::new(Event::new());
        let child = NOISY.bind(Noisy(drops.clone()), || {
            let go_on = go_on.clone();
            spawn(move || {
                go_on.wait().unwrap();
                NOISY.get().is_some()
            })
        });
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        go_on.set();
        assert!(child.join().unwrap());
        assert_eq!(drops.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_cancellation_that_races_park_unpark_spawn_and_end_leaves_nobody_behind() {
    on_workers(|| {
        for round in 0..300 {
            let start = Instant::now();
            let owner = spawn(move || {
                scope(|scope| {
                    for child in 0..8 {
                        scope.spawn(move || {
                            for _ in 0..(child + round) % 5 {
                                yield_now();
                            }
                            thread::park_timeout(Duration::from_micros(1));
                            match child % 3 {
                                0 => drop(sleep_for_ever()),
                                1 => {
                                    let _ = Event::new().wait();
                                }
                                _ => {}
                            }
                        });
                    }
                    if round % 2 == 0 {
                        sleep(Duration::from_micros(20));
                    }
                    if round % 3 == 0 {
                        scope.cancel();
                    }
                });
            });
            for _ in 0..round % 7 {
                yield_now();
            }
            owner.cancel();
            let _ = owner.join();
            assert!(start.elapsed() < Duration::from_secs(600));
        }
    });
}

#[test]
fn scopes_may_be_used_across_a_caught_panic_as_stds_may() {
    fn safe<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe + Sync>(_: &T) {}
    on_workers(|| {
        scope(|scope| safe(scope));
        let outcome: Result<(), Interrupted> = try_scope(|scope| {
            safe(scope);
            Ok(())
        });
        assert_eq!(outcome, Ok(()));
    });
}

#[test]
fn std_threads_on_green_threads_are_limited_by_nothing_but_ours_in_scopes_are() {
    // Without the shims, a thread of std is an OS thread: nothing is handed to it.
    on_workers(|| {
        let late = timeout(Duration::ZERO, || {
            std::thread::scope(|scope| scope.spawn(checkpoint).join().unwrap())
        });
        assert_eq!(late.unwrap(), Ok(()));
    });
}
