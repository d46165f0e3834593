//! The command line of a server: one table of settings, from which arguments, environment, file, help and pages come.

pub(crate) mod bind;
pub(crate) mod networks;
pub(crate) mod settings;
