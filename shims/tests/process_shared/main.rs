//! Waits for another process by pthread objects and futexes that the two share. The other one is a C program with glibc alone.

mod memory;
mod mutexes;
mod waits;

// For its symbols.
use greenpatch_shims as _;
