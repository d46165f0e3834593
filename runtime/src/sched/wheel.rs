//! A hierarchical timer wheel.
//!
//! Time is counted in ticks of 2^12 ns (4.1 µs). Level 0 has a slot for each of the next 64 ticks,
//! level 1 for each of the next 64 × 64, and so on; eight levels reach 36 years. A timer stands on
//! the level of the highest bit in which its tick differs from the wheel's: so every timer of
//! a level is due before every timer of a higher one, and insert and cancel are a few
//! instructions whatever the number of timers. When the wheel reaches a slot of a higher level,
//! its timers move down, a limited number at a time: a million timers with much the same deadline
//! stand in one slot, and who holds the lock should not hold it for long.
//!
//! Timers are intrusive: the wheel allocates nothing. It is plain data, guarded by its owner's
//! lock. The algorithm is that of Varghese and Lauck, *Hashed and Hierarchical Timing Wheels* (1987).

use std::cell::Cell;
use std::ptr::{self, NonNull};

/// log2 of the nanoseconds of a tick.
const TICK_BITS: u32 = 12;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 8;
const LAST_TICK: u64 = (1 << (SLOT_BITS * LEVELS as u32)) - 1;

/// Where a timer stands when it stands nowhere.
const NOWHERE: u16 = u16::MAX;

/// How many timers of a higher level's slot are looked at for the exact next deadline; with more
/// than these, an early look at the wheel costs less than the search.
const SCANNED: usize = 16;

/// Timers that move down in one go, before [`Wheel::advance`] asks to be called again.
const MOVES: usize = 256;

/// One timer: the links and the deadline live in the waiting thread's control block, or in the waiting future.
pub(crate) struct Timer<T> {
    owner: Cell<Option<T>>,
    tick: Cell<u64>,
    place: Cell<u16>,
    next: Cell<*const Timer<T>>,
    previous: Cell<*const Timer<T>>,
}

impl<T> Timer<T> {
    pub(crate) fn new() -> Timer<T> {
        Timer {
            owner: Cell::new(None),
            tick: Cell::new(0),
            place: Cell::new(NOWHERE),
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
        }
    }
}

/// The wheel. `T` is what an expired timer hands out.
pub(crate) struct Wheel<T> {
    tick: u64,
    /// How many timers are in.
    length: usize,
    /// The slot that the wheel has reached and whose timers have not all moved down yet.
    moving: Option<(usize, usize)>,
    occupied: [u64; LEVELS],
    slots: [[*const Timer<T>; SLOTS]; LEVELS],
}

// SAFETY: the pointers are only followed under the owner's lock; `insert` requires that a timer
// stays in place until it is out of the wheel.
unsafe impl<T: Send> Send for Wheel<T> {}

impl<T: Copy> Wheel<T> {
    /// A wheel that stands at `now`, in nanoseconds.
    pub(crate) fn new(now: u64) -> Wheel<T> {
        Wheel {
            tick: now >> TICK_BITS,
            length: 0,
            moving: None,
            occupied: [0; LEVELS],
            slots: [[ptr::null(); SLOTS]; LEVELS],
        }
    }

    /// How many timers are in.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Puts `timer` in, due at `deadline` nanoseconds, and returns when it will fire: the end
    /// of the deadline's tick.
    ///
    /// # Safety
    ///
    /// `timer` is in no wheel, and stays where it is until it was cancelled or has expired.
    pub(crate) unsafe fn insert(
        &mut self,
        timer: NonNull<Timer<T>>,
        deadline: u64,
        owner: T,
    ) -> u64 {
        // SAFETY: the timer is in place, by this function's contract.
        let entry = unsafe { timer.as_ref() };
        entry.owner.set(Some(owner));
        entry.tick.set(tick_of(deadline));
        self.link(entry, self.tick + 1);
        entry.tick.get() << TICK_BITS
    }

    /// Puts `timer` where its tick belongs, but not before `earliest`.
    fn link(&mut self, timer: &Timer<T>, earliest: u64) {
        let tick = timer.tick.get().clamp(earliest, self.tick | LAST_TICK);
        let differing = (self.tick ^ tick) | (SLOTS as u64 - 1);
        let level = ((63 - differing.leading_zeros()) / SLOT_BITS) as usize;
        let level = level.min(LEVELS - 1);
        let slot = slot_of(tick, level);
        let head = self.slots[level][slot];
        timer.place.set((level * SLOTS + slot) as u16);
        timer.previous.set(ptr::null());
        timer.next.set(head);
        if !head.is_null() {
            // SAFETY: a linked timer is in place (the promise of `insert`).
            unsafe { (*head).previous.set(timer) };
        }
        self.slots[level][slot] = timer;
        self.occupied[level] |= 1 << slot;
        self.length += 1;
    }

