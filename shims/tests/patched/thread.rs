//! Thread functions keep the promises of POSIX on every kind of thread, about every kind of thread.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use harness::c::{fails, ok, on_clock};
use harness::{SHORT, on_every_kind_of_thread};
use libc::{pthread_attr_t, pthread_t};

on_every_kind_of_thread! {
    join_gives_the_value,
    a_detached_thread_cannot_be_joined,
    tryjoin_says_busy,
    timed_joins_end_at_their_time,
    exit_unwinds_and_gives_the_value,
    exit_on_an_adopted_thread_is_that_threads,
    exit_in_nested_runs_unwinds_as_the_green_thread_that_called_the_outer_one,
    exit_unwinds_a_stack_of_the_callers_own_wherever_that_is,
    key_destructors_run_at_exit,
    attributes_tell_the_stack,
    a_stack_of_the_callers_own_is_used,
    names_are_kept_and_limited,
    a_thread_is_there_until_it_is_joined,
    a_thread_can_signal_itself,
    scheduling_and_affinity_can_be_asked_for,
    yields_return_zero,
    an_alternate_stack_is_recorded,
    threads_of_the_other_kind_can_be_joined,
    each_thread_is_itself,
}

type Start = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

unsafe extern "C-unwind" {
    fn pthread_create(
        thread: *mut pthread_t,
        attributes: *const pthread_attr_t,
        start: Start,
        argument: *mut c_void,
    ) -> c_int;
    fn pthread_exit(value: *mut c_void) -> !;
    fn thrd_yield();
}

unsafe extern "C" {
    fn pthread_timedjoin_np(
        thread: pthread_t,
        value: *mut *mut c_void,
        time: *const libc::timespec,
    ) -> c_int;
    fn pthread_clockjoin_np(
        thread: pthread_t,
        value: *mut *mut c_void,
        clock: libc::clockid_t,
        time: *const libc::timespec,
    ) -> c_int;
    fn pthread_getcpuclockid(thread: pthread_t, clock: *mut libc::clockid_t) -> c_int;
    fn pthread_getname_np(thread: pthread_t, name: *mut c_char, length: usize) -> c_int;
}

fn create(attributes: *const pthread_attr_t, start: Start, argument: usize) -> pthread_t {
    let mut thread = 0;
    // SAFETY: the start routines here need nothing.
    let error = unsafe { pthread_create(&mut thread, attributes, start, argument as *mut c_void) };
    assert_eq!(error, 0);
    thread
}

fn join(thread: pthread_t) -> usize {
    let mut value = null_mut();
    // SAFETY: a thread not joined yet.
    assert_eq!(unsafe { libc::pthread_join(thread, &mut value) }, 0);
    value as usize
}

fn attributes(set: impl FnOnce(*mut pthread_attr_t)) -> pthread_attr_t {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: initialised by the call.
    unsafe {
        assert_eq!(libc::pthread_attr_init(attributes.as_mut_ptr()), 0);
        set(attributes.as_mut_ptr());
        attributes.assume_init()
    }
}

extern "C-unwind" fn next(argument: *mut c_void) -> *mut c_void {
    argument.wrapping_byte_add(1)
}

extern "C-unwind" fn sleep_and_next(argument: *mut c_void) -> *mut c_void {
    thread::sleep(SHORT * 3);
    next(argument)
}

/// Ends once the word that it is given the address of is true, with 2.
extern "C-unwind" fn end_when_told(told: *mut c_void) -> *mut c_void {
    // SAFETY: the test's word, which stays until this thread was joined.
    let told = unsafe { &*told.cast::<AtomicBool>() };
    while !told.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(1));
    }
    2 as *mut c_void
}

fn join_gives_the_value() {
    let threads: Vec<_> = (0..20).map(|n| create(null(), next, n)).collect();
    for (n, thread) in threads.into_iter().enumerate() {
        assert_eq!(join(thread), n + 1);
    }
    let thread = create(null(), next, 0);
    // SAFETY: a thread; no value is wanted.
    assert_eq!(unsafe { libc::pthread_join(thread, null_mut()) }, 0);
}

