//! The life of descriptors: what closes, replaces and duplicates them.
//!
//! What may have to wait as it closes, for a file server, a child or a socket with `SO_LINGER`, is a blocking section. The
//! runtime is told, on every thread, before and after a number stops to
//! mean what it meant, so that green threads which wait on it get `EBADF`. That it is also told when a number is given out is
//! the subject of `new_fd`.
//!
//! A call that is going to fail must not wake anyone, so arguments that the kernel refuses are
//! passed on untold.
//!
//! The runtime's own descriptors are not the program's to close or replace. For it they are not open: `close` and `dup2`
//! fail with `EBADF`, and what closes a range leaves them out.

#[cfg(feature = "lock")]
use std::ffi::c_long;
use std::ffi::{c_char, c_int, c_uint};

use greenpatch_runtime::Patch;
use greenpatch_runtime::hook::{self, Closing, Section};
use libc::{DIR, FILE, sigset_t};
use rustix::io::Errno;

#[cfg(feature = "os")]
use crate::file_lock::{set_record_lock, without_waiting};
#[cfg(feature = "os")]
use crate::kernel::finish;
use crate::kernel::{keeping_errno, returned};
#[cfg(feature = "lock")]
use crate::new_fd::opened_by;
use crate::new_fd::{gives_out, number_of, opened, opened_pair, opened_stream};
use crate::{compiled, section};

originals! {
    fn close(fd: c_int) -> c_int;
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int, or returned(Err(Errno::NOSYS));
    fn closefrom(first: c_int);
    fn fclose(stream: *mut FILE) -> c_int;
    fn pclose(stream: *mut FILE) -> c_int;
    fn freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE;
    fn closedir(directory: *mut DIR) -> c_int;
    fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE;
    fn endmntent(stream: *mut FILE) -> c_int;
    fn dup(fd: c_int) -> c_int;
    fn dup2(fd: c_int, to: c_int) -> c_int;
    fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int;
    fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int;
    fn pipe(ends: *mut c_int) -> c_int;
    fn pipe2(ends: *mut c_int, flags: c_int) -> c_int;
    fn signalfd(fd: c_int, signals: *const sigset_t, flags: c_int) -> c_int;
}

/// Around a `call` that closes `fd`.
pub(crate) fn closing<T>(fd: c_int, call: impl FnOnce() -> T) -> T {
    around(hook::closing(fd), call)
}

fn around<T>(closing: Closing, call: impl FnOnce() -> T) -> T {
    let value = call();
    keeping_errno(|| hook::closed(closing));
    value
}

/// Around a system call that may close descriptors or give some out, by its number and arguments.
///
/// # Safety
///
/// The arguments are right for the call, which `call` makes.
#[cfg(feature = "lock")]
pub(crate) unsafe fn telling(
    number: c_long,
    arguments: [usize; 6],
    call: impl FnOnce() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let [one, two, three, ..] = arguments;
    let (fd, to, flags) = (one as c_int, two as c_int, three as c_int);
    match number {
        libc::SYS_close if hook::is_own(fd) => Err(Errno::BADF),
        libc::SYS_dup2 | libc::SYS_dup3 if hook::is_own(to) => Err(Errno::BADF),
        libc::SYS_close => closing(fd, call),
        libc::SYS_dup2 => replacing(fd, to, call),
        libc::SYS_dup3 if flags & !libc::O_CLOEXEC == 0 => replacing(fd, to, call),
        _ => {
            let value = call()?;
            // SAFETY: `call` has made the call with these arguments, by this function's contract, and it has succeeded.
            keeping_errno(|| unsafe { opened_by(number, arguments, value) });
            Ok(value)
        }
    }
}

/// As [`hook::enter_either`], if one of the families is compiled in.
pub(crate) fn enter(families: Patch) -> Option<Section> {
    let families = families.intersection(compiled());
    hook::enter_either(families)
}

