//! `run` makes the calling thread a green thread: it stays the thread that it is, to Rust, to C and to the kernel.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use std::{process, thread};

use greenpatch_runtime::{Runtime, blocking, run, spawn, sync, thread::is_green, time, yield_now};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder()
        .workers(workers)
        .build()
        .expect("this machine has what green threads need")
}

fn kernel_thread() -> i64 {
    // SAFETY: the call has no arguments.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

fn this_pthread() -> libc::pthread_t {
    // SAFETY: always sound.
    unsafe { libc::pthread_self() }
}

/// Ends the process if the test does not end.
fn watch() {
    thread::spawn(|| {
        thread::sleep(Duration::from_secs(120));
        eprintln!("a test of adoption hangs");
        process::abort();
    });
}

#[test]
fn a_main_that_returns_any_error_returns_what_run_does() {
    fn main() -> Result<(), Box<dyn Error>> {
        run(|| {
            let number: i32 = "forty-two".parse()?;
            assert_ne!(number, 42);
            Ok(())
        })
    }
    assert_eq!(
        main().unwrap_err().to_string(),
        "invalid digit found in string"
    );
}

#[test]
fn what_is_not_send_goes_in_and_comes_out() {
    let words = Rc::new(RefCell::new(vec!["before"]));
    let returned = run(|| {
        words.borrow_mut().push("inside");
        yield_now();
        words.clone()
    });
    assert_eq!(*returned.borrow(), ["before", "inside"]);
    assert_eq!(Rc::strong_count(&words), 2);
}

#[test]
fn the_body_is_the_calling_thread_on_whatever_worker() {
    thread_local! {
        static NUMBER: Cell<u32> = const { Cell::new(0) };
    }
    let before = (thread::current().id(), this_pthread(), kernel_thread());
    let runtime = runtime(2);
    NUMBER.set(1);
    let number = NUMBER.with(std::ptr::from_ref);
    let others: Vec<_> = (0..4)
        .map(|_| runtime.spawn(|| (0..10_000).for_each(|_| yield_now())))
        .collect();
    runtime.run(|| {
        for turn in 0..10_000 {
            assert!(is_green());
            assert_eq!(
                (thread::current().id(), this_pthread()),
                (before.0, before.1)
            );
            assert_ne!(kernel_thread(), before.2);
            assert!(std::ptr::eq(NUMBER.with(std::ptr::from_ref), number));
            assert_eq!(NUMBER.replace(turn + 2), turn + 1);
            yield_now();
        }
    });
    assert!(!is_green());
    assert_eq!(NUMBER.get(), 10_001);
    let after = (thread::current().id(), this_pthread(), kernel_thread());
    assert_eq!(after, before);
    others.into_iter().for_each(|other| other.join().unwrap());
}

#[test]
fn a_panic_unwinds_through_run_and_leaves_an_os_thread() {
    struct Dropped(Rc<Cell<bool>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            assert!(
                is_green(),
                "what the body owns is dropped on the green thread"
            );
            yield_now();
            self.0.set(true);
        }
    }
    let (own, dropped) = (kernel_thread(), Rc::new(Cell::new(false)));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        run(|| {
            let _dropped = Dropped(dropped.clone());
            yield_now();
            std::panic::panic_any(7);
        })
    }));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&7));
    assert!(dropped.get());
    assert!(!is_green() && !thread::panicking());
    assert_eq!(kernel_thread(), own);
    assert_eq!(run(|| 8), 8);
}

#[test]
fn many_threads_are_adopted_again_and_again_by_one_runtime() {
    watch();
    let runtime = runtime(2);
    let count = sync::Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let own = kernel_thread();
                for _ in 0..300 {
                    let mine = Rc::new(Cell::new(1));
                    runtime.run(|| {
                        let mut count = count.lock().unwrap();
                        yield_now();
                        *count += mine.replace(0);
                    });
                    assert_eq!(kernel_thread(), own);
                }
            });
        }
    });
    assert_eq!(*count.lock().unwrap(), 2400);
}

#[test]
fn run_may_be_nested_on_its_own_runtime_and_on_others() {
    watch();
    let (first, second) = (Arc::new(runtime(1)), Arc::new(runtime(1)));
    let word = Rc::new("word");
    let nested = first.run(|| {
        let own = first.run(|| {
            assert!(is_green());
            yield_now();
            word.len()
        });
        let others = second.run(|| {
            yield_now();
            // Back on the first one, whose only worker waits for this.
            first.run(|| time::sleep(Duration::from_millis(1)));
            word.clone()
        });
        yield_now();
        (own, others)
    });
    assert_eq!(nested, (4, word.clone()));
    let theirs = second.clone();
    let of_a_spawned_one = first.spawn(move || {
        let mine = Rc::new(Cell::new(0));
        theirs.run(|| {
            yield_now();
            mine.set(1);
        });
        assert!(is_green());
        yield_now();
        mine.get()
    });
    assert_eq!(of_a_spawned_one.join().unwrap(), 1);
}

