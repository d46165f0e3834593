//! The code of a green thread runs in a `tracing` span of its own.

use greenpatch_runtime::{Builder, Runtime, spawn, yield_now};
use harness::Log;
use tracing::{info, info_span};

#[test]
fn events_of_interleaved_green_threads_carry_their_own_ids() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .without_time()
        .init();
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let ids: Vec<u64> = runtime.run(|| {
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let builder = Builder::new().name(format!("talker {number}"));
                let talk = move || {
                    for word in 0..50 {
                        let inner = info_span!("inner", word);
                        let _inside = inner.enter();
                        yield_now();
                        info!("talker {number} says {word}");
                    }
                };
                builder.spawn(talk).unwrap()
            })
            .collect();
        let ids = threads.iter().map(|thread| thread.id()).collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let unnamed = spawn(|| info!("nobody"));
        unnamed.join().unwrap();
        ids
    });
    let text = log.text();
    for (number, id) in ids.iter().enumerate() {
        for word in 0..50 {
            let line = format!(
                "green_thread{{id={id} name=\"talker {number}\"}}:inner{{word={word}}}: \
                 span: talker {number} says {word}\n"
            );
            assert_eq!(text.matches(&line).count(), 1, "{line}\n{text}");
        }
    }
    let unnamed = text.lines().find(|line| line.ends_with("nobody")).unwrap();
    assert!(unnamed.contains("green_thread{id="), "{unnamed}");
    assert!(!unnamed.contains("name"), "{unnamed}");
}
