//! What futures wait for: descriptors and timers of the runtime, polled on green threads and on OS threads.

use std::future::{pending, poll_fn};
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::{Either, join, join_all, select, select_all};
use greenpatch_runtime::future::{
    AsyncFd, Handle, Hangup, Interest, block_on, sleep, sleep_until, timeout,
};
use greenpatch_runtime::net::{TcpListener, TcpStream, UnixDatagram, UnixListener, UnixStream};
use greenpatch_runtime::{Patch, Runtime, spawn, time, yield_now};
use harness::unpatched::{on_green_threads, runtime};
use harness::{SHORT, Watchdog, eventually, pause};

/// A test on green threads of one and of two workers.
fn on_one_and_two_workers(test: fn()) {
    on_green_threads(1, test);
    on_green_threads(2, test);
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counter {
    fn new() -> (Arc<Counter>, Waker) {
        let counter = Arc::new(Counter::default());
        (counter.clone(), counter.into())
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Two ends of a TCP connection.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Reads what there is, for one poll.
fn poll_read<T: AsFd>(
    stream: &AsyncFd<T>,
    waker: &Waker,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut space = vec![MaybeUninit::uninit(); buffer.len()];
    let outcome = stream.poll_read(&mut Context::from_waker(waker), &mut space);
    if let Poll::Ready(Ok(read)) = outcome {
        for (to, from) in buffer.iter_mut().zip(&space[..read]) {
            // SAFETY: so many bytes were written.
            *to = unsafe { from.assume_init() };
        }
    }
    outcome
}

async fn read_to_end<T: AsFd>(stream: &AsyncFd<T>) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        let read = poll_fn(|context| poll_read(stream, context.waker(), &mut buffer)).await?;
        if read == 0 {
            return Ok(all);
        }
        all.extend(&buffer[..read]);
    }
}

async fn write_all<T: AsFd>(stream: &AsyncFd<T>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|context| stream.poll_write(context, bytes)).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

#[test]
fn bytes_go_through_sockets_of_each_kind() {
    async fn exchange<S: AsFd, L: AsFd>(
        ours: AsyncFd<S>,
        theirs: AsyncFd<L>,
        shut: impl Fn(&AsyncFd<S>),
    ) {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n >> 8) as u8).collect();
        let write = async {
            write_all(&ours, &bytes).await.unwrap();
            let two = [IoSlice::new(b"the "), IoSlice::new(b"end")];
            let written = poll_fn(|context| ours.poll_write_vectored(context, &two)).await;
            assert_eq!(written.unwrap(), 7);
            shut(&ours);
        };
        let (read, ()) = join(read_to_end(&theirs), write).await;
        let read = read.unwrap();
        assert!(read[..bytes.len()] == bytes);
        assert_eq!(&read[bytes.len()..], b"the end");
    }
    on_one_and_two_workers(|| {
        let (one, other) = tcp_pair();
        let (one, other) = (AsyncFd::new(one).unwrap(), AsyncFd::new(other).unwrap());
        block_on(exchange(one, other, |end| {
            end.get_ref().shutdown(Shutdown::Write).unwrap();
        }));
        let (one, other) = UnixStream::pair().unwrap();
        let (one, other) = (AsyncFd::new(one).unwrap(), AsyncFd::new(other).unwrap());
        block_on(exchange(one, other, |end| {
            end.get_ref().shutdown(Shutdown::Write).unwrap();
        }));
        let (one, other) = tcp_pair();
        let (one, other) = (
            std::net::TcpStream::from(one),
            std::net::TcpStream::from(other),
        );
        let (one, other) = (AsyncFd::new(one).unwrap(), AsyncFd::new(other).unwrap());
        block_on(exchange(one, other, |end| {
            end.get_ref().shutdown(Shutdown::Write).unwrap();
        }));
    });
}

#[test]
fn a_future_waits_for_bytes_that_a_thread_sends() {
    on_one_and_two_workers(|| {
        let (mut ours, theirs) = tcp_pair();
        let theirs = AsyncFd::new(theirs).unwrap();
        let sender = thread::spawn(move || {
            for n in 0..100 {
                if n % 10 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
                ours.write_all(&[n]).unwrap();
            }
        });
        let read = block_on(read_to_end(&theirs)).unwrap();
        assert!(read.into_iter().eq(0..100));
        sender.join().unwrap();
    });
}

