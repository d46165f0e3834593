//! What POSIX says of threads, in programs whose threads have become green: small ones in C.

use std::path::PathBuf;

use crate::program::{GREENPATCH, Outcome, Scratch, green, native, run};

/// The beginning of each program.
const HEAD: &str = r#"
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

__attribute__((unused)) static int os_threads(void) {
    DIR *tasks = opendir("/proc/self/task");
    int count = 0;
    while (readdir(tasks)) count++;
    closedir(tasks);
    return count - 2;
}
"#;

/// Runs a program natively and green: both succeed and say the same. Gives the green outcome.
pub(crate) fn on_both(source: &str) -> Outcome {
    on_both_compiled(source, &[])
}

/// As [`on_both`], compiled with these options.
fn on_both_compiled(source: &str, options: &[&str]) -> Outcome {
    let scratch = Scratch::new();
    let program: PathBuf = scratch.compile("program", &format!("{HEAD}{source}"), options);
    let expected = run(&mut native(&[&program]), b"").succeeds().text();
    let outcome = run(&mut green(&[], &[&program]), b"").succeeds();
    assert_eq!(outcome.text(), expected, "{}", outcome.stderr);
    outcome
}

#[test]
fn threads_are_green_and_the_main_thread_joins_them() {
    let outcome = on_both(
        r#"
        #define THREADS 500
        static int most;
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        static __thread int own = 7;
        static void *work(void *argument) {
            own += (int)(long)argument;
            usleep(50000);
            pthread_mutex_lock(&lock);
            int now = os_threads();
            if (now > most) most = now;
            pthread_mutex_unlock(&lock);
            return (void *)(long)(own - 7);
        }
        int main(void) {
            pthread_t threads[THREADS];
            long sum = 0;
            for (long i = 0; i < THREADS; i++)
                assert(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
            for (int i = 0; i < THREADS; i++) {
                void *value;
                assert(pthread_join(threads[i], &value) == 0);
                sum += (long)value;
            }
            fprintf(stderr, "%d OS threads\n", most);
            printf("%ld\n", sum);
            return 0;
        }
        "#,
    );
    assert_eq!(outcome.green_threads(), 500);
    let most = outcome
        .stderr
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok());
    assert!(
        most.is_some_and(|most: u32| most < 100),
        "{}",
        outcome.stderr
    );
}

#[test]
fn green_threads_and_the_main_thread_wait_for_each_other() {
    let outcome = on_both(
        r#"
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
        static int turn, ends[2];
        static void *partner(void *argument) {
            for (int i = 1; i < 200; i += 2) {
                pthread_mutex_lock(&lock);
                while (turn != i) pthread_cond_wait(&changed, &lock);
                turn++;
                pthread_cond_broadcast(&changed);
                pthread_mutex_unlock(&lock);
            }
            char byte;
            assert(read(ends[0], &byte, 1) == 1);
            return NULL;
        }
        int main(void) {
            pthread_t thread;
            assert(pipe(ends) == 0);
            assert(pthread_create(&thread, NULL, partner, NULL) == 0);
            for (int i = 0; i < 200; i += 2) {
                pthread_mutex_lock(&lock);
                while (turn != i) pthread_cond_wait(&changed, &lock);
                turn++;
                pthread_cond_broadcast(&changed);
                pthread_mutex_unlock(&lock);
            }
            assert(write(ends[1], "x", 1) == 1);
            assert(pthread_join(thread, NULL) == 0);
            printf("%d\n", turn);
            return 0;
        }
        "#,
    );
    assert_eq!(outcome.green_threads(), 1);
}

#[test]
fn the_process_ends_with_main_while_threads_wait_and_compute() {
    let outcome = on_both(
        r#"
        static void *sleeper(void *argument) { for (;;) sleep(1000); return NULL; }
        static void *spinner(void *argument) { for (volatile long i = 0;; i++); return NULL; }
        static void at_exit(void) { puts("at exit"); }
        int main(void) {
            pthread_t thread;
            atexit(at_exit);
            for (int i = 0; i < 50; i++) pthread_create(&thread, NULL, sleeper, NULL);
            for (int i = 0; i < 3; i++) pthread_create(&thread, NULL, spinner, NULL);
            usleep(20000);
            puts("main returns");
            return 0;
        }
        "#,
    );
    assert_eq!(outcome.green_threads(), 53);
}

