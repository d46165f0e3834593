//! No wait of a green thread fails with `EINTR`, nor ends short, when signals strike every kernel thread of the process: with a
//! handler that restarts calls, and with one that does not.
//!
//! A green thread that waits is in no system call that a signal could interrupt. On an OS thread most of these waits fail if
//! the handler does not restart calls, and those with a time limit if it does, too: signal(7). Blocking sections are real
//! calls, and are interrupted as on an OS thread; they are not the subject here.

use std::ffi::{c_int, c_void};
use std::io::{Read, Write};
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use harness::c::{Semaphore, ok, timespec};
use harness::{Directory, SHORT, alone, on_green_threads};

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_: c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

fn handle(signal: c_int, flags: c_int) {
    // SAFETY: a handler that touches an atomic only.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = count_signal as extern "C" fn(c_int) as usize;
        action.sa_flags = flags;
        ok(libc::sigaction(signal, &action, null_mut()));
    }
}

/// Sends this signal to every kernel thread of the process, the workers among them.
fn interrupt_everybody(signal: c_int) {
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let id: c_int = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
        // SAFETY: always sound; the thread may have ended, which does not matter.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, signal) };
    }
}

/// Lets a green thread do `wait`, which asserts for itself, and does `end` only after many signals.
fn undisturbed(wait: impl FnOnce() + Send + 'static, end: impl FnOnce()) {
    alone(|| {
        handle(libc::SIGUSR1, libc::SA_RESTART);
        handle(libc::SIGUSR2, 0);
        let before = SIGNALS.load(Ordering::Relaxed);
        let waiter = thread::spawn(wait);
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(2));
            interrupt_everybody(libc::SIGUSR1);
            interrupt_everybody(libc::SIGUSR2);
        }
        end();
        waiter.join().unwrap();
        assert!(SIGNALS.load(Ordering::Relaxed) >= before + 10);
    });
}

on_green_threads! {
    an_accept_goes_on,
    a_connect_goes_on,
    a_receipt_of_all_goes_on,
    a_receipt_with_a_time_limit_goes_on,
    a_read_of_a_pipe_goes_on,
    a_large_write_goes_on,
    a_poll_goes_on,
    an_epoll_wait_goes_on,
    a_sleep_goes_on,
    a_futex_wait_goes_on,
    a_semaphore_goes_on,
    a_wait_for_a_child_goes_on,
}

fn receive(socket: RawFd, buffer: &mut [u8], flags: c_int) -> isize {
    // SAFETY: a valid buffer.
    unsafe { libc::recv(socket, buffer.as_mut_ptr().cast(), buffer.len(), flags) }
}

fn an_accept_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accept = move || {
        // SAFETY: an open descriptor; nobody asks for the address.
        let accepted = unsafe { libc::accept(listener.as_raw_fd(), null_mut(), null_mut()) };
        // SAFETY: it has just been given out.
        ok(unsafe { libc::close(ok(accepted)) });
    };
    undisturbed(accept, || drop(TcpStream::connect(address).unwrap()));
}

fn a_connect_goes_on() {
    let directory = Directory::new();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: an open descriptor. There is room for one who waits.
    ok(unsafe { libc::listen(listener.as_raw_fd(), 0) });
    let _first = UnixStream::connect(&path).unwrap();
    // std passes the error of an interrupted connect on.
    let connect = move || drop(UnixStream::connect(path).unwrap());
    undisturbed(connect, || drop(listener.accept().unwrap()));
}

fn a_receipt_of_all_goes_on() {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"ab").unwrap();
    let receive_all = move || {
        let mut text = [0; 5];
        assert_eq!(
            ok(receive(near.as_raw_fd(), &mut text, libc::MSG_WAITALL)),
            5
        );
        assert_eq!(&text, b"abcde");
    };
    undisturbed(receive_all, || far.write_all(b"cde").unwrap());
}

