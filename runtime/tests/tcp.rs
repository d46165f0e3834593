//! The TCP types: what std's promise, on std's and on ours, and what only ours do.

mod of_std {
    use std::net::{Incoming, TcpListener, TcpStream};
    use std::os::linux::net::TcpStreamExt;

    use harness::unpatched::{on_os_threads as everywhere, start};

    include!("spec/tcp_spec.rs");
}

mod ours {
    use greenpatch_runtime::net::{Incoming, TcpListener, TcpStream};

    use harness::unpatched::{everywhere, start};

    include!("spec/tcp_spec.rs");
}

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, process, thread};

use greenpatch_runtime::net::{TcpListener, TcpStream};
use greenpatch_runtime::time::timeout;
use greenpatch_runtime::{spawn, yield_now};
use harness::unpatched::{everywhere, on_green_threads, start};
use harness::{Watchdog, pause, unpatched};

#[test]
fn others_run_while_a_green_thread_waits_for_its_socket() {
    on_green_threads(1, || {
        let done = Arc::new(AtomicBool::new(false));
        let other = {
            let done = done.clone();
            spawn(move || {
                let mut turns = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    turns += 1;
                    yield_now();
                }
                turns
            })
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // The peer is an OS thread that does nothing until it has seen for itself that the green one waits.
        let peer = thread::spawn(move || {
            pause();
            let mut stream = StdStream::connect(address).unwrap();
            pause();
            stream.write_all(b"!").unwrap();
        });
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        done.store(true, Ordering::Relaxed);
        assert!(other.join().unwrap() > 2);
        peer.join().unwrap();
    });
}

#[test]
fn green_threads_and_os_threads_talk_over_ours() {
    on_green_threads(1, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let os_threads: Vec<_> = (0..4_u8)
            .map(|n| {
                thread::spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    for round in 0..100 {
                        stream.write_all(&[n, round]).unwrap();
                        let mut answer = [0; 2];
                        stream.read_exact(&mut answer).unwrap();
                        assert_eq!(answer, [n, round]);
                    }
                })
            })
            .collect();
        let echoes: Vec<_> = listener
            .incoming()
            .take(4)
            .map(|stream| {
                spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut bytes = [0; 2];
                    while stream.read_exact(&mut bytes).is_ok() {
                        stream.write_all(&bytes).unwrap();
                    }
                })
            })
            .collect();
        echoes.into_iter().for_each(|echo| echo.join().unwrap());
        os_threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn one_handle_serves_a_green_thread_and_an_os_thread_at_once() {
    on_green_threads(1, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = Arc::new(TcpStream::connect(address).unwrap());
        let (mut theirs, _) = listener.accept().unwrap();
        let total = {
            let stream = stream.clone();
            thread::spawn(move || io::copy(&mut &*stream, &mut io::sink()).unwrap())
        };
        let mine = spawn(move || io::copy(&mut &*stream, &mut io::sink()).unwrap());
        for _ in 0..100 {
            theirs.write_all(&[0; 1000]).unwrap();
            yield_now();
        }
        drop(theirs);
        // Joins the green thread first: the OS thread ends without help from this one.
        assert_eq!(mine.join().unwrap() + total.join().unwrap(), 100_000);
    });
}

#[test]
fn streams_keep_their_descriptors_mode() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        assert!(stream.read(&mut [0]).is_err());
        for stream in [&stream, &accepted] {
            assert!(!is_nonblocking(stream));
        }
        let std = StdStream::from(stream);
        std.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from(std);
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(is_nonblocking(&stream));
    });
}

