//! What processes share, locks of files and semaphores, is waited for on every kind of thread.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::{ptr, thread};

use harness::c::{fails, ok};
use harness::{Directory, SHORT, on_every_kind_of_thread};
use libc::sem_t;

on_every_kind_of_thread! {
    a_record_lock_of_another_process_is_waited_for,
    a_post_of_another_process_is_noticed,
}

fn a_record_lock_of_another_process_is_waited_for() {
    let directory = Directory::new();
    let file = directory.file("file", b"");
    let fd = file.as_raw_fd();
    let (mut locked, mut tell) = std::io::pipe().unwrap();
    let (wait, mut let_go) = std::io::pipe().unwrap();
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
        let_go.write_all(b"x").unwrap();
    });
    // SAFETY: integers, and a place for the status.
    unsafe {
        ok(libc::lockf(fd, libc::F_LOCK, 0));
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0);
    }
}

fn a_post_of_another_process_is_noticed() {
    // SAFETY: memory of its own, which the child shares; the child makes system calls only.
    unsafe {
        let (access, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        let place = libc::mmap(ptr::null_mut(), size_of::<sem_t>(), access, flags, -1, 0);
        assert_ne!(place, libc::MAP_FAILED);
        let semaphore = place.cast::<sem_t>();
        ok(libc::sem_init(semaphore, 1, 0));
        let child = ok(libc::fork());
        if child == 0 {
            libc::usleep(20_000);
            libc::_exit(libc::sem_post(semaphore));
        }
        ok(libc::sem_wait(semaphore));
        let mut status = -1;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0);
        fails(libc::sem_trywait(semaphore), libc::EAGAIN);
        ok(libc::munmap(place, size_of::<sem_t>()));
    }
}
