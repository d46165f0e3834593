//! Pseudo-terminals, and what one asks of devices.

use std::ffi::{c_char, c_int, c_ulong};

use greenpatch_runtime::Patch;
use libc::{pid_t, termios, winsize};

use crate::fd::enter;
use crate::new_fd::opened;
use crate::section;

originals! {
    fn openpty(master: *mut c_int, slave: *mut c_int, name: *mut c_char, mode: *const termios,
        size: *const winsize) -> c_int;
    fn forkpty(master: *mut c_int, name: *mut c_char, mode: *const termios, size: *const winsize) -> pid_t;
    fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int;
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn openpty(
    master: *mut c_int,
    slave: *mut c_int,
    name: *mut c_char,
    mode: *const termios,
    size: *const winsize,
) -> c_int {
    let status = pass_on!(original::openpty(master, slave, name, mode, size));
    if status == 0 {
        // SAFETY: both ends are written on success.
        let (master, slave) = unsafe { (*master, *slave) };
        opened(master);
        opened(slave);
    }
    status
}

/// The child has no master.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn forkpty(
    master: *mut c_int,
    name: *mut c_char,
    mode: *const termios,
    size: *const winsize,
) -> pid_t {
    let child = pass_on!(original::forkpty(master, name, mode, size));
    if child > 0 {
        // SAFETY: the master is written in the parent.
        opened(unsafe { *master });
    }
    child
}

/// Variadic in C: see `fcntl`.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int {
    let call = || pass_on!(original::ioctl(fd, request, argument));
    // A signal handler may ask a device.
    let value = section::run(enter(Patch::OS), section::in_place, call);
    if request == libc::TIOCGPTPEER {
        opened(value)
    } else {
        value
    }
}
