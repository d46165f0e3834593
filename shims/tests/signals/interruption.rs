//! Signals strike every thread of the process while calls wait.
//!
//! Only calls that the kernel restarts: on OS threads poll and sleeps fail with `EINTR`.

use std::io::{Read, Write};
use std::mem;
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use harness::c::ok;
use harness::{alone, on_every_kind_of_thread};

on_every_kind_of_thread! {
    waits_go_on_after_a_signal_whose_handler_restarts_calls,
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_: i32) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Sends SIGUSR1 to every OS thread of the process, the workers among them.
fn interrupt_everybody() {
    // SAFETY: a handler that touches an atomic only.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = count_signal as extern "C" fn(i32) as usize;
        action.sa_flags = libc::SA_RESTART;
        ok(libc::sigaction(libc::SIGUSR1, &action, null_mut()));
    }
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let id: i32 = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
        // SAFETY: always sound; the thread may have ended, which does not matter.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, libc::SIGUSR1) };
    }
}

fn waits_go_on_after_a_signal_whose_handler_restarts_calls() {
    alone(|| {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let (told, tell) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut text = [0; 5];
            near.read_exact(&mut text).unwrap();
            text
        });
        let receiver = thread::spawn(move || told.send(()).unwrap());
        let before = SIGNALS.load(Ordering::Relaxed);
        for part in [&b"he"[..], b"ll", b"o"] {
            thread::yield_now();
            interrupt_everybody();
            far.write_all(part).unwrap();
        }
        tell.recv().unwrap();
        assert_eq!(&reader.join().unwrap(), b"hello");
        receiver.join().unwrap();
        assert!(SIGNALS.load(Ordering::Relaxed) > before);
    });
}
