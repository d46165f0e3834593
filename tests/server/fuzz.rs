//! Runs the fuzz targets of `server/fuzz` for a moment, on mutations of their seeds; its README tells more.

use std::any::Any;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use greenpatch_server::fuzzing;

/// A test for each target.
macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name), fuzzing::$name);
        })*
    };
}

targets! {
    access_log
    addresses
    connection
    forwarded
    proxy
    ranges
    request_id
    scan
    settings
}

/// Gives a target its seeds, and then mutations of them for as long as is asked for.
fn run(name: &str, target: fn(&[u8])) {
    let seconds = std::env::var("GREENPATCH_FUZZ_SECONDS");
    let seconds = seconds.map_or(1.0, |text| text.parse().expect("a number of seconds"));
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let seeds = seeds(name);
    for seed in &seeds {
        check(target, seed);
    }
    // The same inputs every time, as far as the time allows.
    let mut random = Rng::with_seed(0);
    while Instant::now() < end {
        for _ in 0..16 {
            check(target, &mutated(&seeds, &mut random));
        }
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds in {folder:?}");
    let seeds = paths.iter().map(|path| fs::read(path).expect("readable"));
    seeds.collect()
}

fn check(target: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        panic!(
            "{}; the input is b\"{}\"",
            message(&*panic),
            input.escape_ascii()
        );
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic")
}

/// A seed with a few changes.
fn mutated(seeds: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut bytes = random.choice(seeds).expect("there are seeds").clone();
    for _ in 0..random.usize(1..=6) {
        mutate(&mut bytes, seeds, random);
    }
    bytes
}

/// Bytes that mean something to one parser or another.
const TELLING: &[u8] =
    b"\0\t\n\r \"#%'()*+,-./0123456789:;<=>?@AZ[\\]^_`az{|}~\x7f\x80\xc3\xa9\xff";

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Rng) {
    let at = random.usize(..=bytes.len());
    let end = (at + random.usize(..8)).min(bytes.len());
    let byte = if random.bool() {
        *random.choice(TELLING).expect("there are some")
    } else {
        random.u8(..)
    };
    match random.u8(..8) {
        0 => bytes.insert(at, byte),
        1 if at < bytes.len() => bytes[at] = byte,
        2 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        3 => drop(bytes.drain(at..end)),
        4 => bytes.truncate(at),
        5 => {
            let times = random.usize(1..=64);
            let piece = bytes[at..end].repeat(times);
            bytes.splice(at..at, piece);
        }
        6 => {
            let other = random.choice(seeds).expect("there are seeds");
            let from = random.usize(..=other.len());
            let to = random.usize(from..=other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        _ => {
            let to = random.usize(..=bytes.len());
            let piece = bytes[at..end].to_vec();
            bytes.splice(to..to, piece);
        }
    }
}
