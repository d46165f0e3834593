//! What the service manager is told, if one has started the server: systemd's `sd_notify`.
//!
//! Every message is best effort: a service manager that does not listen is no reason to stop serving.

use std::process::{self, Command};
use std::time::{Duration, Instant};

use sd_notify::{NotifyState, notify, watchdog_enabled};

/// What a service manager sets in the environment for the process that it starts, and for no other.
const VARIABLES: [&str; 6] = [
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// The service manager.
#[derive(Debug)]
pub(crate) struct Service {
    /// How often it wants a sign of life, and when the next one is due.
    watchdog: Option<(Duration, Instant)>,
}

impl Service {
    /// The one that the environment tells of, or none, to which everything is told in vain.
    pub(crate) fn from_environment() -> Service {
        // Half the time that it waits, as its manual advises.
        let watchdog = watchdog_enabled().map(|time| (time / 2, Instant::now()));
        Service { watchdog }
    }

    /// Everything that the settings ask for serves.
    pub(crate) fn ready(&self, workers: usize) {
        let status = format!("Serving with {workers} workers");
        let _ = notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// The settings are read again.
    pub(crate) fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            let _ = notify(&[
                NotifyState::Reloading,
                now,
                NotifyState::Status("Reloading"),
            ]);
        }
    }

    /// The server stops.
    pub(crate) fn stopping(&self) {
        let _ = notify(&[NotifyState::Stopping, NotifyState::Status("Stopping")]);
    }

    /// Another process is the service's main one from now on.
    pub(crate) fn main_process(&self, pid: u32) {
        let _ = notify(&[NotifyState::MainPid(pid)]);
    }

    /// This process is the service's main one from now on.
    pub(crate) fn this_is_main(&self) {
        self.main_process(process::id());
    }

    /// Gives the sign of life if it is due. Returns when the next one is.
    pub(crate) fn beat(&mut self, now: Instant) -> Option<Instant> {
        let (every, due) = self.watchdog.as_mut()?;
        if now >= *due {
            let _ = notify(&[NotifyState::Watchdog]);
            *due = now + *every;
        }
        Some(*due)
    }
}

/// Hides from a worker what is meant for its master.
pub(crate) fn hide_from(worker: &mut Command) {
    for variable in VARIABLES {
        worker.env_remove(variable);
    }
}

/// Hides from a second master what is meant for the first alone; it goes on to talk with the service manager.
pub(crate) fn hand_on_to(master: &mut Command) {
    for variable in VARIABLES {
        if !matches!(variable, "NOTIFY_SOCKET" | "WATCHDOG_USEC") {
            master.env_remove(variable);
        }
    }
}
