//! Opening, locking and moving files, and message queues, keep their promises on every kind of thread.

#[macro_use]
mod threads;

use std::ffi::{CString, c_int, c_long};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

use greenpatch_runtime::{Patch, Runtime};
use threads::{SHORT, fails, ok, on_clock, timespec};

on_every_kind_of_thread! {
    the_ends_of_a_fifo_open_together,
    no_program_inherits_what_the_opening_of_a_fifo_takes,
    a_fifo_opens_as_a_stream,
    many_fifos_are_waited_for_at_once,
    a_fifo_in_nonblocking_mode_does_not_wait,
    what_cannot_be_opened_is_refused,
    a_file_gets_the_mode_it_is_made_with,
    files_are_read_and_written_at_an_offset,
    a_directory_is_listed,
    a_stream_is_written_and_read,
    preadv2_at_the_position_waits,
    eventfd_read_waits_for_a_write,
    flock_waits_its_turn,
    flock_without_waiting_would_block,
    a_record_lock_waits_its_turn,
    a_record_lock_of_another_process_is_waited_for,
    splice_waits_for_data,
    splice_waits_for_room,
    splice_without_waiting_would_block,
    splice_refuses_at_once,
    splice_of_nothing_returns_at_once,
    tee_waits_for_data,
    vmsplice_waits_for_room,
    sendfile_to_a_slow_reader_completes,
    sendfile_to_a_pipe_waits_for_room,
    copies_between_sockets_complete,
    system_v_messages_are_waited_for,
    system_v_semaphores_are_waited_for,
    posix_messages_are_waited_for,
    many_threads_wait_for_one_message_each,
}

/// A directory that is removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("greenpatch-files-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    fn path(&self, name: &str) -> CString {
        CString::new(self.0.join(name).into_os_string().into_encoded_bytes()).unwrap()
    }

    fn fifo(&self, name: &str) -> CString {
        let path = self.path(name);
        // SAFETY: a C string.
        ok(unsafe { libc::mkfifo(path.as_ptr(), 0o600) });
        path
    }

    fn file(&self, name: &str, content: &[u8]) -> File {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        File::options().read(true).write(true).open(path).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &CString, flags: c_int) -> RawFd {
    // SAFETY: a C string.
    unsafe { libc::open(path.as_ptr(), flags, 0o600) }
}

fn opened(path: &CString, flags: c_int) -> File {
    // SAFETY: given out just now.
    unsafe { File::from_raw_fd(ok(open(path, flags))) }
}

fn is_nonblocking(file: &impl AsRawFd) -> bool {
    // SAFETY: an open descriptor.
    ok(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) }) & libc::O_NONBLOCK != 0
}

fn the_ends_of_a_fifo_open_together() {
    let directory = Directory::new();
    let path = directory.fifo("fifo");
    for first in [libc::O_RDONLY, libc::O_WRONLY] {
        let second = libc::O_RDONLY + libc::O_WRONLY - first;
        let its_path = path.clone();
        let earlier = thread::spawn(move || opened(&its_path, first));
        thread::sleep(SHORT);
        let later = opened(&path, second);
        // Nothing has been written so far.
        let earlier = earlier.join().unwrap();
        assert!(!is_nonblocking(&earlier) && !is_nonblocking(&later));
        let (mut reader, mut writer) = if first == libc::O_RDONLY {
            (earlier, later)
        } else {
            (later, earlier)
        };
        writer.write_all(b"abc").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }
}

/// The pipes that a program executed now would inherit.
fn inherited_pipes() -> Vec<String> {
    let names = fs::read_dir("/proc/self/fd").unwrap();
    names
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .filter(|fd| {
            let is_pipe = fs::read_link(format!("/proc/self/fd/{fd}"))
                .is_ok_and(|target| target.to_string_lossy().starts_with("pipe:"));
            // SAFETY: F_GETFD takes no argument.
            let flags = unsafe { libc::fcntl(fd.parse().unwrap(), libc::F_GETFD) };
            is_pipe && flags == 0
        })
        .collect()
}

