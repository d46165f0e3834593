//! std::os::unix::net, unmodified: the same bodies on OS threads and on green threads.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

// For its shims.
use greenpatch as _;
use harness::on_every_kind_of_thread;

on_every_kind_of_thread! {
    a_listener_serves_clients_at_once,
    a_reader_waits_for_its_writer,
    a_stream_ends_with_its_peer,
    timeouts_end_reads_and_writes,
    nonblocking_sockets_say_would_block,
    shutdown_from_another_thread_wakes_a_reader,
    shutdown_from_another_thread_wakes_a_receiver_of_datagrams,
    one_write_to_a_slow_reader_completes,
    datagrams_arrive_whole_and_in_order,
    a_full_datagram_socket_blocks_the_sender,
}

const SHORT: Duration = Duration::from_millis(50);

/// An address in the abstract name space that no other test uses.
fn fresh_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("greenpatch-test-{}-{number}", std::process::id());
    SocketAddr::from_abstract_name(name).unwrap()
}

fn a_listener_serves_clients_at_once() {
    const CLIENTS: u8 = 50;
    let address = fresh_address();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let server = thread::spawn(move || {
        let mut waiting = Vec::new();
        for _ in 0..CLIENTS {
            waiting.push(listener.accept().unwrap().0);
        }
        // Nobody is answered before all have come: they all wait at once.
        for mut stream in waiting {
            let mut name = [0; 1];
            stream.read_exact(&mut name).unwrap();
            stream.write_all(&name).unwrap();
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let address = address.clone();
            thread::spawn(move || {
                let mut stream = UnixStream::connect_addr(&address).unwrap();
                stream.write_all(&[client]).unwrap();
                let mut answer = [0; 1];
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(answer[0], client);
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    server.join().unwrap();
}

fn a_reader_waits_for_its_writer() {
    let (mut left, mut right) = UnixStream::pair().unwrap();
    let started = Instant::now();
    let reader = thread::spawn(move || {
        let mut data = [0; 2];
        right.read_exact(&mut data).unwrap();
        (data, Instant::now())
    });
    thread::sleep(SHORT);
    left.write_all(b"hi").unwrap();
    let (data, read) = reader.join().unwrap();
    assert_eq!(&data, b"hi");
    assert!(read - started >= SHORT);
}

fn a_stream_ends_with_its_peer() {
    let (mut left, right) = UnixStream::pair().unwrap();
    let reader = thread::spawn(move || (left.read(&mut [0; 1]).unwrap(), left));
    thread::sleep(SHORT);
    drop(right);
    let (count, mut left) = reader.join().unwrap();
    assert_eq!(count, 0);
    assert_eq!(left.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

fn timeouts_end_reads_and_writes() {
    let (mut left, _right) = UnixStream::pair().unwrap();
    left.set_read_timeout(Some(SHORT)).unwrap();
    left.set_write_timeout(Some(SHORT)).unwrap();
    let started = Instant::now();
    assert_eq!(
        left.read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    assert!(started.elapsed() >= SHORT);
    let chunk = [0; 16 * 1024];
    let mut sent = 0;
    let error = loop {
        match left.write(&chunk) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(sent > 0);
    assert!(started.elapsed() >= 2 * SHORT);
}

fn nonblocking_sockets_say_would_block() {
    let (mut left, _right) = UnixStream::pair().unwrap();
    left.set_nonblocking(true).unwrap();
    assert_eq!(
        left.read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    let listener = UnixListener::bind_addr(&fresh_address()).unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    let datagram = UnixDatagram::unbound().unwrap();
    datagram.set_nonblocking(true).unwrap();
    assert_eq!(
        datagram.recv(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

fn shutdown_from_another_thread_wakes_a_reader() {
    let (left, _right) = UnixStream::pair().unwrap();
    let mut reading = left.try_clone().unwrap();
    let reader = thread::spawn(move || reading.read(&mut [0; 1]).unwrap());
    thread::sleep(SHORT);
    left.shutdown(Shutdown::Both).unwrap();
    assert_eq!(reader.join().unwrap(), 0);
}

fn shutdown_from_another_thread_wakes_a_receiver_of_datagrams() {
    let (ours, _theirs) = UnixDatagram::pair().unwrap();
    let receiver = ours.try_clone().unwrap();
    let receiver = thread::spawn(move || receiver.recv(&mut [0; 1]).unwrap());
    thread::sleep(SHORT);
    ours.shutdown(Shutdown::Both).unwrap();
    assert_eq!(receiver.join().unwrap(), 0);
    // And whoever comes later.
    assert_eq!(ours.recv(&mut [0; 1]).unwrap(), 0);
    assert_eq!(ours.recv(&mut [0; 1]).unwrap(), 0);
}

fn one_write_to_a_slow_reader_completes() {
    const SIZE: usize = 4 << 20;
    let (mut left, mut right) = UnixStream::pair().unwrap();
    let reader = thread::spawn(move || {
        let mut chunk = vec![0; 64 * 1024];
        let mut received = 0;
        loop {
            match right.read(&mut chunk).unwrap() {
                0 => return received,
                count => received += count,
            }
            thread::sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(left.write(&vec![1; SIZE]).unwrap(), SIZE);
    drop(left);
    assert_eq!(reader.join().unwrap(), SIZE);
}

fn datagrams_arrive_whole_and_in_order() {
    let address = fresh_address();
    let receiver = UnixDatagram::bind_addr(&address).unwrap();
    let sender = thread::spawn(move || {
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect_addr(&address).unwrap();
        for length in 1..=100u8 {
            if length % 10 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(
                socket.send(&vec![length; usize::from(length)]).unwrap(),
                usize::from(length)
            );
        }
    });
    let mut data = [0; 200];
    for length in 1..=100u8 {
        let count = receiver.recv(&mut data).unwrap();
        assert_eq!(data[..count], vec![length; length.into()]);
    }
    sender.join().unwrap();
    receiver.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(
        receiver.recv(&mut data).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

fn a_full_datagram_socket_blocks_the_sender() {
    const DATAGRAMS: u32 = 2_000;
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    let sending = thread::spawn(move || {
        for number in 0..DATAGRAMS {
            sender.send(&number.to_le_bytes()).unwrap();
        }
    });
    thread::sleep(SHORT);
    assert!(!sending.is_finished(), "the queue has room for everything");
    let mut data = [0; 4];
    for number in 0..DATAGRAMS {
        receiver.recv(&mut data).unwrap();
        assert_eq!(u32::from_le_bytes(data), number);
    }
    sending.join().unwrap();
}
