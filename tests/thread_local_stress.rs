//! Thread-local values stay each green thread's own while the scheduler moves it between workers.
//!
//! A thousand green threads switch thousands of times each, in every way there is: yielding,
//! sleeping, waiting for a lock, waiting for a message. All the while each checks that its values
//! are its own, at the address they were at.

#![allow(clippy::print_stdout, reason = "the number of moves is of interest")]

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use harness::{Watchdog, patched_runtime};

const THREADS: usize = 1_000;
const ROUNDS: usize = 4_000;

/// What all green threads have in common.
struct Stage {
    /// Where the values of the living threads are: no address may be there twice.
    addresses: Mutex<HashSet<usize>>,
    all_alive: Barrier,
    lock: Mutex<u64>,
    destructors: AtomicUsize,
    moves: AtomicUsize,
}

/// A value with a destructor, which tells the stage.
struct Owned {
    owner: usize,
    rounds: Vec<usize>,
    stage: Arc<Stage>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        // The other thread-local is still there, and still this thread's.
        assert_eq!(OWNER.get(), self.owner);
        assert_eq!(self.rounds.len(), ROUNDS / 10);
        assert!(
            self.rounds
                .iter()
                .all(|round| round % THREADS == self.owner)
        );
        self.stage.destructors.fetch_add(1, Ordering::SeqCst);
    }
}

thread_local! {
    static OWNER: Cell<usize> = const { Cell::new(usize::MAX) };
    static OWNED: RefCell<Option<Owned>> = const { RefCell::new(None) };
}

fn address_of_owner() -> usize {
    OWNER.with(|owner| std::ptr::from_ref(owner).addr())
}

/// The kernel's thread, asked with a raw system call that no shim sees.
fn worker() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

fn live(
    index: usize,
    stage: &Arc<Stage>,
    inbox: &mpsc::Receiver<usize>,
    next: &mpsc::Sender<usize>,
) {
    assert_eq!(
        OWNER.replace(index),
        usize::MAX,
        "a fresh thread finds another's value"
    );
    let address = address_of_owner();
    assert!(
        stage.addresses.lock().unwrap().insert(address),
        "two threads share their storage"
    );
    OWNED.set(Some(Owned {
        owner: index,
        rounds: Vec::new(),
        stage: Arc::clone(stage),
    }));
    stage.all_alive.wait();
    let (mut last_worker, mut moves) = (worker(), 0);
    for round in 0..ROUNDS {
        match round % 40 {
            13 => thread::sleep(Duration::from_micros(20)),
            17 => greenpatch::time::sleep(Duration::from_micros(20)),
            n if n % 10 == 1 => {
                let mut guard = stage.lock.lock().unwrap();
                if n == 1 {
                    thread::yield_now();
                }
                *guard += 1;
            }
            n if n % 10 == 2 => {
                next.send(index).unwrap();
                inbox.recv().unwrap();
            }
            _ => greenpatch::yield_now(),
        }
        assert_eq!(OWNER.get(), index, "a thread finds another's value");
        assert_eq!(address_of_owner(), address, "a thread's storage moved");
        if round % 10 == 0 {
            OWNED.with_borrow_mut(|owned| {
                let owned = owned.as_mut().expect("the value was lost");
                assert_eq!(owned.owner, index);
                owned.rounds.push(round * THREADS + index);
            });
        }
        let worker = worker();
        moves += usize::from(worker != last_worker);
        last_worker = worker;
    }
    stage.moves.fetch_add(moves, Ordering::SeqCst);
    // After it no address is asked for any more, so storage may be used again.
    stage.all_alive.wait();
}

#[test]
fn a_thousand_migrating_threads_keep_their_values() {
    let _watchdog = Watchdog::with_limit(Duration::from_secs(300));
    let stage = Arc::new(Stage {
        addresses: Mutex::new(HashSet::new()),
        all_alive: Barrier::new(THREADS),
        lock: Mutex::new(0),
        destructors: AtomicUsize::new(0),
        moves: AtomicUsize::new(0),
    });
    let shared = Arc::clone(&stage);
    patched_runtime(2).run(move || {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::channel()).unzip();
        let threads: Vec<_> = receivers
            .into_iter()
            .enumerate()
            .map(|(index, inbox)| {
                let next = senders[(index + 1) % THREADS].clone();
                let stage = Arc::clone(&shared);
                thread::spawn(move || live(index, &stage, &inbox, &next))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(stage.destructors.load(Ordering::SeqCst), THREADS);
    assert_eq!(stage.addresses.lock().unwrap().len(), THREADS);
    assert_eq!(*stage.lock.lock().unwrap(), (THREADS * ROUNDS / 10) as u64);
    let moves = stage.moves.load(Ordering::SeqCst);
    println!("{THREADS} green threads changed their worker {moves} times");
    assert!(
        moves > 0,
        "nothing was tested: no green thread ever changed its worker"
    );
}