fn no_program_inherits_what_the_opening_of_a_fifo_takes() {
    let directory = Directory::new();
    let path = directory.fifo("fifo");
    let before = inherited_pipes();
    let reader = thread::spawn({
        let path = path.clone();
        move || drop(opened(&path, libc::O_RDONLY | libc::O_CLOEXEC))
    });
    thread::sleep(SHORT);
    assert_eq!(inherited_pipes(), before);
    drop(opened(&path, libc::O_WRONLY));
    reader.join().unwrap();
}

fn a_fifo_opens_as_a_stream() {
    let directory = Directory::new();
    let path = directory.fifo("fifo");
    let its_path = path.clone();
    let writer = thread::spawn(move || {
        thread::sleep(SHORT);
        // SAFETY: C strings, and a stream that is closed once.
        unsafe {
            let stream = libc::fopen(its_path.as_ptr(), c"w".as_ptr());
            assert!(!stream.is_null());
            assert!(libc::fputs(c"line\n".as_ptr(), stream) >= 0);
            ok(libc::fclose(stream));
        }
    });
    let mut line = [0; 16];
    // SAFETY: C strings, a buffer, and a stream that is closed once.
    unsafe {
        let stream = libc::fopen(path.as_ptr(), c"re".as_ptr());
        assert!(!stream.is_null());
        let flags = ok(libc::fcntl(libc::fileno(stream), libc::F_GETFD));
        assert_eq!(flags, libc::FD_CLOEXEC);
        assert!(!libc::fgets(line.as_mut_ptr(), 16, stream).is_null());
        assert!(libc::fgets(line.as_mut_ptr(), 16, stream).is_null());
        ok(libc::fclose(stream));
    }
    assert_eq!(
        line[..5].iter().map(|&c| c as u8).collect::<Vec<_>>(),
        b"line\n"
    );
    writer.join().unwrap();
}

fn many_fifos_are_waited_for_at_once() {
    // More than there are spare workers.
    const COUNT: usize = 100;
    let directory = Directory::new();
    let (sender, receiver) = mpsc::channel();
    let readers: Vec<_> = (0..COUNT)
        .map(|number| {
            let path = directory.fifo(&number.to_string());
            let sender = sender.clone();
            thread::spawn(move || {
                sender.send(path.clone()).unwrap();
                let mut text = String::new();
                opened(&path, libc::O_RDONLY)
                    .read_to_string(&mut text)
                    .unwrap();
                text
            })
        })
        .collect();
    let paths: Vec<_> = receiver.iter().take(COUNT).collect();
    for path in paths {
        opened(&path, libc::O_WRONLY).write_all(b"x").unwrap();
    }
    for reader in readers {
        assert_eq!(reader.join().unwrap(), "x");
    }
}

fn a_fifo_in_nonblocking_mode_does_not_wait() {
    let directory = Directory::new();
    let path = directory.fifo("fifo");
    fails(open(&path, libc::O_WRONLY | libc::O_NONBLOCK), libc::ENXIO);
    let reader = opened(&path, libc::O_RDONLY | libc::O_NONBLOCK);
    assert!(is_nonblocking(&reader));
    drop(opened(&path, libc::O_WRONLY));
    drop(opened(&path, libc::O_RDWR));
}

fn what_cannot_be_opened_is_refused() {
    let directory = Directory::new();
    directory.file("file", b"");
    let file = directory.path("file");
    fails(
        open(&directory.path("nothing"), libc::O_RDONLY),
        libc::ENOENT,
    );
    fails(open(&file, libc::O_CREAT | libc::O_EXCL), libc::EEXIST);
    fails(
        open(&file, libc::O_RDONLY | libc::O_DIRECTORY),
        libc::ENOTDIR,
    );
    std::os::unix::fs::symlink("file", directory.0.join("link")).unwrap();
    fails(
        open(&directory.path("link"), libc::O_RDONLY | libc::O_NOFOLLOW),
        libc::ELOOP,
    );
    // SAFETY: refused; and C strings.
    unsafe {
        fails(libc::open(std::ptr::null(), libc::O_RDONLY), libc::EFAULT);
        fails(
            libc::openat(-1, c"file".as_ptr(), libc::O_RDONLY),
            libc::EBADF,
        );
        let stream = libc::fopen(directory.path("nothing").as_ptr(), c"r".as_ptr());
        assert!(stream.is_null());
        assert_eq!(threads::errno(), libc::ENOENT);
    }
}

