//! A dump of unmodified code: std and pthreads, through the shims.

use std::cell::UnsafeCell;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use greenpatch::dump::{Dump, GreenThread, Owner, State, Wait};
use greenpatch::{DumpOptions, Runtime, WaitReason, yield_now};
use harness::{patched_runtime, until_parked, with_1_and_2_workers};

fn full_dump(runtime: &Runtime) -> Dump {
    // However loaded the machine is.
    let patience = Duration::from_secs(60);
    runtime.dump(DumpOptions::new().backtraces(true).patience(patience))
}

/// The green thread that waits in the function of this name.
fn waiting_in<'a>(dump: &'a Dump, function: &str) -> (&'a GreenThread, &'a Wait) {
    let is_there = |green: &&GreenThread| {
        let innermost = green.backtrace.as_ref().and_then(|frames| frames.first());
        innermost.is_some_and(|frame| {
            let name = frame.function.as_deref().unwrap_or_default();
            name.rsplit("::").next() == Some(function)
        })
    };
    let green = dump.green_threads.iter().find(is_there);
    let green = green.unwrap_or_else(|| panic!("nobody waits in {function}:\n{dump}"));
    match &green.state {
        State::Parked(wait) => (green, wait),
        other => panic!("{other}"),
    }
}

/// What stands last in a function keeps its frame: a wait at the end may be compiled to a jump.
fn after_the_wait() {
    std::hint::black_box(());
}

#[inline(never)]
fn waits_in_std_sleep() {
    thread::sleep(Duration::from_secs(3600));
    after_the_wait();
}

#[inline(never)]
fn waits_in_std_mutex(lock: &Mutex<u32>) {
    *lock.lock().unwrap() += 1;
    after_the_wait();
}

#[inline(never)]
fn waits_in_std_read(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 16]);
    after_the_wait();
}

#[inline(never)]
fn waits_in_std_join(thread: thread::JoinHandle<()>) {
    thread.join().unwrap();
    after_the_wait();
}

#[inline(never)]
fn waits_in_std_park() {
    thread::park();
    after_the_wait();
}

fn std_waits_are_shown(workers: usize) {
    let runtime = patched_runtime(workers);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    let lock = Arc::new(Mutex::new(0));
    let held = lock.lock().unwrap();

    let sleeps = runtime.spawn(waits_in_std_sleep);
    let theirs = lock.clone();
    let locks = runtime.spawn(move || waits_in_std_mutex(&theirs));
    let reads = runtime.spawn(move || waits_in_std_read(stream));
    let joins = runtime.spawn(|| {
        let builder = thread::Builder::new().name("std's".to_owned());
        waits_in_std_join(builder.spawn(waits_in_std_park).unwrap());
    });
    until_parked(&runtime, 5);
    let dump = full_dump(&runtime);

    let (green, wait) = waiting_in(&dump, "waits_in_std_sleep");
    assert_eq!((green.id, wait.reason), (sleeps.id(), WaitReason::Sleep));
    let (green, wait) = waiting_in(&dump, "waits_in_std_mutex");
    assert_eq!(green.id, locks.id());
    assert!(matches!(wait.reason, WaitReason::Futex(_)));
    let (green, wait) = waiting_in(&dump, "waits_in_std_read");
    assert_eq!(green.id, reads.id());
    assert!(matches!(wait.reason, WaitReason::Read(_)));
    let (parked, _) = waiting_in(&dump, "waits_in_std_park");
    assert_eq!(parked.name.as_deref(), Some("std's"));
    assert_eq!(parked.spawned_at, None);
    let (green, wait) = waiting_in(&dump, "waits_in_std_join");
    assert_eq!(
        (green.id, wait.reason),
        (joins.id(), WaitReason::Join(parked.id))
    );

    drop((held, peer));
    sleeps.cancel();
    for thread in [sleeps, locks, reads] {
        thread.join().unwrap();
    }
    // Nobody unparks the other two: they are left to the end of the process.
    until_parked(&runtime, 2);
}

