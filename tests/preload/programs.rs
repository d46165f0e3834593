//! Programs of others that use threads: what they give is what they give natively.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use harness::free_port;

use crate::program::{Outcome, Scratch, Server, green, native, run};

/// Megabytes that compress to a fraction.
fn text() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut text = String::new();
    while text.len() < 4 << 20 {
        let _ = writeln!(text, "{} {:x}", text.len(), random.u32(..));
    }
    text.into_bytes()
}

fn run_green(command: &[&str], input: &[u8]) -> Outcome {
    run(&mut green(&[], command), input).succeeds()
}

fn run_native(command: &[&str], input: &[u8]) -> Outcome {
    run(&mut native(command), input).succeeds()
}

#[test]
fn xz_compresses_on_green_threads() {
    let text = text();
    // Small blocks, so that each thread gets one.
    let command = ["xz", "-T4", "-0", "--block-size=524288", "-c"];
    let packed = run_green(&command, &text);
    assert!(packed.green_threads() >= 4, "{}", packed.stderr);
    assert_eq!(packed.stdout, run_native(&command, &text).stdout);
    let unpacked = run_green(&["xz", "-dc", "-T4"], &packed.stdout);
    assert!(unpacked.stdout == text);
}

#[test]
fn zstd_compresses_on_green_threads() {
    let text = text();
    let command = ["zstd", "-T4", "-1", "-B524288", "-q", "-c"];
    let packed = run_green(&command, &text);
    assert!(packed.green_threads() >= 4, "{}", packed.stderr);
    assert_eq!(packed.stdout, run_native(&command, &text).stdout);
    let unpacked = run_green(&["zstd", "-dqc"], &packed.stdout);
    assert!(unpacked.stdout == text);
}

#[test]
fn pigz_compresses_on_green_threads() {
    let text = text();
    let command = ["pigz", "-p", "4", "-1", "-n", "-c"];
    let packed = run_green(&command, &text);
    assert!(packed.green_threads() >= 4, "{}", packed.stderr);
    assert_eq!(packed.stdout, run_native(&command, &text).stdout);
    let unpacked = run_green(&["pigz", "-dc"], &packed.stdout);
    assert!(unpacked.stdout == text);
}

#[test]
fn memcached_serves_from_green_threads() {
    const CLIENTS: usize = 20;
    let port = free_port();
    let port_text = port.to_string();
    let command = [
        "memcached",
        "-u",
        "nobody",
        "-t",
        "4",
        "-l",
        "127.0.0.1",
        "-p",
        &port_text,
    ];
    let server = Server::start(&mut green(&[], &command), port);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
                let mut lines = BufReader::new(stream.try_clone().expect("a duplicate")).lines();
                let mut next = || lines.next().expect("an answer").expect("an answer");
                for round in 0..20 {
                    let key = format!("key-{client}-{round}");
                    let request = format!("set {key} 0 0 5\r\nhello\r\nget {key}\r\n");
                    (&stream).write_all(request.as_bytes()).expect("it reads");
                    assert_eq!(next(), "STORED");
                    assert_eq!(next(), format!("VALUE {key} 0 5"));
                    assert_eq!(next(), "hello");
                    assert_eq!(next(), "END");
                }
            });
        }
    });
    let outcome = server.terminate().succeeds();
    assert!(outcome.green_threads() >= 4, "{}", outcome.stderr);
}

#[test]
fn redis_serves_and_its_benchmark_runs_on_green_threads() {
    let port = free_port().to_string();
    let scratch = Scratch::new();
    let directory = scratch.path().to_str().expect("UTF-8");
    let command = [
        "redis-server",
        "--port",
        &port,
        "--save",
        "",
        "--dir",
        directory,
    ];
    let number = port.parse().expect("a port");
    let server = Server::start(&mut green(&[], &command), number);
    let client = [
        "redis-benchmark",
        "-p",
        &port,
        "-n",
        "4000",
        "-c",
        "50",
        "--threads",
        "2",
        "-t",
        "set,get",
        "--csv",
    ];
    let outcome = run_green(&client, b"");
    assert!(outcome.green_threads() >= 2, "{}", outcome.stderr);
    assert!(outcome.text().contains("\"SET\""), "{}", outcome.text());
    assert!(outcome.text().contains("\"GET\""), "{}", outcome.text());
    // Frees in a background thread, one of the three that there are beside the main thread.
    let delete = run_native(&["redis-cli", "-p", &port, "flushall", "async"], b"");
    assert_eq!(delete.text(), "OK");
    let outcome = server.terminate().succeeds();
    assert!(outcome.green_threads() >= 3, "{}", outcome.stderr);
}

