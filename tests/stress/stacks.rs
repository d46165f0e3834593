//! Coroutines inside threads: whatever blocks on an OS thread blocks on a stack of the program's own, too.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use corosensei::{Coroutine, CoroutineResult, Yielder};
use fastrand::Rng;

use crate::work::{World, micros, std_transfers};

/// Runs `body` on a stack of its own, which it may leave in between.
fn on_another_stack<R: 'static>(body: impl FnOnce(&dyn Fn()) -> R + 'static) -> R {
    let mut coroutine = Coroutine::new(|yielder: &Yielder<(), ()>, ()| {
        body(&|| {
            yielder.suspend(());
        })
    });
    loop {
        match coroutine.resume(()) {
            CoroutineResult::Yield(()) => thread::yield_now(),
            CoroutineResult::Return(result) => return result,
        }
    }
}

/// Two coroutines send bytes to and fro, each in a thread of its own.
pub(crate) fn talks_from_another_stack(_: &Arc<World>, random: &mut Rng) {
    let (mut near, mut far) = UnixStream::pair().expect("there are descriptors left");
    let (owner, count) = (random.u64(..), random.u64(1..30));
    let other = thread::spawn(move || {
        on_another_stack(move |leave| {
            let mut message = [0; 8];
            while far.read_exact(&mut message).is_ok() {
                leave();
                far.write_all(&message).expect("the other side reads");
            }
        });
    });
    on_another_stack(move |leave| {
        for number in 0..count {
            let message = (owner ^ number).to_ne_bytes();
            near.write_all(&message).expect("the other side reads");
            leave();
            let mut answer = [0; 8];
            near.read_exact(&mut answer)
                .expect("the other side answers");
            assert_eq!(answer, message);
        }
    });
    other.join().expect("the asserts of a child hold");
}

/// All sorts of waits on another stack.
pub(crate) fn waits_on_another_stack(world: &Arc<World>, random: &mut Rng) {
    let (world, seed) = (world.clone(), random.u64(..));
    on_another_stack(move |leave| {
        let mut random = Rng::with_seed(seed);
        for _ in 0..random.u8(1..6) {
            match random.u8(0..4) {
                0 => {
                    let (start, time) = (Instant::now(), micros(&mut random, 500));
                    thread::sleep(time);
                    assert!(start.elapsed() >= time);
                }
                1 => std_transfers(&world, &mut random),
                2 => {
                    let (sender, receiver) = mpsc::sync_channel(0);
                    let count = random.u64(1..10);
                    let other = thread::spawn(move || {
                        on_another_stack(move |leave| {
                            for number in 0..count {
                                sender.send(number).expect("it is received");
                                leave();
                            }
                        });
                    });
                    assert_eq!(receiver.iter().sum::<u64>(), count * (count - 1) / 2);
                    other.join().expect("the asserts of a child hold");
                }
                _ => {
                    let pause = micros(&mut random, 200);
                    let other =
                        thread::spawn(move || on_another_stack(move |_| thread::sleep(pause)));
                    other.join().expect("a sleep does not panic");
                }
            }
            leave();
        }
    });
}
