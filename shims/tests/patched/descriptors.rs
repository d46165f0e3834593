//! read, write, close, poll and their kin keep their promises on every kind of thread.

use std::ffi::c_int;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::{null, null_mut};
use std::thread;
use std::time::{Duration, Instant};

use harness::c::{fails, ok, timespec};
use harness::{Directory, SHORT, on_every_kind_of_thread};
use libc::pollfd;

on_every_kind_of_thread! {
    a_pipe_is_read_when_it_is_written,
    a_large_write_to_a_pipe_completes,
    a_nonblocking_pipe_does_not_wait,
    a_pipe_without_reader_gives_epipe,
    a_fifo_is_read_when_it_is_written,
    a_large_write_to_a_fifo_completes,
    an_eventfd_waits_for_its_count,
    a_timerfd_waits_for_its_time,
    a_file_is_read_and_written,
    vectors_are_read_and_written_in_order,
    reads_and_writes_of_nothing_return_at_once,
    bad_descriptors_are_refused,
    a_number_used_again_is_taken_for_what_it_is,
    fcntl_passes_its_argument_on,
    poll_waits_for_the_first_that_is_ready,
    poll_ends_at_its_time,
    poll_of_nothing_is_a_sleep,
    poll_tells_bad_descriptors_and_skips_negative_ones,
    select_waits_and_keeps_what_is_ready,
    select_ends_at_its_time_and_tells_what_is_left,
    select_refuses_bad_descriptors,
    epoll_waits_for_its_events,
    epoll_ends_at_its_time,
    a_stream_is_closed_and_reopened,
}

fn read(fd: RawFd, buffer: &mut [u8]) -> isize {
    // SAFETY: a valid buffer.
    unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) }
}

fn write(fd: RawFd, data: &[u8]) -> isize {
    // SAFETY: a valid buffer.
    unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) }
}

fn pipe() -> (PipeReader, PipeWriter) {
    std::io::pipe().unwrap()
}

fn write_later(mut writer: impl Write + Send + 'static, data: &'static [u8]) {
    thread::spawn(move || {
        thread::sleep(SHORT);
        writer.write_all(data).unwrap();
    });
}

fn a_pipe_is_read_when_it_is_written() {
    let (reader, writer) = pipe();
    let mut buffer = [0; 8];
    write_later(writer, b"abc");
    assert_eq!(read(reader.as_raw_fd(), &mut buffer), 3);
    assert_eq!(&buffer[..3], b"abc");
    assert_eq!(read(reader.as_raw_fd(), &mut buffer), 0);
}

fn a_large_write_to_a_pipe_completes() {
    const LARGE: usize = 3 << 20;
    let data: Vec<u8> = (0..LARGE).map(|at| (at >> 4) as u8).collect();
    let (mut reader, writer) = pipe();
    let reader = thread::spawn(move || {
        thread::sleep(SHORT);
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    assert_eq!(write(writer.as_raw_fd(), &data), LARGE as isize);
    drop(writer);
    assert!(reader.join().unwrap() == data);
}

fn set_nonblocking(fd: &impl AsRawFd) {
    // SAFETY: an open descriptor.
    ok(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) });
}

fn a_nonblocking_pipe_does_not_wait() {
    let (reader, writer) = pipe();
    set_nonblocking(&reader);
    set_nonblocking(&writer);
    fails(read(reader.as_raw_fd(), &mut [0; 8]), libc::EAGAIN);
    let data = vec![1; 1 << 20];
    let written = ok(write(writer.as_raw_fd(), &data));
    assert!(0 < written && written < 1 << 20);
    fails(write(writer.as_raw_fd(), &data), libc::EAGAIN);
}

fn a_pipe_without_reader_gives_epipe() {
    let (reader, writer) = pipe();
    drop(reader);
    fails(write(writer.as_raw_fd(), b"x"), libc::EPIPE);
}

/// A FIFO, opened for both directions so that neither open waits for the other end.
fn fifo() -> File {
    let directory = Directory::new();
    directory.fifo("fifo");
    let path = directory.path().join("fifo");
    let mut options = File::options();
    options.read(true).write(true).open(path).unwrap()
}

fn a_fifo_is_read_when_it_is_written() {
    let both = fifo();
    write_later(both.try_clone().unwrap(), b"through a FIFO");
    let mut buffer = [0; 32];
    assert_eq!(read(both.as_raw_fd(), &mut buffer), 14);
}

