//! Calls on files that may wait for a disk or a network file system: blocking sections.
//!
//! Opening files stands in `open`, reading and writing at the position in `rw`, locks in `file_lock`.

use std::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

use libc::{DIR, FILE, dev_t, dirent, dirent64, gid_t, iovec, mode_t, off_t, size_t, ssize_t};
use libc::{timespec, timeval, uid_t, utimbuf};

sections! { OS:
in_place {
    fn fsync(fd: c_int) -> c_int;
    fn fdatasync(fd: c_int) -> c_int;
    fn ftruncate(fd: c_int, length: off_t) -> c_int;
    fn ftruncate64(fd: c_int, length: off_t) -> c_int;

    fn stat(path: *const c_char, result: *mut libc::stat) -> c_int;
    fn stat64(path: *const c_char, result: *mut libc::stat64) -> c_int;
    fn lstat(path: *const c_char, result: *mut libc::stat) -> c_int;
    fn lstat64(path: *const c_char, result: *mut libc::stat64) -> c_int;
    fn fstat(fd: c_int, result: *mut libc::stat) -> c_int;
    fn fstat64(fd: c_int, result: *mut libc::stat64) -> c_int;
    fn fstatat(directory: c_int, path: *const c_char, result: *mut libc::stat, flags: c_int) -> c_int;
    fn fstatat64(directory: c_int, path: *const c_char, result: *mut libc::stat64, flags: c_int) -> c_int;
    fn access(path: *const c_char, mode: c_int) -> c_int;
    fn faccessat(directory: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int;

    fn chdir(path: *const c_char) -> c_int;
    fn fchdir(fd: c_int) -> c_int;
    fn mkdir(path: *const c_char, mode: mode_t) -> c_int;
    fn mkdirat(directory: c_int, path: *const c_char, mode: mode_t) -> c_int;
    fn rmdir(path: *const c_char) -> c_int;
    fn mkfifo(path: *const c_char, mode: mode_t) -> c_int;
    fn mkfifoat(directory: c_int, path: *const c_char, mode: mode_t) -> c_int;
    fn mknod(path: *const c_char, mode: mode_t, device: dev_t) -> c_int;
    fn mknodat(directory: c_int, path: *const c_char, mode: mode_t, device: dev_t) -> c_int;
    fn link(from: *const c_char, to: *const c_char) -> c_int;
    fn linkat(from: c_int, path: *const c_char, to: c_int, new: *const c_char, flags: c_int) -> c_int;
    fn symlink(target: *const c_char, path: *const c_char) -> c_int;
    fn symlinkat(target: *const c_char, directory: c_int, path: *const c_char) -> c_int;
    fn readlink(path: *const c_char, buffer: *mut c_char, length: size_t) -> ssize_t;
    fn readlinkat(directory: c_int, path: *const c_char, buffer: *mut c_char, length: size_t) -> ssize_t;
    fn __readlink_chk(path: *const c_char, buffer: *mut c_char, length: size_t, capacity: size_t) -> ssize_t;
    fn __readlinkat_chk(directory: c_int, path: *const c_char, buffer: *mut c_char, length: size_t,
        capacity: size_t) -> ssize_t;
    fn unlink(path: *const c_char) -> c_int;
    fn unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int;
    fn rename(from: *const c_char, to: *const c_char) -> c_int;
    fn renameat(from: c_int, path: *const c_char, to: c_int, new: *const c_char) -> c_int;

    fn chmod(path: *const c_char, mode: mode_t) -> c_int;
    fn fchmod(fd: c_int, mode: mode_t) -> c_int;
    fn fchmodat(directory: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int;
    fn chown(path: *const c_char, user: uid_t, group: gid_t) -> c_int;
    fn lchown(path: *const c_char, user: uid_t, group: gid_t) -> c_int;
    fn fchown(fd: c_int, user: uid_t, group: gid_t) -> c_int;
    fn fchownat(directory: c_int, path: *const c_char, user: uid_t, group: gid_t, flags: c_int) -> c_int;
    fn utime(path: *const c_char, times: *const utimbuf) -> c_int;
    fn utimes(path: *const c_char, times: *const timeval) -> c_int;
    fn lutimes(path: *const c_char, times: *const timeval) -> c_int;
    fn futimes(fd: c_int, times: *const timeval) -> c_int;
    fn futimens(fd: c_int, times: *const timespec) -> c_int;
    fn utimensat(directory: c_int, path: *const c_char, times: *const timespec, flags: c_int) -> c_int;
    fn tcdrain(fd: c_int) -> c_int;
}

yielding {
    fn pread(fd: c_int, buffer: *mut c_void, length: size_t, offset: off_t) -> ssize_t;
    fn pread64(fd: c_int, buffer: *mut c_void, length: size_t, offset: off_t) -> ssize_t;
    fn __pread64(fd: c_int, buffer: *mut c_void, length: size_t, offset: off_t) -> ssize_t;
    fn __pread_chk(fd: c_int, buffer: *mut c_void, length: size_t, offset: off_t,
        capacity: size_t) -> ssize_t;
    fn __pread64_chk(fd: c_int, buffer: *mut c_void, length: size_t, offset: off_t,
        capacity: size_t) -> ssize_t;
    fn pwrite(fd: c_int, buffer: *const c_void, length: size_t, offset: off_t) -> ssize_t;
    fn pwrite64(fd: c_int, buffer: *const c_void, length: size_t, offset: off_t) -> ssize_t;
    fn __pwrite64(fd: c_int, buffer: *const c_void, length: size_t, offset: off_t) -> ssize_t;
    fn preadv(fd: c_int, vectors: *const iovec, count: c_int, offset: off_t) -> ssize_t;
    fn preadv64(fd: c_int, vectors: *const iovec, count: c_int, offset: off_t) -> ssize_t;
    fn pwritev(fd: c_int, vectors: *const iovec, count: c_int, offset: off_t) -> ssize_t;
    fn pwritev64(fd: c_int, vectors: *const iovec, count: c_int, offset: off_t) -> ssize_t;
    fn copy_file_range(from: c_int, from_offset: *mut off_t, to: c_int, to_offset: *mut off_t, length: size_t,
        flags: c_uint) -> ssize_t;

    fn sync();
    fn syncfs(fd: c_int) -> c_int;
    fn sync_file_range(fd: c_int, offset: off_t, length: off_t, flags: c_uint) -> c_int;
    fn msync(address: *mut c_void, length: size_t, flags: c_int) -> c_int;
    fn truncate(path: *const c_char, length: off_t) -> c_int;
    fn truncate64(path: *const c_char, length: off_t) -> c_int;
    fn fallocate(fd: c_int, mode: c_int, offset: off_t, length: off_t) -> c_int;
    fn fallocate64(fd: c_int, mode: c_int, offset: off_t, length: off_t) -> c_int;
    fn posix_fallocate(fd: c_int, offset: off_t, length: off_t) -> c_int;
    fn posix_fallocate64(fd: c_int, offset: off_t, length: off_t) -> c_int;
    fn posix_fadvise(fd: c_int, offset: off_t, length: off_t, advice: c_int) -> c_int;
    fn posix_fadvise64(fd: c_int, offset: off_t, length: off_t, advice: c_int) -> c_int;
    fn readahead(fd: c_int, offset: off_t, count: size_t) -> ssize_t;

    fn statx(directory: c_int, path: *const c_char, flags: c_int, mask: c_uint,
        result: *mut libc::statx) -> c_int;
    fn statfs(path: *const c_char, result: *mut libc::statfs) -> c_int;
    fn statfs64(path: *const c_char, result: *mut libc::statfs64) -> c_int;
    fn fstatfs(fd: c_int, result: *mut libc::statfs) -> c_int;
    fn fstatfs64(fd: c_int, result: *mut libc::statfs64) -> c_int;
    fn statvfs(path: *const c_char, result: *mut libc::statvfs) -> c_int;
    fn statvfs64(path: *const c_char, result: *mut libc::statvfs64) -> c_int;
    fn fstatvfs(fd: c_int, result: *mut libc::statvfs) -> c_int;
    fn fstatvfs64(fd: c_int, result: *mut libc::statvfs64) -> c_int;
    fn euidaccess(path: *const c_char, mode: c_int) -> c_int;
    fn eaccess(path: *const c_char, mode: c_int) -> c_int;
    fn realpath(path: *const c_char, resolved: *mut c_char) -> *mut c_char;
    fn __realpath_chk(path: *const c_char, resolved: *mut c_char, capacity: size_t) -> *mut c_char;
    fn canonicalize_file_name(path: *const c_char) -> *mut c_char;
    fn renameat2(from: c_int, path: *const c_char, to: c_int, new: *const c_char, flags: c_uint) -> c_int;
    fn remove(path: *const c_char) -> c_int;
    fn mkdtemp(template: *mut c_char) -> *mut c_char;
    fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong,
        data: *const c_void) -> c_int;
    fn umount(target: *const c_char) -> c_int;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;

    fn getdents64(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t;
    fn readdir(directory: *mut DIR) -> *mut dirent;
    fn readdir64(directory: *mut DIR) -> *mut dirent64;
    fn readdir_r(directory: *mut DIR, entry: *mut dirent, result: *mut *mut dirent) -> c_int;
    fn readdir64_r(directory: *mut DIR, entry: *mut dirent64, result: *mut *mut dirent64) -> c_int;

    fn getxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t;
    fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t;
    fn fgetxattr(fd: c_int, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t;
    fn listxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t;
    fn llistxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t;
    fn flistxattr(fd: c_int, list: *mut c_char, size: size_t) -> ssize_t;
    fn setxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t,
        flags: c_int) -> c_int;
    fn lsetxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t,
        flags: c_int) -> c_int;
    fn fsetxattr(fd: c_int, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int;
    fn removexattr(path: *const c_char, name: *const c_char) -> c_int;
    fn lremovexattr(path: *const c_char, name: *const c_char) -> c_int;
    fn fremovexattr(fd: c_int, name: *const c_char) -> c_int;

    fn fread(buffer: *mut c_void, size: size_t, count: size_t, stream: *mut FILE) -> size_t;
    fn __fread_chk(buffer: *mut c_void, capacity: size_t, size: size_t, count: size_t,
        stream: *mut FILE) -> size_t;
    fn fwrite(buffer: *const c_void, size: size_t, count: size_t, stream: *mut FILE) -> size_t;
    fn fgets(buffer: *mut c_char, length: c_int, stream: *mut FILE) -> *mut c_char;
    fn __fgets_chk(buffer: *mut c_char, capacity: size_t, length: c_int, stream: *mut FILE) -> *mut c_char;
    fn getline(line: *mut *mut c_char, capacity: *mut size_t, stream: *mut FILE) -> ssize_t;
    fn getdelim(line: *mut *mut c_char, capacity: *mut size_t, end: c_int, stream: *mut FILE) -> ssize_t;
    fn __getdelim(line: *mut *mut c_char, capacity: *mut size_t, end: c_int, stream: *mut FILE) -> ssize_t;
    fn fputs(text: *const c_char, stream: *mut FILE) -> c_int;
    fn puts(text: *const c_char) -> c_int;
    fn fflush(stream: *mut FILE) -> c_int;
}
}

// What libio calls them, by which old programs and libraries may do so.
aliases! {
    fn _IO_fread(buffer: *mut c_void, size: size_t, count: size_t, stream: *mut FILE) -> size_t = fread;
    fn _IO_fwrite(buffer: *const c_void, size: size_t, count: size_t, stream: *mut FILE) -> size_t = fwrite;
    fn _IO_fgets(buffer: *mut c_char, length: c_int, stream: *mut FILE) -> *mut c_char = fgets;
    fn _IO_fputs(text: *const c_char, stream: *mut FILE) -> c_int = fputs;
    fn _IO_puts(text: *const c_char) -> c_int = puts;
    fn _IO_fflush(stream: *mut FILE) -> c_int = fflush;
}
