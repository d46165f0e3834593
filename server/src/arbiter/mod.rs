//! The master process: it holds the listening sockets, starts the workers, looks after them, and obeys signals.
//!
//! Nothing is forked with threads in it. A worker is this program, executed once more, with one end of a [`channel`] as its
//! standard input; through that it gets its settings and the listening sockets. The same way serves every start of a worker: the
//! first, that of a successor for one that died or has done enough, that of a whole new generation (HUP), and, for a master, that
//! of a second master (USR2).
//!
//! | file | what it is about |
//! |---|---|
//! | [`entry`] | what a process is: master, second master, worker |
//! | [`master`] | the loop: signals, workers, deadlines |
//! | [`plan`] | which workers to start and which to send away |
//! | [`worker`] | one worker process, as its master sees it |
//! | [`generation`] | what workers of one generation have in common |
//! | [`executable`], [`sockets`] | the program that they run, the sockets that they accept on |
//! | [`successor`] | a second master, beside the first one |
//! | [`channel`], [`message`] | how master and worker talk |
//! | [`inherited`], [`link`] | a worker's side: what it finds at its start, and the thread that obeys |
//! | [`admin`] | figures and green threads of all workers |
//! | [`identity`] | as whom workers run |
//! | [`events`], [`backoff`], [`pid_file`], [`program_watch`], [`service`] | what the loop uses |

mod admin;
mod backoff;
mod channel;
mod entry;
mod events;
mod executable;
mod generation;
mod identity;
mod inherited;
mod link;
mod master;
mod message;
mod pid_file;
mod plan;
mod program_watch;
mod service;
mod sockets;
mod successor;
mod worker;

pub(crate) use entry::{Post, WorkerError, run};
pub(crate) use link::{Order, Serving};
pub(crate) use sockets::Socket;
