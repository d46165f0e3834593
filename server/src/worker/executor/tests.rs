use std::future::poll_fn;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Barrier, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use greenpatch::Runtime;

use super::*;

/// More than a driver needs, as unoptimised code and the first line of a log take more.
const STACK: usize = 1 << 20;

/// Runs `f` on runtimes of one and of two workers, with an executor that ends afterwards.
fn with_executor(f: impl Fn(&Executor)) {
    for workers in [1, 2] {
        let runtime = Runtime::builder()
            .workers(workers)
            .build()
            .expect("a runtime");
        runtime.run(|| {
            let executor = Executor::new(Some(STACK), || Box::new(())).expect("a driver");
            f(&executor);
            executor.close();
        });
        runtime
            .shutdown(Duration::from_secs(30))
            .expect("every driver ends");
    }
}

/// Ready when it is polled for the second time; hands its waker out at the first.
async fn woken_by(wakers: Sender<Waker>) {
    let mut is_first = true;
    poll_fn(move |context| {
        if std::mem::take(&mut is_first) {
            wakers
                .send(context.waker().clone())
                .expect("it is received");
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
}

#[test]
fn a_task_that_blocks_while_it_is_polled_holds_no_other_up() {
    with_executor(|executor| {
        let (sender, receiver) = channel();
        let (done, all_done) = channel();
        let second = done.clone();
        executor.spawn(async move {
            receiver.recv().expect("the other task sends");
            done.send("blocked").expect("the test waits");
        });
        executor.spawn(async move {
            sender.send(()).expect("the other task waits");
            second.send("free").expect("the test waits");
        });
        let mut order: Vec<_> = (0..2).map(|_| all_done.recv().expect("both end")).collect();
        order.sort_unstable();
        assert_eq!(order, ["blocked", "free"]);
    });
}

#[test]
fn as_many_tasks_block_at_once_as_there_are() {
    const TASKS: usize = 500;
    with_executor(|executor| {
        let barrier = Arc::new(Barrier::new(TASKS));
        let (done, all_done) = channel();
        for _ in 0..TASKS {
            let (barrier, done) = (Arc::clone(&barrier), done.clone());
            executor.spawn(async move {
                barrier.wait();
                done.send(()).expect("the test waits");
            });
        }
        for _ in 0..TASKS {
            all_done.recv().expect("all meet");
        }
    });
}

#[test]
fn drivers_that_are_not_needed_end() {
    const TASKS: usize = 200;
    with_executor(|executor| {
        let barrier = Arc::new(Barrier::new(TASKS + 1));
        for _ in 0..TASKS {
            let barrier = Arc::clone(&barrier);
            executor.spawn(async move { barrier.wait().is_leader() });
        }
        barrier.wait();
        // One more may be searching.
        while executor.drivers().0 > MOST_RESTING + 1 {
            greenpatch::yield_now();
        }
    });
}

#[test]
fn tasks_are_woken_from_other_threads() {
    const ROUNDS: usize = 200;
    with_executor(|executor| {
        let (wakers, received) = channel::<Waker>();
        let waking = Runtime::builder().workers(1).build().expect("a runtime");
        let other = waking.spawn(move || received.into_iter().for_each(Waker::wake));
        let (done, all_done) = channel();
        for _ in 0..8 {
            let (wakers, done) = (wakers.clone(), done.clone());
            executor.spawn(async move {
                for _ in 0..ROUNDS {
                    woken_by(wakers.clone()).await;
                }
                done.send(()).expect("the test waits");
            });
        }
        for _ in 0..8 {
            all_done.recv().expect("no wake is lost");
        }
        drop(wakers);
        waking.run(|| other.join()).expect("no panic");
    });
}

#[test]
fn a_panic_ends_its_task_alone() {
    with_executor(|executor| {
        executor.spawn(async { panic!("asked for") });
        let (done, all_done) = channel();
        executor.spawn(async move { done.send(()).expect("the test waits") });
        all_done.recv().expect("the next one runs");
    });
}

#[test]
fn tasks_are_polled_in_order_of_their_wake_ups() {
    with_executor(|executor| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let (done, all_done) = channel();
        let (inner, noted) = (executor.clone(), Arc::clone(&order));
        executor.spawn(async move {
            for number in 0..10 {
                let (noted, done) = (Arc::clone(&noted), done.clone());
                inner.spawn(async move {
                    noted.lock().expect("not poisoned").push(number);
                    done.send(()).expect("the test waits");
                });
            }
        });
        for _ in 0..10 {
            all_done.recv().expect("each runs");
        }
        let order = order.lock().expect("not poisoned");
        assert_eq!(order.len(), 10);
    });
}

#[test]
fn futures_are_dropped_when_the_executor_is_closed() {
    struct Counted(Arc<AtomicU64>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicU64::new(0));
    let runtime = Runtime::builder().workers(1).build().expect("a runtime");
    runtime.run(|| {
        let executor = Executor::new(Some(STACK), || Box::new(())).expect("a driver");
        executor.close();
        for _ in 0..3 {
            let counted = Counted(Arc::clone(&dropped));
            executor.spawn(async move { drop(counted) });
        }
    });
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
}
