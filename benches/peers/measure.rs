//! One measurement, in a child process.

use std::fmt;
use std::fs;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::mode;
use crate::peer::{Candidate, Peer, Row, Work};

/// How long samples are taken, and how many there must be.
const SAMPLING: Duration = Duration::from_millis(300);
const SAMPLES: usize = 5;

/// What a measurement gives.
#[derive(Clone, Copy)]
pub(crate) enum Figure {
    /// Nanoseconds an operation.
    Time(f64),
    /// So many sleepers took so many seconds, so many bytes at the most, and so many more each.
    Sleepers {
        count: u64,
        seconds: f64,
        peak: u64,
        each: u64,
    },
    /// The most and the least that one of many tasks got, and how many got nothing.
    Shares { most: u64, least: u64, none: u64 },
}

/// The line that a child leaves for its parent.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Figure::Time(nanos) => write!(f, "{nanos}"),
            Figure::Sleepers {
                count,
                seconds,
                peak,
                each,
            } => write!(f, "{count} {seconds} {peak} {each}"),
            Figure::Shares { most, least, none } => write!(f, "{most} {least} {none}"),
        }
    }
}

impl FromStr for Figure {
    type Err = String;

    fn from_str(line: &str) -> Result<Figure, String> {
        let numbers: Option<Vec<f64>> = line.split(' ').map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[nanos]) => Ok(Figure::Time(nanos)),
            Some(&[count, seconds, peak, each]) => Ok(Figure::Sleepers {
                count: count as u64,
                seconds,
                peak: peak as u64,
                each: each as u64,
            }),
            Some(&[most, least, none]) => Ok(Figure::Shares {
                most: most as u64,
                least: least as u64,
                none: none as u64,
            }),
            _ => Err(format!("a child left '{line}' for its result")),
        }
    }
}

/// The figure, if the peer can be set up as the row asks.
pub(crate) fn measure(row: &Row, candidate: &Candidate) -> Option<Figure> {
    let peer = (candidate.start)(row.setup)?;
    Some(match row.work {
        Work::Timed(work) => time(candidate.sample, |count| work(&*peer, count)),
        Work::Shares(_, _, calls) if mode::is_test() => {
            shares(peer.share(10, Duration::from_millis(10), calls)?)
        }
        Work::Shares(tasks, duration, calls) => shares(peer.share(tasks, duration, calls)?),
        Work::Sleepers(..) if mode::is_test() => sleepers(&*peer, 1_000, Duration::from_millis(10)),
        Work::Sleepers(count, duration) => {
            sleepers(&*peer, count.min(candidate.most_sleepers), duration)
        }
    })
}

/// The first quartile of the samples: what else goes on in the machine only ever adds time.
fn time(sample: Duration, work: impl Fn(u64) -> Duration) -> Figure {
    let mut count = 1;
    let mut elapsed = work(count);
    // This also warms up.
    while elapsed < sample && !mode::is_test() {
        let factor = sample.as_secs_f64() / elapsed.as_secs_f64();
        count = (count as f64 * factor.clamp(1.5, 10.0)).ceil() as u64;
        elapsed = work(count);
    }
    let started = Instant::now();
    let mut nanos = Vec::new();
    while nanos.len() < SAMPLES || started.elapsed() < SAMPLING {
        nanos.push(work(count).as_nanos() as f64 / count as f64);
        if mode::is_test() {
            break;
        }
    }
    nanos.sort_unstable_by(f64::total_cmp);
    Figure::Time(nanos[nanos.len() / 4])
}

fn shares(counts: Vec<u64>) -> Figure {
    Figure::Shares {
        most: counts.iter().copied().max().unwrap_or(0),
        least: counts.iter().copied().min().unwrap_or(0),
        none: counts.iter().filter(|count| **count == 0).count() as u64,
    }
}

/// Measures sleepers once.
fn sleepers(peer: &dyn Peer, count: u64, duration: Duration) -> Figure {
    // What all of them share is paid for by the first.
    peer.spawn_one_by_one(1);
    let before = peak_resident();
    let elapsed = peer.sleep(count, duration);
    let peak = peak_resident();
    Figure::Sleepers {
        count,
        seconds: elapsed.as_secs_f64(),
        peak,
        each: (peak - before) / count,
    }
}

/// The most bytes of memory that this process has had.
fn peak_resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next())
        .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024)
}
