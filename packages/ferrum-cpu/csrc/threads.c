/* The thread pool: a caller hands out the indices of one task, and takes part itself.

   One task runs at a time. A caller that finds the pool at work (another Python thread, or a task
   that starts one) runs its own task alone: the result is the same, since what an index does never
   depends on who does it. Workers are started when first needed, spin a little for the next task,
   and then sleep. A forked child has no workers, and starts its own when it needs them. */
#define _GNU_SOURCE
#include "base.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#define MAX_THREADS 256
#define SPINS 4000

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER; /* held by whoever has the pool */
static pthread_mutex_t door = PTHREAD_MUTEX_INITIALIZER; /* guards the sleep of the workers */
static pthread_cond_t bell = PTHREAD_COND_INITIALIZER;

static atomic_int wanted; /* threads, the caller among them; 0 = not yet known */
static int started;       /* workers that run */

/* A task is published by storing its fields and then raising `round`. Each worker joins with
   `inside` raised, takes indices until none is left, and leaves. The caller waits until nobody is
   inside before it touches the fields again. */
static atomic_uint round_number;
static atomic_int inside, sleeping, limit;
static Task current_task;
static void *current_context;
static intptr_t current_count;
static atomic_intptr_t next_index;

static void pause_a_little(void) { __builtin_ia32_pause(); }

static void work(void) {
    Task task = current_task;
    void *context = current_context;
    intptr_t count = current_count, i;
    while ((i = atomic_fetch_add_explicit(&next_index, 1, memory_order_relaxed)) < count)
        task(context, i);
}

static void *worker(void *argument) {
    int number = (int)(intptr_t)argument;
    unsigned seen = 0;
    for (;;) {
        int spins = 0;
        unsigned now;
        while ((now = atomic_load(&round_number)) == seen && ++spins < SPINS)
            pause_a_little();
        if (now == seen) {
            pthread_mutex_lock(&door);
            atomic_fetch_add(&sleeping, 1);
            while ((now = atomic_load(&round_number)) == seen)
                pthread_cond_wait(&bell, &door);
            atomic_fetch_sub(&sleeping, 1);
            pthread_mutex_unlock(&door);
        }
        seen = now;
        if (number >= atomic_load(&limit))
            continue;
        atomic_fetch_add(&inside, 1);
        /* Only a round that is still open may be joined: odd numbers are open. */
        if (atomic_load(&round_number) == seen && seen % 2)
            work();
        atomic_fetch_sub(&inside, 1);
    }
    return NULL;
}

/* The number of processors that this process may use, or what OMP_NUM_THREADS says. */
static int threads_default(void) {
    const char *text = getenv("OMP_NUM_THREADS");
    long asked = text ? strtol(text, NULL, 10) : 0;
    cpu_set_t set;
    if (asked <= 0)
        asked = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return (int)(asked < 1 ? 1 : asked > MAX_THREADS ? MAX_THREADS : asked);
}

int threads_get(void) {
    int threads = atomic_load_explicit(&wanted, memory_order_relaxed);
    if (threads == 0)
        atomic_store(&wanted, threads = threads_default());
    return threads;
}

void threads_set(int threads) {
    atomic_store(&wanted, threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads);
}

static void start_workers(int workers) {
    pthread_attr_t attributes;
    sigset_t all, before;
    /* A signal is for a thread of the program, one that blocks it or waits for it included. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (started < workers) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, worker, (void *)(intptr_t)started))
            break; /* fewer workers: slower, and as right */
        pthread_setname_np(thread, "ferrum-cpu");
        started++;
    }
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void parallel(Task task, void *context, intptr_t count) {
    int workers = (int)smaller(threads_get(), count) - 1;
    if (workers < 1 || pthread_mutex_trylock(&busy)) {
        for (intptr_t i = 0; i < count; i++)
            task(context, i);
        return;
    }
    if (started < workers)
        start_workers(workers);
    current_task = task;
    current_context = context;
    current_count = count;
    atomic_store(&next_index, 0);
    atomic_store(&limit, workers);
    atomic_fetch_add(&round_number, 1);
    if (atomic_load(&sleeping)) {
        pthread_mutex_lock(&door);
        pthread_cond_broadcast(&bell);
        pthread_mutex_unlock(&door);
    }
    work();
    atomic_fetch_add(&round_number, 1); /* closed: who comes now stays out */
    while (atomic_load(&inside))
        pause_a_little();
    pthread_mutex_unlock(&busy);
}

/* A fork must not happen in the middle of a task or of a change to the pool of memory. */
void pool_before_fork(void);
void pool_after_fork(void);

static void before_fork(void) {
    pthread_mutex_lock(&busy);
    pthread_mutex_lock(&door);
    pool_before_fork();
}

static void after_fork_parent(void) {
    pool_after_fork();
    pthread_mutex_unlock(&door);
    pthread_mutex_unlock(&busy);
}

static void after_fork_child(void) {
    started = 0;
    atomic_store(&inside, 0);
    atomic_store(&sleeping, 0);
    pthread_cond_init(&bell, NULL);
    after_fork_parent();
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}
