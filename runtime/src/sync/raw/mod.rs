//! The protocols under the types: words to wait on, and lines to wait in.
//!
//! | file | protocol | under |
//! |---|---|---|
//! | `mutex.rs` | exclusion that lets newcomers overtake, but not for long | `Mutex`, and every `Lock` here |
//! | `rwlock.rs` | shared and exclusive holders, behind a gate | `RwLock` |
//! | `condvar.rs` | notifications, and how many wait for one | `Condvar` |
//! | `once.rs` | something is done once | `Once`, and through it `OnceLock`, `LazyLock`, `AsyncResult` |
//! | `event.rs` | something is so, or is not | `Event` |
//! | `count.rs` | a count comes down to zero | `WaitGroup`, `Queue::join` |
//! | `barrier.rs` | so many have come | `Barrier` |
//! | `line.rs` | waiters to whom something is handed, first come, first served | the next three |
//! | `permits.rs` | a number of permits | `Semaphore` |
//! | `select.rs` | whichever of several exchanges comes first | `Select` |
//! | `exchange.rs` | items from senders to receivers | `mpmc`, `Queue` |
//!
//! Each is compiled once more by `tests/loom_sync.rs`, against loom's atomics and a futex modelled there. So these files
//! name nothing but `crate::base::atomic`, `crate::futex`, `crate::deadline` and each other (`lock.rs`, `sleeper.rs`
//! and `spin.rs` are modelled), and have no `const fn` that
//! makes an atomic: the fields are visible, and the type above fills them in.
//!
//! All of them allow for spurious wake-ups. None wakes when nobody waits.

pub(crate) mod barrier;
pub(crate) mod condvar;
pub(crate) mod count;
pub(crate) mod event;
pub(crate) mod exchange;
pub(crate) mod line;
pub(crate) mod lock;
pub(crate) mod mutex;
pub(crate) mod once;
pub(crate) mod permits;
pub(crate) mod rwlock;
pub(crate) mod select;
pub(crate) mod sleeper;
pub(crate) mod spin;
pub(crate) mod wait_limit;
