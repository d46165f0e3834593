//! How a call waits: sections, wait queues by address, descriptors, deadline scopes. It uses `sched` and what is below.

pub(crate) mod accept;
pub(crate) mod blocking;
pub(crate) mod call;
pub(crate) mod descriptor;
pub mod futex;
pub mod interrupt;
pub(crate) mod poll;
pub(crate) mod retry;
pub(crate) mod section;
pub(crate) mod signal_wake;
pub(crate) mod sleep;
