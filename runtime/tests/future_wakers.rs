//! The wakers of futures are user code: when they are called and dropped, and that they may do as they like.

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use greenpatch_runtime::future::{AsyncFd, Handle, Interest, Sleep, sleep};
use greenpatch_runtime::hook;
use greenpatch_runtime::net::UnixStream;
use harness::unpatched::{on_green_threads, runtime};
use harness::{SHORT, Watchdog, eventually, pause};

/// A waker whose end is of interest.
struct Ending(Box<dyn Fn() + Send + Sync>);

impl Wake for Ending {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Ending {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn waker_that_ends(how: impl Fn() + Send + Sync + 'static) -> Waker {
    Arc::new(Ending(Box::new(how))).into()
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Whether the caller is user code on a green thread, whose calls the shims may take.
fn is_user_code() -> bool {
    hook::enter_any().is_some()
}

#[test]
fn a_waker_is_dropped_as_code_of_who_drops_its_future() {
    on_green_threads(1, || {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let waker = {
            let seen = seen.clone();
            move || {
                let seen = seen.clone();
                waker_that_ends(move || seen.lock().unwrap().push(is_user_code()))
            }
        };
        assert!(is_user_code());
        let mut dropped = Box::pin(sleep(Duration::from_secs(1000)));
        let poll = |sleep: &mut Pin<Box<Sleep>>, waker: Waker| {
            sleep.as_mut().poll(&mut Context::from_waker(&waker))
        };
        assert!(poll(&mut dropped, waker()).is_pending());
        assert!(poll(&mut dropped, waker()).is_pending());
        drop(dropped);
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let stream = AsyncFd::new(theirs).unwrap();
        for _ in 0..2 {
            let waker = waker();
            let mut context = Context::from_waker(&waker);
            assert!(stream.poll_readable(&mut context).is_pending());
        }
        drop(stream);
        assert_eq!(*seen.lock().unwrap(), [true; 4]);
    });
}

#[test]
fn a_timer_goes_off_though_the_waker_that_it_replaces_panics() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(1);
    let handle = runtime.run(Handle::current).unwrap();
    let mut asleep = Box::pin(handle.sleep(Duration::from_secs(1000)));
    {
        let waker = waker_that_ends(|| panic!("a waker's end"));
        let mut context = Context::from_waker(&waker);
        assert!(asleep.as_mut().poll(&mut context).is_pending());
    }
    // The alarm has the only other one.
    pause();
    let counter = Arc::new(Counter::default());
    asleep.as_mut().reset_after(SHORT);
    let waker = Waker::from(counter.clone());
    let poll = || asleep.as_mut().poll(&mut Context::from_waker(&waker));
    let _ = catch_unwind(AssertUnwindSafe(poll));
    eventually(|| counter.0.load(Ordering::SeqCst) == 1);
}

/// A task that is polled by whoever wakes it, and whose descriptor never has anything for it.
struct Inline {
    future: Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>,
    fd: i32,
    wakes: Arc<AtomicUsize>,
}

impl Inline {
    fn poll(self: &Arc<Self>) {
        let waker = Waker::from(self.clone());
        let mut future = self.future.lock().unwrap();
        let outcome = future.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(outcome.is_pending());
    }
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        let before = self.wakes.fetch_add(1, Ordering::SeqCst);
        if before == 0 {
            // Something else happens while the tasks are being woken.
            hook::outdated(self.fd);
        }
        if before < 1000 {
            self.poll();
        }
    }
}

#[test]
fn tasks_that_find_nothing_do_not_keep_whoever_wakes_them() {
    const TASKS: usize = 20;
    let _watchdog = Watchdog::start();
    let runtime = runtime(1);
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let fd = theirs.as_fd().as_raw_fd();
    let stream = Arc::new(
        runtime
            .run(Handle::current)
            .unwrap()
            .async_fd(theirs)
            .unwrap(),
    );
    // The first events have come.
    pause();
    let wakes = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let stream = stream.clone();
            let never = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let future = async move {
                // An error at the end of the runtime.
                let _ = stream.io(Interest::Read, never).await;
                pending().await
            };
            Arc::new(Inline {
                future: Mutex::new(Box::pin(future)),
                fd,
                wakes: wakes.clone(),
            })
        })
        .collect();
    tasks.iter().for_each(Inline::poll);
    hook::outdated(fd);
    // Each for the one thing, and for the other, but for the events that come of a new registration.
    let wakes = wakes.load(Ordering::SeqCst);
    assert!((TASKS..=4 * TASKS).contains(&wakes), "{wakes} wakes");
}
