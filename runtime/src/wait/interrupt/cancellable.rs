//! Work in pieces, each of which others may cancel.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::scopes::{Kind, Scope};
use crate::sched::context;
use crate::sched::dependents::{Cancelled, Dependents};
use crate::sched::task::{Task, TaskHeader};

/// A green thread's work in pieces, each of which others may cancel: for one that serves many, one after another, as
/// a thread of a pool does. [`JoinHandle::cancel`](crate::JoinHandle::cancel) would end its service to all of them.
///
/// A cancelled piece fares as a cancelled green thread does: its calls that would have to wait fail with `ECANCELED`, the one it
/// waits in among them, until the next piece begins. Beginning and ending one costs an atomic operation each.
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
/// use greenpatch_runtime::{Interrupted, checkpoint, interrupt::Cancellable, run, spawn, time};
///
/// run(|| {
///     let (sender, pieces) = mpsc::channel();
///     let server = spawn(move || {
///         Cancellable::scope(|work| {
///             sender.send((work.clone(), work.begin())).unwrap();
///             time::sleep(Duration::from_secs(3600)); // Returns early.
///             let first = checkpoint();
///             work.begin();
///             (first, checkpoint())
///         })
///     });
///     let (work, piece) = loop {
///         match pieces.try_recv() {
///             Ok(begun) => break begun,
///             Err(_) => greenpatch_runtime::yield_now(),
///         }
///     };
///     assert!(work.cancel(piece));
///     assert_eq!(server.join().unwrap(), (Err(Interrupted::Cancelled), Ok(())));
///     assert!(!work.cancel(piece), "that piece is over");
/// });
/// ```
pub struct Cancellable {
    /// Twice the number of the present piece, and one more if it is cancelled. Only the owner changes the number, by a store;
    /// a canceller sets the lowest bit if the number is still the one that it knows. What the owner did before it began
    /// a piece has happened before the piece is cancelled, and nothing else depends on it.
    word: AtomicU64,
    /// Whose waits end.
    task: Arc<dyn Task>,
    /// Scopes that were opened in it.
    dependents: Dependents,
}

/// Names one piece of a [`Cancellable`]'s work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece(u64);

impl Cancellable {
    /// Runs `f`, in which the waits of the calling green thread end when its piece of work is cancelled.
    ///
    /// The first piece begins with [`begin`](Self::begin). On an OS thread nothing is cut short.
    pub fn scope<F, T>(f: F) -> T
    where
        F: FnOnce(&Arc<Cancellable>) -> T,
    {
        let task: Arc<dyn Task> = match context::green() {
            Some(green) => green.life().task.clone(),
            None => Arc::new(TaskHeader::new(None, None)),
        };
        let cancellable = Arc::new(Cancellable {
            word: AtomicU64::new(0),
            task,
            dependents: Dependents::none(),
        });
        let _scope = Scope::enter(Kind::Cancellable(cancellable.clone()));
        f(&cancellable)
    }

    /// For the thread whose work it is: ends the present piece, and begins another one.
    #[inline]
    pub fn begin(&self) -> Piece {
        // Nobody else changes the number, so nothing is overwritten but the mark of the piece that is over.
        let next = (self.word.load(Ordering::Relaxed) | 1).wrapping_add(1);
        self.word.store(next, Ordering::Release);
        Piece(next)
    }

    /// For the thread whose work it is: ends the present piece. Whoever cancels that one from now on does nothing.
    #[inline]
    pub fn end(&self) {
        self.begin();
    }

    /// Cancels that piece. False if it is over, or was cancelled before.
    pub fn cancel(&self, piece: Piece) -> bool {
        let marked =
            self.word
                .compare_exchange(piece.0, piece.0 | 1, Ordering::AcqRel, Ordering::Relaxed);
        if marked.is_ok() {
            self.task.header().end_wait();
            self.dependents.look_again();
        }
        marked.is_ok()
    }

    /// Whether the present piece was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.word.load(Ordering::Acquire) & 1 != 0
    }
}

impl Cancelled for Cancellable {
    fn dependents(&self) -> &Dependents {
        &self.dependents
    }
}

impl fmt::Debug for Cancellable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellable")
            .field("is_cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
