//! Thread attributes in programs whose threads have become green: they are kept and read back as natively.

use crate::posix_threads::on_both;

/// Tells all that there is to tell of a thread, and runs one and waits for it.
const TELL: &str = r#"
static const char *name(int error) { return error ? strerrorname_np(error) : "done"; }
static void tell(pthread_t thread, const char *what) {
    pthread_attr_t attributes;
    void *base;
    size_t size, same, guard;
    int state, inheritance, policy;
    struct sched_param param;
    cpu_set_t processors;
    sigset_t mask;
    int error = pthread_getattr_np(thread, &attributes);
    if (error) {
        printf("%s: %s\n", what, name(error));
        return;
    }
    pthread_attr_getstack(&attributes, &base, &size);
    pthread_attr_getstacksize(&attributes, &same);
    pthread_attr_getguardsize(&attributes, &guard);
    pthread_attr_getdetachstate(&attributes, &state);
    pthread_attr_getinheritsched(&attributes, &inheritance);
    pthread_attr_getschedpolicy(&attributes, &policy);
    pthread_attr_getschedparam(&attributes, &param);
    pthread_attr_getaffinity_np(&attributes, sizeof processors, &processors);
    assert(same == size);
    if (thread == pthread_self()) {
        char *here = (char *)&mask;
        assert(here > (char *)base && here < (char *)base + size);
    }
    printf("%s: stack %zu guard %zu state %d inheritance %d policy %d priority %d processors %d mask %d\n", what, size, guard,
           state, inheritance, policy, param.sched_priority, CPU_COUNT(&processors),
           pthread_attr_getsigmask_np(&attributes, &mask));
    pthread_attr_destroy(&attributes);
}
static sem_t told;
__attribute__((unused)) static void *work(void *what) { tell(pthread_self(), what); sem_post(&told); return NULL; }
static void start_as(pthread_attr_t *attributes, void *(*start)(void *), const char *what) {
    pthread_t thread;
    int state = PTHREAD_CREATE_JOINABLE;
    if (attributes) pthread_attr_getdetachstate(attributes, &state);
    int error = pthread_create(&thread, attributes, start, (void *)what);
    if (error) {
        printf("%s: not created: %s\n", what, name(error));
        return;
    }
    sem_wait(&told);
    if (state == PTHREAD_CREATE_JOINABLE) assert(pthread_join(thread, NULL) == 0);
}
#define WITH(what, set) do { \
        pthread_attr_t attributes; \
        pthread_attr_init(&attributes); \
        pthread_attr_setstacksize(&attributes, 256 << 10); \
        set; \
        start_as(&attributes, work, what); \
        pthread_attr_destroy(&attributes); \
    } while (0)
"#;

fn tells_the_same(main: &str) -> usize {
    on_both(&format!("{TELL}{main}")).green_threads()
}

#[test]
fn sizes_are_those_asked_for() {
    let threads = tells_the_same(
        r#"
        int main(void) {
            // From small to large, as glibc gives a thread a larger stack that has become free.
            WITH("no guard", pthread_attr_setstacksize(&attributes, 65536); pthread_attr_setguardsize(&attributes, 0));
            WITH("guard of a byte", pthread_attr_setstacksize(&attributes, 65536); pthread_attr_setguardsize(&attributes, 1));
            WITH("100,000", pthread_attr_setstacksize(&attributes, 100000));
            WITH("256 KiB", );
            WITH("1 MiB", pthread_attr_setstacksize(&attributes, 1 << 20));
            WITH("1 MiB and 1", pthread_attr_setstacksize(&attributes, (1 << 20) + 1));
            start_as(NULL, work, "default");
            WITH("16 MiB", pthread_attr_setstacksize(&attributes, 16 << 20));
            return 0;
        }
        "#,
    );
    assert_eq!(threads, 8);
}

#[test]
fn a_guard_of_any_size_is_had() {
    tells_the_same(
        r#"
        int main(void) {
            for (size_t size = 5000; size < 2 << 20; size *= 3)
                WITH("guard", pthread_attr_setguardsize(&attributes, size));
            return 0;
        }
        "#,
    );
}

