//! setuid and its kin change every OS thread of the process, and come back, while green threads run.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{process, thread};

use greenpatch_runtime::{Runtime, blocking, sync, time, yield_now};

/// The effective user ids of the process's threads.
fn users() -> Vec<u32> {
    let mut users = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        // One that has ended meanwhile has none.
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else {
            continue;
        };
        let ids = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .unwrap();
        users.push(ids.split_whitespace().nth(1).unwrap().parse().unwrap());
    }
    users
}

/// The ids are the process's.
static ONE_AT_A_TIME: sync::Mutex<()> = sync::Mutex::new(());

fn change_ids() {
    let _turn = ONE_AT_A_TIME.lock().unwrap();
    // SAFETY: these have no preconditions.
    unsafe {
        let (user, group) = (libc::getuid(), libc::getgid());
        assert_eq!(libc::setgid(group), 0);
        assert_eq!(libc::setresgid(group, group, group), 0);
        assert_eq!(libc::setreuid(user, user), 0);
        if user != 0 {
            // Refused on all threads alike.
            assert_eq!(libc::setuid(0), -1);
            return;
        }
        for effective in [65_534, 0] {
            assert_eq!(libc::seteuid(effective), 0);
            // glibc leaves threads alone that are about to end.
            while users().iter().any(|&user| user != effective) {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[test]
fn ids_change_while_green_threads_run() {
    thread::spawn(|| {
        thread::sleep(Duration::from_secs(60));
        eprintln!("setuid hangs");
        process::abort();
    });
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let pair = Arc::new((sync::Semaphore::new(0), sync::Semaphore::new(0)));
    let mut greens = Vec::new();
    for number in 0..8 {
        let (stop, pair) = (stop.clone(), pair.clone());
        // Some switch all the time, some sleep, some block their worker, some compute.
        greens.push(runtime.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match number {
                    0 | 1 => yield_now(),
                    2 => time::sleep(Duration::from_micros(100)),
                    3 => blocking(|| thread::sleep(Duration::from_millis(3))),
                    4 => (0..10_000).for_each(|number| _ = std::hint::black_box(number)),
                    5 => {
                        pair.0.release(1);
                        pair.1.acquire().forget();
                    }
                    6 => {
                        pair.0.acquire().forget();
                        pair.1.release(1);
                    }
                    _ => {
                        change_ids();
                        yield_now();
                    }
                }
            }
            if number == 5 {
                pair.0.release(1);
            } else if number == 6 {
                pair.1.release(1);
            }
        }));
    }
    // A green thread, an OS thread and a green thread of another runtime.
    for _ in 0..20 {
        change_ids();
        Runtime::builder()
            .workers(1)
            .build()
            .unwrap()
            .run(change_ids);
    }
    stop.store(true, Ordering::Relaxed);
    greens.into_iter().for_each(|green| green.join().unwrap());
}
