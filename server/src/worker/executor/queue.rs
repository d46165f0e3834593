//! The tasks that are ready, in two lines.
//!
//! Each line is in order of arrival. One that goes early waits for a few polls, however many others are ready: with thousands of busy
//! connections the end of their line is tens of milliseconds away. Early tasks get no more than one poll in [`OTHERS`] + 1
//! while others wait, so they can keep nobody from going on.

use async_task::Runnable;
use concurrent_queue::ConcurrentQueue;

/// Polls of other tasks between two of early ones.
const OTHERS: u32 = 15;

/// See the module's page.
pub(super) struct Queue {
    ready: ConcurrentQueue<Runnable>,
    early: ConcurrentQueue<Runnable>,
}

/// What a driver has taken since the last early task.
#[derive(Default)]
pub(super) struct Turns {
    others: u32,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue {
            ready: ConcurrentQueue::unbounded(),
            early: ConcurrentQueue::unbounded(),
        }
    }

    /// Appends a task. False if the queue is closed: then the task was dropped, with its future.
    pub(super) fn push<const EARLY: bool>(&self, task: Runnable) -> bool {
        let line = if EARLY { &self.early } else { &self.ready };
        // The lines are not bounded.
        line.push(task).is_ok()
    }

    /// The task whose turn it is.
    pub(super) fn pop(&self, turns: &mut Turns) -> Option<Runnable> {
        if turns.others < OTHERS
            && let Ok(task) = self.ready.pop()
        {
            turns.others += 1;
            return Some(task);
        }
        turns.others = 0;
        self.early.pop().or_else(|_| self.ready.pop()).ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.early.is_empty()
    }

    /// Takes no more, and drops what there is.
    pub(super) fn close(&self) {
        self.ready.close();
        self.early.close();
        while self.pop(&mut Turns::default()).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Polls what is in the queue, in its order; early tasks are `true`.
    fn order(others: u32, early: u32) -> Vec<bool> {
        let queue = Queue::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        let task = |is_early| {
            let order = Arc::clone(&order);
            let note = async move { order.lock().expect("nobody panics").push(is_early) };
            let (task, handle) = async_task::spawn(note, drop);
            handle.detach();
            task
        };
        (0..others).for_each(|_| assert!(queue.push::<false>(task(false))));
        (0..early).for_each(|_| assert!(queue.push::<true>(task(true))));
        let mut turns = Turns::default();
        while let Some(task) = queue.pop(&mut turns) {
            task.run();
        }
        assert!(queue.is_empty());
        let order = order.lock().expect("nobody panics");
        order.clone()
    }

    #[test]
    fn an_early_task_waits_for_a_few_others_only() {
        let order = order(4000, 1);
        let place = order.iter().position(|is_early| *is_early);
        assert!(place.expect("it is polled") <= OTHERS as usize);
        assert_eq!(order.len(), 4001);
    }

    #[test]
    fn early_tasks_keep_nobody_from_going_on() {
        let order = order(4000, 4000);
        let begin = &order[..4096];
        assert_eq!(
            begin.iter().filter(|is_early| **is_early).count(),
            4096 / 16
        );
        assert_eq!(order.len(), 8000);
    }

    #[test]
    fn a_closed_queue_drops_what_it_has_and_what_comes() {
        let dropped = Arc::new(());
        let task = || {
            let held = Arc::clone(&dropped);
            let (task, handle) = async_task::spawn(async move { drop(held) }, drop);
            handle.detach();
            task
        };
        let queue = Queue::new();
        assert!(queue.push::<false>(task()) && queue.push::<true>(task()));
        queue.close();
        assert!(!queue.push::<false>(task()) && !queue.push::<true>(task()));
        assert_eq!(Arc::strong_count(&dropped), 1);
    }
}
