//! Work with what std and the runtime have, and what all kinds of work share.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use greenpatch::net::{TcpListener, TcpStream};
use greenpatch::sync::mpmc::{self, Receiver, Sender};
use greenpatch::sync::{Barrier, Condvar, Event, Mutex, RwLock, Semaphore};
use greenpatch::time::{sleep, timeout};
use greenpatch::{
    JoinHandle, blocking, checkpoint, is_cancellation, scope, spawn, spawn_after, thread, yield_now,
};

pub(crate) const LONG: Duration = Duration::from_secs(3600);

const ACCOUNTS: usize = 12;
const PERMITS: u32 = 3;

/// What the green threads work on.
pub(crate) struct World {
    bank: [Mutex<i64>; ACCOUNTS],
    std_bank: [std::sync::Mutex<i64>; ACCOUNTS],
    pair: RwLock<(u64, u64)>,
    sender: Sender<u64>,
    receiver: Receiver<u64>,
    /// The sum of what was sent, less what was received.
    under_way: AtomicI64,
    tokens: (Mutex<VecDeque<u32>>, Condvar),
    std_tokens: (std::sync::Mutex<VecDeque<u32>>, std::sync::Condvar),
    permits: Semaphore,
    permits_in_use: AtomicU32,
    server: SocketAddr,
    children: AtomicU64,
    /// On a runtime; the works that are done on OS threads do not need it.
    listening: Option<JoinHandle<()>>,
}

impl World {
    pub(crate) fn new(on_a_runtime: bool) -> World {
        let (sender, receiver) = mpmc::sync_channel(8);
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let server = listener.local_addr().expect("it is bound");
        World {
            bank: [const { Mutex::new(1000) }; ACCOUNTS],
            std_bank: [const { std::sync::Mutex::new(1000) }; ACCOUNTS],
            pair: RwLock::new((0, 0)),
            sender,
            receiver,
            under_way: AtomicI64::new(0),
            tokens: (Mutex::new((0..3).collect()), Condvar::new()),
            std_tokens: (
                std::sync::Mutex::new((0..3).collect()),
                std::sync::Condvar::new(),
            ),
            permits: Semaphore::new(PERMITS),
            permits_in_use: AtomicU32::new(0),
            server,
            children: AtomicU64::new(0),
            listening: on_a_runtime.then(|| spawn(move || echo_server(&listener))),
        }
    }

    /// After all rounds: nothing was lost or doubled.
    pub(crate) fn check(&self) {
        let total: i64 = self
            .bank
            .iter()
            .map(|account| *account.lock().unwrap())
            .sum();
        assert_eq!(total, 1000 * ACCOUNTS as i64);
        let total: i64 = self
            .std_bank
            .iter()
            .map(|account| *account.lock().unwrap())
            .sum();
        assert_eq!(total, 1000 * ACCOUNTS as i64);
        for left in self.receiver.try_iter() {
            self.under_way.fetch_sub(left as i64, Ordering::SeqCst);
        }
        assert_eq!(
            self.under_way.load(Ordering::SeqCst),
            0,
            "messages were lost or doubled"
        );
        assert_eq!(self.tokens.0.lock().unwrap().len(), 3);
        assert_eq!(self.std_tokens.0.lock().unwrap().len(), 3);
        assert_eq!(self.permits.available_permits(), PERMITS);
        if let Some(listening) = &self.listening {
            listening.cancel();
        }
        let is_open = |listening: &JoinHandle<()>| !listening.is_finished();
        while self.children.load(Ordering::SeqCst) > 0
            || self.listening.as_ref().is_some_and(is_open)
        {
            sleep(Duration::from_millis(1));
        }
    }
}

pub(crate) fn micros(random: &mut Rng, most: u64) -> Duration {
    Duration::from_micros(random.u64(0..=most))
}

pub(crate) fn sleeps(_: &Arc<World>, random: &mut Rng) {
    let (time, limit) = (micros(random, 1500), micros(random, 1500));
    let start = Instant::now();
    match timeout(limit, || sleep(time)) {
        Ok(()) => assert!(start.elapsed() >= time),
        Err(_) => assert!(start.elapsed() >= limit),
    }
    assert_eq!(checkpoint(), Ok(()));
}

pub(crate) fn std_sleeps(_: &Arc<World>, random: &mut Rng) {
    let time = micros(random, 1000);
    let start = Instant::now();
    std::thread::sleep(time);
    assert!(start.elapsed() >= time);
    std::thread::yield_now();
}

/// Two accounts, the lower first.
fn two(random: &mut Rng) -> (usize, usize) {
    let (one, other) = (random.usize(0..ACCOUNTS), random.usize(0..ACCOUNTS - 1));
    let other = if other >= one { other + 1 } else { other };
    (one.min(other), one.max(other))
}

