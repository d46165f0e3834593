//! The options of `greenpatch run`, and what its report says.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{GREENPATCH, Outcome, Scratch, green, run};

/// A program that says of a sleep and of a read whether another thread ran meanwhile.
fn what_yields(scratch: &Scratch) -> PathBuf {
    let source = r#"
        #include <assert.h>
        #include <pthread.h>
        #include <stdatomic.h>
        #include <stdio.h>
        #include <unistd.h>

        static int ends[2];
        static atomic_int are_there, has_run, is_waiting;

        static void sleeping(void) {
            for (int i = 0; i < 500 && !has_run; i++) usleep(1000);
        }
        static void reading(void) {
            char byte;
            is_waiting = 1;
            assert(read(ends[0], &byte, 1) == 1);
        }
        static void *waits(void *wait) {
            // Keeps the worker until the other one stands behind it.
            while (!are_there) {}
            ((void (*)(void))wait)();
            return has_run ? "yes" : "no";
        }
        static void *runs(void *unused) {
            has_run = 1;
            return unused;
        }
        static char *let_wait(void (*wait)(void)) {
            pthread_t waiting, running;
            void *answer;
            are_there = has_run = is_waiting = 0;
            assert(pthread_create(&waiting, NULL, waits, wait) == 0);
            assert(pthread_create(&running, NULL, runs, NULL) == 0);
            are_there = 1;
            if (wait == reading) {
                while (!is_waiting) usleep(1000);
                for (int i = 0; i < 500 && !has_run; i++) usleep(1000);
                assert(write(ends[1], "", 1) == 1);
            }
            assert(pthread_join(waiting, &answer) == 0);
            assert(pthread_join(running, NULL) == 0);
            return answer;
        }
        int main(void) {
            assert(pipe(ends) == 0);
            printf("sleep yields: %s, ", let_wait(sleeping));
            printf("read yields: %s\n", let_wait(reading));
            return 0;
        }
    "#;
    scratch.compile("program", source, &[])
}

#[test]
fn the_families_that_are_named_yield_and_no_others() {
    let scratch = Scratch::new();
    let program = what_yields(&scratch);
    let yields = |options: &[&str], environment: &[(&str, &str)]| {
        let mut command = Command::new(GREENPATCH);
        // One worker, and nobody in its place while it is blocked.
        command
            .args(["run", "--report", "--workers", "1"])
            .args(options)
            .arg(&program)
            .env("GREENPATCH_COMPENSATION", "off")
            .envs(environment.iter().copied());
        let outcome = run(&mut command, b"").succeeds();
        (outcome.green_threads(), outcome.text())
    };
    let says = |sleep: &str, read: &str| format!("sleep yields: {sleep}, read yields: {read}");
    assert_eq!(yields(&[], &[]), (4, says("yes", "yes")));
    assert_eq!(yields(&["--patch", "thread"], &[]), (4, says("no", "no")));
    // The option goes before the environment.
    assert_eq!(
        yields(&["--patch", "thread,time"], &[("GREENPATCH_PATCH", "all")]),
        (4, says("yes", "no"))
    );
    assert_eq!(
        yields(&[], &[("GREENPATCH_PATCH", "thread,os")]),
        (4, says("no", "yes"))
    );
    let (green_threads, _) = yields(&["--patch", "none"], &[]);
    assert_eq!(green_threads, 0, "they are OS threads");
}

#[test]
fn the_report_counts_switches_and_hogs() {
    let source = r#"
        #include <assert.h>
        #include <pthread.h>
        #include <stdatomic.h>
        #include <string.h>
        #include <unistd.h>

        static atomic_int is_found;

        static void *sleeps(void *unused) {
            for (int i = 0; i < 20; i++) usleep(1000);
            return unused;
        }
        static void *computes(void *unused) {
            while (!is_found) {}
            return unused;
        }
        int main(void) {
            pthread_t thread;
            char said[4096];
            int ends[2];
            assert(pthread_create(&thread, NULL, sleeps, NULL) == 0);
            assert(pthread_join(thread, NULL) == 0);
            // What the runtime says of the thread that keeps its worker comes here.
            assert(pipe(ends) == 0);
            assert(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
            assert(pthread_create(&thread, NULL, computes, NULL) == 0);
            assert(read(ends[0], said, sizeof said) > 0);
            is_found = 1;
            assert(pthread_join(thread, NULL) == 0);
            return 0;
        }
    "#;
    let scratch = Scratch::new();
    let program = scratch.compile("program", source, &[]);
    let mut command = green(&[], &[&program]);
    command.env("GREENPATCH_MAX_BLOCKING_TIME", "20");
    let outcome = run(&mut command, b"").succeeds();
    assert_eq!(outcome.green_threads(), 2, "{}", outcome.stderr);
    assert!(outcome.figure("switches") >= 20, "{}", outcome.stderr);
    assert!(outcome.figure("hogs") >= 1, "{}", outcome.stderr);
}

/// A program that ends so, in this directory.
fn ends(scratch: &Scratch, end: &str) -> Outcome {
    let source = format!(
        r#"
        #include <assert.h>
        #include <fcntl.h>
        #include <pthread.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <unistd.h>

        __attribute__((unused)) static void *work(void *argument) {{ return argument; }}
        __attribute__((unused)) static void have_a_thread(void) {{
            pthread_t thread;
            assert(pthread_create(&thread, NULL, work, NULL) == 0);
            assert(pthread_join(thread, NULL) == 0);
        }}
        int main(void) {{
            {end}
            return 0;
        }}
        "#
    );
    let program = scratch.compile("program", &source, &[]);
    let mut command = green(&[], &[&program]);
    run(command.current_dir(scratch.path()), b"").succeeds()
}

#[test]
fn the_report_comes_of_a_program_that_has_closed_standard_error() {
    let outcome = ends(&Scratch::new(), "have_a_thread(); fclose(stderr);");
    assert_eq!(outcome.green_threads(), 1, "{}", outcome.stderr);
}

#[test]
fn the_report_does_not_get_into_a_file_of_the_programs_own() {
    let scratch = Scratch::new();
    // In the place of standard error, and of every descriptor that may have been a duplicate.
    let outcome = ends(
        &scratch,
        r#"
        closefrom(2);
        int file = open("own", O_CREAT | O_RDWR, 0600);
        assert(file == 2);
        while (dup(file) >= 0 && fcntl(1100, F_GETFD) < 0) {}
        "#,
    );
    assert_eq!(outcome.stderr, "");
    let written = std::fs::read_to_string(scratch.path().join("own")).expect("it made it");
    assert_eq!(written, "");
}

#[test]
fn a_child_that_turns_its_back_on_standard_error_does_not_hold_it() {
    let scratch = Scratch::new();
    // Whoever reads standard error to its end, as is done here, would wait for the child.
    let outcome = ends(
        &scratch,
        r#"
        have_a_thread();
        int child = fork();
        if (child == 0) {
            for (int i = 0; i < 3; i++) close(i);
            sleep(30);
            open("held", O_CREAT | O_RDWR, 0600);
            _exit(0);
        }
        printf("%d\n", child);
        "#,
    );
    let child = outcome.text().parse().ok().and_then(Pid::from_raw);
    let _ = kill_process(child.expect("its number"), Signal::KILL);
    assert_eq!(outcome.green_threads(), 1, "{}", outcome.stderr);
    let was_held = scratch.path().join("held").exists();
    assert!(!was_held, "standard error was open while the child lived");
}