    /// Takes `timer` out; false if it had expired or was never in.
    ///
    /// # Safety
    ///
    /// `timer` is in no other wheel.
    pub(crate) unsafe fn cancel(&mut self, timer: &Timer<T>) -> bool {
        if timer.place.get() == NOWHERE {
            return false;
        }
        self.unlink(timer);
        true
    }

    /// Whether `timer` is in, and fires no later than one that is due at `deadline`. It is in no other wheel.
    pub(crate) fn fires_by(&self, timer: &Timer<T>, deadline: u64) -> bool {
        timer.place.get() != NOWHERE && timer.tick.get() <= tick_of(deadline)
    }

    /// Takes some timer out, and gives its owner; `None` if none is left.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        // SAFETY: a linked timer is in place.
        let timer = unsafe { &*self.slots[level][slot] };
        self.unlink(timer);
        timer.owner.take()
    }

    fn unlink(&mut self, timer: &Timer<T>) {
        self.length -= 1;
        let place = timer.place.replace(NOWHERE) as usize;
        let (level, slot) = (place / SLOTS, place % SLOTS);
        let (next, previous) = (timer.next.get(), timer.previous.get());
        if !next.is_null() {
            // SAFETY: a linked timer is in place.
            unsafe { (*next).previous.set(previous) };
        }
        if previous.is_null() {
            self.slots[level][slot] = next;
            if next.is_null() {
                self.occupied[level] &= !(1 << slot);
            }
        } else {
            // SAFETY: a linked timer is in place.
            unsafe { (*previous).next.set(next) };
        }
    }

    /// Turns the wheel to `now`, in nanoseconds, and hands the owners of expired timers to
    /// `expired` until that returns false or enough timers have moved. Returns false if it stopped so,
    /// which means: call again for the rest.
    pub(crate) fn advance(&mut self, now: u64, mut expired: impl FnMut(T) -> bool) -> bool {
        let now = now >> TICK_BITS;
        let mut moves = MOVES;
        while let Some((level, slot, due)) = self.next_slot() {
            if due > now {
                break;
            }
            self.tick = due;
            if level > 0 {
                self.moving = Some((level, slot));
            }
            while !self.slots[level][slot].is_null() {
                // SAFETY: a linked timer is in place.
                let timer = unsafe { &*self.slots[level][slot] };
                if level > 0 && moves == 0 {
                    return false;
                }
                self.unlink(timer);
                if level == 0 {
                    let owner = timer.owner.take().expect("a linked timer has an owner");
                    if !expired(owner) {
                        return false;
                    }
                } else {
                    self.link(timer, due);
                    moves -= 1;
                }
            }
            self.moving = None;
        }
        self.tick = self.tick.max(now);
        true
    }

    /// The lowest occupied level's next slot, and the tick at which it begins. A slot that is moving
    /// comes first: there may be timers in it that are due before all others.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        if let Some((level, slot)) = self.moving {
            return Some((level, slot, self.tick));
        }
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let shift = SLOT_BITS * level as u32;
        let here = slot_of(self.tick, level);
        let ahead = self.occupied[level]
            .rotate_right(here as u32)
            .trailing_zeros() as usize;
        let slot = (here + ahead) % SLOTS;
        let start = (self.tick >> (shift + SLOT_BITS)) << (shift + SLOT_BITS);
        let mut due = start + ((slot as u64) << shift);
        if due < self.tick {
            due += 1 << (shift + SLOT_BITS);
        }
        Some((level, slot, due))
    }

    /// When the next timer fires, in nanoseconds, or somewhat before; `u64::MAX` without timers.
    pub(crate) fn next_deadline(&self) -> u64 {
        if self.moving.is_some() {
            return self.tick << TICK_BITS;
        }
        let Some((level, slot, due)) = self.next_slot() else {
            return u64::MAX;
        };
        let mut exact = u64::MAX;
        if level > 0 {
            let mut timer = self.slots[level][slot];
            for _ in 0..SCANNED {
                // SAFETY: a linked timer is in place.
                let Some(entry) = (unsafe { timer.as_ref() }) else {
                    return exact.max(due) << TICK_BITS;
                };
                exact = exact.min(entry.tick.get());
                timer = entry.next.get();
            }
        }
        due << TICK_BITS
    }
}

/// The tick at whose end a timer fires that is due at `deadline` nanoseconds. Beyond half the range (292 years) there is nothing
/// to tell apart.
fn tick_of(deadline: u64) -> u64 {
    deadline.min(u64::MAX >> 1).div_ceil(1 << TICK_BITS)
}

