//! The channel between a master and a process that it has started: messages in order, each whole, and descriptors with them.
//!
//! It is a pair of Unix sockets of type `SOCK_SEQPACKET`. The child gets its end as its standard input, the one descriptor that
//! a Rust program may name without owning it, and that [`Command`](std::process::Command) hands down without any other child
//! that is started at the same time getting it too. Everything else, the listening sockets first of all, comes through the
//! channel as the kernel's own `SCM_RIGHTS`: no descriptor has a number that two processes must agree upon, and none is without
//! `FD_CLOEXEC` at any time.
//!
//! A message is JSON. One that is too long for a packet goes into a file in memory, and the packet carries that file's
//! descriptor. The end of either process is the end of the channel for the other, however it came.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a message that go into the packet itself: far below the least buffer that a kernel is set up with.
const PACKET: usize = 16 * 1024;

/// Descriptors that the kernel lets one packet carry (its `SCM_MAX_FD`).
const MAX_DESCRIPTORS: usize = 253;

/// The first byte of a packet: where its message is.
mod place {
    pub(super) const HERE: u8 = b'H';
    /// In the file that is the packet's last descriptor.
    pub(super) const FILE: u8 = b'F';
}

/// Listening sockets that can be handed down: those that a packet can carry beside a message's file and standard input.
pub(crate) const MAX_SOCKETS: usize = MAX_DESCRIPTORS - 2;

/// One end of a channel.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    pub(crate) fn pair() -> io::Result<(Channel, Channel)> {
        let (one, other) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Channel(one), Channel(other)))
    }

    /// The end that is this descriptor.
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> Channel {
        Channel(descriptor)
    }

    /// The descriptor, for a child.
    pub(crate) fn into_descriptor(self) -> OwnedFd {
        self.0
    }

    /// Sends a message and these descriptors; never waits.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the other process does not take what was sent before, `BrokenPipe` if it has ended.
    pub(crate) fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        if text.len() <= PACKET {
            return self.send_packet(place::HERE, &text, descriptors);
        }
        let mut file = File::from(memfd_create("greenpatch-message", MemfdFlags::CLOEXEC)?);
        file.write_all(&text)?;
        file.rewind()?;
        let with_file: Vec<_> = descriptors.iter().copied().chain([file.as_fd()]).collect();
        self.send_packet(place::FILE, &[], &with_file)
    }

    fn send_packet(
        &self,
        place: u8,
        text: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = descriptors.len() <= MAX_DESCRIPTORS;
        if !fits
            || !descriptors.is_empty()
                && !control.push(SendAncillaryMessage::ScmRights(descriptors))
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{} descriptors are more than one message can carry, which is {MAX_DESCRIPTORS}",
                    descriptors.len()
                ),
            ));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let place = [place];
        let parts = [IoSlice::new(&place), IoSlice::new(text)];
        retry(|| sendmsg(&self.0, &parts, &mut control, flags))?;
        Ok(())
    }

    /// Receives the next message with its descriptors, and waits for it if need be. `None` when the other process has ended, or
    /// has closed its end.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        self.receive_by(RecvFlags::empty())
    }

    /// As [`Self::receive`], but without waiting: `WouldBlock` if there is no message.
    pub(crate) fn try_receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        self.receive_by(RecvFlags::DONTWAIT)
    }

    fn receive_by<T: DeserializeOwned>(
        &self,
        flags: RecvFlags,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut packet = vec![0; 1 + PACKET];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = retry(|| {
            let mut parts = [IoSliceMut::new(&mut packet)];
            recvmsg(&self.0, &mut parts, &mut control, flags)
        });
        let received = match received {
            // The other process died with messages of ours unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            received => received?,
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(io::Error::other(
                "a message came cut off, as happens when the limit on open files is reached; raise it (ulimit -n)",
            ));
        }
        packet.truncate(received.bytes);
        let text = match packet.split_first() {
            None => return Ok(None),
            Some((&place::FILE, _)) => {
                let file = descriptors.pop().ok_or(io::ErrorKind::InvalidData)?;
                let mut text = Vec::new();
                File::from(file).read_to_end(&mut text)?;
                text
            }
            Some((_, text)) => text.to_vec(),
        };
        Ok(Some((serde_json::from_slice(&text)?, descriptors)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Tries again for as long as signals interrupt.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_and_in_order_whatever_their_length() {
        let (one, other) = Channel::pair().expect("a pair");
        for length in [0, 1, PACKET - 2, PACKET - 1, PACKET, 1 << 20] {
            one.send(&"x".repeat(length), &[]).expect("there is room");
        }
        for length in [0, 1, PACKET - 2, PACKET - 1, PACKET, 1 << 20] {
            let (text, descriptors) = other.receive::<String>().expect("sent").expect("open");
            assert_eq!(text.len(), length);
            assert!(descriptors.is_empty());
        }
        let error = other.try_receive::<String>().expect_err("nothing is left");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn descriptors_come_with_short_and_long_messages() {
        let (one, other) = Channel::pair().expect("a pair");
        for length in [1, 1 << 20] {
            let (reader, mut writer) = io::pipe().expect("a pipe");
            let null = File::open("/dev/null").expect("it exists");
            one.send(&"x".repeat(length), &[reader.as_fd(), null.as_fd()])
                .expect("there is room");
            drop(reader);
            writer.write_all(b"through").expect("the other end is open");
            drop(writer);
            let (_, mut descriptors) = other.receive::<String>().expect("sent").expect("open");
            assert_eq!(descriptors.len(), 2);
            let mut text = String::new();
            File::from(descriptors.swap_remove(0))
                .read_to_string(&mut text)
                .expect("a pipe");
            assert_eq!(text, "through");
        }
    }

    #[test]
    fn a_packet_carries_as_many_sockets_as_it_says() {
        let (one, other) = Channel::pair().expect("a pair");
        let null = File::open("/dev/null").expect("it exists");
        let many = vec![null.as_fd(); MAX_SOCKETS + 1];
        one.send(&"x".repeat(1 << 20), &many).expect("it fits");
        let (_, descriptors) = other.receive::<String>().expect("sent").expect("open");
        assert_eq!(descriptors.len(), many.len());
        let error = one.send(&(), &vec![null.as_fd(); MAX_DESCRIPTORS + 1]);
        assert!(error.expect_err("too many").to_string().contains("254"));
    }

    #[test]
    fn the_end_of_one_side_is_seen_after_what_it_sent() {
        let (one, other) = Channel::pair().expect("a pair");
        other.send(&1, &[]).expect("there is room");
        one.send(&2, &[]).expect("there is room");
        drop(one);
        assert!(other.send(&3, &[]).is_err());
        // Linux tells of the unread message first.
        let mut seen = Vec::new();
        while let Some((number, _)) = other.receive::<i32>().expect("no error") {
            seen.push(number);
        }
        assert!(seen.is_empty() || seen == [2], "{seen:?}");
        assert!(other.receive::<i32>().expect("no error").is_none());
    }

    #[test]
    fn a_full_channel_refuses_instead_of_waiting() {
        let (one, _other) = Channel::pair().expect("a pair");
        let error = loop {
            if let Err(error) = one.send(&"x".repeat(PACKET / 2), &[]) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
