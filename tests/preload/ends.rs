//! How threads end, and processes with them, in programs whose threads have become green: as they end natively.

use crate::posix_threads::on_both;
use crate::program::{Scratch, green, native, run};

#[test]
fn a_thread_joins_a_main_thread_that_exits() {
    let outcome = on_both(
        r#"
        static pthread_t main_thread;
        static void destroyed(void *value) { usleep(20000); puts("main thread's value destroyed"); }
        static void *late(void *argument) { usleep(20000); puts("late"); return NULL; }
        static void *work(void *argument) {
            pthread_t thread;
            void *value;
            assert(pthread_join(main_thread, &value) == 0);
            puts(value);
            assert(pthread_create(&thread, NULL, late, NULL) == 0);
            return NULL;
        }
        static void at_exit(void) { puts("at exit"); }
        int main(void) {
            pthread_t thread;
            pthread_key_t key;
            atexit(at_exit);
            pthread_key_create(&key, destroyed);
            pthread_setspecific(key, &main_thread);
            main_thread = pthread_self();
            assert(pthread_create(&thread, NULL, work, NULL) == 0);
            pthread_exit("main thread's value");
        }
        "#,
    );
    assert_eq!(outcome.green_threads(), 2);
}

#[test]
fn a_main_thread_that_exits_ends_before_the_process_does() {
    on_both(
        r#"
        static void destroyed(void *value) { usleep(100000); puts("main thread's value destroyed"); }
        static void *work(void *argument) { return NULL; }
        int main(void) {
            pthread_t thread;
            pthread_key_t key;
            pthread_key_create(&key, destroyed);
            pthread_setspecific(key, &key);
            assert(pthread_create(&thread, NULL, work, NULL) == 0);
            assert(pthread_join(thread, NULL) == 0);
            pthread_exit(NULL);
        }
        "#,
    );
}

#[test]
fn a_child_that_a_thread_has_forked_ends_by_pthread_exit() {
    on_both(
        r#"
        static pthread_key_t key;
        static void destroyed(void *value) { puts(value); }
        static void cleaned(void *value) { puts(value); }
        static void at_exit(void) { puts("at exit"); fflush(stdout); }
        static void *work(void *argument) {
            pid_t child;
            int status;
            pthread_setspecific(key, "value destroyed");
            pthread_cleanup_push(cleaned, "pushed before the fork");
            child = fork();
            assert(child >= 0);
            if (child == 0) {
                pthread_cleanup_push(cleaned, "popped");
                pthread_cleanup_pop(0);
                pthread_cleanup_push(cleaned, "pushed in the child");
                if (argument) pthread_exit(NULL);
                pthread_cleanup_pop(0);
            }
            pthread_cleanup_pop(0);
            if (child == 0) return NULL;
            assert(waitpid(child, &status, 0) == child);
            printf("status %d\n", status);
            pthread_setspecific(key, NULL);
            return NULL;
        }
        int main(void) {
            pthread_t thread;
            atexit(at_exit);
            pthread_key_create(&key, destroyed);
            for (long exits = 0; exits < 2; exits++) {
                assert(pthread_create(&thread, NULL, work, (void *)exits) == 0);
                assert(pthread_join(thread, NULL) == 0);
                fflush(stdout);
            }
            return 0;
        }
        "#,
    );
}

#[test]
fn threads_start_when_all_keys_are_taken() {
    let outcome = on_both(
        r#"
        static pthread_key_t last;
        static void *work(void *argument) {
            assert(pthread_setspecific(last, argument) == 0);
            usleep(1000);
            assert(pthread_getspecific(last) == argument);
            return argument;
        }
        int main(void) {
            pthread_t thread;
            pthread_key_t key;
            void *value;
            while (pthread_key_create(&key, NULL) == 0) last = key;
            for (int i = 0; i < 10; i++) {
                assert(pthread_create(&thread, NULL, work, &value) == 0);
                assert(pthread_join(thread, &value) == 0);
            }
            puts("joined");
            return 0;
        }
        "#,
    );
    assert_eq!(outcome.green_threads(), 10);
}

const THROWS: &str = r#"
    #include <cstdio>
    #include <cstdlib>
    #include <exception>
    #include <pthread.h>
    #include <stdexcept>
    #include <unistd.h>

    static void told() {
        try { std::rethrow_exception(std::current_exception()); }
        catch (const std::exception &exception) { std::printf("nobody caught '%s'\n", exception.what()); }
        std::fflush(stdout);
        _exit(0);
    }
    struct Frame { ~Frame() { std::puts("unwound"); } };
    static void *work(void *) {
        Frame frame;
        throw std::runtime_error("no such luck");
    }
    int main(int arguments, char **) {
        pthread_t thread;
        if (arguments == 1) std::set_terminate(told);
        pthread_create(&thread, nullptr, work, nullptr);
        pthread_join(thread, nullptr);
        return 1;
    }
"#;

#[test]
fn an_exception_that_leaves_a_start_routine_is_one_that_nobody_catches() {
    let scratch = Scratch::new();
    let program = scratch.compile_with("c++", "program.cc", THROWS, &[]);
    let expected = run(&mut native(&[&program]), b"").succeeds().text();
    assert_eq!(expected, "nobody caught 'no such luck'");
    let outcome = run(&mut green(&[], &[&program]), b"").succeeds();
    assert_eq!(outcome.text(), expected, "{}", outcome.stderr);

    let without_handler = format!("ulimit -c 0; exec {} by default", program.display());
    let outcome = run(&mut green(&[], &["sh", "-c", &without_handler]), b"");
    assert!(!outcome.status.success());
    assert!(
        outcome.stderr.contains("std::runtime_error"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("no such luck"),
        "{}",
        outcome.stderr
    );
    assert!(!outcome.stderr.contains("destructor"), "{}", outcome.stderr);
}
