//! What a parked green thread waits for, for those who look from outside.
//!
//! One word in the control block, written by the green thread before it parks and read by anyone: it may be outdated by
//! the time it is read, but is never half of one reason and half of another.

use std::fmt;
use std::os::fd::RawFd;

#[cfg(feature = "json")]
use serde::Serialize;

use crate::base::interest::Interest;

/// Why a green thread is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize))]
#[cfg_attr(
    feature = "json",
    serde(rename_all = "snake_case", tag = "kind", content = "on")
)]
#[non_exhaustive]
pub enum WaitReason {
    /// It sleeps.
    Sleep,
    /// It waits until this descriptor can be read, or a connection accepted.
    Read(RawFd),
    /// It waits until this descriptor can be written, or is connected.
    Write(RawFd),
    /// It waits for one of so many descriptors, in poll, select or their like.
    Poll(usize),
    /// It waits on the word at this address: a lock, a condition variable, a channel, std's or ours.
    Futex(usize),
    /// It waits for the end of the green thread with this id.
    Join(u64),
    /// It waits for the pthread mutex at this address.
    Mutex(usize),
    /// It waits in [`thread::park`](crate::thread::park) for an unpark.
    Park,
    /// It waits in [`block_on`](crate::block_on()) for one of the future's wakers, whose state stands at this address.
    Future(usize),
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitReason::Sleep => write!(f, "sleep"),
            WaitReason::Read(fd) => write!(f, "read on descriptor {fd}"),
            WaitReason::Write(fd) => write!(f, "write on descriptor {fd}"),
            WaitReason::Poll(count) => write!(f, "poll of {count} descriptors"),
            WaitReason::Futex(address) => write!(f, "futex at {address:#x}"),
            WaitReason::Join(id) => write!(f, "join of green thread {id}"),
            WaitReason::Mutex(address) => write!(f, "mutex at {address:#x}"),
            WaitReason::Park => write!(f, "unpark"),
            WaitReason::Future(address) => write!(f, "future with wakers of {address:#x}"),
        }
    }
}

const ARGUMENT_BITS: u32 = 56;
const ARGUMENT: u64 = (1 << ARGUMENT_BITS) - 1;

/// A reason in one word; 0 is none. Arguments of more than 56 bits are cut, which no address, id or descriptor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed(u64);

impl Packed {
    const fn new(kind: u64, argument: u64) -> Packed {
        Packed(kind << ARGUMENT_BITS | argument & ARGUMENT)
    }

    pub(crate) const SLEEP: Packed = Packed::new(1, 0);

    pub(crate) fn descriptor(fd: RawFd, interest: Interest) -> Packed {
        let kind = match interest {
            Interest::Read => 2,
            Interest::Write => 3,
        };
        Packed::new(kind, u64::from(fd.unsigned_abs()))
    }

    pub(crate) fn poll(count: usize) -> Packed {
        Packed::new(4, count as u64)
    }

    pub(crate) fn futex(address: usize) -> Packed {
        Packed::new(5, address as u64)
    }

    pub(crate) fn join(id: u64) -> Packed {
        Packed::new(6, id)
    }

    pub(crate) fn mutex(address: usize) -> Packed {
        Packed::new(7, address as u64)
    }

    pub(crate) const PARK: Packed = Packed::new(8, 0);

    pub(crate) fn future(address: usize) -> Packed {
        Packed::new(9, address as u64)
    }

    pub(crate) fn from_word(word: u64) -> Packed {
        Packed(word)
    }

    pub(crate) fn word(self) -> u64 {
        self.0
    }

    pub(crate) fn unpack(self) -> Option<WaitReason> {
        let argument = self.0 & ARGUMENT;
        Some(match self.0 >> ARGUMENT_BITS {
            1 => WaitReason::Sleep,
            2 => WaitReason::Read(argument as RawFd),
            3 => WaitReason::Write(argument as RawFd),
            4 => WaitReason::Poll(argument as usize),
            5 => WaitReason::Futex(argument as usize),
            6 => WaitReason::Join(argument),
            7 => WaitReason::Mutex(argument as usize),
            8 => WaitReason::Park,
            9 => WaitReason::Future(argument as usize),
            _ => return None,
        })
    }
}
