//! TCP sockets that park the green thread where std's would block it.
//!
//! The types bear std's names, methods and errors. They need no shim, and also work on OS threads,
//! which they block. A server built on them yields in its own I/O even if its handlers are not patched.
//!
//! ```
//! use std::io::{Read, Write};
//! use greenpatch_runtime::net::{TcpListener, TcpStream};
//!
//! greenpatch_runtime::run(|| -> std::io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let address = listener.local_addr()?;
//!     let server = greenpatch_runtime::spawn(move || -> std::io::Result<()> {
//!         let (mut stream, _peer) = listener.accept()?;
//!         stream.write_all(b"hello")
//!     });
//!     let mut text = String::new();
//!     TcpStream::connect(address)?.read_to_string(&mut text)?;
//!     assert_eq!(text, "hello");
//!     server.join().unwrap()
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The descriptors are in non-blocking mode, which shows in [`as_fd`](std::os::fd::AsFd); `into_std`
//! gives a blocking std socket. Host names are resolved by the C library, which blocks the worker.

mod socket;
mod tcp;

pub use std::net::Shutdown;
pub use tcp::{Incoming, TcpListener, TcpStream};
