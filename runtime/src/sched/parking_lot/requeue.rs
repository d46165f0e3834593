//! Moving waiters of the parking lot from one address to another, as condition variables do.

use std::ptr;
use std::sync::atomic::Ordering;

use super::table::{ANY, Parked, bucket};
use super::wake_green;
use crate::base::process;
use crate::sched::context::NativeSection;

/// Wakes up to `wake` green waiters of `from` and moves up to `requeue` others to `to`; gives both
/// numbers.
pub fn requeue_green(from: *const u32, to: *const u32, wake: u32, requeue: u32) -> (u32, u32) {
    if process::is_passive() {
        return (0, 0);
    }
    let woken = wake_green(from, wake, ANY);
    let (from, to) = (from as usize, to as usize);
    let _native = NativeSection::enter();
    let (source, target) = (bucket(from), bucket(to));
    let mut moved = 0;
    if ptr::eq(source, target) {
        let queue = source.queue.lock();
        while moved < requeue && from != to {
            let Some(waiter) = queue.find(queue.head, from, ANY) else {
                break;
            };
            waiter.address.store(to, Ordering::Relaxed);
            moved += 1;
        }
        return (woken, moved);
    }
    // Two buckets are locked in the order of their addresses.
    let (mut source_queue, mut target_queue);
    if ptr::from_ref(source) < ptr::from_ref(target) {
        source_queue = source.queue.lock();
        target_queue = target.queue.lock();
    } else {
        target_queue = target.queue.lock();
        source_queue = source.queue.lock();
    }
    while moved < requeue {
        let Some(waiter) = source_queue.find(source_queue.head, from, ANY) else {
            break;
        };
        let waiter: *const Parked = waiter;
        // SAFETY: found in the queue just now, under its lock.
        let waiter = unsafe { &*waiter };
        source_queue.remove(waiter);
        waiter.address.store(to, Ordering::Relaxed);
        target_queue.push(waiter);
        moved += 1;
    }
    (woken, moved)
}
