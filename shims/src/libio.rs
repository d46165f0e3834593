//! What libio, glibc's stdio, calls a function that closes a descriptor: old programs and libraries may do so, too. Such
//! names of other functions stand beside those.

use std::ffi::c_int;

use libc::FILE;

unsafe extern "C-unwind" {
    fn fclose(stream: *mut FILE) -> c_int;
}

aliases! {
    fn _IO_fclose(stream: *mut FILE) -> c_int = fclose;
}
