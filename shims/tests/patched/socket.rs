//! Socket calls keep the promises of blocking sockets on every kind of thread.

use std::ffi::{c_int, c_void};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use harness::c::{errno, fails, ok, timespec};
use harness::{SHORT, on_every_kind_of_thread};

on_every_kind_of_thread! {
    a_send_moves_everything,
    a_sendmsg_moves_everything_and_its_descriptors_once,
    a_send_that_times_out_says_how_far_it_came,
    waitall_fills_the_buffer,
    waitall_ends_with_the_stream,
    waitall_with_vectors_fills_them_all,
    a_receive_that_must_not_wait_does_not,
    a_receive_with_a_timeout_ends_at_its_time,
    a_receive_of_nothing_waits_for_something,
    peek_leaves_the_data_and_peeks_again,
    many_messages_go_in_one_call,
    a_stream_takes_all_of_many_messages,
    recvmmsg_takes_what_there_is_when_its_time_is_over,
    a_fast_open_send_connects_and_sends,
    a_refused_connect_can_be_tried_again,
    a_connect_waits_for_room_in_a_unix_queue,
    a_connect_leaves_the_socket_blocking,
    a_datagram_waits_for_room_in_its_peers_queue,
    an_accept_that_times_out_says_again,
    an_accept_on_what_does_not_listen_fails,
    an_accept_on_a_nonblocking_listener_does_not_wait,
    what_is_no_socket_is_refused,
    a_closed_peer_gives_epipe,
}

const LARGE: usize = 8 << 20;

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn a_fast_open_send_connects_and_sends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: plain data, for which zero is a value.
    let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
    address.sin_port = listener.local_addr().unwrap().port().to_be();
    let mut data = *b"x";
    let mut buffer = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    // SAFETY: as above.
    let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
    message.msg_hdr.msg_name = (&raw mut address).cast();
    message.msg_hdr.msg_namelen = size_of_val(&address) as u32;
    message.msg_hdr.msg_iov = &raw mut buffer;
    message.msg_hdr.msg_iovlen = 1;
    for way in 0..3 {
        // SAFETY: a new descriptor, which is ours.
        let client = unsafe {
            let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
            OwnedFd::from_raw_fd(ok(fd))
        };
        let (fd, flags) = (client.as_raw_fd(), libc::MSG_FASTOPEN);
        // SAFETY: a valid buffer, address and message.
        let sent = unsafe {
            match way {
                0 => {
                    let (name, length) = (message.msg_hdr.msg_name, message.msg_hdr.msg_namelen);
                    libc::sendto(fd, data.as_ptr().cast(), 1, flags, name.cast(), length)
                }
                1 => libc::sendmsg(fd, &message.msg_hdr, flags),
                _ => libc::sendmmsg(fd, &mut message, 1, flags) as isize,
            }
        };
        if sent < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EOPNOTSUPP) {
            // This machine has it switched off.
            return;
        }
        assert_eq!(sent, 1);
        let mut read = [0];
        listener.accept().unwrap().0.read_exact(&mut read).unwrap();
        assert_eq!(read, *b"x");
    }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31) >> 3) as u8).collect()
}

fn send(socket: &impl AsRawFd, data: &[u8], flags: c_int) -> isize {
    // SAFETY: a valid buffer.
    unsafe { libc::send(socket.as_raw_fd(), data.as_ptr().cast(), data.len(), flags) }
}

fn recv(socket: &impl AsRawFd, data: &mut [u8], flags: c_int) -> isize {
    // SAFETY: a valid buffer.
    unsafe {
        libc::recv(
            socket.as_raw_fd(),
            data.as_mut_ptr().cast(),
            data.len(),
            flags,
        )
    }
}

/// Reads slowly, then everything.
fn slow_reader(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = vec![0; 1000];
        thread::sleep(SHORT);
        stream.read_exact(&mut all).unwrap();
        thread::sleep(SHORT);
        stream.read_to_end(&mut all).unwrap();
        all
    })
}

