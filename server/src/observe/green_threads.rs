//! Green threads by what they have in common, and those that have kept a worker to themselves: what the status page shows of them
//! without being asked.
//!
//! A list without call stacks wakes nobody, and is cheap enough to be made every second while somebody could look.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use greenpatch::dump::State;
use greenpatch::{Blocked, Dump, DumpOptions, WaitReason};
use serde::{Deserialize, Serialize};

/// Green threads of a runtime that are looked at.
const LOOKED_AT: usize = 10_000;

/// Groups that are told, the largest first.
const MOST_GROUPS: usize = 50;

/// Hogs that are remembered.
const MOST_HOGS: usize = 8;

/// Frames of a hog's call stack that are kept.
const MOST_FRAMES: usize = 12;

/// Green threads of the same name, from the same place, that do the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Group {
    /// What they wait for, or that they run or could.
    pub(crate) state: String,
    /// With `…` instead of the number at its end, if it has one.
    pub(crate) name: String,
    /// Where they were spawned.
    pub(crate) place: String,
    pub(crate) count: u64,
    /// Of the one that waits for longest.
    pub(crate) milliseconds: u64,
}

/// A green thread that has run for long without giving way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Hog {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) place: String,
    /// When it was found, in seconds since 1970.
    pub(crate) at: u64,
    /// That it had run by then.
    pub(crate) milliseconds: u64,
    /// Where it was then, the innermost frame first.
    pub(crate) frames: Vec<String>,
}

/// All green threads of this process, in groups.
pub(crate) fn groups() -> Vec<Group> {
    groups_of(&greenpatch::dump_all(DumpOptions::new().limit(LOOKED_AT)))
}

fn groups_of(dumps: &[Dump]) -> Vec<Group> {
    let mut groups = BTreeMap::<(&str, String, String), (u64, Duration)>::new();
    for thread in dumps.iter().flat_map(|dump| &dump.green_threads) {
        let (state, duration) = match &thread.state {
            State::Parked(wait) => (reason(wait.reason), wait.duration),
            State::Running { .. } => ("running", Duration::ZERO),
            State::Runnable => ("runnable", Duration::ZERO),
            _ => ("other", Duration::ZERO),
        };
        let name = without_number(thread.name.as_deref().unwrap_or_default());
        let place = thread.spawned_at.map(ToString::to_string);
        let key = (state, name, place.unwrap_or_default());
        let (count, longest) = groups.entry(key).or_default();
        *count += 1;
        *longest = duration.max(*longest);
    }
    let groups = groups
        .into_iter()
        .map(|((state, name, place), (count, longest))| Group {
            state: state.to_owned(),
            name,
            place,
            count,
            milliseconds: milliseconds(longest),
        });
    let mut groups: Vec<Group> = groups.collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups.truncate(MOST_GROUPS);
    groups
}

/// The name that threads have in common whose own ends in a number: `driver-…` for `driver-17`.
fn without_number(name: &str) -> String {
    match name.trim_end_matches(|it: char| it.is_ascii_digit()) {
        stem if stem.len() < name.len() => format!("{stem}…"),
        _ => name.to_owned(),
    }
}

/// What is waited for, without numbers and addresses.
fn reason(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::Sleep => "sleep",
        WaitReason::Read(_) => "read",
        WaitReason::Write(_) => "write",
        WaitReason::Poll(_) => "poll",
        WaitReason::Futex(_) => "futex",
        WaitReason::Join(_) => "join",
        WaitReason::Mutex(_) => "mutex",
        WaitReason::Park => "unpark",
        WaitReason::Future(_) => "future",
        _ => "other",
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The hogs of this process that were found last.
#[derive(Debug, Default)]
pub(crate) struct Hogs(Mutex<VecDeque<Hog>>);

impl Hogs {
    /// One was found, or found again.
    pub(crate) fn add(&self, blocked: &Blocked) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let frames = blocked.backtrace().iter().take(MOST_FRAMES);
        self.insert(Hog {
            id: blocked.id(),
            name: blocked.name().unwrap_or_default().to_owned(),
            place: blocked
                .spawned_at()
                .map(ToString::to_string)
                .unwrap_or_default(),
            at: now.map_or(0, |since| since.as_secs()),
            milliseconds: milliseconds(blocked.duration()),
            frames: frames.map(ToString::to_string).collect(),
        });
    }

    fn insert(&self, hog: Hog) {
        let mut hogs = self.lock();
        // It is told of again each time that it has run twice as long.
        hogs.retain(|known| known.id != hog.id);
        hogs.push_front(hog);
        hogs.truncate(MOST_HOGS);
    }

    /// The last one first.
    pub(crate) fn all(&self) -> Vec<Hog> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Hog>> {
        // No change can be cut short by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn green_threads_that_do_the_same_are_one_group() {
        let runtime = greenpatch::Runtime::builder().workers(1).build().unwrap();
        let spawn = |name: String| {
            let named = greenpatch::Builder::new().name(name);
            runtime.spawn_with(named, greenpatch::thread::park).unwrap()
        };
        let parked: Vec<_> = (0..3)
            .map(|number| spawn(format!("group-{number}")))
            .collect();
        let group = loop {
            let group = groups().into_iter().find(|it| it.name == "group-…");
            if let Some(group) = group.filter(|it| it.state == "unpark" && it.count == 3) {
                break group;
            }
        };
        assert!(group.place.contains("green_threads.rs:"), "{group:?}");
        for thread in parked {
            thread.thread().unpark();
            thread.join().unwrap();
        }
    }

    #[test]
    fn the_last_hogs_are_remembered_each_once() {
        let hogs = Hogs::default();
        for id in (0..20).chain([15]) {
            hogs.insert(Hog {
                id,
                ..Hog::default()
            });
        }
        let ids: Vec<u64> = hogs.all().iter().map(|hog| hog.id).collect();
        assert_eq!(ids, [15, 19, 18, 17, 16, 14, 13, 12]);
    }
}
