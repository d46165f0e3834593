//! Seeing inside: what to look at when a program is slow, stuck or large.
//!
//! | question | look at |
//! |---|---|
//! | How much is going on? | [`Runtime::metrics`](crate::Runtime::metrics), always on |
//! | What does each green thread wait for, and where? | [`Runtime::dump`](crate::Runtime::dump) |
//! | The same, of a program that runs? | [`dump_on_signal`](crate::dump_on_signal), or `GREENPATCH_DUMP_SIGNAL=QUIT` and Ctrl-\\ |
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