fn a_file_gets_the_mode_it_is_made_with() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    // SAFETY: C strings.
    let made = unsafe {
        [
            ok(libc::creat(directory.path("a").as_ptr(), 0o400)),
            ok(libc::openat(
                libc::AT_FDCWD,
                directory.path("b").as_ptr(),
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
    let mut template = directory.path("XXXXXX").into_bytes_with_nul();
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
        let mut names: Vec<_> = fs::read_dir(&directory.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["a", "b", "c"]);
    fs::rename(directory.0.join("a"), directory.0.join("d")).unwrap();
    fs::remove_file(directory.0.join("b")).unwrap();
    fs::hard_link(directory.0.join("c"), directory.0.join("e")).unwrap();
    assert_eq!(names(), ["c", "d", "e"]);
    assert_eq!(fs::metadata(directory.0.join("e")).unwrap().len(), 1);
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
    fn semtimedop(
        set: c_int,
        operations: *mut libc::sembuf,
        count: usize,
        timeout: *const libc::timespec,
    ) -> c_int;
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

/// Takes a lock of one file, by a descriptor of its own, in more threads than there are spare workers.
fn take_turns(lock: fn(RawFd) -> c_int) {
    const THREADS: u32 = 100;
    let directory = Directory::new();
    let file = directory.file("file", b"");
    ok(lock(file.as_raw_fd()));
    let inside = Arc::new(AtomicU32::new(1));
    let waiting = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let own = File::options()
                .read(true)
                .write(true)
                .open(directory.0.join("file"))
                .unwrap();
            let (inside, waiting) = (inside.clone(), waiting.clone());
            thread::spawn(move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                ok(lock(own.as_raw_fd()));
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                thread::yield_now();
                inside.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    while waiting.load(Ordering::SeqCst) < THREADS {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(SHORT);
    inside.fetch_sub(1, Ordering::SeqCst);
    drop(file);
    for thread in threads {
        thread.join().unwrap();
    }
}

fn flock_waits_its_turn() {
    // SAFETY: integers only.
    take_turns(|fd| unsafe { libc::flock(fd, libc::LOCK_EX) });
}

fn flock_without_waiting_would_block() {
    let directory = Directory::new();
    let file = directory.file("file", b"");
    let other = File::open(directory.0.join("file")).unwrap();
    // SAFETY: integers only.
    unsafe {
        ok(libc::flock(file.as_raw_fd(), libc::LOCK_EX));
        fails(
            libc::flock(other.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB),
            libc::EWOULDBLOCK,
        );
        ok(libc::flock(file.as_raw_fd(), libc::LOCK_UN));
        ok(libc::flock(other.as_raw_fd(), libc::LOCK_SH));
        ok(libc::flock(file.as_raw_fd(), libc::LOCK_SH));
        fails(libc::flock(-1, libc::LOCK_EX), libc::EBADF);
        fails(libc::flock(file.as_raw_fd(), 0), libc::EINVAL);
    }
}

/// Has the kernel refuse these system calls of the calling OS thread, and of those that it creates from now on, with
/// `EACCES`, as a security module may.
fn forbid(numbers: [c_long; 2]) {
    let statement = |code: u32, k: u32, jt: u8| libc::sock_filter {
        code: code as u16,
        jt,
        jf: 0,
        k,
    };
    let equals = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(equals, numbers[0] as u32, 2),
        statement(equals, numbers[1] as u32, 1),
        statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW, 0),
        statement(
            libc::BPF_RET,
            libc::SECCOMP_RET_ERRNO | libc::EACCES as u32,
            0,
        ),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: a program that reads the number of the call.
    unsafe {
        ok(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        ok(libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        ));
    }
}

#[test]
fn a_lock_that_is_forbidden_is_refused() {
    let directory = Directory::new();
    let file = directory.file("file", b"");
    let green = thread::spawn(move || {
        let runtime = Runtime::builder().workers(1).compensation(false);
        let runtime = runtime.patch(Patch::all());
        // The worker is created after it.
        forbid([libc::SYS_flock, libc::SYS_fcntl]);
        runtime.build().unwrap().run(move || {
            // SAFETY: integers only.
            unsafe {
                let fd = file.as_raw_fd();
                fails(libc::flock(fd, libc::LOCK_EX), libc::EACCES);
                fails(libc::lockf(fd, libc::F_LOCK, 0), libc::EACCES);
            }
        });
    });
    green.join().unwrap();
}

fn whole_file(kind: c_int) -> libc::flock {
    // SAFETY: plain data, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as i16;
    lock
}

fn a_record_lock_waits_its_turn() {
    // SAFETY: a lock to read.
    take_turns(|fd| unsafe { libc::fcntl(fd, libc::F_OFD_SETLKW, &whole_file(libc::F_WRLCK)) });
    // SAFETY: refused.
    unsafe {
        fails(
            libc::fcntl(-1, libc::F_SETLKW, &whole_file(libc::F_WRLCK)),
            libc::EBADF,
        );
        fails(libc::lockf(-1, libc::F_LOCK, 0), libc::EBADF);
    }
}

fn a_record_lock_of_another_process_is_waited_for() {
    let directory = Directory::new();
    let file = directory.file("file", b"");
    let fd = file.as_raw_fd();
    let (mut locked, mut tell) = std::io::pipe().unwrap();
    let (wait, let_go) = std::io::pipe().unwrap();
    // SAFETY: the child makes system calls only.
    let child = unsafe {
        let child = ok(libc::fork());
        if child == 0 {
            libc::close(let_go.as_raw_fd());
            let status = libc::lockf(fd, libc::F_LOCK, 0);
            libc::write(tell.as_raw_fd(), b"x".as_ptr().cast(), 1);
            let mut byte = 0u8;
            libc::read(wait.as_raw_fd(), (&raw mut byte).cast(), 1);
            libc::_exit(status);
        }
        child
    };
    locked.read_exact(&mut [0]).unwrap();
    let _ = tell.flush();
    // SAFETY: integers only.
    fails(unsafe { libc::lockf(fd, libc::F_TLOCK, 0) }, libc::EAGAIN);
    thread::spawn(move || {
        thread::sleep(SHORT);
        drop(let_go);
    });
    // SAFETY: integers, and a place for the status.
    unsafe {
        ok(libc::lockf(fd, libc::F_LOCK, 0));
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0);
    }
}

fn splice(from: &impl AsRawFd, to: &impl AsRawFd, length: usize, flags: u32) -> isize {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: no offsets.
    unsafe { libc::splice(from, null_mut(), to, null_mut(), length, flags) }
}

fn splice_waits_for_data() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (mut end, to) = std::io::pipe().unwrap();
    thread::spawn(move || {
        thread::sleep(SHORT);
        writer.write_all(b"abc").unwrap();
    });
    assert_eq!(splice(&reader, &to, 100, 0), 3);
    assert_eq!(splice(&reader, &to, 100, 0), 0);
    let mut buffer = [0; 3];
    end.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"abc");
}

fn socket_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn splice_waits_for_room() {
    const LARGE: usize = 8 << 20;
    let (mut client, server) = socket_pair();
    let (reader, mut writer) = std::io::pipe().unwrap();
    thread::spawn(move || writer.write_all(&vec![1; LARGE]).unwrap());
    let receiver = thread::spawn(move || {
        thread::sleep(SHORT);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all.len()
    });
    let mut total = 0;
    loop {
        match ok(splice(&reader, &server, 1 << 20, 0)) {
            0 => break,
            count => total += count as usize,
        }
    }
    drop(server);
    assert_eq!(total, LARGE);
    assert_eq!(receiver.join().unwrap(), LARGE);
}

fn splice_without_waiting_would_block() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let (_end, to) = std::io::pipe().unwrap();
    let flag = libc::SPLICE_F_NONBLOCK;
    fails(splice(&reader, &to, 1, flag), libc::EAGAIN);
    // SAFETY: integers only.
    fails(
        unsafe { libc::tee(reader.as_raw_fd(), to.as_raw_fd(), 1, flag) },
        libc::EAGAIN,
    );
    // SAFETY: integers only.
    ok(unsafe { libc::fcntl(to.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) });
    fails(splice(&reader, &to, 1, 0), libc::EAGAIN);
}

/// Though there is nothing in the pipe.
fn splice_refuses_at_once() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (_end, to) = std::io::pipe().unwrap();
    let (one, _other) = socket_pair();
    fails(splice(&reader, &writer, 5, 0), libc::EINVAL);
    fails(splice(&writer, &to, 5, 0), libc::EBADF);
    fails(splice(&reader, &to, 5, 1 << 20), libc::EINVAL);
    fails(splice(&one, &one, 5, 0), libc::EINVAL);
    let (from, to, socket) = (reader.as_raw_fd(), to.as_raw_fd(), one.as_raw_fd());
    let mut offset = 0;
    let (none, some) = (null_mut::<libc::loff_t>(), &raw mut offset);
    // SAFETY: an offset that is ours.
    unsafe {
        fails(libc::splice(-1, none, to, none, 5, 0), libc::EBADF);
        fails(libc::splice(from, none, -1, none, 5, 0), libc::EBADF);
        fails(libc::splice(from, some, to, none, 5, 0), libc::ESPIPE);
        fails(libc::splice(from, none, socket, some, 5, 0), libc::EINVAL);
        fails(libc::tee(from, writer.as_raw_fd(), 5, 0), libc::EINVAL);
        fails(libc::tee(from, socket, 5, 0), libc::EINVAL);
    }
}

