//! Waiting for signals blocks its worker and no other green thread.

use std::ffi::c_int;
use std::fs::File;
use std::io::Read;
use std::mem::{self, MaybeUninit};
use std::os::fd::FromRawFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use harness::c::{fails, ok, timespec};
use harness::{SHORT, alone, on_every_kind_of_thread};
use libc::sigset_t;

on_every_kind_of_thread! {
    a_signal_is_waited_for,
    a_wait_for_a_signal_ends_at_its_time,
    a_poll_with_a_mask_lets_others_run,
    a_signalfd_waits_for_its_signal;
    blocking:
    a_handler_ends_a_suspension,
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

fn set_of(signal: c_int) -> sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: initialised by the first call.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        set.assume_init()
    }
}

/// Blocks `signal` for the calling kernel thread, runs `test`, and puts the mask back. Nothing in between yields.
fn blocking_signal<T>(signal: c_int, test: impl FnOnce(&sigset_t) -> T) -> T {
    let set = set_of(signal);
    // SAFETY: valid sets.
    unsafe {
        ok(-libc::pthread_sigmask(
            libc::SIG_BLOCK,
            &set,
            ptr::null_mut(),
        ));
        let value = test(&set);
        ok(-libc::pthread_sigmask(
            libc::SIG_UNBLOCK,
            &set,
            ptr::null_mut(),
        ));
        value
    }
}

fn own_kernel_thread() -> c_int {
    // SAFETY: always sound.
    unsafe { libc::syscall(libc::SYS_gettid) as c_int }
}

/// To the kernel thread.
fn send(thread: c_int, signal: c_int) {
    // SAFETY: an own thread, and a signal that is handled or blocked.
    ok(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) });
}

fn a_signal_is_waited_for() {
    alone(|| {
        let received = blocking_signal(libc::SIGUSR2, |set| {
            send(own_kernel_thread(), libc::SIGUSR2);
            let mut first = 0;
            // SAFETY: a set, and room for the results.
            unsafe {
                assert_eq!(libc::sigwait(set, &mut first), 0);
                send(own_kernel_thread(), libc::SIGUSR2);
                let mut info = MaybeUninit::zeroed();
                let second = ok(libc::sigwaitinfo(set, info.as_mut_ptr()));
                (first, second)
            }
        });
        assert_eq!(received, (libc::SIGUSR2, libc::SIGUSR2));
    });
}

fn a_wait_for_a_signal_ends_at_its_time() {
    alone(|| {
        blocking_signal(libc::SIGUSR2, |set| {
            let time = timespec(SHORT);
            // SAFETY: a set and a time.
            let outcome = unsafe { libc::sigtimedwait(set, ptr::null_mut(), &time) };
            fails(outcome, libc::EAGAIN);
        });
    });
}

fn a_handler_ends_a_suspension() {
    alone(|| {
        // SAFETY: the handler only counts.
        unsafe {
            libc::signal(
                libc::SIGUSR2,
                count as extern "C" fn(c_int) as libc::sighandler_t,
            )
        };
        let before = HANDLED.load(Ordering::SeqCst);
        blocking_signal(libc::SIGUSR2, |_| {
            send(own_kernel_thread(), libc::SIGUSR2);
            // SAFETY: a set.
            fails(
                unsafe { libc::sigsuspend(&set_of(libc::SIGUSR1)) },
                libc::EINTR,
            );
        });
        assert_eq!(HANDLED.load(Ordering::SeqCst), before + 1);

        // Sent until it is noticed, as it may come before the pause.
        let (this, paused) = (own_kernel_thread(), std::sync::Arc::new(AtomicU32::new(0)));
        let shooter = {
            let paused = paused.clone();
            std::thread::spawn(move || {
                while paused.load(Ordering::SeqCst) == 0 {
                    thread::sleep(Duration::from_millis(2));
                    send(this, libc::SIGUSR2);
                }
            })
        };
        // SAFETY: always sound.
        fails(unsafe { libc::pause() }, libc::EINTR);
        paused.store(1, Ordering::SeqCst);
        shooter.join().unwrap();
    });
}

fn a_poll_with_a_mask_lets_others_run() {
    alone(|| {
        static ROUNDS: AtomicU32 = AtomicU32::new(0);
        let before = ROUNDS.load(Ordering::SeqCst);
        let other = thread::spawn(|| {
            for _ in 0..5 {
                thread::sleep(Duration::from_millis(1));
                ROUNDS.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mask = set_of(libc::SIGUSR1);
        let long = timespec(Duration::from_millis(5));
        // SAFETY: times, a mask, and an epoll set.
        unsafe {
            while ROUNDS.load(Ordering::SeqCst) < before + 5 {
                assert_eq!(ok(libc::ppoll(ptr::null_mut(), 0, &long, &mask)), 0);
                let none = ptr::null_mut;
                assert_eq!(
                    ok(libc::pselect(0, none(), none(), none(), &long, &mask)),
                    0
                );
                let set = ok(libc::epoll_create1(0));
                let mut event = MaybeUninit::uninit();
                assert_eq!(
                    ok(libc::epoll_pwait(set, event.as_mut_ptr(), 1, 5, &mask)),
                    0
                );
                libc::close(set);
            }
        }
        other.join().unwrap();
    });
}

fn expected_signal() -> sigset_t {
    set_of(libc::SIGRTMIN() + 4)
}

/// A signal to the process must find no thread that takes it: it is blocked before there are threads, and they inherit that.
#[used]
#[unsafe(link_section = ".init_array")]
static BLOCK_THE_SIGNAL: extern "C" fn() = {
    extern "C" fn block() {
        // SAFETY: a valid set.
        ok(unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &expected_signal(), ptr::null_mut()) });
    }
    block
};

fn a_signalfd_waits_for_its_signal() {
    alone(|| {
        // SAFETY: a valid set; a new descriptor.
        let signals = unsafe { File::from_raw_fd(ok(libc::signalfd(-1, &expected_signal(), 0))) };
        let sender = thread::spawn(|| {
            thread::sleep(SHORT);
            // SAFETY: it is blocked on every thread.
            ok(unsafe { libc::kill(libc::getpid(), libc::SIGRTMIN() + 4) });
        });
        let mut received = [0; mem::size_of::<libc::signalfd_siginfo>()];
        (&signals).read_exact(&mut received).unwrap();
        let number = c_int::from_ne_bytes(received[..4].try_into().unwrap());
        assert_eq!(number, libc::SIGRTMIN() + 4);
        sender.join().unwrap();
    });
}
