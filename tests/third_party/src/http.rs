//! A server that answers no request before all have come.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;

/// Listens on an OS thread, with one more for each connection: it owes nothing to green threads.
///
/// Must be made on an OS thread.
pub struct Gate {
    address: SocketAddr,
}

impl Gate {
    /// A server that answers when `count` requests are there, and then the next `count`. The answer is the path asked for.
    pub fn open(count: usize) -> Gate {
        assert!(!greenpatch::thread::is_green());
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let all_here = Arc::new(Barrier::new(count));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let all_here = all_here.clone();
                thread::spawn(move || answer(&stream.expect("a connection"), &all_here));
            }
        });
        Gate { address }
    }

    /// Where to ask for `path`.
    pub fn url(&self, path: impl std::fmt::Display) -> String {
        format!("http://{}/{path}", self.address)
    }
}

fn answer(mut stream: &TcpStream, all_here: &Barrier) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(request)) = lines.next() {
        let path = request
            .split(' ')
            .nth(1)
            .expect("a request line has a path")
            .to_owned();
        lines
            .by_ref()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .for_each(drop);
        all_here.wait();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}",
            path.len()
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