fn a_large_write_to_a_fifo_completes() {
    const LARGE: usize = 1 << 20;
    let both = fifo();
    let other = both.try_clone().unwrap();
    let reader = thread::spawn(move || {
        thread::sleep(SHORT);
        let mut all = vec![0; LARGE];
        (&other).read_exact(&mut all).unwrap();
        all
    });
    let data: Vec<u8> = (0..LARGE).map(|at| (at >> 4) as u8).collect();
    assert_eq!(write(both.as_raw_fd(), &data), LARGE as isize);
    assert!(reader.join().unwrap() == data);
}

fn an_eventfd_waits_for_its_count() {
    // SAFETY: a new descriptor.
    let event = unsafe { File::from_raw_fd(ok(libc::eventfd(0, 0))) };
    let other = event.try_clone().unwrap();
    let writer = thread::spawn(move || {
        thread::sleep(SHORT);
        assert_eq!(write(other.as_raw_fd(), &7u64.to_ne_bytes()), 8);
    });
    let mut count = [0; 8];
    assert_eq!(read(event.as_raw_fd(), &mut count), 8);
    assert_eq!(u64::from_ne_bytes(count), 7);
    writer.join().unwrap();
    set_nonblocking(&event);
    fails(read(event.as_raw_fd(), &mut count), libc::EAGAIN);
}

fn a_timerfd_waits_for_its_time() {
    // SAFETY: a new descriptor.
    let timer = unsafe { OwnedFd::from_raw_fd(ok(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0))) };
    let time = libc::itimerspec {
        it_interval: timespec(Duration::ZERO),
        it_value: timespec(SHORT),
    };
    let start = Instant::now();
    // SAFETY: a valid time.
    ok(unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &time, null_mut()) });
    let mut count = [0; 8];
    assert_eq!(read(timer.as_raw_fd(), &mut count), 8);
    assert!(start.elapsed() >= SHORT);
}

fn a_file_is_read_and_written() {
    // SAFETY: a C string; a new descriptor.
    let file = unsafe { File::from_raw_fd(ok(libc::memfd_create(c"file".as_ptr(), 0))) };
    assert_eq!(write(file.as_raw_fd(), b"contents"), 8);
    // SAFETY: an open descriptor.
    ok(unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_SET) });
    let mut buffer = [0; 16];
    assert_eq!(read(file.as_raw_fd(), &mut buffer), 8);
    assert_eq!(read(file.as_raw_fd(), &mut buffer), 0);
    let null = File::open("/dev/null").unwrap();
    assert_eq!(read(null.as_raw_fd(), &mut buffer), 0);
    let zero = File::open("/dev/zero").unwrap();
    assert_eq!(read(zero.as_raw_fd(), &mut buffer), 16);
    fails(
        read(File::open("/").unwrap().as_raw_fd(), &mut buffer),
        libc::EISDIR,
    );
    fails(write(null.as_raw_fd(), b"read only"), libc::EBADF);
}

fn vectors_are_read_and_written_in_order() {
    let pairs: [(RawFd, RawFd, Box<dyn std::any::Any>); 2] = [
        {
            let (reader, writer) = pipe();
            (
                reader.as_raw_fd(),
                writer.as_raw_fd(),
                Box::new((reader, writer)),
            )
        },
        {
            let (one, other) = UnixStream::pair().unwrap();
            (one.as_raw_fd(), other.as_raw_fd(), Box::new((one, other)))
        },
    ];
    for (reader, writer, _open) in pairs {
        let part = |data: &[u8]| libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        };
        let from = [part(b"ab"), part(b""), part(b"cdef")];
        let (one, two) = ([0u8; 3], [0u8; 8]);
        let to = [part(&one), part(&two)];
        // SAFETY: valid buffers.
        unsafe {
            assert_eq!(libc::writev(writer, from.as_ptr(), 3), 6);
            assert_eq!(libc::readv(reader, to.as_ptr(), 2), 6);
            fails(libc::readv(reader, to.as_ptr(), -1), libc::EINVAL);
            fails(libc::writev(writer, from.as_ptr(), 1_000_000), libc::EINVAL);
        }
        assert_eq!(
            std::hint::black_box((&one, &two)),
            (b"abc", b"def\0\0\0\0\0")
        );
    }
}