/// A pthread mutex with a value.
struct PthreadMutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: made to be shared.
unsafe impl Send for PthreadMutex {}
// SAFETY: as above.
unsafe impl Sync for PthreadMutex {}

impl PthreadMutex {
    fn new() -> PthreadMutex {
        PthreadMutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER))
    }

    fn lock(&self) {
        // SAFETY: an initialised mutex that does not move while it is used.
        assert_eq!(unsafe { libc::pthread_mutex_lock(self.0.get()) }, 0);
    }

    fn unlock(&self) {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.0.get()) }, 0);
    }
}

#[inline(never)]
fn waits_for_pthread_mutex(mutex: &PthreadMutex) {
    // SAFETY: as in `PthreadMutex::lock`.
    unsafe { libc::pthread_mutex_lock(mutex.0.get()) };
    mutex.unlock();
}

fn the_owner_of_a_pthread_mutex_is_named(workers: usize) {
    let runtime = patched_runtime(workers);
    let mutex = Arc::new(PthreadMutex::new());
    let theirs = mutex.clone();
    let builder = greenpatch::Builder::new().name("owner".to_owned());
    let owner = runtime.spawn_with(builder, move || {
        theirs.lock();
        greenpatch::thread::park();
        theirs.unlock();
    });
    let owner = owner.unwrap();
    until_parked(&runtime, 1);
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let theirs = mutex.clone();
            runtime.spawn(move || waits_for_pthread_mutex(&theirs))
        })
        .collect();
    until_parked(&runtime, 4);
    let dump = full_dump(&runtime);
    let expected = Owner::GreenThread {
        id: owner.id(),
        name: Some("owner".to_owned()),
    };
    for waiter in &waiters {
        let green = dump
            .green_threads
            .iter()
            .find(|green| green.id == waiter.id());
        let State::Parked(wait) = &green.unwrap().state else {
            panic!("{dump}");
        };
        assert!(matches!(wait.reason, WaitReason::Mutex(_)), "{dump}");
        assert_eq!(wait.owner, Some(expected.clone()), "{dump}");
    }
    assert_eq!(
        waiting_in(&dump, "waits_for_pthread_mutex").1.owner,
        Some(expected)
    );
    let text = format!(", owned by green thread {} 'owner'", owner.id());
    assert_eq!(dump.to_string().matches(&text).count(), 3, "{dump}");
    owner.thread().unpark();
    for thread in waiters.into_iter().chain([owner]) {
        thread.join().unwrap();
    }
}

fn an_os_thread_that_owns_a_mutex_is_told_by_its_number(workers: usize) {
    let runtime = patched_runtime(workers);
    let mutex = Arc::new(PthreadMutex::new());
    mutex.lock();
    let theirs = mutex.clone();
    let waiter = runtime.spawn(move || waits_for_pthread_mutex(&theirs));
    until_parked(&runtime, 1);
    let dump = full_dump(&runtime);
    let me = rustix::thread::gettid().as_raw_nonzero().get();
    let (_, wait) = waiting_in(&dump, "waits_for_pthread_mutex");
    assert_eq!(wait.owner, Some(Owner::OsThread(me)), "{dump}");
    mutex.unlock();
    waiter.join().unwrap();
}

fn a_dump_from_a_patched_green_thread_shows_the_others(workers: usize) {
    patched_runtime(workers).run(|| {
        let sleeper = greenpatch::spawn(waits_in_std_sleep);
        while greenpatch::metrics().unwrap().parked == 0 {
            yield_now();
        }
        let options = DumpOptions::new()
            .backtraces(true)
            .patience(Duration::from_secs(60));
        let dump = greenpatch::dump(options).unwrap();
        let (green, _) = waiting_in(&dump, "waits_in_std_sleep");
        assert_eq!(green.id, sleeper.id());
        sleeper.cancel();
        sleeper.join().unwrap();
    });
}

with_1_and_2_workers!(
    std_waits_are_shown,
    the_owner_of_a_pthread_mutex_is_named,
    an_os_thread_that_owns_a_mutex_is_told_by_its_number,
    a_dump_from_a_patched_green_thread_shows_the_others,
);