#[test]
fn in_a_blocking_section_the_body_is_user_code() {
    let runtime = runtime(1);
    runtime.run(|| {
        let spawned = blocking(|| runtime.run(|| spawn(|| 5).join().unwrap()));
        assert_eq!(spawned, 5);
    });
}

#[test]
fn a_child_that_is_forked_in_the_body_comes_out_of_run() {
    // In a thread of its own, so that the child has no others to speak of.
    let status = thread::spawn(|| {
        let mine = Rc::new(Cell::new(1));
        let child = run(|| {
            yield_now();
            // SAFETY: the child does nothing that another thread could have locked.
            let child = unsafe { libc::fork() };
            mine.set(mine.get() + 1);
            child
        });
        if child == 0 {
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(40 + mine.get()) };
        }
        let mut status = 0;
        // SAFETY: a place for the status.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        status
    });
    let status = status.join().unwrap();
    assert!(libc::WIFEXITED(status), "{status:#x}");
    assert_eq!(libc::WEXITSTATUS(status), 42);
}

static CAUGHT: AtomicU32 = AtomicU32::new(0);

extern "C" fn spoil_errno(_: libc::c_int) {
    // SAFETY: the handler's own errno.
    unsafe { *libc::__errno_location() = libc::EXDEV };
    CAUGHT.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn signals_to_the_adopted_thread_leave_what_is_its_own_alone() {
    watch();
    // SAFETY: the handler is async-signal-safe.
    unsafe { libc::signal(libc::SIGUSR1, spoil_errno as *const () as usize) };
    let (own, stop) = (this_pthread(), AtomicBool::new(false));
    let runtime = runtime(1);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // SAFETY: the thread lives.
                unsafe { libc::pthread_kill(own, libc::SIGUSR1) };
                thread::yield_now();
            }
        });
        runtime.run(|| {
            while CAUGHT.load(Ordering::SeqCst) < 1000 {
                // SAFETY: this thread's errno.
                unsafe { *libc::__errno_location() = libc::ENOTTY };
                for _ in 0..1000 {
                    std::hint::spin_loop();
                }
                // SAFETY: this thread's errno.
                assert_eq!(unsafe { *libc::__errno_location() }, libc::ENOTTY);
                yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        sender.join().unwrap();
    });
}

/// 0 until the handler has run; then 1, and 2 if it was on a green thread's stack.
static STOOD: AtomicU32 = AtomicU32::new(0);

extern "C" fn tell_where_it_stands(_: libc::c_int) {
    let is_own = greenpatch_runtime::hook::exit::own_stack().is_some();
    STOOD.store(1 + u32::from(is_own), Ordering::SeqCst);
}

#[test]
fn signal_handlers_of_the_thread_that_waits_are_on_no_green_threads_stack() {
    watch();
    // SAFETY: the handler is async-signal-safe.
    unsafe { libc::signal(libc::SIGUSR2, tell_where_it_stands as *const () as usize) };
    let own = this_pthread();
    run(|| {
        // A thread's signals to itself are handled where it stands.
        // SAFETY: the thread lives.
        let sender = thread::spawn(move || unsafe { libc::pthread_kill(own, libc::SIGUSR2) });
        blocking(|| sender.join().unwrap());
        while STOOD.load(Ordering::SeqCst) == 0 {
            yield_now();
        }
    });
    assert_eq!(STOOD.load(Ordering::SeqCst), 1);
}

/// The processor that the kernel has told in the calling thread's block; negative if that is not registered.
fn told_processor() -> Option<i32> {
    // SAFETY: a name; and where there is such a symbol, it is an offset from the thread pointer.
    unsafe {
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr());
        let offset = offset.cast::<isize>().as_ref()?;
        let area = (this_pthread() as usize).wrapping_add_signed(*offset);
        Some(((area + 4) as *const i32).read_volatile())
    }
}

#[test]
fn the_kernel_tells_no_wrong_processor_in_the_body() {
    let before = told_processor();
    let inside = run(told_processor);
    if before.is_some_and(|processor| processor >= 0) {
        assert_eq!(inside, Some(-1));
        assert!(told_processor() >= Some(0));
    }
}

#[test]
fn the_dump_shows_the_stack_of_the_adopted_thread() {
    #[inline(never)]
    fn waits_in_the_body(event: &sync::Event) {
        event.wait().unwrap();
        std::hint::black_box(event);
    }
    watch();
    let (runtime, event) = (runtime(1), sync::Event::new());
    thread::scope(|scope| {
        let body = scope.spawn(|| runtime.run(|| waits_in_the_body(&event)));
        let dumped = loop {
            let options = greenpatch_runtime::DumpOptions::new().backtraces(true);
            let dump = runtime.dump(options).to_string();
            if dump.contains("waits_in_the_body") {
                break dump;
            }
            thread::yield_now();
        };
        assert!(dumped.contains("'main'"), "{dumped}");
        event.set();
        body.join().unwrap();
    });
}