fn splice_of_nothing_returns_at_once() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let (_end, to) = std::io::pipe().unwrap();
    assert_eq!(splice(&reader, &to, 0, 0), 0);
    let directory = Directory::new();
    let file = directory.file("file", b"abc");
    // Neither is a pipe.
    fails(splice(&file, &file, 1, 0), libc::EINVAL);
}

fn tee_waits_for_data() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let (mut end, to) = std::io::pipe().unwrap();
    thread::spawn(move || {
        thread::sleep(SHORT);
        writer.write_all(b"abc").unwrap();
    });
    // SAFETY: integers only.
    let copied = unsafe { libc::tee(reader.as_raw_fd(), to.as_raw_fd(), 100, 0) };
    assert_eq!(copied, 3);
    let mut buffer = [0; 3];
    end.read_exact(&mut buffer).unwrap();
    reader.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"abc");
}

fn vmsplice_waits_for_room() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: integers only.
    let size = ok(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) }) as usize;
    writer.write_all(&vec![0; size]).unwrap();
    let drained = thread::spawn(move || {
        thread::sleep(SHORT);
        reader.read_exact(&mut vec![0; size]).unwrap();
        reader
    });
    let mut text = *b"abc";
    let vector = libc::iovec {
        iov_base: text.as_mut_ptr().cast(),
        iov_len: text.len(),
    };
    // SAFETY: one buffer.
    let moved = unsafe { libc::vmsplice(writer.as_raw_fd(), &vector, 1, 0) };
    assert_eq!(moved, 3);
    drop(drained.join().unwrap());
}