fn a_receipt_with_a_time_limit_goes_on() {
    let (near, mut far) = UnixStream::pair().unwrap();
    near.set_read_timeout(Some(Duration::from_secs(50)))
        .unwrap();
    let receive_in_time = move || assert_eq!(ok(receive(near.as_raw_fd(), &mut [0; 5], 0)), 1);
    undisturbed(receive_in_time, || far.write_all(b"x").unwrap());
}

fn a_read_of_a_pipe_goes_on() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let read = move || {
        let (reader, mut byte) = (reader.as_raw_fd(), 0u8);
        // SAFETY: room for a byte.
        let length = unsafe { libc::read(reader, (&raw mut byte).cast(), 1) };
        assert_eq!(ok(length), 1);
    };
    undisturbed(read, || writer.write_all(b"x").unwrap());
}

fn a_large_write_goes_on() {
    const LARGE: usize = 4 << 20;
    let (near, mut far) = UnixStream::pair().unwrap();
    let write = move || {
        let data = vec![0u8; LARGE];
        // SAFETY: a valid buffer.
        let written = unsafe { libc::write(near.as_raw_fd(), data.as_ptr().cast(), LARGE) };
        assert_eq!(ok(written), LARGE as isize);
    };
    undisturbed(write, || far.read_exact(&mut vec![0; LARGE]).unwrap());
}

fn a_poll_goes_on() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let poll = move || {
        let mut entry = libc::pollfd {
            fd: near.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: an array of one.
        assert_eq!(ok(unsafe { libc::poll(&mut entry, 1, 50_000) }), 1);
    };
    undisturbed(poll, || far.write_all(b"x").unwrap());
}

fn an_epoll_wait_goes_on() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let wait = move || {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: 0,
        };
        // SAFETY: a new descriptor, a valid event, and room for one.
        unsafe {
            let set = ok(libc::epoll_create1(libc::EPOLL_CLOEXEC));
            ok(libc::epoll_ctl(
                set,
                libc::EPOLL_CTL_ADD,
                near.as_raw_fd(),
                &mut event,
            ));
            assert_eq!(ok(libc::epoll_wait(set, &mut event, 1, 50_000)), 1);
            ok(libc::close(set));
        }
    };
    undisturbed(wait, || far.write_all(b"x").unwrap());
}

fn a_sleep_goes_on() {
    // SAFETY: a valid time; nobody asks for the rest.
    let sleep = || ok(unsafe { libc::nanosleep(&timespec(SHORT), null_mut()) });
    undisturbed(move || assert_eq!(sleep(), 0), || ());
}

fn a_futex_wait_goes_on() {
    let word = Arc::new(AtomicU32::new(0));
    let wait = {
        let word = word.clone();
        move || {
            let (limit, address) = (timespec(Duration::from_secs(50)), word.as_ptr());
            let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
            // SAFETY: a word that lives, and a valid time.
            ok(unsafe { libc::syscall(libc::SYS_futex, address, operation, 0, &limit) });
        }
    };
    let wake = || {
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: a word that lives.
        let woken = unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                operation,
                1,
                null::<c_void>(),
            )
        };
        assert_eq!(woken, 1);
    };
    undisturbed(wait, wake);
}

fn a_semaphore_goes_on() {
    let semaphore = Semaphore::new(0);
    let wait = {
        let semaphore = semaphore.clone();
        move || assert_eq!(ok(semaphore.wait()), 0)
    };
    undisturbed(wait, || assert_eq!(ok(semaphore.post()), 0));
}

fn a_wait_for_a_child_goes_on() {
    let (mut gate, mut keeper) = UnixStream::pair().unwrap();
    // SAFETY: the child makes calls that are safe there.
    let child = unsafe {
        let child = ok(libc::fork());
        if child == 0 {
            libc::_exit(if matches!(gate.read(&mut [0]), Ok(1)) {
                0
            } else {
                1
            });
        }
        child
    };
    let wait = move || {
        let mut status = 0;
        // SAFETY: our child, and a place for the result.
        assert_eq!(ok(unsafe { libc::waitpid(child, &mut status, 0) }), child);
        assert_eq!(status, 0);
    };
    undisturbed(wait, || keeper.write_all(b"x").unwrap());
}
