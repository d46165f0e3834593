//! Which workers to start and which to send away: the arbiter's one rule, without any process.
//!
//! A worker is *superseded* when another one is to take its place: it is of an earlier generation (HUP), or it has done enough
//! (`--max-requests` and its kin). Superseded ones go on until successors are ready, one for one, so capacity never
//! drops; workers that are just one too many (TTOU) go at once, the oldest first.

/// What a worker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has been started and does not accept connections yet.
    Booting,
    /// It accepts connections.
    Ready,
    /// It has been told to end.
    Leaving,
}

/// A worker as far as the plan is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) number: u64,
    pub(crate) phase: Phase,
    pub(crate) superseded: bool,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// How many to start.
    pub(crate) start: usize,
    /// Which to send away, by number.
    pub(crate) dismiss: Vec<u64>,
}

/// What is to be done so that `wanted` workers serve. Workers are in the order in which they were started.
pub(crate) fn plan(workers: &[Standing], wanted: usize) -> Plan {
    let staying = |worker: &&Standing| worker.phase != Phase::Leaving;
    let fresh: Vec<_> = workers
        .iter()
        .filter(staying)
        .filter(|it| !it.superseded)
        .collect();
    let superseded = workers.iter().filter(staying).filter(|it| it.superseded);

    let surplus = fresh.len().saturating_sub(wanted);
    let mut dismiss: Vec<u64> = fresh[..surplus].iter().map(|it| it.number).collect();
    let ready = fresh[surplus..]
        .iter()
        .filter(|it| it.phase == Phase::Ready);
    // As many are kept as successors are missing: those that serve first, and of them the youngest.
    let missing = wanted.saturating_sub(ready.count());
    let mut superseded: Vec<_> = superseded.collect();
    superseded.sort_by_key(|it| (it.phase == Phase::Ready, it.number));
    let leaving = superseded.len().saturating_sub(missing);
    dismiss.extend(superseded[..leaving].iter().map(|it| it.number));
    Plan {
        start: wanted.saturating_sub(fresh.len()),
        dismiss,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers from a word each: `b`ooting, `r`eady, `l`eaving; capital letters are superseded. They are numbered from 1.
    fn standing(word: &str) -> Vec<Standing> {
        let phase = |letter: char| match letter.to_ascii_lowercase() {
            'b' => Phase::Booting,
            'r' => Phase::Ready,
            _ => Phase::Leaving,
        };
        (1..)
            .zip(word.chars())
            .map(|(number, letter)| Standing {
                number,
                phase: phase(letter),
                superseded: letter.is_ascii_uppercase(),
            })
            .collect()
    }

    #[track_caller]
    fn expect(word: &str, wanted: usize, start: usize, dismiss: &[u64]) {
        let expected = Plan {
            start,
            dismiss: dismiss.to_vec(),
        };
        assert_eq!(plan(&standing(word), wanted), expected, "{word}");
    }

    #[test]
    fn as_many_are_started_as_are_missing() {
        expect("", 3, 3, &[]);
        expect("b", 3, 2, &[]);
        expect("rl", 2, 1, &[]);
        expect("rr", 2, 0, &[]);
    }

    #[test]
    fn the_oldest_leave_when_there_are_too_many() {
        expect("rrr", 2, 0, &[1]);
        expect("lrrb", 1, 0, &[2, 3]);
        expect("rr", 0, 0, &[1, 2]);
    }

    #[test]
    fn superseded_workers_serve_until_their_successors_are_ready() {
        expect("RR", 2, 2, &[]);
        expect("RRbb", 2, 0, &[]);
        expect("RRrb", 2, 0, &[1]);
        expect("RRrr", 2, 0, &[1, 2]);
        expect("LRrb", 2, 0, &[]);
        expect("rRr", 3, 1, &[]);
        expect("rRrb", 3, 0, &[]);
        expect("rRrr", 3, 0, &[2]);
    }

    #[test]
    fn superseded_workers_that_do_not_serve_yet_are_the_first_to_leave() {
        expect("Bb", 1, 0, &[]);
        expect("RBb", 1, 0, &[2]);
        expect("RBbb", 2, 0, &[]);
        expect("RBrb", 2, 0, &[2]);
        expect("Br", 1, 0, &[1]);
    }

    #[test]
    fn a_change_of_the_number_during_a_replacement_is_taken_up() {
        expect("RRbb", 3, 1, &[]);
        expect("RRRb", 1, 0, &[1, 2]);
        expect("RR", 0, 0, &[1, 2]);
    }
}
