//! Pools: so many green threads at once, and no more.
//!
//! The names are eventlet's; [`GreenPool`] is also what gevent's `Pool` and `Group` are used for.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::base::deadline::Deadline;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::thread::current::Thread;
use crate::thread::spawn::{self, JoinHandle};

/// As many green threads of a pool as eventlet runs if not told otherwise.
const SIZE: usize = 1000;

/// A bounded number of green threads that work at the same time.
///
/// Spawning into a full pool waits for a place. A green thread of the pool that does so runs the work itself instead, as
/// it could be waiting for its own place. Clones are the same pool.
///
/// ```
/// use greenpatch_runtime::{GreenPool, time};
/// use std::time::Duration;
///
/// greenpatch_runtime::run(|| {
///     let pool = GreenPool::new(10);
///     let squares = pool.map(0..100, |n| {
///         time::sleep(Duration::from_millis(1));
///         n * n
///     });
///     assert_eq!(squares[99], 9801);
///
///     pool.spawn_n(|| println!("nobody asks for what this returns"));
///     pool.wait_all();
///     assert_eq!((pool.running(), pool.free()), (0, 10));
/// });
/// ```
#[derive(Clone)]
pub struct GreenPool(Arc<Pool>);

struct Pool {
    state: Mutex<PoolState>,
    /// A place has become free, or the pool larger.
    place: Condvar,
    /// The last green thread has ended.
    empty: Condvar,
}

struct PoolState {
    size: usize,
    waiting: usize,
    /// The places taken, and by whom: `None` while the green thread is being spawned.
    places: HashMap<u64, Option<Thread>>,
    next_key: u64,
}

thread_local! {
    /// The pool whose green thread this is; the pool outlives its use.
    static MEMBER_OF: Cell<*const Pool> = const { Cell::new(ptr::null()) };
}

/// A place in a pool, given back when it is dropped, however its green thread ends and whether it has begun.
struct PoolPlace {
    pool: Arc<Pool>,
    key: u64,
}

impl Drop for PoolPlace {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        let member = state.places.remove(&self.key);
        let is_empty = state.places.is_empty();
        drop(state);
        drop(member);
        self.pool.place.notify_one();
        if is_empty {
            self.pool.empty.notify_all();
        }
    }
}

/// While it lives, the calling green thread works in the pool.
struct Member {
    _place: PoolPlace,
}

impl Member {
    fn begin(place: PoolPlace) -> Member {
        MEMBER_OF.set(Arc::as_ptr(&place.pool));
        Member { _place: place }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        MEMBER_OF.set(ptr::null());
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        // Nothing panics under the lock but for want of memory, which leaves the state in order.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_own(&self) -> bool {
        ptr::eq(MEMBER_OF.get(), self)
    }
}

impl Default for GreenPool {
    /// A pool of eventlet's default size, 1000.
    fn default() -> GreenPool {
        GreenPool::new(SIZE)
    }
}

impl GreenPool {
    /// A pool of `size` places.
    ///
    /// # Panics
    ///
    /// If `size` is 0, as nothing would ever run.
    pub fn new(size: usize) -> GreenPool {
        assert!(
            size > 0,
            "a pool of size 0 runs nothing; give it a size of at least 1"
        );
        GreenPool(Arc::new(Pool {
            state: Mutex::new(PoolState {
                size,
                waiting: 0,
                places: HashMap::new(),
                next_key: 0,
            }),
            place: Condvar::new(),
            empty: Condvar::new(),
        }))
    }

