//! Deadline scopes hold where coroutines suspend the work inside them and end it in any order.

#![forbid(unsafe_code)]

use std::time::Duration;

use corosensei::{Coroutine, CoroutineResult, Yielder};
use greenpatch_runtime::time::timeout;
use greenpatch_runtime::{Interrupted, Runtime, checkpoint, shield};

const LONG: Duration = Duration::from_secs(1000);

type Work<T> = Coroutine<(), (), T>;

/// A coroutine that suspends itself once, inside the work.
fn suspended<T: 'static>(work: impl FnOnce(&Yielder<(), ()>) -> T + 'static) -> Work<T> {
    let mut coroutine = Coroutine::new(move |yielder, ()| work(yielder));
    assert!(matches!(coroutine.resume(()), CoroutineResult::Yield(())));
    coroutine
}

/// Ends the work, and gives back the memory of its stack.
fn end<T>(mut coroutine: Work<T>) -> T {
    match coroutine.resume(()) {
        CoroutineResult::Return(value) => value,
        CoroutineResult::Yield(()) => panic!("it suspends itself once only"),
    }
}

/// On an OS thread, and on a green thread.
fn on_both_kinds_of_thread(test: fn()) {
    test();
    Runtime::builder().workers(1).build().unwrap().run(test);
}

#[test]
fn scopes_end_in_any_order() {
    on_both_kinds_of_thread(|| {
        for _ in 0..100 {
            let first = suspended(|yielder| timeout(LONG, || yielder.suspend(())));
            let second = suspended(|yielder| shield(|| yielder.suspend(())));
            let third = suspended(|yielder| timeout(LONG, || yielder.suspend(())));
            end(first).unwrap();
            assert_eq!(checkpoint(), Ok(()));
            end(third).unwrap();
            assert_eq!(checkpoint(), Ok(()));
            end(second);
            assert_eq!(checkpoint(), Ok(()));
        }
    });
}

#[test]
fn a_scope_holds_when_one_that_was_entered_before_it_ends() {
    on_both_kinds_of_thread(|| {
        let first = suspended(|yielder| timeout(LONG, || yielder.suspend(())));
        let second = suspended(|yielder| {
            timeout(Duration::ZERO, || {
                yielder.suspend(());
                checkpoint()
            })
        });
        end(first).unwrap();
        let late = end(second).unwrap_err();
        assert_eq!(late.into_inner(), Err(Interrupted::TimedOut));
    });
}

#[test]
fn a_scope_no_longer_holds_when_one_that_was_entered_after_it_goes_on() {
    on_both_kinds_of_thread(|| {
        let first = suspended(|yielder| timeout(Duration::ZERO, || yielder.suspend(())));
        let second = suspended(|yielder| {
            timeout(LONG, || {
                yielder.suspend(());
                checkpoint()
            })
        });
        end(first).unwrap();
        assert_eq!(end(second).unwrap(), Ok(()));
    });
}

#[test]
fn a_coroutine_that_is_dropped_leaves_its_scope() {
    on_both_kinds_of_thread(|| {
        let late = suspended(|yielder| timeout(Duration::ZERO, || yielder.suspend(())));
        let other = suspended(|yielder| timeout(LONG, || yielder.suspend(())));
        drop(late);
        assert_eq!(checkpoint(), Ok(()));
        end(other).unwrap();
    });
}
