//! `syscall`: system calls past libc's own functions.
//!
//! Calls on futexes are carried out by `futex` and `futex2`, and `close_range` by the function, on every thread. Of the
//! others, a green thread makes those that have something to wait for, or that concern descriptors, by the function of that
//! name, be it a shim or libc's, and all else in a blocking section, as nobody knows what it waits for. Any other thread
//! makes them as they are. The runtime is told of what they close and of what they open.

use std::ffi::{c_int, c_long};

use greenpatch_runtime::hook;
use rustix::io::Errno;

#[cfg(any(
    feature = "socket",
    feature = "os",
    feature = "select",
    feature = "process"
))]
use crate::fd::telling;
use crate::kernel::{self, returned};
use crate::{futex, futex2};

#[cfg(feature = "os")]
unsafe extern "C-unwind" {
    fn semtimedop(
        set: c_int,
        operations: *mut libc::sembuf,
        count: usize,
        timeout: *const libc::timespec,
    ) -> c_int;
}

/// Variadic in C. No system call has more than six arguments, and whatever fewer the caller gave,
/// reading all seven registers and stack words is harmless.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn syscall(
    number: c_long,
    one: usize,
    two: usize,
    three: usize,
    four: usize,
    five: usize,
    six: usize,
) -> c_long {
    let arguments = [one, two, three, four, five, six];
    // SAFETY: what the call asks of its caller.
    unsafe {
        match number {
            libc::SYS_futex => return futex::call(arguments),
            futex2::FUTEX_WAITV
            | futex2::FUTEX_WAKE
            | futex2::FUTEX_WAIT
            | futex2::FUTEX_REQUEUE => return futex2::call(number, arguments),
            libc::SYS_close_range => {
                return libc::close_range(one as _, two as _, three as _).into();
            }
            _ => {}
        }
        let is_green = hook::enter_any().is_some();
        if is_green && let Some(value) = by_function(number, arguments) {
            return value;
        }
        let outcome = telling(number, arguments, || match hook::enter_any() {
            // A signal handler may make system calls.
            Some(section) => section.blocking_in_place(|| kernel::call(number, arguments)),
            None => kernel::call(number, arguments),
        });
        returned(outcome.map(|value| value as c_long))
    }
}

#[cfg(not(any(
    feature = "socket",
    feature = "os",
    feature = "select",
    feature = "process"
)))]
unsafe fn telling(
    _number: c_long,
    _arguments: [usize; 6],
    call: impl FnOnce() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    call()
}

/// Calls libc's functions of these names with as many of the arguments as they take.
macro_rules! by_functions {
    ($number:expr, $arguments:expr; $($call:ident = $function:ident($($argument:tt),*);)+) => {
        match $number {
            $(libc::$call => libc::$function($($arguments[$argument] as _),*) as c_long,)+
            _ => return None,
        }
    };
}