fn a_send_moves_everything() {
    let data = bytes(LARGE);
    let (one, other) = tcp_pair();
    let reader = slow_reader(other);
    assert_eq!(send(&one, &data, libc::MSG_NOSIGNAL), LARGE as isize);
    drop(one);
    assert!(reader.join().unwrap() == data);

    let (one, other) = UnixStream::pair().unwrap();
    let reader = slow_reader(other);
    // SAFETY: a valid buffer.
    let written = unsafe { libc::write(one.as_raw_fd(), data.as_ptr().cast(), LARGE) };
    assert_eq!(written, LARGE as isize);
    drop(one);
    assert!(reader.join().unwrap() == data);

    let (mut one, other) = tcp_pair();
    let reader = slow_reader(other);
    let parts: Vec<_> = data.chunks(LARGE / 64).map(IoSlice::new).collect();
    assert_eq!(one.write_vectored(&parts).unwrap(), LARGE);
    drop(one);
    assert!(reader.join().unwrap() == data);
}

/// A control message with one descriptor.
#[repr(C)]
struct Rights {
    header: libc::cmsghdr,
    fd: c_int,
}

fn header(parts: &mut [libc::iovec], control: Option<&mut Rights>) -> libc::msghdr {
    // SAFETY: integers and pointers.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = parts.len();
    if let Some(control) = control {
        header.msg_controllen = size_of_val(control);
        header.msg_control = (&raw mut *control).cast();
    }
    header
}

fn part(data: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    }
}

fn a_sendmsg_moves_everything_and_its_descriptors_once() {
    let data = bytes(LARGE);
    let (one, other) = UnixStream::pair().unwrap();
    let (pipe_reader, mut pipe_writer) = std::io::pipe().unwrap();
    let reader = thread::spawn(move || {
        let (mut all, mut fds) = (Vec::new(), Vec::new());
        let buffer = vec![0; 1 << 20];
        loop {
            let mut parts = [part(&buffer)];
            // SAFETY: integers.
            let mut control: Rights = unsafe { mem::zeroed() };
            let mut header = header(&mut parts, Some(&mut control));
            // SAFETY: valid buffers.
            let count = ok(unsafe { libc::recvmsg(other.as_raw_fd(), &mut header, 0) }) as usize;
            if header.msg_controllen >= size_of::<libc::cmsghdr>() {
                // SAFETY: just received.
                fds.push(unsafe { OwnedFd::from_raw_fd(control.fd) });
            }
            if count == 0 {
                return (all, fds);
            }
            all.extend_from_slice(&buffer[..count]);
        }
    });
    let (first, second) = data.split_at(LARGE / 3);
    let mut parts = [part(first), part(second)];
    let mut control = Rights {
        header: libc::cmsghdr {
            cmsg_len: mem::offset_of!(Rights, fd) + size_of::<c_int>(),
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        },
        fd: pipe_reader.as_raw_fd(),
    };
    let header = header(&mut parts, Some(&mut control));
    // SAFETY: valid buffers.
    let sent = unsafe { libc::sendmsg(one.as_raw_fd(), &header, 0) };
    assert_eq!(sent, LARGE as isize);
    drop(one);
    let (all, mut fds) = reader.join().unwrap();
    assert!(all == data);
    assert_eq!(fds.len(), 1);
    drop(pipe_reader);
    pipe_writer.write_all(b"sent along").unwrap();
    drop(pipe_writer);
    let mut text = String::new();
    std::fs::File::from(fds.pop().unwrap())
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "sent along");
}

fn a_send_that_times_out_says_how_far_it_came() {
    let data = bytes(LARGE);
    let (one, mut other) = tcp_pair();
    one.set_write_timeout(Some(SHORT)).unwrap();
    let start = Instant::now();
    let mut sent = ok(send(&one, &data, 0)) as usize;
    assert!(start.elapsed() >= SHORT / 2);
    assert!(0 < sent && sent < LARGE);
    // The kernel may find more room in time.
    let error = loop {
        match send(&one, &data[sent..], 0) {
            -1 => break errno(),
            more => sent += more as usize,
        }
    };
    assert_eq!(error, libc::EAGAIN);
    drop(one);
    let mut all = Vec::new();
    other.read_to_end(&mut all).unwrap();
    assert!(all == data[..sent]);
}

fn writer_of_parts(mut stream: impl Write + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for part in [b"abc".as_slice(), b"def", b"ghi"] {
            thread::sleep(SHORT);
            stream.write_all(part).unwrap();
        }
    })
}

fn waitall_fills_the_buffer() {
    let (one, other) = tcp_pair();
    let writer = writer_of_parts(one);
    let mut buffer = [0; 8];
    assert_eq!(recv(&other, &mut buffer, libc::MSG_WAITALL), 8);
    assert_eq!(&buffer, b"abcdefgh");
    writer.join().unwrap();
}

