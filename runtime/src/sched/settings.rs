//! The values of a runtime's settings that its workers and its monitor go by. For their names, defaults and meanings see
//! `runtime/settings.rs`.

use std::time::Duration;

use crate::base::patch::Patch;
use crate::base::policy::{OnDeadlock, OnDrop};

/// The values for one runtime.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) stack_size: usize,
    pub(crate) patch: Patch,
    pub(crate) compensation: bool,
    pub(crate) max_spare_workers: usize,
    /// `None` is any number.
    pub(crate) max_green_threads: Option<usize>,
    /// `None` is for ever.
    pub(crate) max_blocking_time: Option<Duration>,
    /// `None` is never. Whoever has set it has promised what `trim.rs` needs.
    pub(crate) trim_after: Option<Duration>,
    pub(crate) on_drop: OnDrop,
    pub(crate) deadlock: OnDeadlock,
    pub(crate) name: String,
}

impl Settings {
    /// Spare workers there may be.
    pub(crate) fn spare_workers(&self) -> usize {
        if self.compensation {
            self.max_spare_workers
        } else {
            0
        }
    }
}
