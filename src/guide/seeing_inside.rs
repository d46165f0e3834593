//! Seeing inside: what to look at when a program is slow, stuck or large.
//!
//! | question | look at |
//! |---|---|
//! | How much is going on? | [`Runtime::metrics`](crate::Runtime::metrics), always on |
//! | What does each green thread wait for, and where? | [`Runtime::dump`](crate::Runtime::dump) |
//! | The same, of a program that runs? | [`greenpatch top PID`](#a-program-that-runs), `greenpatch dump PID` |
//! | The same, in a program's own log? | [`dump_on_signal`](crate::dump_on_signal), or `GREENPATCH_DUMP_SIGNAL=QUIT` and Ctrl-\\ |
//! | Why does nothing go on any more? | said unasked: [`RuntimeBuilder::deadlock`](crate::RuntimeBuilder::deadlock) |
//! | Whose log line is this? | the `tracing` span `green_thread`, with its `id` and `name` |
//! | Who keeps a worker to itself? | [`RuntimeBuilder::max_blocking_time`](crate::RuntimeBuilder::max_blocking_time) |
//! | How large do the stacks get? | [`Runtime::stack_high_water`](crate::Runtime::stack_high_water) |
//!
//! # Figures
//!
//! ```
//! let runtime = greenpatch::Runtime::builder().workers(2).build()?;
//! runtime.run(|| {
//!     let sleeper = greenpatch::spawn(|| greenpatch::time::sleep(std::time::Duration::from_millis(1)));
//!     let figures = greenpatch::metrics().expect("this is a green thread");
//!     assert_eq!(figures.live, 2);
//!     println!("{figures}");
//!     sleeper.join().unwrap();
//! });
//! assert!(runtime.metrics().switches > 0);
//! # Ok::<(), greenpatch::BuildError>(())
//! ```
//!
//! # Dumps
//!
//! ```
//! use std::time::Duration;
//! use greenpatch::{Builder, DumpOptions, Runtime};
//!
//! let runtime = Runtime::builder().build()?;
//! runtime.run(|| {
//!     let sleeper = Builder::new()
//!         .name("sleeper".to_owned())
//!         .spawn(|| std::thread::sleep(Duration::from_millis(20)));
//!     let dump = greenpatch::dump(DumpOptions::new().backtraces(true)).expect("this is a green thread");
//!     assert!(dump.to_string().contains("sleeper"));
//!     // For machines, with the feature `json`:
//!     assert!(dump.to_json().starts_with('{'));
//!     sleeper.unwrap().join().unwrap();
//! });
//! # Ok::<(), greenpatch::BuildError>(())
//! ```
//!
//! Where a program waits for ever, the dump comes by itself: two green threads that take two locks in opposite order, say,
//! are shown with the functions in which each one waits, once nothing in the process is left that could wake either. In a
//! test, `GREENPATCH_DEADLOCK=abort` makes a failure of what would be a hang.
//!
//! # A program that runs
//!
//! `greenpatch top PID` shows on a terminal what the green threads of a process are doing, as it changes:
//!
//! ```text
//! greenpatch top  greenpatch (4242)  every 1 s
//! 812 requests/s, 0 errors/s, 41 in flight, 56 connections; p50 51 ms, p90 78 ms, p99 97 ms
//! 101 green threads: 1 running, 0 runnable, 100 parked
//! 2 workers, 0 of them spare; 3312 switches/s, 1 hogs so far, 7 OS threads
//! 58 read, 41 sleep, 1 park, 1 running
//!  1 green threads  2 workers  3 processes  4 routes   by time
//! ID NAME     FOR   STACK STATE                        SPAWNED AT
//!  1 main 12 min   16 KiB unpark
//! 17      340 ms   12 KiB running on worker 0, a hog   src/checkout.rs:88:20
//! 42       48 ms   12 KiB sleep                        src/worker/green.rs:97:23
//! ```
//!
//! | key | what it does |
//! |---|---|
//! | up, down, page up, page down | mark a row |
//! | enter | show the call stack of the marked green thread |
//! | `/` | show only green threads whose name, state or place holds a text |
//! | `s`, `S` | order by time, id, name, state or stack; reverse the order |
//! | tab | show workers, processes, or the routes of a server |
//! | `p` | ask no more, or go on |
//! | `?`, `q` | list the keys; end |
//!
//! `--once` prints one look as text, `--json` each look as a line of JSON. `greenpatch dump PID` prints what a dump signal would have
//! the program write, or, with `--json`, what [`Dump`](crate::Dump) holds.
//!
//! The process is any that has built a runtime, or whose threads `greenpatch run` makes green. Of a server's master, the workers are
//! shown. Neither a deadlock nor a stuck worker is in the way: an OS thread of the process answers. Only the process's owner
//! and root may look, and `GREENPATCH_ATTACH=off`, or [`RuntimeBuilder::attach`](crate::RuntimeBuilder::attach), shuts them out, too.
//! [`attach`](mod@crate::attach) tells how the request reaches the process, and what is said.
//!
//! Call stacks are those of green threads that wait; each is woken for that. The stack of one that computes is taken with
//! `dump --running`, and by enter, for which its OS thread is sent SIGURG.
//!
//! # Log lines
//!
//! With the feature `tracing`, the code of each green thread, and of each thread that std or C code starts on a patched runtime, runs in a `tracing` span
//! of its own, which switches leave alone:
//!
//! ```
//! tracing_subscriber::fmt().init();
//! greenpatch::run(|| {
//!     // INFO green_thread{id=1 name="main"}: my_program: ready
//!     tracing::info!("ready");
//! });
//! ```
//!
//! # A green thread that does not let go
//!
//! Others go on all the same: a spare worker takes over from one that is stuck. Who it was, the monitor says on request.
//! What is known to block belongs into [`blocking`](crate::blocking), and is not reported.
//!
//! ```
//! use std::sync::mpsc;
//! use std::time::{Duration, Instant};
//! use greenpatch::{Builder, Runtime};
//!
//! let (tell, told) = mpsc::channel();
//! let runtime = Runtime::builder()
//!     .max_blocking_time(Duration::from_millis(10))
//!     .on_blocked(move |blocked| drop(tell.send(blocked.to_string())))
//!     .build()?;
//! runtime.run(|| {
//!     let start = Instant::now();
//!     let busy = Builder::new().name("busy".to_owned());
//!     let busy = busy.spawn(move || while start.elapsed() < Duration::from_millis(200) {});
//!     busy.unwrap().join().unwrap();
//! });
//! assert!(told.recv().unwrap().contains("busy"));
//! # Ok::<(), greenpatch::BuildError>(())
//! ```
