//! What the switch between green threads needs of the processor, besides corosensei.
//!
//! Each architecture supplies the same small contract:
//!
//! - `thread_pointer()`: the address of the running thread's control block;
//! - `stack_pointer()`: the stack pointer;
//! - `interrupted(context)`: where a signal has struck;
//! - `call_outermost(argument, start, way_back)`, `return_from_outermost(way_back, value)`: the frame under which a thread's
//!   start routine runs;
//! - `saved_stack_pointer(registers)`: the one that setjmp has saved;
//! - `has_signal_frame(from, to)`: whether a signal handler runs in that part of a stack;
//! - `system_call(number, arguments)`: a system call without libc;
//! - `FloatingPoint::current()` and `enter()`: how the running code rounds, and which exceptions it has seen or traps;
//! - `StackSwitch`: two sides that take turns, one of them code that has a stack already;
//! - `ThreadPointer::set(address)`: makes another control block the running thread's;
//! - `ThreadPointer::detect()`: finds out how that is done on this machine.
//!
//! Architecture invariant: whoever calls `set` uses no thread-local variable in the same
//! function, because the compiler takes the thread pointer for constant within one.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::system_call;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{
    FloatingPoint, StackSwitch, ThreadPointer, call_outermost, has_signal_frame, interrupted,
    return_from_outermost, saved_stack_pointer, stack_pointer, thread_pointer,
};

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")))]
compile_error!(
    "greenpatch gives every green thread its own glibc thread control block and knows that \
     block's layout on x86_64-unknown-linux-gnu only; build for that target"
);
