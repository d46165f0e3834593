//! Calls of C functions: their values, errors and times; and semaphores.

use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use libc::sem_t;

/// The calling thread's `errno`.
pub fn errno() -> c_int {
    io::Error::last_os_error()
        .raw_os_error()
        .expect("it is from the system")
}

/// The value of a C call that must succeed.
#[track_caller]
pub fn ok<T: PartialOrd + From<i8>>(value: T) -> T {
    assert!(value >= T::from(0), "{}", io::Error::last_os_error());
    value
}

/// Asserts that a C call failed with this `errno`.
#[track_caller]
pub fn fails<T: PartialEq + From<i8>>(value: T, error: c_int) {
    let last = errno();
    assert!(value == T::from(-1), "did not fail");
    assert_eq!(last, error, "{}", io::Error::from_raw_os_error(last));
}

/// A time that lasts so long.
pub fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs() as libc::time_t,
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// The time on `clock`, `later` from now.
pub fn on_clock(clock: libc::clockid_t, later: Duration) -> libc::timespec {
    let mut now = timespec(Duration::ZERO);
    // SAFETY: the result is ours.
    ok(unsafe { libc::clock_gettime(clock, &mut now) });
    timespec(Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + later)
}

unsafe extern "C" {
    fn sem_clockwait(
        semaphore: *mut sem_t,
        clock: libc::clockid_t,
        time: *const libc::timespec,
    ) -> c_int;
}

/// A semaphore of POSIX. Its functions give what C's do.
pub struct Semaphore(UnsafeCell<MaybeUninit<sem_t>>);

// SAFETY: only semaphore functions touch it.
unsafe impl Sync for Semaphore {}
// SAFETY: it stays where it is, in an `Arc` or a static.
unsafe impl Send for Semaphore {}

impl Semaphore {
    /// One without units, for the threads of this process: all zeros are that.
    pub const fn zeroed() -> Semaphore {
        Semaphore(UnsafeCell::new(MaybeUninit::zeroed()))
    }

    /// For the threads of this process.
    pub fn new(value: u32) -> Arc<Semaphore> {
        Semaphore::with(value, 0)
    }

    /// Shared with other processes, or not.
    pub fn with(value: u32, shared: c_int) -> Arc<Semaphore> {
        let semaphore = Arc::new(Semaphore(UnsafeCell::new(MaybeUninit::uninit())));
        // SAFETY: room for one.
        ok(unsafe { libc::sem_init(semaphore.get(), shared, value) });
        semaphore
    }

    /// The semaphore itself.
    pub fn get(&self) -> *mut sem_t {
        self.0.get().cast()
    }

    /// `sem_wait`.
    pub fn wait(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::sem_wait(self.get()) }
    }

    /// `sem_trywait`.
    pub fn try_wait(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::sem_trywait(self.get()) }
    }

    /// `sem_timedwait`.
    pub fn wait_until(&self, time: &libc::timespec) -> c_int {
        // SAFETY: initialised, and a time.
        unsafe { libc::sem_timedwait(self.get(), time) }
    }

    /// `sem_clockwait`.
    pub fn wait_by_clock(&self, clock: libc::clockid_t, time: &libc::timespec) -> c_int {
        // SAFETY: initialised, and a time.
        unsafe { sem_clockwait(self.get(), clock, time) }
    }

    /// `sem_post`.
    pub fn post(&self) -> c_int {
        // SAFETY: initialised.
        unsafe { libc::sem_post(self.get()) }
    }

    /// What `sem_getvalue` tells.
    pub fn value(&self) -> c_int {
        let mut value = -1;
        // SAFETY: initialised, and room for the value.
        ok(unsafe { libc::sem_getvalue(self.get(), &mut value) });
        value
    }
}
