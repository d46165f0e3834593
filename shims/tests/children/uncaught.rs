//! A panic that leaves a thread's start routine is told as what it is, on every kind of thread.

use std::ffi::c_void;
use std::os::unix::process::ExitStatusExt;
use std::ptr::{null, null_mut};

use harness::c::ok;
use harness::{Kind, child};

unsafe extern "C" {
    fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        start: extern "C-unwind" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> libc::c_int;
}

extern "C-unwind" fn panics(_: *mut c_void) -> *mut c_void {
    panic!("in the start routine");
}

fn create_one_that_panics() {
    let mut thread = 0;
    // SAFETY: the routine needs no argument, and its thread is joined once.
    unsafe {
        ok(pthread_create(&mut thread, null(), panics, null_mut()));
        libc::pthread_join(thread, null_mut());
    }
}

fn is_one_that_nobody_catches(test: &str, kind: Kind) {
    let Some(outcome) = child::output_of(test, || kind.run(create_one_that_panics)) else {
        return;
    };
    let told = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.status.signal(), Some(libc::SIGABRT), "{told}");
    assert!(told.contains("in the start routine"), "{told}");
    assert!(told.contains("failed to initiate panic"), "{told}");
    assert!(!told.contains("destructor"), "{told}");
}

#[test]
fn a_panic_that_leaves_an_os_threads_start_routine_is_one_that_nobody_catches() {
    is_one_that_nobody_catches(
        "uncaught::a_panic_that_leaves_an_os_threads_start_routine_is_one_that_nobody_catches",
        Kind::OsThread,
    );
}

#[test]
fn a_panic_that_leaves_a_green_threads_start_routine_is_one_that_nobody_catches() {
    is_one_that_nobody_catches(
        "uncaught::a_panic_that_leaves_a_green_threads_start_routine_is_one_that_nobody_catches",
        Kind::Green { workers: 1 },
    );
}
