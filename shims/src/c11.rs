//! C11's names for mutexes and condition variables. As in glibc, the objects are pthreads', and `mtx_init`,
//! `mtx_destroy` and `cnd_init` stay.

use std::ffi::{c_int, c_void};

use libc::timespec;

use crate::c11_status::status;

unsafe extern "C-unwind" {
    fn pthread_mutex_lock(mutex: *mut c_void) -> c_int;
    fn pthread_mutex_trylock(mutex: *mut c_void) -> c_int;
    fn pthread_mutex_timedlock(mutex: *mut c_void, time: *const timespec) -> c_int;
    fn pthread_mutex_unlock(mutex: *mut c_void) -> c_int;
    fn pthread_cond_wait(cond: *mut c_void, mutex: *mut c_void) -> c_int;
    fn pthread_cond_timedwait(
        cond: *mut c_void,
        mutex: *mut c_void,
        time: *const timespec,
    ) -> c_int;
    fn pthread_cond_signal(cond: *mut c_void) -> c_int;
    fn pthread_cond_broadcast(cond: *mut c_void) -> c_int;
    fn pthread_cond_destroy(cond: *mut c_void) -> c_int;
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mtx_lock(mutex: *mut c_void) -> c_int {
    status(pass_on!(pthread_mutex_lock(mutex)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mtx_trylock(mutex: *mut c_void) -> c_int {
    status(pass_on!(pthread_mutex_trylock(mutex)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mtx_timedlock(mutex: *mut c_void, time: *const timespec) -> c_int {
    status(pass_on!(pthread_mutex_timedlock(mutex, time)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn mtx_unlock(mutex: *mut c_void) -> c_int {
    status(pass_on!(pthread_mutex_unlock(mutex)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn cnd_wait(cond: *mut c_void, mutex: *mut c_void) -> c_int {
    status(pass_on!(pthread_cond_wait(cond, mutex)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn cnd_timedwait(
    cond: *mut c_void,
    mutex: *mut c_void,
    time: *const timespec,
) -> c_int {
    status(pass_on!(pthread_cond_timedwait(cond, mutex, time)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn cnd_signal(cond: *mut c_void) -> c_int {
    status(pass_on!(pthread_cond_signal(cond)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn cnd_broadcast(cond: *mut c_void) -> c_int {
    status(pass_on!(pthread_cond_broadcast(cond)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn cnd_destroy(cond: *mut c_void) {
    // SAFETY: what `cnd_destroy` asks of its caller: an initialised condition variable, which as in glibc is a pthread's.
    unsafe { pthread_cond_destroy(cond) };
}
