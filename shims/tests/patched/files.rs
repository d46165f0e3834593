//! Opening, reading and writing files keep their promises on every kind of thread.

use std::ffi::{CString, c_int};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;
use std::sync::Arc;
use std::{fs, thread};

use harness::c::{errno, fails, ok};
use harness::{Directory, SHORT, on_every_kind_of_thread};

on_every_kind_of_thread! {
    what_cannot_be_opened_is_refused,
    a_file_gets_the_mode_it_is_made_with,
    files_are_read_and_written_at_an_offset,
    a_directory_is_listed,
    a_stream_is_written_and_read,
    preadv2_at_the_position_waits,
    eventfd_read_waits_for_a_write,
}

fn open(path: &CString, flags: c_int) -> RawFd {
    // SAFETY: a C string.
    unsafe { libc::open(path.as_ptr(), flags, 0o600) }
}

fn what_cannot_be_opened_is_refused() {
    let directory = Directory::new();
    directory.file("file", b"");
    let file = directory.c_path("file");
    fails(
        open(&directory.c_path("nothing"), libc::O_RDONLY),
        libc::ENOENT,
    );
    fails(open(&file, libc::O_CREAT | libc::O_EXCL), libc::EEXIST);
    fails(
        open(&file, libc::O_RDONLY | libc::O_DIRECTORY),
        libc::ENOTDIR,
    );
    std::os::unix::fs::symlink("file", directory.path().join("link")).unwrap();
    fails(
        open(&directory.c_path("link"), libc::O_RDONLY | libc::O_NOFOLLOW),
        libc::ELOOP,
    );
    // SAFETY: refused; and C strings.
    unsafe {
        fails(libc::open(std::ptr::null(), libc::O_RDONLY), libc::EFAULT);
        fails(
            libc::openat(-1, c"file".as_ptr(), libc::O_RDONLY),
            libc::EBADF,
        );
        let stream = libc::fopen(directory.c_path("nothing").as_ptr(), c"r".as_ptr());
        assert!(stream.is_null());
        assert_eq!(errno(), libc::ENOENT);
    }
}

fn a_file_gets_the_mode_it_is_made_with() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    // SAFETY: C strings.
    let made = unsafe {
        [
            ok(libc::creat(directory.c_path("a").as_ptr(), 0o400)),
            ok(libc::openat(
                libc::AT_FDCWD,
                directory.c_path("b").as_ptr(),
                libc::O_CREAT | libc::O_RDWR,
                0o500,
            )),
        ]
    };
    for (fd, mode) in made.into_iter().zip([0o400, 0o500]) {
        // SAFETY: given out just now.
        let file = unsafe { File::from_raw_fd(fd) };
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, mode);
    }
    let mut template = directory.c_path("XXXXXX").into_bytes_with_nul();
    // SAFETY: a C string to write to; given out just now.
    let temporary = unsafe { File::from_raw_fd(ok(libc::mkstemp(template.as_mut_ptr().cast()))) };
    assert_eq!(
        temporary.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
}

fn files_are_read_and_written_at_an_offset() {
    use std::os::unix::fs::FileExt;
    let directory = Directory::new();
    let file = directory.file("file", b"0123456789");
    file.write_all_at(b"ab", 3).unwrap();
    let mut buffer = [0; 4];
    file.read_exact_at(&mut buffer, 2).unwrap();
    assert_eq!(&buffer, b"2ab5");
    file.set_len(5).unwrap();
    assert_eq!(file.read_at(&mut buffer, 5).unwrap(), 0);
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    // SAFETY: a buffer of that length.
    fails(
        unsafe { libc::pread(reader.as_raw_fd(), buffer.as_mut_ptr().cast(), 4, 0) },
        libc::ESPIPE,
    );
}

fn a_directory_is_listed() {
    let directory = Directory::new();
    for name in ["a", "b", "c"] {
        directory.file(name, name.as_bytes());
    }
    let names = || {
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["a", "b", "c"]);
    fs::rename(directory.path().join("a"), directory.path().join("d")).unwrap();
    fs::remove_file(directory.path().join("b")).unwrap();
    fs::hard_link(directory.path().join("c"), directory.path().join("e")).unwrap();
    assert_eq!(names(), ["c", "d", "e"]);
    assert_eq!(fs::metadata(directory.path().join("e")).unwrap().len(), 1);
}

fn a_stream_is_written_and_read() {
    // SAFETY: a stream that is closed once, buffers of these lengths.
    unsafe {
        let stream = libc::tmpfile();
        assert!(!stream.is_null());
        assert_eq!(libc::fwrite(b"one\ntwo\n".as_ptr().cast(), 4, 2, stream), 2);
        assert_eq!(libc::fflush(stream), 0);
        libc::rewind(stream);
        let (mut line, mut capacity) = (null_mut(), 0);
        assert_eq!(libc::getline(&mut line, &mut capacity, stream), 4);
        libc::free(line.cast());
        let mut rest = [0u8; 8];
        assert_eq!(libc::fread(rest.as_mut_ptr().cast(), 1, 8, stream), 4);
        assert_eq!(&rest[..4], b"two\n");
        assert_eq!(libc::fclose(stream), 0);
    }
}

fn preadv2_at_the_position_waits() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    thread::spawn(move || {
        thread::sleep(SHORT);
        writer.write_all(b"abc").unwrap();
    });
    let mut buffer = [0u8; 8];
    let vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: one buffer.
    let read = unsafe { libc::preadv2(reader.as_raw_fd(), &vector, 1, -1, 0) };
    assert_eq!(read, 3);
}

unsafe extern "C" {
    fn eventfd_read(fd: c_int, value: *mut u64) -> c_int;
    fn eventfd_write(fd: c_int, value: u64) -> c_int;
}

fn eventfd_read_waits_for_a_write() {
    // SAFETY: given out just now.
    let event = Arc::new(unsafe { OwnedFd::from_raw_fd(ok(libc::eventfd(0, 0))) });
    let its = event.clone();
    thread::spawn(move || {
        thread::sleep(SHORT);
        // SAFETY: an open eventfd.
        ok(unsafe { eventfd_write(its.as_raw_fd(), 7) });
    });
    let mut value = 0;
    // SAFETY: an open eventfd and a place for its value.
    ok(unsafe { eventfd_read(event.as_raw_fd(), &mut value) });
    assert_eq!(value, 7);
}