/// The function with this system call's name and arguments; `None` if there is nothing it could do better.
///
/// # Safety
///
/// As for the call.
unsafe fn by_function(number: c_long, a: [usize; 6]) -> Option<c_long> {
    // SAFETY: the arguments are right for the call, by this function's contract. The functions take what the calls
    // take, but where it is said.
    let value = unsafe {
        match number {
            // The kernel has the sizes of the masks, too, and where it gives back the time left.
            libc::SYS_ppoll => libc::ppoll(a[0] as _, a[1] as _, a[2] as _, a[3] as _).into(),
            libc::SYS_pselect6 => {
                let mask = (a[5] as *const usize).as_ref().map_or(0, |&mask| mask);
                let sets = [a[1], a[2], a[3]].map(|set| set as *mut libc::fd_set);
                libc::pselect(a[0] as _, sets[0], sets[1], sets[2], a[4] as _, mask as _).into()
            }
            libc::SYS_epoll_pwait => {
                libc::epoll_pwait(a[0] as _, a[1] as _, a[2] as _, a[3] as _, a[4] as _).into()
            }
            #[cfg(feature = "select")]
            libc::SYS_epoll_pwait2 => {
                let (set, events) = (a[0] as _, a[1] as _);
                libc::epoll_pwait2(set, events, a[2] as _, a[3] as _, a[4] as _).into()
            }
            #[cfg(feature = "os")]
            libc::SYS_semtimedop => semtimedop(a[0] as _, a[1] as _, a[2] as _, a[3] as _).into(),
            libc::SYS_rt_sigsuspend => libc::sigsuspend(a[0] as _).into(),
            libc::SYS_rt_sigtimedwait => libc::sigtimedwait(a[0] as _, a[1] as _, a[2] as _).into(),
            // The function gives the error as its value.
            libc::SYS_clock_nanosleep => {
                let error = libc::clock_nanosleep(a[0] as _, a[1] as _, a[2] as _, a[3] as _);
                let outcome = match error {
                    0 => Ok(0),
                    error => Err(Errno::from_raw_os_error(error)),
                };
                returned::<c_int>(outcome).into()
            }
            // The kernel takes the position in two halves, of which the first is all on 64-bit machines.
            libc::SYS_preadv2 => {
                libc::preadv2(a[0] as _, a[1] as _, a[2] as _, a[3] as _, a[5] as _) as c_long
            }
            libc::SYS_pwritev2 => {
                libc::pwritev2(a[0] as _, a[1] as _, a[2] as _, a[3] as _, a[5] as _) as c_long
            }
            // Without resource usage it is the function.
            libc::SYS_waitid if a[4] == 0 => {
                libc::waitid(a[0] as _, a[1] as _, a[2] as _, a[3] as _).into()
            }
            // These are variadic.
            libc::SYS_fcntl => libc::fcntl(a[0] as _, a[1] as _, a[2]).into(),
            libc::SYS_open => libc::open(a[0] as _, a[1] as _, a[2]).into(),
            libc::SYS_openat => libc::openat(a[0] as _, a[1] as _, a[2] as _, a[3]).into(),
            libc::SYS_sync => {
                libc::sync();
                0
            }
            _ => by_functions! { number, a;
                SYS_nanosleep = nanosleep(0, 1);
                SYS_sched_yield = sched_yield();
                SYS_read = read(0, 1, 2);
                SYS_write = write(0, 1, 2);
                SYS_readv = readv(0, 1, 2);
                SYS_writev = writev(0, 1, 2);
                SYS_pread64 = pread64(0, 1, 2, 3);
                SYS_pwrite64 = pwrite64(0, 1, 2, 3);
                SYS_preadv = preadv64(0, 1, 2, 3);
                SYS_pwritev = pwritev64(0, 1, 2, 3);
                SYS_sendfile = sendfile64(0, 1, 2, 3);
                SYS_splice = splice(0, 1, 2, 3, 4, 5);
                SYS_tee = tee(0, 1, 2, 3);
                SYS_vmsplice = vmsplice(0, 1, 2, 3);
                SYS_socket = socket(0, 1, 2);
                SYS_socketpair = socketpair(0, 1, 2, 3);
                SYS_setsockopt = setsockopt(0, 1, 2, 3, 4);
                SYS_accept = accept(0, 1, 2);
                SYS_accept4 = accept4(0, 1, 2, 3);
                SYS_connect = connect(0, 1, 2);
                SYS_recvfrom = recvfrom(0, 1, 2, 3, 4, 5);
                SYS_recvmsg = recvmsg(0, 1, 2);
                SYS_recvmmsg = recvmmsg(0, 1, 2, 3, 4);
                SYS_sendto = sendto(0, 1, 2, 3, 4, 5);
                SYS_sendmsg = sendmsg(0, 1, 2);
                SYS_sendmmsg = sendmmsg(0, 1, 2, 3);
                SYS_close = close(0);
                SYS_dup = dup(0);
                SYS_dup2 = dup2(0, 1);
                SYS_dup3 = dup3(0, 1, 2);
                SYS_pipe = pipe(0);
                SYS_pipe2 = pipe2(0, 1);
                SYS_eventfd2 = eventfd(0, 1);
                SYS_timerfd_create = timerfd_create(0, 1);
                SYS_epoll_create1 = epoll_create1(0);
                SYS_creat = creat(0, 1);
                SYS_poll = poll(0, 1, 2);
                SYS_select = select(0, 1, 2, 3, 4);
                SYS_epoll_wait = epoll_wait(0, 1, 2, 3);
                SYS_fsync = fsync(0);
                SYS_fdatasync = fdatasync(0);
                SYS_syncfs = syncfs(0);
                SYS_sync_file_range = sync_file_range(0, 1, 2, 3);
                SYS_msync = msync(0, 1, 2);
                SYS_fallocate = fallocate64(0, 1, 2, 3);
                SYS_flock = flock(0, 1);
                SYS_wait4 = wait4(0, 1, 2, 3);
                SYS_pause = pause();
                SYS_msgsnd = msgsnd(0, 1, 2, 3);
                SYS_msgrcv = msgrcv(0, 1, 2, 3, 4);
                SYS_semop = semop(0, 1, 2);
                SYS_mq_timedsend = mq_timedsend(0, 1, 2, 3, 4);
                SYS_mq_timedreceive = mq_timedreceive(0, 1, 2, 3, 4);
            },
        }
    };
    Some(value)
}
