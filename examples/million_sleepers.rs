//! A million green threads that sleep at the same time, and what they cost.
//!
//! Each has a stack of 64 KiB, of which it touches a page or so. They have no mapping of their own each, so
//! the kernel's default limit of 65,530 mappings is no obstacle. A million of them take 8 to 9 GB.
//!
//! ```text
//! cargo run --release -p greenpatch --example million_sleepers
//! cargo run --release -p greenpatch --example million_sleepers -- 100000
//! ```

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use greenpatch::{Builder, JoinHandle, Runtime};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

const COUNT: usize = 1_000_000;
const SLEEP: Duration = Duration::from_secs(10);
const STACK: usize = 64 << 10;

/// Bytes that a sleeper may take: two pages, and what stands for it on the heap. Code that is not optimized
/// uses more stack.
const BYTES_EACH: usize = if cfg!(debug_assertions) { 16 } else { 9 } * 1024;

/// With fewer sleepers than this, what the process takes for itself blurs the figure.
const ENOUGH_TO_JUDGE: usize = 10_000;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let outcome = sleepers_wanted().and_then(|count| {
        check_memory(count)?;
        Runtime::builder().build()?.run(|| sleep(count))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("million_sleepers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The argument, or a million.
fn sleepers_wanted() -> Result<usize, Failure> {
    let mut arguments = env::args().skip(1);
    let count = match arguments.next() {
        None => COUNT,
        Some(text) => match text.parse() {
            Ok(count) if count > 0 => count,
            _ => {
                return Err(format!(
                    "'{text}' is no number of sleepers; give a whole number above 0, in digits"
                )
                .into());
            }
        },
    };
    match arguments.next() {
        None => Ok(count),
        Some(text) => Err(format!(
            "there is an argument too many, '{text}'; give the number of sleepers only"
        )
        .into()),
    }
}

fn check_memory(count: usize) -> Result<(), Failure> {
    let Some(available) = kilobytes("/proc/meminfo", "MemAvailable:") else {
        return Ok(());
    };
    let affordable = available * 1024 / BYTES_EACH;
    if count <= affordable {
        return Ok(());
    }
    Err(format!(
        "{count} sleepers need {:.1} GB of memory and {:.1} GB are available; try {affordable}",
        count as f64 * BYTES_EACH as f64 / 1e9,
        available as f64 * 1024.0 / 1e9,
    )
    .into())
}

/// How far the sleepers have come.
#[derive(Default)]
struct Progress {
    started: AtomicUsize,
    asleep: AtomicUsize,
    woken: AtomicUsize,
}

/// Runs the sleepers, on the main green thread.
fn sleep(count: usize) -> Result<(), Failure> {
    // What all green threads share is paid for with the first of them.
    Builder::new().stack_size(STACK).spawn(|| {})?.join().ok();
    let resident_before = resident()?;
    let progress = Arc::new(Progress::default());
    let bars = MultiProgress::new();
    let say = |line: String| bars.suspend(|| println!("{line}"));
    let display = {
        let (progress, bars) = (Arc::clone(&progress), bars.clone());
        greenpatch::spawn(move || show(&progress, &bars, count))
    };
    let started = Instant::now();
    let sleepers = start(count, &progress)?;
    say(format!("{count} started in {:.2?}", started.elapsed()));
    while progress.asleep.load(Ordering::Relaxed) < count {
        thread::sleep(Duration::from_millis(1));
    }
    let resident = resident()?.saturating_sub(resident_before);
    let mappings = fs::read_to_string("/proc/self/maps")?.lines().count();
    let threads = fs::read_dir("/proc/self/task")?.count();
    let each = resident / count;
    say(format!(
        "all asleep at once: {each} bytes resident each, {:.2} GB in all; {mappings} mappings, {threads} OS threads",
        resident as f64 / 1e9
    ));
    for sleeper in sleepers {
        sleeper.join().map_err(|_| "a sleeper panicked")?;
    }
    let elapsed = started.elapsed();
    display.join().map_err(|_| "the progress bars panicked")?;
    println!("all slept for {SLEEP:?} and were joined in {elapsed:.2?}");
    if each > BYTES_EACH && count >= ENOUGH_TO_JUDGE {
        return Err(format!(
            "a sleeper took {each} bytes of memory, more than the {BYTES_EACH} expected; \
             are transparent huge pages forced on, or is this not Linux's 4 KiB page?"
        )
        .into());
    }
    Ok(())
}

/// Starts the sleepers. They wait for each other, so that all sleep at the same time.
fn start(count: usize, progress: &Arc<Progress>) -> Result<Vec<JoinHandle<()>>, Failure> {
    let all_started = Arc::new(Barrier::new(count));
    (0..count)
        .map(|_| {
            let (progress, all_started) = (Arc::clone(progress), Arc::clone(&all_started));
            let sleeper = move || {
                progress.started.fetch_add(1, Ordering::Relaxed);
                all_started.wait();
                progress.asleep.fetch_add(1, Ordering::Relaxed);
                thread::sleep(SLEEP);
                progress.woken.fetch_add(1, Ordering::Relaxed);
            };
            Ok(Builder::new().stack_size(STACK).spawn(sleeper)?)
        })
        .collect()
}

/// Shows a bar for those that were started, and one for those that have woken again.
fn show(progress: &Progress, bars: &MultiProgress, count: usize) {
    let style =
        ProgressStyle::with_template("{prefix:>8} {wide_bar} {human_pos:>9} of {human_len}")
            .expect("the template is right");
    let bar = |prefix| {
        bars.add(ProgressBar::new(count as u64))
            .with_style(style.clone())
            .with_prefix(prefix)
    };
    let (started, woken) = (bar("started"), bar("woken"));
    while !woken.is_finished() {
        thread::sleep(Duration::from_millis(50));
        started.set_position(progress.started.load(Ordering::Relaxed) as u64);
        woken.set_position(progress.woken.load(Ordering::Relaxed) as u64);
        if progress.woken.load(Ordering::Relaxed) == count {
            started.finish();
            woken.finish();
        }
    }
}

/// Bytes of memory that the process takes.
fn resident() -> Result<usize, Failure> {
    let kilobytes = kilobytes("/proc/self/status", "VmRSS:");
    Ok(kilobytes.ok_or("/proc/self/status does not tell VmRSS")? * 1024)
}

/// What a file of the kernel's says behind `key`.
fn kilobytes(path: &str, key: &str) -> Option<usize> {
    let text = fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}
