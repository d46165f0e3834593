//! The methods that several types share: each macro writes those of one capability.
//!
//! The types are tuple structs of a [`Socket`](super::socket::Socket) or [`Listener`](super::listener::Listener), whose
//! `std` is the std type that carries out what never waits.

/// What every type has: handles, mode, pending error, and the conversions. `$core` holds std's `$std`.
macro_rules! handle {
    ($name:ident is $core:ident<$std:ty>, at $address:ty) => {
        impl $name {
            /// Another handle to the same socket.
            pub fn try_clone(&self) -> ::std::io::Result<$name> {
                self.0.try_clone().map($name)
            }

            /// The address of this end.
            pub fn local_addr(&self) -> ::std::io::Result<$address> {
                self.0.std().local_addr()
            }

            /// Whether calls fail with `WouldBlock` where they would wait. Holds for all handles to the socket.
            pub fn set_nonblocking(&self, nonblocking: bool) -> ::std::io::Result<()> {
                self.0.set_nonblocking(nonblocking)
            }

            /// The error that is pending on the socket, which is cleared.
            pub fn take_error(&self) -> ::std::io::Result<Option<::std::io::Error>> {
                self.0.std().take_error()
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.0.std().fmt(f)
            }
        }

        impl From<$std> for $name {
            fn from(std: $std) -> $name {
                $name($core::new(std))
            }
        }

        impl From<$name> for $std {
            fn from(ours: $name) -> $std {
                ours.0.into_std()
            }
        }

        impl From<::std::os::fd::OwnedFd> for $name {
            fn from(fd: ::std::os::fd::OwnedFd) -> $name {
                <$std>::from(fd).into()
            }
        }

        impl From<$name> for ::std::os::fd::OwnedFd {
            fn from(ours: $name) -> ::std::os::fd::OwnedFd {
                ours.0.into_std().into()
            }
        }

        impl ::std::os::fd::AsFd for $name {
            fn as_fd(&self) -> ::std::os::fd::BorrowedFd<'_> {
                self.0.std().as_fd()
            }
        }

        impl ::std::os::fd::AsRawFd for $name {
            fn as_raw_fd(&self) -> ::std::os::fd::RawFd {
                self.0.std().as_raw_fd()
            }
        }

        impl ::std::os::fd::FromRawFd for $name {
            unsafe fn from_raw_fd(fd: ::std::os::fd::RawFd) -> $name {
                // SAFETY: `fd` is open and owned, by the trait's contract, and std's function asks for the same.
                unsafe { <$std>::from_raw_fd(fd) }.into()
            }
        }

        impl ::std::os::fd::IntoRawFd for $name {
            fn into_raw_fd(self) -> ::std::os::fd::RawFd {
                self.0.into_std().into_raw_fd()
            }
        }
    };
}

/// What streams and datagram sockets have: a peer and time-outs.
macro_rules! peer {
    ($name:ident at $address:ty) => {
        impl $name {
            /// The address of the other end.
            ///
            /// # Errors
            ///
            /// `NotConnected` if there is none.
            pub fn peer_addr(&self) -> ::std::io::Result<$address> {
                self.0.std().peer_addr()
            }

            /// How long reading waits before it fails with `WouldBlock`; `None` is for ever.
            ///
            /// # Errors
            ///
            /// `InvalidInput` if the time is zero.
            pub fn set_read_timeout(
                &self,
                timeout: Option<::std::time::Duration>,
            ) -> ::std::io::Result<()> {
                self.0.std().set_read_timeout(timeout)?;
                $crate::wait::descriptor::timeouts_changed();
                Ok(())
            }

            /// How long writing waits before it fails with `WouldBlock`; `None` is for ever.
            ///
            /// # Errors
            ///
            /// `InvalidInput` if the time is zero.
            pub fn set_write_timeout(
                &self,
                timeout: Option<::std::time::Duration>,
            ) -> ::std::io::Result<()> {
                self.0.std().set_write_timeout(timeout)?;
                $crate::wait::descriptor::timeouts_changed();
                Ok(())
            }

            /// See [`set_read_timeout`](Self::set_read_timeout).
            pub fn read_timeout(&self) -> ::std::io::Result<Option<::std::time::Duration>> {
                self.0.std().read_timeout()
            }

            /// See [`set_write_timeout`](Self::set_write_timeout).
            pub fn write_timeout(&self) -> ::std::io::Result<Option<::std::time::Duration>> {
                self.0.std().write_timeout()
            }
        }
    };
}

