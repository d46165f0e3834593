//! Pages to read: where to find what you know from gunicorn, all settings, and how to run a server for good.
//!
//! - [`from_gunicorn`]: its worker classes, signals, hooks and files, and ours.
//! - [`settings`]: every setting, with its option, variable, key and default.
//! - [`deployment`]: systemd, containers, nginx, logs, health checks, upgrades without a lost request.

pub mod deployment;
pub mod from_gunicorn;
#[doc = include_str!("../../SETTINGS.md")]
pub mod settings {}
