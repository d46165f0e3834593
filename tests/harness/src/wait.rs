//! Waits by means of the runtime's own, which park a green thread with and without the shims.

use std::time::{Duration, Instant};

use greenpatch_runtime::dump::{GreenThread, State};
use greenpatch_runtime::time::sleep;
use greenpatch_runtime::{DumpOptions, Runtime};

/// Long enough that a thread which could go on has gone on.
pub const SHORT: Duration = Duration::from_millis(20);

/// How long what a test waits for may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Lets others go on for a moment: long enough for them to wait, if they do.
pub fn pause() {
    sleep(Duration::from_millis(10));
}

/// Waits until `condition` holds.
///
/// # Panics
///
/// If it does not in a minute.
#[track_caller]
pub fn eventually(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "it never is so");
        sleep(Duration::from_millis(1));
    }
}

/// Waits until `count` green threads of the runtime are parked, and none of the others runs or is about to.
#[track_caller]
pub fn until_parked(runtime: &Runtime, count: usize) {
    eventually(|| {
        // By the figures, one that its worker is about to run is parked; by its state, one whose worker is about to leave it.
        let dump = runtime.dump(DumpOptions::new());
        let is_parked = |green: &GreenThread| matches!(green.state, State::Parked(_));
        dump.metrics.parked == count
            && dump.metrics.running + dump.metrics.runnable == 0
            && dump.green_threads.iter().all(is_parked)
    });
}
