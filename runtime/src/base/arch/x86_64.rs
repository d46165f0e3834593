//! x86-64: the thread pointer is the FS segment's base.
//!
//! glibc keeps the thread control block at FS:0 and the static thread-local storage right below
//! it. Changing the base therefore changes every thread-local variable, `errno` and
//! `pthread_self()` at once. `wrfsbase` does it in user mode in some 12 ns; kernels before 5.9
//! do not allow it, there `arch_prctl(ARCH_SET_FS)` does the same in some 170 ns.

mod switch;

use std::arch::{asm, naked_asm};
use std::ffi::c_void;

use rustix::param::linux_hwcap;

pub(crate) use switch::StackSwitch;

/// The bit of `AT_HWCAP2` by which the kernel says that user code may write the FS base.
const HWCAP2_FSGSBASE: usize = 1 << 1;

const ARCH_SET_FS: usize = 0x1002;

/// The address of the calling thread's control block.
#[inline(always)]
pub(crate) fn thread_pointer() -> usize {
    let pointer: usize;
    // SAFETY: glibc stores the block's own address in its word at offset 16 (`header.self`).
    unsafe { asm!("mov {}, fs:[16]", out(reg) pointer, options(nostack, preserves_flags)) };
    pointer
}

/// The stack pointer.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Makes a system call that passes through no interposed function and leaves `errno` alone; its return value as the
/// kernel gives it, errors as `-4095..0`.
///
/// # Safety
///
/// The arguments are right for the call.
#[inline]
pub unsafe fn system_call(number: libc::c_long, arguments: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the arguments are right for the call, by this function's contract; the kernel changes rax, rcx and r11
    // only.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Where a signal has interrupted a thread: instruction pointer and stack pointer.
///
/// # Safety
///
/// `context` is the third argument of a signal handler.
pub(crate) unsafe fn interrupted(context: *const c_void) -> (usize, usize) {
    // SAFETY: `context` is a signal handler's third argument, by this function's contract, which points to a
    // `ucontext_t`.
    let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let register = |name: libc::c_int| registers[name as usize] as usize;
    (register(libc::REG_RIP), register(libc::REG_RSP))
}

/// Whether the kernel has put the frame of a signal handler into this part of a stack, and the handler has not returned.
///
/// Before it enters a handler, the kernel stores all registers above it on the stack: `struct rt_sigframe`, a `ucontext_t`
/// within. One word of that holds the selectors of the code and the stack segment and two zeros between. The two selectors
/// are the same for all 64-bit code of a process, so they can be read here; the word has its value by accident nowhere
/// (taken for a pointer it points outside of what a process can have, taken for a number it is beyond 10^16).
/// No handler can do without the frame: it returns by it. How the handler was installed does not matter, nor which signals
/// it blocks, and one that is left by siglongjmp leaves no frame above the stack pointer.
///
/// Rejected: to wrap handlers as they are installed (there are ways past libc's sigaction), to look at the signal mask (it can be
/// changed, and `SA_NODEFER` leaves it), to look for the address to which handlers return (whoever installs a
/// handler chooses it), and to unwind the stack (it takes tables, and locks).
///
/// # Safety
///
/// A mapped part of the caller's stack.
#[inline]
pub(crate) unsafe fn has_signal_frame(from: usize, to: usize) -> bool {
    let start = from.next_multiple_of(size_of::<u64>());
    let end = to & !(size_of::<u64>() - 1);
    let found: usize;
    // SAFETY: reads the selectors, and aligned words of a mapped part of the stack. All in registers: a copy of the word on the
    // stack would be found by a later search.
    unsafe {
        asm!(
            "mov {word:e}, ss",
            "shl {word}, 48",
            "mov {code:e}, cs",
            "or {word}, {code}",
            "2:",
            "cmp {at}, {end}",
            "jae 3f",
            "cmp qword ptr [{at}], {word}",
            "je 3f",
            "add {at}, 8",
            "jmp 2b",
            "3:",
            at = inout(reg) start => found,
            end = in(reg) end,
            word = out(reg) _,
            code = out(reg) _,
            options(nostack, readonly),
        );
    }
    found < end
}

/// The stack pointer among the registers that glibc's setjmp has saved on the calling thread.
pub(crate) fn saved_stack_pointer(registers: &[usize; 8]) -> usize {
    /// glibc's `JB_RSP`.
    const STACK_POINTER: usize = 6;
    let guard: usize;
    // SAFETY: reads the word of the thread control block by which glibc disguises saved pointers; it stands at this
    // place in every version, as compilers know the word before it.
    unsafe {
        asm!("mov {}, fs:[0x30]", out(reg) guard, options(nostack, pure, readonly, preserves_flags));
    }
    registers[STACK_POINTER].rotate_right(17) ^ guard
}

/// Calls `start(argument)` as the outermost frame of a stack, whose caller no unwinder sees: an exception that `start` does
/// not catch is one that nobody catches. Gives what `start` returns, or what [`return_from_outermost`] is given. Stores
/// before the call where that one finds its way back.
///
/// # Safety
///
/// `start` may be called with `argument`, and `way_back` can be written to.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call_outermost(
    argument: *mut c_void,
    start: unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void,
    way_back: *mut usize,
) -> *mut c_void {
    naked_asm!(
        ".cfi_startproc",
        // There is no return address, by which unwinders know the outermost frame.
        ".cfi_undefined rip",
        // The registers that a function must preserve for its caller.
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        // To a multiple of 16 bytes.
        "sub rsp, 8",
        ".cfi_def_cfa_offset 64",
        "mov [rdx], rsp",
        "call rsi",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        ".cfi_endproc",
    )
}

