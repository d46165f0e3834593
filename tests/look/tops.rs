//! `greenpatch top`: on a terminal as a person uses it, and for scripts.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use harness::eventually;
use rustix::process::Signal;
use serde_json::Value;

use crate::server::{Client, Server};
use crate::target::{Target, greenpatch, printed};
use crate::terminal::{END, Terminal};

/// `top` on a terminal, with a look every 0.1 seconds.
fn top(target: u32, variables: &[&str]) -> Terminal {
    Terminal::run(variables, &["top", "--interval=0.1", &target.to_string()])
}

fn row_of<'a>(screen: &'a str, text: &str) -> Option<&'a str> {
    screen.lines().find(|line| line.contains(text))
}

#[test]
fn the_screen_has_figures_reasons_and_green_threads_and_ends_by_a_key() {
    let target = Target::threads(&["sleeps", "locks-one", "locks-other"]);
    let terminal = top(target.pid(), &[]);
    let screen = terminal.until_shown(&[
        &format!("({})", target.pid()),
        "3 green threads: 0 running, 0 runnable, 3 parked",
        "2 workers, 0 of them spare",
        "2 mutex, 1 sleep",
        "owned by green thread",
        "q end",
    ]);
    let row = row_of(&screen, "locks-one").expect("its row");
    assert!(row.contains("mutex at 0x"), "{row}");
    terminal.press(&["q"]);
    terminal.until_shown(&[&format!("{END} 0"), "\nicanon", "\necho"]);
    assert_eq!(terminal.property("alternate_on"), "0");
    assert_eq!(terminal.property("cursor_flag"), "1");
}

#[test]
fn enter_shows_the_call_stack_of_the_marked_green_thread_and_escape_leaves_it() {
    let target = Target::threads(&["sleeps", "locks-one", "locks-other"]);
    let terminal = top(target.pid(), &[]);
    terminal.until_shown(&["2 mutex, 1 sleep"]);
    terminal.write("/sle");
    terminal.until(|screen| screen.contains("sleeps") && !screen.contains("locks-one"));
    terminal.press(&["Enter"]);
    terminal.until_shown(&["only with: sle"]);
    terminal.press(&["Enter"]);
    terminal.until_shown(&["green thread 1 of process", "sleeps_long"]);
    terminal.press(&["Escape"]);
    terminal.until(|screen| screen.contains("q end  ?") && !screen.contains("sleeps_long"));
    terminal.press(&["Escape"]);
    terminal.until_shown(&["locks-one", "locks-other", "sleeps"]);
    terminal.press(&["q"]);
    terminal.until_shown(&[END]);
}

#[test]
fn green_threads_are_ordered_by_what_the_key_names() {
    let target = Target::threads(&["sleeps", "locks-other", "locks-one"]);
    let terminal = top(target.pid(), &[]);
    terminal.until_shown(&["2 mutex, 1 sleep", "by time"]);
    let comes_first = |first: &str, second: &str, screen: &str| {
        let row = |name: &str| screen.lines().position(|line| line.contains(name));
        row(first).is_some_and(|first| Some(first) < row(second))
    };
    // By id, then by name.
    terminal.press(&["s", "s"]);
    terminal.until(|it| it.contains("by name") && comes_first(" locks-one ", " sleeps ", it));
    terminal.write("S");
    terminal.until(|it| it.contains("reversed") && comes_first(" sleeps ", " locks-one ", it));
    // They say what they do, too.
    terminal.press(&["?"]);
    terminal.until_shown(&["order by time, id, name, state, stack"]);
    terminal.press(&["x"]);
    terminal.until(|screen| !screen.contains("order by time, id"));
}