#[test]
fn a_descriptor_is_polled_on_any_thread() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(1);
    let (mut ours, theirs) = runtime.run(|| {
        let (ours, theirs) = tcp_pair();
        (ours, AsyncFd::new(theirs).unwrap())
    });
    let other = Runtime::builder()
        .workers(1)
        .patch(Patch::none())
        .build()
        .unwrap();
    let mut buffer = [0; 4];
    let theirs = Arc::new(theirs);
    let write = move |text: &[u8]| {
        pause();
        ours.write_all(text).unwrap();
        ours
    };
    let writing = thread::spawn(move || write(b"one"));
    assert_eq!(block_on(theirs.read(&mut buffer)).unwrap(), 3);
    let mut ours = writing.join().unwrap();
    let writing = thread::spawn(move || {
        pause();
        ours.write_all(b"two").unwrap();
        ours
    });
    let reading = {
        let theirs = theirs.clone();
        other.spawn(move || block_on(theirs.read(&mut [0; 4])))
    };
    assert_eq!(reading.join().unwrap().unwrap(), 3);
    let mut ours = writing.join().unwrap();
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let reading = tokio.spawn(async move { theirs.read(&mut [0; 4]).await });
    pause();
    ours.write_all(b"three").unwrap();
    assert_eq!(tokio.block_on(reading).unwrap().unwrap(), 4);
}

#[test]
fn an_os_thread_without_a_runtime_is_told_so() {
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let error = AsyncFd::new(one).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("Handle"), "{error}");
    assert!(Handle::current().is_err());
}

#[test]
fn what_epoll_does_not_take_is_refused_with_the_reason() {
    on_green_threads(1, || {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let error = AsyncFd::new(file).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("blocking"), "{error}");
    });
}

#[test]
fn connections_are_accepted_on_listeners_of_each_kind() {
    on_one_and_two_workers(|| {
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ours.local_addr().unwrap();
        let connect = move |count: usize| {
            thread::spawn(move || {
                for _ in 0..count {
                    let client = std::net::TcpStream::connect(address).unwrap();
                    assert_eq!((&client).read(&mut [0]).unwrap(), 0);
                }
            })
        };
        let clients = connect(20);
        let ours = AsyncFd::new(ours).unwrap();
        block_on(async {
            for _ in 0..20 {
                let (stream, peer) = poll_fn(|context| ours.poll_accept(context)).await.unwrap();
                assert_eq!(stream.peer_addr().unwrap(), peer);
            }
        });
        clients.join().unwrap();
        // In blocking mode.
        let std = std::net::TcpListener::from(ours.into_inner());
        let std = AsyncFd::new(std).unwrap();
        let clients = connect(20);
        block_on(async {
            for _ in 0..20 {
                let (stream, peer) = std.accept().await.unwrap();
                assert_eq!(stream.peer_addr().unwrap(), peer);
            }
        });
        clients.join().unwrap();
    });
}

#[test]
fn several_tasks_accept_on_one_listener() {
    const ACCEPTORS: usize = 5;
    const CLIENTS: usize = 100;
    on_one_and_two_workers(|| {
        let listener = AsyncFd::new(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let clients = thread::spawn(move || {
            let connect = |_| std::net::TcpStream::connect(address).unwrap();
            let clients: Vec<_> = (0..CLIENTS).map(connect).collect();
            for client in clients {
                assert_eq!((&client).read(&mut [0]).unwrap(), 0);
            }
        });
        let listener = Arc::new(listener);
        let left = Arc::new(AtomicUsize::new(CLIENTS));
        let acceptors: Vec<_> = (0..ACCEPTORS)
            .map(|_| {
                let (listener, left) = (listener.clone(), left.clone());
                spawn(move || {
                    block_on(async {
                        let mut accepted = 0;
                        loop {
                            let claim =
                                left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                                    left.checked_sub(1)
                                });
                            if claim.is_err() {
                                return accepted;
                            }
                            listener.accept().await.unwrap();
                            accepted += 1;
                        }
                    })
                })
            })
            .collect();
        let accepted = acceptors
            .into_iter()
            .map(|acceptor| acceptor.join().unwrap());
        assert_eq!(accepted.sum::<usize>(), CLIENTS);
        clients.join().unwrap();
    });
}