fn waitall_ends_with_the_stream() {
    let (one, other) = UnixStream::pair().unwrap();
    let writer = writer_of_parts(one);
    let mut buffer = [0; 20];
    assert_eq!(recv(&other, &mut buffer, libc::MSG_WAITALL), 9);
    assert_eq!(&buffer[..9], b"abcdefghi");
    assert_eq!(recv(&other, &mut buffer, libc::MSG_WAITALL), 0);
    writer.join().unwrap();
}

fn waitall_with_vectors_fills_them_all() {
    let (one, other) = tcp_pair();
    let writer = writer_of_parts(one);
    let (one, two) = ([0u8; 4], [0u8; 5]);
    let mut parts = [part(&one), part(&two)];
    let mut header = header(&mut parts, None);
    // SAFETY: valid buffers.
    let count = unsafe { libc::recvmsg(other.as_raw_fd(), &mut header, libc::MSG_WAITALL) };
    assert_eq!(count, 9);
    assert_eq!(std::hint::black_box((&one, &two)), (b"abcd", b"efghi"));
    writer.join().unwrap();
}

fn a_receive_that_must_not_wait_does_not() {
    let (mut one, other) = tcp_pair();
    let mut buffer = [0; 8];
    fails(recv(&other, &mut buffer, libc::MSG_DONTWAIT), libc::EAGAIN);
    one.write_all(b"ab").unwrap();
    assert_eq!(recv(&other, &mut buffer, 0), 2);
    fails(recv(&other, &mut buffer, libc::MSG_DONTWAIT), libc::EAGAIN);
    other.set_nonblocking(true).unwrap();
    fails(recv(&other, &mut buffer, 0), libc::EAGAIN);
    fails(recv(&other, &mut buffer, libc::MSG_WAITALL), libc::EAGAIN);
    one.write_all(b"cd").unwrap();
    thread::sleep(SHORT);
    assert_eq!(recv(&other, &mut buffer, libc::MSG_WAITALL), 2);
}

fn a_receive_with_a_timeout_ends_at_its_time() {
    let (one, other) = tcp_pair();
    let mut buffer = [0; 8];
    for timeout in [SHORT, SHORT * 2] {
        other.set_read_timeout(Some(timeout)).unwrap();
        let start = Instant::now();
        fails(recv(&other, &mut buffer, 0), libc::EAGAIN);
        assert!(start.elapsed() >= timeout);
        // SAFETY: a valid buffer.
        fails(
            unsafe { libc::read(other.as_raw_fd(), buffer.as_mut_ptr().cast(), 8) },
            libc::EAGAIN,
        );
    }
    let writer = writer_of_parts(one);
    other.set_read_timeout(Some(SHORT * 100)).unwrap();
    assert_eq!(recv(&other, &mut buffer, libc::MSG_WAITALL), 8);
    writer.join().unwrap();
}

fn a_receive_of_nothing_waits_for_something() {
    let one = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = one.local_addr().unwrap();
    let sender = thread::spawn(move || {
        thread::sleep(SHORT);
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(other.send_to(b"ignored", address).unwrap(), 7);
    });
    let start = Instant::now();
    assert_eq!(recv(&one, &mut [], 0), 0);
    assert!(start.elapsed() >= SHORT / 2);
    sender.join().unwrap();
}

fn peek_leaves_the_data_and_peeks_again() {
    let (mut one, other) = tcp_pair();
    one.write_all(b"abc").unwrap();
    let mut buffer = [0; 8];
    for _ in 0..3 {
        assert_eq!(recv(&other, &mut buffer, libc::MSG_PEEK), 3);
    }
    assert_eq!(recv(&other, &mut buffer, 0), 3);
    let writer = writer_of_parts(one);
    assert_eq!(recv(&other, &mut buffer, libc::MSG_PEEK), 3);
    writer.join().unwrap();
}

fn udp_pair() -> (UdpSocket, UdpSocket) {
    let [one, other] = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    (one, other)
}

fn messages(parts: &mut [libc::iovec]) -> Vec<libc::mmsghdr> {
    parts
        .iter_mut()
        .map(|part| libc::mmsghdr {
            msg_hdr: header(std::slice::from_mut(part), None),
            msg_len: u32::MAX,
        })
        .collect()
}

