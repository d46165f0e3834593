//! What green threads need of this machine's kernel and C library, what they make use of, and whether it is there.
//!
//! Nothing here is asked while green threads run: they find out for themselves. It is for people, who want to know before;
//! `greenpatch doctor` prints it.

use std::ffi::c_long;
use std::fmt;
use std::ptr;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::base::arch;
use crate::base::glibc;
use crate::body::region;
use crate::body::tls;
use crate::runtime::handle::Runtime;
use crate::sched::context::NativeSection;
use crate::time;

/// Something of the kernel or the C library.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Feature {
    /// What it is.
    pub name: String,
    /// Whether it is there.
    pub state: State,
}

/// Whether something is there, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It is there.
    Here,
    /// It is not there; what is done instead.
    Absent(&'static str),
    /// It is not there, or does not work, and there are no green threads without it: why.
    Needed(String),
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Here => write!(f, "{}", self.name),
            State::Absent(instead) => write!(f, "no {}: {instead}", self.name),
            State::Needed(why) => write!(f, "no {}: {why}", self.name),
        }
    }
}

/// Asks the kernel and the C library, and runs a green thread.
///
/// ```
/// use greenpatch_runtime::platform::{self, State};
///
/// for feature in platform::features() {
///     assert!(!matches!(feature.state, State::Needed(_)), "{feature}");
/// }
/// ```
pub fn features() -> Vec<Feature> {
    let _native = NativeSection::enter();
    let optional = |name: &str, is_here: bool, instead| Feature {
        name: name.to_owned(),
        state: if is_here {
            State::Here
        } else {
            State::Absent(instead)
        },
    };
    let needed = |name: String, outcome: Result<(), String>| Feature {
        name,
        state: outcome.map_or_else(State::Needed, |()| State::Here),
    };
    let layout = tls::initialize().map(drop);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        needed(
            format!(
                "glibc {} with its private symbols for thread-local storage",
                glibc::version()
            ),
            layout.map_err(|error| error.to_string()),
        ),
        optional(&format!("Linux {}", kernel.trim()), true, ""),
        optional(
            "thread pointer written in user mode (FSGSBASE)",
            arch::ThreadPointer::detect().is_user_mode(),
            "each switch takes a system call",
        ),
        optional(
            "guard pages within a mapping (MADV_GUARD_INSTALL, Linux 6.13)",
            has_guard_pages(),
            "each stack takes a mapping or two, of which the kernel allows 65,530",
        ),
        optional(
            "reads and writes that do not wait (RWF_NOWAIT)",
            has_nowait(),
            "pipes are polled before each call",
        ),
        optional(
            "process descriptors (pidfd_open)",
            is_granted(
                libc::SYS_pidfd_open,
                [rustix::process::getpid().as_raw_pid() as usize, 0],
            ),
            "a wait for a child looks again and again, at most every 10 ms",
        ),
        optional(
            "io_uring, which is not used",
            has_io_uring(),
            "nothing is missed",
        ),
        needed(
            "green thread has run, slept and ended".to_owned(),
            try_one(),
        ),
    ]
}

/// Makes a system call that gives a descriptor, and closes that.
fn is_granted(number: c_long, arguments: [usize; 2]) -> bool {
    // SAFETY: the callers' calls read and write no memory but what they pass.
    let result = unsafe { arch::system_call(number, [arguments[0], arguments[1], 0, 0, 0, 0]) };
    if result >= 0 {
        // SAFETY: the descriptor is ours.
        unsafe { rustix::io::close(result as i32) };
    }
    result >= 0
}

fn has_guard_pages() -> bool {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice, which is ours.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), region::PAGE, ProtFlags::READ, flags) };
    let Ok(page) = page else { return false };
    let arguments = [
        page as usize,
        region::PAGE,
        region::MADV_GUARD_INSTALL as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the page is ours and nobody uses it.
    let result = unsafe { arch::system_call(libc::SYS_madvise, arguments) };
    // SAFETY: the page is ours, nobody uses it, and it is unmapped once.
    let _ = unsafe { munmap(page, region::PAGE) };
    result == 0
}

fn has_nowait() -> bool {
    let Ok((reader, _writer)) = rustix::pipe::pipe() else {
        return false;
    };
    let mut byte = [0];
    let mut buffers = [std::io::IoSliceMut::new(&mut byte)];
    let read = rustix::io::preadv2(
        &reader,
        &mut buffers,
        u64::MAX,
        rustix::io::ReadWriteFlags::NOWAIT,
    );
    read == Err(Errno::AGAIN)
}

fn has_io_uring() -> bool {
    /// Bytes of `struct io_uring_params`.
    const PARAMETERS: usize = 120;
    let mut parameters = [0u64; PARAMETERS / 8];
    is_granted(
        libc::SYS_io_uring_setup,
        [1, parameters.as_mut_ptr() as usize],
    )
}

fn try_one() -> Result<(), String> {
    let runtime = Runtime::builder()
        .workers(1)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.run(|| time::sleep(std::time::Duration::from_millis(1)));
    Ok(())
}
