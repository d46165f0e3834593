//! What C11's functions for locks and threads return.

use std::ffi::c_int;

/// `thrd_success` and so on, for an error of pthreads.
pub(crate) fn status(error: c_int) -> c_int {
    match error {
        0 => 0,
        libc::EBUSY => 1,
        libc::ENOMEM => 3,
        libc::ETIMEDOUT => 4,
        _ => 2,
    }
}
