//! Opening files.
//!
//! That is a blocking section, for a disk or a network file system may have to be waited for. A FIFO waits for its
//! other end, which may never come, so green threads do not wait in the kernel for it:
//!
//! | to be opened for | what is done |
//! |---|---|
//! | reading | It is opened in non-blocking mode: a writer's open finds its reader. Then the green thread looks again and again, at most every 10 ms, whether there is a writer. |
//! | writing | It is opened in non-blocking mode, again and again, until that finds a reader. |
//!
//! Afterwards it is put into blocking mode; nobody else has the new descriptor so far. How one learns that there is
//! a writer which has written nothing: tee(2) to a pipe of one's own "would block"; without a writer there is the end
//! of the file. A writer that has come and gone leaves a hang-up. A reader that comes and goes between two looks of
//! a writer is missed, which the kernel would not do.
//!
//! The runtime is told of every new descriptor.

use std::ffi::{CStr, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use greenpatch_runtime::Patch;
use greenpatch_runtime::hook::{self, Section};
use libc::{DIR, FILE, file_handle, mode_t};
use rustix::io::Errno;

use crate::kernel::{finish, keeping_errno, set_errno};
use crate::new_fd::{opened, opened_stream};
use crate::section;

originals! {
    fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    fn __open_2(path: *const c_char, flags: c_int) -> c_int;
    fn openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    fn __openat_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int;
    fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE;
    fn tmpfile() -> *mut FILE;
    fn mkstemp(template: *mut c_char) -> c_int;
    fn mkostemp(template: *mut c_char, flags: c_int) -> c_int;
    fn mkstemps(template: *mut c_char, suffix: c_int) -> c_int;
    fn mkostemps(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int;
    fn opendir(path: *const c_char) -> *mut DIR;
    fn open_by_handle_at(mount: c_int, handle: *mut file_handle, flags: c_int) -> c_int;
    fn setmntent(path: *const c_char, mode: *const c_char) -> *mut FILE;
}

/// openat(2) on a green thread.
///
/// # Safety
///
/// As for openat.
unsafe fn open_at(
    section: &Section,
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> Result<c_int, Errno> {
    let call = |flags: c_int| {
        // SAFETY: `path` is right for openat, by this function's contract.
        let fd = unsafe { kernel_call!(libc::SYS_openat, directory, path, flags, mode) }?;
        // SAFETY: given out just now.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
    };
    // A signal handler may open files.
    let call = |flags| section.blocking_in_place(|| call(flags));
    // SAFETY: `path` is null or a C string, as openat has it, by this function's contract.
    let is_fifo = || section.blocking_in_place(|| unsafe { is_fifo(directory, path, flags) });
    let fd = if waits_for_other_end(flags) && is_fifo() {
        match flags & libc::O_ACCMODE {
            libc::O_RDONLY => open_to_read(flags, call),
            _ => open_to_write(flags, call),
        }
    } else {
        call(flags)
    }?;
    Ok(opened(fd.into_raw_fd()))
}

/// Whether a FIFO that is opened so must have another end.
fn waits_for_other_end(flags: c_int) -> bool {
    let never = libc::O_NONBLOCK | libc::O_PATH | libc::O_DIRECTORY;
    let access = flags & libc::O_ACCMODE;
    let is_new = flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL;
    flags & never == 0 && !is_new && (access == libc::O_RDONLY || access == libc::O_WRONLY)
}

/// # Safety
///
/// `path` is null or a C string.
unsafe fn is_fifo(directory: c_int, path: *const c_char, flags: c_int) -> bool {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    let place = status.as_mut_ptr();
    let follow = if flags & libc::O_NOFOLLOW == 0 {
        0
    } else {
        libc::AT_SYMLINK_NOFOLLOW
    };
    // SAFETY: `path` is null or a C string, by this function's contract; the result is ours.
    let outcome = unsafe { kernel_call!(libc::SYS_newfstatat, directory, path, place, follow) };
    // SAFETY: written on success.
    outcome.is_ok() && unsafe { status.assume_init() }.st_mode & libc::S_IFMT == libc::S_IFIFO
}

/// Opens a FIFO to read from it, and waits for a writer.
fn open_to_read(
    flags: c_int,
    call: impl Fn(c_int) -> Result<OwnedFd, Errno>,
) -> Result<OwnedFd, Errno> {
    let fifo = call(flags | libc::O_NONBLOCK)?;
    let Ok((_reader, scratch)) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) else {
        // Nothing tells then; the kernel waits better.
        drop(fifo);
        return call(flags);
    };
    hook::retry_by_timer(
        || Ok(None),
        || {
            if has_writer(&fifo, &scratch) {
                Ok(())
            } else {
                Err(Errno::AGAIN)
            }
        },
    )?;
    set_blocking(&fifo)?;
    Ok(fifo)
}

/// Whether a FIFO has, or has had since it was opened, somebody who writes to it.
fn has_writer(fifo: &OwnedFd, scratch: &OwnedFd) -> bool {
    if crate::kernel::is_ready(fifo.as_raw_fd(), hook::Interest::Read) {
        return true;
    }
    let (from, to) = (fifo.as_raw_fd(), scratch.as_raw_fd());
    // SAFETY: two descriptors of ours; nothing is taken out of the FIFO.
    let copied = unsafe { kernel_call!(libc::SYS_tee, from, to, 1, libc::SPLICE_F_NONBLOCK) };
    copied == Err(Errno::AGAIN) || copied == Ok(1)
}

/// Opens a FIFO to write to it, once there is a reader.
fn open_to_write(
    flags: c_int,
    call: impl Fn(c_int) -> Result<OwnedFd, Errno>,
) -> Result<OwnedFd, Errno> {
    let attempt = || match call(flags | libc::O_NONBLOCK) {
        Err(Errno::NXIO) => Err(Errno::AGAIN),
        outcome => outcome,
    };
    let fifo = hook::retry_by_timer(|| Ok(None), attempt)?;
    set_blocking(&fifo)?;
    Ok(fifo)
}

fn set_blocking(fifo: &OwnedFd) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(fifo)?;
    rustix::fs::fcntl_setfl(fifo, flags - rustix::fs::OFlags::NONBLOCK)
}

/// The mode counts only where a file may be made.
fn checked_mode(flags: c_int, mode: mode_t) -> mode_t {
    if needs_mode(flags) { mode } else { 0 }
}

fn needs_mode(flags: c_int) -> bool {
    flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE
}

/// Variadic in C, as openat: see `fcntl`.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let mode = checked_mode(flags, mode);
    let Some(section) = hook::enter(Patch::OS) else {
        return opened(pass_on!(original::open(path, flags, mode)));
    };
    // SAFETY: the caller gives the path as a C string.
    let outcome = unsafe { open_at(&section, libc::AT_FDCWD, path, flags, mode) };
    finish(section, outcome)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn openat(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    let mode = checked_mode(flags, mode);
    let Some(section) = hook::enter(Patch::OS) else {
        return opened(pass_on!(original::openat(directory, path, flags, mode)));
    };
    // SAFETY: the caller gives the path as a C string.
    let outcome = unsafe { open_at(&section, directory, path, flags, mode) };
    finish(section, outcome)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __open_2(path: *const c_char, flags: c_int) -> c_int {
    if needs_mode(flags) {
        // It ends the process.
        return pass_on!(original::__open_2(path, flags));
    }
    // SAFETY: the caller gives a C string.
    unsafe { open(path, flags, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __openat_2(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
) -> c_int {
    if needs_mode(flags) {
        // It ends the process.
        return pass_on!(original::__openat_2(directory, path, flags));
    }
    // SAFETY: the caller gives a C string.
    unsafe { openat(directory, path, flags, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn creat(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller gives a C string.
    unsafe { open(path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode) }
}

// On 64-bit architectures other names.
aliases! {
    fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int = open;
    fn __open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int = open;
    fn __open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int = open;
    fn __open64_2(path: *const c_char, flags: c_int) -> c_int = __open_2;
    fn openat64(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int = openat;
    fn __openat64_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int = __openat_2;
    fn creat64(path: *const c_char, mode: mode_t) -> c_int = creat;
    fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE = fopen;
    fn _IO_fopen(path: *const c_char, mode: *const c_char) -> *mut FILE = fopen;
    fn tmpfile64() -> *mut FILE = tmpfile;
    fn __setmntent(path: *const c_char, mode: *const c_char) -> *mut FILE = setmntent;
    fn mkstemp64(template: *mut c_char) -> c_int = mkstemp;
    fn mkostemp64(template: *mut c_char, flags: c_int) -> c_int = mkostemp;
    fn mkstemps64(template: *mut c_char, suffix: c_int) -> c_int = mkstemps;
    fn mkostemps64(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int = mkostemps;
}

/// Runs an original in a blocking section if a green thread calls it.
fn in_section<T>(call: impl FnOnce() -> T) -> T {
    section::run(hook::enter(Patch::OS), section::yielding, call)
}

/// The flags by which fopen opens a file that one only reads or only writes.
fn flags_of(mode: &CStr) -> Option<c_int> {
    let (&first, rest) = mode.to_bytes().split_first()?;
    if rest.contains(&b'+') || rest.contains(&b'x') || rest.contains(&b',') {
        return None;
    }
    let close_on_exec = if rest.contains(&b'e') {
        libc::O_CLOEXEC
    } else {
        0
    };
    Some(
        close_on_exec
            | match first {
                b'r' => libc::O_RDONLY,
                b'w' => libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC,
                b'a' => libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND,
                _ => return None,
            },
    )
}

/// A FIFO is opened here and made a stream then.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
    let Some(section) = hook::enter(Patch::OS) else {
        // SAFETY: fopen gives null or an open stream.
        return unsafe { opened_stream(pass_on!(original::fopen(path, mode))) };
    };
    // SAFETY: the caller gives the mode as a C string.
    let flags = flags_of(unsafe { CStr::from_ptr(mode) });
    // SAFETY: the caller gives the path as a C string.
    let is_fifo =
        |flags| section.blocking_in_place(|| unsafe { is_fifo(libc::AT_FDCWD, path, flags) });
    let Some(flags) = flags.filter(|&flags| is_fifo(flags)) else {
        // SAFETY: fopen gives null or an open stream.
        return section::yielding(section, || unsafe {
            opened_stream(pass_on!(original::fopen(path, mode)))
        });
    };
    // SAFETY: the caller gives the path as a C string.
    let outcome = unsafe { open_at(&section, libc::AT_FDCWD, path, flags, 0o666) };
    let stream = outcome.and_then(|fd| {
        // SAFETY: a descriptor of ours, and a mode that fits it.
        let stream = unsafe { libc::fdopen(fd, mode) };
        if stream.is_null() {
            // SAFETY: nobody else has it.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
            return Err(Errno::NOMEM);
        }
        Ok(stream)
    });
    drop(section);
    stream.unwrap_or_else(|error| {
        set_errno(error.raw_os_error());
        std::ptr::null_mut()
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn tmpfile() -> *mut FILE {
    // SAFETY: tmpfile gives null or an open stream.
    in_section(|| unsafe { opened_stream(pass_on!(original::tmpfile())) })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mkstemp(template: *mut c_char) -> c_int {
    in_section(|| opened(pass_on!(original::mkstemp(template))))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mkostemp(template: *mut c_char, flags: c_int) -> c_int {
    in_section(|| opened(pass_on!(original::mkostemp(template, flags))))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mkstemps(template: *mut c_char, suffix: c_int) -> c_int {
    in_section(|| opened(pass_on!(original::mkstemps(template, suffix))))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mkostemps(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int {
    in_section(|| opened(pass_on!(original::mkostemps(template, suffix, flags))))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn opendir(path: *const c_char) -> *mut DIR {
    in_section(|| {
        let directory = pass_on!(original::opendir(path));
        if !directory.is_null() {
            // SAFETY: open.
            opened(keeping_errno(|| unsafe { libc::dirfd(directory) }));
        }
        directory
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn open_by_handle_at(
    mount: c_int,
    handle: *mut file_handle,
    flags: c_int,
) -> c_int {
    in_section(|| opened(pass_on!(original::open_by_handle_at(mount, handle, flags))))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn setmntent(path: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: setmntent gives null or an open stream.
    in_section(|| unsafe { opened_stream(pass_on!(original::setmntent(path, mode))) })
}
