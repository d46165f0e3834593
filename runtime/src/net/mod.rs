//! Sockets that yield: same methods as std (stub re-exports std for now).
pub use std::net::{TcpListener, TcpStream};
