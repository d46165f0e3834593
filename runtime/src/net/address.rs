//! Addresses: names to resolve, and Unix addresses between std's form and the kernel's.

use std::ffi::OsStr;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixAddress;

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketAddrUnix};

use crate::wait::blocking::blocking;
use crate::wait::interrupt::{cuts_every_wait, is_cancellation};

/// The addresses that `name` stands for. The C library resolves host names, which blocks the OS thread.
pub(super) fn resolve<A: ToSocketAddrs>(name: A) -> io::Result<A::Iter> {
    blocking(|| name.to_socket_addrs())
}

/// The outcome of `act` for the first address it succeeds with, or its last error. What cuts the caller's waits short
/// ends the search.
pub(super) fn first_that_works<T>(
    name: impl ToSocketAddrs,
    mut act: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = io::Error::new(
        io::ErrorKind::InvalidInput,
        "could not resolve to any addresses",
    );
    for address in resolve(name)? {
        match act(address) {
            Ok(value) => return Ok(value),
            Err(error) if is_cut_short(&error) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether a deadline scope or a cancellation has ended the call that gave this error.
fn is_cut_short(error: &io::Error) -> bool {
    let is_of_its_kind = is_cancellation(error) || error.kind() == io::ErrorKind::TimedOut;
    is_of_its_kind && cuts_every_wait()
}

/// A peer's internet address.
pub(super) fn internet(address: Option<SocketAddrAny>) -> io::Result<SocketAddr> {
    let address = address.ok_or(Errno::AFNOSUPPORT)?;
    Ok(SocketAddr::try_from(address)?)
}

/// A peer's Unix address.
pub(super) fn unix(address: Option<SocketAddrAny>) -> io::Result<UnixAddress> {
    // An address without a path or name is of an unnamed socket. A path that fills the kernel's structure to the
    // last byte is told to be longer than it; std has no way to make such an address, so its owner goes unnamed too.
    let named = size_of::<libc::sa_family_t>() + 1..=size_of::<libc::sockaddr_un>();
    let Some(address) = address.filter(|address| named.contains(&(address.addr_len() as usize)))
    else {
        return UnixAddress::from_pathname("");
    };
    let address = SocketAddrUnix::try_from(address)?;
    match address.abstract_name() {
        Some(name) => UnixAddress::from_abstract_name(name),
        None => {
            UnixAddress::from_pathname(OsStr::from_bytes(address.path_bytes().unwrap_or_default()))
        }
    }
}

/// A Unix address as the kernel takes it.
pub(super) fn for_kernel(address: &UnixAddress) -> io::Result<SocketAddrUnix> {
    let address = match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => SocketAddrUnix::new(path),
        (_, Some(name)) => SocketAddrUnix::new_abstract_name(name),
        _ => Ok(SocketAddrUnix::new_unnamed()),
    };
    Ok(address?)
}
