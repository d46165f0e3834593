//! Waiting on descriptors by poll, beside other waiters, and with numbers that mean nothing.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use greenpatch_runtime::deadline::Deadline;
use greenpatch_runtime::hook;
use greenpatch_runtime::net::{TcpListener, TcpStream};
use greenpatch_runtime::{Patch, Runtime, scope, spawn, yield_now};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

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
            assert_eq!(section.call(fd).err(), Some(Errno::BADF));
        }
        let mut entries = [entry(i32::MAX, libc::POLLIN)];
        assert_eq!(section.poll(&mut entries, None), Ok(1));
        assert_eq!(entries[0].revents, libc::POLLNVAL);
    });
}

/// Another descriptor gets the number of `fd`, as dup2 by the shims does it.
fn replace(fd: &mut OwnedFd, with: &impl AsFd) {
    let closing = hook::closing(fd.as_raw_fd());
    rustix::io::dup2(with, &mut *fd).unwrap();
    hook::closed(closing);
}

#[test]
fn a_call_does_not_go_on_on_a_descriptor_that_has_got_its_number() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let (mut ours, _ours_peer) = rustix::pipe::pipe().unwrap();
        let (stranger, stranger_peer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&stranger_peer, b"theirs").unwrap();
        let section = hook::enter_any().unwrap();
        let fd = ours.as_raw_fd();
        let mut attempts = 0;
        let outcome = section.call(fd).unwrap().retry(
            hook::Interest::Read,
            |_, _| Ok(None),
            || {
                attempts += 1;
                if attempts == 1 {
                    // Between the attempt, which found nothing, and the wait.
                    replace(&mut ours, &stranger);
                    return Err(Errno::AGAIN);
                }
                rustix::io::read(&ours, &mut [0; 8])
            },
        );
        assert_eq!((outcome, attempts), (Err(Errno::BADF), 1));
    });
}

#[test]
fn a_wait_on_a_new_descriptor_outlasts_the_late_end_of_the_old_ones_close() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let fd = reader.as_raw_fd();
        // By a thread that closed what had the number before, and comes to tell only below.
        let closing = hook::closing(fd);
        hook::opened(fd);
        let waits = spawn(move || {
            let section = hook::enter_any().unwrap();
            let attempt = || {
                rustix::io::ioctl_fionread(&reader).and_then(|there| {
                    if there == 0 {
                        Err(Errno::AGAIN)
                    } else {
                        Ok(there)
                    }
                })
            };
            section
                .call(fd)?
                .retry(hook::Interest::Read, |_, _| Ok(None), attempt)
        });
        yield_now();
        hook::closed(closing);
        yield_now();
        rustix::io::write(&writer, b"x").unwrap();
        assert_eq!(waits.join().unwrap(), Ok(1));
    });
}

/// One thread asks what the number is while another one makes it something else: what is remembered is true.
#[test]
fn the_kind_of_a_descriptor_is_never_that_of_an_earlier_one() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let (pipe, _writer) = rustix::pipe::pipe().unwrap();
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut changing = rustix::io::dup(&pipe).unwrap();
        let fd = changing.as_raw_fd();
        let over = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicUsize::new(0));
        let asker = {
            let (over, answers) = (over.clone(), answers.clone());
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    hook::kind(fd);
                    answers.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        for _ in 0..5_000 {
            replace(&mut changing, &socket);
            replace(&mut changing, &pipe);
            // Whoever asked before that has remembered the answer by the next one.
            let seen = answers.load(Ordering::SeqCst);
            while answers.load(Ordering::SeqCst) == seen {
                yield_now();
            }
            assert_eq!(hook::kind(fd), hook::Kind::Pipe);
        }
        over.store(true, Ordering::Relaxed);
        asker.join().unwrap();
    });
}

/// Epoll sets, each in the next, as many as the kernel takes; and the writer of a pipe in the innermost.
fn nested_sets() -> (Vec<OwnedFd>, OwnedFd) {
    use rustix::event::epoll;
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let mut sets = vec![reader];
    loop {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let inner = sets.last().unwrap();
        let added = epoll::add(
            &set,
            inner,
            epoll::EventData::new_u64(0),
            epoll::EventFlags::IN,
        );
        if added.is_err() {
            // The last one that was added takes part in no further set.
            return (sets, writer);
        }
        sets.push(set);
    }
}

#[test]
fn a_poll_on_sets_nested_too_deeply_lets_others_run_and_sees_what_comes() {
    let runtime = Runtime::builder().workers(1).compensation(false);
    runtime.build().unwrap().run(|| {
        let (sets, writer) = nested_sets();
        let outermost = sets.last().unwrap().as_raw_fd();
        let other = spawn(move || {
            for _ in 0..10 {
                greenpatch_runtime::time::sleep(Duration::from_millis(1));
            }
            rustix::io::write(&writer, b"x").unwrap();
            writer
        });
        let section = hook::enter(Patch::SELECT).unwrap();
        let mut entries = [entry(outermost, libc::POLLIN)];
        let late = Deadline::after(Duration::from_secs(20));
        assert_eq!(section.poll(&mut entries, Some(late)), Ok(1));
        drop(section);
        other.join().unwrap();
    });
}

