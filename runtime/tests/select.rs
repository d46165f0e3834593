//! Waiting for whichever of several channels comes first.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use greenpatch_runtime::sync::{RecvError, Select, mpmc};
use greenpatch_runtime::time::{sleep, timeout};
use greenpatch_runtime::{Interrupted, Runtime, scope, yield_now};
use harness::unpatched::on_workers;

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(3600);

/// On green threads, and on an OS thread.
fn everywhere(test: impl Fn() + Sync) {
    on_workers(&test);
    test();
}

#[test]
fn what_is_there_is_taken_without_a_wait() {
    everywhere(|| {
        let (sender, receiver) = mpmc::channel();
        let (_silent, silence) = mpmc::channel::<u32>();
        sender.send(7).unwrap();
        let select = || {
            Select::new()
                .recv(&silence, |_| None)
                .recv(&receiver, Result::ok)
                .after(LONG, || None)
        };
        assert_eq!(select().wait(), Ok(Some(7)));
        assert_eq!(select().try_wait(), None);
    });
}

#[test]
fn an_item_that_comes_later_ends_the_wait() {
    on_workers(|| {
        let (sender, receiver) = mpmc::sync_channel(0);
        let (_silent, silence) = mpmc::channel::<u32>();
        scope(|scope| {
            let selecting = scope.spawn(|| {
                Select::new()
                    .recv(&silence, |_| 0)
                    .recv(&receiver, |item| item.unwrap())
                    .wait()
            });
            sleep(SHORT);
            sender.send(7).unwrap();
            assert_eq!(selecting.join().unwrap(), Ok(7));
        });
    });
}

#[test]
fn an_item_is_moved_only_if_its_case_wins() {
    everywhere(|| {
        let (full, full_end) = mpmc::sync_channel(1);
        let (free, free_end) = mpmc::sync_channel(1);
        full.send("first".to_owned()).unwrap();
        let mut one = Some("one".to_owned());
        let mut other = Some("other".to_owned());
        let sent = Select::new()
            .send(&full, &mut one, |_| "full")
            .send(
                &free,
                &mut other,
                |was_sent| if was_sent { "free" } else { "gone" },
            )
            .wait();
        assert_eq!(sent, Ok("free"));
        assert_eq!((one.as_deref(), other), (Some("one"), None));
        assert_eq!(free_end.recv().unwrap(), "other");
        let late = timeout(SHORT, || Select::new().send(&full, &mut one, |_| ()).wait());
        assert_eq!(late.unwrap_err().into_inner(), Err(Interrupted::TimedOut));
        assert_eq!(one.as_deref(), Some("one"));
        assert_eq!(full_end.try_iter().count(), 1);
    });
}

#[test]
fn with_nothing_to_send_a_case_never_wins() {
    everywhere(|| {
        let (sender, receiver) = mpmc::sync_channel::<u32>(1);
        let mut nothing = None;
        let select = Select::new().send(&sender, &mut nothing, |_| "sent");
        assert_eq!(select.after(SHORT, || "late").wait(), Ok("late"));
        assert!(receiver.is_empty());
    });
}

#[test]
fn a_disconnected_channel_is_told() {
    on_workers(|| {
        let (sender, receiver) = mpmc::channel::<u32>();
        let (other, gone) = mpmc::sync_channel(0);
        scope(|scope| {
            let selecting = scope.spawn(|| Select::new().recv(&receiver, |item| item).wait());
            sleep(SHORT);
            drop(sender);
            assert_eq!(selecting.join().unwrap(), Ok(Err(RecvError::Disconnected)));
            let selecting = scope.spawn(|| {
                let mut item = Some("kept");
                let was_sent = Select::new()
                    .send(&other, &mut item, |was_sent| was_sent)
                    .wait();
                (was_sent, item)
            });
            sleep(SHORT);
            drop(gone);
            assert_eq!(selecting.join().unwrap(), (Ok(false), Some("kept")));
        });
    });
}

#[test]
fn the_earliest_of_the_times_counts() {
    everywhere(|| {
        let (_sender, receiver) = mpmc::channel::<u32>();
        let event = Select::new()
            .after(LONG, || "an hour")
            .at(Instant::now() + SHORT, || "soon")
            .after(LONG, || "an hour")
            .recv(&receiver, |_| "an item")
            .wait();
        assert_eq!(event, Ok("soon"));
    });
}