#[test]
fn an_attempt_of_the_users_own_is_made_when_the_descriptor_is_ready() {
    on_one_and_two_workers(|| {
        let (mut reader, mut writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let pipe = AsyncFd::new(reader.try_clone().unwrap()).unwrap();
        let writing = thread::spawn(move || {
            pause();
            writer.write_all(b"through a pipe").unwrap();
        });
        let mut buffer = [0; 100];
        let read = block_on(pipe.io(Interest::Read, || reader.read(&mut buffer))).unwrap();
        assert_eq!(&buffer[..read], b"through a pipe");
        writing.join().unwrap();
        block_on(pipe.readable()).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        assert!(pipe.poll_readable(&mut context).is_ready());
    });
}

#[test]
fn after_a_short_read_the_kernel_is_asked_again_only_when_there_is_more() {
    on_one_and_two_workers(|| {
        let (mut ours, theirs) = tcp_pair();
        let theirs = AsyncFd::new(theirs).unwrap();
        let (counter, waker) = Counter::new();
        let mut buffer = [0; 100];
        assert!(poll_read(&theirs, &waker, &mut buffer).is_pending());
        for n in 1..200 {
            // With a full budget no poll is put off.
            yield_now();
            ours.write_all(b"short").unwrap();
            eventually(|| counter.get() == n);
            assert_eq!(
                poll_read(&theirs, &waker, &mut buffer).map(Result::unwrap),
                Poll::Ready(5)
            );
            assert!(poll_read(&theirs, &waker, &mut buffer).is_pending());
        }
        let woken = counter.get();
        ours.shutdown(Shutdown::Write).unwrap();
        eventually(|| counter.get() > woken);
        let end = poll_read(&theirs, &waker, &mut buffer).map(Result::unwrap);
        assert_eq!(end, Poll::Ready(0));
    });
}

#[test]
fn the_end_that_comes_with_the_last_bytes_is_not_missed() {
    on_one_and_two_workers(|| {
        for _ in 0..200 {
            let (mut ours, theirs) = tcp_pair();
            let theirs = AsyncFd::new(theirs).unwrap();
            let writing = spawn(move || {
                ours.write_all(b"last").unwrap();
                yield_now();
            });
            assert_eq!(block_on(read_to_end(&theirs)).unwrap(), b"last");
            writing.join().unwrap();
        }
    });
}

#[test]
fn the_task_that_polled_last_is_woken_and_only_for_what_it_waits_for() {
    on_one_and_two_workers(|| {
        let (mut ours, theirs) = tcp_pair();
        let theirs = AsyncFd::new(theirs).unwrap();
        let ((first, first_waker), (last, last_waker)) = (Counter::new(), Counter::new());
        let (gone, gone_waker) = Counter::new();
        assert!(poll_read(&theirs, &first_waker, &mut [0]).is_pending());
        assert!(poll_read(&theirs, &last_waker, &mut [0]).is_pending());
        assert!(poll_read(&theirs, &last_waker, &mut [0]).is_pending());
        let mut context = Context::from_waker(&gone_waker);
        assert!(theirs.poll_hangup(&mut context).is_pending());
        ours.write_all(b"x").unwrap();
        eventually(|| last.get() == 1);
        pause();
        assert_eq!((first.get(), last.get(), gone.get()), (0, 1, 0));
    });
}

#[test]
fn a_peer_that_has_gone_is_seen_while_nobody_reads() {
    on_one_and_two_workers(|| {
        let (mut ours, theirs) = tcp_pair();
        let theirs = AsyncFd::new(theirs).unwrap();
        ours.write_all(b"unread").unwrap();
        assert!(block_on(theirs.readable()).is_ok());
        assert_eq!(theirs.hangup(), None);
        let gone = {
            let until = spawn(move || {
                pause();
                drop(ours);
            });
            let gone = block_on(theirs.until_hangup()).unwrap();
            until.join().unwrap();
            gone
        };
        assert_eq!(gone, Hangup::Half);
        assert_eq!(theirs.hangup(), Some(Hangup::Half));
        // What was sent before is still there.
        let mut buffer = [0; 10];
        assert_eq!(block_on(theirs.read(&mut buffer)).unwrap(), 6);
        assert_eq!(block_on(theirs.read(&mut buffer)).unwrap(), 0);
        // Nobody is there to take this.
        block_on(write_all(&theirs, b"answer")).unwrap();
        eventually(|| theirs.hangup() == Some(Hangup::Full));
        assert_eq!(
            block_on(poll_fn(|context| theirs.poll_hangup(context))).unwrap(),
            Hangup::Full
        );
    });
}

#[test]
fn a_connection_that_is_reset_or_shut_on_both_sides_is_gone_for_good() {
    on_one_and_two_workers(|| {
        let (ours, theirs) = tcp_pair();
        let theirs = AsyncFd::new(theirs).unwrap();
        rustix::net::sockopt::set_socket_linger(&ours, Some(Duration::ZERO)).unwrap();
        let (counter, waker) = Counter::new();
        let mut context = Context::from_waker(&waker);
        assert!(theirs.poll_hangup(&mut context).is_pending());
        drop(ours);
        eventually(|| counter.get() == 1);
        assert_eq!(theirs.hangup(), Some(Hangup::Full));
        let error = block_on(theirs.read(&mut [0])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs = AsyncFd::new(theirs).unwrap();
        drop(ours);
        assert_eq!(block_on(theirs.until_hangup()).unwrap(), Hangup::Full);
    });
}

#[test]
fn a_descriptor_that_is_closed_behind_its_back_wakes_its_tasks_with_an_error() {
    on_one_and_two_workers(|| {
        let (_ours, theirs) = tcp_pair();
        let theirs = AsyncFd::new(theirs).unwrap();
        let number = theirs.get_ref().as_raw_fd();
        let (counter, waker) = Counter::new();
        assert!(poll_read(&theirs, &waker, &mut [0]).is_pending());
        // SAFETY: whoever owns the number is taken apart below, before the duplicate goes.
        let closer = unsafe { <TcpStream as std::os::fd::FromRawFd>::from_raw_fd(number) };
        drop(closer);
        assert_eq!(counter.get(), 1);
        let error = block_on(theirs.read(&mut [0])).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        // The number is given out anew, and is still not ours.
        let (new, _other) = UnixStream::pair().unwrap();
        if new.as_raw_fd() == number {
            let error = block_on(theirs.read(&mut [0])).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF));
            assert!(block_on(theirs.until_hangup()).is_err());
            let new = AsyncFd::new(new).unwrap();
            assert!(poll_read(&new, &waker, &mut [0]).is_pending());
            std::mem::forget(theirs.into_inner());
            drop(_other);
            assert_eq!(block_on(new.read(&mut [0])).unwrap(), 0);
        } else {
            std::mem::forget(theirs.into_inner());
        }
    });
}

