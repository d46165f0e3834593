//! The shims.
