//! How the monitor's side learns the call stack of a green thread that runs: a signal handler takes it, on the OS thread
//! and in the very turn that it is asked for.
//!
//! (For one that is parked see `probe.rs`.)
//!
//! One question is under way at a time, in one static word and what belongs to it:
//!
//! | from | event | to | who acts |
//! |---|---|---|---|
//! | FREE | claim | CLAIMED | the asker, of whom there may be one for each runtime, writes the question |
//! | CLAIMED | ask | ASKED | the asker sends the signal, and waits |
//! | ASKED | the handler runs on the thread that is meant | TAKING | the handler takes the stack |
//! | TAKING | done | TAKEN | the handler wakes the asker, which reads the answer |
//! | ASKED | the asker has waited long enough | CLAIMED | nobody: a handler that comes late does nothing |
//! | TAKEN | read | CLAIMED | the asker asks again, or lets go (FREE) |
//!
//! **What the handler may do.** It can strike anywhere: in malloc, in the dynamic linker, in the scheduler with a
//! lock held. So it takes no lock, allocates nothing, uses no thread-local variable, and makes its system calls without
//! libc. The unwinder is what it needs of others. Since glibc 2.35 and GCC 12 that finds its tables without a lock (by
//! `_dl_find_object`); before, it takes the dynamic linker's, which the interrupted code or somebody who waits for it may
//! hold. Therefore the handler first looks where the interrupted instruction stands. In the unwinder itself and
//! in the dynamic linker, and with an older unwinder in libc too, it leaves the stack alone and says so; the asker
//! tries again a little later. (As the pprof crate does, with a list of the same kind.) Nor does it touch the stack of a green
//! thread that is just being switched to or from.
//!
//! The signal is SIGURG, for Go's reasons: ignored by default, not used by libc, and whoever uses it must expect to be
//! sent it for nothing. It is sent with a value that only ours have; others go to the handler that was there before.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::Timespec;

use crate::base::arch;
use crate::base::call_stack::CallStack;
use crate::base::signal::{self, SignalInfo};
use crate::base::thread_counts;
use crate::sched::shard::Shard;

const SIGNAL: c_int = libc::SIGURG;

/// How long the asker waits for the handler to begin.
const ANSWER_TIMEOUT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How often the asker tries while the interrupted instruction stands where the stack must be left alone, and the time
/// between two attempts.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// Why a stack was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The turn had ended, or was ending or beginning.
    Over,
    /// Whenever it was asked, the green thread was in this library.
    Inside(&'static str),
    /// It ran on another stack than its own, in a signal handler, say.
    Elsewhere,
    /// The signal was not answered: it is blocked, or handled by somebody else.
    Silent,
}

const FREE: u32 = 0;
const CLAIMED: u32 = 1;
const ASKED: u32 = 2;
const TAKING: u32 = 3;
const TAKEN: u32 = 4;

/// The question and its answer; see the module's page.
struct Question {
    state: AtomicU32,
    os_thread: AtomicI32,
    shard: AtomicPtr<Shard>,
    turn: AtomicU32,
    /// The handler's in TAKING, the asker's in TAKEN.
    answer: UnsafeCell<Answer>,
}

struct Answer {
    stack: CallStack,
    missing: Option<Missing>,
}

// SAFETY: the state says who may touch the answer.
unsafe impl Sync for Question {}

static QUESTION: Question = Question {
    state: AtomicU32::new(FREE),
    os_thread: AtomicI32::new(0),
    shard: AtomicPtr::new(ptr::null_mut()),
    turn: AtomicU32::new(0),
    answer: UnsafeCell::new(Answer {
        stack: CallStack::new(),
        missing: None,
    }),
};

