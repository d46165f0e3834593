//! The yielding TCP types, over real loopback sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use greenpatch_runtime::net::{TcpListener, TcpStream};
use greenpatch_runtime::{Patch, Runtime, spawn};

/// Runs `test` on an OS thread, and on green threads without any shim.
fn everywhere(test: fn()) {
    test();
    for workers in [1, 2] {
        let runtime = Runtime::builder()
            .workers(workers)
            .patch(Patch::none())
            .build()
            .unwrap();
        runtime.run(test);
    }
}

/// Starts `f` on a thread of the caller's kind.
fn start<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Box<dyn FnOnce() -> T> {
    if greenpatch_runtime::thread::is_green() {
        let thread = spawn(f);
        Box::new(|| thread.join().unwrap())
    } else {
        let thread = std::thread::spawn(f);
        Box::new(|| thread.join().unwrap())
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, address) = listener.accept().unwrap();
    assert_eq!(address, ours.local_addr().unwrap());
    (ours, theirs)
}

#[test]
fn megabytes_arrive_in_order_through_small_buffers() {
    everywhere(|| {
        let (mut ours, mut theirs) = pair();
        let data: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = data.clone();
        let writer = start(move || {
            ours.write_all(&data).unwrap();
            ours.shutdown(Shutdown::Write).unwrap();
            let mut rest = Vec::new();
            ours.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, b"done");
        });
        let mut received = Vec::new();
        let mut buffer = [0; 1500];
        loop {
            match theirs.read(&mut buffer).unwrap() {
                0 => break,
                read => received.extend_from_slice(&buffer[..read]),
            }
        }
        assert!(received == expected);
        theirs.write_all(b"done").unwrap();
        drop(theirs);
        writer();
    });
}

#[test]
fn a_read_ends_with_would_block_when_its_time_is_over() {
    everywhere(|| {
        let (mut ours, _theirs) = pair();
        let timeout = Duration::from_millis(30);
        ours.set_read_timeout(Some(timeout)).unwrap();
        let start = Instant::now();
        let error = ours.read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= timeout);
        assert!(ours.set_read_timeout(Some(Duration::ZERO)).is_err());
    });
}

#[test]
fn in_non_blocking_mode_nothing_waits() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let (ours, theirs) = pair();
        ours.try_clone().unwrap().set_nonblocking(true).unwrap();
        assert_eq!(
            (&ours).read(&mut [0; 1]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        drop(theirs);
    });
}

#[test]
fn a_refused_connection_says_so() {
    everywhere(|| {
        let port = StdListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert_eq!(
            TcpStream::connect(port).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        let timeout = Duration::from_secs(5);
        let error = TcpStream::connect_timeout(&port, timeout).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_shutdown_wakes_a_reader_on_another_thread() {
    everywhere(|| {
        let (ours, theirs) = pair();
        let reader = {
            let ours = ours.try_clone().unwrap();
            start(move || (&ours).read(&mut [0; 10]).unwrap())
        };
        greenpatch_runtime::time::sleep(Duration::from_millis(5));
        ours.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reader(), 0);
        drop(theirs);
    });
}

#[test]
fn two_readers_of_one_connection_share_what_comes() {
    everywhere(|| {
        let (ours, mut theirs) = pair();
        let total = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (ours, total) = (ours.try_clone().unwrap(), total.clone());
                start(move || {
                    let mut buffer = [0; 7];
                    loop {
                        match (&ours).read(&mut buffer).unwrap() {
                            0 => return,
                            read => total.fetch_add(read, Ordering::Relaxed),
                        };
                    }
                })
            })
            .collect();
        for _ in 0..1000 {
            theirs.write_all(b"0123456789").unwrap();
        }
        drop(theirs);
        readers.into_iter().for_each(|reader| reader());
        assert_eq!(total.load(Ordering::Relaxed), 10_000);
    });
}

#[test]
fn descriptor_numbers_are_used_again_without_a_stale_event_or_a_lost_one() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = start(move || {
            for _ in 0..2000 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                stream.write_all(&byte).unwrap();
            }
        });
        for n in 0..2000_u32 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&[n as u8]).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, [n as u8]);
        }
        server();
    });
}