fn linger(random: &mut Rng) {
    match random.u8(0..20) {
        0 => sleep(micros(random, 200)),
        1..4 => yield_now(),
        _ => {}
    }
}

pub(crate) fn transfers(world: &Arc<World>, random: &mut Rng) {
    for _ in 0..random.u8(1..20) {
        let (from, to) = two(random);
        let mut from = world.bank[from].lock().unwrap();
        linger(random);
        let mut to = world.bank[to].lock().unwrap();
        let amount = random.i64(-100..100);
        *from -= amount;
        linger(random);
        *to += amount;
    }
}

pub(crate) fn std_transfers(world: &Arc<World>, random: &mut Rng) {
    for _ in 0..random.u8(1..20) {
        let (from, to) = two(random);
        let mut from = world.std_bank[from].lock().unwrap();
        linger(random);
        let mut to = world.std_bank[to].lock().unwrap();
        let amount = random.i64(-100..100);
        *from -= amount;
        linger(random);
        *to += amount;
    }
}

pub(crate) fn reads_and_writes(world: &Arc<World>, random: &mut Rng) {
    for _ in 0..random.u8(1..20) {
        if random.u8(0..4) == 0 {
            let mut pair = world.pair.write().unwrap();
            pair.0 += 1;
            linger(random);
            pair.1 += 1;
        } else {
            let pair = world.pair.read().unwrap();
            let first = pair.0;
            linger(random);
            assert_eq!((first, first), *pair);
        }
    }
}

pub(crate) fn sends(world: &Arc<World>, random: &mut Rng) {
    let message = random.u64(1..1_000_000);
    world.under_way.fetch_add(message as i64, Ordering::SeqCst);
    let limit = micros(random, 500);
    let sent = match random.u8(0..3) {
        0 => world.sender.try_send(message).is_ok(),
        1 => world.sender.send_timeout(message, limit).is_ok(),
        _ => {
            let sent = timeout(limit, || world.sender.send(message));
            sent.unwrap_or_else(|late| late.into_inner()).is_ok()
        }
    };
    if !sent {
        world.under_way.fetch_sub(message as i64, Ordering::SeqCst);
    }
}

pub(crate) fn receives(world: &Arc<World>, random: &mut Rng) {
    let limit = micros(random, 500);
    let received = match random.u8(0..3) {
        0 => world.receiver.try_recv().ok(),
        1 => world.receiver.recv_timeout(limit).ok(),
        _ => {
            let received = timeout(limit, || world.receiver.recv());
            received.unwrap_or_else(|late| late.into_inner()).ok()
        }
    };
    if let Some(message) = received {
        world.under_way.fetch_sub(message as i64, Ordering::SeqCst);
    }
}

/// Takes a token when there is one, and wakes one other for it when it is put back: a lost wake-up stops the round.
pub(crate) fn passes_tokens(world: &Arc<World>, random: &mut Rng) {
    let (tokens, returned) = &world.tokens;
    let mut guard = tokens.lock().unwrap();
    if random.u8(0..4) == 0 {
        let (back, _) = returned
            .wait_timeout_while(guard, micros(random, 200), |tokens| tokens.is_empty())
            .unwrap();
        guard = back;
        if guard.is_empty() {
            // A notification may have been spent on this wait; whoever gives up passes it on.
            returned.notify_one();
            return;
        }
    } else {
        guard = returned
            .wait_while(guard, |tokens| tokens.is_empty())
            .unwrap();
    }
    let token = guard.pop_front().expect("it was waited for");
    drop(guard);
    linger(random);
    tokens.lock().unwrap().push_back(token);
    returned.notify_one();
}

pub(crate) fn std_passes_tokens(world: &Arc<World>, random: &mut Rng) {
    let (tokens, returned) = &world.std_tokens;
    let guard = tokens.lock().unwrap();
    let mut guard = returned
        .wait_while(guard, |tokens| tokens.is_empty())
        .unwrap();
    let token = guard.pop_front().expect("it was waited for");
    drop(guard);
    linger(random);
    tokens.lock().unwrap().push_back(token);
    returned.notify_one();
}

pub(crate) fn takes_permits(world: &Arc<World>, random: &mut Rng) {
    let permit = match random.u8(0..3) {
        0 => world.permits.try_acquire(),
        1 => world.permits.acquire_timeout(micros(random, 300)),
        _ => Some(world.permits.acquire()),
    };
    if let Some(permit) = permit {
        let before = world.permits_in_use.fetch_add(1, Ordering::SeqCst);
        assert!(before < PERMITS);
        linger(random);
        world.permits_in_use.fetch_sub(1, Ordering::SeqCst);
        drop(permit);
    }
}