/// Around a `call` that closes `fd`, which is a blocking section on green threads for which the family is patched.
fn in_section<T>(family: Patch, fd: c_int, call: impl FnOnce() -> T) -> T {
    closing(fd, || section::run(enter(family), section::yielding, call))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn close(fd: c_int) -> c_int {
    if hook::is_own(fd) {
        return returned(Err(Errno::BADF));
    }
    let call = || pass_on!(original::close(fd));
    // A signal handler may close.
    closing(fd, || {
        let entered = enter(Patch::SOCKET.union(Patch::OS));
        section::run(entered, section::in_place, call)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fclose(stream: *mut FILE) -> c_int {
    // SAFETY: the caller gives an open stream.
    let fd = unsafe { number_of(stream) };
    in_section(Patch::OS, fd, || pass_on!(original::fclose(stream)))
}

/// Closes what `setmntent` has opened.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn endmntent(stream: *mut FILE) -> c_int {
    let call = || pass_on!(original::endmntent(stream));
    if stream.is_null() {
        return call();
    }
    // SAFETY: the caller gives an open stream.
    let fd = unsafe { number_of(stream) };
    in_section(Patch::OS, fd, call)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pclose(stream: *mut FILE) -> c_int {
    // SAFETY: the caller gives an open stream.
    let fd = unsafe { number_of(stream) };
    in_section(Patch::PROCESS, fd, || pass_on!(original::pclose(stream)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn closedir(directory: *mut DIR) -> c_int {
    // SAFETY: the caller gives an open directory.
    let fd = keeping_errno(|| unsafe { libc::dirfd(directory) });
    in_section(Patch::OS, fd, || pass_on!(original::closedir(directory)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn freopen(
    path: *const c_char,
    mode: *const c_char,
    stream: *mut FILE,
) -> *mut FILE {
    // SAFETY: the caller gives an open stream.
    let fd = unsafe { number_of(stream) };
    // SAFETY: freopen gives null or an open stream.
    in_section(Patch::OS, fd, || unsafe {
        opened_stream(pass_on!(original::freopen(path, mode, stream)))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn freopen64(
    path: *const c_char,
    mode: *const c_char,
    stream: *mut FILE,
) -> *mut FILE {
    // SAFETY: the caller gives an open stream.
    let fd = unsafe { number_of(stream) };
    // SAFETY: freopen64 gives null or an open stream.
    in_section(Patch::OS, fd, || unsafe {
        opened_stream(pass_on!(original::freopen64(path, mode, stream)))
    })
}

/// Calls `close` for the parts of `first..=last` between the runtime's own descriptors, until it gives an error.
fn between_own(mut first: c_uint, last: c_uint, close: impl Fn(c_uint, c_uint) -> c_int) -> c_int {
    while let Some(own) = hook::first_own(first, last) {
        if first < own {
            let status = close(first, own - 1);
            if status != 0 {
                return status;
            }
        }
        if own == last {
            return 0;
        }
        first = own + 1;
    }
    close(first, last)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    // SAFETY: integers only.
    let call = |first, last| unsafe { original::close_range(first, last, flags) };
    if flags as c_uint & libc::CLOSE_RANGE_CLOEXEC != 0 || first > last {
        return call(first, last);
    }
    hook::closing_range(first, last);
    let status = between_own(first, last, call);
    keeping_errno(|| hook::closed_range(first, last));
    status
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn closefrom(first: c_int) {
    let from = first.max(0) as c_uint;
    hook::closing_range(from, c_uint::MAX);
    between_own(from, c_uint::MAX, |first, last| {
        // SAFETY: integers only.
        unsafe {
            if last == c_uint::MAX {
                original::closefrom(first as c_int);
            } else if original::close_range(first, last, 0) != 0 {
                // Where the kernel lacks that call.
                for fd in first..=last {
                    original::close(fd as c_int);
                }
            }
        }
        0
    });
    keeping_errno(|| hook::closed_range(from, c_uint::MAX));
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn dup(fd: c_int) -> c_int {
    opened(pass_on!(original::dup(fd)))
}

/// Around a `call` that makes `to` a duplicate of `fd`, and closes what `to` was if `fd` is open.
fn replacing<T>(fd: c_int, to: c_int, call: impl FnOnce() -> T) -> T {
    if fd == to {
        return call();
    }
    // SAFETY: F_GETFD takes no argument.
    let is_open = || unsafe { kernel_call!(libc::SYS_fcntl, fd, libc::F_GETFD) }.is_ok();
    match hook::closing_if(to, is_open) {
        Some(closing) => around(closing, call),
        None => call(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn dup2(fd: c_int, to: c_int) -> c_int {
    if hook::is_own(to) {
        return returned(Err(Errno::BADF));
    }
    let call = || pass_on!(original::dup2(fd, to));
    replacing(fd, to, call)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int {
    if hook::is_own(to) {
        return returned(Err(Errno::BADF));
    }
    let call = || pass_on!(original::dup3(fd, to, flags));
    if flags & !libc::O_CLOEXEC == 0 {
        replacing(fd, to, call)
    } else {
        call()
    }
}

/// Variadic in C. On x86-64 a third argument of any kind arrives and is handed on in the same
/// register, whether or not the command has one.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    #[cfg(feature = "os")]
    if let Some(trying) = without_waiting(command)
        && let Some(section) = hook::enter(Patch::OS)
    {
        // SAFETY: for these commands the caller gives the address of a lock to read.
        let outcome = unsafe { set_record_lock(&section, fd, command, trying, argument) };
        return finish(section, outcome);
    }
    let value = pass_on!(original::fcntl(fd, command, argument));
    if gives_out(command) {
        opened(value)
    } else {
        value
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pipe(ends: *mut c_int) -> c_int {
    // SAFETY: both ends are written on success.
    unsafe { opened_pair(pass_on!(original::pipe(ends)), ends) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pipe2(ends: *mut c_int, flags: c_int) -> c_int {
    // SAFETY: both ends are written on success.
    unsafe { opened_pair(pass_on!(original::pipe2(ends, flags)), ends) }
}

/// Gives out a descriptor if `fd` is -1; otherwise changes that one.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn signalfd(fd: c_int, signals: *const sigset_t, flags: c_int) -> c_int {
    let value = pass_on!(original::signalfd(fd, signals, flags));
    if fd == -1 { opened(value) } else { value }
}

// Other names; `fcntl64` is one on 64-bit architectures.
aliases! {
    fn __close(fd: c_int) -> c_int = close;
    fn __dup2(fd: c_int, to: c_int) -> c_int = dup2;
    fn _IO_fclose(stream: *mut FILE) -> c_int = fclose;
    fn __endmntent(stream: *mut FILE) -> c_int = endmntent;
    fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int = fcntl;
    fn __fcntl(fd: c_int, command: c_int, argument: usize) -> c_int = fcntl;
    fn __pipe(ends: *mut c_int) -> c_int = pipe;
}
