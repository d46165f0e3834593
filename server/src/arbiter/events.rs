//! What master and workers' links wait for: signals, and descriptors that can be read, up to a moment.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use signal_hook::low_level::signal_name;

/// Signals that are caught from now on. Several of one kind that come at once may be seen as one, as is the way of signals.
#[derive(Debug)]
pub(crate) struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Catches these.
    pub(crate) fn catch(signals: &[i32]) -> io::Result<Signals> {
        let (reader, writer) = UnixStream::pair()?;
        SignalDelivery::with_pipe(reader, writer, SignalOnly, signals).map(Signals)
    }

    /// Those that have come since the last call.
    pub(crate) fn pending(&mut self) -> impl Iterator<Item = i32> + use<> {
        self.0.pending()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}

/// A signal as gunicorn's log names it: `term`.
pub(crate) fn name(signal: i32) -> String {
    let name = signal_name(signal).unwrap_or("unknown");
    name.trim_start_matches("SIG").to_ascii_lowercase()
}

/// Waits until one of the descriptors can be read, or its other end is closed, or this moment comes. Returns which can be.
pub(crate) fn wait_readable(
    descriptors: &[BorrowedFd<'_>],
    until: Option<Instant>,
) -> io::Result<Vec<bool>> {
    let mut polled: Vec<_> = descriptors
        .iter()
        .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
        .collect();
    loop {
        let time = until.map(|until| until.saturating_duration_since(Instant::now()));
        // A time that the kernel cannot count is as good as for ever.
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut polled, time.as_ref()) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(polled.iter().map(|it| !it.revents().is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use signal_hook::consts::SIGURG;
    use signal_hook::low_level::raise;

    use super::*;

    #[test]
    fn a_signal_is_an_event_among_others() {
        let mut signals = Signals::catch(&[SIGURG]).expect("it can be caught");
        let (mut writer, reader) = UnixStream::pair().expect("a pair");
        let soon = Instant::now() + Duration::from_millis(1);
        let ready = wait_readable(&[signals.as_fd(), reader.as_fd()], Some(soon));
        assert_eq!(ready.expect("both are open"), [false, false]);

        raise(SIGURG).expect("it exists");
        let ready = wait_readable(&[signals.as_fd(), reader.as_fd()], None);
        assert_eq!(ready.expect("both are open"), [true, false]);
        assert_eq!(signals.pending().collect::<Vec<_>>(), [SIGURG]);

        writer.write_all(b"x").expect("the reader is open");
        let ready = wait_readable(&[signals.as_fd(), reader.as_fd()], None);
        assert_eq!(ready.expect("both are open"), [false, true]);
        assert_eq!(name(SIGURG), "urg");
    }
}
