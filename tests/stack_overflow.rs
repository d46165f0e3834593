//! What becomes of the process when a green thread overflows its stack, faults or panics.

#![allow(
    clippy::print_stderr,
    reason = "the doomed processes say what they are about to do"
)]

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::thread;

use greenpatch::Builder;
use greenpatch_runtime::hook;
use harness::{Watchdog, child, on_one_worker, patched_runtime};

/// Recurses without end, some hundred bytes at a time, as long as `more` says so.
#[inline(never)]
fn recurse(depth: u64, more: &dyn Fn(u64) -> bool) -> u64 {
    let frame = black_box([depth; 32]);
    if more(depth) {
        recurse(depth + 1, more) + black_box(&frame)[3]
    } else {
        depth
    }
}

fn overflow() -> u64 {
    recurse(0, &|depth| black_box(depth) < u64::MAX)
}

/// Runs `work` in a child process, in a runtime, and returns how the child died and its stderr.
fn death_of(test: &str, work: fn()) -> Option<(Option<i32>, String)> {
    let Output { status, stderr, .. } = child::output_of(test, || on_one_worker(work))?;
    Some((
        status.signal(),
        String::from_utf8_lossy(&stderr).into_owned(),
    ))
}

#[test]
fn an_overflow_names_the_green_thread_its_stack_size_and_the_remedy() {
    let death = death_of(
        "an_overflow_names_the_green_thread_its_stack_size_and_the_remedy",
        || {
            let deep = Builder::new()
                .name("deep".to_owned())
                .stack_size(256 * 1024)
                .spawn(overflow);
            let _ = deep.unwrap().join();
        },
    );
    let Some((signal, stderr)) = death else {
        return;
    };
    assert_eq!(signal, Some(libc::SIGABRT), "{stderr}");
    for part in ["'deep'", "overflowed its", "256 KiB", "stack_size"] {
        assert!(stderr.contains(part), "no '{part}' in: {stderr}");
    }
}

#[test]
fn an_overflow_in_a_std_thread_is_told_the_same_way() {
    let death = death_of("an_overflow_in_a_std_thread_is_told_the_same_way", || {
        let deep = thread::Builder::new()
            .name("deep-std".to_owned())
            .spawn(overflow);
        let _ = deep.unwrap().join();
    });
    let Some((signal, stderr)) = death else {
        return;
    };
    assert_eq!(signal, Some(libc::SIGABRT), "{stderr}");
    for part in ["'deep-std'", "overflowed its", "stack_size"] {
        assert!(stderr.contains(part), "no '{part}' in: {stderr}");
    }
}

