//! What the tests of all packages share.
//!
//! - [`on_every_kind_of_thread!`] makes a test of a body on each [`Kind`] of thread; [`unpatched::everywhere`] is the same
//!   for the runtime's own types, without any shim.
//! - A body that hangs is the failure to expect of a runtime, so each runs under a [`Watchdog`].
//! - [`child`] runs a test in a process of its own, [`package`] builds packages outside the workspace, and [`process`]
//!   reads what the kernel says of this process.
//! - [`browser`] runs tests that drive one; [`npm`] installs what comes from there.
//! - [`c`] has what tests of C functions need.
//!
//! This crate does not bring the shims. A test program that needs them and names nothing of their crate, or of the facade,
//! says `use greenpatch_shims as _;`.

pub mod browser;
pub mod c;
pub mod child;
mod directory;
mod kind;
mod log;
pub mod npm;
pub mod package;
mod port;
pub mod process;
pub mod unpatched;
mod wait;
mod watchdog;

pub use directory::{Directory, written_by_tests};
pub use kind::{Kind, compensated_runtime, on_one_worker, patched_runtime};
pub use log::Log;
pub use port::free_port;
pub use wait::{SHORT, eventually, pause, until_parked};
pub use watchdog::{Watchdog, alone};