fn a_detached_thread_cannot_be_joined() {
    static ENDED: AtomicU32 = AtomicU32::new(0);
    extern "C-unwind" fn end(argument: *mut c_void) -> *mut c_void {
        thread::sleep(SHORT);
        ENDED.fetch_add(1, Ordering::SeqCst);
        argument
    }
    let before = ENDED.load(Ordering::SeqCst);
    let detached = attributes(|attributes| {
        // SAFETY: initialised.
        unsafe { libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED) };
    });
    let threads = [create(&detached, end, 0), create(null(), end, 0)];
    // SAFETY: threads that are still there.
    unsafe {
        assert_eq!(libc::pthread_join(threads[0], null_mut()), libc::EINVAL);
        assert_eq!(libc::pthread_detach(threads[0]), libc::EINVAL);
        assert_eq!(libc::pthread_detach(threads[1]), 0);
        assert_eq!(libc::pthread_join(threads[1], null_mut()), libc::EINVAL);
    }
    while ENDED.load(Ordering::SeqCst) < before + 2 {
        thread::sleep(Duration::from_millis(1));
    }
}

fn tryjoin_says_busy() {
    let told = AtomicBool::new(false);
    let thread = create(null(), end_when_told, (&raw const told).addr());
    let mut value = null_mut();
    // SAFETY: a thread not joined yet.
    unsafe {
        assert_eq!(libc::pthread_tryjoin_np(thread, &mut value), libc::EBUSY);
        told.store(true, Ordering::SeqCst);
        while libc::pthread_tryjoin_np(thread, &mut value) == libc::EBUSY {
            thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(value as usize, 2);
}

fn timed_joins_end_at_their_time() {
    let told = AtomicBool::new(false);
    let thread = create(null(), end_when_told, (&raw const told).addr());
    let mut value = null_mut();
    let end = on_clock(libc::CLOCK_REALTIME, SHORT / 2);
    let monotonic = on_clock(libc::CLOCK_MONOTONIC, SHORT / 2);
    let far = on_clock(libc::CLOCK_MONOTONIC, Duration::from_secs(50));
    let clock = libc::CLOCK_MONOTONIC;
    // SAFETY: a thread not joined yet.
    unsafe {
        assert_eq!(
            pthread_timedjoin_np(thread, &mut value, &end),
            libc::ETIMEDOUT
        );
        let clockjoin = |value, clock, time| pthread_clockjoin_np(thread, value, clock, time);
        assert_eq!(clockjoin(&mut value, clock, &monotonic), libc::ETIMEDOUT);
        assert_eq!(
            clockjoin(&mut value, libc::CLOCK_TAI, &monotonic),
            libc::EINVAL
        );
        told.store(true, Ordering::SeqCst);
        assert_eq!(clockjoin(&mut value, clock, &far), 0);
    }
    assert_eq!(value as usize, 2);
}

static UNWOUND: AtomicU32 = AtomicU32::new(0);

struct CountWhenUnwound;

impl Drop for CountWhenUnwound {
    fn drop(&mut self) {
        UNWOUND.fetch_add(1, Ordering::SeqCst);
    }
}

#[inline(never)]
fn exit_from_below(depth: usize) -> usize {
    let _count = CountWhenUnwound;
    if depth == 0 {
        // SAFETY: the frames above are Rust's, with destructors only.
        unsafe { pthread_exit(99 as *mut c_void) }
    }
    exit_from_below(depth - 1) + 1
}

fn exit_on_an_adopted_thread_is_that_threads() {
    extern "C-unwind" fn start(_: *mut c_void) -> *mut c_void {
        let mine = std::rc::Rc::new(CountWhenUnwound);
        greenpatch_runtime::Runtime::builder()
            .workers(1)
            .build()
            .unwrap()
            .run(|| {
                thread::sleep(SHORT);
                exit_from_below(9);
                drop(mine);
            });
        unreachable!()
    }
    let before = UNWOUND.load(Ordering::SeqCst);
    assert_eq!(join(create(null(), start, 0)), 99);
    assert!(UNWOUND.load(Ordering::SeqCst) >= before + 11);
}

fn exit_unwinds_a_stack_of_the_callers_own_wherever_that_is() {
    const SIZE: usize = 256 << 10;

    struct Set<'a>(&'a AtomicU32);
    impl Drop for Set<'_> {
        fn drop(&mut self) {
            self.0.store(1, Ordering::SeqCst);
        }
    }
    thread_local! {
        static UNWOUND: Cell<*const AtomicU32> = const { Cell::new(null()) };
    }
    extern "C-unwind" fn exits() {
        // SAFETY: the test's word, which outlives this thread.
        let _set = Set(unsafe { &*UNWOUND.get() });
        // SAFETY: the frames above are this one, with a destructor, and the C library's.
        unsafe { pthread_exit(7 as *mut c_void) }
    }
    /// Memory above the calling thread's stack, if the kernel finds it such.
    fn memory_above() -> *mut c_void {
        let mut here = 0_u8;
        let here = (&raw mut here).addr() & !0xfff;
        let above = (1..4096).map(|distance| here + distance * (64 << 20));
        above
            .map(|hint| {
                // SAFETY: a new mapping.
                let memory = unsafe {
                    libc::mmap(
                        hint as *mut c_void,
                        SIZE,
                        libc::PROT_READ | libc::PROT_WRITE,
                        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                        -1,
                        0,
                    )
                };
                assert_ne!(memory, libc::MAP_FAILED);
                memory
            })
            .find(|memory| memory.addr() > here)
            .expect("there is room above")
    }
    extern "C-unwind" fn start(argument: *mut c_void) -> *mut c_void {
        UNWOUND.set(argument.cast());
        let mut context = MaybeUninit::<libc::ucontext_t>::uninit();
        // SAFETY: the context has a stack of its own, which nobody else uses, and its function takes no argument.
        unsafe {
            assert_eq!(libc::getcontext(context.as_mut_ptr()), 0);
            let context = context.assume_init_mut();
            context.uc_stack.ss_sp = memory_above();
            context.uc_stack.ss_size = SIZE;
            context.uc_link = null_mut();
            let exits: extern "C-unwind" fn() = exits;
            let exits = std::mem::transmute::<extern "C-unwind" fn(), extern "C" fn()>(exits);
            libc::makecontext(context, exits, 0);
            libc::setcontext(context);
        }
        unreachable!()
    }
    let unwound = AtomicU32::new(0);
    let argument = std::ptr::from_ref(&unwound) as usize;
    assert_eq!(join(create(null(), start, argument)), 7);
    assert_eq!(unwound.load(Ordering::SeqCst), 1);
}

