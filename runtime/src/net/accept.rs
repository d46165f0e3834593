//! Accepting for futures: what our listeners and std's have in common.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net as std_unix;
use std::sync::Arc;

use rustix::net::{SocketAddrAny, SocketFlags};

use super::socket::fresh;
use super::{address, unix};
use crate::sched::context::NativeSection;
use crate::wait::accept::accept_at_once;

/// A listener that futures can accept on, by [`AsyncFd`](crate::future::AsyncFd): this crate's and std's, and references to
/// them. Nothing else implements it.
pub trait Accept: AsFd + sealed::AtOnce {
    /// What it accepts.
    type Stream: AsFd;

    /// Where its peers are.
    type Address;

    #[doc(hidden)]
    fn accept_at_once(&self) -> io::Result<(Self::Stream, Self::Address)>;
}

mod sealed {
    pub trait AtOnce {}
}

/// As [`Accept::accept_at_once`], on a listener of std's.
fn accept_on(listener: &impl AsFd) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    let _native = NativeSection::enter();
    let accepted = accept_at_once(listener.as_fd(), || {
        rustix::net::acceptfrom_with(listener, SocketFlags::CLOEXEC)
    });
    let (accepted, peer) = accepted?;
    Ok((fresh(accepted), peer))
}

/// The listeners: those with an `accept_at_once` of their own, and std's, whose peers' addresses a function converts.
macro_rules! accept {
    ($($listener:ty => $stream:ty, at $address:ty;)+) => {$(
        impl sealed::AtOnce for $listener {}

        impl Accept for $listener {
            type Stream = $stream;
            type Address = $address;

            fn accept_at_once(&self) -> io::Result<($stream, $address)> {
                <$listener>::accept_at_once(self)
            }
        }
    )+};
    ($($listener:ty => $stream:ty, at $address:ty, by $peer:path;)+) => {$(
        impl sealed::AtOnce for $listener {}

        impl Accept for $listener {
            type Stream = $stream;
            type Address = $address;

            fn accept_at_once(&self) -> io::Result<($stream, $address)> {
                let (accepted, peer) = accept_on(self)?;
                Ok((accepted.into(), $peer(peer)?))
            }
        }
    )+};
}

accept! {
    super::TcpListener => super::TcpStream, at super::SocketAddr;
    super::UnixListener => super::UnixStream, at unix::SocketAddr;
}

accept! {
    std::net::TcpListener => std::net::TcpStream, at super::SocketAddr, by address::internet;
    std_unix::UnixListener => std_unix::UnixStream, at unix::SocketAddr, by address::unix;
}

impl<L: Accept + ?Sized> sealed::AtOnce for &L {}

impl<L: Accept + ?Sized> Accept for &L {
    type Stream = L::Stream;
    type Address = L::Address;

    fn accept_at_once(&self) -> io::Result<(L::Stream, L::Address)> {
        (**self).accept_at_once()
    }
}

impl<L: Accept> sealed::AtOnce for Arc<L> {}

impl<L: Accept> Accept for Arc<L> {
    type Stream = L::Stream;
    type Address = L::Address;

    fn accept_at_once(&self) -> io::Result<(L::Stream, L::Address)> {
        (**self).accept_at_once()
    }
}
