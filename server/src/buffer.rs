//! The bytes received on a connection and not yet used.

/// Bytes that a connection has received and nobody has used yet.
///
/// Grows by doubling when a request's head does not fit; the limits on heads keep it from growing
/// without end. Between requests it goes back to its first size, so that an idle connection costs
/// no more than that.
pub(crate) struct ReceiveBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReceiveBuffer {
    /// Enough for nearly every head that browsers send, and two pages.
    const FIRST_SIZE: usize = 8 * 1024;

    /// An empty buffer of the first size.
    pub(crate) fn new() -> ReceiveBuffer {
        ReceiveBuffer {
            bytes: vec![0; Self::FIRST_SIZE],
            start: 0,
            end: 0,
        }
    }

    /// The bytes received and not yet used.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Whether all that was received has been used.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes the first `count` bytes of [`Self::filled`] as used.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Room to receive into, at least one byte; [`Self::filled_more`] says how much was used.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Tells that `count` bytes of [`Self::space`] were received.
    pub(crate) fn filled_more(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= self.bytes.len());
    }

    /// Gives back what a large head made it grow to, if it is empty.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() && self.bytes.len() > Self::FIRST_SIZE {
            *self = ReceiveBuffer::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(buffer: &mut ReceiveBuffer, bytes: &[u8]) {
        buffer.space()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled_more(bytes.len());
    }

    #[test]
    fn keeps_unused_bytes_when_it_makes_room() {
        let mut buffer = ReceiveBuffer::new();
        receive(&mut buffer, b"first second");
        buffer.consume(6);
        receive(&mut buffer, b" third");
        assert_eq!(buffer.filled(), b"second third");
    }

    #[test]
    fn grows_when_full_and_shrinks_when_empty() {
        let mut buffer = ReceiveBuffer::new();
        let long = vec![b'x'; ReceiveBuffer::FIRST_SIZE];
        receive(&mut buffer, &long);
        assert!(!buffer.space().is_empty());
        assert_eq!(buffer.filled(), long);
        buffer.shrink();
        assert_eq!(buffer.bytes.len(), 2 * ReceiveBuffer::FIRST_SIZE);
        buffer.consume(long.len());
        buffer.shrink();
        assert_eq!(buffer.bytes.len(), ReceiveBuffer::FIRST_SIZE);
    }
}