fn sendfile_to_a_slow_reader_completes() {
    const LARGE: usize = 8 << 20;
    let directory = Directory::new();
    let data: Vec<u8> = (0..LARGE).map(|at| (at >> 8) as u8).collect();
    let file = directory.file("file", &data);
    let (mut client, server) = socket_pair();
    let receiver = thread::spawn(move || {
        thread::sleep(SHORT);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all
    });
    let mut offset = 0;
    // SAFETY: a place for the offset.
    let sent =
        unsafe { libc::sendfile(server.as_raw_fd(), file.as_raw_fd(), &mut offset, 2 * LARGE) };
    assert_eq!((sent, offset), (LARGE as isize, LARGE as libc::off_t));
    drop(server);
    assert!(receiver.join().unwrap() == data);
    // SAFETY: no offset.
    fails(
        unsafe { libc::sendfile(-1, file.as_raw_fd(), null_mut(), 1) },
        libc::EBADF,
    );
}

fn sendfile_to_a_pipe_waits_for_room() {
    const LARGE: usize = 1 << 20;
    let directory = Directory::new();
    let file = directory.file("file", &vec![1; LARGE]);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let receiver = thread::spawn(move || {
        thread::sleep(SHORT);
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all.len()
    });
    let mut total = 0;
    while total < LARGE {
        // SAFETY: no offset.
        total +=
            ok(unsafe { libc::sendfile(writer.as_raw_fd(), file.as_raw_fd(), null_mut(), LARGE) })
                as usize;
    }
    drop(writer);
    assert_eq!((total, receiver.join().unwrap()), (LARGE, LARGE));
}

