//! What the tests of third-party crates share: [`servers`] that they start, and [threads of std](threads), many at once.
//!
//! The crates under test are unmodified and blocking. Each test makes all its threads be inside a blocking call at the same
//! time, and has a witness outside the crate say so: the database counts its waiting clients, the HTTP server answers no
//! request before all have come. On one worker without spare ones, that can only be if every wait parks its green thread.

pub mod http;
pub mod servers;
pub mod threads;
