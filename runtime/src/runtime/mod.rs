//! Building, configuring and ending a runtime. It uses all rooms but `hook`.

pub(crate) mod adoption;
pub(crate) mod builder;
pub(crate) mod ending;
pub(crate) mod handle;
mod inspect;
pub mod platform;
pub(crate) mod settings;
