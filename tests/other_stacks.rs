//! Green threads whose code runs on stacks that it has made itself: coroutines, fibers, grown stacks.

use std::cell::Cell;
use std::ffi::c_void;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use harness::{Kind, on_every_kind_of_thread};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, on_stack};
// For its shims.
use greenpatch as _;
use greenpatch_runtime::hook;

on_every_kind_of_thread! {
    a_hundred_readers_wait_in_coroutines_at_once,
    a_hundred_readers_wait_on_fibers_at_once,
    a_coroutine_goes_on_after_it_has_waited,
    std_waits_on_a_grown_stack,
    locks_are_handed_over_between_grown_stacks,
    thread_locals_and_errno_stay_with_the_thread_on_another_stack,
}

const READERS: usize = 100;

/// Starts [`READERS`] threads of `read`, each of which has to give the byte that it is sent once all have begun.
fn all_read(read: fn(UnixStream) -> u8) {
    let (begun, beginnings) = mpsc::channel();
    let readers: Vec<_> = (0..READERS)
        .map(|index| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let begun = begun.clone();
            let reader = thread::spawn(move || {
                begun.send(()).unwrap();
                assert_eq!(read(theirs), index as u8);
            });
            (ours, reader)
        })
        .collect();
    for _ in 0..READERS {
        beginnings.recv().unwrap();
    }
    // The last ones first, so that none is served by chance.
    for (index, (ours, _)) in readers.iter().enumerate().rev() {
        (&mut &*ours).write_all(&[index as u8]).unwrap();
    }
    for (_ours, reader) in readers {
        reader.join().unwrap();
    }
}

fn read_one(mut stream: impl Read) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}

fn a_hundred_readers_wait_in_coroutines_at_once() {
    all_read(|stream| {
        let mut coroutine = Coroutine::new(move |yielder, ()| {
            yielder.suspend(0);
            read_one(&stream)
        });
        assert_eq!(coroutine.resume(()).as_yield(), Some(0));
        coroutine
            .resume(())
            .as_return()
            .expect("it reads to its end")
    });
}

thread_local! {
    /// What a fiber works on, and the contexts that it and its thread change between.
    static READING: Cell<Option<UnixStream>> = const { Cell::new(None) };
    static READ: Cell<u8> = const { Cell::new(0) };
}

extern "C" fn read_in_fiber() {
    let stream = READING.take().expect("given by the thread");
    READ.set(read_one(stream));
}

fn a_hundred_readers_wait_on_fibers_at_once() {
    all_read(|stream| {
        READING.set(Some(stream));
        let mut stack = vec![0_u8; 128 << 10];
        let mut back = MaybeUninit::<libc::ucontext_t>::zeroed();
        let mut fiber = MaybeUninit::<libc::ucontext_t>::zeroed();
        // SAFETY: the fiber has a stack of its own, which outlives it, and ends in the context that has started it.
        unsafe {
            assert_eq!(libc::getcontext(fiber.as_mut_ptr()), 0);
            let context = &mut *fiber.as_mut_ptr();
            context.uc_stack.ss_sp = stack.as_mut_ptr().cast();
            context.uc_stack.ss_size = stack.len();
            context.uc_link = back.as_mut_ptr();
            libc::makecontext(fiber.as_mut_ptr(), read_in_fiber, 0);
            assert_eq!(libc::swapcontext(back.as_mut_ptr(), fiber.as_ptr()), 0);
        }
        READ.get()
    });
}

fn a_coroutine_goes_on_after_it_has_waited() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let reader = thread::spawn(move || {
        // Two that take turns, and each waits while the other is suspended.
        let reading = || {
            let stream = theirs.try_clone().unwrap();
            Coroutine::<(), u8, ()>::new(move |yielder, ()| {
                for _ in 0..50 {
                    yielder.suspend(read_one(&stream));
                    thread::sleep(Duration::from_micros(10));
                }
            })
        };
        let mut coroutines = [reading(), reading()];
        let mut read = Vec::new();
        for turn in 0..100 {
            match coroutines[turn % 2].resume(()) {
                CoroutineResult::Yield(byte) => read.push(byte),
                CoroutineResult::Return(()) => panic!("ended early"),
            }
        }
        for coroutine in &mut coroutines {
            assert!(coroutine.resume(()).as_return().is_some());
        }
        read
    });
    let sent: Vec<u8> = (0..100).collect();
    for byte in &sent {
        ours.write_all(&[*byte]).unwrap();
        thread::yield_now();
    }
    assert_eq!(reader.join().unwrap(), sent);
}