/// Writes a byte so far below the calling thread's stack, as a function with a large frame does that touches the frame's
/// far end first.
fn write_below_the_stack(distance: usize) {
    let (mut lowest, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are filled in before they are read. The write has no place: it is what the test is about.
    unsafe {
        let mut attributes = std::mem::zeroed();
        assert_eq!(
            libc::pthread_getattr_np(libc::pthread_self(), &mut attributes),
            0
        );
        libc::pthread_attr_getstack(&attributes, &mut lowest, &mut size);
        lowest.cast::<u8>().wrapping_sub(distance).write_volatile(1);
    }
}

/// Expects that a write at `DISTANCE` is told as an overflow, with neighbours whose storage it would hit otherwise.
fn is_an_overflow_at<const DISTANCE: usize>(test: &str) {
    let death = death_of(test, || {
        let small = || Builder::new().stack_size(64 * 1024);
        let neighbour = small().spawn(thread::yield_now).unwrap();
        let large = small().name("large-frame".to_owned());
        let large = large.spawn(|| write_below_the_stack(DISTANCE));
        let _ = (large.unwrap().join(), neighbour.join());
    });
    let Some((signal, stderr)) = death else {
        return;
    };
    assert_eq!(signal, Some(libc::SIGABRT), "{stderr}");
    for part in ["'large-frame'", "overflowed its", "64 KiB"] {
        assert!(stderr.contains(part), "no '{part}' in: {stderr}");
    }
}

#[test]
fn the_first_byte_below_the_stack_is_an_overflow() {
    is_an_overflow_at::<1>("the_first_byte_below_the_stack_is_an_overflow");
}

#[test]
fn a_frame_that_steps_over_a_page_is_an_overflow() {
    is_an_overflow_at::<12_288>("a_frame_that_steps_over_a_page_is_an_overflow");
}

#[test]
fn a_frame_that_steps_over_many_pages_is_an_overflow() {
    is_an_overflow_at::<61_440>("a_frame_that_steps_over_many_pages_is_an_overflow");
}

#[test]
fn an_overflow_on_an_os_thread_is_still_stds_to_tell() {
    let test = "an_overflow_on_an_os_thread_is_still_stds_to_tell";
    let doomed = || {
        let runtime = patched_runtime(1);
        runtime.run(thread::yield_now);
        let deep = thread::Builder::new()
            .name("native".to_owned())
            .spawn(overflow);
        let _ = deep.unwrap().join();
    };
    let Some(output) = child::output_of(test, doomed) else {
        return;
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{stderr}");
    for part in ["'native'", "has overflowed its stack"] {
        assert!(stderr.contains(part), "no '{part}' in: {stderr}");
    }
}

#[test]
fn an_overflow_of_the_workers_stack_kills_the_process() {
    let test = "an_overflow_of_the_workers_stack_kills_the_process";
    let death = death_of(test, || {
        let section = hook::enter_any().expect("a green thread");
        // SAFETY: the function uses no section.
        unsafe { section.blocking_on_workers_stack(overflow) };
    });
    let Some((signal, stderr)) = death else {
        return;
    };
    assert!(
        [Some(libc::SIGSEGV), Some(libc::SIGABRT)].contains(&signal),
        "{signal:?} {stderr}"
    );
}

#[test]
fn what_fits_the_workers_stack_may_overflow_a_green_threads() {
    let _watchdog = Watchdog::start();
    let depth = patched_runtime(1).run(|| {
        let small = Builder::new().stack_size(64 * 1024).spawn(|| {
            let section = hook::enter_any().expect("a green thread");
            // SAFETY: the function uses no section.
            unsafe { section.blocking_on_workers_stack(|| recurse(0, &|depth| depth < 1_000)) }
        });
        small.unwrap().join().unwrap()
    });
    assert!(depth >= 1_000);
}

#[test]
fn another_fault_on_a_green_thread_is_no_overflow() {
    let death = death_of("another_fault_on_a_green_thread_is_no_overflow", || {
        eprintln!("about to read address 16");
        // SAFETY: none: this is the fault that the test is about.
        let _ = unsafe { std::ptr::read_volatile(std::ptr::without_provenance::<u8>(16)) };
    });
    let Some((signal, stderr)) = death else {
        return;
    };
    assert_eq!(signal, Some(libc::SIGSEGV), "{stderr}");
    assert!(stderr.contains("about to read"), "{stderr}");
    assert!(!stderr.contains("overflowed"), "{stderr}");
}

#[test]
fn a_deep_recursion_that_fits_is_no_overflow() {
    let _watchdog = Watchdog::start();
    let depth = patched_runtime(1).run(|| {
        let deep = Builder::new()
            .stack_size(2 << 20)
            .spawn(|| recurse(0, &|depth| depth < 2_000));
        deep.unwrap().join().unwrap()
    });
    assert!(depth >= 2_000);
}

#[test]
fn join_returns_the_panic_of_a_green_thread() {
    let _watchdog = Watchdog::start();
    for workers in [1, 2] {
        patched_runtime(workers).run(|| {
            let payload = greenpatch::spawn(|| panic!("in a green thread"))
                .join()
                .unwrap_err();
            assert_eq!(payload.downcast_ref::<&str>(), Some(&"in a green thread"));
            assert_eq!(greenpatch::spawn(|| 5).join().unwrap(), 5);
        });
    }
}

#[test]
fn the_panic_of_the_main_green_thread_goes_on_in_the_caller() {
    let _watchdog = Watchdog::start();
    let runtime = patched_runtime(1);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.run(|| panic!("in the main green thread"));
    }));
    assert_eq!(
        outcome.unwrap_err().downcast_ref::<&str>(),
        Some(&"in the main green thread")
    );
    assert_eq!(runtime.run(|| 6), 6);
}