#[test]
fn a_future_that_is_dropped_while_it_waits_leaves_nothing_behind() {
    on_one_and_two_workers(|| {
        let (mut ours, theirs) = tcp_pair();
        let theirs = AsyncFd::new(theirs).unwrap();
        for _ in 0..100 {
            let mut buffer = [0; 1];
            let mut read = Box::pin(theirs.read(&mut buffer));
            let (counter, waker) = Counter::new();
            let mut context = Context::from_waker(&waker);
            assert!(read.as_mut().poll(&mut context).is_pending());
            drop(waker);
            assert_eq!(Arc::strong_count(&counter), 2);
            drop(read);
            assert_eq!(Arc::strong_count(&counter), 1);
        }
        let (counter, waker) = Counter::new();
        assert!(poll_read(&theirs, &waker, &mut [0]).is_pending());
        drop(theirs);
        drop(waker);
        assert_eq!(Arc::strong_count(&counter), 1);
        let _ = ours.write_all(b"nobody reads");
        assert_eq!(counter.get(), 0);
    });
}

#[test]
fn blocking_calls_and_futures_share_a_listener() {
    on_one_and_two_workers(|| {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let blocking: Vec<_> = (0..3)
            .map(|_| {
                let listener = listener.clone();
                spawn(move || (0..10).for_each(|_| drop(listener.accept().unwrap())))
            })
            .collect();
        let task = spawn(move || {
            let listener = AsyncFd::new(listener).unwrap();
            block_on(async {
                for _ in 0..10 {
                    listener.accept().await.unwrap();
                }
            });
        });
        for _ in 0..40 {
            let client = std::net::TcpStream::connect(address).unwrap();
            let read = spawn(move || TcpStream::from(client).read(&mut [0]).unwrap());
            assert_eq!(read.join().unwrap(), 0);
        }
        task.join().unwrap();
        blocking.into_iter().for_each(|green| green.join().unwrap());
    });
}

#[test]
fn a_future_whose_input_never_waits_lets_others_run() {
    on_green_threads(1, || {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let theirs = AsyncFd::new(theirs).unwrap();
        let turns = Arc::new(AtomicUsize::new(0));
        let other = {
            let turns = turns.clone();
            spawn(move || {
                while turns.fetch_add(1, Ordering::SeqCst) < 10 {
                    yield_now();
                }
            })
        };
        // It returns to nobody between two reads, and always finds something.
        block_on(async {
            let mut buffer = [0; 1];
            while turns.load(Ordering::SeqCst) < 10 {
                ours.write_all(&[0; 1]).unwrap();
                theirs.read(&mut buffer).await.unwrap();
            }
        });
        other.join().unwrap();
    });
}