fn reads_and_writes_of_nothing_return_at_once() {
    let (reader, writer) = pipe();
    let (one, _other) = UnixStream::pair().unwrap();
    assert_eq!(read(reader.as_raw_fd(), &mut []), 0);
    assert_eq!(write(writer.as_raw_fd(), &[]), 0);
    assert_eq!(read(one.as_raw_fd(), &mut []), 0);
    assert_eq!(write(one.as_raw_fd(), &[]), 0);
    // SAFETY: no buffers.
    assert_eq!(unsafe { libc::readv(reader.as_raw_fd(), null(), 0) }, 0);
}

fn bad_descriptors_are_refused() {
    for fd in [-1, 1_000_000] {
        fails(read(fd, &mut [0]), libc::EBADF);
        fails(write(fd, &[0]), libc::EBADF);
        // SAFETY: refused.
        unsafe {
            fails(libc::close(fd), libc::EBADF);
            fails(libc::dup2(fd, 5), libc::EBADF);
            fails(libc::dup(fd), libc::EBADF);
            fails(libc::fcntl(fd, libc::F_GETFL), libc::EBADF);
        }
    }
}

fn a_number_used_again_is_taken_for_what_it_is() {
    let mut buffer = [0; 4];
    for _ in 0..3 {
        let (one, other) = UnixStream::pair().unwrap();
        write_later(other, b"ab");
        assert_eq!(read(one.as_raw_fd(), &mut buffer), 2);
        let (reader, writer) = pipe();
        write_later(writer, b"abc");
        // Where a socket was, there is a pipe now.
        // SAFETY: open descriptors.
        ok(unsafe { libc::dup2(reader.as_raw_fd(), one.as_raw_fd()) });
        assert_eq!(read(one.as_raw_fd(), &mut buffer), 3);
        let file = File::open("/dev/null").unwrap();
        // SAFETY: open descriptors.
        ok(unsafe { libc::dup3(file.as_raw_fd(), one.as_raw_fd(), libc::O_CLOEXEC) });
        assert_eq!(read(one.as_raw_fd(), &mut buffer), 0);
    }
}

fn fcntl_passes_its_argument_on() {
    let (reader, _writer) = pipe();
    let fd = reader.as_raw_fd();
    // SAFETY: open descriptors; the lock is ours.
    unsafe {
        let high = ok(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 500));
        assert!(high >= 500);
        assert_eq!(libc::fcntl(high, libc::F_GETFD), libc::FD_CLOEXEC);
        ok(libc::close(high));
        ok(libc::fcntl(fd, libc::F_SETPIPE_SZ, 1 << 16));
        assert_eq!(libc::fcntl(fd, libc::F_GETPIPE_SZ), 1 << 16);
        let file = File::from_raw_fd(ok(libc::memfd_create(c"file".as_ptr(), 0)));
        let mut lock: libc::flock = mem::zeroed();
        lock.l_type = libc::F_WRLCK as i16;
        ok(libc::fcntl(file.as_raw_fd(), libc::F_SETLKW, &lock));
    }
}

fn entry(fd: RawFd, events: i16) -> pollfd {
    pollfd {
        fd,
        events,
        revents: -1,
    }
}

fn poll(entries: &mut [pollfd], timeout: c_int) -> c_int {
    // SAFETY: a valid array.
    unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout) }
}

fn poll_waits_for_the_first_that_is_ready() {
    let (one, _one_writer) = pipe();
    let (two, writer) = pipe();
    write_later(writer, b"x");
    let (one, two) = (one.as_raw_fd(), two.as_raw_fd());
    let mut entries = [one, two, one].map(|fd| entry(fd, libc::POLLIN));
    assert_eq!(poll(&mut entries, -1), 1);
    assert_eq!(
        entries.map(|entry| entry.revents & libc::POLLIN),
        [0, libc::POLLIN, 0]
    );
}

fn poll_ends_at_its_time() {
    let (reader, _writer) = pipe();
    let mut entries = [entry(reader.as_raw_fd(), libc::POLLIN)];
    let start = Instant::now();
    assert_eq!(poll(&mut entries, SHORT.as_millis() as c_int), 0);
    assert!(start.elapsed() >= SHORT);
    assert_eq!(entries[0].revents, 0);
    assert_eq!(poll(&mut entries, 0), 0);
    let limit = timespec(SHORT);
    // SAFETY: a valid array and time.
    unsafe {
        assert_eq!(libc::ppoll(entries.as_mut_ptr(), 1, &limit, null()), 0);
        let mut mask: libc::sigset_t = mem::zeroed();
        ok(libc::sigemptyset(&mut mask));
        assert_eq!(libc::ppoll(entries.as_mut_ptr(), 1, &limit, &mask), 0);
        let nonsense = libc::timespec {
            tv_sec: 0,
            tv_nsec: -1,
        };
        fails(
            libc::ppoll(entries.as_mut_ptr(), 1, &nonsense, null()),
            libc::EINVAL,
        );
    }
}

