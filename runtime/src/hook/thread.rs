//! Green threads as pthreads: what the `pthread_*` shims ask of the runtime, but for the end of one (see `exit.rs`).

use std::ffi::{CStr, c_void};
use std::sync::Arc;

use rustix::io::Errno;

use super::{exit, process};
use crate::base::deadline::Deadline;
use crate::base::os_thread;
use crate::base::patch::Patch;
use crate::base::span;
use crate::body::region;
use crate::body::tls;
use crate::sched::context::{self, NativeSection};
use crate::sched::green::{GreenRef, Life};
use crate::sched::scheduler::Shared;
use crate::sched::task::{Task, TaskHeader};
use crate::wait::interrupt::group::Inheritance;
use crate::wait::section::{self, Section};

pub use crate::sched::task::PthreadAttributes as Attributes;

/// A thread's start routine.
pub type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// A start routine and its argument, which cross to the new green thread.
struct StartRoutine {
    start: Start,
    argument: *mut c_void,
    inheritance: Option<Inheritance>,
}

impl StartRoutine {
    /// Gives what the start routine returns, or what `pthread_exit` was called with in it.
    ///
    /// # Safety
    ///
    /// Runs on the new green thread, with this id.
    unsafe fn run(self, id: u64) -> *mut c_void {
        let _inherited = self.inheritance.map(Inheritance::enter);
        // SAFETY: what `pthread_create` asks of its caller is that the routine may be called so.
        span::enter(id, None, || unsafe {
            exit::call_start(self.start, self.argument)
        })
    }
}

// SAFETY: that the argument may cross threads is what `pthread_create` asks of its caller.
unsafe impl Send for StartRoutine {}

/// Where a thread that is created here becomes a green one. On a green thread it holds a native section.
pub struct Home {
    shared: Arc<Shared>,
    _section: Option<Section>,
}

/// The caller's runtime if it patches threads; on an OS thread the [process runtime](process), if there is one and it
/// does. `None` if the new thread is to be an OS thread.
pub fn home() -> Option<Home> {
    if let Some(section) = section::enter(Patch::THREAD) {
        return Some(Home {
            shared: section.green().life().shared.clone(),
            _section: Some(section),
        });
    }
    let runtime = process::home()?;
    runtime
        .shared
        .patch()
        .contains(Patch::THREAD)
        .then(|| Home {
            shared: runtime.shared.clone(),
            _section: None,
        })
}

/// The task of a green thread that `pthread_create` made.
struct Created {
    header: TaskHeader,
    attributes: Attributes,
}

impl Task for Created {
    fn header(&self) -> &TaskHeader {
        &self.header
    }

    fn attributes(&self) -> Option<&Attributes> {
        Some(&self.attributes)
    }
}

/// As `pthread_create`: a green thread on the runtime of `home`. Its `pthread_t` is stored before it first runs, for it
/// may free the place.
///
/// # Errors
///
/// `EINVAL` if the stack or its guard is larger than there are, `EAGAIN` if there is no memory for it, or if as many green
/// threads live as there may be.
///
/// # Safety
///
/// `start` may be called with `argument` on another thread, and `thread` can be written to.
pub unsafe fn create(
    home: &Home,
    thread: *mut libc::pthread_t,
    start: Start,
    argument: *mut c_void,
    attributes: Attributes,
) -> Result<(), Errno> {
    if attributes.guard_size > region::GUARD {
        return Err(Errno::INVAL);
    }
    let task = Arc::new(Created {
        header: TaskHeader::new(None, None),
        attributes,
    });
    let id = task.header.id;
    let life = Life::new(home.shared.clone(), task);
    let routine = StartRoutine {
        start,
        argument,
        inheritance: Inheritance::detached(),
    };
    let (stack_size, is_joinable) = (attributes.stack_size, !attributes.is_detached);
    let green = GreenRef::prepare(stack_size, life, is_joinable, move |green| {
        // SAFETY: `start` may be called with `argument` on another thread, by the contract of `create`, and this is the
        // new green thread.
        green.set_value(unsafe { routine.run(id) });
    })
    .map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidInput => Errno::INVAL,
        _ => Errno::AGAIN,
    })?;
    // SAFETY: `thread` can be written to, by this function's contract.
    unsafe { *thread = green.slot.block.address() as libc::pthread_t };
    green.start();
    Ok(())
}

/// The green thread whose `pthread_t` this is; `None` for OS threads and anything else.
fn lookup(thread: libc::pthread_t) -> Option<GreenRef> {
    let address = thread as usize;
    GreenRef::find(address).filter(|green| green.slot.block.address() == address)
}

/// Whether this is the `pthread_t` of a green thread.
pub fn is_green(thread: libc::pthread_t) -> bool {
    lookup(thread).is_some()
}

/// Whether this address lies in a green thread's stack or storage.
pub fn is_in_slot(address: *const c_void) -> bool {
    GreenRef::find(address as usize).is_some()
}