/// The stack of the green thread that runs in this turn of a shard's worker, as instruction pointers. Blocks; to be
/// called on an OS thread.
pub(crate) fn take(shard: &Shard, turn: u32) -> Result<Box<[usize]>, Missing> {
    install();
    while !change(FREE, CLAIMED) {
        thread::sleep(PAUSE);
    }
    let mut outcome = ask(shard, turn);
    for _ in 1..ATTEMPTS {
        if !matches!(outcome, Err(Missing::Inside(_))) {
            break;
        }
        thread::sleep(PAUSE);
        outcome = ask(shard, turn);
    }
    QUESTION.state.store(FREE, Ordering::Release);
    outcome
}

/// After a fork: whoever asked does not exist here.
pub(crate) fn reset_after_fork() {
    QUESTION.state.store(FREE, Ordering::Relaxed);
}

/// The caller has claimed the question.
fn ask(shard: &Shard, turn: u32) -> Result<Box<[usize]>, Missing> {
    let os_thread = shard.progress.os_thread().ok_or(Missing::Over)?;
    QUESTION.os_thread.store(os_thread, Ordering::Relaxed);
    let shard: *const Shard = shard;
    QUESTION.shard.store(shard.cast_mut(), Ordering::Relaxed);
    QUESTION.turn.store(turn, Ordering::Relaxed);
    QUESTION.state.store(ASKED, Ordering::Release);
    let is_sent = signal::queue(os_thread, SIGNAL, token());
    loop {
        let state = QUESTION.state.load(Ordering::Acquire);
        if state == TAKEN {
            break;
        }
        let flags = futex::Flags::PRIVATE;
        let waited = match state {
            ASKED if !is_sent => Err(Errno::TIMEDOUT),
            ASKED => futex::wait(&QUESTION.state, flags, ASKED, Some(&ANSWER_TIMEOUT)),
            _ => futex::wait(&QUESTION.state, flags, state, None),
        };
        if waited == Err(Errno::TIMEDOUT) && change(ASKED, CLAIMED) {
            return Err(if is_sent {
                Missing::Silent
            } else {
                Missing::Over
            });
        }
    }
    // SAFETY: the handler has written the answer and does not touch it again.
    let answer = unsafe { &*QUESTION.answer.get() };
    let outcome = match answer.missing {
        Some(missing) => Err(missing),
        None => Ok(answer.stack.pointers().into()),
    };
    QUESTION.state.store(CLAIMED, Ordering::Relaxed);
    outcome
}

fn change(from: u32, to: u32) -> bool {
    QUESTION
        .state
        .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
}

/// What our signals bear.
fn token() -> usize {
    ptr::from_ref(&QUESTION) as usize
}

/// A mapped library in which the stack must be left alone.
struct Zone {
    addresses: std::ops::Range<usize>,
    name: &'static str,
}

struct Installed {
    previous: libc::sigaction,
    zones: Vec<Zone>,
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Puts the handler in front of whatever handles the signal now.
fn install() {
    INSTALLED.get_or_init(|| {
        // The unwinder's first use may initialise something.
        CallStack::new().capture(usize::MAX);
        let zones = zones();
        // SAFETY: `handle` has the type that SA_SIGINFO asks for and is async-signal-safe.
        let previous: libc::sigaction = unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            let mut previous = MaybeUninit::zeroed();
            libc::sigaction(SIGNAL, &action, previous.as_mut_ptr());
            previous.assume_init()
        };
        if [libc::SIG_DFL, libc::SIG_IGN].contains(&previous.sa_sigaction) {
            thread_counts::own_signal(SIGNAL);
        }
        Installed { previous, zones }
    });
}

