//! Ten lines over std's types: a thread for each connection, on green threads; the bytes are those of the epoll loop.
//!
//! `experiment_ten_lines ADDRESS WORKERS`

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::{env, thread};

use greenpatch::Runtime;

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 12\r\n\
    date: Fri, 27 Nov 2026 12:00:00 GMT\r\n\r\nhello world!";

/// The last response on a connection.
const LAST_RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\
    content-length: 12\r\ndate: Fri, 27 Nov 2026 12:00:00 GMT\r\n\r\nhello world!";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, workers] = &arguments[..] else {
        return Err("give ADDRESS WORKERS".into());
    };
    let runtime = Runtime::builder().workers(workers.parse()?).build()?;
    Ok(runtime.run(|| serve(&TcpListener::bind(address)?))?)
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                let is_last = memchr::memmem::find(&buffer[..read], b"onnection: close").is_some();
                let response = if is_last { LAST_RESPONSE } else { RESPONSE };
                if stream.write_all(response).is_err() || is_last {
                    break;
                }
            }
        });
    }
    Ok(())
}
