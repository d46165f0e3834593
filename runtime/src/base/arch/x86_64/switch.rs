//! A switch of stacks between code that has one already and whoever runs that code.
//!
//! A signal handler may take the call stack after any instruction, as profilers do. So the switch itself is in functions that
//! tell unwinders where everything is after each of them; in a block of inline assembly nothing can be told of what it pushes.
//! While a side stands still, its stack ends as if it had called one of these functions:
//!
//! ```text
//!         … the side's frame
//!         where it goes on
//!         rbx
//! top ──► rbp
//! ```
//!
//! With both stacks alike, the instruction that switches changes nothing of what unwinders are told.

use std::arch::{asm, naked_asm};
use std::cell::Cell;
use std::ffi::c_void;

/// Where two sides stand that take turns: code on a stack that it has already, and whoever runs that code.
///
/// A coroutine starts on a stack of its own, so corosensei cannot make one of code that runs. Its call for the other way
/// round, with the roles exchanged, takes what ought to be a return for a call, and a call for a return: a processor
/// guesses where returns lead to by counting both, so that afterwards it guesses each of the caller's returns wrong (ten
/// to twenty times some 4 ns). Here, as in corosensei, [`enter`](Self::enter) is a call, and [`leave`](Self::leave) a return,
/// to which its inlined part jumps.
#[repr(C)]
pub(crate) struct StackSwitch {
    /// The stack pointer of the code while it has left.
    inside: Cell<usize>,
    /// The stack pointer of whoever runs the code, while it runs.
    outside: Cell<usize>,
}

impl StackSwitch {
    pub(crate) const fn new() -> StackSwitch {
        StackSwitch {
            inside: Cell::new(0),
            outside: Cell::new(0),
        }
    }

    /// Makes the next [`leave`](Self::leave) call `f(argument)` as the outermost frame of a stack.
    ///
    /// # Safety
    ///
    /// `stack_top` is aligned to 16 bytes, and what is mapped below it is nobody's. `f` may be called so.
    pub(crate) unsafe fn start(
        &self,
        stack_top: usize,
        f: unsafe extern "C" fn(*mut c_void) -> !,
        argument: *mut c_void,
    ) {
        let words: [usize; 5] = [
            // The end of the chain of frame pointers, and nothing.
            0,
            0,
            start_outside as *const () as usize + START_OFFSET,
            argument as usize,
            f as usize,
        ];
        let stack_pointer = (stack_top - size_of_val(&words)) as *mut [usize; 5];
        // SAFETY: the top of a stack that nobody uses.
        unsafe { stack_pointer.write(words) };
        self.outside.set(stack_pointer as usize);
    }

    /// Switches to where the code left, and returns what it leaves with the next time.
    ///
    /// # Safety
    ///
    /// The code has left, and nobody else enters. This function's caller uses no thread-local variable if the two sides have
    /// different thread pointers.
    #[inline(always)]
    pub(crate) unsafe fn enter(&self) -> usize {
        let value;
        // SAFETY: the stack pointer is as `leave` has saved it; all registers are saved or given up.
        unsafe {
            asm!(
                // Comes back by the return in `go_outside`.
                "call {go_inside}",
                go_inside = sym go_inside,
                inlateout("rsi") self => _,
                lateout("rdi") value,
                lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
                clobber_abi("sysv64"),
            );
        }
        value
    }

    /// Switches to who runs the code, with a value, and returns when it is entered again.
    ///
    /// # Safety
    ///
    /// Runs in the code, which was entered, or for which [`start`](Self::start) was called.
    #[inline(always)]
    pub(crate) unsafe fn leave(&self, value: usize) {
        // SAFETY: the stack pointer is as `enter`'s call or `start` has left it; all registers are saved or given up.
        unsafe {
            asm!(
                "lea rax, [rip + 2f]",
                "jmp {go_outside}",
                // By the jump in `go_inside`, which may be another kernel's thread's.
                "2:",
                go_outside = sym go_outside,
                inlateout("rsi") self => _,
                inlateout("rdi") value => _,
                lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
                clobber_abi("sysv64"),
            );
        }
    }
}

/// The way in, from a call: `rsi` is the [`StackSwitch`].
#[unsafe(naked)]
unsafe extern "C" fn go_inside() {
    naked_asm!(
        ".cfi_startproc",
        "push rbx",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbx, 0",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbp, 0",
        "mov [rsi + 8], rsp",
        // The two stacks' tops are alike.
        "mov rsp, [rsi]",
        "pop rbp",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbp",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbx",
        "pop rax",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_register rip, rax",
        "jmp rax",
        ".cfi_endproc",
    )
}

/// The way out, from a jump: `rsi` is the [`StackSwitch`], and `rax` where the code goes on.
#[unsafe(naked)]
unsafe extern "C" fn go_outside() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_def_cfa_offset 0",
        ".cfi_register rip, rax",
        "push rax",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rip, 0",
        "push rbx",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbx, 0",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbp, 0",
        "mov [rsi], rsp",
        // As in `go_inside`.
        "mov rsp, [rsi + 8]",
        "pop rbp",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbp",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbx",
        "ret",
        ".cfi_endproc",
    )
}