fn slot_of(tick: u64, level: usize) -> usize {
    (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small deterministic generator (xorshift), so that a failure repeats.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }
    }

    fn expired(wheel: &mut Wheel<usize>, now: u64) -> Vec<usize> {
        let mut owners = Vec::new();
        while !wheel.advance(now, |owner| {
            owners.push(owner);
            true
        }) {}
        owners
    }

    #[test]
    fn no_timer_fires_early_or_is_forgotten() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let start = 123_456_789_012;
        let timers: Vec<Timer<usize>> = (0..5_000).map(|_| Timer::new()).collect();
        let mut wheel = Wheel::new(start);
        let mut deadlines = vec![0; timers.len()];
        for (owner, timer) in timers.iter().enumerate() {
            let scale = 1 << random.below(45);
            deadlines[owner] = start + random.below(scale + 1);
            // SAFETY: the vector of timers is not touched until the wheel is empty.
            unsafe { wheel.insert(NonNull::from(timer), deadlines[owner], owner) };
        }
        let cancelled: Vec<usize> = (0..timers.len()).filter(|_| random.below(3) == 0).collect();
        for &owner in &cancelled {
            // SAFETY: the timers are in this wheel.
            assert!(unsafe { wheel.cancel(&timers[owner]) });
        }
        let mut fired = vec![false; timers.len()];
        let mut now = start;
        while wheel.next_deadline() != u64::MAX {
            assert!(
                wheel.next_deadline() >= now >> TICK_BITS << TICK_BITS,
                "the wheel looks back"
            );
            now = wheel.next_deadline() + random.below(100_000);
            for owner in expired(&mut wheel, now) {
                assert!(deadlines[owner] <= now, "fired early");
                assert!(!std::mem::replace(&mut fired[owner], true), "fired twice");
            }
            for (owner, &deadline) in deadlines.iter().enumerate() {
                if deadline + (1 << TICK_BITS) <= now && cancelled.binary_search(&owner).is_err() {
                    assert!(fired[owner], "timer {owner} is late");
                }
            }
        }
        for (owner, &fired) in fired.iter().enumerate() {
            assert_eq!(fired, cancelled.binary_search(&owner).is_err());
        }
    }

    #[test]
    fn a_lone_distant_timer_needs_no_look_before_it_is_due() {
        let timer = Timer::new();
        let mut wheel = Wheel::new(0);
        let deadline = 10_000_000_000;
        // SAFETY: the timer outlives its stay in the wheel.
        let fires = unsafe { wheel.insert(NonNull::from(&timer), deadline, 7) };
        assert!((deadline..deadline + (1 << TICK_BITS)).contains(&fires));
        assert_eq!(wheel.next_deadline(), fires);
        assert!(expired(&mut wheel, fires - 1).is_empty());
        assert_eq!(expired(&mut wheel, fires), [7]);
        assert_eq!(wheel.next_deadline(), u64::MAX);
    }

    #[test]
    fn an_interrupted_advance_goes_on_where_it_stopped() {
        let timers: Vec<Timer<usize>> = (0..10).map(|_| Timer::new()).collect();
        let mut wheel = Wheel::new(0);
        for (owner, timer) in timers.iter().enumerate() {
            // SAFETY: the timers outlive their stay in the wheel.
            unsafe { wheel.insert(NonNull::from(timer), 50_000, owner) };
        }
        let mut first = Vec::new();
        assert!(!wheel.advance(60_000, |owner| {
            first.push(owner);
            first.len() < 4
        }));
        first.extend(expired(&mut wheel, 60_000));
        first.sort_unstable();
        assert_eq!(first, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_slot_of_many_timers_moves_in_parts() {
        let timers: Vec<Timer<usize>> = (0..3 * MOVES).map(|_| Timer::new()).collect();
        let mut wheel = Wheel::new(0);
        let deadline = 10_000_000_000;
        for (owner, timer) in timers.iter().enumerate().skip(1) {
            // SAFETY: the timers outlive their stay in the wheel.
            unsafe { wheel.insert(NonNull::from(timer), deadline + owner as u64 * 5_000, owner) };
        }
        // The wheel comes to the slot in which they all stand, and the deadlines are not there yet.
        let now = deadline - 1;
        let mut parts = 1;
        while !wheel.advance(now, |_| panic!("fired early")) {
            parts += 1;
            assert!(wheel.next_deadline() <= now, "the rest must be asked for");
            if parts == 2 {
                // Between two parts timers come and go as ever.
                // SAFETY: the timer is in no wheel, and outlives its stay in this one.
                unsafe { wheel.insert(NonNull::from(&timers[0]), deadline, 0) };
                for timer in &timers[1..10] {
                    // SAFETY: the timers are in this wheel.
                    assert!(unsafe { wheel.cancel(timer) });
                }
            }
        }
        assert!(parts >= 3, "{parts} parts");
        let mut fired = expired(&mut wheel, deadline + 60_000_000);
        fired.sort_unstable();
        let left: Vec<usize> = (0..1).chain(10..timers.len()).collect();
        assert_eq!(fired, left);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_tick() {
        let timer = Timer::new();
        let mut wheel = Wheel::new(1 << 40);
        // SAFETY: the timer outlives its stay in the wheel.
        unsafe { wheel.insert(NonNull::from(&timer), 5, 1) };
        assert_eq!(expired(&mut wheel, (1 << 40) + (2 << TICK_BITS)), [1]);
    }
}
