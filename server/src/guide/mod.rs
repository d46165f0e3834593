//! Pages to read: where to find what you know from gunicorn and Flask, all settings, and how to run a server for good.
//!
//! - [`from_gunicorn`]: its worker classes, signals, hooks and files, and ours.
//! - [`before_and_after`]: its command lines beside ours, and what each does.
//! - [`from_flask`]: Flask, Sanic, and the same here, construct by construct.
//! - [`settings`]: every setting, with its option, variable, key and default.
//! - [`pages`]: two pages for a browser, one to see what the worker classes do, one to see what a server is at.
//! - [`deployment`]: systemd, containers, nginx, logs, health checks, upgrades without a lost request.

pub mod before_and_after;
pub mod deployment;
#[cfg(feature = "test")]
pub mod from_flask;
pub mod from_gunicorn;
pub mod pages;
#[doc = include_str!("../../SETTINGS.md")]
pub mod settings {}
