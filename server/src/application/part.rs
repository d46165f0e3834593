//! A part of a file as content of a response.
//!
//! Whoever sends it reads it: a piece at a time, when the client has taken the one before, and only what the kernel has in memory
//! (`RWF_NOWAIT`). So a client that takes its time holds no thread. What is not in memory, or on a file system that does
//! not tell, is read by a thread as other readers are.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// Most bytes that are read at once.
const PIECE: u64 = 16 * 1024;

/// Reads a part of a file, wherever others that have it open are.
pub(super) struct Part {
    file: File,
    range: Range<u64>,
}

impl Part {
    pub(super) fn new(file: File, range: Range<u64>) -> Part {
        Part { file, range }
    }

    /// Bytes that have not been read.
    pub(super) fn left(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Reads the next piece if that is possible without waiting.
    pub(super) fn read_now(&mut self) -> Option<io::Result<Bytes>> {
        let room = self.left().min(PIECE);
        let mut piece = BytesMut::zeroed(room as usize);
        let read = preadv2(
            &self.file,
            &mut [IoSliceMut::new(&mut piece)],
            self.range.start,
            ReadWriteFlags::NOWAIT,
        );
        match read {
            Ok(0) if room > 0 => Some(Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file has become {} bytes shorter", self.left()),
            ))),
            Ok(length) => {
                self.range.start += length as u64;
                piece.truncate(length);
                Some(Ok(piece.freeze()))
            }
            // In the way of a signal, not in memory, not told, not known to this kernel.
            Err(Errno::INTR | Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                None
            }
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl Read for Part {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.left()).unwrap_or(usize::MAX);
        let room = out.len().min(left);
        let length = self.file.read_at(&mut out[..room], self.range.start)?;
        self.range.start += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Advice, fadvise};

    use super::super::Body;
    use super::*;

    fn file(length: usize) -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&bytes, 0)
            .expect("it is open to be written");
        (file, bytes)
    }

    #[test]
    fn a_part_is_the_same_from_memory_and_from_disk() {
        let (file, bytes) = file(1 << 20);
        for is_in_memory in [true, false] {
            if !is_in_memory {
                file.sync_all().expect("it can be written");
                fadvise(&file, 0, None, Advice::DontNeed).expect("it is a file");
            }
            let copy = file.try_clone().expect("a descriptor");
            let body = Body::from_file(Part::new(copy, 1000..900_000));
            let read = body.into_bytes(1 << 20).expect("it is not longer");
            assert!(read == bytes[1000..900_000], "in memory: {is_in_memory}");
        }
    }

    #[test]
    fn a_file_that_has_become_shorter_fails() {
        let (file, _) = file(100);
        let mut part = Part::new(file.try_clone().expect("a descriptor"), 0..100);
        file.set_len(0).expect("it can be cut");
        let error = part
            .read_now()
            .map(|read| read.expect_err("nothing is there"));
        // A file system may not tell without waiting; then the thread finds it out.
        assert!(error.is_none_or(|error| error.kind() == io::ErrorKind::UnexpectedEof));
        let body = Body::from_file(part);
        assert!(body.into_bytes(100).is_err());
    }
}