fn many_messages_go_in_one_call() {
    let (one, other) = udp_pair();
    let texts = [b"one".as_slice(), b"three", b"fifteen"];
    let receiver = thread::spawn(move || {
        let buffers = [[0u8; 16]; 3];
        let mut parts = buffers.each_ref().map(|buffer| part(buffer));
        let mut headers = messages(&mut parts);
        let (fd, none) = (other.as_raw_fd(), null_mut());
        // SAFETY: valid buffers.
        let count = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), 3, 0, none) };
        assert_eq!(count, 3);
        let lengths: Vec<_> = headers.iter().map(|header| header.msg_len).collect();
        assert_eq!(lengths, [3, 5, 7]);
        assert_eq!(&std::hint::black_box(buffers)[2][..7], b"fifteen");
    });
    thread::sleep(SHORT);
    let mut parts = texts.map(part);
    let mut headers = messages(&mut parts);
    // SAFETY: valid buffers.
    let count = unsafe { libc::sendmmsg(one.as_raw_fd(), headers.as_mut_ptr(), 3, 0) };
    assert_eq!(count, 3);
    assert_eq!(headers[2].msg_len, 7);
    receiver.join().unwrap();
}

fn a_stream_takes_all_of_many_messages() {
    let data = bytes(LARGE);
    let (one, other) = tcp_pair();
    let reader = slow_reader(other);
    let mut parts: Vec<_> = data.chunks(LARGE / 4).map(part).collect();
    let mut headers = messages(&mut parts);
    let mut sent = 0;
    // The kernel may stop after a message that went in part; a caller goes on after the last.
    while sent < headers.len() {
        let rest = &mut headers[sent..];
        // SAFETY: valid buffers.
        let count =
            ok(unsafe { libc::sendmmsg(one.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) });
        sent += count as usize;
    }
    assert!(
        headers
            .iter()
            .all(|header| header.msg_len as usize == LARGE / 4)
    );
    drop(one);
    assert!(reader.join().unwrap() == data);
}

fn recvmmsg_takes_what_there_is_when_its_time_is_over() {
    let (one, other) = udp_pair();
    let buffers = [[0u8; 16]; 3];
    let mut parts = buffers.each_ref().map(|buffer| part(buffer));
    let mut headers = messages(&mut parts);
    let sender = thread::spawn(move || {
        one.send(b"first").unwrap();
        // The kernel looks at the time only after a message.
        thread::sleep(SHORT * 3);
        one.send(b"second").unwrap();
        one
    });
    let mut timeout = timespec(SHORT);
    let fd = other.as_raw_fd();
    // SAFETY: valid buffers.
    let count = ok(unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), 3, 0, &mut timeout) });
    assert!(count == 1 || count == 2, "{count}");
    assert_eq!(headers[0].msg_len, 5);
    let one = sender.join().unwrap();
    one.send(b"third").unwrap();
    let one_only = libc::MSG_WAITFORONE;
    // SAFETY: valid buffers.
    assert!(unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), 3, one_only, null_mut()) } >= 1);
    let nonsense = &mut libc::timespec {
        tv_sec: 0,
        tv_nsec: -1,
    };
    // SAFETY: refused.
    fails(
        unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), 3, 0, nonsense) },
        libc::EINVAL,
    );
}

fn loopback(port: u16) -> libc::sockaddr_in {
    // SAFETY: integers.
    let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
    address
}

fn connect(fd: RawFd, address: &libc::sockaddr_in) -> c_int {
    // SAFETY: a valid address.
    unsafe {
        libc::connect(
            fd,
            (&raw const *address).cast(),
            size_of_val(address) as u32,
        )
    }
}

fn stream_socket() -> OwnedFd {
    // SAFETY: a new descriptor.
    unsafe { OwnedFd::from_raw_fd(ok(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0))) }
}

fn a_refused_connect_can_be_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = loopback(listener.local_addr().unwrap().port());
    drop(listener);
    let socket = stream_socket();
    for _ in 0..3 {
        fails(connect(socket.as_raw_fd(), &address), libc::ECONNREFUSED);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = loopback(listener.local_addr().unwrap().port());
    ok(connect(socket.as_raw_fd(), &address));
    fails(connect(socket.as_raw_fd(), &address), libc::EISCONN);
}

/// A Unix socket's address that no file stands for.
fn abstract_address() -> SocketAddr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from_abstract_name(format!("shims-{}-{count}", std::process::id())).unwrap()
}

