//! futex(2) through `syscall` keeps its promises on every kind of thread.

use std::ffi::{c_int, c_long};
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::c::{errno, fails, ok, on_clock, timespec};
use harness::{SHORT, on_every_kind_of_thread};

on_every_kind_of_thread! {
    a_wait_for_another_value_returns_at_once,
    a_wait_ends_at_its_time,
    a_wake_counts_whom_it_woke,
    a_wake_counts_green_threads_and_os_threads_together,
    a_bitset_chooses_whom_to_wake,
    requeued_waiters_wait_on_the_other_word,
    a_requeue_compares_the_word,
    wake_op_changes_the_second_word_and_wakes_at_both,
    a_shared_futex_wakes_too,
    nonsense_is_refused,
    other_system_calls_pass_through,
}

/// After this, threads that are about to wait do: nothing else tells that they are queued.
const SETTLE: Duration = Duration::from_millis(100);

const PRIVATE: c_int = libc::FUTEX_PRIVATE_FLAG;

fn futex(word: &AtomicU32, operation: c_int, value: u32) -> c_long {
    // SAFETY: no time-out.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word,
            operation,
            value,
            null::<libc::timespec>(),
            0usize,
            !0,
        )
    }
}

/// Threads that wait on a word, OS threads among them if asked for.
struct Waiters {
    threads: Vec<JoinHandle<()>>,
    woken: Arc<AtomicU32>,
}

/// Waits until a wake-up, however often the wait ends for no reason.
fn wait(word: &AtomicU32, operation: c_int, bitset: u32) {
    // SAFETY: no time-out.
    let value = unsafe {
        let none = null::<libc::timespec>();
        libc::syscall(
            libc::SYS_futex,
            word,
            operation | PRIVATE,
            0,
            none,
            0usize,
            bitset,
        )
    };
    assert!(value == 0 || errno() == libc::EAGAIN);
}

