//! One request to a server of the demonstration, on a connection of its own.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A request that was sent.
pub(super) struct Exchange {
    stream: TcpStream,
}

impl Exchange {
    /// Connects to `address` and asks for `target`.
    pub(super) fn begin(address: &str, target: &str, patience: Duration) -> io::Result<Exchange> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(patience))?;
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        Ok(Exchange { stream })
    }

    /// Waits until the server at `address` answers anything: a path that its application does not have.
    pub(super) fn until_served(address: &str, patience: Duration) -> io::Result<()> {
        let mut exchange = Exchange::begin(address, "/ready", patience)?;
        exchange.stream.read_exact(&mut [0])
    }

    /// Waits for the whole response, which is to be the one of the application hello.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut response = String::new();
        self.stream.read_to_string(&mut response)?;
        if response.starts_with("HTTP/1.1 200 ") && response.ends_with("\r\n\r\n{}\n") {
            return Ok(());
        }
        let line = response.lines().next();
        let text = match line {
            Some(line) => format!("unexpected response: {line}"),
            None => "the server has closed the connection without an answer".to_owned(),
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}
