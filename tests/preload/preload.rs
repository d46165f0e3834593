//! Unmodified programs under `greenpatch run`: small ones in C, compiled here, and real ones.

mod cargo;
mod caught;
mod doctor;
mod ends;
mod options;
mod posix_threads;
mod program;
mod programs;
mod python;
mod refusals;
mod thread_attributes;
