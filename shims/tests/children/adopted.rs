//! In a program whose threads are to be green, those are that the main thread creates, by whatever function.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use greenpatch_runtime::hook::process::adopt_threads;
use greenpatch_runtime::{Patch, Runtime};
use harness::child;

type Start = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;

unsafe extern "C-unwind" {
    fn thrd_create(thread: *mut libc::pthread_t, start: Start, argument: *mut c_void) -> c_int;
    fn thrd_join(thread: libc::pthread_t, result: *mut c_int) -> c_int;
}

fn build() -> Option<Runtime> {
    Runtime::builder()
        .workers(1)
        .patch(Patch::all())
        .build()
        .ok()
}

unsafe extern "C-unwind" fn is_green(_: *mut c_void) -> c_int {
    // SAFETY: always sound.
    greenpatch_runtime::hook::thread::is_green(unsafe { libc::pthread_self() }).into()
}

/// From then on, every thread of the process is adopted.
#[test]
fn a_thread_of_c11_is_green() {
    child::succeeds("adopted::a_thread_of_c11_is_green", || {
        adopt_threads(build);
        let mut thread = MaybeUninit::uninit();
        let mut result = 0;
        // SAFETY: the thread is joined once; what it starts with takes no argument.
        unsafe {
            assert_eq!(
                thrd_create(thread.as_mut_ptr(), is_green, std::ptr::null_mut()),
                0
            );
            assert_eq!(thrd_join(thread.assume_init(), &mut result), 0);
        }
        assert_eq!(result, 1);
    });
}
