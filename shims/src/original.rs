//! The definitions that the shims stand in front of.
//!
//! Each is looked up by `dlsym(RTLD_NEXT, …)` when it is first called, not earlier: shims are
//! called before any initialiser of this program has run. The lookup does not allocate as long as
//! it finds the symbol (an allocator that calls a shim would recurse), and its result is kept in a
//! word per symbol, so that the second call costs a load.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A function of the next library in lookup order, found at its first use.
pub(crate) struct Original {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Original {
    /// The function of this name, which ends in a zero byte.
    pub(crate) const fn new(name: &'static str) -> Original {
        match CStr::from_bytes_with_nul(name.as_bytes()) {
            Ok(name) => Original {
                name,
                address: AtomicPtr::new(ptr::null_mut()),
            },
            Err(_) => panic!("a symbol name ends in its only zero byte"),
        }
    }

    /// The function's address; null if no library has it.
    #[inline]
    pub(crate) fn find(&self) -> *mut c_void {
        let address = self.address.load(Ordering::Relaxed);
        if address.is_null() {
            self.look_up()
        } else {
            address
        }
    }

    /// The function's address. Ends the process if no library has it.
    #[inline]
    pub(crate) fn get(&self) -> *mut c_void {
        let address = self.find();
        if address.is_null() {
            self.report_missing();
        }
        address
    }

    #[cold]
    fn look_up(&self) -> *mut c_void {
        // SAFETY: the name is a C string. Threads that race find the same address.
        let address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.address.store(address, Ordering::Relaxed);
        address
    }

    #[cold]
    fn report_missing(&self) -> ! {
        let parts: [&[u8]; 3] = [
            b"greenpatch: the C library has no function '",
            self.name.to_bytes(),
            b"', which a shim stands in front of; run on glibc 2.34 or later\n",
        ];
        for part in parts {
            // SAFETY: a valid buffer. Nothing can be done about a failure.
            let _ = unsafe {
                kernel_call!(
                    libc::SYS_write,
                    libc::STDERR_FILENO,
                    part.as_ptr(),
                    part.len()
                )
            };
        }
        // SAFETY: `abort` asks nothing of its caller.
        unsafe { libc::abort() }
    }
}

/// Declares originals like an `extern` block, as functions of a module `original`.
///
/// `or $absent` gives what stands in for a function that older C libraries lack.
macro_rules! originals {
    ($(
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $(, or $absent:expr)?;
    )+) => {
        #[allow(clippy::too_many_arguments, reason = "as many as the original has")]
        mod original {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[inline]
                pub(super) unsafe fn $name($($argument: $type),*) $(-> $result)? {
                    static ORIGINAL: $crate::original::Original =
                        $crate::original::Original::new(concat!(stringify!($name), "\0"));
                    $(
                        if ORIGINAL.find().is_null() {
                            return $absent;
                        }
                    )?
                    // SAFETY: the symbol of this name has this type in every glibc.
                    let function = unsafe {
                        std::mem::transmute::<
                            *mut std::ffi::c_void,
                            unsafe extern "C-unwind" fn($($type),*) $(-> $result)?,
                        >(ORIGINAL.get())
                    };
                    // SAFETY: what the caller promises is what the original asks for.
                    unsafe { function($($argument),*) }
                }
            )+
        }
    };
}

/// Passes a call on: gives a C function the arguments of the shim around it, as they came.
///
/// It takes only plain names, so it can do nothing but that. The call is sound because the shim's own caller has promised
/// what the function asks for. There is no `unsafe` block here: the compiler then accepts the macro in an `unsafe fn` only,
/// that is, where there is such a caller.
macro_rules! pass_on {
    ($($function:ident)::+($($argument:ident),* $(,)?)) => {{
        #[allow(unsafe_op_in_unsafe_fn, reason = "the caller of the shim has promised what the function asks for")]
        let result = $($function)::+($($argument),*);
        result
    }};
}
