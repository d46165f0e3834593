// The other process: plain C with glibc alone. It maps the file that it is given, and does what its second argument says.

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// As in memory.rs.
struct memory {
    pthread_mutex_t mutex, robust, inheriting;
    pthread_cond_t condition;
    pthread_rwlock_t lock;
    pthread_barrier_t barrier;
    sem_t ping, pong;
    unsigned turn, word, other_word, permits;
    unsigned long count, waiting;
};

#define MUST(call) do { int error = (call); if (error) { \
    fprintf(stderr, "line %d: %s\n", __LINE__, strerror(error < 0 ? errno : error)); _exit(1); } } while (0)

// Has its turn `rounds` times, by mutex and condition variable.
static void take_turns(struct memory *m, long rounds) {
    for (long round = 0; round < rounds; round++) {
        MUST(pthread_mutex_lock(&m->mutex));
        while (m->turn != 1) MUST(pthread_cond_wait(&m->condition, &m->mutex));
        m->turn = 0;
        MUST(pthread_cond_signal(&m->condition));
        MUST(pthread_mutex_unlock(&m->mutex));
    }
}

// Gives one permit after the other, each by one signal, outside the mutex.
static void give_permits(struct memory *m, long rounds) {
    for (long round = 0; round < rounds; round++) {
        MUST(pthread_mutex_lock(&m->mutex));
        m->permits++;
        MUST(pthread_mutex_unlock(&m->mutex));
        MUST(pthread_cond_signal(&m->condition));
    }
}

static void count_under(struct memory *m, long rounds, int lock(struct memory *), int unlock(struct memory *)) {
    for (long round = 0; round < rounds; round++) {
        MUST(lock(m));
        unsigned long count = *(volatile unsigned long *)&m->count;
        if (round % 64 == 0) sched_yield();
        *(volatile unsigned long *)&m->count = count + 1;
        MUST(unlock(m));
    }
}

static int lock_mutex(struct memory *m) { return pthread_mutex_lock(&m->mutex); }
static int unlock_mutex(struct memory *m) { return pthread_mutex_unlock(&m->mutex); }
static int lock_robust(struct memory *m) { return pthread_mutex_lock(&m->robust); }
static int unlock_robust(struct memory *m) { return pthread_mutex_unlock(&m->robust); }
static int lock_inheriting(struct memory *m) { return pthread_mutex_lock(&m->inheriting); }
static int unlock_inheriting(struct memory *m) { return pthread_mutex_unlock(&m->inheriting); }
static int lock_writing(struct memory *m) { return pthread_rwlock_wrlock(&m->lock); }
static int unlock_lock(struct memory *m) { return pthread_rwlock_unlock(&m->lock); }

// Tells the parent that it has come so far.
static void say(const char *text) {
    MUST(write(1, text, strlen(text)) < 0 ? -1 : 0);
}

// Waits for the parent to close its end.
static void listen_for_end(void) {
    char byte;
    while (read(0, &byte, 1) > 0) {}
}

int main(int count, char **arguments) {
    int file = open(arguments[1], O_RDWR);
    struct memory *m = mmap(0, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (m == MAP_FAILED) return 2;
    const char *what = arguments[2];
    long rounds = count > 3 ? atol(arguments[3]) : 0;
    if (!strcmp(what, "turns")) take_turns(m, rounds);
    else if (!strcmp(what, "permits")) give_permits(m, rounds);
    else if (!strcmp(what, "mutex")) count_under(m, rounds, lock_mutex, unlock_mutex);
    else if (!strcmp(what, "robust")) count_under(m, rounds, lock_robust, unlock_robust);
    else if (!strcmp(what, "inheriting")) count_under(m, rounds, lock_inheriting, unlock_inheriting);
    else if (!strcmp(what, "writing")) count_under(m, rounds, lock_writing, unlock_lock);
    else if (!strcmp(what, "barrier")) {
        for (long round = 0; round < rounds; round++) {
            int status = pthread_barrier_wait(&m->barrier);
            if (status != PTHREAD_BARRIER_SERIAL_THREAD) MUST(status);
        }
    } else if (!strcmp(what, "semaphores")) {
        for (long round = 0; round < rounds; round++) {
            MUST(sem_wait(&m->ping));
            MUST(sem_post(&m->pong));
        }
    } else if (!strcmp(what, "broadcast")) {
        MUST(pthread_mutex_lock(&m->mutex));
        m->turn = 1;
        MUST(pthread_cond_broadcast(&m->condition));
        MUST(pthread_mutex_unlock(&m->mutex));
    } else if (!strcmp(what, "wake")) {
        // Until somebody was woken.
        unsigned *word = rounds ? &m->other_word : &m->word;
        while (syscall(SYS_futex, word, FUTEX_WAKE, 1, 0, 0, 0) != 1) usleep(1000);
    } else if (!strcmp(what, "hold")) {
        MUST(pthread_mutex_lock(&m->robust));
        MUST(pthread_mutex_lock(&m->inheriting));
        MUST(pthread_rwlock_wrlock(&m->lock));
        say("held\n");
        listen_for_end();
        MUST(pthread_rwlock_unlock(&m->lock));
        MUST(pthread_mutex_unlock(&m->inheriting));
        MUST(pthread_mutex_unlock(&m->robust));
    } else if (!strcmp(what, "inherit from the dead")) {
        say("begun\n");
        pthread_mutex_t *both[] = {&m->inheriting, &m->robust};
        for (int each = 0; each < 2; each++) {
            if (pthread_mutex_lock(both[each]) != EOWNERDEAD) return 3;
            MUST(pthread_mutex_consistent(both[each]));
            MUST(pthread_mutex_unlock(both[each]));
        }
    } else return 4;
    return 0;
}