unsafe extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid record; of a queued signal it has these fields.
    let (code, value) = unsafe {
        let info = &*info.cast::<SignalInfo>();
        (info.code, info.value)
    };
    if code != libc::SI_QUEUE || value != token() {
        if let Some(installed) = INSTALLED.get() {
            // SAFETY: with the arguments that the kernel gave us. By default the signal is ignored.
            unsafe { signal::call_previous(&installed.previous, signal, info, context) };
        }
        return;
    }
    let os_thread = rustix::thread::gettid().as_raw_pid();
    if os_thread == QUESTION.os_thread.load(Ordering::Relaxed) && change(ASKED, TAKING) {
        // SAFETY: ours in TAKING.
        let answer = unsafe { &mut *QUESTION.answer.get() };
        // SAFETY: the kernel passes the interrupted context.
        let (instruction, stack_pointer) = unsafe { arch::interrupted(context) };
        answer.missing = look(&mut answer.stack, instruction, stack_pointer).err();
        QUESTION.state.store(TAKEN, Ordering::Release);
        let _ = futex::wake(&QUESTION.state, futex::Flags::PRIVATE, 1);
    }
}

/// In the handler: takes the interrupted stack, if it is the right one and may be taken.
fn look(stack: &mut CallStack, instruction: usize, stack_pointer: usize) -> Result<(), Missing> {
    // SAFETY: the asker borrows the shard as long as it asks.
    let shard = unsafe { &*QUESTION.shard.load(Ordering::Relaxed) };
    if shard.progress.turn() != QUESTION.turn.load(Ordering::Relaxed) {
        return Err(Missing::Over);
    }
    let green = shard.running().ok_or(Missing::Over)?;
    if !green.holds_stack(stack_pointer) {
        return Err(Missing::Elsewhere);
    }
    if green.is_switching() {
        return Err(Missing::Over);
    }
    let zones = INSTALLED
        .get()
        .map_or(&[][..], |installed| &installed.zones);
    if let Some(zone) = zones
        .iter()
        .find(|zone| zone.addresses.contains(&instruction))
    {
        return Err(Missing::Inside(zone.name));
    }
    stack.capture_interrupted(instruction, green.entry_frame());
    Ok(())
}

/// Libraries whose code an unwinder must not start in.
fn zones() -> Vec<Zone> {
    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        zones: *mut c_void,
    ) -> c_int {
        // SAFETY: dl_iterate_phdr passes a valid record and our own argument.
        let (info, zones) = unsafe { (&*info, &mut *zones.cast::<Vec<Zone>>()) };
        // SAFETY: a C string, empty for the program itself.
        let path = unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes();
        let file = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        let always = ["libgcc_s", "libunwind", "ld-linux", "ld.so"];
        let with_locks = ["libc.so", "libc-", "libpthread", "linux-vdso"];
        let used = if finds_tables_without_lock() {
            0
        } else {
            with_locks.len()
        };
        let names = always.iter().chain(&with_locks[..used]);
        let Some(name) = names
            .copied()
            .find(|name| file.starts_with(name.as_bytes()))
        else {
            return 0;
        };
        // SAFETY: the record says where the module's program headers stand.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        for header in headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD)
        {
            let start = (info.dlpi_addr + header.p_vaddr) as usize;
            let addresses = start..start + header.p_memsz as usize;
            zones.push(Zone { addresses, name });
        }
        0
    }
    let mut zones: Vec<Zone> = Vec::new();
    // SAFETY: `visit` has the type dl_iterate_phdr calls and gets its own list.
    unsafe { libc::dl_iterate_phdr(Some(visit), ptr::from_mut(&mut zones).cast()) };
    zones
}

/// Whether the unwinder is GCC's and can use glibc's `_dl_find_object`; where that exists, GCC's is of version 12 at least.
fn finds_tables_without_lock() -> bool {
    let find = |name: &CStr| {
        // SAFETY: a look-up by name.
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
    };
    let unwinder = find(c"_Unwind_Backtrace");
    if unwinder.is_null() || find(c"_dl_find_object").is_null() {
        return false;
    }
    let mut information = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: a valid place for what is known of an address; the name in it is a C string of the linker's.
    unsafe {
        if libc::dladdr(unwinder, information.as_mut_ptr()) == 0 {
            return false;
        }
        let file = information.assume_init().dli_fname;
        !file.is_null() && CStr::from_ptr(file).to_string_lossy().contains("libgcc_s")
    }
}
