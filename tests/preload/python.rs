//! CPython on green threads: its servers, its pools, and its own tests of threads and sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use crate::program::{Scratch, Watched, green, green_silent, native, run};

/// A Python that comes with its own tests.
fn python() -> &'static str {
    ["/usr/bin/python3", "python3"]
        .into_iter()
        .find(|python| {
            let asked = native(&[python, "-c", "import test.test_threading"]).output();
            asked.is_ok_and(|output| output.status.success())
        })
        .expect("no python3 has its tests; install libpython3.N-testsuite as tests/run does")
}

#[test]
fn a_threading_http_server_serves_two_hundred_slow_clients_at_once() {
    const CLIENTS: usize = 200;
    const REQUEST: &[u8] = b"GET / HTTP/1.0\r\nHost: here\r\n\r\n";
    let scratch = Scratch::new();
    let script = scratch.file(
        "server.py",
        r#"
import http.server, os, sys, threading

together = threading.Barrier(200)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        together.wait()
        body = b"hello"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512

server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever).start()
sys.stdin.readline()
print(len(os.listdir("/proc/self/task")), flush=True)
sys.stdin.read()
server.shutdown()
"#,
    );
    let mut server = green(&[], &[python().as_ref(), script.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let _watched = Watched::new(&server);
    let mut lines = BufReader::new(server.stdout.take().expect("a pipe")).lines();
    let mut number = || -> usize {
        let line = lines.next().expect("a line").expect("a line");
        line.parse().expect("a number")
    };
    let port = u16::try_from(number()).expect("a port");
    let mut clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).expect("it listens"))
        .collect();
    let (last, head) = REQUEST.split_last().expect("not empty");
    for byte in head {
        for client in &mut clients {
            client.write_all(&[*byte]).expect("it reads");
        }
    }
    // Nobody is answered before all are being served.
    for client in &mut clients {
        client.write_all(&[*last]).expect("it reads");
    }
    for client in &mut clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        assert!(answer.ends_with("hello"), "{answer}");
    }
    let mut stdin = server.stdin.take().expect("a pipe");
    stdin.write_all(b"\n").expect("it reads");
    let os_threads = number();
    assert!(os_threads < 100, "{os_threads} OS threads");
    drop(stdin);
    let output = server.wait_with_output().expect("our child");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("run as green threads"), "{stderr}");
}

#[test]
fn pools_futures_queues_and_children_work() {
    let script = r#"
import os, queue, subprocess, threading, time
from concurrent.futures import ThreadPoolExecutor

with ThreadPoolExecutor(200) as pool:
    # Nobody goes on before two hundred threads are there.
    together = threading.Barrier(200)
    assert len(set(pool.map(lambda _: together.wait(), range(200)))) == 200
    numbers = range(1000)
    assert list(pool.map(lambda n: (time.sleep(0.01), n * n)[1], numbers)) == [n * n for n in numbers]
    say = lambda n: subprocess.run(["echo", str(n)], capture_output=True, check=True).stdout
    assert list(pool.map(say, range(8))) == [b"%d\n" % n for n in range(8)]
    failed = pool.submit(lambda: 1 / 0)
    assert isinstance(failed.exception(), ZeroDivisionError)

line = queue.Queue(maxsize=2)
def produce():
    for n in range(100):
        line.put(n)
producer = threading.Thread(target=produce)
producer.start()
assert [line.get() for _ in range(100)] == list(range(100))
producer.join()

def fork():
    child = os.fork()
    if child == 0:
        inner = threading.Thread(target=time.sleep, args=(0.01,))
        inner.start()
        inner.join()
        os._exit(4)
    _, status = os.waitpid(child, 0)
    results.append(os.waitstatus_to_exitcode(status))
results = []
fork()
forker = threading.Thread(target=fork)
forker.start()
forker.join()
assert results == [4, 4], results
print("done")
"#;
    let outcome = run(&mut green(&[], &[python(), "-c", script]), b"").succeeds();
    assert_eq!(outcome.text(), "done");
    assert!(outcome.green_threads() >= 200, "{}", outcome.stderr);
}

/// Runs CPython's own tests of these names.
#[track_caller]
fn passes(arguments: &[&str]) {
    let scratch = Scratch::new();
    // Some send themselves SIGINT, which a shell ignores for what it starts in the background. What fails is shown in full.
    let default = "--default-signal=INT";
    let mut command = vec!["/usr/bin/env", default, python(), "-m", "test", "-W"];
    command.extend(arguments);
    let outcome = run(green_silent(&[], &command).current_dir(scratch.path()), b"");
    assert_eq!(outcome.code(), 0, "{}\n{}", outcome.text(), outcome.stderr);
}

#[test]
fn cpythons_own_tests_of_threads_and_servers_pass() {
    passes(&[
        "test_thread",
        "test_threading_local",
        "test_socketserver",
        "test_select",
        "test_epoll",
        "test_httpservers",
    ]);
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "takes a while, and the release build runs it"
)]
fn cpythons_own_tests_of_threading_pass() {
    // They count the kernel's threads.
    passes(&["test_threading", "-i", "test_various_ops*"]);
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "takes a while, and the release build runs it"
)]
fn cpythons_own_tests_of_queues_and_sockets_pass() {
    // Those that hang natively in some virtual machines, and those that take long by sleeping.
    passes(&["test_queue", "test_socket", "-i", "*VSOCK*"]);
}
