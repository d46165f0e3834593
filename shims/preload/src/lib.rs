//! The library that `greenpatch run` has the dynamic linker load before a program's own libraries.
//!
//! It is the shims, all families of them, and a few lines that the dynamic linker runs before the program's `main`. From
//! then on each thread that the program creates is a green thread of the [process runtime](process), which is built when
//! the first one is. The main thread stays an OS thread. Whatever the library cannot do, it leaves undone: a message on
//! standard error, and the program runs on OS threads as it would without.
//!
//! Settings come from the environment: those of [`greenpatch::SETTINGS`], and [`CHILDREN`] and [`REPORT`].
//!
//! The initialiser runs before the executable's own, and while the program is still single-threaded.

mod standard_error;

use std::ffi::{OsStr, OsString, c_int, c_void};
use std::fmt;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::{env, process};

use greenpatch::Runtime;
use greenpatch_runtime::hook::process as process_runtime;

/// The environment variable that says whether programs that this one executes are preloaded too: `on`, the default, or `off`.
pub const CHILDREN: &str = "GREENPATCH_CHILDREN";

/// The environment variable that says which processes write figures as they exit, to the standard error that they were
/// started with: none (`off`, the default), those that have created a thread (`on`), or these and the process of that number.
pub const REPORT: &str = "GREENPATCH_REPORT";

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;

extern "C" fn at_load() {
    if is("off", CHILDREN) {
        leave_environment();
    }
    if let Some(other) = other_definition() {
        warn(format_args!(
            "'{other}' defines pthread_create itself, as programs do that are linked with greenpatch or run under a \
             sanitizer; its threads stay as they are. Run it without greenpatch run"
        ));
        return;
    }
    set_default_stack_size();
    process_runtime::adopt_threads(build);
    if env::var_os(REPORT).is_some_and(|given| given != "off") {
        standard_error::keep();
        // SAFETY: the function stays loaded as long as the process.
        unsafe { libc::atexit(report) };
    }
}

fn is(value: &str, variable: &str) -> bool {
    env::var_os(variable).is_some_and(|given| given == value)
}

/// The file that `address` is in.
fn file_of(address: *const c_void) -> Option<OsString> {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: the result is ours; its name is a C string if the call succeeds.
    unsafe {
        if libc::dladdr(address, info.as_mut_ptr()) == 0 {
            return None;
        }
        let name = std::ffi::CStr::from_ptr(info.assume_init().dli_fname);
        Some(OsStr::from_bytes(name.to_bytes()).to_owned())
    }
}

/// Who defines `pthread_create` before us.
fn other_definition() -> Option<String> {
    // SAFETY: a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"pthread_create".as_ptr()) };
    let (theirs, ours) = (file_of(found)?, file_of(at_load as *const c_void)?);
    (theirs != ours).then(|| theirs.to_string_lossy().into_owned())
}

/// Takes this library off the list that programs executed by this one will see.
fn leave_environment() {
    const LIST: &str = "LD_PRELOAD";
    let (Some(list), Some(ours)) = (env::var_os(LIST), file_of(at_load as *const c_void)) else {
        return;
    };
    let others: Vec<&[u8]> = list
        .as_bytes()
        .split(|&byte| byte == b':' || byte == b' ')
        .filter(|&name| name != ours.as_bytes())
        .collect();
    let others = others.join(&b':');
    // SAFETY: the process has one thread yet, which is in the dynamic linker.
    unsafe {
        if others.is_empty() {
            env::remove_var(LIST);
        } else {
            env::set_var(LIST, OsStr::from_bytes(&others));
        }
    }
}

/// The setting `stack_size` is that of threads that ask for none: C's default for them is the limit that `ulimit -s` shows.
fn set_default_stack_size() {
    let Some(size) = env::var("GREENPATCH_STACK_SIZE")
        .ok()
        .and_then(|size| size.parse().ok())
    else {
        return;
    };
    unsafe extern "C" {
        fn pthread_setattr_default_np(attributes: *const libc::pthread_attr_t) -> c_int;
    }
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: initialised by the first call, and destroyed once. A size that is refused changes nothing.
    unsafe {
        if libc::pthread_attr_init(attributes.as_mut_ptr()) == 0 {
            if libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), size) == 0 {
                pthread_setattr_default_np(attributes.as_ptr());
            }
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
        }
    }
}

/// Builds the process runtime, at the creation of the first thread.
fn build() -> Option<Runtime> {
    match Runtime::builder().build() {
        Ok(runtime) => Some(runtime),
        Err(error) => {
            warn(format_args!("threads stay OS threads: {error}"));
            None
        }
    }
}

/// At exit: what the runtime has done.
extern "C" fn report() {
    let Some(runtime) = process_runtime::runtime() else {
        if is(&process::id().to_string(), REPORT) {
            let message = message(format_args!("no thread was created"));
            standard_error::write(message.as_bytes());
        }
        return;
    };
    let figures = runtime.metrics();
    let message = message(format_args!(
        "{} threads run as green threads, {} at once at most, on {} workers and {} spare ones; {} switches, {} hogs, {} \
         blocking sections",
        figures.spawned,
        figures.peak_live,
        figures.workers - figures.spare_workers,
        figures.spare_workers_called,
        figures.switches,
        figures.hogs,
        figures.blocking_sections,
    ));
    standard_error::write(message.as_bytes());
}

/// Says something on standard error, in one write.
fn warn(text: fmt::Arguments<'_>) {
    let _ = rustix::io::write(rustix::stdio::stderr(), message(text).as_bytes());
}

/// A line that says who speaks: greenpatch, in the program of this name.
fn message(text: fmt::Arguments<'_>) -> String {
    let program = env::args_os().next().unwrap_or_default();
    format!(
        "greenpatch: {} ({}): {text}\n",
        program.to_string_lossy(),
        process::id()
    )
}
