//! Address-keyed wait queues: the parking lot under every lock.
use crate::deadline::Deadline;
use std::sync::atomic::AtomicU32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait { Woken, Changed, TimedOut }

/// Every bit: the bitset of a plain wait and a plain wake.
pub const ANY: u32 = u32::MAX;

/// Waits while `*word == expected`: parks a green thread, blocks an OS thread in the kernel (private futex).
/// May return Woken spuriously.
pub fn wait(word: &AtomicU32, expected: u32, deadline: Option<Deadline>) -> Wait { unimplemented!() }
/// Wakes up to `count` waiters, green first, then kernel. Returns how many.
pub fn wake(address: *const u32, count: u32) -> u32 { unimplemented!() }

/// Counts an OS thread that is about to wait on `address` in the kernel through the real futex call,
/// so that wakers know a real wake is needed. Drop it after the real wait returned.
pub struct KernelWaiter(());
impl KernelWaiter { pub fn register(address: *const u32) -> KernelWaiter { unimplemented!() } }
impl Drop for KernelWaiter { fn drop(&mut self) {} }
/// Whether an OS thread may wait on `address` in the kernel.
pub fn has_kernel_waiters(address: *const u32) -> bool { unimplemented!() }
/// Parks the green thread that `section` stands for while `*address == expected`
/// # Safety: address readable for the duration
pub unsafe fn park_green(section: &crate::hook::Section, address: *const u32, expected: u32, bitset: u32, deadline: Option<Deadline>) -> Wait { unimplemented!() }
/// Wakes up to `count` green waiters of `address` whose bitset meets `bitset`. Returns how many. Any thread may call this.
pub fn wake_green(address: *const u32, count: u32, bitset: u32) -> u32 { unimplemented!() }
/// Wakes up to `wake` green waiters of `from` and moves up to `requeue` further ones to `to`. (woken, moved)
pub fn requeue_green(from: *const u32, to: *const u32, wake: u32, requeue: u32) -> (u32, u32) { unimplemented!() }