#[test]
fn a_call_waits_for_a_set_nested_too_deeply() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let (sets, writer) = nested_sets();
        let outermost = sets.last().unwrap();
        let section = hook::enter_any().unwrap();
        let attempt = || {
            let mut entry = [PollFd::new(outermost, PollFlags::IN)];
            match rustix::event::poll(&mut entry, Some(&Timespec::default()))? {
                0 => Err(Errno::AGAIN),
                ready => Ok(ready),
            }
        };
        let soon = Deadline::after(Duration::from_millis(5));
        let waits = |until| {
            section.call(outermost.as_raw_fd())?.retry(
                hook::Interest::Read,
                |_, _| Ok(until),
                attempt,
            )
        };
        assert_eq!(waits(Some(soon)), Err(Errno::AGAIN));
        let other = spawn(move || {
            greenpatch_runtime::time::sleep(Duration::from_millis(5));
            rustix::io::write(&writer, b"x").unwrap();
            writer
        });
        assert_eq!(waits(None), Ok(1));
        drop(section);
        other.join().unwrap();
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

/// As by threads of which one closes while the other begins a call: after the close was announced and before it is done.
#[test]
fn a_call_that_begins_during_a_close_does_not_go_on_on_what_gets_the_number() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let (stranger, strangers) = rustix::pipe::pipe().unwrap();
        let fd = reader.as_raw_fd();
        // Something was known of the number before.
        hook::enter_any().unwrap().call(fd).unwrap();
        hook::opened(fd);
        let closing = hook::closing(fd);
        let waits = spawn(move || {
            let section = hook::enter_any().unwrap();
            // SAFETY: only lent to the system call.
            let number = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            let attempt = || match rustix::io::ioctl_fionread(number) {
                Ok(0) => Err(Errno::AGAIN),
                outcome => outcome,
            };
            section
                .call(fd)?
                .retry(hook::Interest::Read, |_, _| Ok(None), attempt)
        });
        yield_now();
        let mut reader = reader;
        rustix::io::dup2(&stranger, &mut reader).unwrap();
        hook::closed(closing);
        rustix::io::write(&strangers, b"x").unwrap();
        assert_eq!(waits.join().unwrap(), Err(Errno::BADF));
    });
}

/// The kernel has put the stranger in place, and whoever did it has not told yet.
#[test]
fn a_call_that_begins_during_a_close_has_its_first_step_only() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let (mut ours, _writer) = rustix::pipe::pipe().unwrap();
        let (stranger, strangers) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&strangers, b"theirs").unwrap();
        let section = hook::enter_any().unwrap();
        let fd = ours.as_raw_fd();
        let closing = hook::closing(fd);
        let mut attempts = 0;
        let outcome = section.call(fd).unwrap().retry(
            hook::Interest::Read,
            |_, _| Ok(None),
            || {
                attempts += 1;
                if attempts == 1 {
                    rustix::io::dup2(&stranger, &mut ours).unwrap();
                    return Err(Errno::AGAIN);
                }
                rustix::io::read(&ours, &mut [0; 8])
            },
        );
        assert_eq!((outcome, attempts), (Err(Errno::BADF), 1));
        hook::closed(closing);
    });
}

/// Another green thread holds the listener's lock meanwhile.
#[test]
fn who_waits_for_the_lock_to_accept_does_not_accept_from_who_gets_the_number() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let listen = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (listener, client)
        };
        let ((ours, _client), (stranger, _strangers_client)) = (listen(), listen());
        let mut ours = OwnedFd::from(ours);
        let fd = ours.as_raw_fd();
        let [holds_lock, waits, goes_on] = [const { AtomicBool::new(false) }; 3];
        let until = |flag: &AtomicBool| {
            while !flag.load(Ordering::Relaxed) {
                yield_now();
            }
        };
        let accepts = |attempt: &(dyn Fn() -> Result<OwnedFd, Errno> + Sync)| {
            let section = hook::enter_any().unwrap();
            section.call(fd)?.retry_accept(None, attempt)
        };
        scope(|scope| {
            let first = scope.spawn(|| {
                accepts(&|| {
                    holds_lock.store(true, Ordering::Relaxed);
                    until(&goes_on);
                    Err(Errno::CONNABORTED)
                })
            });
            until(&holds_lock);
            let second = scope.spawn(|| {
                // SAFETY: only lent to the system call.
                let number = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
                // With nothing in between that would end the turn.
                waits.store(true, Ordering::Relaxed);
                accepts(&|| rustix::net::accept(number))
            });
            until(&waits);
            replace(&mut ours, &stranger);
            goes_on.store(true, Ordering::Relaxed);
            assert_eq!(first.join().unwrap().err(), Some(Errno::CONNABORTED));
            assert_eq!(second.join().unwrap().err(), Some(Errno::BADF));
        });
    });
}

/// One that takes longer than it should.
#[test]
fn a_close_waits_for_an_attempt_in_a_blocking_section() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.run(|| {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let section = hook::enter_any().unwrap();
        let call = section.call(reader.as_raw_fd()).unwrap();
        let attempt = call.rest().go_on().unwrap();
        let before = runtime.metrics().blocking_sections;
        let closing = hook::closing(reader.as_raw_fd());
        assert_eq!(runtime.metrics().blocking_sections, before + 1);
        drop(attempt);
        hook::closed(closing);
    });
}
