/* Callers of the pools from many threads at once, for ThreadSanitizer: test_race.py builds it. */
#include "base.h"
#include "kernels.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define CALLERS 6
#define ROUNDS 400
#define COUNT 64

static void square(void *context, intptr_t i) {
    int64_t *out = context;
    out[i] = i * i;
}

static void *call(void *argument) {
    intptr_t faults = 0;
    (void)argument;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t *out = pool_take((size_t)(COUNT + round % 7 * 1000) * sizeof(int64_t));
        parallel(square, out, COUNT);
        for (int64_t i = 0; i < COUNT; i++)
            faults += out[i] != i * i;
        pool_give(out);
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

int main(void) {
    pthread_t callers[CALLERS];
    intptr_t faults = 0;
    threads_set(3);
    for (int i = 0; i < CALLERS; i++)
        if (pthread_create(&callers[i], NULL, call, NULL))
            return 2;
    for (int i = 0; i < CALLERS; i++) {
        void *found;
        pthread_join(callers[i], &found);
        faults += (intptr_t)found;
    }
    printf("%ld faults\n", (long)faults);
    return faults != 0;
}
