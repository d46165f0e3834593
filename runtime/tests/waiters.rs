//! Green threads that wait for one descriptor are served in the order in which they came, one for each thing.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::hook::Interest;
use greenpatch_runtime::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use greenpatch_runtime::{JoinHandle, Patch, Runtime, hook, metrics, spawn, time, yield_now};
use harness::eventually;
use rustix::io::Errno;

fn on_each_number_of_workers(test: fn()) {
    for workers in [1, 2] {
        Runtime::builder()
            .workers(workers)
            .compensation(false)
            .build()
            .unwrap()
            .run(test);
    }
}

/// Waits until so many green threads are parked, besides the caller.
#[track_caller]
fn until_parked(count: usize) {
    eventually(|| {
        let figures = metrics().unwrap();
        figures.parked >= count
    });
}

/// A server whose receivers have received so often, and a client that is connected to it.
struct Receivers {
    address: SocketAddr,
    client: StdUdpSocket,
    received: Arc<Vec<AtomicUsize>>,
    order: Arc<Mutex<Vec<usize>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Receivers {
    /// Each receives again and again, until it gets an empty datagram.
    fn start(count: usize) -> Receivers {
        let server = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let received: Arc<Vec<_>> = Arc::new((0..count).map(|_| AtomicUsize::new(0)).collect());
        let order = Arc::new(Mutex::new(Vec::new()));
        let threads = (0..count)
            .map(|index| {
                let (server, received) = (server.clone(), received.clone());
                let order = order.clone();
                let thread = spawn(move || {
                    while server.recv(&mut [0; 8]).unwrap() != 0 {
                        received[index].fetch_add(1, Ordering::SeqCst);
                        order.lock().unwrap().push(index);
                    }
                });
                // They come in this order.
                if index % 50 == 49 {
                    until_parked(index + 1);
                }
                thread
            })
            .collect();
        until_parked(count);
        let client = StdUdpSocket::bind("127.0.0.1:0").unwrap();
        Receivers {
            address: server.local_addr().unwrap(),
            client,
            received,
            order,
            threads,
        }
    }

    /// Sends so many, and waits until they are received and all receivers wait again.
    fn send(&self, count: usize) {
        let before = self.total();
        for _ in 0..count {
            self.client.send_to(b"x", self.address).unwrap();
        }
        eventually(|| self.total() == before + count);
        until_parked(self.received.len());
    }

    fn total(&self) -> usize {
        self.received
            .iter()
            .map(|received| received.load(Ordering::SeqCst))
            .sum()
    }

    fn end(self) {
        let live = metrics().unwrap().live;
        for ended in 1..=self.threads.len() {
            self.client.send_to(b"", self.address).unwrap();
            eventually(|| metrics().unwrap().live <= live - ended);
        }
    }
}

#[test]
fn datagrams_that_come_together_are_for_one_receiver_each() {
    on_each_number_of_workers(|| {
        let receivers = Receivers::start(500);
        for _ in 0..10 {
            receivers.send(100);
        }
        let received: Vec<_> = receivers
            .received
            .iter()
            .map(|received| received.load(Ordering::SeqCst))
            .collect();
        if metrics().unwrap().workers == 1 {
            assert_eq!(received, [2; 500]);
        } else {
            // Between the look of one that comes back and its try, a datagram may come.
            assert!(
                received.iter().all(|count| (1..=4).contains(count)),
                "{received:?}"
            );
        }
        receivers.end();
    });
}

#[test]
fn receivers_are_served_in_the_order_in_which_they_came() {
    let runtime = Runtime::builder().workers(1).compensation(false);
    runtime.build().unwrap().run(|| {
        let receivers = Receivers::start(100);
        for _ in 0..5 {
            receivers.send(40);
        }
        let order = receivers.order.lock().unwrap().clone();
        assert_eq!(order[..100], order[100..]);
        receivers.end();
    });
}

#[test]
fn a_datagram_wakes_one_receiver() {
    on_each_number_of_workers(|| {
        let receivers = Receivers::start(500);
        let before = metrics().unwrap().unparks;
        for _ in 0..20 {
            let total = receivers.total();
            receivers.client.send_to(b"x", receivers.address).unwrap();
            eventually(|| receivers.total() > total);
        }
        // Those of this thread's sleeps are no unparks, but for a few.
        let unparks = metrics().unwrap().unparks - before;
        assert!(unparks < 500, "{unparks} unparks for 20 datagrams");
        receivers.end();
    });
}

/// Whoever is woken as its time ends passes the wake on: a patient receiver gets what an impatient one was woken for.
#[test]
fn receivers_whose_time_ends_swallow_no_wake() {
    on_each_number_of_workers(|| {
        let server = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let received = Arc::new(AtomicUsize::new(0));
        let receiver = |limit: Option<Duration>| {
            let (server, received) = (server.clone(), received.clone());
            spawn(move || {
                loop {
                    let outcome = match limit {
                        None => server.recv(&mut [0; 8]),
                        Some(limit) => time::timeout(limit, || server.recv(&mut [0; 8]))
                            .unwrap_or_else(|late| late.into_inner()),
                    };
                    match outcome {
                        Ok(0) => return,
                        Ok(_) => drop(received.fetch_add(1, Ordering::SeqCst)),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
                    }
                }
            })
        };
        let impatient: Vec<_> = (0..20)
            .map(|index| receiver(Some(Duration::from_micros(50 + 7 * index))))
            .collect();
        let patient = receiver(None);
        let client = StdUdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        for sent in 1..=1000 {
            client.send_to(b"x", address).unwrap();
            eventually(|| received.load(Ordering::SeqCst) == sent);
        }
        let count = impatient.len() + 1;
        for _ in 0..count {
            client.send_to(b"", address).unwrap();
        }
        impatient
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        patient.join().unwrap();
    });
}

/// Pollers are all told, and keep nothing from the one who takes it.
#[test]
fn pollers_are_all_woken_beside_one_receiver() {
    on_each_number_of_workers(|| {
        let server = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let receivers: Vec<_> = (0..2)
            .map(|_| {
                let server = server.clone();
                spawn(move || server.recv(&mut [0; 8]).unwrap())
            })
            .collect();
        let pollers: Vec<_> = (0..20)
            .map(|_| {
                let server = server.clone();
                spawn(move || {
                    let section = hook::enter(Patch::SELECT).unwrap();
                    let mut entries = [libc::pollfd {
                        fd: server.as_raw_fd(),
                        events: libc::POLLIN,
                        revents: 0,
                    }];
                    let long = Deadline::after(Duration::from_secs(60));
                    // What it saw may be gone when it looks; then it waits for the next.
                    section.poll(&mut entries, Some(long)).unwrap()
                })
            })
            .collect();
        until_parked(22);
        let client = StdUdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        client.send_to(b"x", address).unwrap();
        client.send_to(b"x", address).unwrap();
        receivers.into_iter().for_each(|thread| drop(thread.join()));
        // Nobody takes this one.
        client.send_to(b"x", address).unwrap();
        for poller in pollers {
            assert_eq!(poller.join().unwrap(), 1);
        }
    });
}

/// As many connections as acceptors, of a listener of ours and of one in blocking mode.
#[test]
fn connections_are_for_one_acceptor_each() {
    const ACCEPTORS: usize = 40;
    on_each_number_of_workers(|| {
        let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for listener in [
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::from(foreign),
        ] {
            let address = listener.local_addr().unwrap();
            let listener = Arc::new(listener);
            let accepted: Arc<Vec<_>> =
                Arc::new((0..ACCEPTORS).map(|_| AtomicUsize::new(0)).collect());
            let acceptors: Vec<_> = (0..ACCEPTORS)
                .map(|index| {
                    let (listener, accepted) = (listener.clone(), accepted.clone());
                    spawn(move || {
                        loop {
                            let (mut stream, _) = listener.accept().unwrap();
                            accepted[index].fetch_add(1, Ordering::SeqCst);
                            let mut end = [0];
                            stream.read_exact(&mut end).unwrap();
                            if end == [1] {
                                return;
                            }
                        }
                    })
                })
                .collect();
            until_parked(ACCEPTORS);
            for round in 1..=3 {
                let connect = || TcpStream::connect(address).unwrap();
                let mut streams: Vec<_> = (0..ACCEPTORS).map(|_| connect()).collect();
                let all_have = || {
                    accepted
                        .iter()
                        .all(|accepted| accepted.load(Ordering::SeqCst) == round)
                };
                // Nobody accepts again before it has got a byte, so all of them get one each.
                eventually(all_have);
                let end = [u8::from(round == 3)];
                streams
                    .iter_mut()
                    .for_each(|stream| stream.write_all(&end).unwrap());
                if round < 3 {
                    until_parked(ACCEPTORS);
                }
            }
            acceptors
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        }
    });
}

/// One acceptor that accepts again at once does not keep connections from those that have waited longer.
#[test]
fn who_accepts_again_goes_to_the_end_of_the_line() {
    const ACCEPTORS: usize = 20;
    let runtime = Runtime::builder().workers(1).compensation(false);
    runtime.build().unwrap().run(|| {
        let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for listener in [
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::from(foreign),
        ] {
            let address = listener.local_addr().unwrap();
            let listener = Arc::new(listener);
            let accepted: Arc<Vec<_>> =
                Arc::new((0..ACCEPTORS).map(|_| AtomicUsize::new(0)).collect());
            for index in 0..ACCEPTORS {
                let (listener, accepted) = (listener.clone(), accepted.clone());
                spawn(move || {
                    loop {
                        let Ok(_) = listener.accept() else { return };
                        accepted[index].fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            until_parked(ACCEPTORS);
            for round in 1..=3 {
                let total = || -> usize {
                    accepted
                        .iter()
                        .map(|accepted| accepted.load(Ordering::SeqCst))
                        .sum()
                };
                // Nobody else runs in between: they come together.
                let streams: Vec<_> = (0..ACCEPTORS)
                    .map(|_| std::net::TcpStream::connect(address).unwrap())
                    .collect();
                eventually(|| total() == round * ACCEPTORS);
                until_parked(ACCEPTORS);
                drop(streams);
                let counts: Vec<_> = accepted
                    .iter()
                    .map(|accepted| accepted.load(Ordering::SeqCst))
                    .collect();
                assert_eq!(counts, [round; ACCEPTORS]);
            }
            // SAFETY: the number of an open socket; what is shut stays open.
            unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
            eventually(|| metrics().unwrap().live == 1);
        }
    });
}

/// Several writers of a full stream all get their turn, and all come to their end.
#[test]
fn writers_of_one_stream_all_come_to_their_end() {
    on_each_number_of_workers(|| {
        const EACH: usize = 1 << 20;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = Arc::new(ours);
        let writers: Vec<_> = (0..8)
            .map(|index| {
                let ours = ours.clone();
                spawn(move || (&*ours).write_all(&vec![index; EACH]).unwrap())
            })
            .collect();
        drop(ours);
        yield_now();
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).unwrap();
        for index in 0..8 {
            assert_eq!(all.iter().filter(|&&byte| byte == index).count(), EACH);
        }
        writers
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

/// On one worker, nothing is read from the epoll set between what comes and the newcomer's call.
#[test]
fn a_newcomer_does_not_overtake_who_waits_for_a_datagram() {
    let runtime = Runtime::builder().workers(1).compensation(false);
    runtime.build().unwrap().run(|| {
        let server = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let address = server.local_addr().unwrap();
        let receive = |server: &UdpSocket| {
            let mut byte = [0];
            server.recv(&mut byte).unwrap();
            byte[0]
        };
        let first = || {
            let server = server.clone();
            let first = spawn(move || receive(&server));
            until_parked(1);
            first
        };
        let client = StdUdpSocket::bind("127.0.0.1:0").unwrap();
        // From now on, the epoll set knows the socket.
        let earlier = first();
        client.send_to(b"x", address).unwrap();
        assert_eq!(earlier.join().unwrap(), b'x');
        let first = first();
        client.send_to(b"a", address).unwrap();
        client.send_to(b"b", address).unwrap();
        let newcomers = receive(&server);
        assert_eq!((first.join().unwrap(), newcomers), (b'a', b'b'));
    });
}

#[test]
fn a_newcomer_does_not_overtake_who_waits_to_accept() {
    let runtime = Runtime::builder().workers(1).compensation(false);
    runtime.build().unwrap().run(|| {
        let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for listener in [
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::from(foreign),
        ] {
            let address = listener.local_addr().unwrap();
            let listener = Arc::new(listener);
            let accept = |listener: &TcpListener| listener.accept().unwrap().1;
            let first = || {
                let listener = listener.clone();
                let first = spawn(move || accept(&listener));
                until_parked(1);
                first
            };
            let connect = || std::net::TcpStream::connect(address).unwrap();
            // From now on, the epoll set knows the socket.
            let earlier = first();
            let _stream = connect();
            earlier.join().unwrap();
            let first = first();
            let streams = [connect(), connect()];
            let newcomers = accept(&listener);
            let clients = streams.map(|stream| stream.local_addr().unwrap());
            assert_eq!([first.join().unwrap(), newcomers], clients);
        }
    });
}

/// Its wake is for the next one, whether it waits on or gives up.
#[test]
fn who_has_no_use_for_what_there_is_swallows_no_wake() {
    on_each_number_of_workers(|| {
        for gives_up in [false, true] {
            let server = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
            let address = server.local_addr().unwrap();
            let is_over = Arc::new(AtomicBool::new(false));
            let strict = {
                let (server, is_over) = (server.clone(), is_over.clone());
                spawn(move || {
                    let section = hook::enter(Patch::SOCKET).unwrap();
                    let mut tries = 0;
                    let attempt = || {
                        tries += 1;
                        match tries {
                            2 if gives_up => Err(Errno::INTR),
                            _ if is_over.load(Ordering::SeqCst) => Ok(()),
                            _ => Err(Errno::AGAIN),
                        }
                    };
                    section.call(server.as_raw_fd())?.retry(
                        Interest::Read,
                        |_, _| Ok(None),
                        attempt,
                    )
                })
            };
            until_parked(1);
            let receiver = {
                let server = server.clone();
                spawn(move || server.recv(&mut [0; 8]).unwrap())
            };
            until_parked(2);
            let client = StdUdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"a", address).unwrap();
            assert_eq!(receiver.join().unwrap(), 1);
            is_over.store(true, Ordering::SeqCst);
            client.send_to(b"a", address).unwrap();
            let expected = if gives_up { Err(Errno::INTR) } else { Ok(()) };
            assert_eq!(strict.join().unwrap(), expected);
        }
    });
}

/// Its turn does not come in time: the kernel was not asked, and the connection is the next one's.
#[test]
fn who_is_too_late_for_its_turn_to_accept_leaves_the_connection_to_others() {
    on_each_number_of_workers(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.as_raw_fd();
        let has_turn = Arc::new(AtomicBool::new(false));
        let is_over = Arc::new(AtomicBool::new(false));
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let slow = {
            let (has_turn, is_over) = (has_turn.clone(), is_over.clone());
            spawn(move || {
                let section = hook::enter(Patch::SOCKET).unwrap();
                section.call(number).unwrap().retry_accept(None, || {
                    has_turn.store(true, Ordering::SeqCst);
                    while !is_over.load(Ordering::SeqCst) {
                        section.yield_now();
                    }
                    Err::<(), _>(Errno::INTR)
                })
            })
        };
        eventually(|| has_turn.load(Ordering::SeqCst));
        let section = hook::enter(Patch::SOCKET).unwrap();
        let soon = Deadline::after(Duration::from_millis(5));
        let late = section
            .call(number)
            .unwrap()
            .retry_accept(Some(soon), || Ok(()));
        drop(section);
        assert_eq!(late, Err(Errno::AGAIN));
        is_over.store(true, Ordering::SeqCst);
        assert_eq!(slow.join().unwrap(), Err(Errno::INTR));
        let section = hook::enter(Patch::SOCKET).unwrap();
        assert_eq!(
            section.call(number).unwrap().retry_accept(None, || Ok(())),
            Ok(())
        );
    });
}