#[test]
fn main_may_be_deep_in_its_stack() {
    // As deep as the caller's stack allows: more than a green thread of this runtime has.
    fn depth(left: usize) -> usize {
        let frame = std::hint::black_box([left; 128]);
        if left == 0 {
            0
        } else {
            frame[0] - left + 1 + depth(left - 1)
        }
    }
    let caller = thread::Builder::new().stack_size(16 << 20);
    let runtime = Runtime::builder()
        .workers(1)
        .stack_size(64 << 10)
        .build()
        .unwrap();
    let deep = caller.spawn(move || runtime.run(|| depth(4000))).unwrap();
    assert_eq!(deep.join().unwrap(), 4000);
}

#[test]
fn a_childs_coroutines_are_green_where_its_parents_workers_had_their_stacks() {
    use corosensei::{Coroutine, stack::DefaultStack};

    /// As many stacks as the parent's workers had, and more, are used and then unmapped.
    fn give_stacks_back() {
        let all = Arc::new(Barrier::new(61));
        let threads: Vec<_> = (0..60)
            .map(|_| {
                let all = all.clone();
                thread::spawn(move || all.wait())
            })
            .collect();
        all.wait();
        for thread in threads {
            thread.join().unwrap();
        }
    }
    fn coroutines_are_green() -> bool {
        let mut coroutines: Vec<_> = (0..2000)
            .map(|_| {
                let stack = DefaultStack::new(256 << 10).unwrap();
                Coroutine::<(), bool, (), _>::with_stack(stack, |yielder, ()| {
                    yielder.suspend(is_green());
                })
            })
            .collect();
        let mut are_green = true;
        for coroutine in &mut coroutines {
            are_green &= coroutine.resume(()).as_yield() == Some(true);
        }
        for coroutine in &mut coroutines {
            coroutine.resume(());
        }
        are_green
    }
    let runtime = runtime(8);
    // SAFETY: the child does nothing that another thread could have locked.
    let child = unsafe { libc::fork() };
    if child == 0 {
        give_stacks_back();
        give_stacks_back();
        let are_green = run(coroutines_are_green);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!are_green)) };
    }
    let mut status = 0;
    // SAFETY: a place for the status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    drop(runtime);
}

#[test]
fn on_another_green_thread_run_knows_that_glibc_does_not_know_it() {
    use greenpatch_runtime::hook;

    fn is_known_to_glibc() -> bool {
        let stack = hook::exit::own_stack().expect("this is a green thread");
        stack.is_known_to_glibc()
    }
    let (first, second) = (runtime(1), Arc::new(runtime(1)));
    assert!(first.run(is_known_to_glibc));
    assert!(first.run(|| second.run(is_known_to_glibc)));
    let other = second.clone();
    let nested = first.spawn(move || {
        other.run(|| {
            let this = this_pthread();
            hook::thread::set_name(this, c"nested").unwrap();
            (is_known_to_glibc(), hook::thread::name(this).unwrap())
        })
    });
    let (is_known, name) = nested.join().unwrap();
    assert!(!is_known);
    assert!(name.starts_with(b"nested\0"));
}

#[test]
fn what_needs_a_workers_stack_finds_one_in_run_on_a_small_green_thread() {
    use greenpatch_runtime::hook;

    fn use_much_stack() -> usize {
        let bytes = std::hint::black_box([1_u8; 300 << 10]);
        bytes.iter().map(|&byte| usize::from(byte)).sum()
    }
    fn in_section() -> usize {
        let section = hook::enter_any().expect("this is a green thread's own code");
        // SAFETY: the function uses no section.
        let sum = unsafe { section.blocking_on_workers_stack(use_much_stack) };
        drop(section);
        assert!(is_green());
        yield_now();
        sum
    }
    let small = Runtime::builder()
        .workers(1)
        .stack_size(64 << 10)
        .build()
        .unwrap();
    let (second, third) = (Arc::new(runtime(1)), Arc::new(runtime(1)));
    let sums = small.spawn(move || {
        let direct = in_section();
        let nested = second.run(|| (in_section(), third.run(in_section), in_section()));
        (direct, nested, in_section())
    });
    let sum = 300 << 10;
    assert_eq!(sums.join().unwrap(), (sum, (sum, sum, sum), sum));
    assert_eq!(small.run(in_section), sum);
}

#[test]
fn of_a_caller_on_a_stack_of_its_own_making_no_extent_is_claimed() {
    use corosensei::{Coroutine, stack::DefaultStack};

    let body = || {
        let dump = greenpatch_runtime::dump(greenpatch_runtime::DumpOptions::new()).unwrap();
        let me = greenpatch_runtime::thread::current().id();
        let all = dump.green_threads.iter();
        let (size, used) = all
            .filter(|green| green.id == me)
            .map(|green| (green.stack_size, green.stack_high_water))
            .next()
            .unwrap();
        yield_now();
        assert_eq!(spawn(|| 7).join().unwrap(), 7);
        time::sleep(Duration::from_millis(1));
        (is_green(), size, used)
    };
    let stack = DefaultStack::new(256 << 10).unwrap();
    let mut coroutine = Coroutine::<(), (), _, _>::with_stack(stack, move |_, ()| run(body));
    let outcome = coroutine.resume(()).as_return();
    assert_eq!(outcome, Some((true, 0, 0)));
    // On its own stack, it has that.
    let (_, size, used) = run(body);
    assert!(0 < used && used < size);
}
