//! Each function of the select family waits until another thread makes a descriptor ready, and lets that thread run.

use std::ffi::c_int;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};
use std::sync::mpsc;
use std::thread;

use harness::c::ok;
use harness::{SHORT, on_every_kind_of_thread};
use libc::{epoll_event, fd_set, pollfd};

on_every_kind_of_thread! {
    poll_waits_for_another_thread,
    ppoll_waits_for_another_thread,
    select_waits_for_another_thread,
    pselect_waits_for_another_thread,
    epoll_wait_waits_for_another_thread,
    epoll_pwait_waits_for_another_thread,
    epoll_pwait2_waits_for_another_thread,
    every_wait_without_a_timeout_is_for_writing_too,
}

unsafe extern "C" {
    fn epoll_pwait2(
        set: c_int,
        events: *mut epoll_event,
        room: c_int,
        timeout: *const libc::timespec,
        mask: *const libc::sigset_t,
    ) -> c_int;
}

/// Has `wait` tell one descriptor ready: a pipe to which another thread writes once this one waits. Each wait but the first
/// begins when the one before has ended, so a wake-up left over from it would be seen.
fn waits_for_a_write(wait: impl Fn(RawFd) -> c_int) {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let (ask, asked) = mpsc::channel();
    let other = thread::spawn(move || {
        for byte in asked {
            thread::sleep(SHORT);
            writer.write_all(&[byte]).unwrap();
        }
    });
    for byte in 0..3 {
        ask.send(byte).unwrap();
        assert_eq!(wait(reader.as_raw_fd()), 1);
        let mut read = [0xff];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, [byte]);
    }
    drop(ask);
    other.join().unwrap();
}

fn readable(fd: RawFd) -> pollfd {
    pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

/// The set of this descriptor, and what select is to count to.
fn set_of(fd: RawFd) -> (fd_set, c_int) {
    // SAFETY: all zeros is the empty set, into which the few descriptors of these tests fit.
    unsafe {
        let mut set = mem::zeroed();
        libc::FD_SET(fd, &mut set);
        (set, fd + 1)
    }
}

/// An epoll set that waits for `fd` to be readable.
fn epoll_of(fd: RawFd) -> OwnedFd {
    let mut event = epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 0,
    };
    // SAFETY: a new descriptor, and a valid event.
    unsafe {
        let set = OwnedFd::from_raw_fd(ok(libc::epoll_create1(libc::EPOLL_CLOEXEC)));
        let number = set.as_raw_fd();
        ok(libc::epoll_ctl(number, libc::EPOLL_CTL_ADD, fd, &mut event));
        set
    }
}

const NO_EVENT: epoll_event = epoll_event { events: 0, u64: 0 };

fn poll_waits_for_another_thread() {
    // SAFETY: an array of one.
    waits_for_a_write(|fd| unsafe { libc::poll(&mut readable(fd), 1, -1) });
}

fn ppoll_waits_for_another_thread() {
    // SAFETY: an array of one, without limit and mask.
    waits_for_a_write(|fd| unsafe { libc::ppoll(&mut readable(fd), 1, null(), null()) });
}

fn select_waits_for_another_thread() {
    waits_for_a_write(|fd| {
        let (mut set, count) = set_of(fd);
        // SAFETY: a valid set.
        unsafe { libc::select(count, &mut set, null_mut(), null_mut(), null_mut()) }
    });
}

fn pselect_waits_for_another_thread() {
    waits_for_a_write(|fd| {
        let (mut set, count) = set_of(fd);
        // SAFETY: a valid set.
        unsafe { libc::pselect(count, &mut set, null_mut(), null_mut(), null(), null()) }
    });
}

fn epoll_wait_waits_for_another_thread() {
    waits_for_a_write(|fd| {
        let set = epoll_of(fd);
        // SAFETY: room for one event.
        unsafe { libc::epoll_wait(set.as_raw_fd(), &mut { NO_EVENT }, 1, -1) }
    });
}

fn epoll_pwait_waits_for_another_thread() {
    waits_for_a_write(|fd| {
        let set = epoll_of(fd);
        // SAFETY: room for one event, without mask.
        unsafe { libc::epoll_pwait(set.as_raw_fd(), &mut { NO_EVENT }, 1, -1, null()) }
    });
}

fn epoll_pwait2_waits_for_another_thread() {
    waits_for_a_write(|fd| {
        let set = epoll_of(fd);
        // SAFETY: room for one event, without limit and mask.
        unsafe { epoll_pwait2(set.as_raw_fd(), &mut { NO_EVENT }, 1, null(), null()) }
    });
}

/// A pipe that has no room, and the number of bytes in it.
fn full_pipe() -> (PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: an open descriptor.
    let size = ok(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) }) as usize;
    writer.write_all(&vec![0; size]).unwrap();
    (reader, writer, size)
}

fn every_wait_without_a_timeout_is_for_writing_too() {
    type Wait = fn(RawFd) -> c_int;
    let poll: Wait = |fd| {
        let mut entry = readable(fd);
        entry.events = libc::POLLOUT;
        // SAFETY: an array of one.
        unsafe { libc::poll(&mut entry, 1, -1) }
    };
    let select: Wait = |fd| {
        let (mut set, count) = set_of(fd);
        // SAFETY: a valid set.
        unsafe { libc::select(count, null_mut(), &mut set, null_mut(), null_mut()) }
    };
    for wait in [poll, select] {
        let (mut reader, writer, size) = full_pipe();
        let other = thread::spawn(move || {
            thread::sleep(SHORT);
            reader.read_exact(&mut vec![0; size]).unwrap();
            reader
        });
        assert_eq!(wait(writer.as_raw_fd()), 1);
        other.join().unwrap();
    }
}
