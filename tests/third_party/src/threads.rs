//! Many threads at once.

use std::thread::{self, JoinHandle};

/// Starts `count` threads of std, which are green when the caller is, and numbers them.
pub fn threads<T: Send + 'static>(
    count: usize,
    work: impl Fn(usize) -> T + Clone + Send + 'static,
) -> Vec<JoinHandle<T>> {
    (0..count)
        .map(|number| {
            let work = work.clone();
            thread::spawn(move || work(number))
        })
        .collect()
}

/// What the threads return, in their order.
pub fn join<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    threads
        .into_iter()
        .map(|thread| thread.join().expect("the thread did not panic"))
        .collect()
}
