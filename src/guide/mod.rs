//! Pages to read: where to find what you know from elsewhere, and what to expect.
//!
//! - [`from_eventlet_and_gevent`]: each name of those libraries, and ours.
//! - [`scopes`]: deadlines, cancellation and scopes, beside Go's, Java's and gevent's.
//! - [`seeing_inside`]: what to look at when a program is slow, stuck or large.
//! - [`testing`]: tests on green threads.
//! - [`interrupt`](crate::interrupt): which waits a time-out or a cancellation cuts short, and which it does not.

pub mod from_eventlet_and_gevent;
pub mod scopes;
pub mod seeing_inside;
pub mod testing;