fn poll_of_nothing_is_a_sleep() {
    let start = Instant::now();
    assert_eq!(
        // SAFETY: no array.
        unsafe { libc::poll(null_mut(), 0, SHORT.as_millis() as c_int) },
        0
    );
    assert!(start.elapsed() >= SHORT);
}

fn poll_tells_bad_descriptors_and_skips_negative_ones() {
    let mut entries = [entry(1_000_000, libc::POLLIN), entry(-1, libc::POLLIN)];
    assert_eq!(poll(&mut entries, -1), 1);
    assert_eq!(entries.map(|entry| entry.revents), [libc::POLLNVAL, 0]);
}

/// A set of descriptors.
fn set(fds: &[RawFd]) -> libc::fd_set {
    // SAFETY: all zeros is the empty set.
    let mut set: libc::fd_set = unsafe { mem::zeroed() };
    for &fd in fds {
        // SAFETY: within the set.
        unsafe { libc::FD_SET(fd, &mut set) };
    }
    set
}

fn has(set: &libc::fd_set, fd: RawFd) -> bool {
    // SAFETY: within the set.
    unsafe { libc::FD_ISSET(fd, set) }
}

fn select_waits_and_keeps_what_is_ready() {
    let (one, one_writer) = pipe();
    let (two, two_writer) = pipe();
    let [one_fd, two_fd] = [one.as_raw_fd(), two.as_raw_fd()];
    write_later(two_writer.try_clone().unwrap(), b"x");
    let mut read = set(&[one_fd, two_fd]);
    // SAFETY: valid sets.
    let count = unsafe { libc::select(1000, &mut read, null_mut(), null_mut(), null_mut()) };
    assert_eq!(count, 1);
    assert_eq!((has(&read, one_fd), has(&read, two_fd)), (false, true));

    let writer_fd = one_writer.as_raw_fd();
    let (mut read, mut write) = (set(&[one_fd, two_fd]), set(&[writer_fd]));
    // SAFETY: valid sets.
    let count = unsafe { libc::pselect(1000, &mut read, &mut write, null_mut(), null(), null()) };
    assert_eq!(count, 2);
    assert_eq!(
        (
            has(&read, one_fd),
            has(&read, two_fd),
            has(&write, writer_fd)
        ),
        (false, true, true)
    );
}

fn select_ends_at_its_time_and_tells_what_is_left() {
    let (reader, writer) = pipe();
    let fd = reader.as_raw_fd();
    let short = libc::timeval {
        tv_sec: 0,
        tv_usec: SHORT.as_micros() as i64,
    };
    let (mut read, mut left) = (set(&[fd]), short);
    let start = Instant::now();
    // SAFETY: valid sets.
    unsafe {
        assert_eq!(
            libc::select(fd + 1, &mut read, null_mut(), null_mut(), &mut left),
            0
        );
        assert!(start.elapsed() >= SHORT);
        assert!(!has(&read, fd));
        assert_eq!((left.tv_sec, left.tv_usec), (0, 0));
        // A hang-up is not exceptional.
        drop(writer);
        let mut except = set(&[fd]);
        left = short;
        assert_eq!(
            libc::select(fd + 1, null_mut(), null_mut(), &mut except, &mut left),
            0
        );
        left = libc::timeval {
            tv_sec: 100,
            tv_usec: 0,
        };
        read = set(&[fd]);
        assert_eq!(
            libc::select(fd + 1, &mut read, null_mut(), null_mut(), &mut left),
            1
        );
        assert!(90 < left.tv_sec && left.tv_sec <= 100);
        left = short;
        assert_eq!(
            libc::select(0, null_mut(), null_mut(), null_mut(), &mut left),
            0
        );
    }
}