#[test]
fn whether_a_thread_is_detached_is_told_of_it_at_any_time() {
    let threads = tells_the_same(
        r#"
        static pthread_barrier_t turn;
        static void *waits(void *unused) {
            pthread_barrier_wait(&turn);
            pthread_detach(pthread_self());
            tell(pthread_self(), "detached itself");
            sem_post(&told);
            pthread_barrier_wait(&turn);
            return NULL;
        }
        static void *ends(void *unused) { sem_post(&told); return NULL; }
        int main(void) {
            pthread_t thread;
            pthread_barrier_init(&turn, NULL, 2);
            WITH("detached", pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED));
            assert(pthread_create(&thread, NULL, waits, NULL) == 0);
            tell(thread, "joinable, from another thread");
            pthread_barrier_wait(&turn);
            sem_wait(&told);
            tell(thread, "detached, from another thread");
            pthread_barrier_wait(&turn);
            start_as(NULL, ends, "");
            return 0;
        }
        "#,
    );
    assert_eq!(threads, 3);
}

#[test]
fn scheduling_is_that_of_the_attributes_if_they_say_so() {
    tells_the_same(
        r#"
        int main(void) {
            struct sched_param one = { 1 };
            WITH("explicit", pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED));
            #define ONE \
                pthread_attr_setschedpolicy(&attributes, SCHED_FIFO); \
                pthread_attr_setschedparam(&attributes, &one); \
                pthread_attr_setschedpolicy(&attributes, SCHED_OTHER)
            WITH("priority 1, inherited", ONE);
            WITH("priority 1, explicit", ONE; pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED));
            WITH("another policy, inherited", pthread_attr_setschedpolicy(&attributes, SCHED_FIFO));
            return 0;
        }
        "#,
    );
}

#[test]
fn what_no_thread_can_have_is_an_error() {
    let threads = tells_the_same(
        r#"
        static void set(int policy, int priority) {
            struct sched_param param = { priority };
            int error = pthread_setschedparam(pthread_self(), policy, &param);
            printf("policy %d, priority %d: %s\n", policy, priority, name(error));
        }
        static void *asks(void *unused) {
            int policies[] = { SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_FIFO, SCHED_RR, 77, -1 };
            for (int i = 0; i < 7; i++) {
                set(policies[i], -1);
                set(policies[i], 100);
                if (policies[i] != SCHED_FIFO && policies[i] != SCHED_RR) set(policies[i], 1);
            }
            set(SCHED_FIFO, 0);
            set(SCHED_RR, 0);
            set(SCHED_OTHER, 0);
            for (int priority = -1; priority <= 1; priority++)
                printf("priority %d: %s\n", priority, name(pthread_setschedprio(pthread_self(), priority)));
            sem_post(&told);
            return NULL;
        }
        int main(void) { start_as(NULL, asks, ""); return 0; }
        "#,
    );
    assert_eq!(threads, 1);
}

#[test]
fn a_signal_mask_and_an_affinity_that_are_asked_for_are_had() {
    let threads = tells_the_same(
        r#"
        static void *tells_more(void *what) {
            sigset_t mask;
            cpu_set_t processors;
            pthread_sigmask(SIG_BLOCK, NULL, &mask);
            sched_getaffinity(0, sizeof processors, &processors);
            printf("%s: blocked %d processors %d\n", (char *)what, sigismember(&mask, SIGUSR1), CPU_COUNT(&processors));
            return work(what);
        }
        int main(void) {
            pthread_attr_t attributes;
            sigset_t mask;
            cpu_set_t processors, *volatile none = NULL;
            pthread_attr_init(&attributes);
            start_as(&attributes, tells_more, "neither");
            sigemptyset(&mask);
            sigaddset(&mask, SIGUSR1);
            pthread_attr_setsigmask_np(&attributes, &mask);
            start_as(&attributes, tells_more, "a mask");
            pthread_attr_setsigmask_np(&attributes, NULL);
            start_as(&attributes, tells_more, "a mask no more");
            CPU_ZERO(&processors);
            CPU_SET(0, &processors);
            pthread_attr_setaffinity_np(&attributes, sizeof processors, &processors);
            start_as(&attributes, tells_more, "one processor");
            pthread_attr_setaffinity_np(&attributes, 0, none);
            start_as(&attributes, tells_more, "all processors");
            return 0;
        }
        "#,
    );
    assert_eq!(threads, 3);
}