impl Waiters {
    fn start(word: &Arc<AtomicU32>, count: u32, bitset: u32) -> Waiters {
        let woken = Arc::new(AtomicU32::new(0));
        let threads = (0..count)
            .map(|_| {
                let (word, woken) = (word.clone(), woken.clone());
                thread::spawn(move || {
                    wait(&word, libc::FUTEX_WAIT_BITSET, bitset);
                    woken.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        thread::sleep(SETTLE);
        Waiters { threads, woken }
    }

    /// Waits until so many have been woken.
    fn until(&self, count: u32) {
        while self.woken.load(Ordering::SeqCst) < count {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn count(&self) -> u32 {
        self.woken.load(Ordering::SeqCst)
    }

    fn join(self) {
        self.threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }
}

fn a_wait_for_another_value_returns_at_once() {
    let word = AtomicU32::new(1);
    fails(futex(&word, libc::FUTEX_WAIT | PRIVATE, 0), libc::EAGAIN);
    fails(
        futex(&word, libc::FUTEX_WAIT_BITSET | PRIVATE, 0),
        libc::EAGAIN,
    );
}

fn a_wait_ends_at_its_time() {
    let word = AtomicU32::new(0);
    let wait = |operation: c_int, time: libc::timespec| {
        let start = Instant::now();
        // SAFETY: a valid time.
        let value = unsafe {
            libc::syscall(
                libc::SYS_futex,
                &word,
                operation | PRIVATE,
                0,
                &time,
                0usize,
                !0,
            )
        };
        fails(value, libc::ETIMEDOUT);
        start.elapsed()
    };
    assert!(wait(libc::FUTEX_WAIT, timespec(SHORT)) >= SHORT);
    let end = on_clock(libc::CLOCK_MONOTONIC, SHORT);
    assert!(wait(libc::FUTEX_WAIT_BITSET, end) >= SHORT);
    let end = on_clock(libc::CLOCK_REALTIME, SHORT);
    // The two clocks are not read at the same moment.
    let nearly = SHORT - Duration::from_millis(1);
    assert!(wait(libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME, end) >= nearly);
    wait(libc::FUTEX_WAIT_BITSET, timespec(Duration::ZERO));
}

fn a_wake_counts_whom_it_woke() {
    let word = Arc::new(AtomicU32::new(0));
    assert_eq!(futex(&word, libc::FUTEX_WAKE | PRIVATE, 1), 0);
    let waiters = Waiters::start(&word, 5, !0);
    assert_eq!(futex(&word, libc::FUTEX_WAKE | PRIVATE, 2), 2);
    waiters.until(2);
    assert_eq!(futex(&word, libc::FUTEX_WAKE | PRIVATE, i32::MAX as u32), 3);
    waiters.join();
}

fn a_wake_counts_green_threads_and_os_threads_together() {
    let word = Arc::new(AtomicU32::new(0));
    let waiters = Waiters::start(&word, 3, !0);
    let runtime = greenpatch_runtime::Runtime::builder()
        .workers(1)
        .build()
        .unwrap();
    let green: Vec<_> = (0..3)
        .map(|_| {
            let word = word.clone();
            runtime.spawn(move || wait(&word, libc::FUTEX_WAIT, 0))
        })
        .collect();
    thread::sleep(SETTLE);
    assert_eq!(futex(&word, libc::FUTEX_WAKE | PRIVATE, 4), 4);
    assert_eq!(futex(&word, libc::FUTEX_WAKE | PRIVATE, 4), 2);
    waiters.join();
    green.into_iter().for_each(|green| green.join().unwrap());
}

fn a_bitset_chooses_whom_to_wake() {
    let word = Arc::new(AtomicU32::new(0));
    let ones = Waiters::start(&word, 2, 1);
    let twos = Waiters::start(&word, 2, 2);
    let wake = |bitset: u32| {
        let operation = libc::FUTEX_WAKE_BITSET | PRIVATE;
        // SAFETY: takes no pointer but the word's.
        unsafe { libc::syscall(libc::SYS_futex, &*word, operation, i32::MAX, 0, 0, bitset) }
    };
    assert_eq!(wake(4), 0);
    assert_eq!(wake(2), 2);
    twos.join();
    assert_eq!(ones.count(), 0);
    assert_eq!(wake(3), 2);
    ones.join();
}

fn requeued_waiters_wait_on_the_other_word() {
    let (from, to) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let waiters = Waiters::start(&from, 4, !0);
    let operation = libc::FUTEX_CMP_REQUEUE | PRIVATE;
    // SAFETY: two words.
    let moved =
        ok(unsafe { libc::syscall(libc::SYS_futex, &*from, operation, 1, 2usize, &*to, 0) });
    assert_eq!(moved, 3);
    waiters.until(1);
    // Kernel waiters may have been woken instead.
    let moved = futex(&to, libc::FUTEX_WAKE | PRIVATE, 9);
    waiters.until(3);
    assert!(moved <= 2);
    assert_eq!(futex(&from, libc::FUTEX_WAKE | PRIVATE, 9), 1);
    waiters.join();
}

fn a_requeue_compares_the_word() {
    let (from, to) = (AtomicU32::new(1), AtomicU32::new(0));
    let operation = libc::FUTEX_CMP_REQUEUE | PRIVATE;
    // SAFETY: two words.
    let value = unsafe { libc::syscall(libc::SYS_futex, &from, operation, 1, 1usize, &to, 2) };
    fails(value, libc::EAGAIN);
}

fn wake_op_changes_the_second_word_and_wakes_at_both() {
    let (one, two) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let wake_op = |code: u32| {
        let operation = libc::FUTEX_WAKE_OP | PRIVATE;
        // SAFETY: two words.
        unsafe { libc::syscall(libc::SYS_futex, &*one, operation, 9, 9usize, &*two, code) }
    };
    let first = Waiters::start(&one, 2, !0);
    let second = Waiters::start(&two, 2, !0);
    // Set to 5; wake at the second if it was greater than 0.
    assert_eq!(wake_op(4 << 24 | 5 << 12), 2);
    assert_eq!(two.load(Ordering::SeqCst), 5);
    first.join();
    assert_eq!(second.count(), 0);
    // Add 2; wake at the second if it was 5.
    assert_eq!(wake_op(1 << 28 | 2 << 12 | 5), 2);
    assert_eq!(two.load(Ordering::SeqCst), 7);
    second.join();
}

fn a_shared_futex_wakes_too() {
    let word = Arc::new(AtomicU32::new(0));
    let waker = {
        let word = word.clone();
        thread::spawn(move || {
            word.store(1, Ordering::SeqCst);
            futex(&word, libc::FUTEX_WAKE, 1);
        })
    };
    while word.load(Ordering::SeqCst) == 0 {
        // It holds up the worker, on which the waker may have to run.
        thread::yield_now();
        let time = timespec(SHORT);
        // SAFETY: a valid time.
        unsafe { libc::syscall(libc::SYS_futex, &*word, libc::FUTEX_WAIT, 0, &time) };
    }
    waker.join().unwrap();
}

fn nonsense_is_refused() {
    let word = AtomicU32::new(0);
    let bad = libc::timespec {
        tv_sec: 0,
        tv_nsec: -1,
    };
    // SAFETY: refused.
    unsafe {
        let wait = libc::FUTEX_WAIT | PRIVATE;
        fails(
            libc::syscall(libc::SYS_futex, &word, wait, 0, &bad),
            libc::EINVAL,
        );
        fails(
            libc::syscall(libc::SYS_futex, null::<u32>(), wait, 0, 0),
            libc::EFAULT,
        );
        let unaligned = (&raw const word).byte_add(1);
        fails(
            libc::syscall(libc::SYS_futex, unaligned, wait, 0, 0),
            libc::EINVAL,
        );
        let bitset = libc::FUTEX_WAIT_BITSET | PRIVATE;
        fails(
            libc::syscall(libc::SYS_futex, &word, bitset, 0, 0, 0, 0),
            libc::EINVAL,
        );
        fails(libc::syscall(libc::SYS_futex, &word, 99), libc::ENOSYS);
    }
}

fn other_system_calls_pass_through() {
    // SAFETY: no pointers, or ours.
    unsafe {
        assert_eq!(
            libc::syscall(libc::SYS_getpid),
            c_long::from(libc::getpid())
        );
        fails(libc::syscall(-1), libc::ENOSYS);
        fails(libc::syscall(libc::SYS_close, -1), libc::EBADF);
        // Six arguments.
        let page = libc::syscall(
            libc::SYS_mmap,
            0usize,
            4096usize,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0usize,
        );
        *(ok(page) as *mut u8) = 1;
        ok(libc::syscall(libc::SYS_munmap, page, 4096usize));
    }
}
