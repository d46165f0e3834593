//! What the C library tells of itself: its version, and where its symbols stand.

use std::ffi::{CStr, c_char, c_void};

/// The version, for messages.
pub(crate) fn version() -> String {
    unsafe extern "C" {
        fn gnu_get_libc_version() -> *const c_char;
    }
    // SAFETY: returns a static string.
    unsafe { CStr::from_ptr(gnu_get_libc_version()) }
        .to_string_lossy()
        .into_owned()
}

/// The address of a symbol, one of those that have no declaration among them; `None` if this C library lacks it.
pub(crate) fn symbol(name: &'static CStr) -> Option<*mut c_void> {
    // SAFETY: dlsym only reads the name.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}