#[test]
fn the_process_outlives_a_main_thread_that_exits_and_ends_with_the_last_thread() {
    let outcome = on_both(
        r#"
        static pthread_t main_thread;
        static void destroyed(void *value) { puts("main thread's value destroyed"); fflush(stdout); }
        static void *late(void *argument) { usleep(50000); puts("late"); return NULL; }
        static void *early(void *argument) {
            pthread_t thread;
            usleep(50000);
            puts("early");
            fflush(stdout);
            assert(pthread_create(&thread, NULL, late, NULL) == 0);
            return NULL;
        }
        int main(void) {
            pthread_t thread;
            pthread_key_t key;
            pthread_key_create(&key, destroyed);
            pthread_setspecific(key, &main_thread);
            assert(pthread_create(&thread, NULL, early, NULL) == 0);
            pthread_detach(thread);
            pthread_exit(NULL);
        }
        "#,
    );
    assert_eq!(outcome.green_threads(), 2);
}

/// Handlers within each other, on values that change between, and a loop that pushes and pops.
const CLEANUPS: &str = r#"
    static pthread_key_t key;
    static void destroyed(void *value) { puts(value); }
    static void cleaned(void *value) { puts(value); }
    __attribute__((noinline)) static void inner(int depth) {
        volatile char frame[1000];
        frame[depth] = depth;
        pthread_cleanup_push(cleaned, depth % 2 ? "odd" : "even");
        if (depth == 5) pthread_exit("value");
        if (depth < 6) inner(depth + 1 + frame[depth] - depth);
        pthread_cleanup_pop(0);
        frame[0] = depth;
    }
    static void *work(void *argument) {
        pthread_setspecific(key, "destroyed");
        for (int i = 0; i < 3; i++) {
            pthread_cleanup_push(cleaned, "popped");
            usleep(1);
            pthread_cleanup_pop(i == 1);
        }
        pthread_cleanup_push(cleaned, "cleaned last");
        inner(0);
        pthread_cleanup_pop(0);
        return NULL;
    }
    int main(void) {
        pthread_t thread;
        void *value;
        pthread_key_create(&key, destroyed);
        for (int i = 0; i < 2; i++) {
            assert(pthread_create(&thread, NULL, work, NULL) == 0);
            assert(pthread_join(thread, &value) == 0);
            puts(value);
        }
        return 0;
    }
"#;

#[test]
fn a_thread_ends_by_pthread_exit_with_its_cleanups_and_destructors() {
    on_both(CLEANUPS);
}

#[test]
fn pthread_exit_in_code_with_exceptions_does_the_same() {
    on_both_compiled(CLEANUPS, &["-fexceptions"]);
}

#[test]
fn pthread_exit_in_code_that_cannot_be_unwound_does_the_same() {
    let options = [
        "-fno-asynchronous-unwind-tables",
        "-fno-unwind-tables",
        "-g0",
    ];
    on_both_compiled(CLEANUPS, &options);
}

