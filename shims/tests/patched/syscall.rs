//! System calls made through `syscall` wait as libc's functions do.

use std::ffi::{c_int, c_long};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::{Duration, Instant};

use harness::c::{errno, fails, ok, on_clock, timespec};
use harness::{SHORT, on_every_kind_of_thread, on_one_worker, patched_runtime};

on_every_kind_of_thread! {
    a_read_waits_for_a_write,
    sockets_work,
    sleeps_take_their_time,
    polls_end_at_their_time,
    errors_come_by_errno,
    newer_futex_calls_work,
    a_signal_is_waited_for,
    what_is_closed_wakes_its_waiters,
    calls_of_any_kind_work;
    blocking:
    a_wait_for_several_words_ends_with_the_one_that_is_woken,
}

/// `syscall` with all its arguments.
macro_rules! call {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        // SAFETY: the arguments are right for the call.
        unsafe { libc::syscall($number $(, $argument)*) }
    };
}

fn pipe() -> [c_int; 2] {
    let mut ends = [0; 2];
    ok(call!(libc::SYS_pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC));
    ends
}

fn close(fd: c_int) {
    ok(call!(libc::SYS_close, fd));
}

/// Reads what another thread writes meanwhile.
fn read_from_another() {
    let [read, write] = pipe();
    let writer = thread::spawn(move || {
        thread::sleep(SHORT);
        ok(call!(libc::SYS_write, write, c"hello".as_ptr(), 5_usize));
        close(write);
    });
    let mut buffer = [0_u8; 8];
    let mut receive = || ok(call!(libc::SYS_read, read, buffer.as_mut_ptr(), 8_usize));
    assert_eq!((receive(), receive()), (5, 0));
    assert_eq!(&buffer[..5], b"hello");
    close(read);
    writer.join().unwrap();
}

fn a_read_waits_for_a_write() {
    read_from_another();
}

/// The same where a call that blocked the worker would block all.
#[test]
fn a_read_parks() {
    on_one_worker(read_from_another);
}

/// A green thread waits, whatever thread closes.
fn what_is_closed_wakes_its_waiters() {
    let closes: [fn(c_int); 4] = [
        close,
        |fd| assert_eq!(ok(call!(libc::SYS_close_range, fd, fd, 0)), 0),
        |fd| assert_eq!(ok(call!(libc::SYS_dup2, 0, fd)), c_long::from(fd)),
        |fd| {
            assert_eq!(
                ok(call!(libc::SYS_dup3, 0, fd, libc::O_CLOEXEC)),
                c_long::from(fd)
            )
        },
    ];
    for (index, end) in closes.into_iter().enumerate() {
        let [read, write] = pipe();
        let runtime = patched_runtime(1);
        let waiter = runtime.spawn(move || {
            let mut byte = 0_u8;
            let status = call!(libc::SYS_read, read, &raw mut byte, 1_usize);
            (status, errno())
        });
        // The only worker comes to these when the waiter waits.
        for _ in 0..3 {
            runtime.spawn(|| {}).join().unwrap();
        }
        end(read);
        assert_eq!(waiter.join().unwrap(), (-1, libc::EBADF));
        close(write);
        if index >= 2 {
            close(read);
        }
    }
}

/// Those that no function here stands for, too.
fn calls_of_any_kind_work() {
    #[repr(C)]
    struct How {
        flags: u64,
        mode: u64,
        resolve: u64,
    }
    let how = How {
        flags: (libc::O_RDONLY | libc::O_CLOEXEC) as u64,
        mode: 0,
        resolve: 0,
    };
    let (place, size) = (&raw const how, size_of::<How>());
    let open = libc::SYS_openat2;
    let file = ok(call!(open, libc::AT_FDCWD, c"/".as_ptr(), place, size)) as c_int;
    close(file);
    fails(
        call!(open, libc::AT_FDCWD, c"/none".as_ptr(), place, size),
        libc::ENOENT,
    );
    let set = ok(call!(libc::SYS_epoll_create1, 0)) as c_int;
    let mut event = MaybeUninit::<libc::epoll_event>::uninit();
    let (events, time) = (event.as_mut_ptr(), timespec(SHORT));
    let (wait, no_mask) = (libc::SYS_epoll_pwait2, null::<libc::sigset_t>());
    let start = Instant::now();
    assert_eq!(ok(call!(wait, set, events, 1, &raw const time, no_mask)), 0);
    assert!(start.elapsed() >= SHORT);
    close(set);
    let mut operation = libc::sembuf {
        sem_num: 0,
        sem_op: 1,
        sem_flg: 0,
    };
    let (operation, wait) = (&raw mut operation, libc::SYS_semtimedop);
    fails(
        call!(wait, -1, operation, 1_usize, &raw const time),
        libc::EINVAL,
    );
}

