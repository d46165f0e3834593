//! What green threads cost in memory, each measurement in a process of its own.
//!
//! The numbers are those of a release build; a debug build runs with a fifth of the green threads.

#![allow(clippy::print_stdout, reason = "the figures are of interest")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread::{self, Thread};
use std::time::Duration;

use greenpatch::{Builder, JoinHandle};
use harness::{Watchdog, child, patched_runtime, process};

const GREEN_THREADS: usize = if cfg!(debug_assertions) {
    20_000
} else {
    100_000
};
const A_FEW_DOZEN: usize = 60;

/// Bytes resident for each parked green thread; code that is not optimized uses more stack.
const LIMIT: u64 = if cfg!(debug_assertions) {
    16 * 1024
} else {
    9 * 1024
};

/// Where the green threads wait.
#[derive(Default)]
struct Gate {
    arrived: AtomicUsize,
    open: Mutex<bool>,
    opened: Condvar,
    unparked: AtomicBool,
    parked: Mutex<Vec<Thread>>,
}

impl Gate {
    fn wait_for_the_condvar(&self) {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        drop(
            self.opened
                .wait_while(self.open.lock().unwrap(), |open| !*open)
                .unwrap(),
        );
    }

    fn notify(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn park(&self) {
        self.parked.lock().unwrap().push(thread::current());
        self.arrived.fetch_add(1, Ordering::SeqCst);
        while !self.unparked.load(Ordering::SeqCst) {
            thread::park();
        }
    }

    fn unpark(&self) {
        self.unparked.store(true, Ordering::SeqCst);
        self.parked.lock().unwrap().iter().for_each(Thread::unpark);
    }
}

fn watch() -> Watchdog {
    Watchdog::with_limit(Duration::from_secs(180))
}

/// What a thread needs besides once it asks std for its handle: the handle, the registration of its
/// destructor, and glibc's malloc cache of the thread (656 bytes) that comes with a first allocation.
const HANDLE: u64 = 1024;

/// Starts the green threads, checks that once all are about to wait they cost at most `limit` bytes
/// each, and lets them go.
fn measure_waiting(limit: u64, wait: fn(&Gate), release: fn(&Gate)) {
    let _watchdog = watch();
    patched_runtime(2).run(move || {
        let gate = Arc::new(Gate::default());
        // What all green threads share is paid for with the first of them.
        greenpatch::spawn(thread::yield_now).join().unwrap();
        let mut handles: Vec<JoinHandle<()>> = Vec::with_capacity(GREEN_THREADS);
        let (resident_before, mappings_before) = (process::resident_bytes(), process::mappings());
        for _ in 0..GREEN_THREADS {
            let gate = Arc::clone(&gate);
            handles.push(greenpatch::spawn(move || wait(&gate)));
        }
        while gate.arrived.load(Ordering::SeqCst) < GREEN_THREADS {
            thread::sleep(Duration::from_millis(1));
        }
        let resident = process::resident_bytes().saturating_sub(resident_before);
        let mappings = process::mappings().saturating_sub(mappings_before);
        let each = resident / GREEN_THREADS as u64;
        println!("{GREEN_THREADS} waiting: {each} bytes resident each, {mappings} more mappings");
        release(&gate);
        for handle in handles {
            handle.join().unwrap();
        }
        assert!(each <= limit, "{each} bytes resident each");
        assert!(mappings <= A_FEW_DOZEN, "{mappings} more mappings");
    });
}

#[test]
fn a_green_thread_in_a_condvar_wait_takes_two_pages() {
    child::succeeds("a_green_thread_in_a_condvar_wait_takes_two_pages", || {
        measure_waiting(LIMIT, Gate::wait_for_the_condvar, Gate::notify);
    });
}

#[test]
fn a_green_thread_parked_by_std_takes_two_pages_and_its_handle() {
    child::succeeds(
        "a_green_thread_parked_by_std_takes_two_pages_and_its_handle",
        || {
            measure_waiting(LIMIT + HANDLE, Gate::park, Gate::unpark);
        },
    );
}

/// For a child whose malloc keeps nothing in a cache of each thread.
const WITHOUT_CACHES: [(&str, &str); 1] = [("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")];

/// Green threads that are alive at once when many are started and joined in batches.
const BATCH: usize = 10_000;

/// Spawns and joins a million in batches, or a fifth of that in a debug build, and checks that after the first ones
/// there are never more than `slack` bytes more in memory. `spawn` starts one that waits for the barrier, if there is one,
/// and `join` joins it.
fn measure_reuse<J>(slack: u64, spawn: fn(Option<Arc<Barrier>>) -> J, join: fn(J))
where
    J: Send + 'static,
{
    // A million in all; fewer where code is not optimized and spawning takes ten times as long.
    const BATCHES: usize = if cfg!(debug_assertions) { 20 } else { 100 };
    const WARM_UP: usize = 3;
    let _watchdog = watch();
    patched_runtime(2).run(move || {
        let (mut warm, mut most) = (0, 0);
        for batch in 1..=BATCHES {
            // In the first batches all are alive at once; no later batch can need more slots.
            let all_alive = (batch <= WARM_UP).then(|| Arc::new(Barrier::new(BATCH)));
            let handles: Vec<J> = (0..BATCH).map(|_| spawn(all_alive.clone())).collect();
            handles.into_iter().for_each(join);
            let resident = process::resident_bytes();
            if batch <= WARM_UP {
                warm = resident;
            }
            most = most.max(resident);
        }
        println!(
            "after {} spawns: {} KiB resident; later: at most {} KiB",
            WARM_UP * BATCH,
            warm / 1024,
            most / 1024
        );
        assert!(
            most <= warm + slack,
            "{most} bytes resident, {warm} after batch {WARM_UP}"
        );
    });
}

fn wait_if_there_is_a_barrier(barrier: Option<Arc<Barrier>>) {
    if let Some(barrier) = barrier {
        barrier.wait();
    }
}

fn measure_spawns(slack: u64) {
    measure_reuse(
        slack,
        |barrier| greenpatch::spawn(|| wait_if_there_is_a_barrier(barrier)),
        |handle| handle.join().unwrap(),
    );
}

fn measure_std_spawns(slack: u64) {
    measure_reuse(
        slack,
        |barrier| thread::spawn(|| wait_if_there_is_a_barrier(barrier)),
        |handle| handle.join().unwrap(),
    );
}

/// What malloc's heap may grow by on account of its gaps; a leak of 8 bytes each would be more.
const GAPS: u64 = if cfg!(debug_assertions) {
    1 << 20
} else {
    6 << 20
};

#[test]
fn a_million_spawns_reuse_the_memory_of_the_first() {
    let test = "a_million_spawns_reuse_the_memory_of_the_first";
    child::succeeds_under(&WITHOUT_CACHES, test, || measure_spawns(GAPS));
}

#[test]
fn a_million_std_spawns_reuse_the_memory_of_the_first() {
    let test = "a_million_std_spawns_reuse_the_memory_of_the_first";
    child::succeeds_under(&WITHOUT_CACHES, test, || measure_std_spawns(GAPS));
}

/// With malloc's caches, resident memory goes up and down by some 20 MB: std's spawner allocates what the new thread frees,
/// and that stays in the cache of its slot, up to 7 pieces of each size. As one after the other comes to each slot, all
/// caches fill up. glibc empties a thread's cache when the thread exits, but offers no way to do so for one that stays, as
/// the control blocks of slots do.
#[test]
fn what_malloc_caches_for_a_slot_is_bounded() {
    /// A thread's own allocations are of a few sizes, of 48 to 112 bytes, and there are at most 7 pieces of each.
    const CACHED: u64 = 3 << 10;
    child::succeeds("what_malloc_caches_for_a_slot_is_bounded", || {
        measure_std_spawns(GAPS + BATCH as u64 * CACHED);
    });
}

#[test]
fn the_slot_used_last_keeps_its_memory_when_the_others_lose_theirs() {
    const STACK: usize = 256 << 10;
    const SLOTS: usize = 50;
    /// The address of a variable on a new green thread's stack, which tells its slot from others.
    fn use_slot(barrier: Option<Arc<Barrier>>) -> JoinHandle<usize> {
        let body = move || {
            wait_if_there_is_a_barrier(barrier);
            let variable = 0_u8;
            std::hint::black_box(&raw const variable) as usize
        };
        Builder::new().stack_size(STACK).spawn(body).unwrap()
    }
    fn trimmed() -> usize {
        let slots = greenpatch::metrics().unwrap().slots;
        let class = slots.iter().find(|class| class.stack_size == STACK);
        class.unwrap().trimmed
    }
    let work = || {
        let _watchdog = watch();
        patched_runtime(1).run(|| {
            let barrier = Arc::new(Barrier::new(SLOTS));
            let all: Vec<_> = (0..SLOTS)
                .map(|_| use_slot(Some(barrier.clone())))
                .collect();
            for thread in all {
                thread.join().unwrap();
            }
            // From now on one slot serves for all, and is free most of the time.
            let hottest = use_slot(None).join().unwrap();
            while trimmed() < SLOTS - 1 {
                thread::sleep(Duration::from_millis(1));
                assert_eq!(use_slot(None).join().unwrap(), hottest);
            }
            assert_eq!(use_slot(None).join().unwrap(), hottest);
        });
    };
    let test = "the_slot_used_last_keeps_its_memory_when_the_others_lose_theirs";
    child::succeeds(test, work);
}
