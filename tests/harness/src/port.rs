//! Ports for servers.

use std::net::TcpListener;

/// A port of 127.0.0.1 that was free just now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("loopback has a free port")
        .port()
}
