//! Deadlines, cancellation and scopes: how work ends that takes too long, or that nobody wants any more.
//!
//! | in Go | in Java (Loom) | in gevent | here |
//! |---|---|---|---|
//! | `context.WithTimeout(ctx, d)` | `joinUntil`, `withTimeout` | `with Timeout(s)` | [`time::timeout`](crate::time::timeout) |
//! | `context.WithCancel`, `cancel()` | `shutdown()`, closing the scope | `greenlet.kill()` | [`Scope::cancel`](crate::thread::Scope::cancel), [`JoinHandle::cancel`](crate::JoinHandle::cancel) |
//! | `errgroup.WithContext` | `StructuredTaskScope.ShutdownOnFailure` | `joinall(raise_error=True)`, then `killall` | [`try_scope`](crate::try_scope) |
//! | `sync.WaitGroup` | `StructuredTaskScope` | `joinall` | [`scope`](crate::scope) |
//! | `ctx.Err()` | `Thread.interrupted()` | | [`checkpoint`](crate::checkpoint) |
//! | `context.WithoutCancel` | | `Timeout.cancel()` for the time | [`shield`](crate::shield) |
//! | `context.WithValue`, `ctx.Value` | `ScopedValue.where`, `get` | `contextvars` | [`Inherited::bind`](crate::Inherited::bind), [`get`](crate::Inherited::get) |
//! | `select` | | `gevent.wait(objects, count=1)` | [`sync::Select`](crate::sync::Select) |
//! | `<-ctx.Done()` in each `select` | `InterruptedException` | the exception, anywhere | the error of the wait itself |
//! | | | `Pool(size)` | [`GreenPool`](crate::GreenPool), [`max_green_threads`](crate::RuntimeBuilder::max_green_threads) |
//!
//! # What differs
//!
//! **From Go**: no context is passed along. A deadline concerns every call that is made within it, also those of libraries that
//! know nothing of it, and no `select` is needed around each: the wait fails. It is as Go's context where it is handed on:
//! to what is spawned in a scope, not to what is spawned by itself.
//!
//! **From Java**: a green thread that is interrupted stays so, as there is no flag that the first wait clears: every call that has to
//! wait fails, until the scope is left. To wait all the same, in order to tidy up, use [`shield`](crate::shield).
//!
//! **From gevent**: nothing is thrown into a green thread. A wait returns an error, where the code expects errors; what does not
//! wait is not interrupted. So no lock is left half-held, and there is no line of code at which a time-out cannot strike in gevent
//! and must not.
//!
//! # A time for all that a call does
//!
//! ```
//! use std::io::{ErrorKind, Read};
//! use std::net::{TcpListener, TcpStream};
//! use std::time::Duration;
//! use greenpatch::time::timeout;
//!
//! # greenpatch::run(|| {
//! let listener = TcpListener::bind("127.0.0.1:0")?; // of std
//! let mut stream = TcpStream::connect(listener.local_addr()?)?;
//! let (_silent, _) = listener.accept()?;
//!
//! let outcome = timeout(Duration::from_millis(10), || {
//!     let mut text = String::new();
//!     stream.read_to_string(&mut text).map(|_| text)
//! });
//! let late = outcome.unwrap_err();
//! assert_eq!(late.into_inner().unwrap_err().kind(), ErrorKind::TimedOut);
//! # std::io::Result::Ok(())
//! # }).unwrap();
//! ```
//!
//! # Split among green threads
//!
//! What is spawned in a [`scope`](crate::scope) has the deadlines of whoever opened it, and ends with it. The first error of a
//! [`try_scope`](crate::try_scope) cancels the others; the scope returns it once all have ended.
//!
//! ```
//! use std::io;
//! use std::time::Duration;
//! use greenpatch::time::{sleep, timeout};
//! use greenpatch::{checkpoint, try_scope};
//!
//! fn ask(host: &str) -> io::Result<usize> {
//!     match host {
//!         "down" => Err(io::Error::other("down is down")),
//!         "slow" => {
//!             sleep(Duration::from_secs(3600));
//!             checkpoint()?; // A sleep has no error to give.
//!             Ok(0)
//!         }
//!         host => Ok(host.len()),
//!     }
//! }
//!
//! fn ask_all(hosts: &[&str]) -> io::Result<usize> {
//!     try_scope(|scope| {
//!         let asked: Vec<_> = hosts.iter().map(|host| scope.spawn(move || ask(host))).collect();
//!         let mut sum = 0;
//!         for answer in asked {
//!             sum += answer.join()?;
//!         }
//!         Ok(sum)
//!     })
//! }
//!
//! greenpatch::run(|| {
//!     assert_eq!(ask_all(&["one", "three"]).unwrap(), 8);
//!     // Does not wait for an hour: the other one fails.
//!     assert_eq!(ask_all(&["slow", "down"]).unwrap_err().to_string(), "down is down");
//!     // Nor does it here: the time of the whole is over.
//!     let late = timeout(Duration::from_millis(10), || ask_all(&["one", "slow"]));
//!     let error = late.unwrap_err().into_inner().unwrap_err();
//!     assert_eq!(error.kind(), io::ErrorKind::TimedOut);
//! });
//! ```
//!
//! # Work that goes on
//!
//! [`spawn`](crate::spawn()) starts what may outlive the call: it has no deadline but its own. It does have the values that are
//! bound around it, so that it can be told whose work it is.
//!
//! ```
//! use std::time::Duration;
//! use greenpatch::time::{sleep, timeout};
//! use greenpatch::{Inherited, checkpoint, spawn};
//!
//! static TRACE: Inherited<u64> = Inherited::new();
//!
//! greenpatch::run(|| {
//!     let written = timeout(Duration::from_millis(1), || {
//!         TRACE.bind(0xfeed, || {
//!             spawn(|| {
//!                 sleep(Duration::from_millis(5));
//!                 checkpoint().expect("that time is not its time");
//!                 format!("{:x}: served", *TRACE.get().unwrap())
//!             })
//!         })
//!     });
//!     assert_eq!(written.unwrap().join().unwrap(), "feed: served");
//! });
//! ```
//!
//! # Waits that end, and waits that do not
//!
//! A wait ends early if its result can say so: [`interrupt`](crate::interrupt) lists them. Locks, joins and futures have a second method
//! for that, since std's first one cannot.
//!
//! ```
//! use std::time::Duration;
//! use greenpatch::sync::Mutex;
//! use greenpatch::time::timeout;
//! use greenpatch::{block_on_interruptible, spawn, thread};
//!
//! greenpatch::run(|| {
//!     let mutex = Mutex::new(0);
//!     let held = mutex.lock().unwrap();
//!     let parked = spawn(thread::park);
//!     let late = timeout(Duration::from_millis(10), || {
//!         assert!(mutex.lock_interruptible().is_err());
//!         assert!(parked.wait_interruptible().is_err());
//!         assert!(block_on_interruptible(std::future::pending::<()>()).is_err());
//!     });
//!     assert!(late.is_err());
//!     drop(held);
//!     parked.thread().unpark();
//!     parked.join().unwrap();
//! });
//! ```
//!
//! # Whichever comes first
//!
//! ```
//! use std::time::{Duration, Instant};
//! use greenpatch::spawn;
//! use greenpatch::sync::{Select, mpmc};
//!
//! greenpatch::run(|| {
//!     let (jobs, inbox) = mpmc::channel();
//!     let (results, outbox) = mpmc::sync_channel(0);
//!     let worker = spawn(move || {
//!         let mut pending = None;
//!         let mut reports = 0;
//!         let mut next_report = Instant::now() + Duration::from_secs(1);
//!         loop {
//!             // Takes a job if there is nothing to hand over, and hands over if there is.
//!             let is_idle = pending.is_none();
//!             let mut select = Select::new()
//!                 .send(&results, &mut pending, |_| None)
//!                 .at(next_report, || Some(Ok(0)));
//!             if is_idle {
//!                 select = select.recv(&inbox, |job| Some(job));
//!             }
//!             match select.wait().unwrap() {
//!                 None => {}
//!                 Some(Ok(0)) => {
//!                     reports += 1;
//!                     next_report += Duration::from_secs(1);
//!                 }
//!                 Some(Ok(job)) => pending = Some(job * 2),
//!                 Some(Err(_)) => break reports,
//!             }
//!         }
//!     });
//!     for job in 1..=3 {
//!         jobs.send(job).unwrap();
//!     }
//!     let results: Vec<i32> = outbox.iter().take(3).collect();
//!     assert_eq!(results, [2, 4, 6]);
//!     drop(jobs);
//!     worker.join().unwrap();
//! });
//! ```
//!
//! # What it costs
//!
//! A green thread that is in no scope looks at an empty list before it parks, and that is all. Being spawned in a scope costs
//! an entry in the scope's list, and a look at the scopes around it before each wait.
