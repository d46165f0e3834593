//! Memory with one pthread object of each kind, and the program that shares it.

use std::ffi::c_int;
use std::io::Read;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64};

use harness::Directory;
use harness::c::ok;
use libc::{pthread_barrier_t, pthread_cond_t, pthread_mutex_t, pthread_rwlock_t, sem_t};

/// As in peer.c.
#[repr(C)]
pub(crate) struct Memory {
    pub(crate) mutex: pthread_mutex_t,
    pub(crate) robust: pthread_mutex_t,
    /// Robust, too.
    pub(crate) inheriting: pthread_mutex_t,
    pub(crate) condition: pthread_cond_t,
    pub(crate) lock: pthread_rwlock_t,
    /// For two.
    pub(crate) barrier: pthread_barrier_t,
    pub(crate) ping: sem_t,
    pub(crate) pong: sem_t,
    pub(crate) turn: AtomicU32,
    pub(crate) word: AtomicU32,
    pub(crate) other_word: AtomicU32,
    pub(crate) permits: AtomicU32,
    /// Raised by loads and stores, under a lock.
    pub(crate) count: AtomicU64,
    pub(crate) waiting: AtomicU64,
}

/// A mapping of it, and the file that another process maps.
pub(crate) struct Shared {
    directory: Directory,
    place: *mut Memory,
}

// SAFETY: only pthread functions and atomic operations touch what is there.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Deref for Shared {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        // SAFETY: mapped as long as `self` is there, and initialised.
        unsafe { &*self.place }
    }
}

/// Calls these functions in order, each of which gives 0.
macro_rules! must {
    ($($call:expr),+ $(,)?) => {
        // SAFETY: the arguments are initialised objects of the right kinds, or places for them.
        unsafe { $(assert_eq!($call, 0, stringify!($call));)+ }
    };
}
pub(crate) use must;

fn shared_mutex(mutex: *mut pthread_mutex_t, robustness: c_int, protocol: c_int) {
    let mut attributes = MaybeUninit::uninit();
    let attributes = attributes.as_mut_ptr();
    must! {
        libc::pthread_mutexattr_init(attributes),
        libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED),
        libc::pthread_mutexattr_setrobust(attributes, robustness),
        libc::pthread_mutexattr_setprotocol(attributes, protocol),
        libc::pthread_mutex_init(mutex, attributes),
        libc::pthread_mutexattr_destroy(attributes),
    }
}

impl Shared {
    pub(crate) fn new() -> Shared {
        let directory = Directory::new();
        let file = directory.file("memory", &[0; size_of::<Memory>()]);
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let (size, fd) = (size_of::<Memory>(), file.as_raw_fd());
        // SAFETY: a mapping of its own.
        let place = unsafe { libc::mmap(ptr::null_mut(), size, access, flags, fd, 0) };
        assert_ne!(place, libc::MAP_FAILED);
        let place = place.cast::<Memory>();
        let mut condition = MaybeUninit::uninit();
        let mut lock = MaybeUninit::uninit();
        let mut barrier = MaybeUninit::uninit();
        let (condition, lock, barrier) = (
            condition.as_mut_ptr(),
            lock.as_mut_ptr(),
            barrier.as_mut_ptr(),
        );
        let (shared, robust, stalled, plain, inherits) = (
            libc::PTHREAD_PROCESS_SHARED,
            libc::PTHREAD_MUTEX_ROBUST,
            libc::PTHREAD_MUTEX_STALLED,
            libc::PTHREAD_PRIO_NONE,
            libc::PTHREAD_PRIO_INHERIT,
        );
        // SAFETY: within the mapping.
        unsafe {
            shared_mutex(&raw mut (*place).mutex, stalled, plain);
            shared_mutex(&raw mut (*place).robust, robust, plain);
            shared_mutex(&raw mut (*place).inheriting, robust, inherits);
        }
        must! {
            libc::pthread_condattr_init(condition),
            libc::pthread_condattr_setpshared(condition, shared),
            libc::pthread_cond_init(&raw mut (*place).condition, condition),
            libc::pthread_rwlockattr_init(lock),
            libc::pthread_rwlockattr_setpshared(lock, shared),
            libc::pthread_rwlock_init(&raw mut (*place).lock, lock),
            libc::pthread_barrierattr_init(barrier),
            libc::pthread_barrierattr_setpshared(barrier, shared),
            libc::pthread_barrier_init(&raw mut (*place).barrier, barrier, 2),
            libc::sem_init(&raw mut (*place).ping, 1, 0),
            libc::sem_init(&raw mut (*place).pong, 1, 0),
        }
        Shared { directory, place }
    }

    /// Starts the other process.
    pub(crate) fn peer(&self, what: &str, rounds: usize) -> Peer {
        let child = Command::new(peer_program())
            .arg(self.directory.path().join("memory"))
            .args([what, &rounds.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Peer(child.expect("the program was just compiled"))
    }

    pub(crate) fn mutex(&self) -> *mut pthread_mutex_t {
        // SAFETY: within the mapping.
        unsafe { &raw mut (*self.place).mutex }
    }

    pub(crate) fn robust(&self) -> *mut pthread_mutex_t {
        // SAFETY: within the mapping.
        unsafe { &raw mut (*self.place).robust }
    }

    pub(crate) fn inheriting(&self) -> *mut pthread_mutex_t {
        // SAFETY: within the mapping.
        unsafe { &raw mut (*self.place).inheriting }
    }

    pub(crate) fn condition(&self) -> *mut pthread_cond_t {
        // SAFETY: within the mapping.
        unsafe { &raw mut (*self.place).condition }
    }

    pub(crate) fn lock(&self) -> *mut pthread_rwlock_t {
        // SAFETY: within the mapping.
        unsafe { &raw mut (*self.place).lock }
    }

    pub(crate) fn barrier(&self) -> *mut pthread_barrier_t {
        // SAFETY: within the mapping.
        unsafe { &raw mut (*self.place).barrier }
    }

    pub(crate) fn ping(&self) -> *mut sem_t {
        // SAFETY: within the mapping.
        unsafe { &raw mut (*self.place).ping }
    }

    pub(crate) fn pong(&self) -> *mut sem_t {
        // SAFETY: within the mapping.
        unsafe { &raw mut (*self.place).pong }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody uses it any more.
        ok(unsafe { libc::munmap(self.place.cast(), size_of::<Memory>()) });
    }
}

/// The program, compiled once.
fn peer_program() -> PathBuf {
    static PROGRAM: OnceLock<(Directory, PathBuf)> = OnceLock::new();
    let (_, program) = PROGRAM.get_or_init(|| {
        let directory = Directory::new();
        let program = directory.path().join("peer");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/process_shared/peer.c");
        let output = Command::new("cc")
            .args(["-D_GNU_SOURCE", "-O1", "-Wall", "-Werror", "-pthread", "-o"])
            .args([program.as_os_str(), source.as_ref()])
            .output()
            .expect("there is a C compiler");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        (directory, program)
    });
    program.clone()
}

/// The other process; killed when dropped.
pub(crate) struct Peer(Child);

impl Peer {
    /// Waits until it says something.
    pub(crate) fn heard(&mut self) {
        let stdout = self.0.stdout.as_mut().expect("a pipe");
        stdout.read_exact(&mut [0]).expect("it says something");
    }

    /// Lets it go on, and waits for its end.
    pub(crate) fn ends_well(mut self) {
        drop(self.0.stdin.take());
        let status = self.0.wait().expect("our child");
        assert!(status.success(), "{status}");
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("our child");
        self.0.wait().expect("our child");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