#[test]
fn a_task_on_an_os_thread_whose_input_never_waits_is_pending_now_and_then() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(1);
    let listener = runtime.run(|| AsyncFd::new(UnixStream::pair().unwrap().0).unwrap());
    let mut context = Context::from_waker(Waker::noop());
    let pending = (0..1000)
        .filter(|_| {
            let end = listener.poll_read(&mut context, &mut [MaybeUninit::uninit()]);
            end.is_pending()
        })
        .count();
    assert!((1..20).contains(&pending), "{pending}");
}

#[test]
fn many_descriptors_are_waited_for_at_once() {
    on_one_and_two_workers(|| {
        const COUNT: usize = 100;
        let (mut writers, readers): (Vec<_>, Vec<_>) = (0..COUNT)
            .map(|_| {
                let (one, other) = UnixStream::pair().unwrap();
                (one, AsyncFd::new(other).unwrap())
            })
            .unzip();
        for round in 0..COUNT {
            let index = round * 7 % COUNT;
            writers[index].write_all(&[index as u8]).unwrap();
            let (read, which) = block_on(async {
                let reads = readers.iter().map(|reader| {
                    Box::pin(async move {
                        let mut byte = [0];
                        reader.read(&mut byte).await.map(|_| byte[0])
                    })
                });
                let (read, which, _) = select_all(reads).await;
                (read.unwrap(), which)
            });
            assert_eq!((usize::from(read), which), (index, index));
        }
    });
}

#[test]
fn unix_listeners_accept_for_futures() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    on_one_and_two_workers(|| {
        let name = format!("greenpatch-futures-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let accepting = AsyncFd::new(&listener).unwrap();
        let client = spawn(move || UnixStream::connect_addr(&address).unwrap());
        let (_stream, peer) = block_on(accepting.accept()).unwrap();
        assert!(peer.is_unnamed());
        client.join().unwrap();
    });
}

#[test]
fn a_sleep_lasts_its_time_and_no_time_is_too_long() {
    on_one_and_two_workers(|| {
        let start = Instant::now();
        block_on(sleep(SHORT));
        assert!(start.elapsed() >= SHORT);
        block_on(sleep_until(start));
        block_on(sleep(Duration::ZERO));
        let endless = timeout(SHORT, sleep(Duration::MAX));
        assert!(block_on(endless).is_err());
    });
}

#[test]
fn sleeps_end_in_order_among_ten_thousand() {
    on_one_and_two_workers(|| {
        const COUNT: u64 = 10_000;
        let start = Instant::now();
        let mut far: Vec<_> = (0..COUNT)
            .map(|n| Box::pin(sleep(Duration::from_secs(1000 + n))))
            .collect();
        let mut context = Context::from_waker(Waker::noop());
        for sleep in &mut far {
            assert!(sleep.as_mut().poll(&mut context).is_pending());
        }
        let near = (0..200_u64).map(|n| async move {
            let time = Duration::from_micros(n * 37 % 200 * 100);
            sleep(time).await;
            assert!(start.elapsed() >= time);
        });
        block_on(join_all(near));
        assert!(!far[0].is_elapsed());
        drop(far);
    });
}

#[test]
fn a_sleep_that_is_dropped_or_put_off_does_not_wake() {
    on_one_and_two_workers(|| {
        let (counter, waker) = Counter::new();
        let mut context = Context::from_waker(&waker);
        let mut dropped = Box::pin(sleep(SHORT));
        assert!(dropped.as_mut().poll(&mut context).is_pending());
        drop(dropped);
        let mut first = pin!(sleep(SHORT));
        assert!(first.as_mut().poll(&mut context).is_pending());
        first.as_mut().reset_after(Duration::from_secs(1000));
        time::sleep(3 * SHORT);
        // The timer was left as it was, and has gone off: once, for the one that was put off.
        assert_eq!(counter.get(), 1);
        assert!(first.as_mut().poll(&mut context).is_pending());
        // To an earlier time.
        first.as_mut().reset(Instant::now() + SHORT);
        block_on(first.as_mut());
        assert!(first.is_elapsed());
        first.as_mut().reset_after(SHORT);
        assert!(!first.is_elapsed());
        block_on(first);
    });
}

