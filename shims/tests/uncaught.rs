//! A panic that leaves a thread's start routine is told as what it is, on every kind of thread.

mod threads;

use std::env;
use std::ffi::c_void;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::ptr::{null, null_mut};

use threads::{Kind, ok};

unsafe extern "C" {
    fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        start: extern "C-unwind" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> libc::c_int;
}

/// Says to the test's own program on which kind of thread it is to panic.
const PANICS_ON: &str = "GREENPATCH_TEST_PANICS_ON";

extern "C-unwind" fn panics(_: *mut c_void) -> *mut c_void {
    panic!("in the start routine");
}

fn create_one_that_panics() {
    let no_core = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let mut thread = 0;
    // SAFETY: a valid limit; the routine needs no argument, and its thread is joined once.
    unsafe {
        ok(libc::setrlimit(libc::RLIMIT_CORE, &no_core));
        ok(pthread_create(&mut thread, null(), panics, null_mut()));
        libc::pthread_join(thread, null_mut());
    }
}

#[test]
fn a_panic_that_leaves_a_start_routine_is_one_that_nobody_catches() {
    let kind = |name: &str| match name {
        "green" => Kind::Green { workers: 1 },
        _ => Kind::OsThread,
    };
    if let Ok(name) = env::var(PANICS_ON) {
        return kind(&name).run("panics", create_one_that_panics);
    }
    for name in ["os", "green"] {
        let outcome = Command::new(env::current_exe().unwrap())
            .args(["--nocapture", "--exact"])
            .arg("a_panic_that_leaves_a_start_routine_is_one_that_nobody_catches")
            .env(PANICS_ON, name)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&outcome.stderr);
        assert_eq!(
            outcome.status.signal(),
            Some(libc::SIGABRT),
            "{name}: {told}"
        );
        assert!(told.contains("in the start routine"), "{name}: {told}");
        assert!(told.contains("failed to initiate panic"), "{name}: {told}");
        assert!(!told.contains("destructor"), "{name}: {told}");
    }
}