fn exit_in_nested_runs_unwinds_as_the_green_thread_that_called_the_outer_one() {
    use greenpatch_runtime::{Runtime, thread::current, thread::is_green, yield_now};

    fn green_id() -> Option<u64> {
        is_green().then(|| current().id())
    }
    struct Same<'a>(Option<u64>, &'a AtomicU32);
    impl Drop for Same<'_> {
        fn drop(&mut self) {
            let same = green_id() == self.0;
            if same && is_green() {
                for _ in 0..10 {
                    thread::sleep(Duration::from_millis(1));
                    yield_now();
                }
            }
            self.1.store(u32::from(same), Ordering::SeqCst);
        }
    }
    extern "C-unwind" fn start(argument: *mut c_void) -> *mut c_void {
        // SAFETY: the test's word, which outlives this thread.
        let outcome = unsafe { &*argument.cast::<AtomicU32>() };
        let other = Runtime::builder().workers(1).build().unwrap();
        let _same = Same(green_id(), outcome);
        other.run(|| other.run(|| exit_from_below(0)));
        unreachable!()
    }
    let same = AtomicU32::new(0);
    let argument = std::ptr::from_ref(&same) as usize;
    assert_eq!(join(create(null(), start, argument)), 99);
    assert_eq!(same.load(Ordering::SeqCst), 1);
}

