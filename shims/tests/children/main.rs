//! Child processes: waits for their ends, what they share with their parent, and tests that need one of their own.
//!
//! A child has its parent's descriptors for a while, so no test here may take another's pipe or socket for closed when it has
//! closed its own end.

mod adopted;
mod new_descriptors;
mod shared;
mod uncaught;
mod waits;

// For its symbols.
use greenpatch_shims as _;