fn copies_between_sockets_complete() {
    const LARGE: usize = 8 << 20;
    let (mut source, mut from) = socket_pair();
    let (mut to, mut sink) = socket_pair();
    let writer = thread::spawn(move || source.write_all(&vec![1; LARGE]).unwrap());
    let copier = thread::spawn(move || std::io::copy(&mut from, &mut to).unwrap());
    let mut total = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match sink.read(&mut buffer).unwrap() {
            0 => break,
            count => total += count,
        }
    }
    writer.join().unwrap();
    assert_eq!((total, copier.join().unwrap()), (LARGE, LARGE as u64));
}

/// A System V message queue that is removed in the end.
struct MessageQueue(c_int);

#[repr(C)]
struct Message {
    kind: c_long,
    text: [u8; 8],
}

impl MessageQueue {
    fn new() -> MessageQueue {
        // SAFETY: integers only.
        MessageQueue(ok(unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) }))
    }

    fn send(&self, kind: c_long, flags: c_int) -> c_int {
        let message = Message { kind, text: [1; 8] };
        // SAFETY: a message of that length.
        unsafe { libc::msgsnd(self.0, (&raw const message).cast(), 8, flags) }
    }

    fn receive(&self, kind: c_long, flags: c_int) -> isize {
        let mut message = Message {
            kind: 0,
            text: [0; 8],
        };
        // SAFETY: room for a message of that length.
        unsafe { libc::msgrcv(self.0, (&raw mut message).cast(), 8, kind, flags) }
    }
}

impl Drop for MessageQueue {
    fn drop(&mut self) {
        // SAFETY: no buffer is needed to remove it.
        unsafe { libc::msgctl(self.0, libc::IPC_RMID, null_mut()) };
    }
}

fn system_v_messages_are_waited_for() {
    let queue = Arc::new(MessageQueue::new());
    fails(queue.receive(1, libc::IPC_NOWAIT), libc::ENOMSG);
    fails(queue.send(0, 0), libc::EINVAL);
    let its = queue.clone();
    thread::spawn(move || {
        thread::sleep(SHORT);
        ok(its.send(1, 0));
    });
    assert_eq!(queue.receive(1, 0), 8);
    while queue.send(1, libc::IPC_NOWAIT) == 0 {}
    assert_eq!(threads::errno(), libc::EAGAIN);
    let its = queue.clone();
    thread::spawn(move || {
        thread::sleep(SHORT);
        assert_eq!(its.receive(1, 0), 8);
    });
    ok(queue.send(1, 0));
}

fn many_threads_wait_for_one_message_each() {
    const THREADS: u32 = 100;
    let queue = Arc::new(MessageQueue::new());
    let waiting = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (1..=THREADS)
        .map(|kind| {
            let (queue, waiting) = (queue.clone(), waiting.clone());
            thread::spawn(move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                queue.receive(kind.into(), 0)
            })
        })
        .collect();
    while waiting.load(Ordering::SeqCst) < THREADS {
        thread::sleep(Duration::from_millis(1));
    }
    for kind in 1..=THREADS {
        ok(queue.send(kind.into(), 0));
    }
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 8);
    }
}