#[test]
fn a_forked_child_has_threads_of_its_own() {
    on_both(
        r#"
        static void *work(void *argument) { usleep(1000); return argument; }
        static void check_threads(void) {
            pthread_t threads[10];
            for (long i = 0; i < 10; i++)
                assert(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
            for (long i = 0; i < 10; i++) {
                void *value;
                assert(pthread_join(threads[i], &value) == 0);
                assert(value == (void *)i);
            }
        }
        static void *forks(void *argument) {
            pid_t child = fork();
            assert(child >= 0);
            if (child == 0) {
                check_threads();
                _exit(5);
            }
            int status;
            assert(waitpid(child, &status, 0) == child);
            assert(WIFEXITED(status) && WEXITSTATUS(status) == 5);
            return NULL;
        }
        int main(void) {
            pthread_t thread;
            forks(NULL);
            check_threads();
            forks(NULL);
            assert(pthread_create(&thread, NULL, forks, NULL) == 0);
            assert(pthread_join(thread, NULL) == 0);
            check_threads();
            puts("done");
            return 0;
        }
        "#,
    );
}

#[test]
fn threads_that_ask_for_what_a_green_thread_has_not_are_os_threads() {
    let outcome = on_both(
        r#"
        static char stack[1 << 20] __attribute__((aligned(4096)));
        static void *inner(void *argument) { return argument; }
        static void *work(void *argument) {
            pthread_t thread;
            char here;
            assert(&here > stack && &here < stack + sizeof stack);
            assert(pthread_create(&thread, NULL, inner, NULL) == 0);
            assert(pthread_join(thread, NULL) == 0);
            return argument;
        }
        int main(void) {
            pthread_t thread;
            pthread_attr_t attributes;
            pthread_attr_init(&attributes);
            assert(pthread_attr_setstack(&attributes, stack, sizeof stack) == 0);
            assert(pthread_create(&thread, &attributes, work, NULL) == 0);
            assert(pthread_join(thread, NULL) == 0);
            return 0;
        }
        "#,
    );
    assert_eq!(outcome.green_threads(), 1);
}

#[test]
fn a_program_without_threads_has_no_workers() {
    let outcome = on_both(r#"int main(void) { printf("%d\n", os_threads()); return 0; }"#);
    assert_eq!(outcome.text(), "1");
    assert!(
        outcome.stderr.contains("no thread was created"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn the_stack_size_asked_for_is_had() {
    let scratch = Scratch::new();
    let source = r#"
        static void *work(void *argument) {
            pthread_attr_t attributes;
            void *base;
            size_t size;
            pthread_getattr_np(pthread_self(), &attributes);
            pthread_attr_getstack(&attributes, &base, &size);
            printf("%zu\n", size >> 20);
            return NULL;
        }
        int main(void) {
            pthread_t thread;
            pthread_create(&thread, NULL, work, NULL);
            pthread_join(thread, NULL);
            return 0;
        }
    "#;
    let program = scratch.compile("program", &format!("{HEAD}{source}"), &[]);
    let options = ["--stack-size", "67108864"];
    let outcome = run(&mut green(&options, &[&program]), b"").succeeds();
    assert_eq!(outcome.text(), "64");
}

#[test]
fn a_stack_overflow_is_said_before_the_process_dies() {
    let scratch = Scratch::new();
    let source = r#"
        static int deeper(int n) {
            volatile char frame[4096];
            frame[0] = n;
            return deeper(n + 1) + frame[0];
        }
        static void *work(void *argument) { deeper(0); return NULL; }
        int main(void) {
            pthread_t thread;
            pthread_create(&thread, NULL, work, NULL);
            pthread_join(thread, NULL);
            return 0;
        }
    "#;
    let program = scratch.compile(
        "program",
        &format!("{HEAD}{source}"),
        &["-O0", "-Wno-infinite-recursion"],
    );
    let command = format!("ulimit -c 0; exec {GREENPATCH} run {}", program.display());
    let outcome = run(&mut native(&["sh", "-c", &command]), b"");
    assert!(
        outcome.stderr.contains("overflowed its"),
        "{}",
        outcome.stderr
    );
    assert!(!outcome.status.success());
}

#[test]
fn executed_programs_are_preloaded_too_unless_told_otherwise() {
    let command = ["sh", "-c", "echo $LD_PRELOAD"];
    let with = run(&mut green(&[], &command), b"").succeeds();
    assert!(with.text().ends_with("libgreenpatch_preload.so"));
    let without = run(&mut green(&["--no-children"], &command), b"").succeeds();
    assert_eq!(without.text(), "");
    let others = run(
        green(&["--no-children"], &command).env("LD_PRELOAD", "libm.so.6"),
        b"",
    );
    assert_eq!(others.succeeds().text(), "libm.so.6");
}

#[test]
fn a_program_that_is_linked_with_greenpatch_is_left_alone() {
    let outcome = run(&mut green(&[], &[GREENPATCH, "--version"]), b"").succeeds();
    assert!(outcome.text().starts_with("greenpatch"));
    assert!(outcome.stderr.contains("defines pthread_create itself"));
}

#[test]
fn settings_that_cannot_be_had_in_a_child_leave_it_with_os_threads() {
    let scratch = Scratch::new();
    let source = r#"
        static void *work(void *argument) { return argument; }
        int main(void) {
            pthread_t thread;
            assert(pthread_create(&thread, NULL, work, NULL) == 0);
            assert(pthread_join(thread, NULL) == 0);
            return 0;
        }
    "#;
    let program = scratch.compile("program", &format!("{HEAD}{source}"), &[]);
    let command = format!("GREENPATCH_WORKERS=many {}", program.display());
    let outcome = run(&mut green(&[], &["sh", "-c", &command]), b"").succeeds();
    assert!(
        outcome
            .stderr
            .contains("threads stay OS threads: setting GREENPATCH_WORKERS cannot be 'many'"),
        "{}",
        outcome.stderr
    );
}

/// Threads that hand a function within a function to libc, which calls it through code on their stacks.
const NESTED: &str = r#"
    static void sort_by_distance(int *numbers, size_t count, int from) {
        int compare(const void *a, const void *b) {
            return abs(*(const int *)a - from) - abs(*(const int *)b - from);
        }
        qsort(numbers, count, sizeof *numbers, compare);
    }
    void *work(void *argument) {
        int numbers[] = {1, 20, 300, 4, 50};
        sched_yield();
        sort_by_distance(numbers, 5, (int)(long)argument);
        return (void *)(long)numbers[0];
    }
"#;

#[test]
fn functions_within_functions_run_on_green_threads() {
    let outcome = on_both(&format!(
        r#"{NESTED}
        int main(void) {{
            for (int i = 0; i < 20; i++) {{
                pthread_t thread;
                void *nearest;
                assert(!pthread_create(&thread, NULL, work, (void *)(long)(i * 20)));
                assert(!pthread_join(thread, &nearest));
                printf("%ld ", (long)nearest);
            }}
        }}"#
    ));
    assert!(outcome.green_threads() >= 20, "{}", outcome.stderr);
}

#[test]
fn a_library_loaded_later_makes_the_stacks_of_running_threads_executable() {
    let scratch = Scratch::new();
    let library = scratch.compile(
        "nested.so",
        &format!("{HEAD}{NESTED}"),
        &["-shared", "-fPIC"],
    );
    let source = r#"
        #include <dlfcn.h>
        static pthread_barrier_t loaded;
        static void *(*work)(void *);
        static void *wait_and_work(void *argument) {
            pthread_barrier_wait(&loaded);
            return work(argument);
        }
        int main(int count, char **arguments) {
            pthread_t threads[10];
            pthread_barrier_init(&loaded, NULL, 11);
            for (long i = 0; i < 10; i++)
                assert(!pthread_create(&threads[i], NULL, wait_and_work, (void *)(i * 20)));
            work = dlsym(dlopen(arguments[1], RTLD_NOW), "work");
            assert(work);
            pthread_barrier_wait(&loaded);
            for (int i = 0; i < 10; i++) {
                void *nearest;
                assert(!pthread_join(threads[i], &nearest));
                printf("%ld ", (long)nearest);
            }
        }"#;
    let program = scratch.compile("program", &format!("{HEAD}{source}"), &[]);
    let command = [&program, &library];
    let expected = run(&mut native(&command), b"").succeeds().text();
    let outcome = run(&mut green(&[], &command), b"").succeeds();
    assert_eq!(outcome.text(), expected, "{}", outcome.stderr);
    assert!(outcome.green_threads() >= 10, "{}", outcome.stderr);
}
