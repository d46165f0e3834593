//! TCP in std::net, unmodified: the same bodies on OS threads and on green threads, over real sockets.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

// For its shims.
use greenpatch as _;
use harness::on_every_kind_of_thread;

on_every_kind_of_thread! {
    a_hundred_clients_are_echoed_at_once,
    a_reader_waits_for_its_writer,
    the_end_of_the_peer_ends_the_stream,
    read_timeout_ends_a_read,
    write_timeout_ends_a_write,
    a_timeout_of_none_waits_again,
    nonblocking_sockets_say_would_block,
    connect_timeout_connects,
    connect_timeout_tells_a_refused_connection,
    connect_timeout_ends_when_nobody_accepts,
    many_connects_time_out_together,
    connect_tells_a_refused_connection,
    a_name_is_resolved_and_connected_to,
    shutdown_from_another_thread_wakes_a_reader,
    one_write_to_a_slow_reader_completes,
    a_half_closed_stream_still_receives,
    a_stream_reads_and_writes_at_once,
    acceptors_share_a_listener,
    a_reused_descriptor_knows_nothing_of_its_past,
    peek_leaves_the_data,
    vectored_io_keeps_the_order,
}

const SHORT: Duration = Duration::from_millis(50);
const FAR: Duration = Duration::from_secs(40);

/// The two ends of a connection over loopback.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

