//! std::process and pipes, unmodified: the same bodies on OS threads and on green threads.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

// For its shims.
use greenpatch as _;
use harness::on_every_kind_of_thread;

on_every_kind_of_thread! {
    output_returns_both_streams_and_the_status,
    output_larger_than_a_pipe_is_complete,
    commands_of_many_threads_run_at_once,
    a_child_reads_its_piped_stdin_to_the_end,
    a_conversation_with_a_child,
    a_killed_child_tells_its_signal,
    a_missing_program_is_not_found,
    a_pipe_reader_waits_for_its_writer,
    one_write_to_a_slow_pipe_reader_completes,
}

fn output_returns_both_streams_and_the_status() {
    let output = Command::new("sh")
        .args(["-c", "printf out; printf err >&2; exit 3"])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"out");
    assert_eq!(output.stderr, b"err");
    assert_eq!(output.status.code(), Some(3));
}

fn output_larger_than_a_pipe_is_complete() {
    let output = Command::new("sh")
        .args([
            "-c",
            "head -c 1000000 /dev/zero; head -c 500000 /dev/zero >&2",
        ])
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(
        (output.stdout.len(), output.stderr.len()),
        (1_000_000, 500_000)
    );
}

/// None ends before all have begun.
fn commands_of_many_threads_run_at_once() {
    const COUNT: usize = 10;
    static MEETINGS: AtomicUsize = AtomicUsize::new(0);
    let meeting = MEETINGS.fetch_add(1, Ordering::Relaxed);
    let name = format!("greenpatch-meeting-{}-{meeting}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir(&folder).unwrap();
    let threads: Vec<_> = (0..COUNT)
        .map(|index| {
            let folder = folder.clone();
            thread::spawn(move || {
                let script = format!(
                    "touch {index}; while [ $(ls | wc -l) -lt {COUNT} ]; do sleep 0.02; done; echo {index}"
                );
                Command::new("sh")
                    .args(["-c", &script])
                    .current_dir(folder)
                    .output()
                    .unwrap()
                    .stdout
            })
        })
        .collect();
    for (index, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), format!("{index}\n").as_bytes());
    }
    std::fs::remove_dir_all(folder).unwrap();
}

fn a_child_reads_its_piped_stdin_to_the_end() {
    const SIZE: usize = 1 << 20;
    let mut child = Command::new("wc")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(&vec![b'x'; SIZE]).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim(),
        SIZE.to_string()
    );
}

fn a_conversation_with_a_child() {
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut replies = BufReader::new(child.stdout.take().unwrap());
    for round in 0..100 {
        let line = format!("round {round}\n");
        stdin.write_all(line.as_bytes()).unwrap();
        let mut reply = String::new();
        replies.read_line(&mut reply).unwrap();
        assert_eq!(reply, line);
    }
    drop(stdin);
    assert_eq!(replies.read(&mut [0; 1]).unwrap(), 0);
    assert!(child.wait().unwrap().success());
}

fn a_killed_child_tells_its_signal() {
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
}

fn a_missing_program_is_not_found() {
    let error = Command::new("greenpatch-no-such-program")
        .output()
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

fn a_pipe_reader_waits_for_its_writer() {
    let (mut reader, mut writer) = io::pipe().unwrap();
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    for word in ["one ", "after ", "another"] {
        thread::sleep(Duration::from_millis(20));
        writer.write_all(word.as_bytes()).unwrap();
    }
    drop(writer);
    assert_eq!(reading.join().unwrap(), "one after another");
}

fn one_write_to_a_slow_pipe_reader_completes() {
    const SIZE: usize = 1 << 20;
    let (mut reader, mut writer) = io::pipe().unwrap();
    let reading = thread::spawn(move || {
        let mut chunk = vec![0; 16 * 1024];
        let mut received = 0;
        loop {
            match reader.read(&mut chunk).unwrap() {
                0 => return received,
                count => received += count,
            }
            thread::yield_now();
        }
    });
    assert_eq!(writer.write(&vec![1; SIZE]).unwrap(), SIZE);
    drop(writer);
    assert_eq!(reading.join().unwrap(), SIZE);
}
