//! Stack overflow: the message names the green thread, then the process aborts.
//!
//! The guard below each stack makes an overflow a SIGSEGV. The handler runs on an alternate stack of its worker; it uses no
//! thread-local variable, no lock and no heap. Code on a green thread's stack that faults because the stack is not
//! executable goes on if it ought to be (see `executable.rs`). A fault anywhere else goes to the handler that was there
//! before.

use std::ffi::{c_int, c_void};
use std::io::Write;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::base::arch;
use crate::base::signal;
use crate::body::native_stack::NativeStack;
use crate::body::region;
use crate::body::slot;
use crate::sched::green::GreenRef;

/// Enough for the handler and for another one that it may call (std's, or a crash reporter's).
const ALTERNATE_STACK: usize = 64 * 1024;

static PREVIOUS: OnceLock<[libc::sigaction; 2]> = OnceLock::new();

const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// An alternate signal stack for the OS thread that installs it, until it is dropped.
pub(crate) struct AlternateStack(Option<(*mut c_void, NativeStack)>);

impl AlternateStack {
    /// Without memory for the stack there is none, and an overflow dies without a message.
    pub(crate) fn install() -> AlternateStack {
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let stack = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                ALTERNATE_STACK,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        let Ok(stack) = stack else {
            // Instead of std's, which is no native stack.
            set_alternate_stack(ptr::null_mut(), libc::SS_DISABLE);
            return AlternateStack(None);
        };
        let native = NativeStack::register(stack as usize, ALTERNATE_STACK);
        set_alternate_stack(stack, 0);
        AlternateStack(Some((stack, native)))
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        if let Some((stack, native)) = self.0.take() {
            set_alternate_stack(ptr::null_mut(), libc::SS_DISABLE);
            drop(native);
            // SAFETY: our mapping, which the kernel no longer uses as a stack.
            let _ = unsafe { munmap(stack, ALTERNATE_STACK) };
        }
    }
}

fn set_alternate_stack(stack: *mut c_void, flags: c_int) {
    let stack = libc::stack_t {
        ss_sp: stack,
        ss_flags: flags,
        ss_size: ALTERNATE_STACK,
    };
    // SAFETY: a valid description of a stack that lives until it is disabled.
    unsafe { libc::sigaltstack(&stack, ptr::null_mut()) };
}

/// Puts the handler in front of whatever handles these signals now.
pub(crate) fn install_handler() {
    PREVIOUS.get_or_init(|| {
        SIGNALS.map(|signal| {
            // SAFETY: `handle` has the type that SA_SIGINFO asks for and is async-signal-safe.
            unsafe {
                let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
                action.sa_sigaction = handle as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                let mut previous = MaybeUninit::zeroed();
                libc::sigaction(signal, &action, previous.as_mut_ptr());
                previous.assume_init()
            }
        })
    });
}

unsafe extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid record for these signals.
    let address = unsafe { (*info).si_addr() } as usize;
    if region::is_guard(address) {
        if let Some(green) = GreenRef::find(address) {
            // SAFETY: the green thread is stopped in this handler.
            let name = unsafe { green.name_of_stopped() };
            report(name, green.slot.promised_stack_size() / 1024);
        }
        abort();
    }
    // SAFETY: the kernel passes the interrupted context.
    let (instruction, _) = unsafe { arch::interrupted(context) };
    if instruction == address && slot::find(address).is_some() && region::allow_code(address) {
        return;
    }
    // SAFETY: what the kernel would have done without our handler.
    unsafe { forward(signal, info, context) };
}

fn report(name: &[u8], kibibytes: usize) {
    let mut message = [0; 512];
    let mut rest = &mut message[..];
    let name = &name[..name.len().min(128)];
    let _ = rest.write_all(b"green thread '");
    let _ = rest.write_all(name);
    let _ = writeln!(
        rest,
        "' overflowed its {kibibytes} KiB stack; raise `stack_size` of its builder or of the runtime \
         (GREENPATCH_STACK_SIZE)"
    );
    let unused = rest.len();
    let length = message.len() - unused;
    let _ = rustix::io::write(rustix::stdio::stderr(), &message[..length]);
}

fn abort() -> ! {
    // SAFETY: async-signal-safe, and ends the process with SIGABRT.
    unsafe { libc::abort() }
}

unsafe fn forward(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let index = SIGNALS
        .iter()
        .position(|&known| known == signal)
        .unwrap_or(0);
    let is_handled = PREVIOUS.get().is_some_and(|previous| {
        // SAFETY: the action that was installed for this signal, with the arguments that the kernel gave us.
        unsafe { signal::call_previous(&previous[index], signal, info, context) }
    });
    if !is_handled {
        // The faulting instruction runs again, and the default action ends the process.
        // SAFETY: restores the default disposition.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