#[test]
fn a_sleep_is_polled_on_any_thread() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(1);
    let (handle, sleep) = runtime.run(|| (Handle::current().unwrap(), Box::pin(sleep(SHORT))));
    let start = Instant::now();
    block_on(sleep);
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let sleeps: Vec<_> = (0..50)
        .map(|n| {
            let handle = handle.clone();
            tokio.spawn(async move { handle.sleep(Duration::from_millis(n % 7)).await })
        })
        .collect();
    for sleep in sleeps {
        tokio.block_on(sleep).unwrap();
    }
    block_on(handle.sleep_until(start + 2 * SHORT));
    assert!(start.elapsed() >= 2 * SHORT);
}

#[test]
#[should_panic(expected = "an OS thread has no runtime")]
fn a_sleep_is_not_made_without_a_runtime() {
    drop(sleep(SHORT));
}

#[test]
fn a_time_out_gives_up_what_takes_too_long() {
    on_one_and_two_workers(|| {
        assert_eq!(block_on(timeout(Duration::MAX, async { 1 })), Ok(1));
        let (_ours, theirs) = tcp_pair();
        let theirs = AsyncFd::new(theirs).unwrap();
        let late = block_on(timeout(SHORT, theirs.read(&mut [0]))).unwrap_err();
        assert_eq!(io::Error::from(late).kind(), io::ErrorKind::TimedOut);
        assert!(block_on(timeout(Duration::ZERO, pending::<()>())).is_err());
    });
}

/// A waker that does what `wake` does.
struct Calling<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for Calling<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

#[test]
fn a_waker_runs_on_no_green_thread_and_may_panic() {
    on_one_and_two_workers(|| {
        let (mut ours, theirs) = tcp_pair();
        let theirs = AsyncFd::new(theirs).unwrap();
        let panics = Waker::from(Arc::new(Calling(|| panic!("a waker's own panic"))));
        assert!(poll_read(&theirs, &panics, &mut [0]).is_pending());
        let mut asleep = pin!(sleep(SHORT));
        let mut context = Context::from_waker(&panics);
        assert!(asleep.as_mut().poll(&mut context).is_pending());
        ours.write_all(b"x").unwrap();
        time::sleep(2 * SHORT);
        let (sender, receiver) = std::sync::mpsc::channel();
        let tells = Waker::from(Arc::new(Calling(move || {
            sender.send(greenpatch_runtime::thread::is_green()).unwrap();
        })));
        assert!(poll_read(&theirs, &tells, &mut [0]).is_ready());
        assert!(poll_read(&theirs, &tells, &mut [0]).is_pending());
        asleep.as_mut().reset_after(SHORT);
        let mut context = Context::from_waker(&tells);
        assert!(asleep.as_mut().poll(&mut context).is_pending());
        ours.write_all(b"x").unwrap();
        time::sleep(3 * SHORT);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [false, false]);
    });
}

#[test]
fn what_waits_for_a_runtime_that_ends_is_woken_and_told() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(2);
    let (counter, waker) = Counter::new();
    let (handle, stream, _ours, mut asleep) = runtime.run(move || {
        let (ours, theirs) = tcp_pair();
        let stream = AsyncFd::new(theirs).unwrap();
        assert!(poll_read(&stream, &waker, &mut [0]).is_pending());
        let mut asleep = Box::pin(sleep(Duration::from_secs(1000)));
        let mut context = Context::from_waker(&waker);
        assert!(asleep.as_mut().poll(&mut context).is_pending());
        (Handle::current().unwrap(), stream, ours, asleep)
    });
    drop(runtime);
    eventually(|| counter.get() == 2);
    assert_eq!(Arc::strong_count(&counter), 1);
    let error = block_on(stream.read(&mut [0])).unwrap_err();
    assert!(error.to_string().contains("has ended"), "{error}");
    assert!(block_on(stream.until_hangup()).is_err());
    let error = handle.async_fd(UnixStream::pair().unwrap().0).unwrap_err();
    assert!(error.to_string().contains("has ended"), "{error}");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        block_on(Pin::as_mut(&mut asleep));
    }));
    let message = panicked.unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    assert!(message.contains("has ended"), "{message}");
    // What is over is over.
    block_on(handle.sleep(Duration::ZERO));
}

