//! SIGTERM and SIGINT: the first lets requests finish, the second ends the process at once.

use std::io;
use std::process;
use std::thread;
use std::time::Duration;

use greenpatch_server::{StopHandle, log};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, signal_name};

/// Stops the server at the first signal, from an OS thread of its own.
///
/// Requests that have not finished after `patience` are cut off, and the process exits.
///
/// # Errors
/// If the signals cannot be caught or the thread cannot be started.
pub(crate) fn stop_server(stop: StopHandle, patience: Duration) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut signals = signals.forever();
            let Some(signal) = signals.next() else { return };
            let name = signal_name(signal)
                .unwrap_or("unknown")
                .trim_start_matches("SIG");
            log::info(format_args!(
                "Handling signal: {}",
                name.to_ascii_lowercase()
            ));
            thread::spawn(move || {
                thread::sleep(patience);
                log::warning(format_args!(
                    "Requests were still under way {} s after the signal and are cut off; \
                 raise --graceful-timeout if they need longer",
                    patience.as_secs_f64()
                ));
                process::exit(0);
            });
            stop.stop();
            if let Some(signal) = signals.next() {
                // Ends the process; if it could not, the server would still stop in its own time.
                let _ = emulate_default_handler(signal);
            }
        })?;
    Ok(())
}