fn system_v_semaphores_are_waited_for() {
    // SAFETY: integers only.
    let set = ok(unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) });
    let by = |count: i16, flags: c_int| libc::sembuf {
        sem_num: 0,
        sem_op: count,
        sem_flg: flags as i16,
    };
    // SAFETY: one operation each, and valid times.
    unsafe {
        fails(
            libc::semop(set, &mut by(-1, libc::IPC_NOWAIT), 1),
            libc::EAGAIN,
        );
        let short = timespec(SHORT);
        fails(semtimedop(set, &mut by(-1, 0), 1, &short), libc::EAGAIN);
        thread::spawn(move || {
            thread::sleep(SHORT);
            ok(libc::semop(set, &mut by(1, 0), 1));
        });
        ok(libc::semop(set, &mut by(-1, 0), 1));
        ok(libc::semctl(set, 0, libc::IPC_RMID));
        fails(libc::semop(set, &mut by(-1, 0), 1), libc::EINVAL);
    }
}

fn posix_messages_are_waited_for() {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = CString::new(format!("/greenpatch-{}-{count}", std::process::id())).unwrap();
    // SAFETY: plain data, for which zero is a value.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    (attributes.mq_maxmsg, attributes.mq_msgsize) = (1, 8);
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
    // SAFETY: a C string and valid attributes.
    let queue = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, &attributes) };
    if queue == -1 && [libc::ENOSYS, libc::EACCES].contains(&threads::errno()) {
        // Some sandboxes have none.
        return;
    }
    ok(queue);
    let send = move || {
        // SAFETY: a message of that length.
        unsafe { libc::mq_send(queue, c"abc".as_ptr(), 3, 0) }
    };
    let receive = move || {
        let mut message = [0; 8];
        // SAFETY: a buffer of the queue's message size.
        unsafe { libc::mq_receive(queue, message.as_mut_ptr(), 8, null_mut()) }
    };
    thread::spawn(move || {
        thread::sleep(SHORT);
        ok(send());
    });
    assert_eq!(receive(), 3);
    ok(send());
    thread::spawn(move || {
        thread::sleep(SHORT);
        assert_eq!(receive(), 3);
    });
    ok(send());
    assert_eq!(receive(), 3);
    let mut message = [0; 8];
    // SAFETY: buffers of these lengths, and valid times.
    unsafe {
        let until = on_clock(libc::CLOCK_REALTIME, SHORT);
        let text = message.as_mut_ptr();
        fails(
            libc::mq_timedreceive(queue, text, 8, null_mut(), &until),
            libc::ETIMEDOUT,
        );
        fails(libc::mq_receive(queue, text, 1, null_mut()), libc::EMSGSIZE);
        let mut nonblocking = attributes;
        nonblocking.mq_flags = libc::O_NONBLOCK.into();
        ok(libc::mq_setattr(queue, &nonblocking, null_mut()));
        fails(libc::mq_receive(queue, text, 8, null_mut()), libc::EAGAIN);
        ok(libc::mq_close(queue));
        ok(libc::mq_unlink(name.as_ptr()));
    }
}

#[test]
fn a_deadline_scope_ends_the_waits_that_park() {
    fn waits_in_vain(wait: impl FnOnce() -> c_int) {
        let outcome = greenpatch_runtime::time::timeout(SHORT, || {
            fails(wait(), libc::ETIMEDOUT);
        });
        assert!(outcome.is_err());
    }
    threads::Kind::Green { workers: 1 }.run("deadline scopes", || {
        let directory = Directory::new();
        let path = directory.fifo("fifo");
        for flags in [libc::O_RDONLY, libc::O_WRONLY] {
            waits_in_vain(|| open(&path, flags));
        }
        // Who gave up left no reader behind.
        fails(open(&path, libc::O_WRONLY | libc::O_NONBLOCK), libc::ENXIO);
        let file = directory.file("file", b"");
        let other = File::open(directory.0.join("file")).unwrap();
        // SAFETY: integers only.
        unsafe {
            ok(libc::flock(file.as_raw_fd(), libc::LOCK_EX));
            waits_in_vain(|| libc::flock(other.as_raw_fd(), libc::LOCK_EX));
        }
        let (reader, _writer) = std::io::pipe().unwrap();
        let (_end, to) = std::io::pipe().unwrap();
        waits_in_vain(|| splice(&reader, &to, 1, 0) as c_int);
        let queue = MessageQueue::new();
        waits_in_vain(|| queue.receive(1, 0) as c_int);
    });
}