    /// Waits for a place and starts `f` on a green thread.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn()).
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.take_place(true) {
            Some(place) => spawn_in(place, f),
            None => JoinHandle::ended(panic::catch_unwind(AssertUnwindSafe(f))),
        }
    }

    /// As [`spawn`](Self::spawn), for work that nobody waits for or asks the result of.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn()).
    #[track_caller]
    pub fn spawn_n<F>(&self, f: F)
    where
        F: FnOnce() + Send + 'static,
    {
        drop(self.spawn(f));
    }

    /// Starts `f` if there is a place.
    ///
    /// # Errors
    ///
    /// `f` if there is none.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn()).
    #[track_caller]
    pub fn try_spawn<F, T>(&self, f: F) -> Result<JoinHandle<T>, F>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.take_place(false) {
            Some(place) => Ok(spawn_in(place, f)),
            None => Err(f),
        }
    }

    /// Takes a place; waits for one if told to, unless the caller has one.
    fn take_place(&self, wait: bool) -> Option<PoolPlace> {
        let mut state = self.0.lock();
        if state.places.len() >= state.size && (!wait || self.0.is_own()) {
            return None;
        }
        state.waiting += 1;
        while state.places.len() >= state.size {
            state = self
                .0
                .place
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        let key = state.next_key;
        state.next_key += 1;
        state.places.insert(key, None);
        drop(state);
        Some(PoolPlace {
            pool: self.0.clone(),
            key,
        })
    }

    /// Calls `f` with each of the items, at the same time as far as there are places, and gives the results in the order
    /// of the items.
    ///
    /// # Panics
    ///
    /// If `f` panics, or with [`Interrupted`](crate::Interrupted) as payload if work was cancelled before it began.
    pub fn map<I, F, T>(&self, items: I, f: F) -> Vec<T>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.imap(items, f).collect()
    }

    /// As [`map`](Self::map), item by item: takes items as places become free, and gives each result as soon as it and
    /// those before it are there.
    ///
    /// ```
    /// let pool = greenpatch_runtime::GreenPool::new(2);
    /// greenpatch_runtime::run(|| {
    ///     let mut lengths = pool.imap(["one", "three"], str::len);
    ///     assert_eq!(lengths.next(), Some(3));
    ///     assert_eq!(lengths.next(), Some(5));
    ///     assert_eq!(lengths.next(), None);
    /// });
    /// ```
    pub fn imap<I, F, T>(&self, items: I, f: F) -> Imap<I::IntoIter, F, T>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        let mut imap = Imap {
            pool: self.clone(),
            items: items.into_iter(),
            f: Arc::new(f),
            begun: VecDeque::new(),
        };
        imap.begin();
        imap
    }

    /// Waits until no green thread of the pool is left: each has done its work, and its place is free. Its thread-local values
    /// may be dropped, and [`JoinHandle::is_finished`] turn true, a moment later.
    ///
    /// # Panics
    ///
    /// If a green thread of the pool calls it, as it would wait for itself.
    pub fn wait_all(&self) {
        self.wait_all_until(None);
    }

    /// As [`wait_all`](Self::wait_all), for at most `timeout`, and cut short by deadline scopes and cancellation. Tells
    /// whether none is left.
    ///
    /// # Panics
    ///
    /// As [`wait_all`](Self::wait_all).
    pub fn wait_all_timeout(&self, timeout: Duration) -> bool {
        self.wait_all_until(Some(Deadline::after(timeout)))
    }

    fn wait_all_until(&self, deadline: Option<Deadline>) -> bool {
        assert!(
            !self.0.is_own(),
            "wait_all was called by a green thread of the pool, which would wait for itself; call it outside"
        );
        let mut state = self.0.lock();
        while !state.places.is_empty() {
            state = match deadline {
                None => self
                    .0
                    .empty
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let waited = self.0.empty.wait_timeout(state, deadline.remaining());
                    let (state, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
                    if outcome.timed_out() {
                        return state.places.is_empty();
                    }
                    state
                }
            };
        }
        true
    }

    /// [Cancels](Thread::cancel) all green threads of the pool; does not wait for their end.
    pub fn cancel_all(&self) {
        let members: Vec<_> = self.0.lock().places.values().flatten().cloned().collect();
        for member in members {
            member.cancel();
        }
    }

    /// Changes the number of places. Green threads in excess go on to their end.
    ///
    /// # Panics
    ///
    /// If `size` is 0, as [`new`](Self::new).
    pub fn resize(&self, size: usize) {
        assert!(
            size > 0,
            "a pool of size 0 runs nothing; give it a size of at least 1"
        );
        self.0.lock().size = size;
        self.0.place.notify_all();
    }

    /// The number of places.
    pub fn size(&self) -> usize {
        self.0.lock().size
    }

    /// Places that are free.
    pub fn free(&self) -> usize {
        let state = self.0.lock();
        state.size.saturating_sub(state.places.len())
    }

    /// Green threads of the pool that have not ended.
    pub fn running(&self) -> usize {
        self.0.lock().places.len()
    }

    /// Callers that wait for a place.
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting
    }
}