#[test]
fn a_hog_is_shown_as_one_among_threads_and_workers() {
    let target = Target::threads(&["counts", "sleeps"]);
    let terminal = top(target.pid(), &[]);
    terminal.until(|screen| {
        row_of(screen, "a hog").is_some_and(|row| row.contains("counts") && row.contains("running"))
    });
    terminal.press(&["2"]);
    terminal.until_shown(&["WHAT IT DOES", "kept by 1 'counts'"]);
    terminal.press(&["1", "/"]);
    terminal.write("counts");
    terminal.press(&["Enter", "Enter"]);
    terminal.until(|screen| {
        let is_there = screen.contains("counts_for_ever");
        if !is_there {
            // The stack could not be taken at that moment.
            terminal.press(&["r"]);
        }
        is_there
    });
}

#[test]
fn pause_keeps_what_is_shown() {
    let target = Target::threads(&["sleeps"]);
    let terminal = top(target.pid(), &[]);
    terminal.until_shown(&["sleeps", "1 sleep"]);
    terminal.press(&["p"]);
    let before = terminal.until_shown(&["paused"]);
    let row = row_of(&before, "sleeps").expect("its row").to_owned();
    // Many looks would have been due; the time in the row stands still.
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(row_of(&terminal.screen(), "sleeps"), Some(&*row));
    }
    terminal.press(&["p"]);
    terminal.until(|screen| {
        !screen.contains("paused") && row_of(screen, "sleeps").is_some_and(|now| now != row)
    });
}

#[test]
fn the_screen_follows_the_size_of_the_terminal() {
    let target = Target::threads(&["sleeps"; 40]);
    let terminal = top(target.pid(), &[]);
    terminal.until_shown(&["40 sleep", "q end"]);
    for (columns, lines) in [(40, 10), (200, 60), (10, 3)] {
        terminal.resize(columns, lines);
        let rows = |screen: &str| screen.matches(" sleeps ").count();
        match lines {
            // The head takes five lines, the names of the columns and the keys one each.
            10 => terminal.until(|screen| rows(screen) == 3 && screen.contains("q end")),
            60 => terminal.until(|screen| rows(screen) == 40),
            _ => terminal.until(|screen| screen.contains("greenpatch")),
        };
    }
    terminal.press(&["q"]);
    terminal.resize(80, 24);
    terminal.until_shown(&[&format!("{END} 0")]);
}

/// Whether the text has escape sequences for colours.
fn has_colours(text: &str) -> bool {
    let sequences = text.split("\u{1b}[").skip(1);
    let parameters = sequences.filter_map(|it| it.split_once('m'));
    parameters.into_iter().any(|(parameters, _)| {
        let mut numbers = parameters
            .split(';')
            .filter_map(|it| it.parse::<u32>().ok());
        numbers.any(|number| matches!(number, 30..=38 | 40..=48 | 90..=107))
    })
}

#[test]
fn there_are_no_colours_where_they_are_not_wanted() {
    let target = Target::threads(&["sleeps"]);
    for (variables, is_coloured) in [(&[][..], true), (&["NO_COLOR=1"][..], false)] {
        let terminal = top(target.pid(), variables);
        terminal.until_shown(&["1 sleep"]);
        assert_eq!(has_colours(&terminal.coloured()), is_coloured);
    }
}

#[test]
fn a_process_that_is_killed_is_said_to_have_ended_and_its_last_state_stays() {
    let target = Target::threads(&["sleeps"]);
    let terminal = top(target.pid(), &[]);
    terminal.until_shown(&["1 sleep", "sleeps"]);
    target.signal(Signal::KILL);
    let end = format!("process {} has ended", target.pid());
    terminal.until_shown(&[&end, "1 sleep", "sleeps"]);
    terminal.press(&["q"]);
    terminal.until_shown(&[&format!("{END} 0"), "\nicanon", "\necho"]);
}

#[test]
fn a_signal_that_ends_it_restores_the_terminal() {
    let target = Target::threads(&["sleeps"]);
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let terminal = top(target.pid(), &[]);
        terminal.until_shown(&["1 sleep"]);
        terminal.signal(signal);
        terminal.until_shown(&[END, "\nicanon", "\necho"]);
        assert_eq!(terminal.property("alternate_on"), "0");
        assert_eq!(terminal.property("cursor_flag"), "1");
    }
}