fn exit_unwinds_and_gives_the_value() {
    extern "C-unwind" fn start(_: *mut c_void) -> *mut c_void {
        exit_from_below(9);
        unreachable!()
    }
    let before = UNWOUND.load(Ordering::SeqCst);
    assert_eq!(join(create(null(), start, 0)), 99);
    assert!(UNWOUND.load(Ordering::SeqCst) >= before + 10);
}

fn key_destructors_run_at_exit() {
    static DESTROYED: AtomicU32 = AtomicU32::new(0);
    unsafe extern "C" fn destroy(value: *mut c_void) {
        DESTROYED.fetch_add(value as u32, Ordering::SeqCst);
    }
    extern "C-unwind" fn start(key: *mut c_void) -> *mut c_void {
        // SAFETY: a key.
        unsafe { libc::pthread_setspecific(key as libc::pthread_key_t, 5 as *const c_void) };
        null_mut()
    }
    let before = DESTROYED.load(Ordering::SeqCst);
    let mut key = 0;
    assert_eq!(
        // SAFETY: the destructor fits the values.
        unsafe { libc::pthread_key_create(&mut key, Some(destroy)) },
        0
    );
    join(create(null(), start, key as usize));
    join(create(null(), start, key as usize));
    assert!(DESTROYED.load(Ordering::SeqCst) >= before + 10);
    // SAFETY: a key nobody uses any more.
    assert_eq!(unsafe { libc::pthread_key_delete(key) }, 0);
}

fn attributes_tell_the_stack() {
    extern "C-unwind" fn start(_: *mut c_void) -> *mut c_void {
        let local = 0u8;
        let address = (&raw const local).addr();
        let mut found = MaybeUninit::uninit();
        let (mut base, mut size, mut guard) = (null_mut(), 0, 0);
        // SAFETY: this thread; attributes initialised by the first call.
        unsafe {
            assert_eq!(
                libc::pthread_getattr_np(libc::pthread_self(), found.as_mut_ptr()),
                0
            );
            assert_eq!(
                libc::pthread_attr_getstack(found.as_ptr(), &mut base, &mut size),
                0
            );
            assert_eq!(
                libc::pthread_attr_getguardsize(found.as_ptr(), &mut guard),
                0
            );
            libc::pthread_attr_destroy(found.as_mut_ptr());
        }
        assert!((base.addr()..base.addr() + size).contains(&address));
        assert!(guard > 0);
        size as *mut c_void
    }
    let small = attributes(|attributes| {
        // SAFETY: initialised.
        unsafe { libc::pthread_attr_setstacksize(attributes, 512 * 1024) };
    });
    assert!(join(create(&small, start, 0)) >= 512 * 1024 - 16);
    assert!(join(create(null(), start, 0)) >= 2 << 20);
}

fn a_stack_of_the_callers_own_is_used() {
    extern "C-unwind" fn start(_: *mut c_void) -> *mut c_void {
        let local = 0u8;
        (&raw const local).addr() as *mut c_void
    }
    const SIZE: usize = 256 * 1024;
    let mut stack = vec![0u128; SIZE / 16];
    let base = stack.as_mut_ptr();
    let own = attributes(|attributes| {
        assert_eq!(
            // SAFETY: memory that outlives the thread.
            unsafe { libc::pthread_attr_setstack(attributes, base.cast(), SIZE) },
            0
        );
    });
    let address = join(create(&own, start, 0));
    assert!((base.addr()..base.addr() + SIZE).contains(&address));
}