/// As `pthread_join` of a green thread: parks a green thread, blocks an OS thread.
///
/// # Errors
///
/// `ESRCH` if it is no green thread, `EDEADLK` if it is the caller, `EINVAL` if it is detached or another
/// thread joins it, `ETIMEDOUT` if it has not ended by the deadline.
///
/// # Safety
///
/// As for `pthread_join`: nobody uses `thread` any more after it was joined or detached. That of a
/// [`std::thread::JoinHandle`] is the handle's to join or to detach; afterwards the `pthread_t` may be that of
/// another thread.
///
/// ```compile_fail,E0133
/// use std::os::unix::thread::JoinHandleExt;
/// use greenpatch_runtime::hook::thread::join;
///
/// let thread = std::thread::spawn(|| ());
/// let _ = join(thread.as_pthread_t(), None);
/// thread.join().unwrap();
/// ```
pub unsafe fn join(
    thread: libc::pthread_t,
    deadline: Option<Deadline>,
) -> Result<*mut c_void, Errno> {
    let green = lookup(thread).ok_or(Errno::SRCH)?;
    if context::green() == Some(green) {
        return Err(Errno::DEADLK);
    }
    if !green.claim_join() {
        return Err(Errno::INVAL);
    }
    green.join(deadline).ok_or(Errno::TIMEDOUT)
}

/// As `pthread_detach`.
///
/// # Errors
///
/// `ESRCH` if it is no green thread, `EINVAL` if it is detached or being joined.
///
/// # Safety
///
/// As for [`join`].
///
/// ```compile_fail,E0133
/// use std::os::unix::thread::JoinHandleExt;
/// use greenpatch_runtime::hook::thread::detach;
///
/// let thread = std::thread::spawn(|| ());
/// let _ = detach(thread.as_pthread_t());
/// thread.join().unwrap();
/// ```
pub unsafe fn detach(thread: libc::pthread_t) -> Result<(), Errno> {
    let green = lookup(thread).ok_or(Errno::SRCH)?;
    if green.detach() {
        Ok(())
    } else {
        Err(Errno::INVAL)
    }
}

/// What a green thread has of that for which `pthread_create` was asked: the lowest address of its stack and its
/// attributes.
///
/// As with glibc, the thread's control block and thread-local storage count as part of the stack, at its top, and the sizes
/// are those asked for, though there be more. What `pthread_create` has not made has the whole slot.
pub fn attributes(thread: libc::pthread_t) -> Option<(*mut c_void, Attributes)> {
    /// What glibc rounds stacks down to, the alignment of thread-local storage.
    const ALIGNMENT: usize = 64;
    let green = lookup(thread)?;
    let (task, slot) = (green.task(), &green.slot);
    let asked = task.as_ref().and_then(|task| task.attributes());
    let attributes = Attributes {
        stack_size: asked.map_or(slot.top() - slot.stack_limit, |asked| {
            asked.stack_size & !(ALIGNMENT - 1)
        }),
        guard_size: asked.map_or(region::GUARD, |asked| {
            asked.guard_size.next_multiple_of(region::PAGE)
        }),
        is_detached: green.is_detached(),
        has_own_policy: asked.is_some_and(|asked| asked.has_own_policy),
    };
    let base = slot.top() - attributes.stack_size;
    Some((base as *mut c_void, attributes))
}

/// Whether `thread` is the caller, an OS thread that was [adopted](crate::runtime::adoption): glibc would name the worker
/// that runs it.
fn is_adopted_caller(thread: libc::pthread_t) -> bool {
    context::green().is_some_and(|green| {
        green.block().address() == thread as usize && green.is_adopted_os_thread()
    })
}

/// As `pthread_setname_np`, for a green thread and for the caller.
///
/// # Errors
///
/// `ESRCH` if it is neither, `ERANGE` if the name is longer than 15 bytes.
pub fn set_name(thread: libc::pthread_t, name: &CStr) -> Result<(), Errno> {
    let bytes = name.to_bytes_with_nul();
    let mut padded = [0; 16];
    padded
        .get_mut(..bytes.len())
        .ok_or(Errno::RANGE)?
        .copy_from_slice(bytes);
    if is_adopted_caller(thread) {
        let _native = NativeSection::enter();
        return os_thread::set_name(tls::thread_id(), name);
    }
    let green = lookup(thread).ok_or(Errno::SRCH)?;
    green.set_thread_name(padded);
    if context::green() == Some(green) {
        span::record_name(name);
    }
    Ok(())
}

/// As `pthread_getname_np`, for a green thread and for the caller: at most 15 bytes and zeros.
pub fn name(thread: libc::pthread_t) -> Option<[u8; 16]> {
    if is_adopted_caller(thread) {
        let _native = NativeSection::enter();
        return os_thread::name(tls::thread_id());
    }
    Some(lookup(thread)?.thread_name())
}

/// The id in the calling thread's control block, by which glibc's locks name their owner: unique among
/// OS threads and green threads.
#[inline]
pub fn id() -> i32 {
    tls::thread_id()
}

/// As `sigaltstack`, for a green thread: gives the description in force and records the new one, which
/// the kernel never sees, because alternate stacks belong to kernel threads. A green thread begins with
/// one that says "installed", as its worker has one.
pub fn alternate_stack(section: &Section, new: Option<libc::stack_t>) -> libc::stack_t {
    let green = section.green();
    let before = green.alternate_stack.get().unwrap_or(libc::stack_t {
        ss_sp: green.slot.stack_limit as *mut c_void,
        ss_flags: 0,
        ss_size: libc::SIGSTKSZ,
    });
    if new.is_some() {
        green.alternate_stack.set(new);
    }
    before
}