fn select_refuses_bad_descriptors() {
    // SAFETY: refused.
    unsafe {
        // 900 is below the count and not open.
        let mut read = set(&[0, 900]);
        let mut none = libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        };
        let (fd, _) = pipe();
        // The kernel looks no further than the largest number ever open.
        let high = OwnedFd::from_raw_fd(ok(libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD, 950)));
        fails(
            libc::select(1000, &mut read, null_mut(), null_mut(), &mut none),
            libc::EBADF,
        );
        fails(
            libc::select(-1, null_mut(), null_mut(), null_mut(), &mut none),
            libc::EINVAL,
        );
        let mut nonsense = libc::timeval {
            tv_sec: -1,
            tv_usec: 0,
        };
        fails(
            libc::select(0, null_mut(), null_mut(), null_mut(), &mut nonsense),
            libc::EINVAL,
        );
        drop(high);
    }
}

/// An epoll set that waits for `fd` to be readable.
fn epoll_set(fd: RawFd) -> OwnedFd {
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 42,
    };
    // SAFETY: a new descriptor, and a valid event.
    unsafe {
        let set = OwnedFd::from_raw_fd(ok(libc::epoll_create1(libc::EPOLL_CLOEXEC)));
        ok(libc::epoll_ctl(
            set.as_raw_fd(),
            libc::EPOLL_CTL_ADD,
            fd,
            &mut event,
        ));
        set
    }
}

fn epoll_wait(set: &OwnedFd, timeout: c_int) -> (c_int, u64) {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4];
    // SAFETY: room for four events.
    let count = unsafe { libc::epoll_wait(set.as_raw_fd(), events.as_mut_ptr(), 4, timeout) };
    (count, events[0].u64)
}

fn epoll_waits_for_its_events() {
    let (mut reader, mut writer) = pipe();
    let set = epoll_set(reader.as_raw_fd());
    for _ in 0..3 {
        write_later(writer.try_clone().unwrap(), b"x");
        assert_eq!(epoll_wait(&set, -1), (1, 42));
        assert_eq!(epoll_wait(&set, 0), (1, 42));
        reader.read_exact(&mut [0]).unwrap();
        assert_eq!(epoll_wait(&set, 0).0, 0);
    }
    writer.write_all(b"y").unwrap();
    assert_eq!(epoll_wait(&set, 1000), (1, 42));
    assert_eq!(epoll_wait(&set, 1000), (1, 42));
}

fn epoll_ends_at_its_time() {
    let (reader, _writer) = pipe();
    let set = epoll_set(reader.as_raw_fd());
    let start = Instant::now();
    assert_eq!(epoll_wait(&set, SHORT.as_millis() as c_int).0, 0);
    assert!(start.elapsed() >= SHORT);
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 1];
    let fd = set.as_raw_fd();
    // SAFETY: valid arguments, or refused.
    unsafe {
        let mut mask: libc::sigset_t = mem::zeroed();
        ok(libc::sigemptyset(&mut mask));
        let milliseconds = SHORT.as_millis() as c_int;
        assert_eq!(
            libc::epoll_pwait(fd, events.as_mut_ptr(), 1, milliseconds, &mask),
            0
        );
        assert_eq!(
            libc::epoll_pwait(fd, events.as_mut_ptr(), 1, milliseconds, null()),
            0
        );
        fails(
            libc::epoll_wait(fd, events.as_mut_ptr(), 0, -1),
            libc::EINVAL,
        );
        fails(
            libc::epoll_wait(reader.as_raw_fd(), events.as_mut_ptr(), 1, -1),
            libc::EINVAL,
        );
        fails(
            libc::epoll_wait(-1, events.as_mut_ptr(), 1, -1),
            libc::EBADF,
        );
    }
}

fn a_stream_is_closed_and_reopened() {
    let (reader, writer) = pipe();
    // SAFETY: streams over descriptors of their own.
    unsafe {
        let stream = libc::fdopen(ok(libc::dup(writer.as_raw_fd())), c"w".as_ptr());
        libc::fputs(c"text".as_ptr(), stream);
        assert_eq!(libc::fclose(stream), 0);
        let stream = libc::fdopen(ok(libc::dup(writer.as_raw_fd())), c"w".as_ptr());
        let stream = libc::freopen(c"/dev/null".as_ptr(), c"w".as_ptr(), stream);
        libc::fputs(c"lost".as_ptr(), stream);
        assert_eq!(libc::fclose(stream), 0);
    }
    drop(writer);
    let mut text = String::new();
    (&reader).read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
}
