//! A downloader on `ureq`, a blocking HTTP client that knows nothing of green threads.
//!
//! Each file is fetched by a thread of its own from a server on loopback, which this program starts
//! itself and which takes its time. The downloads run side by side: the wall time is that of the
//! slowest one.
//!
//! ```text
//! cargo run --release -p greenpatch --example download
//! cargo run --release -p greenpatch --example download -- 500      # that many downloads
//! ```

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const FILE: usize = 100_000;
const SERVER_THINKS: Duration = Duration::from_millis(300);

fn main() {
    let downloads = std::env::args().nth(1).map_or(100, |count| {
        count
            .parse()
            .expect("the argument is the number of downloads")
    });
    greenpatch::run(move || {
        let address = start_server().expect("loopback has a free port");
        let started = Instant::now();
        let threads: Vec<_> = (0..downloads)
            .map(|number| thread::spawn(move || download(address, number)))
            .collect();
        let mut each = Vec::new();
        for thread in threads {
            each.push(
                thread
                    .join()
                    .expect("a download does not panic")
                    .expect("it succeeds"),
            );
        }
        let wall = started.elapsed();
        println!("{downloads} downloads of {FILE} bytes");
        println!(
            "wall time {wall:.2?}, sum of all {:.2?}",
            each.iter().sum::<Duration>()
        );
    });
}

/// Fetches one file and tells how long it took.
fn download(address: SocketAddr, number: usize) -> Result<Duration, ureq::Error> {
    let started = Instant::now();
    let mut response = ureq::get(format!("http://{address}/file/{number}")).call()?;
    let file = response.body_mut().read_to_vec()?;
    assert_eq!(file, content(number));
    Ok(started.elapsed())
}

/// What the server has at `/file/{number}`.
fn content(number: usize) -> Vec<u8> {
    (0..FILE)
        .map(|position| ((position + number) % 251) as u8)
        .collect()
}

/// A file server of a few lines, thread per connection.
fn start_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for header in lines {
        if header?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let number = path
        .trim_start_matches("/file/")
        .parse()
        .unwrap_or_default();
    thread::sleep(SERVER_THINKS);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {FILE}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(&content(number))
}