#[test]
fn a_waker_may_poll_what_wakes_it_or_drop_it() {
    on_one_and_two_workers(|| {
        let (mut ours, theirs) = tcp_pair();
        let kept = Arc::new(Mutex::new(Some(AsyncFd::new(theirs).unwrap())));
        let read = Arc::new(AtomicUsize::new(0));
        // Polls again, on the worker's own stack, until there is nothing or the connection has ended. It may be woken as it polls.
        struct Inline {
            stream: Arc<Mutex<Option<AsyncFd<TcpStream>>>>,
            is_woken: AtomicBool,
            read: Arc<AtomicUsize>,
        }
        impl Inline {
            fn poll(self: &Arc<Self>, stream: &mut Option<AsyncFd<TcpStream>>) {
                let waker = Waker::from(self.clone());
                let mut buffer = [0; 10];
                while let Some(Poll::Ready(outcome)) =
                    (stream.as_ref()).map(|stream| poll_read(stream, &waker, &mut buffer))
                {
                    match outcome.unwrap() {
                        0 => drop(stream.take()),
                        count => drop(self.read.fetch_add(count, Ordering::SeqCst)),
                    }
                }
            }
        }
        impl Wake for Inline {
            fn wake(self: Arc<Self>) {
                self.is_woken.store(true, Ordering::SeqCst);
                while self.is_woken.load(Ordering::SeqCst) {
                    let Ok(mut stream) = self.stream.try_lock() else {
                        return;
                    };
                    while self.is_woken.swap(false, Ordering::SeqCst) {
                        self.poll(&mut stream);
                    }
                }
            }
        }
        let task = Arc::new(Inline {
            stream: kept.clone(),
            is_woken: AtomicBool::new(false),
            read: read.clone(),
        });
        task.wake();
        for n in 1..=100 {
            ours.write_all(&[0; 25]).unwrap();
            eventually(|| read.load(Ordering::SeqCst) == 25 * n);
        }
        drop(ours);
        eventually(|| Arc::strong_count(&kept) == 1);
        assert!(kept.lock().unwrap().is_none());
    });
}

#[test]
fn a_datagram_socket_that_is_shut_is_at_its_end() {
    on_one_and_two_workers(|| {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let theirs = AsyncFd::new(theirs).unwrap();
        let (counter, waker) = Counter::new();
        ours.send(b"one").unwrap();
        ours.send(b"three").unwrap();
        let mut buffer = [0; 100];
        let mut lengths = Vec::new();
        while let Poll::Ready(length) = poll_read(&theirs, &waker, &mut buffer) {
            lengths.push(length.unwrap());
        }
        assert_eq!(lengths, [3, 5]);
        theirs.get_ref().shutdown(Shutdown::Read).unwrap();
        eventually(|| counter.get() == 1);
        let end = poll_read(&theirs, &waker, &mut buffer).map(Result::unwrap);
        assert_eq!(end, Poll::Ready(0));
    });
}

/// Tasks on green threads and OS threads read from the same connections, give up, come back, and miss nothing.
#[test]
fn nothing_is_lost_when_tasks_come_and_go_on_all_kinds_of_threads() {
    const STREAMS: usize = 8;
    const BYTES: usize = 3_000;
    let _watchdog = Watchdog::start();
    let runtime = runtime(2);
    let (readers, writers): (Vec<_>, Vec<_>) = runtime.run(|| {
        let pair = |_| UnixStream::pair().unwrap();
        let pairs = (0..STREAMS).map(pair);
        pairs
            .map(|(one, other)| (Arc::new(AsyncFd::new(one).unwrap()), other))
            .unzip()
    });
    let got = Arc::new(AtomicUsize::new(0));
    let read_all = |reader: Arc<AsyncFd<UnixStream>>, got: Arc<AtomicUsize>, handle: Handle| {
        move || {
            let mut naps = 0_u64;
            loop {
                naps += 1;
                let nap = handle.sleep(Duration::from_micros(naps * 37 % 300));
                let mut buffer = [0; 7];
                let outcome = block_on(async {
                    let (read, nap) = (pin!(reader.read(&mut buffer)), pin!(nap));
                    match select(read, nap).await {
                        Either::Left((read, _)) => Some(read.unwrap()),
                        Either::Right(_) => None,
                    }
                });
                match outcome {
                    Some(0) => return,
                    Some(read) => drop(got.fetch_add(read, Ordering::SeqCst)),
                    None => {}
                }
            }
        }
    };
    let handle = readers[0].handle();
    let (mut green, mut os) = (Vec::new(), Vec::new());
    for reader in &readers {
        let read = || read_all(reader.clone(), got.clone(), handle.clone());
        green.push(runtime.spawn(read()));
        green.push(runtime.spawn(read()));
        os.push(thread::spawn(read()));
    }
    let writing = runtime.spawn(move || {
        for n in 0..BYTES {
            for mut writer in &writers {
                writer.write_all(&[n as u8]).unwrap();
            }
            if n.is_multiple_of(100) {
                time::sleep(Duration::from_micros(200));
            }
        }
    });
    writing.join().unwrap();
    green.into_iter().for_each(|green| green.join().unwrap());
    os.into_iter().for_each(|os| os.join().unwrap());
    assert_eq!(got.load(Ordering::SeqCst), STREAMS * BYTES);
}