#[test]
fn a_terminal_that_is_closed_ends_it() {
    let target = Target::threads(&["sleeps"]);
    let terminal = top(target.pid(), &[]);
    terminal.until_shown(&["1 sleep"]);
    let pid = terminal.pid();
    drop(terminal);
    // Whoever has adopted it may not have been told yet.
    let stat = format!("/proc/{}/stat", pid.as_raw_pid());
    eventually(|| fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z ")));
}

#[test]
fn without_a_terminal_one_look_is_printed_as_text() {
    let target = Target::threads(&["sleeps", "locks-one", "locks-other"]);
    let pid = target.pid().to_string();
    eventually(|| printed(&["top", "--once", &pid]).contains("2 mutex, 1 sleep"));
    let output = greenpatch(&["top", &pid]).output().expect("it runs");
    let (text, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && text.contains("locks-one"),
        "{text}"
    );
    assert!(said.contains("this is no terminal"), "{said}");
    let filtered = printed(&["top", "--once", "--filter", "SLEEPS", &pid]);
    assert!(filtered.contains("sleeps") && !filtered.contains("locks-one"));
}

#[test]
fn each_look_is_a_line_of_json_until_nobody_reads() {
    let target = Target::threads(&["sleeps"]);
    let pid = target.pid().to_string();
    let mut child = greenpatch(&["top", "--json", "--interval=0.1", &pid])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let stdout = child.stdout.take().expect("a pipe");
    let lines = BufReader::new(stdout).lines().take(3);
    let looks: Vec<Value> = lines
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON"))
        .collect();
    for look in &looks {
        assert_eq!(look["process"], target.pid());
        assert_eq!(look["threads"][0]["name"], "sleeps");
        assert!(look["green_threads"]["switches_per_second"].is_number());
    }
    // The reader is gone.
    assert!(child.wait().expect("our child").success());
}

#[test]
fn of_a_server_the_requests_of_all_workers_are_shown() {
    let arguments = ["-k", "green", "-w", "2", "hello", "--sleep", "0.05"];
    let server = Server::start(&arguments);
    let terminal = top(server.pid(), &[]);
    terminal.until(|screen| {
        // Requests take some time as soon as somebody asks how long.
        Client::connect(&server).get();
        let requests = row_of(screen, "requests/s").unwrap_or_default();
        requests.contains(" ms, p90 ") && !requests.starts_with("0 requests/s")
    });
    terminal.press(&["3"]);
    let screen = terminal.until(|screen| screen.matches(" ready ").count() == 2);
    let master = row_of(&screen, "master").expect("its row");
    assert!(master.contains(&server.pid().to_string()), "{master}");
    terminal.press(&["4"]);
    terminal.until_shown(&["ROUTE", "ERRORS/S"]);
    terminal.press(&["1"]);
    terminal.until_shown(&["SPAWNED AT"]);
}

#[test]
fn a_server_of_one_request_at_a_time_is_looked_into_as_well() {
    let server = Server::start(&["-k", "sync"]);
    let pid = server.pid().to_string();
    let mut look = Value::Null;
    eventually(|| {
        Client::connect(&server).get();
        look = serde_json::from_str(&printed(&["top", "--once", "--json", &pid])).expect("JSON");
        look["processes"].as_array().map(Vec::len) == Some(2)
    });
    assert_eq!(look["processes"][1]["state"], "ready");
    assert!(look["requests"]["per_second"].is_number(), "{look}");
}

#[test]
fn man_pages_and_completions_know_the_options() {
    for (command, options) in [
        ("top", ["interval", "sort", "filter", "once", "json"]),
        (
            "dump",
            ["json", "no-backtraces", "running", "limit", "patience"],
        ),
    ] {
        let man = printed(&[command, "--generate", "man"]);
        let completions = printed(&["--generate", "complete-bash"]);
        for option in options {
            let escaped = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(
                man.contains(&escaped),
                "the man page of {command} lacks {option}"
            );
            assert!(completions.contains(&format!("--{option}")), "{option}");
        }
    }
}