fn sockets_work() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let none = null_mut::<libc::sockaddr>();
        let length = null_mut::<libc::socklen_t>();
        let peer = ok(call!(
            libc::SYS_accept4,
            listener.as_raw_fd(),
            none,
            length,
            libc::SOCK_CLOEXEC,
        )) as c_int;
        let mut buffer = [0_u8; 4];
        let receive = libc::SYS_recvfrom;
        let (place, room, flags) = (buffer.as_mut_ptr(), 4_usize, libc::MSG_WAITALL);
        assert_eq!(
            ok(call!(receive, peer, place, room, flags, none, length)),
            4
        );
        close(peer);
        buffer
    });
    let (family, kind) = (libc::AF_INET, libc::SOCK_STREAM);
    let socket = ok(call!(libc::SYS_socket, family, kind, 0)) as c_int;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    };
    ok(call!(
        libc::SYS_connect,
        socket,
        &raw const address,
        size_of_val(&address),
    ));
    thread::sleep(SHORT);
    let none = null::<libc::sockaddr>();
    let send = libc::SYS_sendto;
    assert_eq!(
        ok(call!(send, socket, c"ping".as_ptr(), 4_usize, 0, none, 0)),
        4
    );
    assert_eq!(server.join().unwrap(), *b"ping");
    close(socket);
}

fn sleeps_take_their_time() {
    let time = timespec(SHORT);
    let none = null_mut::<libc::timespec>();
    let start = Instant::now();
    ok(call!(libc::SYS_nanosleep, &raw const time, none));
    let (clock, sleep) = (libc::CLOCK_MONOTONIC, libc::SYS_clock_nanosleep);
    ok(call!(sleep, clock, 0, &raw const time, none));
    assert!(start.elapsed() >= 2 * SHORT);
    ok(call!(libc::SYS_sched_yield));
}

