//! Who of the drivers looks for tasks, who rests, and whom a new task calls.
//!
//! A *driver* is in one of three states:
//!
//! | state | meaning | counted by |
//! |---|---|---|
//! | searching | it will look at the queue before it polls or rests | `searching` |
//! | polling | it polls a task, and may be parked in there for any time | nothing |
//! | resting | it waits to be called | its place in `resting`, whose length is `rested` |
//!
//! | from | to | by | call |
//! |---|---|---|---|
//! | searching | polling | the driver, which has taken a task | [`Roster::leave`], then [`Roster::needs_spare`] |
//! | polling | searching | the driver, whose poll has returned | [`Roster::join`] |
//! | searching | resting | the driver, which has found nothing | [`Roster::rest`] |
//! | resting | searching | whoever calls it, before it runs | [`Roster::call`], [`Roster::call_off`] |
//! | none | searching | the driver that makes it, before it runs | [`Roster::needs_spare`] |
//!
//! **No task is left lying.** What is to be shown is that a task in the queue always has a searching driver, or a driver
//! that has yet to do what is said here before it polls or rests. Two things could go wrong.
//!
//! *A push that calls nobody.* Who pushes, pushes first, then passes a fence, then reads the two counts. It calls nobody if
//! `searching` is not zero. Each driver that leaves the search subtracts itself first, then passes a fence, and if it was the
//! last one looks at the queue again. Of two fences one is first: either the pusher reads the count after that subtraction, and
//! does not rely on this driver; or the driver sees the push, and calls another one (before it polls) or stays (before it rests).
//! A driver that rests has entered itself before it subtracts, so there is no moment in which it is neither.
//!
//! *Nobody to call.* A driver that is to poll makes sure, after it has left the search, that another one searches or rests,
//! and makes one if not ([`Roster::needs_spare`]). So that the two questions are one, both are asked under the lock
//! under which a rest is ended: a driver that is being called is found either among the resting or among the searching. One that
//! searches or rests keeps the promise in turn before it polls. A push between the leaving and the making of a spare
//! calls nobody; the spare looks at the queue when it begins, after a fence.
//!
//! So while drivers poll, however long they are parked in there, one is left that takes what becomes ready. Only if a
//! spare cannot be made (no memory for its stack) does that fail until a poll returns.
//!
//! **Few wakes.** While one driver searches, pushes wake nobody. It calls another one only when it has found a task and
//! there are more; that one does the same. So the searching spreads over as many drivers as find work, and a burst of a
//! thousand wake-ups costs one call at a time.

use super::atomic::{AtomicUsize, Mutex, MutexGuard, Ordering, fence, fence_after_update};

/// See the module's page. `D` is what a driver is called by.
pub(crate) struct Roster<D> {
    /// Drivers that search.
    searching: AtomicUsize,
    /// Drivers that rest: the length of `resting`, written under its lock.
    rested: AtomicUsize,
    /// Drivers that rest; the last to come is the first to be called.
    resting: Mutex<Vec<D>>,
}

impl<D: PartialEq + Clone> Roster<D> {
    /// With so many drivers, which are about to search.
    pub(crate) fn new(searching: usize) -> Roster<D> {
        Roster {
            searching: AtomicUsize::new(searching),
            rested: AtomicUsize::new(0),
            resting: Mutex::new(Vec::new()),
        }
    }

    /// To be called after a push. The driver that is to be woken, if one is needed; it searches from now on.
    pub(crate) fn call(&self) -> Option<D> {
        fence(Ordering::SeqCst);
        if self.searching.load(Ordering::SeqCst) > 0 || self.rested.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut resting = self.lock();
        if self.searching.load(Ordering::SeqCst) > 0 {
            return None;
        }
        let driver = resting.pop()?;
        self.rested.store(resting.len(), Ordering::SeqCst);
        self.searching.fetch_add(1, Ordering::SeqCst);
        Some(driver)
    }

    /// The caller searches no more, as it has found a task. Whether nobody searches now; then it looks whether there are more
    /// tasks, and if so [calls](Self::call) another driver.
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        let before = self.searching.fetch_sub(1, Ordering::SeqCst);
        fence_after_update();
        before == 1
    }

    /// Whether nobody is left to search. Then the caller makes a driver, which counts as searching from now on.
    #[must_use]
    pub(crate) fn needs_spare(&self) -> bool {
        if self.rested.load(Ordering::SeqCst) > 0 {
            return false;
        }
        let resting = self.lock();
        let needed = resting.is_empty() && self.searching.load(Ordering::SeqCst) == 0;
        if needed {
            self.searching.fetch_add(1, Ordering::SeqCst);
        }
        needed
    }

    /// The caller, which polled, searches again; or one that was to be made could not be (then with [`leave`](Self::leave)).
    pub(crate) fn join(&self) {
        self.searching.fetch_add(1, Ordering::SeqCst);
        fence_after_update();
    }

    /// The caller, which searched, rests from now on, if fewer than `most` do. Otherwise it ends: it has left the search all the same.
    ///
    /// Afterwards, if `is_last` is true of the result, it looks whether there are tasks; and if there are, a resting driver
    /// [comes back](Self::call_off), one that ends [calls](Self::call) another.
    pub(crate) fn rest(&self, driver: &D, most: usize) -> Rest {
        let mut resting = self.lock();
        let stays = resting.len() < most;
        if stays {
            resting.push(driver.clone());
            self.rested.store(resting.len(), Ordering::SeqCst);
        }
        drop(resting);
        Rest {
            stays,
            is_last: self.leave(),
        }
    }

    /// The caller, which rested, searches again. False if it has been called in the meantime: then it searches already, and a
    /// wake is on its way.
    #[must_use]
    pub(crate) fn call_off(&self, driver: &D) -> bool {
        let mut resting = self.lock();
        let Some(place) = resting.iter().rposition(|other| other == driver) else {
            return false;
        };
        resting.remove(place);
        self.rested.store(resting.len(), Ordering::SeqCst);
        self.searching.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// Calls every driver that rests, for the executor's end.
    pub(crate) fn call_all(&self) -> Vec<D> {
        let mut resting = self.lock();
        self.searching.fetch_add(resting.len(), Ordering::SeqCst);
        self.rested.store(0, Ordering::SeqCst);
        std::mem::take(&mut *resting)
    }

    /// Drivers that rest now.
    pub(crate) fn resting(&self) -> usize {
        self.rested.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<D>> {
        // Nothing panics under it, so it cannot be poisoned.
        self.resting.lock().expect("nobody panics under the lock")
    }
}

/// What [`Roster::rest`] did.
pub(crate) struct Rest {
    /// The driver is entered among the resting.
    pub(crate) stays: bool,
    /// Nobody searches now.
    pub(crate) is_last: bool,
}
