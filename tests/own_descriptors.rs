//! The runtime's own descriptors are out of the program's reach; and if they are lost, the process says so and ends.

use std::ffi::c_long;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::Duration;

use greenpatch::Builder;
use greenpatch_runtime::hook;
use harness::{child, patched_runtime};

/// Numbers of this process's descriptors that are of no file, but of epoll, an eventfd or a timer.
fn anonymous() -> Vec<i32> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        let file = fs::read_link(entry.path()).unwrap_or_default();
        if file.to_string_lossy().starts_with("anon_inode:") {
            numbers.push(entry.file_name().to_str().unwrap().parse().unwrap());
        }
    }
    numbers
}

/// Waits by timers and by descriptors, between green threads and from an OS thread.
fn use_the_runtime() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let echo = thread::spawn(move || {
        let mut byte = [0];
        theirs.read_exact(&mut byte).unwrap();
        thread::sleep(Duration::from_millis(5));
        theirs.write_all(&byte).unwrap();
    });
    let pinned = Builder::new()
        .pinned()
        .spawn(|| thread::sleep(Duration::from_millis(5)));
    thread::sleep(Duration::from_millis(5));
    ours.write_all(&[9]).unwrap();
    let mut byte = [0];
    ours.read_exact(&mut byte).unwrap();
    assert_eq!(byte, [9]);
    echo.join().unwrap();
    pinned.unwrap().join().unwrap();
}

/// Runs `close_all` in a process of its own, on a green thread and on an OS thread, and uses the runtime before and after.
fn survives(test: &str, close_all: fn()) {
    child::succeeds(test, || {
        for workers in [1, 2] {
            let runtime = patched_runtime(workers);
            runtime.run(use_the_runtime);
            runtime.run(move || {
                close_all();
                use_the_runtime();
            });
            close_all();
            runtime.run(use_the_runtime);
        }
    });
}

#[test]
fn close_range_leaves_them_out() {
    survives("close_range_leaves_them_out", || {
        // SAFETY: the test has no other descriptors.
        assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
    });
}

#[test]
fn the_system_call_close_range_leaves_them_out() {
    survives("the_system_call_close_range_leaves_them_out", || {
        // SAFETY: the test has no other descriptors.
        let status = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        assert_eq!(status, 0);
    });
}

#[test]
fn closefrom_leaves_them_out() {
    unsafe extern "C" {
        fn closefrom(first: i32);
    }
    survives("closefrom_leaves_them_out", || {
        // SAFETY: the test has no other descriptors.
        unsafe { closefrom(3) };
    });
}

#[test]
fn closing_one_number_after_the_other_leaves_them_out() {
    survives("closing_one_number_after_the_other_leaves_them_out", || {
        for fd in 3..5_000 {
            // SAFETY: the test has no other descriptors.
            unsafe {
                libc::close(fd);
                libc::syscall(libc::SYS_close, c_long::from(fd));
            }
        }
    });
}

#[test]
fn dup2_does_not_replace_them() {
    child::succeeds("dup2_does_not_replace_them", || {
        patched_runtime(2).run(|| {
            use_the_runtime();
            let own = anonymous();
            assert!(own.len() >= 3, "{own:?}");
            for &number in &own {
                // SAFETY: duplicates of standard error.
                unsafe {
                    assert_eq!(libc::dup2(2, number), -1);
                    assert_eq!(*libc::__errno_location(), libc::EBADF);
                    assert_eq!(libc::dup3(2, number, 0), -1);
                    let (two, number) = (2 as c_long, c_long::from(number));
                    assert_eq!(libc::syscall(libc::SYS_dup2, two, number), -1);
                }
            }
            assert_eq!(anonymous(), own);
            use_the_runtime();
        });
    });
}

#[test]
fn what_else_a_range_holds_is_closed() {
    child::succeeds("what_else_a_range_holds_is_closed", || {
        patched_runtime(1).run(|| {
            let lowest = File::open("/dev/null").unwrap().as_raw_fd();
            let own = anonymous().into_iter().max().unwrap();
            // SAFETY: numbers that nobody uses.
            unsafe {
                assert_eq!(libc::dup2(2, lowest), lowest);
                assert_eq!(libc::dup2(2, own + 1), own + 1);
                assert_eq!(libc::close_range(3, u32::MAX, 0), 0);
                assert_eq!(libc::fcntl(lowest, libc::F_GETFD), -1);
                assert_eq!(libc::fcntl(own + 1, libc::F_GETFD), -1);
                assert_ne!(libc::fcntl(own, libc::F_GETFD), -1);
            }
        });
    });
}

#[test]
fn low_numbers_but_for_one_stay_the_programs() {
    child::succeeds("low_numbers_but_for_one_stay_the_programs", || {
        let before = File::open("/dev/null").unwrap().as_raw_fd();
        let runtime = patched_runtime(2);
        runtime.run(use_the_runtime);
        // The epoll set, which mio makes, has the lowest that was free.
        assert_eq!(File::open("/dev/null").unwrap().as_raw_fd(), before + 1);
    });
}

#[test]
fn a_forked_child_closes_what_it_has_inherited() {
    child::succeeds("a_forked_child_closes_what_it_has_inherited", || {
        patched_runtime(1).run(|| {
            let own = anonymous();
            // SAFETY: the child makes system calls only.
            let status = unsafe {
                let child = libc::fork();
                if child == 0 {
                    let closed = libc::close(own[0]) == 0
                        && libc::close_range(3, u32::MAX, 0) == 0
                        && own.iter().all(|&fd| libc::fcntl(fd, libc::F_GETFD) == -1);
                    libc::_exit(i32::from(!closed));
                }
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &mut status, 0), child);
                status
            };
            assert_eq!(status, 0);
            use_the_runtime();
        });
    });
}

/// Closes all descriptors from 3 on by a system call that passes by libc.
fn close_behind_our_back() {
    // SAFETY: what the test is about; nobody else uses a descriptor.
    let status =
        unsafe { hook::system_call(libc::SYS_close_range, [3, u32::MAX as usize, 0, 0, 0, 0]) };
    assert_eq!(status, 0);
}

/// Expects that `work` ends its process with a message.
fn is_told(test: &str, work: fn()) {
    let Some(output) = child::output_of(test, work) else {
        return;
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{stderr}");
    assert!(stderr.contains("the runtime has lost its"), "{stderr}");
}

#[test]
fn a_loss_is_told_by_a_worker_that_is_to_wait() {
    is_told("a_loss_is_told_by_a_worker_that_is_to_wait", || {
        patched_runtime(1).run(|| {
            close_behind_our_back();
            thread::sleep(Duration::from_secs(1_000));
        });
    });
}

#[test]
fn a_loss_is_told_by_whoever_wakes_a_worker() {
    is_told("a_loss_is_told_by_whoever_wakes_a_worker", || {
        let runtime = patched_runtime(1);
        runtime.run(use_the_runtime);
        // The worker may wait by now, or be about to.
        close_behind_our_back();
        runtime.run(use_the_runtime);
    });
}

#[test]
fn a_loss_is_told_soon_after_a_timer_should_have_gone_off() {
    is_told(
        "a_loss_is_told_soon_after_a_timer_should_have_gone_off",
        || {
            let runtime = patched_runtime(1);
            thread::spawn(|| {
                thread::sleep(Duration::from_millis(300));
                close_behind_our_back();
            });
            runtime.run(|| thread::sleep(Duration::from_millis(600)));
        },
    );
}