pub(crate) fn meets(_: &Arc<World>, random: &mut Rng) {
    let count = random.usize(1..6);
    let (barrier, leaders) = (Barrier::new(count), AtomicU32::new(0));
    scope(|scope| {
        for _ in 0..count {
            let pause = micros(random, 100);
            let (barrier, leaders) = (&barrier, &leaders);
            scope.spawn(move || {
                for _ in 0..5 {
                    sleep(pause);
                    leaders.fetch_add(u32::from(barrier.wait().is_leader()), Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(leaders.load(Ordering::SeqCst), 5);
}

fn echo_server(listener: &TcpListener) {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => drop(spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
            })),
            Err(error) if is_cancellation(&error) => return,
            // Out of descriptors for a moment.
            Err(_) => sleep(Duration::from_millis(1)),
        }
    }
}

/// Sends random bytes and reads them back; an error must be that of the time that was given.
fn talk<S>(stream: &S, random: &mut Rng) -> std::io::Result<()>
where
    for<'a> &'a S: Read + Write,
{
    for _ in 0..random.u8(1..8) {
        let sent: Vec<u8> = (0..random.usize(1..20_000))
            .map(|_| random.u8(..))
            .collect();
        let mut received = vec![0; sent.len()];
        let (mut reader, mut writer) = (stream, stream);
        for (sent, received) in sent.chunks(8000).zip(received.chunks_mut(8000)) {
            writer.write_all(sent)?;
            reader.read_exact(received)?;
        }
        assert!(sent == received, "the echo has changed what was sent");
    }
    Ok(())
}

pub(crate) fn is_echoed(world: &Arc<World>, random: &mut Rng) {
    let stream = TcpStream::connect(world.server).expect("the server listens");
    if random.bool() {
        talk(&stream, random).expect("the server answers");
    } else {
        let outcome = timeout(micros(random, 3000), || talk(&stream, random));
        if let Err(error) = outcome.unwrap_or_else(|late| late.into_inner()) {
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        }
    }
}

pub(crate) fn std_is_echoed(world: &Arc<World>, random: &mut Rng) {
    let stream = std::net::TcpStream::connect(world.server).expect("the server listens");
    if random.bool() {
        talk(&stream, random).expect("the server answers");
    } else {
        stream
            .set_read_timeout(Some(micros(random, 3000).max(Duration::from_micros(1))))
            .unwrap();
        if let Err(error) = talk(&stream, random) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
        }
    }
}

/// Counts a child until it is dropped, whether or not it has begun.
struct Child(Arc<World>);

impl Child {
    fn new(world: &Arc<World>) -> Child {
        world.children.fetch_add(1, Ordering::SeqCst);
        Child(world.clone())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.0.children.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn spawns(world: &Arc<World>, random: &mut Rng) {
    let mut handles = Vec::new();
    for number in 0..random.usize(1..200) {
        let child = Child::new(world);
        let (pause, way) = (micros(random, 300), random.u8(0..6));
        let body = move || {
            let _child = child;
            sleep(pause);
            number
        };
        let handle = if way == 0 {
            spawn_after(pause, body)
        } else {
            spawn(body)
        };
        match way {
            1 => drop(handle),
            2 => handle.cancel(),
            3 => match handle.join_timeout(pause) {
                Ok(result) => assert_eq!(result.unwrap(), number),
                Err(handle) => handles.push((number, handle)),
            },
            _ => handles.push((number, handle)),
        }
    }
    random.shuffle(&mut handles);
    for (number, handle) in handles {
        assert_eq!(handle.join().unwrap(), number);
    }
}

pub(crate) fn std_spawns(world: &Arc<World>, random: &mut Rng) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let count = random.u64(1..50);
    let handles: Vec<_> = (0..count)
        .map(|number| {
            let (sender, child, pause) = (sender.clone(), Child::new(world), micros(random, 200));
            std::thread::spawn(move || {
                let _child = child;
                std::thread::sleep(pause);
                sender.send(number).unwrap();
            })
        })
        .collect();
    drop(sender);
    assert_eq!(receiver.iter().sum::<u64>(), count * (count - 1) / 2);
    handles
        .into_iter()
        .for_each(|handle| handle.join().unwrap());
}

/// Cancels a green thread in each sort of wait; what it took must have been put back.
pub(crate) fn cancels(world: &Arc<World>, random: &mut Rng) {
    let way = random.u8(0..6);
    let event = Arc::new(Event::new());
    let theirs = (event.clone(), Child::new(world));
    let victim = spawn(move || {
        let (event, _child) = theirs;
        match way {
            0 => sleep(LONG),
            1 => {
                let (_sender, receiver) = mpmc::channel::<()>();
                assert!(receiver.recv().is_err());
            }
            2 => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                assert!(is_cancellation(&listener.accept().unwrap_err()));
            }
            3 => assert!(event.wait().is_err()),
            4 => assert!(Semaphore::new(0).acquire_timeout(LONG).is_none()),
            _ => {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                assert!(is_cancellation(&listener.accept().unwrap_err()));
            }
        }
        assert!(checkpoint().is_err());
    });
    sleep(micros(random, 200));
    victim.cancel();
    if let Err(payload) = victim.join() {
        // Cancelled before it began, or an assertion of its own.
        assert!(
            payload.is::<greenpatch::Interrupted>(),
            "the victim failed in way {way}"
        );
    }
    drop(event);
}

pub(crate) fn nests_timeouts(_: &Arc<World>, random: &mut Rng) {
    let (outer, inner, pause) = (
        micros(random, 400),
        micros(random, 400),
        micros(random, 400),
    );
    let start = Instant::now();
    let outcome = timeout(outer, || {
        let inside = timeout(inner, || sleep(pause));
        sleep(pause);
        inside.is_ok()
    });
    match outcome {
        // Neither was cut short.
        Ok(true) => assert!(start.elapsed() >= 2 * pause),
        Ok(false) => assert!(start.elapsed() >= inner + pause),
        Err(_) => assert!(start.elapsed() >= outer),
    }
    assert_eq!(checkpoint(), Ok(()));
}

pub(crate) fn parks(_: &Arc<World>, random: &mut Rng) {
    let (rounds, main) = (random.u8(1..50), thread::current());
    let partner = spawn(move || {
        for _ in 0..rounds {
            thread::park();
            main.unpark();
        }
    });
    for _ in 0..rounds {
        partner.thread().unpark();
        thread::park();
    }
    partner.join().unwrap();
}

pub(crate) fn blocks(_: &Arc<World>, random: &mut Rng) {
    let time = micros(random, 1500);
    blocking(|| std::thread::sleep(time));
    sleep(micros(random, 3000));
}

/// OS threads and green threads on the same locks and channels.
pub(crate) fn works_with_os_threads(world: &Arc<World>, random: &mut Rng) {
    let ((ask, requests), (answers, told)) = (mpmc::sync_channel(1), mpmc::sync_channel(1));
    let (theirs, seed) = (world.clone(), random.u64(..));
    // Native code: this is an OS thread.
    let outside = blocking(move || {
        std::thread::spawn(move || {
            let mut random = Rng::with_seed(seed);
            while let Ok(number) = requests.recv() {
                transfers(&theirs, &mut random);
                reads_and_writes(&theirs, &mut random);
                takes_permits(&theirs, &mut random);
                answers.send(number).unwrap();
            }
        })
    });
    for number in 0..random.u32(1..20) {
        ask.send(number).unwrap();
        assert_eq!(told.recv().unwrap(), number);
    }
    drop(ask);
    blocking(|| outside.join()).unwrap();
}

pub(crate) fn std_parks(_: &Arc<World>, random: &mut Rng) {
    let (rounds, main) = (random.u32(1..50), std::thread::current());
    let turn = Arc::new(AtomicU32::new(0));
    let theirs = turn.clone();
    // Even turns are ours, odd ones the partner's.
    let wait_for = |turn: &AtomicU32, wanted| {
        while turn.load(Ordering::SeqCst) != wanted {
            std::thread::park();
        }
    };
    let partner = std::thread::spawn(move || {
        for round in 0..rounds {
            wait_for(&theirs, 2 * round + 1);
            theirs.store(2 * round + 2, Ordering::SeqCst);
            main.unpark();
        }
    });
    for round in 0..rounds {
        turn.store(2 * round + 1, Ordering::SeqCst);
        partner.thread().unpark();
        wait_for(&turn, 2 * round + 2);
    }
    partner.join().unwrap();
}

/// A row of threads that hand on what they get, and threads that nobody joins.
pub(crate) fn std_pipeline(world: &Arc<World>, random: &mut Rng) {
    let count = random.u64(1..30);
    let (first, mut last) = std::sync::mpsc::sync_channel(random.usize(0..4));
    for _ in 0..random.u8(1..5) {
        let (next, receiver) = std::sync::mpsc::sync_channel(random.usize(0..4));
        let from = std::mem::replace(&mut last, receiver);
        let child = Child::new(world);
        std::thread::spawn(move || {
            let _child = child;
            from.iter().for_each(|number| next.send(number).unwrap());
        });
    }
    let child = Child::new(world);
    std::thread::spawn(move || {
        let _child = child;
        (0..count).for_each(|number| first.send(number).unwrap());
    });
    assert!(
        last.iter().eq(0..count),
        "messages are lost, or out of order"
    );
}
