//! How a call waits: sections, wait queues by address, descriptors, deadline scopes. It uses `sched` and what is below.

pub(crate) mod blocking;
pub(crate) mod descriptor;
pub mod futex;
pub mod interrupt;
pub(crate) mod signal_wake;
