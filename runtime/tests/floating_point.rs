//! The floating-point environment belongs to the green thread.

use std::hint::black_box;

use greenpatch_runtime::{Runtime, spawn, yield_now};

/// `fenv.h` of x86-64: rounding modes, and the flags of exceptions.
const NEAREST: i32 = 0;
const DOWN: i32 = 0x400;
const UP: i32 = 0x800;
const ZERO: i32 = 0xc00;
const DIVISION_BY_ZERO: i32 = 4;
const INEXACT: i32 = 0x20;

#[link(name = "m")]
unsafe extern "C" {
    safe fn fesetround(mode: i32) -> i32;
    safe fn fegetround() -> i32;
    safe fn feclearexcept(exceptions: i32) -> i32;
    safe fn fetestexcept(exceptions: i32) -> i32;
    safe fn feenableexcept(exceptions: i32) -> i32;
    safe fn fegetexcept() -> i32;
}

fn runtime(workers: usize) -> Runtime {
    Runtime::builder()
        .workers(workers)
        .build()
        .expect("this machine has what green threads need")
}

fn third() -> u64 {
    (black_box(1.0) / black_box(3.0_f64)).to_bits()
}

/// The rounding of the x87 unit, by its control word.
fn x87_rounding() -> i32 {
    let mut control = 0_u16;
    // SAFETY: stores the control word, of two bytes.
    unsafe { std::arch::asm!("fnstcw [{}]", in(reg) &raw mut control, options(nostack)) };
    i32::from(control) & ZERO
}

#[test]
fn each_green_thread_rounds_its_own_way() {
    let nearest = third();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let threads: Vec<_> = (0..40)
                .map(|index| {
                    spawn(move || {
                        let mode = [NEAREST, DOWN, UP, ZERO][index % 4];
                        fesetround(mode);
                        let own = third();
                        assert_eq!(own == nearest, mode != UP);
                        for _ in 0..100 {
                            yield_now();
                            assert_eq!(third(), own);
                            assert_eq!((fegetround(), x87_rounding()), (mode, mode));
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!((third(), fegetround()), (nearest, NEAREST));
        });
    }
}

#[test]
fn one_that_rounds_up_changes_nobody_who_comes_after() {
    let nearest = third();
    runtime(1).run(|| {
        spawn(|| fesetround(UP)).join().unwrap();
        assert_eq!(third(), nearest);
        assert_eq!(spawn(third).join().unwrap(), nearest);
    });
}

#[test]
fn a_green_thread_begins_with_its_spawners_environment() {
    let runtime = runtime(2);
    let from_os_thread = std::thread::scope(|scope| {
        let spawner = scope.spawn(|| {
            fesetround(DOWN);
            runtime.run(|| (fegetround(), x87_rounding()))
        });
        spawner.join().unwrap()
    });
    assert_eq!(from_os_thread, (DOWN, DOWN));
    runtime.run(|| {
        fesetround(UP);
        let child = spawn(|| (fegetround(), x87_rounding()));
        fesetround(ZERO);
        assert_eq!(child.join().unwrap(), (UP, UP));
    });
}

#[test]
fn exceptions_seen_by_one_are_not_told_to_another() {
    runtime(1).run(|| {
        feclearexcept(INEXACT | DIVISION_BY_ZERO);
        let other = spawn(|| {
            black_box(black_box(1.0) / black_box(0.0_f64));
            yield_now();
            fetestexcept(DIVISION_BY_ZERO)
        });
        yield_now();
        assert_eq!(fetestexcept(DIVISION_BY_ZERO), 0);
        assert_eq!(other.join().unwrap(), DIVISION_BY_ZERO);
    });
}

#[test]
fn exceptions_trapped_by_one_do_not_strike_another() {
    runtime(1).run(|| {
        let other = spawn(|| {
            feenableexcept(DIVISION_BY_ZERO | INEXACT);
            for _ in 0..10 {
                yield_now();
                assert_eq!(fegetexcept(), DIVISION_BY_ZERO | INEXACT);
            }
        });
        for _ in 0..5 {
            yield_now();
            assert_eq!(fegetexcept(), 0);
            // Inexact in both units; the second leaves its flag standing there.
            black_box(third());
            black_box(rint_on_x87(2.5));
        }
        other.join().unwrap();
    });
}

/// Rounds on the x87 unit, which sets its flag of inexact results.
fn rint_on_x87(value: f64) -> f64 {
    let mut rounded = value;
    // SAFETY: reads and writes the one number, and leaves the unit's stack empty.
    unsafe {
        std::arch::asm!(
            "fld qword ptr [{place}]",
            "frndint",
            "fstp qword ptr [{place}]",
            place = in(reg) &raw mut rounded,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            options(nostack),
        );
    }
    rounded
}