/// What the sockets have whose ends can be shut.
macro_rules! shutdown {
    ($name:ident) => {
        impl $name {
            /// Ends one or both directions; threads that wait on the socket are woken, whichever handle they use.
            pub fn shutdown(&self, how: ::std::net::Shutdown) -> ::std::io::Result<()> {
                self.0.std().shutdown(how)
            }
        }
    };
}

/// What internet sockets have: `IP_TTL`.
macro_rules! ttl {
    ($name:ident) => {
        impl $name {
            /// How many routers each packet may pass.
            pub fn set_ttl(&self, ttl: u32) -> ::std::io::Result<()> {
                self.0.std().set_ttl(ttl)
            }

            /// See [`set_ttl`](Self::set_ttl).
            pub fn ttl(&self) -> ::std::io::Result<u32> {
                self.0.std().ttl()
            }
        }
    };
}

/// What datagram sockets have once they are connected.
macro_rules! datagrams {
    ($name:ident) => {
        impl $name {
            /// Sends a datagram to the address the socket is connected to.
            pub fn send(&self, buffer: &[u8]) -> ::std::io::Result<usize> {
                self.0.send(buffer)
            }

            /// Waits for a datagram and gives its length; what does not fit into `buffer` is cut off.
            pub fn recv(&self, buffer: &mut [u8]) -> ::std::io::Result<usize> {
                self.0.recv(buffer)
            }
        }
    };
}

/// `Read` and `Write`, also through a shared reference, so that one thread may read while another writes.
macro_rules! stream {
    ($name:ident) => {
        impl ::std::io::Read for &$name {
            fn read(&mut self, buffer: &mut [u8]) -> ::std::io::Result<usize> {
                self.0.recv(buffer)
            }

            fn read_vectored(
                &mut self,
                buffers: &mut [::std::io::IoSliceMut<'_>],
            ) -> ::std::io::Result<usize> {
                self.0.recv_vectored(buffers)
            }
        }

        impl ::std::io::Read for $name {
            fn read(&mut self, buffer: &mut [u8]) -> ::std::io::Result<usize> {
                (&*self).read(buffer)
            }

            fn read_vectored(
                &mut self,
                buffers: &mut [::std::io::IoSliceMut<'_>],
            ) -> ::std::io::Result<usize> {
                (&*self).read_vectored(buffers)
            }
        }

        impl ::std::io::Write for &$name {
            fn write(&mut self, buffer: &[u8]) -> ::std::io::Result<usize> {
                self.0.send(buffer)
            }

            fn write_vectored(
                &mut self,
                buffers: &[::std::io::IoSlice<'_>],
            ) -> ::std::io::Result<usize> {
                self.0.send_vectored(buffers)
            }

            fn flush(&mut self) -> ::std::io::Result<()> {
                Ok(())
            }
        }

        impl ::std::io::Write for $name {
            fn write(&mut self, buffer: &[u8]) -> ::std::io::Result<usize> {
                (&*self).write(buffer)
            }

            fn write_vectored(
                &mut self,
                buffers: &[::std::io::IoSlice<'_>],
            ) -> ::std::io::Result<usize> {
                (&*self).write_vectored(buffers)
            }

            fn flush(&mut self) -> ::std::io::Result<()> {
                Ok(())
            }
        }
    };
}

/// What listeners have: accepting `$stream`s, whose peers' addresses `$peer` converts.
macro_rules! listener {
    ($name:ident of $stream:ident at $address:ty, by $peer:path) => {
        impl $name {
            /// Waits for a connection: the stream, and the peer's address.
            pub fn accept(&self) -> ::std::io::Result<($stream, $address)> {
                let (fd, peer) = self.0.accept()?;
                Ok((fd.into(), $peer(peer)?))
            }

            /// Accepts a connection if there is one, whatever the mode; else `WouldBlock`.
            pub(crate) fn accept_at_once(&self) -> ::std::io::Result<($stream, $address)> {
                let (fd, peer) = self.0.accept_at_once()?;
                Ok((fd.into(), $peer(peer)?))
            }

            /// The connections, one after the other; never ends.
            pub fn incoming(&self) -> Incoming<'_> {
                Incoming { listener: self }
            }
        }

        #[doc = concat!("Iterator over the connections of a [`", stringify!($name), "`].")]
        #[derive(Debug)]
        #[must_use = "iterators do nothing unless they are used"]
        pub struct Incoming<'a> {
            listener: &'a $name,
        }

        impl Iterator for Incoming<'_> {
            type Item = ::std::io::Result<$stream>;

            fn next(&mut self) -> Option<::std::io::Result<$stream>> {
                Some(self.listener.accept().map(|(stream, _)| stream))
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                (usize::MAX, None)
            }
        }

        impl ::std::iter::FusedIterator for Incoming<'_> {}
    };
}