fn names_are_kept_and_limited() {
    let thread = create(null(), sleep_and_next, 0);
    let mut name = [1 as c_char; 16];
    // SAFETY: a thread that sleeps; room for a name.
    unsafe {
        assert_eq!(
            libc::pthread_setname_np(thread, c"fifteen-letters".as_ptr()),
            0
        );
        assert_eq!(
            libc::pthread_setname_np(thread, c"sixteen--letters".as_ptr()),
            libc::ERANGE
        );
        assert_eq!(pthread_getname_np(thread, name.as_mut_ptr(), 16), 0);
        assert_eq!(CStr::from_ptr(name.as_ptr()), c"fifteen-letters");
        assert_eq!(
            pthread_getname_np(thread, name.as_mut_ptr(), 15),
            libc::ERANGE
        );
    }
    join(thread);
}

fn a_thread_is_there_until_it_is_joined() {
    let thread = create(null(), sleep_and_next, 0);
    // SAFETY: a thread not joined yet.
    unsafe {
        assert_eq!(libc::pthread_kill(thread, 0), 0);
        let mut clock = 0;
        let error = pthread_getcpuclockid(thread, &mut clock);
        assert!(error == 0 || error == libc::ENOENT);
    }
    join(thread);
}

fn a_thread_can_signal_itself() {
    static SIGNALS: AtomicU32 = AtomicU32::new(0);
    extern "C" fn handler(_: c_int) {
        SIGNALS.fetch_add(1, Ordering::SeqCst);
    }
    let before = SIGNALS.load(Ordering::SeqCst);
    // SAFETY: the handler only counts.
    unsafe {
        libc::signal(
            libc::SIGUSR2,
            handler as extern "C" fn(c_int) as libc::sighandler_t,
        );
        assert_eq!(libc::pthread_kill(libc::pthread_self(), libc::SIGUSR2), 0);
        assert_eq!(libc::raise(libc::SIGUSR2), 0);
    }
    assert!(SIGNALS.load(Ordering::SeqCst) >= before + 2);
}

fn scheduling_and_affinity_can_be_asked_for() {
    let thread = create(null(), sleep_and_next, 0);
    // SAFETY: a thread not joined yet, and results that are ours.
    unsafe {
        let (mut policy, mut param) = (-1, libc::sched_param { sched_priority: -1 });
        assert_eq!(
            libc::pthread_getschedparam(thread, &mut policy, &mut param),
            0
        );
        assert_eq!((policy, param.sched_priority), (libc::SCHED_OTHER, 0));
        assert_eq!(libc::pthread_setschedparam(thread, policy, &param), 0);
        param.sched_priority = 1;
        assert_eq!(
            libc::pthread_setschedparam(thread, policy, &param),
            libc::EINVAL
        );
        assert_eq!(libc::pthread_setschedprio(thread, 1), libc::EINVAL);
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of_val(&set);
        assert_eq!(libc::pthread_getaffinity_np(thread, size, &mut set), 0);
        assert!(libc::CPU_COUNT(&set) >= 1);
        assert!(libc::CPU_COUNT(&set) <= 1024);
    }
    join(thread);
}

fn yields_return_zero() {
    // SAFETY: always sound.
    unsafe {
        assert_eq!(libc::sched_yield(), 0);
        thrd_yield();
    }
}

fn an_alternate_stack_is_recorded() {
    let thread = thread::spawn(|| {
        let mut memory = vec![0u8; 1 << 16];
        // SAFETY: all zeros is a value.
        let mut stack: libc::stack_t = unsafe { std::mem::zeroed() };
        stack.ss_sp = memory.as_mut_ptr().cast();
        stack.ss_size = memory.len();
        let mut before = stack;
        let mut now = stack;
        // SAFETY: the memory outlives its use.
        unsafe {
            ok(libc::sigaltstack(&stack, &mut before));
            ok(libc::sigaltstack(null(), &mut now));
            assert_eq!(
                (now.ss_sp, now.ss_size, now.ss_flags),
                (stack.ss_sp, stack.ss_size, 0)
            );
            ok(libc::sigaltstack(&before, null_mut()));
            ok(libc::sigaltstack(null(), &mut now));
            assert_eq!(now.ss_sp, before.ss_sp);
            stack.ss_size = 100;
            fails(libc::sigaltstack(&stack, null_mut()), libc::ENOMEM);
            stack.ss_flags = 77;
            fails(libc::sigaltstack(&stack, null_mut()), libc::EINVAL);
        }
    });
    thread.join().unwrap();
}

