//! After fork, the child's shims are the originals, and nothing it does reaches the parent's
//! runtime; and no program inherits what the shims take.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

// For its symbols.
use greenpatch_shims as _;
use harness::c::ok;
use harness::{
    Directory, Kind, SHORT, compensated_runtime, on_every_kind_of_thread, on_one_worker,
    patched_runtime,
};

on_every_kind_of_thread! {
    no_program_inherits_what_the_opening_of_a_fifo_takes,
}

/// Runs `child` in a child process made by plain fork, and waits for it.
fn in_child(child: impl FnOnce() -> bool) {
    // SAFETY: the child calls what is safe after fork only.
    unsafe {
        match ok(libc::fork()) {
            0 => libc::_exit(if child() { 0 } else { 1 }),
            pid => {
                let mut status = 0;
                ok(libc::waitpid(pid, &mut status, 0));
                assert_eq!(status, 0, "the child failed");
            }
        }
    }
}

#[test]
fn a_child_that_closes_its_descriptors_does_not_take_them_from_the_parents_reactor() {
    Kind::OsThread.run(|| {
        let runtime = patched_runtime(1);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let fd = server.as_raw_fd();
        let (sender, receiver) = mpsc::channel();
        let reader = runtime.spawn(move || {
            sender.send(()).unwrap();
            let mut buffer = [0; 4];
            server.read_exact(&mut buffer).unwrap();
            buffer
        });
        receiver.recv().unwrap();
        thread::sleep(SHORT * 2);
        in_child(|| {
            // SAFETY: the child's own copy.
            unsafe { libc::close(fd) == 0 && libc::close(fd) == -1 }
        });
        client.write_all(b"abcd").unwrap();
        assert_eq!(&reader.join().unwrap(), b"abcd");
    });
}

#[test]
fn a_child_of_a_green_thread_blocks_as_without_us() {
    on_one_worker(|| {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        in_child(|| {
            // SAFETY: valid descriptors and buffers.
            unsafe {
                libc::usleep(1000) == 0
                    && libc::write(writer.as_raw_fd(), b"x".as_ptr().cast(), 1) == 1
            }
        });
        writer.write_all(b"y").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "xy");
        thread::sleep(Duration::from_millis(1));
    });
}

#[test]
fn a_child_of_a_green_thread_opens_files_and_waits_for_its_own_child() {
    on_one_worker(|| {
        in_child(|| {
            // SAFETY: system calls with C strings and a place for the status.
            unsafe {
                let fd = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY);
                let grandchild = libc::fork();
                if grandchild == 0 {
                    libc::_exit(7);
                }
                let mut status = 0;
                fd >= 0
                    && libc::waitpid(grandchild, &mut status, 0) == grandchild
                    && libc::WEXITSTATUS(status) == 7
                    && libc::close(fd) == 0
            }
        });
    });
}

/// In a child: threads that live at once, so that they take the stacks of threads which the parent had.
fn threads_run() -> bool {
    for _ in 0..3 {
        let all = Arc::new(Barrier::new(41));
        let threads: Vec<_> = (0..40)
            .map(|_| {
                let all = all.clone();
                thread::spawn(move || {
                    std::hint::black_box([0x41_u8; 200 << 10]);
                    all.wait();
                })
            })
            .collect();
        all.wait();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        // Time slices end meanwhile, and the kernel writes where it is told to.
        thread::sleep(Duration::from_millis(5));
    }
    true
}

#[test]
fn a_child_of_a_green_thread_may_use_threads() {
    let runtime = compensated_runtime(2);
    runtime.spawn(|| in_child(threads_run)).join().unwrap();
    runtime.run(|| in_child(threads_run));
}

#[test]
fn the_kernel_tells_the_processor_to_a_child_of_a_green_thread() {
    /// What the kernel has written in the calling thread's own block; negative if that is not registered.
    fn processor() -> Option<i32> {
        // SAFETY: a name; and where there is such a symbol, it is an offset from the thread pointer.
        unsafe {
            let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr());
            let offset = offset.cast::<isize>().as_ref()?;
            let area = (libc::pthread_self() as usize).wrapping_add_signed(*offset);
            Some(((area + 4) as *const i32).read_volatile())
        }
    }
    let told = processor().map(|processor| processor >= 0);
    let runtime = compensated_runtime(1);
    let child = move || processor().map(|processor| processor >= 0) == told;
    runtime.spawn(move || in_child(child)).join().unwrap();
    runtime.run(|| in_child(child));
}

/// As [`in_child`], but the child returns from where it was forked, and ends later.
fn fork_in(body: impl FnOnce(&dyn Fn() -> libc::pid_t) -> libc::pid_t) {
    let fork = || {
        // SAFETY: the child uses threads of its own, and nothing that another thread could have locked.
        let pid = ok(unsafe { libc::fork() });
        if pid == 0 {
            threads_run();
        }
        pid
    };
    match body(&fork) {
        // SAFETY: ends the child at once.
        0 => unsafe { libc::_exit(0) },
        pid => {
            let mut status = 0;
            // SAFETY: a place for the status.
            ok(unsafe { libc::waitpid(pid, &mut status, 0) });
            assert_eq!(status, 0, "the child failed");
        }
    }
}

#[test]
fn a_child_with_threads_leaves_the_sections_that_it_was_forked_in() {
    let (first, second) = (compensated_runtime(1), compensated_runtime(1));
    let second = Arc::new(second);
    first
        .spawn(|| fork_in(|fork| greenpatch_runtime::blocking(fork)))
        .join()
        .unwrap();
    first.run(|| fork_in(|fork| greenpatch_runtime::blocking(fork)));
    let others = second.clone();
    first
        .spawn(move || fork_in(|fork| others.run(fork)))
        .join()
        .unwrap();
    first.run(|| fork_in(|fork| second.run(fork)));
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
    directory.fifo("fifo");
    let path = directory.path().join("fifo");
    let before = inherited_pipes();
    let reader = thread::spawn({
        let path = path.clone();
        move || drop(File::open(path).unwrap())
    });
    thread::sleep(SHORT);
    assert_eq!(inherited_pipes(), before);
    drop(File::options().write(true).open(&path).unwrap());
    reader.join().unwrap();
}
