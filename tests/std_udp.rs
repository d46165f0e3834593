//! UDP in std::net, unmodified: the same bodies on OS threads and on green threads.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

// For its shims.
use greenpatch as _;
use harness::on_every_kind_of_thread;

on_every_kind_of_thread! {
    datagrams_arrive_whole,
    read_timeout_ends_a_receive,
    connected_sockets_wait_for_each_other,
}

const SHORT: Duration = Duration::from_millis(50);

fn datagrams_arrive_whole() {
    let (left, right) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        UdpSocket::bind("127.0.0.1:0").unwrap(),
    );
    let (left_address, right_address) = (left.local_addr().unwrap(), right.local_addr().unwrap());
    let answering = thread::spawn(move || {
        let mut data = [0; 64];
        for _ in 0..3 {
            let (count, from) = right.recv_from(&mut data).unwrap();
            assert_eq!(from, left_address);
            right.send_to(&data[..count], from).unwrap();
        }
    });
    let mut data = [0; 64];
    for message in [&b"one"[..], b"", b"three"] {
        thread::sleep(Duration::from_millis(5));
        assert_eq!(left.send_to(message, right_address).unwrap(), message.len());
        let (count, from) = left.recv_from(&mut data).unwrap();
        assert_eq!((&data[..count], from), (message, right_address));
    }
    answering.join().unwrap();
}

fn read_timeout_ends_a_receive() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SHORT)).unwrap();
    let started = Instant::now();
    assert_eq!(
        socket.recv_from(&mut [0; 8]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    assert!(started.elapsed() >= SHORT);
    socket.set_nonblocking(true).unwrap();
    assert_eq!(
        socket.recv(&mut [0; 8]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

fn connected_sockets_wait_for_each_other() {
    const ROUNDS: u32 = 200;
    let (left, right) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        UdpSocket::bind("127.0.0.1:0").unwrap(),
    );
    left.connect(right.local_addr().unwrap()).unwrap();
    right.connect(left.local_addr().unwrap()).unwrap();
    let answering = thread::spawn(move || {
        let mut data = [0; 4];
        for _ in 0..ROUNDS {
            assert_eq!(right.recv(&mut data).unwrap(), 4);
            right
                .send(&(u32::from_le_bytes(data) + 1).to_le_bytes())
                .unwrap();
        }
    });
    let mut data = [0; 4];
    for round in 0..ROUNDS {
        left.send(&round.to_le_bytes()).unwrap();
        assert_eq!(left.recv(&mut data).unwrap(), 4);
        assert_eq!(u32::from_le_bytes(data), round + 1);
    }
    answering.join().unwrap();
}