fn threads_of_the_other_kind_can_be_joined() {
    // What a stack of one's own makes is an OS thread.
    const SIZE: usize = 256 * 1024;
    let mut stack = vec![0u128; SIZE / 16];
    let own = attributes(|attributes| {
        // SAFETY: memory that outlives the thread.
        unsafe { libc::pthread_attr_setstack(attributes, stack.as_mut_ptr().cast(), SIZE) };
    });
    let start = Instant::now();
    assert_eq!(join(create(&own, sleep_and_next, 5)), 6);
    assert!(start.elapsed() >= SHORT * 3);

    // And a green thread is joined from an OS thread.
    let (sender, receiver) = mpsc::channel();
    let runtime = greenpatch_runtime::Runtime::builder()
        .workers(1)
        .build()
        .unwrap();
    let green = runtime.spawn(move || {
        sender.send(create(null(), sleep_and_next, 7)).unwrap();
    });
    assert_eq!(join(receiver.recv().unwrap()), 8);
    green.join().unwrap();
}

fn each_thread_is_itself() {
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(0) };
    }
    extern "C-unwind" fn start(argument: *mut c_void) -> *mut c_void {
        OWN.set(argument.addr());
        // SAFETY: always sound.
        let me = unsafe { libc::pthread_self() };
        thread::sleep(SHORT / 4);
        assert_eq!(OWN.get(), argument.addr());
        // SAFETY: always sound.
        assert_eq!(unsafe { libc::pthread_self() }, me);
        me as *mut c_void
    }
    let threads: Vec<_> = (1..20).map(|n| create(null(), start, n)).collect();
    for thread in threads {
        assert_eq!(join(thread), thread as usize);
    }
    assert_eq!(OWN.get(), 0);
}

#[test]
fn beyond_the_limit_of_green_threads_creation_says_eagain() {
    let runtime = greenpatch_runtime::Runtime::builder()
        .max_green_threads(2)
        .build()
        .unwrap();
    runtime.run(|| {
        let (sender, receiver) = mpsc::channel::<()>();
        let waits = thread::spawn(move || receiver.recv().is_err());
        let refused = thread::Builder::new().spawn(|| ()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EAGAIN));
        extern "C-unwind" fn never(_: *mut c_void) -> *mut c_void {
            unreachable!("it was refused")
        }
        let mut refused = 0;
        // SAFETY: `never` takes any argument.
        let error = unsafe { pthread_create(&mut refused, null(), never, null_mut()) };
        assert_eq!(error, libc::EAGAIN);
        drop(sender);
        assert!(waits.join().unwrap());
        // The place is free as soon as the thread was joined.
        for _ in 0..100 {
            thread::spawn(|| ()).join().unwrap();
        }
    });
}

#[test]
fn threads_inherit_the_values_that_are_bound_and_no_deadline() {
    use greenpatch_runtime::{Inherited, checkpoint, time};

    static TRACE: Inherited<u32> = Inherited::new();
    greenpatch_runtime::run(|| {
        let thread = time::timeout(Duration::ZERO, || {
            TRACE.bind(7, || {
                thread::spawn(|| (TRACE.get().as_deref().copied(), checkpoint()))
            })
        });
        assert_eq!(thread.unwrap().join().unwrap(), (Some(7), Ok(())));
        assert_eq!(TRACE.get(), None);
    });
}
