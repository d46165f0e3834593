//! What `greenpatch doctor` says of this machine and of programs.

use std::path::Path;

use greenpatch::shims::SYMBOLS;

use crate::program::{GREENPATCH, Outcome, Scratch, native, run};

fn doctor(program: Option<&Path>) -> Outcome {
    let mut command = native(&[GREENPATCH, "doctor"]);
    run(command.args(program), b"")
}

#[test]
fn this_machine_can_run_green_threads() {
    let outcome = doctor(None).succeeds();
    let text = outcome.text();
    assert!(text.contains("yes glibc 2."), "{text}");
    assert!(text.contains("yes green thread has run"), "{text}");
}

#[test]
fn the_families_have_all_the_functions_of_the_table() {
    let text = doctor(None).succeeds().text();
    let (_, table) = text
        .split_once("Patched functions of the C library")
        .expect("the table");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let count = |row: &str| -> usize {
        let columns = row.split_whitespace().skip(1);
        columns
            .map(|column| column.parse::<usize>().expect("a number"))
            .sum()
    };
    assert_eq!(
        table.trim().lines().skip(1).map(count).sum::<usize>(),
        SYMBOLS.len()
    );
}

#[test]
fn the_calls_of_a_program_and_of_its_libraries_are_told_apart() {
    let scratch = Scratch::new();
    let source = r#"
        #include <sys/socket.h>
        int library(void) { return recv(0, 0, 0, 0); }
    "#;
    let library = scratch.compile("libits.so", source, &["-shared", "-fPIC"]);
    let source = r#"
        #include <sched.h>
        #include <stdio.h>
        #include <unistd.h>
        extern int library(void);
        static int child(void *argument) { return 0; }
        int main(int count, char **arguments) {
            char line[80];
            usleep(1);
            clone(child, line, 0, 0);
            flockfile(stdin);
            return library();
        }
    "#;
    let library = library.to_str().expect("UTF-8");
    let program = scratch.compile("program", source, &[library]);
    let text = doctor(Some(&program)).succeeds().text();
    let row = |file: &str| -> Vec<usize> {
        let line = text
            .lines()
            .find(|line| line.starts_with(" ") && line.ends_with(file))
            .expect("a row for the file");
        line.split_whitespace()
            .map_while(|column| column.parse().ok())
            .collect()
    };
    // Yields, sections, blocks, never, unknown.
    let program = row("/program");
    assert_eq!((program[0], program[2], program[4]), (1, 1, 1), "{text}");
    assert_eq!(row("/libits.so")[..3], [1, 0, 0], "{text}");
    assert!(text.contains("\n      flockfile\n"), "{text}");
    assert!(text.contains("nothing is known\n      clone\n"), "{text}");
}

#[test]
fn a_program_that_cannot_be_run_green_fails_with_the_reason() {
    let scratch = Scratch::new();
    let program = scratch.compile("static", "int main(void) { return 0; }", &["-static"]);
    let outcome = doctor(Some(&program));
    assert_eq!(outcome.code(), 1);
    assert!(outcome.text().contains("linked statically"));
}