impl fmt::Debug for GreenPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("GreenPool")
            .field("size", &state.size)
            .field("running", &state.places.len())
            .field("waiting", &state.waiting)
            .finish()
    }
}

#[track_caller]
fn spawn_in<F, T>(place: PoolPlace, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let (pool, key) = (place.pool.clone(), place.key);
    let handle = spawn::spawn(move || {
        let _member = Member::begin(place);
        f()
    });
    let thread = handle.thread();
    // It may have ended by now, and its place be gone.
    if let Some(member) = pool.lock().places.get_mut(&key) {
        *member = Some(thread);
    }
    handle
}

/// The results of [`GreenPool::imap`], in the order of the items.
pub struct Imap<I, F, T> {
    pool: GreenPool,
    items: I,
    f: Arc<F>,
    begun: VecDeque<JoinHandle<T>>,
}

impl<I, F, T> Imap<I, F, T>
where
    I: Iterator<Item: Send + 'static>,
    F: Fn(I::Item) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    /// Begins with as many items as there are places, at least one if none is under way. Neither a result that is there
    /// waits for further items, which may be slow to come or never end, nor do more results pile up than there are places.
    fn begin(&mut self) {
        while self
            .begun
            .front()
            .is_none_or(|first| !first.is_finished() && self.has_room())
        {
            let Some(item) = self.items.next() else {
                return;
            };
            let f = self.f.clone();
            self.begun.push_back(self.pool.spawn(move || f(item)));
        }
    }

    fn has_room(&self) -> bool {
        self.begun.len() < self.pool.size() && self.pool.free() > 0
    }
}

impl<I, F, T> Iterator for Imap<I, F, T>
where
    I: Iterator<Item: Send + 'static>,
    F: Fn(I::Item) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.begin();
        let result = self.begun.pop_front()?.join();
        self.begin();
        Some(result.unwrap_or_else(|payload| panic::resume_unwind(payload)))
    }
}

impl<I, F, T> fmt::Debug for Imap<I, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap")
            .field("pool", &self.pool)
            .field("begun", &self.begun.len())
            .finish_non_exhaustive()
    }
}

/// Work of one kind in a pool; iterating waits for the results, in the order in which the work was given.
///
/// ```
/// use greenpatch_runtime::{GreenPile, GreenPool};
///
/// greenpatch_runtime::run(|| {
///     let mut pile = GreenPile::new(GreenPool::new(4));
///     for host in ["a.example", "b.example"] {
///         pile.spawn(move || format!("asked {host}"));
///     }
///     assert_eq!(pile.collect::<Vec<_>>(), ["asked a.example", "asked b.example"]);
/// });
/// ```
#[derive(Debug)]
pub struct GreenPile<T> {
    pool: GreenPool,
    begun: VecDeque<JoinHandle<T>>,
}

impl<T: Send + 'static> GreenPile<T> {
    /// A pile that works in `pool`.
    pub fn new(pool: GreenPool) -> GreenPile<T> {
        GreenPile {
            pool,
            begun: VecDeque::new(),
        }
    }

    /// Waits for a place in the pool and starts `f`.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn()).
    #[track_caller]
    pub fn spawn<F>(&mut self, f: F)
    where
        F: FnOnce() -> T + Send + 'static,
    {
        self.begun.push_back(self.pool.spawn(f));
    }
}

impl<T: Send + 'static> Iterator for GreenPile<T> {
    type Item = T;

    /// The next result; `None` when all were taken. More may be spawned after that.
    ///
    /// # Panics
    ///
    /// If the work has panicked.
    fn next(&mut self) -> Option<T> {
        let result = self.begun.pop_front()?.join();
        Some(result.unwrap_or_else(|payload| panic::resume_unwind(payload)))
    }
}
