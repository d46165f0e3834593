//! smoke
use greenpatch_runtime::*;
use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! { static N: Cell<u64> = const { Cell::new(0) }; }

#[test]
fn basics() {
    for workers in [1, 2] {
        let rt = Runtime::builder().workers(workers).build().unwrap();
        let v = rt.run(|| {
            let hs: Vec<_> = (0..1000u64)
                .map(|i| {
                    spawn(move || {
                        N.set(i);
                        for _ in 0..20 {
                            yield_now();
                            assert_eq!(N.get(), i);
                        }
                        time::sleep(Duration::from_millis(10));
                        assert_eq!(N.get(), i);
                        i
                    })
                })
                .collect();
            hs.into_iter().map(|h| h.join().unwrap()).sum::<u64>()
        });
        assert_eq!(v, 499500);
        let t = Instant::now();
        rt.run(|| {
            let h = spawn(|| panic!("boo"));
            assert!(h.join().is_err());
        });
        eprintln!("{:?}", t.elapsed());
    }
}

#[test]
fn perf() {
    let rt = Runtime::builder().workers(1).build().unwrap();
    for _ in 0..3 {
        rt.run(|| {
            for n in [1usize, 2, 100, 1000] {
                let hs: Vec<_> = (0..n)
                    .map(|_| {
                        spawn(|| {
                            for _ in 0..10000 {
                                yield_now();
                            }
                        })
                    })
                    .collect();
                let t = Instant::now();
                for h in hs {
                    h.join().unwrap();
                }
                eprintln!("yield {n}: {:?}", t.elapsed() / (n as u32 * 10000));
            }
            let t = Instant::now();
            for _ in 0..100_000 {
                spawn(|| ()).join().unwrap();
            }
            eprintln!("spawn+join {:?}", t.elapsed() / 100_000);
        });
    }
}
