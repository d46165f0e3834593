//! Threads of std run in the `tracing` span of their green thread, by the name that std gives them.

use std::thread;

// For its shims.
use greenpatch as _;
use harness::{Log, on_one_worker};
use tracing::info;

#[test]
fn a_thread_of_std_has_a_span_with_its_name() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .without_time()
        .init();
    on_one_worker(|| {
        let talk = |word: &'static str| {
            let builder = thread::Builder::new().name(word.to_owned());
            builder.spawn(move || {
                thread::yield_now();
                info!("says {word}");
            })
        };
        let threads: Vec<_> = ["one", "two"].map(talk).into_iter().collect();
        for thread in threads {
            thread.unwrap().join().unwrap();
        }
    });
    let text = log.text();
    for word in ["one", "two"] {
        let line = text
            .lines()
            .find(|line| line.ends_with(&format!("says {word}")));
        let line = line.unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains("green_thread{id="), "{text}");
        assert!(line.contains(&format!("name=\"{word}\"")), "{text}");
    }
}