/// Where [`start_outside`] begins: an unwinder takes the instruction before the one that is returned to for the call.
const START_OFFSET: usize = 1;

/// What the first `leave` after `start` returns to.
#[unsafe(naked)]
unsafe extern "C" fn start_outside() {
    naked_asm!(
        ".cfi_startproc",
        // There is no return address: how unwinders know the outermost frame.
        ".cfi_undefined rip",
        "nop",
        "pop rdi",
        "pop rax",
        "call rax",
        "ud2",
        ".cfi_endproc",
    )
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::base::arch;

    /// The processor stops after each instruction.
    const TRAP_FLAG: i64 = 1 << 8;

    const TURNS: usize = 3;

    static GOES_STEP_BY_STEP: AtomicBool = AtomicBool::new(false);
    static STEPS: AtomicUsize = AtomicUsize::new(0);
    /// The stack pointer of the code that leaves.
    static INSIDE: AtomicUsize = AtomicUsize::new(0);
    /// The other stack, from the lowest address to the highest.
    static OUTSIDE: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    /// After how many instructions the call stack could not be told, and the latest of them.
    static LOST: AtomicUsize = AtomicUsize::new(0);
    static LOST_AT: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn step(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        if GOES_STEP_BY_STEP.load(Ordering::Relaxed) {
            STEPS.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the kernel passes the interrupted context.
            let (instruction, stack_pointer) = unsafe { arch::interrupted(context) };
            if !is_call_stack_whole(stack_pointer) {
                LOST.fetch_add(1, Ordering::Relaxed);
                LOST_AT.store(instruction, Ordering::Relaxed);
            }
        } else {
            let context = context.cast::<libc::ucontext_t>();
            // SAFETY: as above, and takes it back.
            let registers = unsafe { &mut (*context).uc_mcontext.gregs };
            registers[libc::REG_EFL as usize] &= !TRAP_FLAG;
        }
    }

    /// Whether the unwinder finds the frame of the code that leaves, or on the other stack the outermost frame.
    fn is_call_stack_whole(stack_pointer: usize) -> bool {
        let [limit, base] = OUTSIDE.each_ref().map(|end| end.load(Ordering::Relaxed));
        let is_outside = (limit..=base).contains(&stack_pointer);
        let inside = INSIDE.load(Ordering::Relaxed);
        let start = start_outside as *const () as usize;
        let mut is_whole = false;
        // SAFETY: what it wants synchronised is another platform's unwinder.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                is_whole |= if is_outside {
                    (start..start + 16).contains(&frame.ip().addr())
                } else {
                    frame.sp().addr() == inside
                };
                true
            });
        }
        is_whole
    }

    unsafe extern "C" fn enter_again_and_again(switch: *mut c_void) -> ! {
        loop {
            // SAFETY: the test's switch, whose code has left.
            unsafe { (*switch.cast::<StackSwitch>()).enter() };
        }
    }

    #[inline(never)]
    fn leave_step_by_step(switch: &StackSwitch) {
        INSIDE.store(arch::stack_pointer(), Ordering::Relaxed);
        GOES_STEP_BY_STEP.store(true, Ordering::Relaxed);
        // SAFETY: sets a flag, whose signal has a handler.
        unsafe { asm!("pushfq", "or qword ptr [rsp], {}", "popfq", const TRAP_FLAG) };
        for turn in 0..TURNS {
            // SAFETY: the other side enters each time.
            unsafe { switch.leave(turn) };
        }
        GOES_STEP_BY_STEP.store(false, Ordering::Relaxed);
    }

    #[test]
    fn the_call_stack_can_be_told_after_each_instruction() {
        let mut stack = vec![0_u128; 1 << 14];
        let ends = stack.as_mut_ptr_range();
        for (place, end) in OUTSIDE.iter().zip([ends.start, ends.end]) {
            place.store(end.addr(), Ordering::Relaxed);
        }
        // The unwinder's first use may initialise something.
        backtrace::trace(|_| true);
        let switch = StackSwitch::new();
        // SAFETY: the stack is nobody's, and both outlive the turns; `step` has the type that SA_SIGINFO asks for.
        unsafe {
            let argument = ptr::from_ref(&switch).cast_mut().cast();
            switch.start(ends.end.addr(), enter_again_and_again, argument);
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = step as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(libc::SIGTRAP, &action, ptr::null_mut()), 0);
        }
        leave_step_by_step(&switch);
        assert!(STEPS.load(Ordering::Relaxed) > 20 * TURNS);
        let (lost, at) = (
            LOST.load(Ordering::Relaxed),
            LOST_AT.load(Ordering::Relaxed),
        );
        assert_eq!(lost, 0, "the latest at {at:#x}");
    }
}
