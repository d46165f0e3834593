//! Reads of terminals, and of the other descriptors that are neither sockets, pipes nor files, keep their promises on every
//! kind of thread.

use std::fs::File;
use std::io::{Read, Write};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::c::ok;
use harness::{Directory, SHORT, on_every_kind_of_thread};

on_every_kind_of_thread! {
    a_line_is_read_once_it_is_complete,
    many_lines_go_both_ways,
    a_raw_terminal_is_read_byte_by_byte,
    a_raw_terminal_waits_for_its_minimum_of_bytes,
    a_raw_terminal_waits_for_its_time_only,
    a_raw_terminal_is_asked_without_waiting,
    a_small_buffer_is_filled_before_the_minimum_has_come,
    a_master_is_waited_for_whatever_the_slaves_mode,
    a_terminal_that_is_open_for_writing_only_is_not_read,
    the_end_of_the_master_ends_the_slaves_reads,
    a_terminal_is_drained,
    an_inotify_waits_for_its_event,
    a_semaphore_of_an_eventfd_wakes_each_of_its_readers,
}

/// The two ends of a new terminal, the slave's in canonical mode without echo.
fn terminal() -> (File, File) {
    let (mut master, mut slave) = (-1, -1);
    // SAFETY: places for two descriptors.
    let ends = unsafe {
        let status = libc::openpty(&mut master, &mut slave, null_mut(), null_mut(), null_mut());
        ok(status);
        [master, slave].map(|fd| File::from_raw_fd(fd))
    };
    let [master, slave] = ends;
    change(&slave, |mode| mode.c_lflag &= !libc::ECHO);
    (master, slave)
}

fn change(terminal: &File, change: impl Fn(&mut libc::termios)) {
    // SAFETY: termios is plain data, for which zero is a value.
    let mut mode: libc::termios = unsafe { mem::zeroed() };
    // SAFETY: an open descriptor and a valid mode.
    unsafe {
        ok(libc::tcgetattr(terminal.as_raw_fd(), &mut mode));
        change(&mut mode);
        ok(libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, &mode));
    }
}

/// Bytes come as they are; a read waits for so many, or so many tenths of a second.
fn make_raw(terminal: &File, minimum: u8, tenths: u8) {
    change(terminal, |mode| {
        // SAFETY: a valid mode.
        unsafe { libc::cfmakeraw(mode) };
        mode.c_cc[libc::VMIN] = minimum;
        mode.c_cc[libc::VTIME] = tenths;
    });
}

/// Writes the parts one after another, each when a reader has had time to read all before.
fn write_parts(mut end: &File, parts: &[&str]) {
    for part in parts {
        thread::sleep(SHORT);
        end.write_all(part.as_bytes()).unwrap();
    }
}

