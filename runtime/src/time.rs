//! Sleeping.
pub fn sleep(duration: std::time::Duration) { unimplemented!() }
