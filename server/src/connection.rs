//! What the blocking connection loop needs from a connection.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

/// A byte stream that blocks its thread, green or not, until it can go on.
///
/// The methods take `&self`, as sockets allow: while one thread waits in `receive`, another may
/// shut the connection down.
pub(crate) trait Connection: Send + Sync + 'static {
    /// Waits for bytes and receives them; 0 means that no more will come.
    ///
    /// # Errors
    /// `WouldBlock` or `TimedOut` when the read time-out has passed.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends a part of `bytes` and tells how long it was.
    ///
    /// # Errors
    /// `WouldBlock` or `TimedOut` when the write time-out has passed.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Sends a part of `buffers`, one after the other, and tells how long it was.
    ///
    /// # Errors
    /// As [`Connection::send`].
    fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Limits how long `receive` waits.
    fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()>;

    /// Limits how long `send` waits.
    fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()>;

    /// Closes one direction or both.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;

    /// Lets the other connections of this OS thread go first, between two requests. A client that
    /// is quick with its next request would otherwise keep the thread for several in a row.
    fn give_way();
}

/// Implements [`Connection`] for a type with the methods of [`std::net::TcpStream`].
macro_rules! connection {
    ($stream:ty, $give_way:expr) => {
        impl Connection for $stream {
            fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
                (&*self).read(buffer)
            }

            fn send(&self, bytes: &[u8]) -> io::Result<usize> {
                (&*self).write(bytes)
            }

            fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
                (&*self).write_vectored(buffers)
            }

            fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
                <$stream>::set_read_timeout(self, limit)
            }

            fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
                <$stream>::set_write_timeout(self, limit)
            }

            fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                <$stream>::shutdown(self, how)
            }

            fn give_way() {
                $give_way
            }
        }
    };
}

// The kernel shares out the time of OS threads.
connection!(std::net::TcpStream, ());
connection!(greenpatch::net::TcpStream, greenpatch::yield_now());
