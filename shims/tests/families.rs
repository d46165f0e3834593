//! Each family by itself: with its feature on, its calls yield; with its feature off, its functions are libc's own.
//!
//! This holds with any subset of the features, so nothing here may need another family than the one that it is about:
//! green threads are made and joined by the runtime's own means, and what ends a wait does not wait.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use greenpatch_runtime::{Runtime, metrics, spawn, yield_now};
// For its symbols.
use greenpatch_shims as _;
use harness::Watchdog;
use harness::c::ok;

/// Whether these functions are defined in this program, and not by the C library alone.
fn are_defined(names: &[&CStr]) -> bool {
    // SAFETY: a C string; the library is loaded already, and stays.
    let libc = unsafe { libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    assert!(!libc.is_null());
    let are_ours = names.iter().map(|name| {
        // SAFETY: C strings.
        let [called, original] =
            [libc::RTLD_DEFAULT, libc].map(|from| unsafe { libc::dlsym(from, name.as_ptr()) });
        assert!(!called.is_null() && !original.is_null(), "{name:?}");
        called != original
    });
    let are_ours: Vec<_> = are_ours.collect();
    assert!(
        are_ours.iter().all(|is_ours| *is_ours == are_ours[0]),
        "{names:?}: {are_ours:?}"
    );
    are_ours[0]
}

/// Makes a test of each family: these functions are defined if one of the features is on; then the body, which calls them,
/// runs on a green thread whose worker nobody stands in for, and hangs if one of them blocks it.
macro_rules! families {
    ($($test:ident: $($feature:literal)|+, [$($name:literal),+] $body:block)+) => {$(
        #[test]
        fn $test() {
            let is_on = $(cfg!(feature = $feature))||+;
            assert_eq!(are_defined(&[$($name),+]), is_on);
            if is_on {
                let _watchdog = Watchdog::start();
                let runtime = Runtime::builder().workers(1).compensation(false);
                runtime.build().unwrap().spawn(|| $body).join().unwrap();
            }
        }
    )+};
}

families! {
    time: "time", [c"nanosleep", c"clock_nanosleep", c"usleep"] {
        let millisecond = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let no_rest = null_mut();
        // SAFETY: a valid time.
        until_another_has_run(|| ok(unsafe { libc::nanosleep(&millisecond, no_rest) }));
        until_another_has_run(|| {
            // SAFETY: as above.
            let status = unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &millisecond, no_rest) };
            assert_eq!(status, 0);
            status
        });
        // SAFETY: always sound.
        until_another_has_run(|| ok(unsafe { libc::usleep(1000) }));
    }

    socket: "socket", [c"recv", c"accept", c"connect"] {
        let mut ends = [-1; 2];
        // SAFETY: room for two descriptors.
        ok(unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()) });
        let [near, far] = owned(ends);
        write_later(&far);
        let mut byte = 0u8;
        // SAFETY: room for one byte.
        assert_eq!(unsafe { libc::recv(near.as_raw_fd(), (&raw mut byte).cast(), 1, 0) }, 1);
        write_later(&far);
        assert_eq!(read(&near), 1);
    }

    select: "select", [c"poll", c"select", c"epoll_wait"] {
        let [reader, writer] = pipe();
        write_later(&writer);
        let mut entry = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: an array of one.
        assert_eq!(unsafe { libc::poll(&mut entry, 1, -1) }, 1);
        assert_eq!(read(&reader), 1);
        write_later(&writer);
        // SAFETY: all zeros is the empty set; the descriptor fits into it.
        let count = unsafe {
            let mut set = MaybeUninit::zeroed().assume_init();
            libc::FD_SET(reader.as_raw_fd(), &mut set);
            libc::select(reader.as_raw_fd() + 1, &mut set, null_mut(), null_mut(), null_mut())
        };
        assert_eq!(count, 1);
    }

    lock: "lock", [c"pthread_mutex_lock", c"syscall", c"sem_wait"] {
        struct Shared(UnsafeCell<libc::pthread_mutex_t>);
        // SAFETY: the mutex is used in place, through calls that synchronize.
        unsafe impl Sync for Shared {}
        static MUTEX: Shared = Shared(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
        // SAFETY: an initialised mutex.
        let lock = move || assert_eq!(unsafe { libc::pthread_mutex_lock(MUTEX.0.get()) }, 0);
        // SAFETY: the caller has locked it.
        let unlock = move || assert_eq!(unsafe { libc::pthread_mutex_unlock(MUTEX.0.get()) }, 0);
        lock();
        let other = spawn(move || {
            lock();
            unlock();
        });
        // The other waits for the lock, and the one who has it goes on.
        yield_now();
        unlock();
        other.join().unwrap();
    }

    thread: "thread", [c"pthread_create", c"pthread_join", c"sched_yield"] {
        extern "C" fn kernel_thread(_: *mut c_void) -> *mut c_void {
            // SAFETY: always sound.
            unsafe { libc::gettid() as *mut c_void }
        }
        let mut thread = 0;
        let mut its = null_mut();
        // SAFETY: places for the results, and a function of this type.
        unsafe {
            assert_eq!(libc::pthread_create(&mut thread, null(), kernel_thread, null_mut()), 0);
            assert_eq!(libc::pthread_join(thread, &mut its), 0);
        }
        assert_eq!(its, kernel_thread(null_mut()), "it ran elsewhere");
        // SAFETY: always sound.
        until_another_has_run(|| ok(unsafe { libc::sched_yield() }));
    }

    os: "os", [c"open", c"flock", c"fsync"] {
        let [reader, writer] = pipe();
        write_later(&writer);
        assert_eq!(read(&reader), 1);
        // Each opening of a file has its own lock.
        let path = std::env::temp_dir().join(format!("greenpatch-families-{}", std::process::id()));
        let [mine, its] = [(); 2].map(|()| std::fs::File::create(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        // SAFETY: an open descriptor.
        ok(unsafe { libc::flock(mine.as_raw_fd(), libc::LOCK_EX) });
        // SAFETY: as above.
        let other = spawn(move || ok(unsafe { libc::flock(its.as_raw_fd(), libc::LOCK_EX) }));
        yield_now();
        drop(mine);
        other.join().unwrap();
    }

    // There is no other way in than a section; that others run meanwhile is the subject of another test.
    dns: "dns", [c"getaddrinfo", c"getpwuid_r", c"res_query"] {
        let before = metrics().unwrap().blocking_sections;
        let mut found = null_mut();
        // SAFETY: a C string and a place for the result, which is freed once.
        unsafe {
            assert_eq!(libc::getaddrinfo(c"localhost".as_ptr(), null(), null(), &mut found), 0);
            libc::freeaddrinfo(found);
        }
        assert!(metrics().unwrap().blocking_sections > before);
    }

    process: "process", [c"waitpid", c"wait4", c"system"] {
        let [reader, writer] = pipe();
        // SAFETY: the child makes two calls that are safe there.
        let child = unsafe {
            let child = ok(libc::fork());
            if child == 0 {
                libc::_exit(read(&reader) as c_int);
            }
            child
        };
        write_later(&writer);
        let mut status = 0;
        // SAFETY: our child, and a place for the result.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(libc::WEXITSTATUS(status), 1);
    }

    reading_and_writing: "socket" | "os", [c"read", c"write", c"readv", c"writev"] {}

    descriptors: "socket" | "os" | "select" | "process", [c"close", c"dup2", c"pipe2", c"fclose"] {}
}

/// Makes this call again and again, which must let the other green threads run.
fn until_another_has_run(call: impl Fn() -> c_int) {
    let has_run = Arc::new(AtomicBool::new(false));
    let other = spawn({
        let has_run = has_run.clone();
        move || has_run.store(true, Ordering::Relaxed)
    });
    while !has_run.load(Ordering::Relaxed) {
        call();
    }
    other.join().unwrap();
}

fn owned(fds: [RawFd; 2]) -> [OwnedFd; 2] {
    // SAFETY: they have just been given out.
    fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn pipe() -> [OwnedFd; 2] {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors.
    ok(unsafe { libc::pipe(ends.as_mut_ptr()) });
    owned(ends)
}

/// Reads a byte; how many it were.
fn read(fd: &OwnedFd) -> isize {
    let mut byte = 0u8;
    // SAFETY: room for one byte.
    unsafe { libc::read(fd.as_raw_fd(), (&raw mut byte).cast(), 1) }
}

/// Another green thread writes a byte, once the calling one lets it.
fn write_later(fd: &OwnedFd) {
    static BYTE: u8 = 1;
    let fd = fd.as_raw_fd();
    // SAFETY: one byte. The caller waits for it, and keeps the descriptor open.
    spawn(move || assert_eq!(unsafe { libc::write(fd, (&raw const BYTE).cast(), 1) }, 1));
}