/// With a thread for each name, and with the same end whether there is a name server or not: the names are reserved to be
/// unknown.
#[test]
fn curl_looks_names_up_on_green_threads() {
    const NAMES: usize = 4;
    let command = [
        "curl",
        "-sS",
        "-Z",
        "--parallel-immediate",
        "http://name-[1-4].invalid/",
    ];
    let end = |mut curl: Command| {
        let outcome = run(curl.env("RES_OPTIONS", "timeout:1 attempts:1"), b"");
        let unknown = "Could not resolve host: name-";
        let failures = outcome.stderr.matches(unknown).count();
        (outcome.green_threads(), outcome.code(), failures)
    };
    let (_, code, failures) = end(native(&command));
    assert_eq!(failures, NAMES);
    assert_eq!(end(green(&[], &command)), (NAMES, code, NAMES));
}

/// All on curl's main thread, which stays an OS thread: the library in front of curl's own changes nothing for it.
#[test]
fn curl_transfers_in_parallel_without_threads_as_it_does_natively() {
    const TRANSFERS: usize = 20;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    // Each is answered only when all have come.
    thread::spawn(move || {
        let mut streams: Vec<TcpStream> = Vec::new();
        while streams.len() < TRANSFERS {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut head = [0; 4096];
            let mut read = 0;
            while !head[..read].ends_with(b"\r\n\r\n") {
                read += stream.read(&mut head[read..]).expect("a request");
            }
            streams.push(stream);
        }
        for mut stream in streams {
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\ncontent-length: 6\r\n\r\nhello\n");
        }
    });
    let mut command = vec![
        "curl",
        "-s",
        "-Z",
        "--parallel-immediate",
        "--parallel-max",
        "20",
    ];
    let url = format!("http://{address}/");
    command.extend([&*url; TRANSFERS]);
    let outcome = run_green(&command, b"");
    assert_eq!(outcome.green_threads(), 0, "{}", outcome.stderr);
    assert_eq!(
        outcome
            .text()
            .lines()
            .filter(|&line| line == "hello")
            .count(),
        TRANSFERS
    );
}

#[test]
fn a_shell_pipeline_works_as_without() {
    let outcome = run_green(
        &["sh", "-c", "printf 'b\\na\\n' | sort | tr a-z A-Z; wait"],
        b"",
    );
    assert_eq!(outcome.text(), "A\nB");
}

#[test]
fn sort_sorts_on_green_threads() {
    // A thread takes no fewer than 131,072 lines, and only of a file does sort read so many at a time.
    let numbers = (1..=300_000).rev().map(|number| format!("{number}\n"));
    let scratch = Scratch::new();
    let file = scratch.file("numbers", numbers.collect::<String>());
    let file = file.to_str().expect("UTF-8");
    let command = ["sort", "--parallel=4", "-n", file];
    let sorted = run_green(&command, b"");
    assert!(sorted.green_threads() >= 1, "{}", sorted.stderr);
    assert!(sorted.stdout == run_native(&command, b"").stdout);
}

#[test]
fn a_rust_program_is_green_without_being_linked_with_greenpatch() {
    let scratch = Scratch::new();
    let source = r#"
        use std::{sync::{Arc, Barrier}, thread};
        fn main() {
            let barrier = Arc::new(Barrier::new(300));
            let threads: Vec<_> = (0..300)
                .map(|n| {
                    let barrier = barrier.clone();
                    thread::spawn(move || {
                        barrier.wait();
                        thread::sleep(std::time::Duration::from_millis(20));
                        n
                    })
                })
                .collect();
            let sum: i32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            println!("{sum} {}", thread::available_parallelism().unwrap().get() > 0);
            let caught = thread::spawn(|| panic!("as it should")).join();
            assert!(caught.is_err());
        }
    "#;
    let source = scratch.file("program.rs", source);
    let program = scratch.path().join("program");
    let mut compiler = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    compiler
        .args(["--edition", "2024", "-o"])
        .arg(&program)
        .arg(&source);
    run(&mut compiler, b"").succeeds();
    let outcome = run(&mut green(&[], &[Path::new(&program)]), b"").succeeds();
    assert_eq!(outcome.text(), "44850 true");
    assert_eq!(outcome.green_threads(), 301);
}
