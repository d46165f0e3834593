//! Threads that go on with a handler's work: the writer of a response's content, the function of a WebSocket.

use std::io;

use super::ambient::inherit;

/// Runs `run` on a new thread: a green one where the caller is green. It has around it what the caller has.
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let name = name.to_owned();
    let run = inherit(run);
    if greenpatch::thread::is_green() {
        greenpatch::Builder::new().name(name).spawn(run)?;
    } else {
        std::thread::Builder::new().name(name).spawn(run)?;
    }
    Ok(())
}
