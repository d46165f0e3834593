//! Two pages for a browser: what the worker classes do, and what a server is at.
//!
//! Both are one file each, need nothing from elsewhere, and can be used by keyboard and with a screen reader. The pictures are
//! taken by the tests.
//!
//! # Who waits for whom
//!
//! ```console
//! $ greenpatch demo --web
//! Open http://127.0.0.1:8001/ in a browser. Ctrl-C ends it.
//! ```
//!
//! Two servers get the same requests at the same time, and run the same blocking handler, which prints `hello N`, waits, prints `world`
//! and answers. One chooses the class of each and which families are patched, how many requests there are, and what the handler
//! waits for: time, a socket, a lock, another program. Each server is a `greenpatch serve` in a process of its own, whose
//! command line the page shows. Each bar is a call of its handler, from its beginning to its end as they happen.
//!
#![doc = concat!(
    "![Server A, unpatched, runs four requests one after the other, server B, patched, all at the same time.](data:image/png;base64,",
    include_str!("../../pictures/demo-light.png.base64"),
    ")"
)]
//!
//! The address in the browser has all that is chosen, so it can be kept and passed on. The page is served on this machine's
//! loopback only, and requests of other sites are refused.
//!
//! # What a server is at
//!
//! ```console
//! $ microblog -k green --admin-bind 127.0.0.1:8900
//! ```
//!
//! `http://127.0.0.1:8900/status` shows, and goes on showing:
//!
//! - requests a second, and how long they take: of all and by route, over the last ten seconds;
//! - each worker, with its state, connections, processor time, memory and descriptors;
//! - what green threads wait for, with their names and the places where they were spawned;
//! - hogs: green threads that have kept a worker to themselves for half of `--timeout`, and where they were then.
//!
//! "Take a dump" asks the workers for the call stack of each green thread.
//!
#![doc = concat!(
    "![Figures of two workers, and forty green threads that sleep.](data:image/png;base64,",
    include_str!("../../pictures/status-light.png.base64"),
    ")"
)]
//!
//! The pictures are taken anew by
//!
//! ```console
//! $ GREENPATCH_WRITE_PICTURES=1 cargo test -p greenpatch-server --test browser
//! ```