/// As `stacker::grow`: a function on a larger stack.
fn on_grown_stack<T>(call: impl FnOnce() -> T) -> T {
    on_stack(DefaultStack::new(256 << 10).unwrap(), call)
}

fn std_waits_on_a_grown_stack() {
    let barrier = Barrier::new(READERS);
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                on_grown_stack(|| {
                    barrier.wait();
                    thread::sleep(Duration::from_millis(1));
                    let (sender, receiver) = mpsc::channel();
                    let child = thread::spawn(move || sender.send(7).unwrap());
                    assert_eq!(receiver.recv(), Ok(7));
                    child.join().unwrap();
                    barrier.wait();
                });
            });
        }
    });
}

fn locks_are_handed_over_between_grown_stacks() {
    let sum = Mutex::new(0);
    thread::scope(|scope| {
        for index in 0..20 {
            let sum = &sum;
            scope.spawn(move || {
                for _ in 0..100 {
                    let add = || {
                        let mut sum = sum.lock().unwrap();
                        let before = *sum;
                        thread::yield_now();
                        *sum = before + 1;
                    };
                    if index % 2 == 0 {
                        on_grown_stack(add);
                    } else {
                        add();
                    }
                }
            });
        }
    });
    assert_eq!(*sum.lock().unwrap(), 2_000);
}

fn thread_locals_and_errno_stay_with_the_thread_on_another_stack() {
    thread::scope(|scope| {
        for index in 0..20 {
            scope.spawn(move || {
                let its = thread::current().id();
                READ.set(index);
                on_grown_stack(|| {
                    for _ in 0..50 {
                        let before = i32::from(index) + 1;
                        // SAFETY: errno of the calling thread.
                        unsafe { *libc::__errno_location() = before };
                        thread::yield_now();
                        // SAFETY: errno of the calling thread; sched_yield does not fail.
                        assert_eq!(unsafe { *libc::__errno_location() }, before);
                        assert_eq!(READ.get(), index);
                        assert_eq!(thread::current().id(), its);
                    }
                });
            });
        }
    });
}

static NATIVE: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note_whether_native(_signal: i32) {
    if hook::enter_any().is_none() {
        NATIVE.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_handler_on_the_alternate_stack_is_native_code_on_whatever_stack_it_strikes() {
    Kind::Green { workers: 1 }.run(|| {
        // SAFETY: the handler only adds to a number; the signal is sent to the calling thread.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note_whether_native as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK;
            assert_eq!(
                libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
                0
            );
            assert_eq!(libc::raise(libc::SIGUSR1), 0);
            on_grown_stack(|| assert_eq!(libc::raise(libc::SIGUSR1), 0));
        }
        assert_eq!(NATIVE.load(Ordering::SeqCst), 2);
        assert!(on_grown_stack(|| hook::enter_any().is_some()));
    });
}

#[test]
fn what_runs_on_the_workers_stack_is_native_code_also_on_stacks_grown_from_there() {
    Kind::Green { workers: 1 }.run(|| {
        let is_native = || hook::enter_any().is_none() && !greenpatch_runtime::thread::is_green();
        on_grown_stack(|| {
            let section = hook::enter_any().expect("a green thread");
            // SAFETY: the function uses no section.
            let was_native = unsafe {
                section.blocking_on_workers_stack(|| is_native() && on_grown_stack(is_native))
            };
            drop(section);
            assert!(was_native && !is_native());
        });
    });
}

extern "C" fn tell_whether_native(_: *mut c_void) -> i32 {
    i32::from(hook::enter_any().is_some())
}

#[test]
fn a_process_cloned_with_a_stack_of_its_own_runs_native_code() {
    Kind::Green { workers: 1 }.run(|| {
        for flags in [0, libc::CLONE_VM | libc::CLONE_VFORK] {
            let mut stack = vec![0_u8; 256 << 10];
            let mut status = 0;
            // SAFETY: the child has a stack of its own, and ends as its function returns; with shared memory the caller
            // waits for that.
            unsafe {
                let top = stack.as_mut_ptr().add(stack.len() - 64);
                let child = libc::clone(
                    tell_whether_native,
                    top.cast(),
                    flags | libc::SIGCHLD,
                    std::ptr::null_mut(),
                );
                assert!(child > 0);
                assert_eq!(libc::waitpid(child, &mut status, 0), child);
            }
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
        }
    });
}
