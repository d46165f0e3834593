//! Unmodified programs under `greenpatch run`: small ones in C, compiled here, and real ones.

mod attributes;
mod cargo;
mod doctor;
mod ends;
mod options;
mod program;
mod programs;
mod python;
mod refusals;
mod symbols;
mod threads;
