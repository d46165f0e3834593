//! Calls that do not wait give way all the same, but not inside a signal handler; and a call ends with its descriptor.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use greenpatch_runtime::hook::{self, Kind};
use greenpatch_runtime::{spawn, time};
use harness::Directory;

use crate::{move_to, on_one_worker_alone, replace, replaced_in_between, with_number_of_its_own};

const THREADS: usize = 100;

fn send(fd: RawFd, flags: c_int) -> isize {
    // SAFETY: a valid buffer.
    unsafe { libc::send(fd, [0_u8; 8].as_ptr().cast(), 8, flags) }
}

fn recv(fd: RawFd, flags: c_int) -> isize {
    // SAFETY: a valid buffer.
    unsafe { libc::recv(fd, [0_u8; 8].as_mut_ptr().cast(), 8, flags) }
}

fn read(fd: RawFd) -> isize {
    // SAFETY: a valid buffer.
    unsafe { libc::read(fd, [0_u8; 8].as_mut_ptr().cast(), 8) }
}

fn write(fd: RawFd) -> isize {
    // SAFETY: a valid buffer.
    unsafe { libc::write(fd, [0_u8; 8].as_ptr().cast(), 8) }
}

/// Reads past the shims.
fn drain(fd: RawFd, most: usize) {
    let mut buffer = [0_u8; 4096];
    let arguments = [fd as usize, buffer.as_mut_ptr() as usize, most, 0, 0, 0];
    // SAFETY: a buffer that is large enough.
    assert!(unsafe { hook::system_call(libc::SYS_read, arguments) } > 0);
}

fn set_nonblocking(fd: RawFd) {
    // SAFETY: an open descriptor.
    let set = unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(set, 0);
}

/// Two descriptors that are connected to each other, or one twice.
type Ends = (OwnedFd, OwnedFd);

fn streams() -> Ends {
    let (one, other) = UnixStream::pair().unwrap();
    (one.into(), other.into())
}

fn streams_in_nonblocking_mode() -> Ends {
    let ends = streams();
    set_nonblocking(ends.0.as_raw_fd());
    set_nonblocking(ends.1.as_raw_fd());
    ends
}

fn pipe_in_nonblocking_mode() -> Ends {
    let (reader, writer) = std::io::pipe().unwrap();
    set_nonblocking(reader.as_raw_fd());
    set_nonblocking(writer.as_raw_fd());
    (writer.into(), reader.into())
}

fn pipe() -> Ends {
    let (reader, writer) = std::io::pipe().unwrap();
    (writer.into(), reader.into())
}

fn datagrams_to_itself() -> Ends {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(socket.local_addr().unwrap()).unwrap();
    (socket.try_clone().unwrap().into(), socket.into())
}

fn listener_in_nonblocking_mode() -> Ends {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    set_nonblocking(listener.as_raw_fd());
    (listener.try_clone().unwrap().into(), listener.into())
}

