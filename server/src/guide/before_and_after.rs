//! The same application before and after: command lines of gunicorn's and ours, side by side, and what each does.
//!
//! The advice that a Flask application gets is short: instead of `-w 4` start it with `-w 1 -k gevent`, and leave the application as it is. It
//! holds here word for word. `microblog` is the application below; each command line serves it unchanged.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use std::thread;
//! use std::time::Duration;
//!
//! fn microblog() -> &'static str {
//!     // A database, another server: whatever is waited for.
//!     thread::sleep(Duration::from_secs(1));
//!     "posts\n"
//! }
//!
//! fn main() -> ExitCode {
//!     greenpatch_server::main(microblog)
//! }
//! ```
//!
//! # Before
//!
//! ```console
//! $ gunicorn -b localhost:8000 -w 4 microblog:app
//! $ microblog -b localhost:8000 -w 4 -k sync
//! ```
//!
//! Four processes, one request in each. The fifth client waits until one of the others has its answer: four answers a second, whatever the
//! machine, which meanwhile has nothing to do. The class `sync` is the default of both and could be left away.
//!
//! ```console
//! $ gunicorn -b localhost:8000 -w 4 --threads 25 microblog:app
//! $ microblog -b localhost:8000 -w 4 -k gthread --threads 25
//! ```
//!
//! The same with a pool of OS threads in each process: a hundred answers a second. In both servers a connection that idles holds none of
//! them. Where there, `--threads` alone changes the class, here `-k` does.
//!
//! # After
//!
//! ```console
//! $ gunicorn -b localhost:8000 -w 1 -k gevent microblog:app
//! $ microblog -b localhost:8000 -w 1 -k green
//! ```
//!
//! One process, one OS thread, and a green thread for each request: a thousand clients have their answers after a second. gevent replaces
//! modules of Python's library when its worker starts; here the blocking calls of libc are those of `greenpatch`, so that std, C libraries
//! and every crate above them park as well. `-k gevent` and `-k eventlet` mean the same.
//!
//! ```console
//! $ gunicorn -b localhost:8000 -w 1 -k gevent --worker-connections 10000 microblog:app
//! $ microblog -b localhost:8000 -w 1 -k green --worker-connections 10000
//! ```
//!
//! Both take a thousand connections otherwise; the ten-thousand-and-first waits in the listening socket's queue. Descriptors must be allowed
//! for: `ulimit -n`.
//!
//! ```console
//! $ gunicorn -b localhost:8000 -w 4 -k gevent microblog:app
//! $ microblog -b localhost:8000 -w 4 -k green
//! $ microblog -b localhost:8000 -w 1 -k green --green-workers 4
//! ```
//!
//! When what is between the waits keeps more than one processor busy. The third line has no counterpart: four OS threads of one process
//! share its green threads, so that they also share pools of connections and caches.
//!
//! # Neither
//!
//! ```console
//! $ gunicorn -w 4 -k uvicorn.workers.UvicornWorker microblog:app
//! $ microblog -w 4 -k async
//! ```
//!
//! There, the application must first become another one: `async def`, `await`, and libraries that do so too. Here the class says where a
//! handler runs, and any handler runs in each. In class `async` `microblog` holds up the whole loop as it would there; an `async fn` with
//! the same mistake in it is served well by `-k green`.
//!
//! # What not to take over
//!
//! | seen in settings for gevent | here |
//! |---|---|
//! | `from gevent import monkey; monkey.patch_all()` first of all | nothing: the whole program is patched when it is linked |
//! | `psycogreen`, `gevent-mysql`, drivers made for it | nothing: libpq, libmariadb and pure Rust drivers park |
//! | `--timeout 120`, because `gevent` may be held up by computing | `--timeout` is about the event loop; a handler that computes gives way to others when it next waits, and `--green-workers` lets them go on meanwhile |
//! | `preload_app`, so that memory is shared | fewer processes: one holds what four did |
