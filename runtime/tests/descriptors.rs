//! Waiting on descriptors by poll, beside other waiters, and with numbers that mean nothing.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::hook;
use greenpatch_runtime::net::{TcpListener, TcpStream};
use greenpatch_runtime::{Patch, Runtime, spawn, yield_now};
use rustix::io::Errno;

fn entry(fd: i32, events: i16) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// Polls that time out come and go on a socket that a reader waits on: the reader must not be forgotten.
#[test]
fn a_reader_is_not_forgotten_when_others_poll_its_socket() {
    for workers in [1, 2] {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        runtime.run(|| {
            for _ in 0..20 {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (theirs, _) = listener.accept().unwrap();
                let theirs = Arc::new(theirs);
                let stop = Arc::new(AtomicBool::new(false));
                let pollers: Vec<_> = (0..3)
                    .map(|_| {
                        let (theirs, stop) = (theirs.clone(), stop.clone());
                        spawn(move || {
                            while !stop.load(Ordering::Relaxed) {
                                let section = hook::enter(Patch::SELECT).unwrap();
                                let mut entries = [
                                    entry(theirs.as_raw_fd(), libc::POLLPRI),
                                    entry(theirs.as_raw_fd(), libc::POLLPRI),
                                    entry(-1, libc::POLLIN),
                                ];
                                let soon = Deadline::after(Duration::from_micros(50));
                                assert_eq!(section.poll(&mut entries, Some(soon)), Ok(0));
                            }
                        })
                    })
                    .collect();
                let reader = {
                    let theirs = theirs.clone();
                    spawn(move || {
                        for _ in 0..200 {
                            (&*theirs).read_exact(&mut [0]).unwrap();
                        }
                    })
                };
                for _ in 0..200 {
                    ours.write_all(b"x").unwrap();
                    yield_now();
                }
                reader.join().unwrap();
                stop.store(true, Ordering::Relaxed);
                pollers
                    .into_iter()
                    .for_each(|poller| poller.join().unwrap());
            }
        });
    }
}

#[test]
fn a_number_that_is_not_open_is_an_error_and_costs_nothing() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let section = hook::enter_any().unwrap();
        for fd in [-1, 999_999, i32::MAX] {
            let outcome = section.retry(fd, hook::Interest::Read, || Ok(None), || Ok(()));
            assert_eq!(outcome, Err(Errno::BADF));
        }
        let mut entries = [entry(i32::MAX, libc::POLLIN)];
        assert_eq!(section.poll(&mut entries, None), Ok(1));
        assert_eq!(entries[0].revents, libc::POLLNVAL);
    });
}

#[test]
fn a_range_of_descriptors_may_end_anywhere() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        for last in [1_000_000, i32::MAX as u32 - 64, i32::MAX as u32, u32::MAX] {
            hook::closing_range(100_000, last);
            hook::closed_range(i32::MAX as u32 - 1, last);
        }
    });
}

#[test]
fn a_poll_on_what_epoll_refuses_does_not_keep_others_from_running() {
    use std::sync::atomic::AtomicU32;
    static TURNS: AtomicU32 = AtomicU32::new(0);
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let other = spawn(|| {
            for _ in 0..10 {
                TURNS.fetch_add(1, Ordering::Relaxed);
                greenpatch_runtime::time::sleep(Duration::from_millis(1));
            }
        });
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let section = hook::enter(Patch::SELECT).unwrap();
        let mut entries = [entry(file.as_raw_fd(), libc::POLLPRI)];
        let soon = Deadline::after(Duration::from_millis(100));
        assert_eq!(section.poll(&mut entries, Some(soon)), Ok(0));
        drop(section);
        assert!(
            TURNS.load(Ordering::Relaxed) > 1,
            "the poll kept its worker"
        );
        other.join().unwrap();
    });
}