/// What one read gives.
fn read_once(mut end: &File) -> String {
    let mut buffer = [0; 64];
    let length = end.read(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

fn a_line_is_read_once_it_is_complete() {
    let (master, slave) = terminal();
    let reader = thread::spawn(move || [(); 2].map(|()| read_once(&slave)));
    write_parts(&master, &["he", "llo\n", "again\n"]);
    assert_eq!(reader.join().unwrap(), ["hello\n", "again\n"]);
}

fn many_lines_go_both_ways() {
    let (master, slave) = terminal();
    // What the slave writes is for the master to read as it is.
    change(&slave, |mode| mode.c_oflag &= !libc::OPOST);
    let echo = thread::spawn(move || {
        for _ in 0..100 {
            let line = read_once(&slave);
            (&slave).write_all(line.as_bytes()).unwrap();
        }
    });
    for number in 0..100 {
        let line = format!("line {number}\n");
        (&master).write_all(line.as_bytes()).unwrap();
        let mut answer = vec![0; line.len()];
        (&master).read_exact(&mut answer).unwrap();
        assert_eq!(answer, line.as_bytes());
    }
    echo.join().unwrap();
}

fn a_raw_terminal_is_read_byte_by_byte() {
    let (master, slave) = terminal();
    make_raw(&slave, 1, 0);
    let reader = thread::spawn(move || [(); 2].map(|()| read_once(&slave)));
    write_parts(&master, &["a"]);
    // Its first read has ended, or this comes along with the first.
    thread::sleep(SHORT);
    let parts = ["b\r", "c"];
    write_parts(&master, &parts);
    let [first, second] = reader.join().unwrap();
    assert!(
        "ab\rc".starts_with(&(first.clone() + &second)),
        "{first:?} {second:?}"
    );
    assert!(!first.is_empty() && !second.is_empty());
}

fn a_raw_terminal_waits_for_its_minimum_of_bytes() {
    let (master, slave) = terminal();
    make_raw(&slave, 3, 0);
    let reader = thread::spawn(move || read_once(&slave));
    write_parts(&master, &["a", "b", "c"]);
    assert_eq!(reader.join().unwrap(), "abc");
}

fn a_raw_terminal_waits_for_its_time_only() {
    let (master, slave) = terminal();
    make_raw(&slave, 0, 1);
    let start = Instant::now();
    assert_eq!(read_once(&slave), "");
    assert!(start.elapsed() >= Duration::from_millis(90));
    make_raw(&slave, 0, 255);
    let reader = thread::spawn(move || read_once(&slave));
    write_parts(&master, &["a"]);
    assert_eq!(reader.join().unwrap(), "a");
}

fn a_raw_terminal_is_asked_without_waiting() {
    let (master, slave) = terminal();
    make_raw(&slave, 0, 0);
    assert_eq!(read_once(&slave), "");
    (&master).write_all(b"key").unwrap();
    // What is written comes by way of a thread of the kernel's.
    let mut read = String::new();
    while read != "key" {
        read += &read_once(&slave);
    }
}

fn a_small_buffer_is_filled_before_the_minimum_has_come() {
    let (master, slave) = terminal();
    make_raw(&slave, 3, 0);
    (&master).write_all(b"abc").unwrap();
    for expected in b"abc" {
        let mut byte = [0];
        (&slave).read_exact(&mut byte).unwrap();
        assert_eq!(byte[0], *expected);
    }
}

fn a_master_is_waited_for_whatever_the_slaves_mode() {
    for tenths in [0, 1] {
        let (master, slave) = terminal();
        make_raw(&slave, 0, tenths);
        let reader = thread::spawn(move || read_once(&master));
        // Longer than the slave's reads would wait.
        thread::sleep(Duration::from_millis(150));
        write_parts(&slave, &["late"]);
        assert_eq!(reader.join().unwrap(), "late");
    }
}

fn a_terminal_that_is_open_for_writing_only_is_not_read() {
    let (_master, slave) = terminal();
    let path = format!("/proc/self/fd/{}", slave.as_raw_fd());
    let writer = File::options().write(true).open(path).unwrap();
    let error = (&writer).read(&mut [0]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
}

fn the_end_of_the_master_ends_the_slaves_reads() {
    let (master, slave) = terminal();
    let reader = thread::spawn(move || {
        (&slave)
            .read(&mut [0; 8])
            .map_err(|error| error.raw_os_error())
    });
    thread::sleep(SHORT);
    drop(master);
    // A hang-up is the end of a terminal; a read after it is an error.
    let outcome = reader.join().unwrap();
    assert!(
        matches!(outcome, Ok(0) | Err(Some(libc::EIO))),
        "{outcome:?}"
    );
}

fn a_terminal_is_drained() {
    let (master, slave) = terminal();
    (&slave).write_all(b"text").unwrap();
    // SAFETY: an open descriptor.
    ok(unsafe { libc::tcdrain(slave.as_raw_fd()) });
    assert_eq!(read_once(&master), "text");
}

fn an_inotify_waits_for_its_event() {
    let directory = Directory::new();
    let path = directory.c_path(".");
    // SAFETY: a new descriptor, and a C string.
    let watch = unsafe {
        let watch = File::from_raw_fd(ok(libc::inotify_init1(libc::IN_CLOEXEC)));
        ok(libc::inotify_add_watch(
            watch.as_raw_fd(),
            path.as_ptr(),
            libc::IN_CREATE,
        ));
        watch
    };
    let creator = thread::spawn({
        let file = directory.path().join("file");
        move || {
            thread::sleep(SHORT);
            File::create(file).unwrap();
        }
    });
    let mut event = [0; 256];
    let length = (&watch).read(&mut event).unwrap();
    // The name follows the event, which has four numbers.
    let name = &event[mem::size_of::<libc::inotify_event>()..length];
    assert!(name.starts_with(b"file\0"));
    creator.join().unwrap();
}

fn a_semaphore_of_an_eventfd_wakes_each_of_its_readers() {
    // SAFETY: a new descriptor.
    let event = unsafe { File::from_raw_fd(ok(libc::eventfd(0, libc::EFD_SEMAPHORE))) };
    let event = Arc::new(event);
    let has_written = Arc::new(AtomicBool::new(false));
    let readers = [(); 3].map(|()| {
        let (event, has_written) = (event.clone(), has_written.clone());
        thread::spawn(move || {
            let mut count = [0; 8];
            (&*event).read_exact(&mut count).unwrap();
            assert!(has_written.load(Ordering::Relaxed));
            u64::from_ne_bytes(count)
        })
    });
    thread::sleep(SHORT);
    has_written.store(true, Ordering::Relaxed);
    (&*event).write_all(&3u64.to_ne_bytes()).unwrap();
    assert_eq!(readers.map(|reader| reader.join().unwrap()), [1; 3]);
}
