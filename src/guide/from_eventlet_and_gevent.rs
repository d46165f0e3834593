//! From eventlet and gevent: each of their names, and ours.
//!
//! What differs throughout: a green thread here is a thread. It has its own thread-local values, its own `errno`, and it
//! may move from one worker to another. There is no hub to name: a [`Runtime`](crate::Runtime) has as many workers as it
//! is given, and with one of them it behaves as a hub does.
//!
//! # Green threads
//!
//! | eventlet | gevent | here |
//! |---|---|---|
//! | `spawn` | `spawn`, `Greenlet.start` | [`spawn`](crate::spawn()), [`Builder`](crate::Builder) for name, stack and delay |
//! | `spawn_n` | `spawn_raw` | [`spawn`](crate::spawn()), and drop the handle: detached, at the same cost |
//! | `spawn_after` | `spawn_later`, `start_later` | [`spawn_after`](crate::spawn_after) |
//! | `spawn_after_local` | | [`spawn_after`](crate::spawn_after) on a [`GreenPool`](crate::GreenPool), or cancel it: nothing here dies with its spawner |
//! | `GreenThread.wait` | `get`, `join` | [`JoinHandle::join`](crate::JoinHandle::join), [`join_timeout`](crate::JoinHandle::join_timeout) |
//! | `kill`, `GreenThread.kill` | `kill`, `throw` | [`JoinHandle::cancel`](crate::JoinHandle::cancel): the waits of the green thread fail; an exception raised inside foreign code would leave what it holds in disorder |
//! | `GreenThread.cancel` | `kill` before start | [`JoinHandle::cancel`](crate::JoinHandle::cancel): one that has not begun never does |
//! | `link`, `unlink` | `link`, `rawlink`, `link_value` | spawn one that joins it; green threads are cheap |
//! | `sleep` | `sleep` | [`time::sleep`](crate::time::sleep), or `std::thread::sleep` |
//! | `sleep(0)` | `sleep(0)`, `idle` | [`yield_now`](crate::yield_now); there are no priorities, so no idle one |
//! | `getcurrent` | `getcurrent`, `minimal_ident` | [`thread::current`](crate::thread::current) and its `id` |
//! | | `Greenlet.dead`, `ready`, `successful` | [`JoinHandle::is_finished`](crate::JoinHandle::is_finished); success is the `Result` of `join` |
//! | | `joinall`, `killall` | [`scope`](crate::scope) and its `cancel`; [`try_scope`](crate::try_scope) for `raise_error=True`; [`GreenPool::wait_all`](crate::GreenPool::wait_all), [`cancel_all`](crate::GreenPool::cancel_all) |
//! | | `wait`, `iwait` on any | a [`sync::mpmc`](crate::sync::mpmc) channel to which each sends its result; [`sync::Select`](crate::sync::Select) over several |
//! | | `spawn_tree_locals`, `GreenletTree` | where each was spawned stands in [`Runtime::dump`](crate::Runtime::dump); [`Inherited`](crate::Inherited) values go to the children |
//! | | switch, `settrace` | none: the scheduler alone switches. Counters are in [`Runtime::metrics`](crate::Runtime::metrics) |
//!
//! ```
//! use std::time::Duration;
//!
//! greenpatch::run(|| {
//!     let answer = greenpatch::spawn(|| 6 * 7);
//!     let later = greenpatch::spawn_after(Duration::from_millis(1), || "later");
//!     let never = greenpatch::spawn_after(Duration::from_secs(3600), || ());
//!     never.cancel();
//!     assert_eq!((answer.join().unwrap(), later.join().unwrap()), (42, "later"));
//!     assert!(never.join().is_err());
//!     greenpatch::yield_now();
//!     greenpatch::time::sleep(Duration::from_micros(10));
//!     assert_eq!(greenpatch::thread::current().name(), Some("main"));
//! });
//! ```
//!
//! # Pools
//!
//! | eventlet | gevent | here |
//! |---|---|---|
//! | `GreenPool` | `pool.Pool` | [`GreenPool`](crate::GreenPool) |
//! | `spawn`, `spawn_n` | `spawn`, `apply_async` | [`spawn`](crate::GreenPool::spawn), [`spawn_n`](crate::GreenPool::spawn_n) |
//! | `imap`, `starmap` | `imap`, `map` | [`imap`](crate::GreenPool::imap), [`map`](crate::GreenPool::map); items may be tuples |
//! | | `imap_unordered` | a channel to which each sends its result |
//! | `waitall`, `resize`, `free`, `running`, `waiting` | `join`, `free_count`, `wait_available` | [`wait_all`](crate::GreenPool::wait_all), [`resize`](crate::GreenPool::resize), [`free`](crate::GreenPool::free), [`running`](crate::GreenPool::running), [`waiting`](crate::GreenPool::waiting) |
//! | `GreenPile` | | [`GreenPile`](crate::GreenPile) |
//! | | `pool.Group` | [`scope`](crate::scope), or a [`GreenPool`](crate::GreenPool) of `usize::MAX` places |
//! | `DAGPool` | | green threads that wait for each other's [`AsyncResult`](crate::sync::AsyncResult) |
//! | `pools.Pool`, `TokenPool` | | a [`Queue`](crate::sync::Queue) of resources; a [`Semaphore`](crate::sync::Semaphore) of tokens |
//! | `db_pool` | recipes | any pool crate for blocking clients, `r2d2` say: its locks and sockets yield under the shims |
//!
//! ```
//! use greenpatch::{GreenPile, GreenPool};
//!
//! greenpatch::run(|| {
//!     let pool = GreenPool::new(20);
//!     assert_eq!(pool.map(["a", "bcd"], str::len), [1, 3]);
//!     let mut pile = GreenPile::new(pool.clone());
//!     pile.spawn(|| 1);
//!     pile.spawn(|| 2);
//!     assert_eq!(pile.sum::<i32>(), 3);
//!     pool.wait_all();
//! });
//! ```
//!
//! # Queues, events, locks
//!
//! | eventlet | gevent | here |
//! |---|---|---|
//! | `Queue`, `LightQueue` | `Queue`, `SimpleQueue` | [`Queue`](crate::sync::Queue), or a [`sync::mpmc`](crate::sync::mpmc) channel |
//! | `PriorityQueue`, `LifoQueue` | the same | [`PriorityQueue`](crate::sync::PriorityQueue), [`LifoQueue`](crate::sync::LifoQueue) |
//! | `Queue(0)` | `Channel` | [`sync_channel(0)`](crate::sync::mpmc::sync_channel) |
//! | `task_done`, `join` | `JoinableQueue` | `task_done` and `join` of every queue |
//! | | `ShutDown`, iteration | `close`, iteration |
//! | `Queue.resize`, `getting`, `putting` | `peek` | none: a size that changes under waiters, and counts that are old when they are read, have served nobody |
//! | `event.Event` (a value, once) | `AsyncResult` | [`AsyncResult`](crate::sync::AsyncResult); of a `Result`, if it may be an error |
//! | | `Event` (set, clear) | [`Event`](crate::sync::Event) |
//! | `Semaphore`, `CappedSemaphore` | `Semaphore` | [`Semaphore`](crate::sync::Semaphore) |
//! | `BoundedSemaphore` | the same | [`Semaphore::bounded`](crate::sync::Semaphore::bounded) |
//! | green `threading` | `lock.RLock` | `std::sync` under the shims, or [`sync`](crate::sync); a lock that its holder takes again: `parking_lot::ReentrantMutex` under the shims |
//! | | `DummySemaphore` | none: there is no use for a lock that does not lock |
//!
//! ```
//! use std::sync::Arc;
//! use greenpatch::sync::{AsyncResult, Event, PriorityQueue, Queue, Semaphore};
//!
//! greenpatch::run(|| {
//!     let jobs = Arc::new(Queue::bounded(2));
//!     let theirs = jobs.clone();
//!     let worker = greenpatch::spawn(move || theirs.iter().sum::<u32>());
//!     for job in 1..=10 {
//!         jobs.put(job).unwrap();
//!     }
//!     jobs.close();
//!     assert_eq!(worker.join().unwrap(), 55);
//!
//!     let urgent = PriorityQueue::unbounded();
//!     urgent.put(1).unwrap();
//!     urgent.put(9).unwrap();
//!     assert_eq!(urgent.get().unwrap(), 9);
//!
//!     let (answer, ready) = (Arc::new(AsyncResult::new()), Arc::new(Event::new()));
//!     let (theirs, tell) = (answer.clone(), ready.clone());
//!     greenpatch::spawn(move || {
//!         theirs.set(42).unwrap();
//!         tell.set();
//!     });
//!     ready.wait().unwrap();
//!     assert_eq!(answer.get(), Ok(&42));
//!
//!     let tokens = Semaphore::new(1);
//!     let token = tokens.acquire();
//!     assert!(tokens.try_acquire().is_none());
//!     drop(token);
//! });
//! ```
//!
//! # Time-outs and locals
//!
//! | eventlet | gevent | here |
//! |---|---|---|
//! | `Timeout`, `with_timeout` | the same | [`time::timeout`](crate::time::timeout); what it gave all the same is in [`Elapsed`](crate::time::Elapsed) |
//! | `Timeout(s, exc)` | the same | map the error of [`time::timeout`](crate::time::timeout) |
//! | `timeout.is_timeout` | | `ErrorKind::TimedOut`; [`is_cancellation`](crate::is_cancellation) |
//! | `corolocal.local`, `get_ident` | `local.local` | `std::thread_local!`: thread-local storage is the green thread's own |
//! | | `contextvars` | [`Inherited`](crate::Inherited) |
//!
//! ```
//! use std::cell::Cell;
//! use std::time::Duration;
//!
//! thread_local! { static REQUEST: Cell<u32> = const { Cell::new(0) } }
//!
//! greenpatch::run(|| {
//!     let late = greenpatch::time::timeout(Duration::from_millis(2), || {
//!         std::thread::sleep(Duration::from_secs(3600));
//!         "instead"
//!     });
//!     assert_eq!(late.unwrap_or_else(|elapsed| elapsed.into_inner()), "instead");
//!
//!     REQUEST.set(1);
//!     assert_eq!(greenpatch::spawn(|| REQUEST.get()).join().unwrap(), 0);
//! });
//! ```
//!
//! # What blocks
//!
//! | eventlet | gevent | here |
//! |---|---|---|
//! | `tpool.execute` | `threadpool.apply`, `spawn` | [`blocking`](crate::blocking): in place, with no thread to hand over to |
//! | `tpool.Proxy` | | none: wrap the calls in [`blocking`](crate::blocking) |
//! | | `ThreadPoolExecutor` | [`GreenPool`](crate::GreenPool), with [`blocking`](crate::blocking) inside |
//! | `EVENTLET_THREADPOOL_SIZE` | `hub.threadpool_size` | `max_spare_workers` in [`SETTINGS`](crate::SETTINGS) |
//! | `eventlet.asyncio` | | [`block_on`](crate::block_on) |
//!
//! ```
//! greenpatch::run(|| {
//!     let manifest = greenpatch::blocking(|| std::fs::read_to_string("Cargo.toml"));
//!     assert!(manifest.unwrap().contains("greenpatch"));
//!     assert_eq!(greenpatch::block_on(async { 1 + 1 }), 2);
//! });
//! ```
//!
//! # Patching
//!
//! | eventlet | gevent | here |
//! |---|---|---|
//! | `monkey_patch()` | `patch_all()` | link the crate: the features `time socket select lock thread` are on |
//! | `monkey_patch(socket=True…)` | `patch_socket`… | the features one by one, or [`RuntimeBuilder::patch`](crate::RuntimeBuilder::patch) with a [`Patch`](crate::Patch) set |
//! | | `python -m gevent.monkey program` | `greenpatch run program`: any dynamically linked program, its threads green |
//! | `is_monkey_patched` | `is_module_patched` | [`is_patched`](crate::is_patched); [`shims::SYMBOLS`](crate::shims::SYMBOLS) lists every function |
//! | `patcher.original` | `get_original` | [`blocking`](crate::blocking) runs native code; every shim passes through in it |
//! | `import_patched`, `eventlet.green.*` | | [`net`](crate::net), [`sync`](crate::sync), [`thread`](crate::thread), [`time`](crate::time): explicit types, no shim needed |
//! | "RLocks were not greened" | `MonkeyPatchWarning` | nothing to warn of: linking comes before everything |
//!
//! ```
//! use greenpatch::{Patch, Runtime, blocking, is_patched};
//!
//! assert!(!is_patched(Patch::TIME), "an OS thread never changes its behaviour");
//! let runtime = Runtime::builder().patch(Patch::TIME | Patch::SOCKET).build()?;
//! runtime.run(|| {
//!     assert!(is_patched(Patch::TIME));
//!     assert!(!is_patched(Patch::LOCK));
//!     assert!(!blocking(|| is_patched(Patch::TIME)));
//! });
//! # Ok::<(), greenpatch::BuildError>(())
//! ```
//!
//! # Looking inside
//!
//! | eventlet | gevent | here |
//! |---|---|---|
//! | `hub_blocking_detection` | monitor thread, `GEVENT_MAX_BLOCKING_TIME` | `max_blocking_time` in [`SETTINGS`](crate::SETTINGS), [`RuntimeBuilder::on_blocked`](crate::RuntimeBuilder::on_blocked) |
//! | | `GEVENT_MONITOR_MEMORY_MAX` | the kernel's: cgroup limits, `ulimit`; a process cannot give memory back that its code holds |
//! | | `assert_switches` | [`RuntimeBuilder::on_blocked`](crate::RuntimeBuilder::on_blocked) in the tests |
//! | `hub_listener_stacks`, `format_hub_listeners`, `format_hub_timers` | `print_run_info` | [`Runtime::dump`](crate::Runtime::dump) |
//! | `hub_exceptions`, `tpool_exceptions` | | panics are printed, as in every Rust program, and handed out by `join` |
//! | `backdoor` | `BackdoorServer` | [`dump_all`](crate::dump_all), written wherever you want it; native code has no interpreter to log in to |
//! | `spew` | | a debugger |
//! | `hub_prevent_multiple_readers` | | any number may read one socket; each gets what the kernel gives it |
//! | zipkin patch | | the feature `tracing`: each green thread runs in a span of its own |
//!
//! [Seeing inside](super::seeing_inside) shows them.
//!
//! # Input and output, processes, servers
//!
//! | eventlet | gevent | here |
//! |---|---|---|
//! | `listen`, `connect`, `serve`, `StopServe` | `StreamServer` | [`net::TcpListener`](crate::net::TcpListener) and a [`GreenPool`](crate::GreenPool), or std's types |
//! | | `DatagramServer` | [`net::UdpSocket`](crate::net::UdpSocket) |
//! | green `ssl` | `ssl` | `rustls` or OpenSSL over a socket that yields |
//! | `greendns` | resolvers | look-ups are [`blocking`](crate::blocking) sections: other green threads go on |
//! | green `subprocess`, `os` | `subprocess`, `os`, `fork` | pipes and waiting for a child yield |
//! | | `signal_handler` | the crate `signal-hook`: its pipe yields |
//! | `GreenPipe` | `FileObjectPosix`, `FileObjectThread` | pipes yield; calls on files are [`blocking`](crate::blocking) sections: other green threads go on |
//! | `wsgi.server` | `pywsgi.WSGIServer` | the package `greenpatch-server` |
//! | `websocket` | third parties | `tungstenite` over a socket that yields |
//! | `EVENTLET_HUB`, `use_hub` | `GEVENT_LOOP` | none: Linux's epoll is the one there is |
//! | | `events` (publish, subscribe) | none: the hooks are on the [`RuntimeBuilder`](crate::RuntimeBuilder) |
//!
//! ```
//! use std::io::{Read, Write};
//! use greenpatch::net::{TcpListener, TcpStream};
//!
//! greenpatch::run(|| {
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let address = listener.local_addr()?;
//!     greenpatch::spawn(move || {
//!         let (mut stream, _) = listener.accept().unwrap();
//!         stream.write_all(b"served").unwrap();
//!     });
//!     let mut text = String::new();
//!     TcpStream::connect(address)?.read_to_string(&mut text)?;
//!     assert_eq!(text, "served");
//!     # Ok::<(), std::io::Error>(())
//! })
//! # .unwrap();
//! ```
