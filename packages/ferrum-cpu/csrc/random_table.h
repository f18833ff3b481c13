/* What an instruction set gives for random numbers. */
#ifndef FERRUM_RANDOM_TABLE_H
#define FERRUM_RANDOM_TABLE_H

#include <stdint.h>

typedef struct {
    /* Philox blocks first ... first + count - 1, as 64-bit draws, two a block; count is a multiple
       of 32. */
    void (*blocks)(uint64_t *out, uint64_t first, intptr_t count, uint64_t seed, uint64_t offset);
    /* From draws to uniform numbers: 32-bit ones of `precision` bits, and 64-bit ones. */
    void (*uniform32)(float *out, const uint32_t *draws, intptr_t n, int precision);
    void (*uniform64)(double *out, const uint64_t *draws, intptr_t n);
    /* The quantiles of 64-bit draws, at most a tile. */
    void (*normal)(double *out, const uint64_t *draws, intptr_t n);
    /* start + draw mod span, where a span of 0 stands for 2**64. */
    void (*whole)(int64_t *out, const uint64_t *draws, intptr_t n, uint64_t start, uint64_t span);
} Random;

#endif
