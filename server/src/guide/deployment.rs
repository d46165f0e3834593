//! Running a server for good.
//!
//! The files that are shown here are in the folder `deploy` of the package.
//!
//! # systemd
//!
//! systemd listens, and hands the sockets over: they outlive the server, so that a restart refuses no client, and the server
//! needs no right to ports below 1024. `systemctl reload` starts new workers before the old ones go.
//!
//! ```ini
#![doc = include_str!("../../deploy/app.socket")]
//! ```
//!
//! ```ini
#![doc = include_str!("../../deploy/app.service")]
//! ```
//!
//! # Containers
//!
//! ```dockerfile
#![doc = include_str!("../../deploy/Dockerfile")]
//! ```
//!
//! In Kubernetes let `livenessProbe` ask `/livez` and `readinessProbe` ask `/readyz` of `--admin-bind`. When a pod is to stop,
//! its address is still handed out for some seconds; a `preStop` hook that sleeps for five covers that.
//!
//! # nginx in front
//!
//! It is not needed: slow clients hold nobody up, TLS and HTTP/2 are there. It is useful for several applications at one
//! address, for caches and for limits of rate.
//!
//! ```nginx
#![doc = include_str!("../../deploy/nginx.conf")]
//! ```
//!
//! # Logs
//!
//! Under systemd and in containers, logs belong on standard output and standard error, and `--log-format json` with
//! `--access-logformat json` makes lines that a collector can read. Into files they go with `--access-logfile FILE` and
//! `--error-logfile FILE`, which logrotate may move:
//!
//! ```text
#![doc = include_str!("../../deploy/app.logrotate")]
//! ```
//!
//! # A new version without a lost request
//!
//! | way | how | when |
//! |---|---|---|
//! | new workers | put the new program in the place of the old one (`mv`, not `cp` over it), then `HUP` | nearly always |
//! | new master | the same, then `USR2`; when the new one serves, `TERM` to the old one | when the old should still be there to go back to: `HUP` to it, and `TERM` to the new one |
//! | restart | `systemctl restart` with `app.socket` | when neither matters: clients wait a moment |
//!
//! # How many of what
//!
//! - **Workers**: `-w auto` is one for each processor that the process may use. One is enough for handlers that wait.
//! - **`--worker-connections`**: above it connections wait to be accepted. Each takes a descriptor; `LimitNOFILE` or `ulimit -n`
//!   must leave room for it, and for what handlers open.
//! - **`--stack-size`**: a green thread takes memory as far as its stack was used. `/threads` and `/metrics` of `--admin-bind`
//!   show how far that is.
//! - **Time-outs**: `--request-timeout` below the proxy's, `--keep-alive` above the proxy's, `TimeoutStopSec` above
//!   `--graceful-timeout`.
//!
//! # What to look at
//!
//! `--admin-bind 127.0.0.1:9000` opens `/livez`, `/readyz`, `/metrics` for Prometheus, and `/threads`, which lists every green
//! thread with what it waits for. [`seeing_inside`](greenpatch::guide::seeing_inside) reads them. `/status` shows all that in a
//! browser, as it changes. On the machine itself, `greenpatch top PID` does so on a terminal, without any setting, for the master with
//! all its workers as for one of these.
