//! What a shim adds to a call on an OS thread, where it passes through: the call by its name, beside libc's own definition.
//! There is a runtime in the process.
//!
//! And what calls on descriptors take on a green thread, from the shim to the reactor and back.
//!
//! Locks have one implementation for threads of both kinds, which takes the place of libc's.

#![allow(missing_docs, reason = "criterion_group! makes public items")]

use std::ffi::{CStr, c_int, c_void};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::{io, mem};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use greenpatch::Runtime;

/// libc's own definition of `name`.
fn original(name: &CStr) -> *mut c_void {
    // SAFETY: a C string.
    let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!address.is_null(), "libc has no {name:?}");
    address
}

fn compare<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    mut shim: impl FnMut() -> T,
    mut original: impl FnMut() -> T,
) {
    group.bench_function("shim", |bencher| bencher.iter(&mut shim));
    group.bench_function("libc", |bencher| bencher.iter(&mut original));
}

/// Fails in the kernel at once, so that the call itself is all there is.
fn read(criterion: &mut Criterion) {
    type Read = unsafe extern "C" fn(c_int, *mut c_void, usize) -> isize;
    // SAFETY: the function has this type.
    let original = unsafe { mem::transmute::<*mut c_void, Read>(original(c"read")) };
    let mut byte = 0_u8;
    let buffer = (&raw mut byte).cast();
    let mut group = criterion.benchmark_group("read, bad descriptor");
    compare(
        &mut group,
        // SAFETY: room for a byte.
        || unsafe { libc::read(black_box(-1), buffer, 1) },
        // SAFETY: room for a byte.
        || unsafe { original(black_box(-1), buffer, 1) },
    );
}

/// The runtime is told of it, for those who may wait on the descriptor.
fn close(criterion: &mut Criterion) {
    type Close = unsafe extern "C" fn(c_int) -> c_int;
    // SAFETY: the function has this type.
    let original = unsafe { mem::transmute::<*mut c_void, Close>(original(c"close")) };
    let mut group = criterion.benchmark_group("close, bad descriptor");
    compare(
        &mut group,
        // SAFETY: nothing is closed.
        || unsafe { libc::close(black_box(-1)) },
        // SAFETY: nothing is closed.
        || unsafe { original(black_box(-1)) },
    );
}

fn dup2(criterion: &mut Criterion) {
    type Dup2 = unsafe extern "C" fn(c_int, c_int) -> c_int;
    // SAFETY: the function has this type.
    let original = unsafe { mem::transmute::<*mut c_void, Dup2>(original(c"dup2")) };
    let (from, to) = io::pipe().unwrap();
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    let mut group = criterion.benchmark_group("dup2");
    compare(
        &mut group,
        // SAFETY: both are ours.
        || unsafe { libc::dup2(black_box(from), to) },
        // SAFETY: both are ours.
        || unsafe { original(black_box(from), to) },
    );
}

fn mutex(criterion: &mut Criterion) {
    type Act = unsafe extern "C" fn(*mut libc::pthread_mutex_t) -> c_int;
    // SAFETY: the functions have this type.
    let [lock, unlock] = [c"pthread_mutex_lock", c"pthread_mutex_unlock"]
        // SAFETY: as told.
        .map(|name| unsafe { mem::transmute::<*mut c_void, Act>(original(name)) });
    let mut ours = libc::PTHREAD_MUTEX_INITIALIZER;
    let mut theirs = libc::PTHREAD_MUTEX_INITIALIZER;
    let mut group = criterion.benchmark_group("pthread mutex, lock and unlock");
    compare(
        &mut group,
        // SAFETY: an initialised mutex.
        || unsafe {
            libc::pthread_mutex_lock(black_box(&mut ours));
            libc::pthread_mutex_unlock(black_box(&mut ours));
        },
        // SAFETY: an initialised mutex.
        || unsafe {
            lock(black_box(&mut theirs));
            unlock(black_box(&mut theirs));
        },
    );
}

fn syscall(criterion: &mut Criterion) {
    type Syscall = unsafe extern "C" fn(libc::c_long, ...) -> libc::c_long;
    // SAFETY: the function has this type.
    let original = unsafe { mem::transmute::<*mut c_void, Syscall>(original(c"syscall")) };
    let word = 0_u32;
    let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    let mut group = criterion.benchmark_group("futex wake, nobody waits");
    compare(
        &mut group,
        // SAFETY: a word that is there.
        || unsafe { libc::syscall(libc::SYS_futex, &raw const word, wake, 1) },
        // SAFETY: a word that is there.
        || unsafe { original(libc::SYS_futex, &raw const word, wake, 1) },
    );
}

/// Two ends of a TCP connection.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let far = listener.accept().unwrap().0;
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

/// Calls on a green thread, the only ones that the runtime has something to do for.
fn on_green_threads(criterion: &mut Criterion) {
    let runtime = Runtime::builder()
        .workers(1)
        .compensation(false)
        .build()
        .unwrap();
    let mut group = criterion.benchmark_group("green thread");
    let (mut shut, far) = connection();
    far.shutdown(Shutdown::Write).unwrap();
    let (fd, mut byte) = (shut.as_raw_fd(), [0]);
    group.bench_function("recv, nothing to wait for", |bencher| {
        runtime.run(|| bencher.iter(|| shut.read(&mut byte).unwrap()));
    });
    group.bench_function("read, nothing to wait for", |bencher| {
        // SAFETY: room for a byte.
        runtime.run(|| bencher.iter(|| unsafe { libc::read(fd, byte.as_mut_ptr().cast(), 1) }));
    });
    group.bench_function("recv and send, of two that answer each other", |bencher| {
        runtime.run(|| {
            let (mut near, mut far) = connection();
            let echo = greenpatch::spawn(move || {
                let mut byte = [0];
                while far.read(&mut byte).unwrap() > 0 {
                    far.write_all(&byte).unwrap();
                }
            });
            bencher.iter(|| {
                near.write_all(&byte).unwrap();
                near.read_exact(&mut byte).unwrap();
            });
            drop(near);
            echo.join().unwrap();
        });
    });
    group.bench_function("dup2 onto a known socket, and recv", |bencher| {
        runtime.run(|| {
            let onto = shut.try_clone().unwrap();
            let onto = onto.as_raw_fd();
            bencher.iter(|| {
                // SAFETY: room for a byte, and both descriptors are ours.
                unsafe {
                    libc::dup2(fd, onto);
                    libc::recv(onto, byte.as_mut_ptr().cast(), 1, 0)
                }
            });
        });
    });
    group.bench_function("dup, recv and close", |bencher| {
        runtime.run(|| {
            bencher.iter(|| {
                // SAFETY: room for a byte, and the descriptors are ours.
                unsafe {
                    let copy = libc::dup(fd);
                    libc::recv(copy, byte.as_mut_ptr().cast(), 1, 0);
                    libc::close(copy)
                }
            });
        });
    });
    group.finish();
}

fn all(criterion: &mut Criterion) {
    let _runtime = Runtime::builder().build().unwrap();
    read(criterion);
    close(criterion);
    dup2(criterion);
    mutex(criterion);
    syscall(criterion);
    on_green_threads(criterion);
}

criterion_group!(benches, all);
criterion_main!(benches);
