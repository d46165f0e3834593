//! Threads of std run in the `tracing` span of their green thread, by the name that std gives them.

mod harness;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::thread;

use harness::{Kind, patched_runtime};
use tracing::info;

/// What a subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_thread_of_std_has_a_span_with_its_name() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .without_time()
        .init();
    Kind::OsThread.run("a thread of std has a span with its name", || {
        patched_runtime(1).run(|| {
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
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for word in ["one", "two"] {
        let line = text
            .lines()
            .find(|line| line.ends_with(&format!("says {word}")));
        let line = line.unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains("green_thread{id="), "{text}");
        assert!(line.contains(&format!("name=\"{word}\"")), "{text}");
    }
}
