/* What an instruction set gives for resizing. */
#ifndef FERRUM_RESIZING_TABLE_H
#define FERRUM_RESIZING_TABLE_H

#include <stdint.h>

/* By dtype: float32, float64. */
typedef struct {
    /* out[i] = the sum over taps of weights[tap][i] x[places[tap][i]], for n elements. */
    void (*along[2])(void *out, const void *x, const int32_t *places, const void *weights,
                     intptr_t taps, intptr_t n);
    /* out[i] = the sum over taps of weights[tap] rows[tap][i], for n elements. */
    void (*across[2])(void *out, const void *const *rows, const void *weights, intptr_t taps,
                      intptr_t n);
    /* out[i] = x[places[i]], of 4 or 8 bytes. */
    void (*pick[2])(void *out, const void *x, const int32_t *places, intptr_t n);
    /* As `along`, but a place below 0 is none; as sampling needs it. */
    void (*some[2])(void *out, const void *x, const int32_t *places, const void *weights,
                    intptr_t taps, intptr_t n);
    /* Add g[i] x[places[i]] to sums[i], for n elements; nothing where a place is below 0. */
    void (*products[2])(void *sums, const void *x, const int32_t *places, const void *g,
                        intptr_t n);
} Resizing;

#endif