#[test]
fn no_case_that_is_ready_starves_another_and_a_bias_decides() {
    everywhere(|| {
        let channels = [(); 3].map(|()| mpmc::channel());
        for (sender, _) in &channels {
            (0..1000).for_each(|n| sender.send(n).unwrap());
        }
        let [(_, first), (_, second), (_, third)] = &channels;
        let mut counts = [0; 4];
        let over = Instant::now();
        for _ in 0..800 {
            let won = Select::new()
                .recv(first, |_| 0)
                .recv(second, |_| 1)
                .recv(third, |_| 2)
                .at(over, || 3)
                .wait();
            counts[won.unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|count| (100..350).contains(count)),
            "{counts:?}"
        );
        let select = || Select::new().recv(second, |_| 1).recv(first, |_| 0);
        assert!((0..100).all(|_| select().biased().wait() == Ok(1)));
    });
}

#[test]
fn a_cancellation_and_a_deadline_end_the_wait() {
    on_workers(|| {
        let (_sender, receiver) = mpmc::channel::<u32>();
        let never = || {
            Select::new()
                .recv(&receiver, |_| ())
                .after(LONG, || ())
                .wait()
        };
        let late = timeout(SHORT, never);
        assert_eq!(late.unwrap_err().into_inner(), Err(Interrupted::TimedOut));
        scope(|scope| {
            let selecting = scope.spawn(|| (never(), never()));
            sleep(SHORT);
            scope.cancel();
            if let Ok(ended) = selecting.join() {
                assert_eq!(ended, [Err(Interrupted::Cancelled); 2].into());
            }
        });
    });
}

#[test]
fn both_ends_of_one_channel_may_be_selected_from_by_several() {
    on_workers(|| {
        const ITEMS: u64 = 2000;
        let (left, left_end) = mpmc::sync_channel(0);
        let (right, right_end) = mpmc::sync_channel(1);
        let (sent, got) = (AtomicU64::new(0), AtomicU64::new(0));
        let received = AtomicUsize::new(0);
        scope(|scope| {
            for part in 0..4 {
                let (left, right, sent) = (left.clone(), right.clone(), &sent);
                scope.spawn(move || {
                    for n in 0..ITEMS {
                        let item = part * ITEMS + n + 1;
                        sent.fetch_add(item, Ordering::Relaxed);
                        let (mut to_left, mut to_right) = (Some(item), Some(item));
                        let to = Select::new()
                            .send(&left, &mut to_left, |was_sent| was_sent)
                            .send(&right, &mut to_right, |was_sent| was_sent)
                            .wait();
                        assert_eq!(to, Ok(true));
                        assert!(to_left.is_some() != to_right.is_some());
                        if n % 64 == 0 {
                            yield_now();
                        }
                    }
                });
            }
            for _ in 0..3 {
                scope.spawn(|| {
                    let open = Cell::new([true; 2]);
                    while open.get() != [false; 2] {
                        let mut select = Select::new();
                        for (end, channel) in [&left_end, &right_end].into_iter().enumerate() {
                            if open.get()[end] {
                                select = select.recv(channel, move |item| (end, item.ok()));
                            }
                        }
                        match select.wait().unwrap() {
                            (_, Some(item)) => {
                                got.fetch_add(item, Ordering::Relaxed);
                                received.fetch_add(1, Ordering::Relaxed);
                            }
                            (end, None) => {
                                let mut left = open.get();
                                left[end] = false;
                                open.set(left);
                            }
                        }
                    }
                });
            }
            drop((left, right));
        });
        assert_eq!(received.into_inner(), 4 * ITEMS as usize);
        assert_eq!(got.into_inner(), sent.into_inner());
    });
}

#[test]
fn green_threads_and_os_threads_find_one_another_in_a_ring_of_selections() {
    // Each sends its number to the next and receives from the one before, in whichever order comes.
    let channels: Vec<_> = (0..6).map(|_| mpmc::sync_channel(0)).collect();
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let turn = |place: usize| {
        let (to, from) = (&channels[(place + 1) % 6].0, &channels[place].1);
        let (mut number, mut got) = (Some(place), None);
        while number.is_some() || got.is_none() {
            let is_open = got.is_none();
            let mut select = Select::new().send(to, &mut number, |was_sent| {
                assert!(was_sent);
                None
            });
            if is_open {
                select = select.recv(from, |item| Some(item.unwrap()));
            }
            got = select.wait().unwrap().or(got);
        }
        got.unwrap()
    };
    for _ in 0..200 {
        std::thread::scope(|os_threads| {
            for place in 0..3 {
                let turn = &turn;
                os_threads.spawn(move || assert_eq!((turn(place) + 1) % 6, place));
            }
            runtime.run(|| {
                scope(|scope| {
                    for place in 3..6 {
                        let turn = &turn;
                        scope.spawn(move || assert_eq!((turn(place) + 1) % 6, place));
                    }
                });
            });
        });
    }
}