fn polls_end_at_their_time() {
    let [read, write] = pipe();
    let entry = || libc::pollfd {
        fd: read,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut entries = [entry()];
    let place = entries.as_mut_ptr();
    let start = Instant::now();
    let milliseconds = SHORT.as_millis() as c_int;
    assert_eq!(ok(call!(libc::SYS_poll, place, 1, milliseconds)), 0);
    let mut time = timespec(SHORT);
    let no_mask = null::<libc::sigset_t>();
    let poll = call!(libc::SYS_ppoll, place, 1, &raw mut time, no_mask, 8_usize);
    assert_eq!(ok(poll), 0);
    let mut time = timespec(SHORT);
    let (none, size) = (null_mut::<libc::fd_set>(), [0_usize, 8]);
    let select = libc::SYS_pselect6;
    let (time, size) = (&raw mut time, &raw const size);
    assert_eq!(ok(call!(select, 0, none, none, none, time, size)), 0);
    let set = ok(call!(libc::SYS_epoll_create1, 0)) as c_int;
    let mut event = MaybeUninit::<libc::epoll_event>::uninit();
    let (events, wait) = (event.as_mut_ptr(), libc::SYS_epoll_pwait);
    assert_eq!(
        ok(call!(wait, set, events, 1, milliseconds, no_mask, 8_usize)),
        0
    );
    assert!(start.elapsed() >= 4 * SHORT);
    ok(call!(libc::SYS_write, write, c"x".as_ptr(), 1_usize));
    assert_eq!(ok(call!(libc::SYS_poll, place, 1, -1)), 1);
    [read, write, set].into_iter().for_each(close);
}

fn errors_come_by_errno() {
    let nonsense = libc::timespec {
        tv_sec: 0,
        tv_nsec: -1,
    };
    let none = null_mut::<libc::timespec>();
    let (clock, sleep) = (libc::CLOCK_MONOTONIC, libc::SYS_clock_nanosleep);
    fails(
        call!(sleep, clock, 0, &raw const nonsense, none),
        libc::EINVAL,
    );
    fails(
        call!(libc::SYS_read, -1, null_mut::<u8>(), 1_usize),
        libc::EBADF,
    );
    fails(call!(libc::SYS_fsync, -1), libc::EBADF);
    fails(call!(100_000), libc::ENOSYS);
    // SAFETY: always sound.
    let own = unsafe { libc::getpid() };
    assert_eq!(call!(libc::SYS_getpid), c_long::from(own));
}

const WAITV: c_long = 449;
const WAKE: c_long = 454;
const WAIT: c_long = 455;
const REQUEUE: c_long = 456;
/// `FUTEX2_SIZE_U32 | FUTEX2_PRIVATE`.
const PRIVATE_32: u32 = 2 | 128;

/// `struct futex_waitv`.
#[repr(C)]
struct Waiter {
    value: u64,
    word: u64,
    flags: u32,
    reserved: u32,
}

impl Waiter {
    fn new(word: &AtomicU32, value: u32) -> Waiter {
        Waiter {
            value: value.into(),
            word: word.as_ptr() as u64,
            flags: PRIVATE_32,
            reserved: 0,
        }
    }
}

fn wait(word: &AtomicU32, value: u32, time: *const libc::timespec) -> c_long {
    let (mask, clock) = (u64::from(u32::MAX), libc::CLOCK_MONOTONIC);
    let value = u64::from(value);
    call!(WAIT, word, value, mask, PRIVATE_32, time, clock)
}

fn wake(word: &AtomicU32, count: c_int) -> c_long {
    call!(WAKE, word, u64::from(u32::MAX), count, PRIVATE_32)
}

/// Wakes until that many were woken.
fn wake_all(word: &AtomicU32, count: c_long) {
    let mut woken = 0;
    while woken < count {
        woken += ok(wake(word, 1));
        thread::yield_now();
    }
}

fn newer_futex_calls_work() {
    let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    fails(wait(&words[0], 1, null()), libc::EAGAIN);
    let end = on_clock(libc::CLOCK_MONOTONIC, SHORT);
    let start = Instant::now();
    fails(wait(&words[0], 0, &end), libc::ETIMEDOUT);
    assert!(start.elapsed() >= SHORT / 2);
    assert_eq!(ok(wake(&words[0], 1)), 0);
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let words = words.clone();
            thread::spawn(move || while wait(&words[0], 0, null()) != 0 {})
        })
        .collect();
    wake_all(&words[0], 1);
    let waiters_of = |value| [Waiter::new(&words[0], value), Waiter::new(&words[1], 0)];
    fails(
        call!(REQUEUE, waiters_of(1).as_ptr(), 0, 1, 1),
        libc::EAGAIN,
    );
    // One goes on, or waits on the other word from now on.
    ok(call!(REQUEUE, waiters_of(0).as_ptr(), 0, 0, 1));
    while !waiters.iter().all(thread::JoinHandle::is_finished) {
        ok(wake(&words[0], 1));
        ok(wake(&words[1], 1));
        thread::yield_now();
    }
    waiters
        .into_iter()
        .for_each(|waiter| waiter.join().unwrap());
}

fn a_wait_for_several_words_ends_with_the_one_that_is_woken() {
    for count in [1, 2_usize] {
        let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let waiter = {
            let words = words.clone();
            thread::spawn(move || {
                let waiters = [Waiter::new(&words[0], 0), Waiter::new(&words[1], 0)];
                let none = null::<libc::timespec>();
                let clock = libc::CLOCK_MONOTONIC;
                call!(WAITV, waiters[2 - count..].as_ptr(), count, 0, none, clock)
            })
        };
        wake_all(&words[1], 1);
        assert_eq!(waiter.join().unwrap(), count as c_long - 1);
    }
}

fn a_signal_is_waited_for() {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: room for a set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    let time = timespec(SHORT);
    let none = null_mut::<libc::siginfo_t>();
    let start = Instant::now();
    fails(
        call!(
            libc::SYS_rt_sigtimedwait,
            set.as_ptr(),
            none,
            &raw const time,
            8_usize,
        ),
        libc::EAGAIN,
    );
    assert!(start.elapsed() >= SHORT - Duration::from_millis(1));
}
