//! From gunicorn, eventlet and gevent to here.
//!
//! # The application
//!
//! gunicorn imports an application by name; here the server is a library, and the application's own program is the server:
//!
//! | gunicorn | here |
//! |---|---|
//! | `gunicorn -w 4 -k gevent app:application` | `app -w 4 -k green` |
//! | `gunicorn.conf.py` | `greenpatch.toml`, see [`settings`](super::settings) |
//! | `GUNICORN_CMD_ARGS` | `GREENPATCH_CMD_ARGS`, and `GREENPATCH_…` for each setting |
//! | `WEB_CONCURRENCY`, `PORT`, `FORWARDED_ALLOW_IPS` | the same |
//! | `gunicorn --print-config`, `--check-config` | `app --print-config`, which also tells where each value comes from; `app --check-config` |
//! | `--preload` | not needed: a worker is the program, started once more, which takes milliseconds |
//!
//! # Worker classes
//!
//! | gunicorn | here | a handler runs on |
//! |---|---|---|
//! | `sync` | `sync` | the worker's one thread, one request at a time |
//! | `gthread --threads 8` | `gthread --threads 8` | one of 8 OS threads |
//! | `eventlet`, `gevent`, monkey patched | `green`; the old names work too | a green thread; what blocks parks it alone |
//! | `eventlet`, `gevent`, not patched | `green --patch none` | the same, but what blocks holds up the worker |
//! | uvicorn's worker | `async` | the event loop itself |
//!
//! Any application runs in any class: what it is written as (a plain function, an async function, an axum router) says
//! nothing about where it runs. An `async fn` that blocks by mistake holds up everybody in class `async`, and nobody in class
//! `green`.
//!
//! More of `--green-workers` let green threads of one process run on several processors, which a Python worker cannot do.
//! Processes (`-w`) do the same with more isolation: a crash takes one of them, and `--max-requests` and `--max-memory` replace
//! one at a time.
//!
//! # Signals
//!
//! To the master:
//!
//! | signal | what it does |
//! |---|---|
//! | `TERM` | stops; requests under way may take `--graceful-timeout` to finish |
//! | `INT`, `QUIT` | stops at once |
//! | `HUP` | reads the settings again, starts new workers, then sends the old ones away |
//! | `USR1` | opens the logs again |
//! | `USR2` | starts a new master from the program's file beside the old one, with the same sockets |
//! | `WINCH` | sends the workers away and keeps the master, after `USR2` |
//! | `TTIN`, `TTOU` | one worker more, one less |
//!
//! Two things are better than there: `HUP`, `USR2` and `--max-requests` start the new workers before the old ones stop, so
//! that there are never fewer than were asked for; and the settings' file counts at `HUP` only, so that a worker that is replaced
//! in between is like the others.
//!
//! # Defaults that differ
//!
//! Names, meanings and defaults are gunicorn's unless this list says otherwise.
//!
//! | setting | gunicorn | here |
//! |---|---|---|
//! | `--limit-request-body` | none | 16 MiB |
//! | `--limit-request-head` | none | 64 KiB for all of a request before its content |
//! | `--header-timeout`, `--body-timeout`, `--write-timeout` | none: it needs a buffering proxy in front | 10 s, 20 s and 500 bytes a second, 30 s |
//! | `--user` without `--group` | the group stays that of who started it, often root | the user's own groups |
//! | `--forwarded-allow-ips` | Unix sockets are always trusted | `unix` is in the default, and can be left out |
//! | `--umask` | `22` is decimal | octal, with a 0 in front: `022` |
//! | `--timeout` | in class `sync` a request may not take longer | it is about the worker's loop; `--request-timeout` limits requests |
//!
//! # Hooks
//!
//! | gunicorn | here |
//! |---|---|
//! | `on_starting` | what a program's `main` does; it is called in the master and in each worker |
//! | `post_fork`, `post_worker_init` | [`Program::run`](crate::Program::run) builds the application in each worker; [`on_start`](crate::Program::on_start) follows |
//! | `worker_exit` | [`on_stop`](crate::Program::on_stop); what the application owns is dropped just before |
//! | `pre_request`, `post_request` | middleware: [`Router::middleware`](crate::application::Router::middleware), or a tower layer |
//! | `when_ready` | systemd's protocol, or `/readyz` of `--admin-bind` |
//!
//! What gunicorn tells statsd, Prometheus reads at `/metrics` of `--admin-bind`.