#[test]
fn a_listener_is_given_back_in_the_mode_it_was_asked_for() {
    everywhere(|| {
        for nonblocking in [false, true] {
            let std = StdListener::bind("127.0.0.1:0").unwrap();
            std.set_nonblocking(nonblocking).unwrap();
            let ours = TcpListener::from(std);
            if nonblocking {
                assert_eq!(ours.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
            }
            assert_eq!(is_nonblocking(&StdListener::from(ours)), nonblocking);
        }
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        ours.set_nonblocking(true).unwrap();
        assert!(is_nonblocking(&StdListener::from(ours)));
    });
}

#[test]
fn handles_to_a_listener_that_std_has_as_well_still_wait() {
    everywhere(|| {
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ours.local_addr().unwrap();
        let std = StdListener::from(ours.try_clone().unwrap());
        assert!(!is_nonblocking(&std));
        let acceptor = {
            let ours = ours.try_clone().unwrap();
            start(move || ours.accept().unwrap().1)
        };
        pause();
        let client = TcpStream::connect(address).unwrap();
        assert_eq!(acceptor(), client.local_addr().unwrap());
        std.set_nonblocking(true).unwrap();
        assert_eq!(ours.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        ours.set_nonblocking(false).unwrap();
        assert!(!is_nonblocking(&std));
    });
}

#[test]
fn a_listener_that_others_may_share_stays_in_its_mode_while_it_is_ours() {
    everywhere(|| {
        let std = StdListener::bind("127.0.0.1:0").unwrap();
        let shared = std.try_clone().unwrap();
        let ours = TcpListener::from(std);
        let address = ours.local_addr().unwrap();
        let acceptors = [(), ()].map(|()| {
            let ours = ours.try_clone().unwrap();
            start(move || ours.accept().unwrap())
        });
        pause();
        assert!(!is_nonblocking(&shared));
        let _clients = [(), ()].map(|()| TcpStream::connect(address).unwrap());
        for acceptor in acceptors {
            acceptor();
        }
        assert!(!is_nonblocking(&shared));
        drop(ours);
        assert!(!is_nonblocking(&shared));
    });
}

#[test]
fn waiting_on_a_shared_listener_in_blocking_mode_is_cut_short() {
    everywhere(|| {
        let std = StdListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpListener::from(std);
        // One waits for a connection, the others for their turn.
        let acceptors = [(), (), ()].map(|()| {
            let ours = ours.try_clone().unwrap();
            start(move || timeout(Duration::from_millis(20), || ours.accept()))
        });
        for acceptor in acceptors {
            let outcome = acceptor().unwrap_err().into_inner();
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TimedOut);
        }
        let _client = TcpStream::connect(ours.local_addr().unwrap()).unwrap();
        ours.accept().unwrap();
    });
}

#[test]
fn a_forked_child_accepts_on_what_its_parent_waits_for() {
    let _watchdog = Watchdog::start();
    // With a runtime, threads of the parent accept one by one.
    let runtime = unpatched::runtime(1);
    let ours = Arc::new(TcpListener::from(StdListener::bind("127.0.0.1:0").unwrap()));
    let theirs = ours.clone();
    let waiting =
        thread::spawn(move || timeout(Duration::from_secs(1), || theirs.accept().map(drop)));
    pause();
    // SAFETY: the child accepts, which allocates nothing, and exits at once.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let accepted = ours.accept().is_ok();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(accepted)) };
    }
    waiting.join().unwrap().unwrap_err();
    let _client = TcpStream::connect(ours.local_addr().unwrap()).unwrap();
    let mut status = 0;
    // SAFETY: a valid place for the status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(libc::WEXITSTATUS(status), 1);
    drop(runtime);
}

#[test]
fn a_shared_listener_in_non_blocking_mode_waits_if_asked_to() {
    everywhere(|| {
        let std = StdListener::bind("127.0.0.1:0").unwrap();
        std.set_nonblocking(true).unwrap();
        let shared = std.try_clone().unwrap();
        let ours = TcpListener::from(std);
        ours.set_nonblocking(false).unwrap();
        let address = ours.local_addr().unwrap();
        let acceptor = {
            let ours = ours.try_clone().unwrap();
            start(move || ours.accept().unwrap().1)
        };
        pause();
        assert!(is_nonblocking(&shared));
        let client = TcpStream::connect(address).unwrap();
        assert_eq!(acceptor(), client.local_addr().unwrap());
    });
}

#[test]
fn a_connect_that_is_cut_short_tries_no_further_address() {
    everywhere(|| {
        let (full, _backlog) = full_listener();
        let open = StdListener::bind("127.0.0.1:0").unwrap();
        open.set_nonblocking(true).unwrap();
        let addresses = [&full, &open].map(|listener| listener.local_addr().unwrap());
        let connect = move || TcpStream::connect(&addresses[..]);
        let outcome = timeout(Duration::from_millis(20), connect).unwrap_err();
        let error = outcome.into_inner().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(open.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

/// A listener whose queue is full, so that connecting to it waits, and what fills it.
fn full_listener() -> (StdListener, StdStream) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    // One more than the queue's length is let in.
    let backlog = StdStream::connect(address).unwrap();
    (listener, backlog)
}

fn is_nonblocking(socket: &impl std::os::fd::AsFd) -> bool {
    rustix::fs::fcntl_getfl(socket)
        .unwrap()
        .contains(rustix::fs::OFlags::NONBLOCK)
}

#[test]
fn a_deadline_scope_ends_every_wait_on_a_socket() {
    use greenpatch_runtime::net::{UdpSocket, UnixDatagram, UnixStream};
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        let (_theirs, _) = listener.accept().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (unix, _other) = UnixStream::pair().unwrap();
        let path = std::env::temp_dir().join(format!("greenpatch-scope-{}", process::id()));
        let _ = fs::remove_file(&path);
        let full = UnixDatagram::bind(&path).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        ends_in_time(|| listener.accept().map(drop));
        ends_in_time(|| (&stream).read(&mut [0]).map(drop));
        ends_in_time(|| stream.peek(&mut [0]).map(drop));
        ends_in_time(|| (&stream).write_all(&vec![0; 64 << 20]));
        ends_in_time(|| udp.recv_from(&mut [0]).map(drop));
        ends_in_time(|| (&unix).read(&mut [0]).map(drop));
        ends_in_time(|| full.recv(&mut [0]).map(drop));
        ends_in_time(|| {
            loop {
                // Ends once the queue is full.
                sender.send_to(b"unread", &path)?;
            }
        });
        rustix::net::listen(&listener, 0).unwrap();
        let queued = TcpStream::connect(address).unwrap();
        ends_in_time(|| TcpStream::connect(address).map(drop));
        drop(queued);
        fs::remove_file(&path).unwrap();
    });
}

/// Calls what would wait for ever.
fn ends_in_time(call: impl FnOnce() -> io::Result<()>) {
    let late = timeout(Duration::from_millis(5), call).unwrap_err();
    let error = late.into_inner().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}
