// What a program may expect of `UdpSocket`, std's or ours: included where this name, `everywhere` and `start` are in scope.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Two sockets that are connected to each other.
fn pair() -> (UdpSocket, UdpSocket) {
    let ((one, first), (other, second)) = (socket(), socket());
    one.connect(second).unwrap();
    other.connect(first).unwrap();
    (one, other)
}

#[test]
fn each_method_has_the_same_signature() {
    use std::io::Result;
    type Time = Option<Duration>;
    type Datagram = (usize, SocketAddr);
    let _: fn(&'static str) -> Result<UdpSocket> = UdpSocket::bind;
    let _: fn(&UdpSocket, &'static str) -> Result<()> = UdpSocket::connect;
    let _: fn(&UdpSocket, &mut [u8]) -> Result<Datagram> = UdpSocket::recv_from;
    let _: fn(&UdpSocket, &mut [u8]) -> Result<Datagram> = UdpSocket::peek_from;
    let _: fn(&UdpSocket, &[u8], &'static str) -> Result<usize> = UdpSocket::send_to;
    let _: fn(&UdpSocket, &mut [u8]) -> Result<usize> = UdpSocket::recv;
    let _: fn(&UdpSocket, &mut [u8]) -> Result<usize> = UdpSocket::peek;
    let _: fn(&UdpSocket, &[u8]) -> Result<usize> = UdpSocket::send;
    let _: fn(&UdpSocket) -> Result<SocketAddr> = UdpSocket::local_addr;
    let _: fn(&UdpSocket) -> Result<SocketAddr> = UdpSocket::peer_addr;
    let _: fn(&UdpSocket) -> Result<UdpSocket> = UdpSocket::try_clone;
    let _: fn(&UdpSocket, Time) -> Result<()> = UdpSocket::set_read_timeout;
    let _: fn(&UdpSocket, Time) -> Result<()> = UdpSocket::set_write_timeout;
    let _: fn(&UdpSocket) -> Result<Time> = UdpSocket::read_timeout;
    let _: fn(&UdpSocket) -> Result<Time> = UdpSocket::write_timeout;
    let _: fn(&UdpSocket) -> Result<Option<std::io::Error>> = UdpSocket::take_error;
    let _: fn(&UdpSocket, bool) -> Result<()> = UdpSocket::set_nonblocking;
    let _: fn(&UdpSocket, &Ipv4Addr, &Ipv4Addr) -> Result<()> = UdpSocket::join_multicast_v4;
    let _: fn(&UdpSocket, &Ipv4Addr, &Ipv4Addr) -> Result<()> = UdpSocket::leave_multicast_v4;
    let _: fn(&UdpSocket, &Ipv6Addr, u32) -> Result<()> = UdpSocket::join_multicast_v6;
    let _: fn(&UdpSocket, &Ipv6Addr, u32) -> Result<()> = UdpSocket::leave_multicast_v6;
    fn shared<T: Send + Sync + std::fmt::Debug + std::panic::UnwindSafe>() {}
    shared::<UdpSocket>();
    fn descriptor<T: std::os::fd::AsFd + AsRawFd + IntoRawFd + FromRawFd + From<OwnedFd>>()
    where
        OwnedFd: From<T>,
    {
    }
    descriptor::<UdpSocket>();
}

#[test]
fn datagrams_go_to_and_fro_between_threads() {
    everywhere(|| {
        let (server, address) = socket();
        let echo = start(move || {
            let mut buffer = [0; 100];
            for _ in 0..100 {
                let (length, peer) = server.recv_from(&mut buffer).unwrap();
                assert_eq!(server.send_to(&buffer[..length], peer).unwrap(), length);
            }
        });
        let (client, _) = socket();
        for n in 0..100_u8 {
            let sent = vec![n; usize::from(n)];
            client.send_to(&sent, address).unwrap();
            let mut buffer = [0; 100];
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (&sent[..], address));
        }
        echo();
    });
}

#[test]
fn what_does_not_fit_is_cut_off() {
    everywhere(|| {
        let (ours, theirs) = pair();
        theirs.send(b"too long").unwrap();
        theirs.send(b"next").unwrap();
        let mut buffer = [0; 3];
        assert_eq!(ours.recv(&mut buffer).unwrap(), 3);
        assert_eq!(&buffer, b"too");
        assert_eq!(ours.recv_from(&mut buffer).unwrap().0, 3);
        assert_eq!(&buffer, b"nex");
        let error = theirs.send(&[0; 70_000]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    });
}

#[test]
fn a_peek_leaves_the_datagram() {
    everywhere(|| {
        let (ours, theirs) = pair();
        let from = theirs.local_addr().unwrap();
        let peeked = start(move || {
            let mut buffer = [0; 2];
            assert_eq!(ours.peek(&mut buffer).unwrap(), 2);
            assert_eq!(&buffer, b"se");
            ours
        });
        harness::pause();
        theirs.send(b"seen").unwrap();
        let ours = peeked();
        let mut buffer = [0; 10];
        assert_eq!(ours.peek_from(&mut buffer).unwrap(), (4, from));
        assert_eq!(ours.recv_from(&mut buffer).unwrap(), (4, from));
        assert_eq!(&buffer[..4], b"seen");
    });
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    everywhere(|| {
        let (ours, theirs) = pair();
        let (stranger, _) = socket();
        stranger
            .send_to(b"stranger", ours.local_addr().unwrap())
            .unwrap();
        theirs.send(b"peer").unwrap();
        let mut buffer = [0; 10];
        assert_eq!(ours.recv(&mut buffer).unwrap(), 4);
        assert_eq!(ours.peer_addr().unwrap(), theirs.local_addr().unwrap());
        let error = stranger.peer_addr().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        assert!(stranger.send(b"to whom?").is_err());
    });
}

#[test]
fn a_refused_datagram_is_told_with_the_next_call() {
    everywhere(|| {
        let (ours, theirs) = pair();
        drop(theirs);
        // The answer comes over loopback before the call returns.
        ours.send(b"anybody?").unwrap();
        let error = ours.recv(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        ours.send(b"anybody?").unwrap();
        let error = ours.take_error().unwrap().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(ours.take_error().unwrap().is_none());
    });
}

#[test]
fn a_receiver_that_waits_hears_of_a_refused_datagram() {
    everywhere(|| {
        let (ours, theirs) = pair();
        drop(theirs);
        let receiver = {
            let ours = ours.try_clone().unwrap();
            start(move || ours.recv(&mut [0; 1]).unwrap_err().kind())
        };
        harness::pause();
        ours.send(b"anybody?").unwrap();
        assert_eq!(receiver(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_receive_ends_with_would_block_when_its_time_is_over() {
    everywhere(|| {
        let (ours, theirs) = pair();
        let timeout = Duration::from_millis(20);
        ours.set_read_timeout(Some(timeout)).unwrap();
        ours.set_write_timeout(Some(timeout)).unwrap();
        assert!(ours.read_timeout().unwrap().unwrap() >= timeout);
        assert!(ours.write_timeout().unwrap().unwrap() >= timeout);
        let begin = Instant::now();
        let buffer = &mut [0; 4];
        for error in [
            ours.recv(buffer).unwrap_err(),
            ours.recv_from(buffer).unwrap_err(),
            ours.peek(buffer).unwrap_err(),
            ours.peek_from(buffer).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
        assert!(begin.elapsed() >= 4 * timeout);
        theirs.send(b"late").unwrap();
        assert_eq!(ours.recv(buffer).unwrap(), 4);
        for error in [
            ours.set_read_timeout(Some(Duration::ZERO)).unwrap_err(),
            ours.set_write_timeout(Some(Duration::ZERO)).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn in_non_blocking_mode_nothing_waits() {
    everywhere(|| {
        let (ours, theirs) = pair();
        ours.try_clone().unwrap().set_nonblocking(true).unwrap();
        let buffer = &mut [0; 4];
        for error in [
            ours.recv(buffer).unwrap_err(),
            ours.recv_from(buffer).unwrap_err(),
            ours.peek(buffer).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
        ours.set_nonblocking(false).unwrap();
        let receiver = start(move || ours.recv(&mut [0; 4]).unwrap());
        harness::pause();
        theirs.send(b"now").unwrap();
        assert_eq!(receiver(), 3);
    });
}

#[test]
fn many_threads_receive_from_clones_of_one_socket() {
    everywhere(|| {
        const RECEIVERS: u8 = 50;
        let (server, address) = socket();
        let receivers: Vec<_> = (0..RECEIVERS)
            .map(|_| {
                let server = server.try_clone().unwrap();
                start(move || {
                    let mut byte = [0];
                    server.recv(&mut byte).unwrap();
                    byte[0]
                })
            })
            .collect();
        let (client, _) = socket();
        for n in 0..RECEIVERS {
            client.send_to(&[n], address).unwrap();
        }
        let mut received: Vec<_> = receivers.into_iter().map(|receiver| receiver()).collect();
        received.sort_unstable();
        assert_eq!(received, (0..RECEIVERS).collect::<Vec<_>>());
    });
}

#[test]
fn the_first_address_counts_when_sending_and_no_address_is_invalid_input() {
    everywhere(|| {
        let ((client, _), (server, address), (_other, second)) = (socket(), socket(), socket());
        client.send_to(b"x", &[address, second][..]).unwrap();
        assert_eq!(server.recv(&mut [0; 4]).unwrap(), 1);
        let none: &[SocketAddr] = &[];
        for error in [
            client.send_to(b"x", none).unwrap_err(),
            client.connect(none).unwrap_err(),
            UdpSocket::bind(none).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        let free = UdpSocket::bind(&[address, "127.0.0.1:0".parse().unwrap()][..]).unwrap();
        assert_ne!(free.local_addr().unwrap(), address);
        let error = UdpSocket::bind(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn broadcasts_need_leave_and_reach_everybody() {
    everywhere(|| {
        let everybody = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = everybody.local_addr().unwrap().port();
        let (client, _) = socket();
        assert!(!client.broadcast().unwrap());
        let error = client
            .send_to(b"all", ("127.255.255.255", port))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        client.set_broadcast(true).unwrap();
        assert!(client.broadcast().unwrap());
        client.send_to(b"all", ("127.255.255.255", port)).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(everybody.recv(&mut buffer).unwrap(), 3);
    });
}

#[test]
fn a_multicast_group_is_joined_and_left() {
    everywhere(|| {
        let group = Ipv4Addr::new(239, 255, 17, 4);
        let member = UdpSocket::bind("0.0.0.0:0").unwrap();
        let to = SocketAddr::from((group, member.local_addr().unwrap().port()));
        member
            .join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
            .unwrap();
        let (client, _) = socket();
        client.set_multicast_loop_v4(true).unwrap();
        assert!(client.multicast_loop_v4().unwrap());
        client.set_multicast_ttl_v4(3).unwrap();
        assert_eq!(client.multicast_ttl_v4().unwrap(), 3);
        client.send_to(b"member", to).unwrap();
        let mut buffer = [0; 10];
        let (length, from) = member.recv_from(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..length], from),
            (&b"member"[..], client.local_addr().unwrap())
        );
        member
            .leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
            .unwrap();
        assert!(
            member
                .leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
                .is_err()
        );
    });
}

#[test]
fn a_multicast_group_of_ipv6_is_joined_and_left() {
    everywhere(|| {
        let Ok(member) = UdpSocket::bind("[::1]:0") else {
            // This machine has no IPv6.
            return;
        };
        let group = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 0x1704);
        const LOOPBACK: u32 = 1;
        member.join_multicast_v6(&group, LOOPBACK).unwrap();
        member.leave_multicast_v6(&group, LOOPBACK).unwrap();
        assert!(member.leave_multicast_v6(&group, LOOPBACK).is_err());
        member.set_multicast_loop_v6(false).unwrap();
        assert!(!member.multicast_loop_v6().unwrap());
    });
}

#[test]
fn a_descriptor_goes_in_and_out() {
    everywhere(|| {
        let (ours, theirs) = pair();
        ours.set_ttl(9).unwrap();
        let number = ours.as_raw_fd();
        let address = ours.local_addr().unwrap();
        let debug = format!("UdpSocket {{ addr: {address}, fd: {number} }}");
        assert_eq!(format!("{ours:?}"), debug);
        let ours = UdpSocket::from(OwnedFd::from(ours));
        // SAFETY: just taken out.
        let ours = unsafe { UdpSocket::from_raw_fd(ours.into_raw_fd()) };
        assert_eq!((ours.as_raw_fd(), ours.ttl().unwrap()), (number, 9));
        let receiver = start(move || ours.recv(&mut [0; 4]).unwrap());
        harness::pause();
        theirs.send(b"in").unwrap();
        assert_eq!(receiver(), 2);
    });
}