fn a_connect_waits_for_room_in_a_unix_queue() {
    let address = abstract_address();
    let listener = UnixListener::bind_addr(&address).unwrap();
    // SAFETY: a listener; the queue holds one more than is said here.
    ok(unsafe { libc::listen(listener.as_raw_fd(), 0) });
    let _first = UnixStream::connect_addr(&address).unwrap();
    let acceptor = thread::spawn(move || {
        thread::sleep(SHORT);
        [listener.accept().unwrap().0, listener.accept().unwrap().0]
    });
    let start = Instant::now();
    let _second = UnixStream::connect_addr(&address).unwrap();
    assert!(start.elapsed() >= SHORT / 2);
    acceptor.join().unwrap();
}

fn is_nonblocking(socket: &impl AsRawFd) -> bool {
    // SAFETY: an open descriptor.
    ok(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFL) }) & libc::O_NONBLOCK != 0
}

fn a_connect_leaves_the_socket_blocking() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(!is_nonblocking(&stream));
    let socket = stream_socket();
    let address = loopback(1);
    fails(connect(socket.as_raw_fd(), &address), libc::ECONNREFUSED);
    assert!(!is_nonblocking(&socket));
}

fn a_datagram_waits_for_room_in_its_peers_queue() {
    const COUNT: usize = 2_000;
    let address = abstract_address();
    let receiver = UnixDatagram::bind_addr(&address).unwrap();
    let reader = thread::spawn(move || {
        thread::sleep(SHORT);
        let mut buffer = [0; 16];
        for _ in 0..COUNT {
            receiver.recv(&mut buffer).unwrap();
        }
    });
    let sender = UnixDatagram::unbound().unwrap();
    for _ in 0..COUNT {
        sender.send_to_addr(b"datagram", &address).unwrap();
    }
    reader.join().unwrap();
}

fn an_accept_that_times_out_says_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let timeout = libc::timeval {
        tv_sec: 0,
        tv_usec: SHORT.as_micros() as i64,
    };
    let fd = listener.as_raw_fd();
    // SAFETY: a valid value.
    ok(unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const timeout).cast::<c_void>(),
            size_of_val(&timeout) as u32,
        )
    });
    let start = Instant::now();
    // SAFETY: no address is wanted.
    fails(
        unsafe { libc::accept(fd, null_mut(), null_mut()) },
        libc::EAGAIN,
    );
    assert!(start.elapsed() >= SHORT);
}

fn an_accept_on_what_does_not_listen_fails() {
    let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
    let stream = stream_socket();
    // SAFETY: no address is wanted.
    unsafe {
        let accept = |fd| libc::accept4(fd, null_mut(), null_mut(), libc::SOCK_CLOEXEC);
        fails(accept(datagram.as_raw_fd()), libc::EOPNOTSUPP);
        fails(accept(stream.as_raw_fd()), libc::EINVAL);
        fails(accept(-1), libc::EBADF);
    }
}

fn an_accept_on_a_nonblocking_listener_does_not_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    listener.accept().unwrap();
}

fn what_is_no_socket_is_refused() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let fd = reader.as_raw_fd();
    let mut buffer = [0u8; 4];
    // SAFETY: valid buffers.
    unsafe {
        fails(
            libc::recv(fd, buffer.as_mut_ptr().cast(), 4, 0),
            libc::ENOTSOCK,
        );
        fails(libc::send(fd, buffer.as_ptr().cast(), 4, 0), libc::ENOTSOCK);
        fails(libc::accept(fd, null_mut(), null_mut()), libc::ENOTSOCK);
        fails(connect(fd, &loopback(1)), libc::ENOTSOCK);
        fails(
            libc::recv(-1, buffer.as_mut_ptr().cast(), 4, 0),
            libc::EBADF,
        );
        let unconnected = stream_socket();
        fails(
            libc::recv(unconnected.as_raw_fd(), buffer.as_mut_ptr().cast(), 4, 0),
            libc::ENOTCONN,
        );
        fails(
            libc::sendmsg(unconnected.as_raw_fd(), null(), 0),
            libc::EFAULT,
        );
    }
}

fn a_closed_peer_gives_epipe() {
    let (one, other) = UnixStream::pair().unwrap();
    drop(other);
    // Rust programs ignore SIGPIPE.
    fails(send(&one, b"x", 0), libc::EPIPE);
    // SAFETY: a valid buffer.
    fails(
        unsafe { libc::write(one.as_raw_fd(), b"x".as_ptr().cast(), 1) },
        libc::EPIPE,
    );
    let mut buffer = [0; 4];
    assert_eq!(recv(&one, &mut buffer, 0), 0);
    let (mut one, other) = UnixStream::pair().unwrap();
    drop(other);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    assert_eq!(one.read_vectored(&mut parts).unwrap(), 0);
}
