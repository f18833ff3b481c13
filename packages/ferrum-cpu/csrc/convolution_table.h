/* What an instruction set gives for depthwise convolution. */
#ifndef FERRUM_CONVOLUTION_TABLE_H
#define FERRUM_CONVOLUTION_TABLE_H

#include <stdint.h>

/* By dtype: float32, float64. */
typedef struct {
    /* out[i] = first + the sum over taps of weight x[offset + i], for n elements. */
    void (*taps[2])(void *out, const void *x, const intptr_t *offsets, const void *weights,
                    intptr_t taps, double first, intptr_t n);
    /* Add to a sum for each tap: g[i] x[offset + i], for n elements. */
    void (*products[2])(double *sums, const void *g, const void *x, const intptr_t *offsets,
                        intptr_t taps, intptr_t n);
} Depthwise;

#endif