/// Threads on one worker that make calls which never have to wait, again and again: all of them are served.
fn all_are_served(make: fn() -> Ends, step: fn(RawFd, RawFd)) {
    let served: Arc<Vec<_>> = Arc::new((0..THREADS).map(|_| AtomicUsize::new(0)).collect());
    let over = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (served, over) = (served.clone(), over.clone());
        std::thread::spawn(move || {
            let start = Instant::now();
            let is_served = |served: &AtomicUsize| served.load(Ordering::Relaxed) > 200;
            let all = loop {
                let all = served.iter().all(is_served);
                if all || start.elapsed() > Duration::from_secs(20) {
                    break all;
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            over.store(true, Ordering::Relaxed);
            all
        })
    };
    let counts = served.clone();
    on_one_worker_alone(move || {
        let threads: Vec<_> = (0..THREADS)
            .map(|index| {
                let (served, over) = (served.clone(), over.clone());
                let (one, other) = make();
                spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        step(one.as_raw_fd(), other.as_raw_fd());
                        served[index].fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
    let counts: Vec<_> = counts
        .iter()
        .map(|served| served.load(Ordering::Relaxed))
        .collect();
    assert!(watcher.join().unwrap(), "{counts:?}");
}

#[test]
fn all_are_served_that_send_and_receive_with_dontwait() {
    all_are_served(streams, |one, other| {
        assert_eq!(send(one, libc::MSG_DONTWAIT), 8);
        assert_eq!(recv(other, libc::MSG_DONTWAIT), 8);
    });
}

#[test]
fn all_are_served_that_send_datagrams_with_dontwait() {
    all_are_served(datagrams_to_itself, |one, other| {
        assert_eq!(send(one, libc::MSG_DONTWAIT), 8);
        recv(other, libc::MSG_DONTWAIT);
    });
}

#[test]
fn all_are_served_that_only_write_to_sockets_in_nonblocking_mode() {
    all_are_served(streams_in_nonblocking_mode, |one, other| {
        if write(one) < 0 {
            drain(other, 4096);
        }
    });
}

#[test]
fn all_are_served_that_find_nothing_in_nonblocking_mode() {
    all_are_served(streams_in_nonblocking_mode, |one, _| {
        assert_eq!(read(one), -1)
    });
}

#[test]
fn all_are_served_that_write_and_read_pipes_in_nonblocking_mode() {
    all_are_served(pipe_in_nonblocking_mode, |one, other| {
        assert_eq!(write(one), 8);
        assert_eq!(read(other), 8);
    });
}

#[test]
fn all_are_served_that_only_write_to_pipes() {
    thread_local! {
        static WRITTEN: Cell<usize> = const { Cell::new(0) };
    }
    all_are_served(pipe, |one, other| {
        assert_eq!(write(one), 8);
        WRITTEN.set(WRITTEN.get() + 1);
        if WRITTEN.get().is_multiple_of(500) {
            drain(other, 4000);
        }
    });
}

#[test]
fn all_are_served_that_accept_in_nonblocking_mode() {
    all_are_served(listener_in_nonblocking_mode, |one, _| {
        // SAFETY: no address is asked for.
        let accepted = unsafe { libc::accept(one, std::ptr::null_mut(), std::ptr::null_mut()) };
        assert_eq!(accepted, -1);
    });
}

#[test]
fn all_are_served_that_send_many_messages_with_dontwait() {
    all_are_served(streams, |one, other| {
        let mut data = [0_u8; 8];
        let mut buffer = libc::iovec {
            iov_base: data.as_mut_ptr().cast(),
            iov_len: data.len(),
        };
        // SAFETY: plain data, for which zero is a value.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = &raw mut buffer;
        message.msg_hdr.msg_iovlen = 1;
        // SAFETY: a valid message.
        unsafe {
            let (none, flags) = (std::ptr::null_mut(), libc::MSG_DONTWAIT);
            assert_eq!(libc::sendmmsg(one, &mut message, 1, flags), 1);
            assert_eq!(libc::recvmmsg(other, &mut message, 1, flags, none), 1);
        }
    });
}

fn datagrams_shut_for_reading() -> Ends {
    let (one, other) = datagrams_to_itself();
    // SAFETY: an open socket.
    assert_eq!(unsafe { libc::shutdown(one.as_raw_fd(), libc::SHUT_RD) }, 0);
    (one, other)
}

#[test]
fn all_are_served_that_read_the_end_of_datagrams() {
    all_are_served(datagrams_shut_for_reading, |one, _| {
        assert_eq!(recv(one, 0), 0);
    });
}

#[test]
fn all_are_served_that_send_to_a_unix_address() {
    let make = || {
        let sender = unix_socket(libc::SOCK_DGRAM);
        (sender, with_address(unix_socket(libc::SOCK_DGRAM)))
    };
    all_are_served(make, |one, other| {
        assert_eq!(send_to(one, &UnixAddress::of(other)), 8);
        drain(other, 8);
    });
}

/// What the handler uses, and how often others have run.
static HANDLER_STREAMS: [AtomicI32; 2] = [const { AtomicI32::new(-1) }; 2];
static HANDLER_PIPE: [AtomicI32; 2] = [const { AtomicI32::new(-1) }; 2];
static OTHERS: AtomicUsize = AtomicUsize::new(0);
static SEEN_IN_HANDLER: AtomicUsize = AtomicUsize::new(0);
static HANDLED: AtomicUsize = AtomicUsize::new(0);

/// Makes many calls that do not wait, and sees whether others run meanwhile.
fn handle() {
    let before = OTHERS.load(Ordering::SeqCst);
    let [one, other] = HANDLER_STREAMS
        .each_ref()
        .map(|fd| fd.load(Ordering::SeqCst));
    let [reader, writer] = HANDLER_PIPE.each_ref().map(|fd| fd.load(Ordering::SeqCst));
    for _ in 0..100 {
        assert_eq!(send(one, libc::MSG_DONTWAIT), 8);
        assert_eq!(recv(other, libc::MSG_DONTWAIT), 8);
        assert_eq!(write(writer), 8);
        assert_eq!(read(reader), 8);
        let mut entry = libc::pollfd {
            fd: reader,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry.
        assert_eq!(unsafe { libc::poll(&mut entry, 1, 0) }, 0);
    }
    let after = OTHERS.load(Ordering::SeqCst);
    SEEN_IN_HANDLER.fetch_add(after - before, Ordering::SeqCst);
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn plain(_: c_int) {
    handle();
}

/// Takes back what tells of a handler but for the handler's frame: the blocked signals.
extern "C" fn with_open_mask(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: a valid set.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
    handle();
}

/// In another frame, far from the kernel's.
extern "C" fn deep(_: c_int) {
    #[inline(never)]
    fn descend(depth: usize) {
        let space = std::hint::black_box([depth as u8; 512]);
        if depth == 0 {
            handle();
        } else {
            descend(depth - 1);
        }
        std::hint::black_box(&space);
    }
    descend(20);
}

// The way back from a handler, other code than libc's.
std::arch::global_asm!(
    ".globl turns_way_back",
    "turns_way_back:",
    "mov eax, 15",
    "syscall",
);

unsafe extern "C" {
    fn turns_way_back();
}

/// Installs a handler past libc, with a way back of its own.
fn install_by_system_call(signal: c_int, handler: usize) {
    const SA_RESTORER: usize = 0x0400_0000;
    // The kernel's own structure: handler, flags, way back, mask.
    let action: [usize; 4] = [
        handler,
        SA_RESTORER,
        turns_way_back as unsafe extern "C" fn() as usize,
        0,
    ];
    // SAFETY: an action of the kernel's form.
    let installed = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            action.as_ptr(),
            std::ptr::null::<usize>(),
            8,
        )
    };
    assert_eq!(installed, 0);
}

fn install(signal: c_int, handler: usize, flags: c_int) {
    // SAFETY: a handler that fits the flags.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

#[test]
fn nobody_is_switched_to_inside_a_signal_handler() {
    on_one_worker_alone(|| {
        let (one, other) = streams();
        let (writer, reader) = pipe_in_nonblocking_mode();
        for (place, fd) in HANDLER_STREAMS.iter().zip([&one, &other]) {
            place.store(fd.as_raw_fd(), Ordering::SeqCst);
        }
        for (place, fd) in HANDLER_PIPE.iter().zip([&reader, &writer]) {
            place.store(fd.as_raw_fd(), Ordering::SeqCst);
        }
        let over = Arc::new(AtomicBool::new(false));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let over = over.clone();
                spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        OTHERS.fetch_add(1, Ordering::SeqCst);
                        greenpatch_runtime::yield_now();
                    }
                })
            })
            .collect();
        let (plain, deep) = (plain as extern "C" fn(c_int), deep as extern "C" fn(c_int));
        let open: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = with_open_mask;
        let ways: [&dyn Fn(c_int); 5] = [
            &|signal| install(signal, plain as usize, 0),
            &|signal| install(signal, plain as usize, libc::SA_NODEFER),
            &|signal| install(signal, open as usize, libc::SA_SIGINFO | libc::SA_NODEFER),
            &|signal| install(signal, deep as usize, 0),
            &|signal| install_by_system_call(signal, plain as usize),
        ];
        for (index, install) in ways.iter().enumerate() {
            install(libc::SIGUSR1);
            let (handled, seen) = (&HANDLED, &SEEN_IN_HANDLER);
            // SAFETY: sends a signal that is handled to the calling kernel thread.
            unsafe { libc::raise(libc::SIGUSR1) };
            assert_eq!(handled.load(Ordering::SeqCst), index + 1);
            assert_eq!(seen.load(Ordering::SeqCst), 0, "in way {index}");
            // Back from the handler, it gives way again.
            let before = OTHERS.load(Ordering::SeqCst);
            for _ in 0..100 {
                assert_eq!(send(one.as_raw_fd(), libc::MSG_DONTWAIT), 8);
                assert_eq!(recv(other.as_raw_fd(), libc::MSG_DONTWAIT), 8);
            }
            assert!(OTHERS.load(Ordering::SeqCst) > before, "after way {index}");
        }
        over.store(true, Ordering::SeqCst);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

/// What comes for one that waits is not for who reads next, though the epoll set has not told of it yet.
#[test]
fn who_reads_next_does_not_overtake_who_waits() {
    on_one_worker_alone(|| {
        let ends = pipe();
        let (writer, reader) = (ends.0.as_raw_fd(), ends.1.as_raw_fd());
        let read = move || {
            let mut byte = [0_u8];
            // SAFETY: a valid buffer.
            assert_eq!(
                // SAFETY: there is room for one byte.
                unsafe { libc::read(reader, byte.as_mut_ptr().cast(), 1) },
                1
            );
            byte[0]
        };
        let first = || {
            let first = spawn(read);
            time::sleep(Duration::from_millis(5));
            first
        };
        let put = |data: &[u8]| {
            // SAFETY: valid data.
            let put = unsafe { libc::write(writer, data.as_ptr().cast(), data.len()) };
            assert_eq!(put, data.len() as isize);
        };
        // From now on, the epoll set knows the pipe.
        let earlier = first();
        put(b"x");
        assert_eq!(earlier.join().unwrap(), b'x');
        let first = first();
        put(b"ab");
        let next = read();
        assert_eq!((first.join().unwrap(), next), (b'a', b'b'));
    });
}

#[test]
fn the_rest_of_a_send_does_not_go_to_who_gets_the_number() {
    on_one_worker_alone(|| {
        for small in 0..40 {
            let (ours, peer) = UnixStream::pair().unwrap();
            let (stranger, mut strangers_peer) = UnixStream::pair().unwrap();
            let number = with_number_of_its_own(ours);
            let has_begun = Arc::new(AtomicBool::new(false));
            let sender = {
                let has_begun = has_begun.clone();
                spawn(move || {
                    for _ in 0..small {
                        assert_eq!(send(number, 0), 8);
                    }
                    has_begun.store(true, Ordering::SeqCst);
                    let large = vec![1_u8; 8 << 20];
                    // SAFETY: a valid buffer.
                    unsafe { libc::send(number, large.as_ptr().cast(), large.len(), 0) }
                })
            };
            while !has_begun.load(Ordering::SeqCst) {
                greenpatch_runtime::yield_now();
            }
            replace(number, &stranger);
            for _ in 0..10 {
                greenpatch_runtime::yield_now();
            }
            strangers_peer.set_nonblocking(true).unwrap();
            let received = strangers_peer
                .read(&mut [0; 8])
                .map_err(|error| error.kind());
            assert_eq!(
                received,
                Err(ErrorKind::WouldBlock),
                "after {small} small ones"
            );
            let sent = sender.join().unwrap();
            assert!(sent > 0 && sent < 8 << 20, "{sent}");
            drop(peer);
            // SAFETY: open, and the test's own.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    });
}

fn unix_socket(kind: c_int) -> OwnedFd {
    // SAFETY: integers only.
    let fd = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    assert!(fd >= 0);
    // SAFETY: just made.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The socket, with an address of the kernel's choice.
fn with_address(socket: OwnedFd) -> OwnedFd {
    let family = libc::AF_UNIX as libc::sa_family_t;
    let length = size_of_val(&family) as libc::socklen_t;
    // SAFETY: an address without a name.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const family).cast(), length) };
    assert_eq!(bound, 0);
    socket
}

struct UnixAddress(libc::sockaddr_un, libc::socklen_t);

impl UnixAddress {
    fn of(socket: RawFd) -> UnixAddress {
        // SAFETY: plain data, for which zero is a value.
        let address = unsafe { std::mem::zeroed() };
        let mut address = UnixAddress(address, size_of::<libc::sockaddr_un>() as libc::socklen_t);
        let UnixAddress(place, length) = &mut address;
        // SAFETY: an address that may be written, and its length.
        let outcome = unsafe { libc::getsockname(socket, ptr::from_mut(place).cast(), length) };
        assert_eq!(outcome, 0);
        address
    }
}

fn send_to(fd: RawFd, UnixAddress(address, length): &UnixAddress) -> isize {
    let (data, address) = (b"secret..".as_ptr().cast(), ptr::from_ref(address).cast());
    // SAFETY: valid data and a valid address.
    unsafe { libc::sendto(fd, data, 8, 0, address, *length) }
}

fn send_message_to(fd: RawFd, UnixAddress(address, length): &UnixAddress) -> isize {
    let mut buffer = libc::iovec {
        iov_base: b"secret..".as_ptr().cast_mut().cast(),
        iov_len: 8,
    };
    // SAFETY: plain data, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = ptr::from_ref(address).cast_mut().cast();
    message.msg_namelen = *length;
    message.msg_iov = &raw mut buffer;
    message.msg_iovlen = 1;
    // SAFETY: a valid message.
    unsafe { libc::sendmsg(fd, &message, 0) }
}

fn tcp_streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (stream, listener.accept().unwrap().0)
}

/// A full queue is waited for by timer. The stranger is a connected stream, for which the address does not count.
#[test]
fn who_waits_by_timer_to_send_does_not_send_to_who_gets_the_number() {
    on_one_worker_alone(|| {
        let full = with_address(unix_socket(libc::SOCK_DGRAM));
        let filler = unix_socket(libc::SOCK_DGRAM);
        set_nonblocking(filler.as_raw_fd());
        while send_to(filler.as_raw_fd(), &UnixAddress::of(full.as_raw_fd())) == 8 {}
        for send in [send_to, send_message_to] {
            let number = with_number_of_its_own(unix_socket(libc::SOCK_DGRAM));
            let address = UnixAddress::of(full.as_raw_fd());
            let sender = spawn(move || {
                let sent = send(number, &address);
                (sent, std::io::Error::last_os_error().raw_os_error())
            });
            time::sleep(Duration::from_millis(5));
            let (stranger, mut peer) = tcp_streams();
            replace(number, &stranger);
            assert_eq!(sender.join().unwrap(), (-1, Some(libc::EBADF)));
            peer.set_nonblocking(true).unwrap();
            let received = peer.read(&mut [0; 8]).map_err(|error| error.kind());
            assert_eq!(received, Err(ErrorKind::WouldBlock));
            // SAFETY: open, and the test's own.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    });
}

/// A connect waits by timer for room in a listener's queue.
#[test]
fn who_waits_to_connect_does_not_connect_who_gets_the_number() {
    on_one_worker_alone(|| {
        let listener = with_address(unix_socket(libc::SOCK_STREAM));
        let connect = |fd: RawFd, UnixAddress(address, length): &UnixAddress| {
            // SAFETY: a valid address.
            unsafe { libc::connect(fd, ptr::from_ref(address).cast(), *length) }
        };
        let address = UnixAddress::of(listener.as_raw_fd());
        // SAFETY: an open socket.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let first = unix_socket(libc::SOCK_STREAM);
        assert_eq!(connect(first.as_raw_fd(), &address), 0);
        let number = with_number_of_its_own(unix_socket(libc::SOCK_STREAM));
        let connecting = spawn(move || {
            let outcome = connect(number, &address);
            (outcome, std::io::Error::last_os_error().raw_os_error())
        });
        time::sleep(Duration::from_millis(5));
        let stranger = unix_socket(libc::SOCK_STREAM);
        replace(number, &stranger);
        let listener = UnixListener::from(listener);
        let accepted = listener.accept().unwrap();
        assert_eq!(connecting.join().unwrap(), (-1, Some(libc::EBADF)));
        listener.set_nonblocking(true).unwrap();
        let next = listener.accept().map_err(|error| error.kind());
        assert_eq!(next.err(), Some(ErrorKind::WouldBlock));
        drop((first, accepted));
        // SAFETY: open, and the test's own.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    });
}

/// Of several that wait to accept, none goes on on the listener that gets the number.
#[test]
fn who_waits_to_accept_does_not_get_the_next_listeners_connection() {
    on_one_worker_alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = with_number_of_its_own(listener);
        let acceptors: Vec<_> = (0..3)
            .map(|_| {
                spawn(move || {
                    // SAFETY: no address is asked for.
                    let fd =
                        unsafe { libc::accept(number, std::ptr::null_mut(), std::ptr::null_mut()) };
                    (fd, std::io::Error::last_os_error().raw_os_error())
                })
            })
            .collect();
        time::sleep(Duration::from_millis(5));
        let next = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(next.local_addr().unwrap()).unwrap();
        replace(number, &next);
        for acceptor in acceptors {
            assert_eq!(acceptor.join().unwrap(), (-1, Some(libc::EBADF)));
        }
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        next.accept().unwrap().0.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        // SAFETY: open, and the test's own.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    });
}

/// What moves bytes between two descriptors.
type Move = fn(from: RawFd, to: RawFd) -> isize;

fn splice(from: RawFd, to: RawFd) -> isize {
    let nowhere = ptr::null_mut();
    // SAFETY: descriptors, and no offsets.
    unsafe { libc::splice(from, nowhere, to, nowhere, 4096, 0) }
}

fn tee(from: RawFd, to: RawFd) -> isize {
    // SAFETY: integers only.
    unsafe { libc::tee(from, to, 4096, 0) }
}

fn sendfile(from: RawFd, to: RawFd) -> isize {
    // SAFETY: descriptors, and no offset.
    unsafe { libc::sendfile(to, from, ptr::null_mut(), 4096) }
}

/// Begins `move_bytes` on another green thread, and changes something while that waits.
fn ends_with_its_descriptors(
    move_bytes: Move,
    from: RawFd,
    to: RawFd,
    change: impl FnOnce() + Send,
) {
    let mover = spawn(move || {
        let moved = move_bytes(from, to);
        (moved, std::io::Error::last_os_error().raw_os_error())
    });
    time::sleep(Duration::from_millis(5));
    change();
    assert_eq!(mover.join().unwrap(), (-1, Some(libc::EBADF)));
}

fn is_empty(reader: &OwnedFd) -> bool {
    let mut entry = libc::pollfd {
        fd: reader.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry.
    unsafe { libc::poll(&mut entry, 1, 0) == 0 }
}

#[test]
fn what_is_waited_for_is_not_moved_to_who_gets_the_number() {
    for move_bytes in [splice, tee] {
        on_one_worker_alone(move || {
            let (writer, from) = pipe();
            let (to, _reader) = pipe();
            let (stranger, strangers_reader) = pipe();
            let to = with_number_of_its_own(to);
            ends_with_its_descriptors(move_bytes, from.as_raw_fd(), to, || {
                replace(to, &stranger);
                assert_eq!(write(writer.as_raw_fd()), 8);
            });
            assert!(is_empty(&strangers_reader));
            assert!(!is_empty(&from));
            // SAFETY: open, and the test's own.
            drop(unsafe { OwnedFd::from_raw_fd(to) });
        });
    }
}

/// Fills it, and gives what makes room again.
fn fill(to: &OwnedFd, reader: OwnedFd) -> impl FnOnce() + Send + use<> {
    set_nonblocking(to.as_raw_fd());
    while write(to.as_raw_fd()) > 0 {}
    // SAFETY: an open descriptor.
    assert_eq!(unsafe { libc::fcntl(to.as_raw_fd(), libc::F_SETFL, 0) }, 0);
    set_nonblocking(reader.as_raw_fd());
    move || while read(reader.as_raw_fd()) > 0 {}
}

#[test]
fn who_waits_for_room_does_not_move_what_gets_the_number() {
    let file = || OwnedFd::from(std::fs::File::open("/proc/self/exe").unwrap());
    let filled_pipe = || {
        let (writer, reader) = pipe();
        assert_eq!(write(writer.as_raw_fd()), 8);
        std::mem::forget(writer);
        reader
    };
    type Case = (Move, fn() -> OwnedFd, fn() -> Ends);
    let cases: [Case; 5] = [
        (splice, filled_pipe, pipe),
        (splice, filled_pipe, streams),
        (tee, filled_pipe, pipe),
        (sendfile, file, pipe),
        (sendfile, file, streams),
    ];
    for (move_bytes, from, to) in cases {
        on_one_worker_alone(move || {
            let (stranger, from) = (from(), with_number_of_its_own(from()));
            let (to, reader) = to();
            let make_room = fill(&to, reader);
            ends_with_its_descriptors(move_bytes, from, to.as_raw_fd(), || {
                replace(from, &stranger);
                make_room();
            });
            // SAFETY: open, and the test's own.
            drop(unsafe { OwnedFd::from_raw_fd(from) });
        });
    }
}

/// Makes `call` on the first of two descriptors, whose number in each of many rounds is given to a duplicate of `stranger`
/// about when the call is made: what can be read by `observer` stays as it is. Whether the call has failed in one of them,
/// where that was between two of its steps.
fn concerns_its_own_descriptor(
    make: fn() -> Ends,
    call: fn(RawFd) -> isize,
    (stranger, observer): (&OwnedFd, &OwnedFd),
) -> bool {
    let readable = || rustix::io::ioctl_fionread(observer).unwrap();
    let (before, mut failed) = (readable(), false);
    let number = with_number_of_its_own(make().0);
    for round in 0..40 {
        // SAFETY: open, and the test's own.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        let (ours, _other_end) = make();
        move_to(number, ours);
        failed |= replaced_in_between(round, number, stranger, move |fd| {
            call(fd) == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EBADF)
        });
        assert_eq!(readable(), before, "round {round}");
    }
    // SAFETY: as above.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    failed
}

fn eventfd_in_nonblocking_mode() -> Ends {
    // SAFETY: integers only.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK) };
    assert!(fd >= 0);
    // SAFETY: just made.
    let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
    (eventfd.try_clone().unwrap(), eventfd)
}

fn fifo() -> Ends {
    let directory = Directory::new();
    directory.fifo("fifo");
    let path = directory.path().join("fifo");
    let file = File::options().read(true).write(true).open(path).unwrap();
    (file.try_clone().unwrap().into(), file.into())
}

/// Reads from a pipe at its end, which the runtime takes for the socket that had the number before.
fn read_from_pipe_for_socket(fd: RawFd) -> isize {
    let (reader, _) = std::io::pipe().unwrap();
    assert_eq!(hook::kind(fd), Kind::Socket);
    let arguments = [reader.as_raw_fd() as usize, fd as usize, 0, 0, 0, 0];
    // SAFETY: open descriptors, of which the second is the test's own.
    let replaced = unsafe { hook::system_call(libc::SYS_dup2, arguments) };
    assert_eq!(replaced, fd as isize);
    read(fd)
}

#[test]
fn what_is_read_after_a_look_is_not_read_from_who_gets_the_number() {
    on_one_worker_alone(|| {
        let (writer, stranger) = pipe();
        assert_eq!(write(writer.as_raw_fd()), 8);
        type Case = (fn() -> Ends, fn(RawFd) -> isize);
        let cases: [Case; 3] = [
            (eventfd_in_nonblocking_mode, read),
            (fifo, read),
            (streams, read_from_pipe_for_socket),
        ];
        for (make, read) in cases {
            let failed = concerns_its_own_descriptor(make, read, (&stranger, &stranger));
            assert!(failed, "it was one step");
        }
    });
}

#[test]
fn what_is_written_after_a_look_is_not_written_to_who_gets_the_number() {
    on_one_worker_alone(|| {
        let (stranger, observer) = pipe();
        let failed = concerns_its_own_descriptor(fifo, write, (&stranger, &observer));
        assert!(failed, "it was one step");
    });
}

#[test]
fn a_file_is_not_sent_to_who_gets_the_number() {
    on_one_worker_alone(|| {
        let (stranger, observer) = streams();
        let send = |fd| {
            let file = File::open("/proc/self/exe").unwrap();
            sendfile(file.as_raw_fd(), fd)
        };
        concerns_its_own_descriptor(streams, send, (&stranger, &observer));
    });
}
