//! Locks of files keep their promises on every kind of thread.

use std::ffi::{c_int, c_long};
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use harness::c::{fails, ok};
use harness::{Directory, SHORT, on_every_kind_of_thread, on_one_worker, patched_runtime};

use crate::waits_in_vain;

on_every_kind_of_thread! {
    flock_waits_its_turn,
    flock_without_waiting_would_block,
    a_record_lock_waits_its_turn,
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
                .open(directory.path().join("file"))
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
    let other = File::open(directory.path().join("file")).unwrap();
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
        // The worker is created after it.
        forbid([libc::SYS_flock, libc::SYS_fcntl]);
        patched_runtime(1).run(move || {
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

#[test]
fn a_deadline_scope_ends_the_wait_for_a_lock() {
    on_one_worker(|| {
        let directory = Directory::new();
        let file = directory.file("file", b"");
        let other = File::open(directory.path().join("file")).unwrap();
        // SAFETY: integers only.
        unsafe {
            ok(libc::flock(file.as_raw_fd(), libc::LOCK_EX));
            waits_in_vain(|| libc::flock(other.as_raw_fd(), libc::LOCK_EX));
        }
    });
}
