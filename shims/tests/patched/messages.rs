//! One call of sendmmsg or recvmmsg that has to wait between two messages: what came before the wait counts, however that
//! ends.

use std::ffi::c_void;
use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::ptr::null_mut;

use greenpatch_runtime::spawn;
use greenpatch_runtime::time::{self, Elapsed};
use harness::SHORT;
use rustix::io::ioctl_fionread;

use crate::{on_one_worker_alone, replace, replaced_in_between, with_number_of_its_own};

/// More than a socket's buffers have room for.
const LARGE: usize = 8 << 20;

/// A call of many messages of one buffer each.
struct Messages {
    _parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    _buffers: Vec<Vec<u8>>,
}

// SAFETY: the pointers in it lead to its own buffers.
unsafe impl Send for Messages {}

impl Messages {
    fn new(mut buffers: Vec<Vec<u8>>) -> Messages {
        let mut parts: Vec<_> = buffers
            .iter_mut()
            .map(|buffer| libc::iovec {
                iov_base: buffer.as_mut_ptr().cast::<c_void>(),
                iov_len: buffer.len(),
            })
            .collect();
        let headers = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: plain data, for which zero is a value.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_iov = part;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Messages {
            _parts: parts,
            headers,
            _buffers: buffers,
        }
    }

    fn send(&mut self, fd: RawFd) -> isize {
        let (headers, count) = (self.headers.as_mut_ptr(), self.headers.len() as u32);
        // SAFETY: valid messages.
        unsafe { libc::sendmmsg(fd, headers, count, 0) as isize }
    }

    fn receive(&mut self, fd: RawFd) -> isize {
        let (headers, count) = (self.headers.as_mut_ptr(), self.headers.len() as u32);
        // SAFETY: valid messages.
        unsafe { libc::recvmmsg(fd, headers, count, 0, null_mut()) as isize }
    }

    /// How many bytes of each were moved.
    fn lengths(&self) -> Vec<usize> {
        let lengths = self.headers.iter().map(|header| header.msg_len as usize);
        lengths.collect()
    }
}

/// How a wait ends before there is what it waits for.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The number is given to a duplicate of this descriptor.
    Replaced(RawFd),
    TimedOut,
    Cancelled,
}

/// Makes `call` on another green thread, where it waits until that ends so.
fn cut_short<T: Send + 'static>(
    fd: RawFd,
    end: End,
    call: impl FnOnce(RawFd) -> T + Send + 'static,
) -> T {
    let caller = spawn(move || match end {
        End::TimedOut => time::timeout(SHORT, || call(fd)).unwrap_or_else(Elapsed::into_inner),
        _ => call(fd),
    });
    time::sleep(SHORT);
    match end {
        End::Replaced(stranger) => replace(fd, &stranger),
        End::TimedOut => {}
        End::Cancelled => caller.cancel(),
    }
    caller.join().unwrap()
}

/// The ends of a wait, for a test that gives the number to a duplicate of `stranger`.
fn ends(stranger: &impl AsRawFd) -> [End; 3] {
    [
        End::Replaced(stranger.as_raw_fd()),
        End::TimedOut,
        End::Cancelled,
    ]
}