#[test]
fn a_runtime_may_end_while_other_threads_poll() {
    let _watchdog = Watchdog::start();
    for round in 0..50 {
        let runtime = runtime(1 + round % 2);
        let (handle, stream, _ours) = runtime.run(|| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let stream = Arc::new(AsyncFd::new(theirs).unwrap());
            (Handle::current().unwrap(), stream, ours)
        });
        let reading: Vec<_> = (0..2)
            .map(|_| {
                let stream = stream.clone();
                thread::spawn(move || block_on(stream.read(&mut [0])).unwrap_err())
            })
            .collect();
        let sleeping = thread::spawn(move || block_on(handle.sleep(Duration::MAX)));
        if round % 3 == 0 {
            thread::yield_now();
        }
        drop(runtime);
        for reading in reading {
            let error = reading.join().unwrap();
            assert!(error.to_string().contains("has ended"), "{error}");
        }
        assert!(sleeping.join().is_err());
    }
}

#[test]
fn a_forked_child_lets_go_of_its_parents_futures_and_has_its_own() {
    let _watchdog = Watchdog::start();
    let runtime = runtime(1);
    let (counter, waker) = Counter::new();
    let (mut ours, stream, mut asleep) = runtime.run(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stream = AsyncFd::new(theirs).unwrap();
        assert!(poll_read(&stream, &waker, &mut [0]).is_pending());
        let mut asleep = Box::pin(sleep(Duration::from_secs(1000)));
        let mut context = Context::from_waker(&waker);
        assert!(asleep.as_mut().poll(&mut context).is_pending());
        (ours, stream, asleep)
    });
    let in_child = |stream: AsyncFd<UnixStream>| {
        match poll_read(&stream, Waker::noop(), &mut [0]) {
            Poll::Ready(Err(error)) => assert!(error.to_string().contains("fork"), "{error}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(stream.hangup(), None);
        let runtime = self::runtime(1);
        drop(stream);
        runtime.run(|| {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let theirs = AsyncFd::new(theirs).unwrap();
            let writing = spawn(move || {
                time::sleep(Duration::from_millis(1));
                ours.write_all(b"child").unwrap();
            });
            let mut buffer = [0; 10];
            block_on(async {
                assert_eq!(theirs.read(&mut buffer).await.unwrap(), 5);
                assert_eq!(theirs.until_hangup().await.unwrap(), Hangup::Full);
                sleep(Duration::from_millis(1)).await;
            });
            writing.join().unwrap();
        });
    };
    // SAFETY: the child ends at once when it has done its part, and takes no lock that another thread may have held.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            in_child(stream);
            drop(asleep);
        }));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    let mut status = 0;
    // SAFETY: a valid place for the status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(counter.get(), 0);
    ours.write_all(b"parent").unwrap();
    assert_eq!(block_on(stream.read(&mut [0; 10])).unwrap(), 6);
    asleep.as_mut().reset_after(SHORT);
    block_on(asleep);
}

#[test]
fn more_buffers_than_the_kernel_takes_at_once_are_written_in_part() {
    on_green_threads(1, || {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = AsyncFd::new(ours).unwrap();
        let buffers: Vec<_> = (0..2000).map(|_| IoSlice::new(b"x")).collect();
        let written = block_on(poll_fn(|context| {
            ours.poll_write_vectored(context, &buffers)
        }));
        assert_eq!(written.unwrap(), 1024);
        drop(ours);
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), 1024);
    });
}

#[test]
fn a_hangup_is_seen_after_another_has_left_the_same_descriptor() {
    on_green_threads(1, || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let one = AsyncFd::new(&theirs).unwrap();
        let other = AsyncFd::new(&theirs).unwrap();
        drop(other);
        assert_eq!(one.hangup(), None);
        drop(ours);
        eventually(|| one.hangup() == Some(Hangup::Full));
    });
}
