//! Whether code may run on stacks, as the modules of the process ask.
//!
//! Functions within functions, of GNU C and Fortran, are called through code that the compiler has written to the stack. A
//! module that has some says so in its program header `PT_GNU_STACK`; glibc then makes all stacks executable, also those of
//! the threads that run already when such a library is loaded.
//!
//! Here the modules are asked as a runtime is built. Libraries that are loaded later show when code on a green thread's stack
//! faults for the first time: the handler asks once more, and lets the code go on.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::ProtFlags;

static EXECUTABLE: AtomicBool = AtomicBool::new(false);

/// What stacks are used for.
pub(super) fn protection() -> ProtFlags {
    let data = ProtFlags::READ | ProtFlags::WRITE;
    if EXECUTABLE.load(Ordering::SeqCst) {
        data | ProtFlags::EXEC
    } else {
        data
    }
}

/// Asks the modules: whether one wants stacks executable, for the first time.
pub(super) fn has_become_wanted() -> bool {
    let has_become = !EXECUTABLE.load(Ordering::SeqCst) && is_wanted();
    if has_become {
        EXECUTABLE.store(true, Ordering::SeqCst);
    }
    has_become
}

/// Whether any module asks for it. One without the header does, for glibc.
fn is_wanted() -> bool {
    unsafe extern "C" fn asks(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        kernels: *mut c_void,
    ) -> c_int {
        // SAFETY: dl_iterate_phdr passes a valid record.
        let info = unsafe { &*info };
        // SAFETY: the record says where the module's program headers stand.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let is_kernels = headers
            .iter()
            .find(|header| header.p_type == libc::PT_LOAD)
            .is_some_and(|header| (info.dlpi_addr + header.p_vaddr) as usize == kernels as usize);
        let stack = headers
            .iter()
            .find(|header| header.p_type == libc::PT_GNU_STACK);
        let asks = stack.is_none_or(|header| header.p_flags & libc::PF_X != 0);
        c_int::from(asks && !is_kernels)
    }
    // The kernel's own module, which has no such header.
    // SAFETY: reads the auxiliary vector.
    let kernels = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    // SAFETY: `asks` has the type dl_iterate_phdr calls and takes the address that it is given.
    unsafe { libc::dl_iterate_phdr(Some(asks), kernels as *mut c_void) != 0 }
}
