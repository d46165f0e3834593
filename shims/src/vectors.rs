//! Arrays of buffers, as readv, sendmsg and their kin take them.

use libc::{iovec, msghdr};

/// As many buffers as are passed to the kernel at once after a partial transfer.
const WINDOW: usize = 16;

/// The caller's array of buffers, which is never written to.
#[derive(Clone, Copy)]
pub(crate) struct Vectors {
    first: *const iovec,
    count: usize,
}

/// What is left of [`Vectors`] after a partial transfer, or the beginning of it.
pub(crate) struct Rest {
    window: [iovec; WINDOW],
    count: usize,
}

impl Vectors {
    /// An array of `count` buffers; `None` if the kernel would refuse it.
    ///
    /// # Safety
    ///
    /// `first` points to that many, which stay as they are while the value is used.
    pub(crate) unsafe fn new(first: *const iovec, count: usize) -> Option<Vectors> {
        let is_valid = count <= libc::UIO_MAXIOV as usize && (count == 0 || !first.is_null());
        is_valid.then_some(Vectors { first, count })
    }

    /// A single buffer.
    pub(crate) fn single(buffer: &iovec) -> Vectors {
        Vectors {
            first: buffer,
            count: 1,
        }
    }

    pub(crate) fn as_ptr(&self) -> *const iovec {
        self.first
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The buffer, if there is only one.
    pub(crate) fn only(&self) -> Option<iovec> {
        match self.buffers() {
            [buffer] => Some(*buffer),
            _ => None,
        }
    }

    /// A message of these buffers, and nothing else.
    pub(crate) fn message(&self) -> msghdr {
        message_of(self.first, self.count)
    }

    fn buffers(&self) -> &[iovec] {
        if self.count == 0 {
            return &[];
        }
        // SAFETY: `first` points to `count` buffers, which stay as they are, by the contract of `new`.
        unsafe { std::slice::from_raw_parts(self.first, self.count) }
    }

    /// The bytes of all buffers.
    pub(crate) fn total(&self) -> usize {
        self.buffers()
            .iter()
            .fold(0, |total, buffer| total.saturating_add(buffer.iov_len))
    }

    /// What follows the first `done` bytes.
    pub(crate) fn after(&self, done: usize) -> Rest {
        let empty = iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        let mut rest = Rest {
            window: [empty; WINDOW],
            count: 0,
        };
        let mut skip = done;
        for buffer in self.buffers() {
            if skip >= buffer.iov_len {
                skip -= buffer.iov_len;
                continue;
            }
            rest.window[rest.count] = iovec {
                iov_base: buffer.iov_base.wrapping_byte_add(skip),
                iov_len: buffer.iov_len - skip,
            };
            skip = 0;
            rest.count += 1;
            if rest.count == WINDOW {
                break;
            }
        }
        rest
    }
}

impl Rest {
    /// No more than the first `most` bytes.
    pub(crate) fn limited_to(mut self, most: usize) -> Rest {
        let mut room = most;
        for at in 0..self.count {
            let buffer = &mut self.window[at];
            buffer.iov_len = buffer.iov_len.min(room);
            room -= buffer.iov_len;
            if room == 0 {
                self.count = at + 1;
                break;
            }
        }
        self
    }

    pub(crate) fn as_ptr(&self) -> *const iovec {
        self.window.as_ptr()
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }
    /// As [`Vectors::message`]; it points to this.
    pub(crate) fn message(&self) -> msghdr {
        message_of(self.as_ptr(), self.count)
    }
}

fn message_of(first: *const iovec, count: usize) -> msghdr {
    // SAFETY: integers and pointers, for all of which zero is a value.
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = first.cast_mut();
    message.msg_iovlen = count;
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(rest: &Rest) -> Vec<usize> {
        rest.window[..rest.count]
            .iter()
            .map(|buffer| buffer.iov_len)
            .collect()
    }

    #[test]
    fn the_rest_begins_inside_the_buffer_where_the_transfer_stopped() {
        let mut bytes = [0u8; 30];
        let base = bytes.as_mut_ptr();
        let buffers = [(0, 10), (10, 0), (10, 20)].map(|(at, iov_len)| iovec {
            iov_base: base.wrapping_add(at).cast(),
            iov_len,
        });
        // SAFETY: three buffers that live to the end of the test.
        let vectors = unsafe { Vectors::new(buffers.as_ptr(), buffers.len()) }.unwrap();

        assert_eq!(vectors.total(), 30);
        assert_eq!(lengths(&vectors.after(0)), [10, 20]);
        assert_eq!(lengths(&vectors.after(4)), [6, 20]);
        assert_eq!(lengths(&vectors.after(10)), [20]);
        assert_eq!(lengths(&vectors.after(29)), [1]);
        assert!(lengths(&vectors.after(30)).is_empty());
        assert_eq!(lengths(&vectors.after(4).limited_to(10)), [6, 4]);
        assert_eq!(lengths(&vectors.after(0).limited_to(10)), [10]);
        let rest = vectors.after(29);
        assert_eq!(rest.window[0].iov_base, base.wrapping_add(29).cast());
    }

    #[test]
    fn arrays_that_the_kernel_refuses_are_refused() {
        // SAFETY: refused before it is read.
        assert!(unsafe { Vectors::new(std::ptr::null(), 1) }.is_none());
        let buffer = iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: refused before it is read.
        assert!(unsafe { Vectors::new(&buffer, libc::UIO_MAXIOV as usize + 1) }.is_none());
    }
}
