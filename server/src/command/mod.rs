//! The command line of a server: one table of settings, from which arguments, environment, file, help and pages come.
//!
//! | file | what it holds |
//! |---|---|
//! | [`settings`] | the settings as plain data, with their defaults |
//! | [`table`] | a row for each: name, letter, group, kind, what it does |
//! | [`kinds`] | how values are read and shown |
//! | [`bind`], [`networks`], [`accounts`] | kinds that are more than a word |
//! | [`line`] | options, by clap |
//! | [`file`](mod@file) | the settings' file |
//! | [`load`] | one over the other: defaults, file, environment, options |
//! | [`check`] | what does not fit together |
//! | [`origin`] | where a value comes from, and how that is told |
//! | [`absent`] | names that are no settings, gunicorn's others among them |
//! | [`show`], [`generate`] | `--print-config`; completions, man page, reference page |

mod absent;
mod accounts;
pub(crate) mod bind;
mod check;
mod file;
pub(crate) mod generate;
mod kinds;
pub(crate) mod line;
pub(crate) mod load;
pub(crate) mod networks;
pub(crate) mod origin;
pub(crate) mod settings;
mod show;
mod table;
