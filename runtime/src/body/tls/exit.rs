//! What glibc does first and last on a thread, done on green threads.

use std::ptr;

use super::{Key, KeyValue, Layout, ResolverState, layout, thread_id};
use crate::base::arch;

/// glibc runs pthread key destructors again as long as they set new values, at most this often.
const DESTRUCTOR_ROUNDS: usize = 4;

/// `LC_GLOBAL_LOCALE`, which the libc crate lacks.
const GLOBAL_LOCALE: isize = -1;

/// What glibc does first on a new thread: points its character tables at the global locale.
///
/// # Safety
///
/// Runs on a green thread's own block.
pub(crate) unsafe fn start_thread() {
    // SAFETY: both only write the calling thread's storage.
    unsafe {
        libc::uselocale(GLOBAL_LOCALE as libc::locale_t);
        (layout().ctype_init)();
    }
}

/// What glibc does last on a thread: thread-local destructors (C++'s and Rust's), then those of
/// pthread keys, then the resolver's. And what the kernel does then about robust mutexes.
///
/// # Safety
///
/// Runs on a green thread's own block, after all other code of that thread.
pub(crate) unsafe fn run_exit_destructors() {
    let layout = layout();
    // SAFETY: the block is the green thread's own and no other code of it runs any more, by this function's contract.
    // The resolver's state stands at this offset in every block.
    unsafe {
        run_key_destructors(layout);
        let state = (arch::thread_pointer() + layout.resolver.state) as *mut ResolverState;
        if (*state).options != 0 {
            (layout.res_nclose)(state);
            (*state).options = 0;
        }
        if let Some(robust) = layout.robust {
            robust.abandon(thread_id() as u32);
        }
    }
}

/// # Safety
///
/// As for [`run_exit_destructors`].
unsafe fn run_key_destructors(layout: &Layout) {
    for _ in 0..DESTRUCTOR_ROUNDS {
        // SAFETY: the function runs and clears the calling thread's list.
        unsafe { (layout.call_tls_dtors)() };
        // SAFETY: the calling thread's own block.
        let again = unsafe { take_keys_used(layout) && for_key_values(layout, run_key_destructor) };
        if !again {
            return;
        }
    }
    // SAFETY: the block is the calling thread's own, by this function's contract. What key destructors registered must
    // not wait for the block's next owner, nor may values that they set again.
    unsafe {
        (layout.call_tls_dtors)();
        take_keys_used(layout);
        for_key_values(layout, |value, _| {
            (*value).data = ptr::null_mut();
            false
        });
    }
}

/// Whether the calling thread may have set a key's value since the last call. The values stand in a dozen cache lines
/// that few green threads use.
///
/// # Safety
///
/// Runs on a green thread's own block.
unsafe fn take_keys_used(layout: &Layout) -> bool {
    layout.specific_used.is_none_or(|offset| {
        let byte = (arch::thread_pointer() + offset) as *mut u8;
        // SAFETY: glibc's flag in the calling thread's control block, which glibc clears in the same way.
        unsafe { *byte != 0 && ptr::replace(byte, 0) != 0 }
    })
}

/// Calls `act` for each pthread key that the calling thread may have a value for; whether any call gave true.
///
/// # Safety
///
/// Runs on a green thread's own block.
unsafe fn for_key_values(layout: &Layout, act: fn(*mut KeyValue, &Key) -> bool) -> bool {
    let level1 = (arch::thread_pointer() + layout.specific) as *const *mut KeyValue;
    let mut any = false;
    for first in 0..layout.specific_count {
        // SAFETY: `specific` has `specific_count` pointers to blocks of `level2_count` values.
        let block = unsafe { *level1.add(first) };
        if block.is_null() {
            continue;
        }
        for second in 0..layout.level2_count {
            // SAFETY: the block has `level2_count` values, and libc's table an entry for each key there can be.
            any |= unsafe {
                let value = block.add(second);
                !(*value).data.is_null()
                    && act(
                        value,
                        &*layout.keys.add(first * layout.level2_count + second),
                    )
            };
        }
    }
    any
}

/// Clears the value and runs the key's destructor, if it has one.
fn run_key_destructor(value: *mut KeyValue, key: &Key) -> bool {
    // SAFETY: the calling thread's value; the destructor may set it again, so nothing is borrowed meanwhile.
    unsafe {
        let data = std::mem::replace(&mut (*value).data, ptr::null_mut());
        let Some(destructor) = key.destructor.filter(|_| key.sequence == (*value).sequence) else {
            return false;
        };
        destructor(data);
    }
    true
}
