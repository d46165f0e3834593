//! Signal handlers may post to semaphores.

use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use harness::c::{Semaphore, ok};
use harness::{alone, on_every_kind_of_thread};

on_every_kind_of_thread! {
    a_signal_handler_may_post,
}

/// What the handler posts to.
static HANDLED: [Semaphore; 2] = [const { Semaphore::zeroed() }; 2];
static POSTS: AtomicU32 = AtomicU32::new(0);

extern "C" fn post_from_handler(_: c_int) {
    HANDLED[0].post();
    HANDLED[1].post();
    POSTS.fetch_add(1, Ordering::SeqCst);
}

/// Signals strike threads of both kinds, in the midst of their own posts, waits and switches.
fn a_signal_handler_may_post() {
    const TIMES: u32 = 300;
    alone(|| {
        POSTS.store(0, Ordering::SeqCst);
        // SAFETY: the handler is async-signal-safe.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = post_from_handler as extern "C" fn(c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            ok(libc::sigaction(libc::SIGUSR1, &action, ptr::null_mut()));
        }
        let runtime = greenpatch_runtime::Runtime::builder()
            .workers(2)
            .build()
            .unwrap();
        let taken = Arc::new(AtomicU32::new(0));
        let taker = |semaphore: &'static Semaphore, taken: Arc<AtomicU32>| {
            move || {
                loop {
                    if semaphore.wait() == 0 && taken.fetch_add(1, Ordering::SeqCst) + 2 > 2 * TIMES
                    {
                        return;
                    }
                    if taken.load(Ordering::SeqCst) >= 2 * TIMES {
                        return;
                    }
                }
            }
        };
        // A green thread and an OS thread wait for what the handler posts to each of the two.
        let greens: Vec<_> = HANDLED
            .iter()
            .map(|semaphore| runtime.spawn(taker(semaphore, taken.clone())))
            .collect();
        let threads: Vec<_> = HANDLED
            .iter()
            .map(|semaphore| thread::spawn(taker(semaphore, taken.clone())))
            .collect();
        // Others keep the runtime's locks busy.
        let busy = Semaphore::new(0);
        let stop = Arc::new(AtomicU32::new(0));
        let churn = || {
            let (busy, stop) = (busy.clone(), stop.clone());
            move || {
                while stop.load(Ordering::SeqCst) == 0 {
                    ok(busy.post());
                    ok(busy.wait());
                    thread::yield_now();
                }
            }
        };
        let churning: Vec<_> = (0..4).map(|_| runtime.spawn(churn())).collect();
        let churning_too = thread::spawn(churn());
        // SAFETY: an own signal, handled.
        let shoot = || ok(unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) });
        for shot in 1..=TIMES {
            shoot();
            while POSTS.load(Ordering::SeqCst) < shot {
                thread::sleep(Duration::from_micros(100));
            }
        }
        while taken.load(Ordering::SeqCst) < 2 * TIMES {
            thread::sleep(Duration::from_millis(1));
        }
        stop.store(1, Ordering::SeqCst);
        // Whoever still waits gets a unit to leave with.
        for _ in 0..8 {
            HANDLED.iter().for_each(|semaphore| {
                semaphore.post();
            });
        }
        greens.into_iter().for_each(|green| green.join().unwrap());
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        churning.into_iter().for_each(|green| green.join().unwrap());
        churning_too.join().unwrap();
        HANDLED
            .iter()
            .for_each(|semaphore| while semaphore.try_wait() == 0 {});
    });
}
