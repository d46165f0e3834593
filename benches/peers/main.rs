//! The same work on Greenpatch and on its peers, in one run.
//!
//! | peer | what |
//! |---|---|
//! | greenpatch | green threads with Greenpatch's own types |
//! | greenpatch, std types | green threads with `std::thread`, `std::sync` and the shims below them |
//! | may | coroutines with may's types: the other stackful runtime |
//! | Tokio, current-thread | tasks with Tokio's types, on its single-threaded scheduler |
//! | Tokio | the same on its multi-threaded scheduler, with as many workers as the others have |
//! | OS threads | `std::thread` and `std::sync` as they are; one worker means that they share a processor |
//!
//! `peer.rs` says what the works are. `works.rs` has them once for all blocking peers, `tokio.rs` for Tokio. Each
//! measurement has a process of its own, because may's workers are set once for a process, and so that no peer
//! runs beside the idle threads of another one. A row is measured in rounds, and in each round one peer comes
//! after the other: they see the machine in much the same state, and the rounds tell how noisy it is. So
//! criterion, which measures one thing after another, is not used here.
//!
//! The shims are linked into all of them, but a process without a runtime of ours passes through them at the cost of a
//! look at one word. Greenpatch's spare workers are off, and may has stacks for a whole batch made beforehand.
//!
//! The table gives the median of the rounds, in brackets the least and the most, and the ratio to Greenpatch's
//! median. For sleepers it gives their number, the time from the first start to the last join, the peak of
//! resident memory, and what of it each has added (for OS threads, without the kernel's part). For tasks that share the
//! workers and never have to wait, it gives the ratio of the largest share to the smallest: 1 is perfectly fair. An argument
//! picks the rows, or the peers, or both, by a part of `row/peer`.
//!
//! ```text
//! cargo bench -p greenpatch --bench peers
//! cargo bench -p greenpatch --bench peers -- yield
//! cargo bench -p greenpatch --bench peers -- sleepers
//! cargo bench -p greenpatch --bench peers -- shares
//! ```

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod blocking;
mod measure;
#[path = "../mode/mod.rs"]
mod mode;
mod peer;
mod table;
mod tokio;
mod works;

use std::env;
use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{self, Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use measure::Figure;
use peer::{PEERS, ROWS, Work};

/// Figures for each row and peer.
const ROUNDS: usize = 5;

/// The same where each takes seconds.
const SHARING_ROUNDS: usize = 3;

/// A child that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Tells a child which row and which peer it measures, and where the result goes.
const TASK: &str = "GREENPATCH_BENCH_TASK";
const RESULT: &str = "GREENPATCH_BENCH_RESULT";

fn main() -> ExitCode {
    let outcome = match (env::var(TASK), env::var_os(RESULT)) {
        (Ok(task), Some(result)) => measure_one(&task, Path::new(&result)),
        _ => measure_all(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures every row with every peer, each in a child.
fn measure_all() -> Result<(), Box<dyn Error>> {
    let is_test = mode::is_test();
    if !is_test {
        table::print_head();
    }
    for (row_index, row) in ROWS.iter().enumerate() {
        let mut figures = vec![Vec::new(); PEERS.len()];
        let rounds = match row.work {
            Work::Timed(_) if !is_test => ROUNDS,
            Work::Shares(..) if !is_test => SHARING_ROUNDS,
            _ => 1,
        };
        for _ in 0..rounds {
            for (peer_index, peer) in PEERS.iter().enumerate() {
                let name = format!("{}/{}", row.name, peer.name);
                if !mode::is_wanted(&name) {
                    continue;
                }
                match measure_in_child(row_index, peer_index) {
                    Ok(figure) => figures[peer_index].extend(figure),
                    Err(error) if peer.is_ours => return Err(format!("{name}: {error}").into()),
                    Err(error) => eprintln!("peers: {name}: {error}"),
                }
            }
        }
        if !is_test && figures.iter().any(|figures| !figures.is_empty()) {
            table::print_row(row.name, &figures);
        }
    }
    Ok(())
}

/// Has a child measure, and takes the result that it leaves, if the peer can be set up as the row asks.
fn measure_in_child(row: usize, peer: usize) -> Result<Option<Figure>, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("peers-{}", process::id()));
    let mut child = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(TASK, format!("{row} {peer}"))
        .env(RESULT, &path)
        .spawn()?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Err(format!("no result after {LIMIT:?}").into());
        }
        thread::sleep(Duration::from_millis(5));
    };
    if !status.success() {
        return Err(status.to_string().into());
    }
    match fs::read_to_string(&path) {
        Ok(text) => {
            fs::remove_file(&path)?;
            Ok(Some(text.parse()?))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Measures one row with one peer, in a child, and leaves the result, if there is one.
fn measure_one(task: &str, result: &Path) -> Result<(), Box<dyn Error>> {
    let (row, peer) = task.split_once(' ').ok_or("the task is a row and a peer")?;
    let (row, peer) = (&ROWS[row.parse::<usize>()?], &PEERS[peer.parse::<usize>()?]);
    if let Some(figure) = measure::measure(row, peer) {
        fs::write(result, figure.to_string())?;
    }
    Ok(())
}