fn a_hundred_clients_are_echoed_at_once() {
    const CLIENTS: usize = 100;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for _ in 0..CLIENTS {
            let (mut stream, _) = listener.accept().unwrap();
            thread::spawn(move || {
                let mut reader = stream.try_clone().unwrap();
                std::io::copy(&mut reader, &mut stream).unwrap();
            });
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let mut replies = BufReader::new(stream.try_clone().unwrap());
                for round in 0..20 {
                    let line = format!("client {client} round {round}\n");
                    stream.write_all(line.as_bytes()).unwrap();
                    let mut reply = String::new();
                    replies.read_line(&mut reply).unwrap();
                    assert_eq!(reply, line);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    server.join().unwrap();
}

fn a_reader_waits_for_its_writer() {
    let (mut client, mut server) = tcp_pair();
    let started = Instant::now();
    let reader = thread::spawn(move || {
        let mut data = [0; 5];
        server.read_exact(&mut data).unwrap();
        (data, Instant::now())
    });
    thread::sleep(SHORT);
    client.write_all(b"hello").unwrap();
    let (data, read) = reader.join().unwrap();
    assert_eq!(&data, b"hello");
    assert!(read - started >= SHORT);
}

fn the_end_of_the_peer_ends_the_stream() {
    let (mut client, server) = tcp_pair();
    let reader = thread::spawn(move || client.read(&mut [0; 8]).unwrap());
    thread::sleep(SHORT);
    drop(server);
    assert_eq!(reader.join().unwrap(), 0);
}

fn read_timeout_ends_a_read() {
    let (mut client, mut server) = tcp_pair();
    client.set_read_timeout(Some(SHORT)).unwrap();
    assert!(client.read_timeout().unwrap().unwrap() >= SHORT);
    for _ in 0..2 {
        let started = Instant::now();
        assert_eq!(
            client.read(&mut [0; 8]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        assert!(started.elapsed() >= SHORT);
    }
    // Data that is there is no matter of time.
    server.write_all(b"late").unwrap();
    client.set_read_timeout(Some(FAR)).unwrap();
    let mut data = [0; 4];
    client.read_exact(&mut data).unwrap();
    assert_eq!(&data, b"late");
}

fn write_timeout_ends_a_write() {
    let (mut client, _server) = tcp_pair();
    client.set_write_timeout(Some(SHORT)).unwrap();
    let started = Instant::now();
    let chunk = [0; 64 * 1024];
    let mut sent = 0;
    let error = loop {
        match client.write(&chunk) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
        assert!(sent < 1 << 30, "nobody reads, and yet a gigabyte was sent");
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(started.elapsed() >= SHORT);
    assert!(sent > 0);
}

fn a_timeout_of_none_waits_again() {
    let (mut client, mut server) = tcp_pair();
    client
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    assert_eq!(
        client.read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    client.set_read_timeout(None).unwrap();
    let writer = thread::spawn(move || {
        thread::sleep(SHORT);
        server.write_all(b"x").unwrap();
    });
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 1);
    writer.join().unwrap();
}

fn nonblocking_sockets_say_would_block() {
    let (mut client, mut server) = tcp_pair();
    client.set_nonblocking(true).unwrap();
    assert_eq!(
        client.read(&mut [0; 8]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    let chunk = [0; 64 * 1024];
    let error = loop {
        if let Err(error) = client.write(&chunk) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
    let writer = thread::spawn(move || {
        thread::sleep(SHORT);
        server.write_all(b"ok").unwrap();
        server
    });
    let mut data = [0; 2];
    client.read_exact(&mut data).unwrap();
    assert_eq!(&data, b"ok");
    writer.join().unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

fn connect_timeout_connects() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = TcpStream::connect_timeout(&address, FAR).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    // The stream that comes out of it blocks again.
    let writer = thread::spawn(move || {
        thread::sleep(SHORT);
        server.write_all(b"!").unwrap();
    });
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 1);
    writer.join().unwrap();
}

fn connect_timeout_tells_a_refused_connection() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = TcpStream::connect_timeout(&address, FAR).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

/// A listener that takes no more connections, and the connections that fill its backlog.
fn full_listener() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: `listener` keeps the descriptor open; the call shortens its backlog.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let mut backlog = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, 4 * SHORT) {
        backlog.push(stream);
        assert!(backlog.len() < 16, "the backlog never fills");
    }
    (listener, backlog)
}

fn connect_timeout_ends_when_nobody_accepts() {
    let (listener, _backlog) = full_listener();
    let started = Instant::now();
    let error = TcpStream::connect_timeout(&listener.local_addr().unwrap(), 4 * SHORT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(started.elapsed() >= 4 * SHORT);
}

fn many_connects_time_out_together() {
    const TIMEOUT: Duration = Duration::from_millis(400);
    let (listener, _backlog) = full_listener();
    let address = listener.local_addr().unwrap();
    let (waiting, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let (waiting, most) = (waiting.clone(), most.clone());
            thread::spawn(move || {
                most.fetch_max(waiting.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let started = Instant::now();
                let error = TcpStream::connect_timeout(&address, TIMEOUT).unwrap_err();
                waiting.fetch_sub(1, Ordering::SeqCst);
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                assert!(started.elapsed() >= TIMEOUT);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let most = most.load(Ordering::SeqCst);
    // More than there are workers.
    assert!(most > 2, "{most} waited at a time");
}

fn connect_tells_a_refused_connection() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = TcpStream::connect(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

fn a_name_is_resolved_and_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("localhost", port)).unwrap();
    assert_eq!(client.peer_addr().unwrap().port(), port);
}

fn shutdown_from_another_thread_wakes_a_reader() {
    let (client, _server) = tcp_pair();
    let client = Arc::new(client);
    let readers = [Arc::clone(&client), Arc::new(client.try_clone().unwrap())]
        .map(|stream| thread::spawn(move || (&*stream).read(&mut [0; 8]).unwrap()));
    thread::sleep(SHORT);
    client.shutdown(Shutdown::Both).unwrap();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), 0);
    }
}

fn one_write_to_a_slow_reader_completes() {
    const SIZE: usize = 16 << 20;
    let (mut client, mut server) = tcp_pair();
    let reader = thread::spawn(move || {
        let mut chunk = vec![0; 256 * 1024];
        let (mut received, mut sum) = (0, 0u64);
        loop {
            let count = server.read(&mut chunk).unwrap();
            if count == 0 {
                return (received, sum);
            }
            received += count;
            sum += chunk[..count]
                .iter()
                .map(|byte| u64::from(*byte))
                .sum::<u64>();
            thread::sleep(Duration::from_millis(1));
        }
    });
    let data: Vec<u8> = (0..SIZE).map(|index| (index % 251) as u8).collect();
    // One call: a blocking stream takes all of it.
    assert_eq!(client.write(&data).unwrap(), SIZE);
    drop(client);
    let (received, sum) = reader.join().unwrap();
    assert_eq!(received, SIZE);
    assert_eq!(sum, data.iter().map(|byte| u64::from(*byte)).sum::<u64>());
}

fn a_half_closed_stream_still_receives() {
    let (mut client, mut server) = tcp_pair();
    let answering = thread::spawn(move || {
        let mut question = String::new();
        server.read_to_string(&mut question).unwrap();
        server
            .write_all(question.to_uppercase().as_bytes())
            .unwrap();
    });
    client.write_all(b"half ").unwrap();
    thread::sleep(Duration::from_millis(10));
    client.write_all(b"closed").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(
        client.write(b"more").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "HALF CLOSED");
    answering.join().unwrap();
}

fn a_stream_reads_and_writes_at_once() {
    const SIZE: usize = 4 << 20;
    let (client, server) = tcp_pair();
    let threads: Vec<_> = [client, server]
        .into_iter()
        .flat_map(|stream| {
            let stream = Arc::new(stream);
            let reading = Arc::clone(&stream);
            // Both directions of one descriptor wait at the same time.
            let writer = thread::spawn(move || {
                (&*stream).write_all(&vec![7; SIZE]).unwrap();
                SIZE
            });
            let reader = thread::spawn(move || {
                let mut data = vec![0; SIZE];
                (&*reading).read_exact(&mut data).unwrap();
                data.iter().filter(|byte| **byte == 7).count()
            });
            [writer, reader]
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), SIZE);
    }
}

fn acceptors_share_a_listener() {
    const CLIENTS: usize = 60;
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let (accepted, served) = mpsc::channel();
    for _ in 0..4 {
        let (listener, accepted) = (Arc::clone(&listener), accepted.clone());
        thread::spawn(move || {
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                let mut name = [0; 1];
                if stream.read(&mut name).unwrap() == 0 {
                    return;
                }
                accepted.send(name[0]).unwrap();
            }
        });
    }
    drop(accepted);
    for client in 0..CLIENTS {
        TcpStream::connect(address)
            .unwrap()
            .write_all(&[client as u8])
            .unwrap();
    }
    let mut names: Vec<u8> = served.iter().take(CLIENTS).collect();
    names.sort_unstable();
    assert!(names.into_iter().eq(0..CLIENTS as u8));
    // An empty connection sends one acceptor home.
    for _ in 0..4 {
        drop(TcpStream::connect(address).unwrap());
    }
    assert!(served.recv().is_err());
}

fn a_reused_descriptor_knows_nothing_of_its_past() {
    for round in 0..50u8 {
        let (mut client, mut server) = tcp_pair();
        let reader = thread::spawn(move || {
            let mut data = [0; 3];
            server.read_exact(&mut data).unwrap();
            data
        });
        thread::yield_now();
        client.write_all(&[round; 3]).unwrap();
        drop(client);
        assert_eq!(reader.join().unwrap(), [round; 3]);

        let (client, _server) = tcp_pair();
        client
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        assert_eq!(
            (&client).read(&mut [0; 1]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    }
}

fn peek_leaves_the_data() {
    let (client, mut server) = tcp_pair();
    let writer = thread::spawn(move || {
        thread::sleep(SHORT);
        server.write_all(b"abc").unwrap();
        server
    });
    let mut data = [0; 3];
    assert!(client.peek(&mut data).unwrap() >= 1);
    (&client).read_exact(&mut data).unwrap();
    assert_eq!(&data, b"abc");
    writer.join().unwrap();
}

fn vectored_io_keeps_the_order() {
    use std::io::{IoSlice, IoSliceMut};
    let (mut client, mut server) = tcp_pair();
    let reader = thread::spawn(move || {
        let (mut first, mut second) = ([0; 3], [0; 3]);
        let mut slices = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        let count = server.read_vectored(&mut slices).unwrap();
        (count, [first, second].concat())
    });
    thread::sleep(SHORT);
    let slices = [
        IoSlice::new(b"ab"),
        IoSlice::new(b""),
        IoSlice::new(b"cdef"),
    ];
    assert_eq!(client.write_vectored(&slices).unwrap(), 6);
    assert_eq!(reader.join().unwrap(), (6, b"abcdef".to_vec()));
}
