//! What people suffer from with gevent and eventlet, and what is no event here.
//!
//! Each test has one worker and nobody who stands in for it, but where compensation is the subject: whatever blocks, hangs.

use std::cell::{Cell, UnsafeCell};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

// For its shims.
use greenpatch as _;
use harness::{SHORT, Watchdog, compensated_runtime, on_one_worker};

/// Calls `wait` on many green threads; none may go on before all have begun.
fn all_at_once(wait: impl Fn() + Clone + Send + 'static) {
    const THREADS: usize = 50;
    let begun = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (begun, wait) = (begun.clone(), wait.clone());
            thread::spawn(move || {
                begun.fetch_add(1, Ordering::Relaxed);
                while begun.load(Ordering::Relaxed) < THREADS {
                    wait();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// eventlet and gevent replace names in modules: who has taken the function before keeps the blocking one.
#[test]
fn a_function_taken_before_the_patch_yields() {
    let of_std: fn(Duration) = thread::sleep;
    // SAFETY: a C string; sleep has this type.
    let of_libc: extern "C" fn(u32) -> i32 =
        unsafe { std::mem::transmute(libc::dlsym(libc::RTLD_DEFAULT, c"usleep".as_ptr())) };
    on_one_worker(move || {
        all_at_once(move || of_std(SHORT));
        all_at_once(move || assert_eq!(of_libc(20_000), 0));
    });
}

#[test]
fn a_c_call_that_sleeps_yields() {
    on_one_worker(|| {
        all_at_once(|| {
            let time = libc::timespec {
                tv_sec: 0,
                tv_nsec: 20_000_000,
            };
            // SAFETY: a valid time, and no remainder wanted.
            assert_eq!(unsafe { libc::nanosleep(&time, null_mut()) }, 0);
        });
    });
}

#[test]
fn a_lock_made_before_the_patch_waits_without_blocking() {
    let lock = Arc::new(Mutex::new(0));
    on_one_worker({
        let lock = lock.clone();
        move || {
            let threads: Vec<_> = (0..50)
                .map(|_| {
                    let lock = lock.clone();
                    thread::spawn(move || {
                        let mut count = lock.lock().unwrap();
                        // Held across a wait: the others contend.
                        thread::sleep(Duration::from_millis(1));
                        *count += 1;
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        }
    });
    assert_eq!(*lock.lock().unwrap(), 50);
}

#[test]
fn a_lock_held_by_an_os_thread_is_waited_for_and_handed_on() {
    let lock = Arc::new(Mutex::new(()));
    let (held, is_held) = mpsc::channel();
    let (let_go, may_go) = mpsc::channel::<()>();
    let os_thread = thread::spawn({
        let lock = lock.clone();
        move || {
            let _guard = lock.lock().unwrap();
            held.send(()).unwrap();
            may_go.recv().unwrap();
        }
    });
    is_held.recv().unwrap();
    on_one_worker(move || {
        let waiter = thread::spawn(move || drop(lock.lock().unwrap()));
        // The waiter has its turn, and must not stop this one from having its.
        thread::sleep(SHORT);
        assert!(!waiter.is_finished());
        let_go.send(()).unwrap();
        waiter.join().unwrap();
    });
    os_thread.join().unwrap();
}

struct Recursive(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a pthread mutex is there to be shared.
unsafe impl Sync for Recursive {}
// SAFETY: nobody holds it when it moves.
unsafe impl Send for Recursive {}

/// The patched RLock of eventlet takes all greenlets of an OS thread for one owner.
#[test]
fn a_recursive_mutex_made_before_the_patch_excludes_green_threads() {
    // SAFETY: initialised before use; the attributes live as long as they are needed.
    let mutex = unsafe {
        let mut attributes = std::mem::zeroed();
        assert_eq!(libc::pthread_mutexattr_init(&mut attributes), 0);
        assert_eq!(
            libc::pthread_mutexattr_settype(&mut attributes, libc::PTHREAD_MUTEX_RECURSIVE),
            0
        );
        let mutex = Box::new(Recursive(UnsafeCell::new(std::mem::zeroed())));
        assert_eq!(libc::pthread_mutex_init(mutex.0.get(), &attributes), 0);
        Arc::<Recursive>::from(mutex)
    };
    on_one_worker(move || {
        let inside = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let (mutex, inside) = (mutex.clone(), inside.clone());
                thread::spawn(move || {
                    // SAFETY: initialised, and unlocked as often as it is locked.
                    let lock = || unsafe { assert_eq!(libc::pthread_mutex_lock(mutex.0.get()), 0) };
                    // SAFETY: as above.
                    let unlock =
                        || unsafe { assert_eq!(libc::pthread_mutex_unlock(mutex.0.get()), 0) };
                    lock();
                    assert!(!inside.swap(true, Ordering::Relaxed), "two are inside");
                    lock();
                    thread::sleep(Duration::from_millis(1));
                    unlock();
                    thread::sleep(Duration::from_millis(1));
                    inside.store(false, Ordering::Relaxed);
                    unlock();
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

thread_local! {
    static OWN: Cell<usize> = const { Cell::new(0) };
}

#[test]
fn thread_locals_are_each_green_threads_own() {
    on_one_worker(|| {
        let threads: Vec<_> = (1..50)
            .map(|number| {
                thread::spawn(move || {
                    assert_eq!(OWN.get(), 0);
                    OWN.set(number);
                    thread::sleep(SHORT);
                    assert_eq!(OWN.get(), number);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Between an OS thread started before the patch and a greenlet, eventlet's queue loses items.
#[test]
fn a_queue_between_an_os_thread_and_a_green_thread_loses_nothing() {
    const ITEMS: usize = 20_000;
    let (to_green, from_os) = mpsc::sync_channel(10);
    let (to_os, from_green) = mpsc::sync_channel(10);
    let feeder = thread::spawn(move || {
        for item in 0..ITEMS {
            to_green.send(item).unwrap();
        }
    });
    let reader = thread::spawn(move || assert!(from_green.iter().eq(0..ITEMS)));
    on_one_worker(move || {
        for item in from_os {
            to_os.send(item).unwrap();
        }
    });
    feeder.join().unwrap();
    reader.join().unwrap();
}

/// multiprocessing on top of a patched process is where gevent's manual says to be careful.
#[test]
fn a_pool_of_forked_processes_serves_green_threads() {
    const PROCESSES: usize = 8;
    on_one_worker(|| {
        let workers: Vec<_> = (0..PROCESSES)
            .map(|_| {
                let (mut here, mut there) = UnixStream::pair().unwrap();
                // SAFETY: the child uses its own stack, its sockets, and ends.
                let child = unsafe { libc::fork() };
                assert!(child >= 0);
                if child == 0 {
                    drop(here);
                    let mut number = [0; 8];
                    while there.read_exact(&mut number).is_ok() {
                        thread::sleep(Duration::from_millis(1));
                        let square = u64::from_ne_bytes(number).pow(2);
                        there.write_all(&square.to_ne_bytes()).unwrap();
                    }
                    // SAFETY: always sound.
                    unsafe { libc::_exit(7) };
                }
                drop(there);
                thread::spawn(move || {
                    for number in 0..50_u64 {
                        here.write_all(&number.to_ne_bytes()).unwrap();
                        let mut square = [0; 8];
                        here.read_exact(&mut square).unwrap();
                        assert_eq!(u64::from_ne_bytes(square), number.pow(2));
                    }
                    here.shutdown(std::net::Shutdown::Both).unwrap();
                    let mut status = 0;
                    // SAFETY: our child, and a status of ours.
                    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                    assert!(libc::WIFEXITED(status));
                    assert_eq!(libc::WEXITSTATUS(status), 7);
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// flock knows open files, not threads: on one hub the second greenlet blocks the first.
#[test]
fn a_file_lock_held_by_another_green_thread_is_waited_for() {
    let path = std::env::temp_dir().join(format!("greenpatch-pains-{}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    on_one_worker(move || {
        let all_open = Arc::new(Barrier::new(10));
        let inside = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..10)
            .map(|_| {
                let (all_open, inside) = (all_open.clone(), inside.clone());
                let path = path.clone();
                thread::spawn(move || {
                    let file = std::fs::File::open(path).unwrap();
                    all_open.wait();
                    file.lock().unwrap();
                    assert!(!inside.swap(true, Ordering::Relaxed), "two hold the lock");
                    thread::sleep(Duration::from_millis(2));
                    inside.store(false, Ordering::Relaxed);
                    file.unlock().unwrap();
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        std::fs::remove_file(path).unwrap();
    });
    drop(file);
}

#[test]
fn opening_and_reading_a_fifo_waits_without_blocking() {
    let path = std::env::temp_dir().join(format!("greenpatch-pains-fifo-{}", std::process::id()));
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    on_one_worker(move || {
        let reader = thread::spawn({
            let path = path.clone();
            move || std::fs::read_to_string(path).unwrap()
        });
        // The reader waits for the other end to be opened, and then for what is written.
        thread::sleep(SHORT);
        let mut writer = std::fs::File::create(&path).unwrap();
        thread::sleep(SHORT);
        writer.write_all(b"through the FIFO").unwrap();
        drop(writer);
        assert_eq!(reader.join().unwrap(), "through the FIFO");
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn children_are_started_and_waited_for_beside_each_other() {
    on_one_worker(|| {
        let (gate, keeper) = std::io::pipe().unwrap();
        let children: Vec<_> = (0..20)
            .map(|number| {
                let mut command = std::process::Command::new("sh");
                command
                    .args(["-c", &format!("read word; exit {number}")])
                    .stdin(gate.try_clone().unwrap());
                thread::spawn(move || command.status().unwrap().code())
            })
            .collect();
        drop(gate);
        // All are waited for before the first can end.
        thread::sleep(SHORT);
        drop(keeper);
        let codes: Vec<_> = children
            .into_iter()
            .map(|child| child.join().unwrap())
            .collect();
        assert_eq!(codes, (0..20).map(Some).collect::<Vec<_>>());
    });
}

#[test]
fn names_are_looked_up_beside_each_other() {
    use std::net::ToSocketAddrs;

    on_one_worker(|| {
        let threads: Vec<_> = (0..20)
            .map(|port| {
                thread::spawn(move || {
                    let mut addresses = ("localhost", port).to_socket_addrs().unwrap();
                    addresses.all(|address| address.ip().is_loopback() && address.port() == port)
                })
            })
            .collect();
        for thread in threads {
            assert!(thread.join().unwrap());
        }
    });
}

/// With compensation, as it is by default: others tick while one computes, and while one calls what no shim reaches.
#[test]
fn half_a_second_of_computing_stops_nobody() {
    let _watchdog = Watchdog::start();
    let ticks = compensated_runtime(1).run(|| {
        let is_done = Arc::new(AtomicBool::new(false));
        let ticker = thread::spawn({
            let is_done = is_done.clone();
            move || {
                let mut ticks = 0;
                while !is_done.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(10));
                    ticks += 1;
                }
                ticks
            }
        });
        thread::yield_now();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(500) {
            std::hint::spin_loop();
        }
        is_done.store(true, Ordering::Relaxed);
        ticker.join().unwrap()
    });
    // One tick is what it has without compensation, 50 with a machine to itself.
    assert!(ticks > 5, "{ticks} ticks");
}
