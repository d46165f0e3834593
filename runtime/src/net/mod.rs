//! Sockets that park the green thread where std's would block it.
//!
//! The types bear the names, methods and errors of [`std::net`] and [`std::os::unix::net`], whose stable methods
//! they all have, and use std's address types. They need no shim, so a server built on them yields in its own I/O
//! even if its handlers are not patched. On OS threads they block, and both kinds of thread may use one socket.
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
//! # Against std
//!
//! Each type converts `From` std's and back, and from and to `OwnedFd`; descriptors keep the mode their user
//! gave them. Listeners that `bind` made are the exception: while a descriptor is one of ours, it is in non-blocking mode,
//! which whoever shares it sees (a duplicate made by hand, a program that inherits it). Converting gives it back in the mode
//! that `set_nonblocking` asked for.
//!
//! # Listeners that several processes share
//!
//! A listener that was converted keeps its mode, and accepting goes by it.
//!
//! | the std listener's mode | accepting |
//! |---|---|
//! | blocking | waits. If another process takes the connection that was seen, the OS thread is blocked until the next one comes |
//! | non-blocking | gives `WouldBlock`; after our `set_nonblocking(false)` it waits, and the descriptor's mode stays |
//!
//! So who may change the descriptor's mode says so before, and no other process can block a worker:
//!
//! ```
//! use greenpatch_runtime::net::TcpListener;
//!
//! # let inherited = std::net::TcpListener::bind("127.0.0.1:0")?;
//! // For all processes that share it.
//! inherited.set_nonblocking(true)?;
//! let listener = TcpListener::from(inherited);
//! // For this process: accepting waits.
//! listener.set_nonblocking(false)?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What can be told from std
//!
//! A vectored write may take less than everything; a connect or a send to a Unix socket whose queue is full looks again at
//! least every 10 ms; a connect to a name of several addresses that is cut short tries no further one. std's deprecated and
//! unstable methods are left out.
//!
//! | file | what |
//! |---|---|
//! | `socket` | how a call waits; reading, writing and closing |
//! | `listener` | accepting |
//! | `accept` | accepting without waiting, for futures |
//! | `address` | resolving names, and Unix addresses |
//! | `mirror` | the methods that several types share |
//! | `tcp`, `udp`, `unix` | the types |

// The room `net`: sockets by std's names. It may use `wait`, `sched` and `base`; only users use it. Macros in `mirror` have
// the methods that several types share, those of both listeners among them; `socket` has what a socket does; `listener` how
// accepting waits, by the listener's mode.

pub(crate) mod accept;
mod address;
mod listener;
#[macro_use]
mod mirror;
mod socket;
mod tcp;
mod udp;
pub mod unix;

pub(crate) use socket::MOST_BUFFERS;
#[doc(no_inline)]
pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
    ToSocketAddrs,
};
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixListener, UnixStream};