/// Returns from [`call_outermost`] with `value`.
///
/// # Safety
///
/// `way_back` was stored by a call on this stack that has not returned, and the frames below that call need no
/// unwinding.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn return_from_outermost(way_back: usize, value: *mut c_void) -> ! {
    naked_asm!(
        "mov rsp, rdi",
        "mov rax, rsi",
        // As at the end of `call_outermost`.
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// The floating-point environment: the control and status register of SSE, and the control word of the x87 unit.
///
/// The ABI has functions preserve both control parts, so a context switch, a function to the compiler, leaves them as
/// the other side had them. The status flags of the x87 unit are not part of it: to read and write them costs some
/// hundred cycles, and compilers use that unit for `long double` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FloatingPoint {
    sse: u32,
    x87: u16,
}

impl FloatingPoint {
    /// The environment of the running code.
    #[inline(always)]
    pub(crate) fn current() -> FloatingPoint {
        let mut environment = FloatingPoint { sse: 0, x87: 0 };
        // SAFETY: each instruction stores a register to a field of its size.
        unsafe {
            asm!(
                "stmxcsr [{sse}]",
                "fnstcw [{x87}]",
                sse = in(reg) &raw mut environment.sse,
                x87 = in(reg) &raw mut environment.x87,
                options(nostack, preserves_flags),
            );
        }
        environment
    }

    /// Makes this the environment of the running code.
    ///
    /// To write SSE's register costs less than to read it for a comparison. The x87 unit's is read, for to write it may
    /// raise an exception.
    #[inline(always)]
    pub(crate) fn enter(self) {
        let mut x87 = 0_u16;
        // SAFETY: loads a value that was in the register before, so that no reserved bit is set, and stores the control word
        // to a place of its size.
        unsafe {
            asm!(
                "ldmxcsr [{sse}]",
                "fnstcw [{x87}]",
                sse = in(reg) &raw const self.sse,
                x87 = in(reg) &raw mut x87,
                options(nostack, preserves_flags),
            );
        }
        if self.x87 != x87 {
            self.load_x87();
        }
    }

    #[cold]
    fn load_x87(self) {
        // An exception that other code has left pending would strike here if this code traps it.
        // SAFETY: clears the status flags and loads the control word.
        unsafe {
            asm!(
                "fnclex",
                "fldcw [{}]",
                in(reg) &raw const self.x87,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// The way this machine changes the thread pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadPointer {
    user_mode: bool,
}

impl ThreadPointer {
    /// Asks the kernel which way it allows.
    pub(crate) fn detect() -> ThreadPointer {
        ThreadPointer {
            user_mode: linux_hwcap().1 & HWCAP2_FSGSBASE != 0,
        }
    }

    /// Whether it is one instruction, and not a system call.
    pub(crate) fn is_user_mode(self) -> bool {
        self.user_mode
    }

    /// Makes `address` the running thread's control block.
    ///
    /// # Safety
    ///
    /// `address` is that of a complete control block that no other kernel thread runs on, and
    /// the calling function touches no thread-local variable that the compiler could place
    /// across this call.
    #[inline(always)]
    pub(crate) unsafe fn set(self, address: usize) {
        if self.user_mode {
            // SAFETY: the kernel allows the instruction; the caller vouches for the address. The
            // block is not marked `nomem`, so no memory access moves across it.
            unsafe { asm!("wrfsbase {}", in(reg) address, options(nostack, preserves_flags)) };
        } else {
            // SAFETY: the control block is complete and no other kernel thread runs on it, by this function's contract;
            // the system call changes nothing else.
            unsafe { set_by_kernel(address) };
        }
    }
}

#[cold]
#[inline(never)]
unsafe fn set_by_kernel(address: usize) {
    // SAFETY: arch_prctl(ARCH_SET_FS) clobbers rax, rcx and r11 only; the caller vouches for the
    // address. An invalid address is refused by the kernel, which cannot happen with a valid one.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") 158usize => _,
            in("rdi") ARCH_SET_FS,
            in("rsi") address,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
}
