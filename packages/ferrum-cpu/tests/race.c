/* Callers of the pools from many threads at once, for ThreadSanitizer: test_race.py builds it.

   Their tasks start tasks, and the process forks meanwhile. */
#include "base.h"
#include "kernels.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLERS 6
#define ROUNDS 400
#define FORKS 8
#define COUNT 64
#define INNER 8

static void square(void *context, intptr_t i) {
    int64_t *out = context;
    out[i] = i * i;
}

static void inner_square(void *context, intptr_t i) {
    int64_t *row = context;
    row[i] = i * i; /* its own place only: that row is shared */
}

/* A task that takes memory and starts a task of its own. */
static void squares(void *context, intptr_t i) {
    int64_t *out = context, *row = pool_take(INNER * sizeof(int64_t));
    for (int64_t k = 0; k < INNER; k++)
        row[k] = 0;
    parallel(inner_square, row, INNER);
    out[i] = i * i + row[INNER - 1] - (INNER - 1) * (INNER - 1);
    pool_give(row);
}

static intptr_t round_of_work(int round) {
    intptr_t faults = 0;
    int64_t *out = pool_take((size_t)(COUNT + round % 7 * 1000) * sizeof(int64_t));
    parallel(round % 5 ? square : squares, out, COUNT);
    for (int64_t i = 0; i < COUNT; i++)
        faults += out[i] != i * i;
    pool_give(out);
    return faults;
}

static void *call(void *argument) {
    intptr_t faults = 0;
    (void)argument;
    for (int round = 0; round < ROUNDS; round++) {
        faults += round_of_work(round);
        if (round % 50 == 0) {
            PoolStatistics now;
            threads_set(1 + round / 50 % 4);
            pool_statistics(&now);
            faults += now.in_use < 0 || now.cached < 0;
            pool_empty();
        }
    }
    return (void *)faults;
}

/* Fork in the midst of the others' work; the children work too, and alone: the sanitizer's own
   locks may be held at the fork, and a thread of the child would wait for them for good. */
static intptr_t fork_often(void) {
    intptr_t faults = 0;
    for (int i = 0; i < FORKS; i++) {
        int status = -1;
        pid_t child = fork();
        if (child == 0) {
            intptr_t found = 0;
            threads_set(1);
            for (int round = 0; round < 10; round++)
                found += round_of_work(round);
            _exit(found != 0);
        }
        faults += child < 0 || waitpid(child, &status, 0) != child || status != 0;
    }
    return faults;
}

int main(void) {
    pthread_t callers[CALLERS];
    intptr_t faults = 0;
    threads_set(3);
    for (int i = 0; i < CALLERS; i++)
        if (pthread_create(&callers[i], NULL, call, NULL))
            return 2;
    faults += fork_often();
    for (int i = 0; i < CALLERS; i++) {
        void *found;
        pthread_join(callers[i], &found);
        faults += (intptr_t)found;
    }
    printf("%ld faults\n", (long)faults);
    return faults != 0;
}