fn close(number: RawFd) {
    // SAFETY: open, and the test's own.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}

fn udp_pair() -> (UdpSocket, UdpSocket) {
    let [one, other] = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    (one, other)
}

#[test]
fn messages_received_before_a_wait_is_cut_short_count() {
    on_one_worker_alone(|| {
        let (strangers_peer, stranger) = udp_pair();
        strangers_peer.send(b"theirs").unwrap();
        for end in ends(&stranger) {
            let (sender, receiver) = udp_pair();
            sender.send(b"one").unwrap();
            sender.send(b"three").unwrap();
            let number = with_number_of_its_own(receiver);
            let (count, lengths) = cut_short(number, end, |fd| {
                let mut messages = Messages::new(vec![vec![0; 16]; 3]);
                (messages.receive(fd), messages.lengths())
            });
            assert_eq!((count, &*lengths), (2, &[3, 5, 0][..]), "{end:?}");
            close(number);
        }
        assert_eq!(stranger.recv(&mut [0; 16]).unwrap(), 6);
    });
}

#[test]
fn the_next_call_tells_what_has_cut_the_last_one_short() {
    on_one_worker_alone(|| {
        let (sender, receiver) = udp_pair();
        sender.send(b"one").unwrap();
        let fd = receiver.as_raw_fd();
        let receiver = spawn(move || {
            let mut messages = Messages::new(vec![vec![0; 16]; 3]);
            let counts = [messages.receive(fd), messages.receive(fd)];
            let error = std::io::Error::last_os_error().raw_os_error();
            drop(receiver);
            (counts, error)
        });
        time::sleep(SHORT);
        receiver.cancel();
        let (counts, error) = receiver.join().unwrap();
        assert_eq!((counts, error), ([1, -1], Some(libc::ECANCELED)));
    });
}

#[test]
fn messages_sent_before_a_wait_is_cut_short_count() {
    on_one_worker_alone(|| {
        let (stranger, strangers_peer) = UnixDatagram::pair().unwrap();
        strangers_peer.set_nonblocking(true).unwrap();
        for end in ends(&stranger) {
            let (sender, receiver) = UnixDatagram::pair().unwrap();
            let number = with_number_of_its_own(sender);
            let (count, lengths) = cut_short(number, end, |fd| {
                // More than the receiver's queue has room for.
                let mut messages = Messages::new((0..1000).map(|n| vec![n as u8; 8]).collect());
                (messages.send(fd), messages.lengths())
            });
            let sent = lengths.iter().filter(|&&length| length == 8).count();
            assert!(0 < count && count < 1000, "{count} after {end:?}");
            assert_eq!(sent as isize, count, "{end:?}");
            receiver.set_nonblocking(true).unwrap();
            let mut data = [0; 8];
            for n in 0..count {
                assert_eq!(receiver.recv(&mut data).unwrap(), 8);
                assert_eq!(data, [n as u8; 8], "{end:?}");
            }
            assert!(receiver.recv(&mut data).is_err(), "{end:?}");
            close(number);
        }
        assert!(strangers_peer.recv(&mut [0; 8]).is_err());
    });
}

#[test]
fn all_messages_go_though_each_has_to_wait() {
    on_one_worker_alone(|| {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        let receiver = spawn(move || {
            for n in 0..1000 {
                let mut data = [0; 8];
                assert_eq!(receiver.recv(&mut data).unwrap(), 8);
                assert_eq!(data, [n as u8; 8]);
            }
        });
        let mut messages = Messages::new((0..1000).map(|n| vec![n as u8; 8]).collect());
        assert_eq!(messages.send(sender.as_raw_fd()), 1000);
        receiver.join().unwrap();
    });
}

/// A stream takes a part of a message: the caller learns how much.
#[test]
fn the_part_of_a_message_sent_before_a_wait_is_cut_short_counts() {
    on_one_worker_alone(|| {
        let (stranger, strangers_peer) = UnixStream::pair().unwrap();
        for end in ends(&stranger) {
            let (sender, receiver) = UnixStream::pair().unwrap();
            let number = with_number_of_its_own(sender);
            let (count, lengths) = cut_short(number, end, |fd| {
                let mut messages = Messages::new(vec![vec![1; 8], vec![2; LARGE], vec![3; 8]]);
                (messages.send(fd), messages.lengths())
            });
            let [first, second, third] = lengths[..] else {
                unreachable!("there are three")
            };
            assert_eq!((count, first, third), (2, 8, 0), "{end:?}");
            assert!(0 < second && second < LARGE, "{second} after {end:?}");
            let there = ioctl_fionread(&receiver).unwrap();
            assert_eq!(there, (first + second) as u64, "{end:?}");
            close(number);
        }
        assert_eq!(ioctl_fionread(&strangers_peer), Ok(0));
    });
}

#[test]
fn later_messages_are_not_received_from_who_gets_the_number() {
    on_one_worker_alone(|| {
        let (strangers_peer, stranger) = udp_pair();
        strangers_peer.send(b"theirs").unwrap();
        for round in 0..40 {
            let (sender, receiver) = udp_pair();
            sender.send(b"one").unwrap();
            let number = with_number_of_its_own(receiver);
            let receive = |fd| {
                let mut messages = Messages::new(vec![vec![0; 16]; 2]);
                (messages.receive(fd), messages.lengths())
            };
            let (count, lengths) = replaced_in_between(round, number, &stranger, receive);
            assert_eq!((count, &*lengths), (1, &[3, 0][..]), "round {round}");
            close(number);
        }
        assert_eq!(stranger.recv(&mut [0; 16]).unwrap(), 6);
    });
}

#[test]
fn later_messages_are_not_sent_to_who_gets_the_number() {
    on_one_worker_alone(|| {
        let (stranger, strangers_peer) = UnixDatagram::pair().unwrap();
        for round in 0..40 {
            let (sender, _receiver) = UnixDatagram::pair().unwrap();
            let number = with_number_of_its_own(sender);
            let send = |fd| Messages::new(vec![vec![1; 8]; 1000]).send(fd);
            let count = replaced_in_between(round, number, &stranger, send);
            assert_eq!(ioctl_fionread(&strangers_peer), Ok(0), "round {round}");
            assert!(0 < count && count < 1000, "{count} in round {round}");
            close(number);
        }
    });
}

#[test]
fn the_rest_of_a_message_is_not_sent_to_who_gets_the_number() {
    on_one_worker_alone(|| {
        let (stranger, strangers_peer) = UnixStream::pair().unwrap();
        for round in 0..40 {
            let (sender, _receiver) = UnixStream::pair().unwrap();
            let number = with_number_of_its_own(sender);
            let send = |fd| Messages::new(vec![vec![1; 8], vec![2; LARGE], vec![3; 8]]).send(fd);
            let count = replaced_in_between(round, number, &stranger, send);
            assert_eq!(ioctl_fionread(&strangers_peer), Ok(0), "round {round}");
            assert_eq!(count, 2, "round {round}");
            close(number);
        }
    });
}

/// The first message finds no room, which may end the turn before the wait begins.
#[test]
fn the_first_message_is_not_sent_to_who_gets_the_number() {
    on_one_worker_alone(|| {
        let (stranger, strangers_peer) = UnixStream::pair().unwrap();
        for round in 0..40 {
            let (mut sender, _receiver) = UnixStream::pair().unwrap();
            sender.set_nonblocking(true).unwrap();
            while sender.write(&[0; 4096]).is_ok() {}
            sender.set_nonblocking(false).unwrap();
            let number = with_number_of_its_own(sender);
            let send = |fd| {
                let count = Messages::new(vec![vec![1; 8]]).send(fd);
                (count, std::io::Error::last_os_error().raw_os_error())
            };
            let outcome = replaced_in_between(round, number, &stranger, send);
            assert_eq!(outcome, (-1, Some(libc::EBADF)), "round {round}");
            assert_eq!(ioctl_fionread(&strangers_peer), Ok(0), "round {round}");
            close(number);
        }
    });
}
