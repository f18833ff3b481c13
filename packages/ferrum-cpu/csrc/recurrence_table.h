/* What an instruction set gives for recurrence. */
#ifndef FERRUM_RECURRENCE_TABLE_H
#define FERRUM_RECURRENCE_TABLE_H

#include <stdint.h>

/* By dtype: float32, float64. */
typedef struct {
    /* One row of n units: what the state `h`, and the cells `c`, become, and what is kept. */
    void (*plain[2])(void *out, void *h, intptr_t n, int relu);
    void (*lstm[2])(void *gates, void *cells, void *c, void *h, void *out, intptr_t n);
    void (*gru[2])(void *gates, const void *x, const void *u, void *h, void *out, intptr_t n);
    /* Its gradient; `g` may be NULL. dh and dc come with what later steps send. */
    void (*plain_backward[2])(void *dx, const void *g, const void *dh, const void *out, intptr_t n,
                              int relu);
    void (*lstm_backward[2])(void *dx, const void *g, const void *dh, void *dc, const void *gates,
                             const void *cells, const void *before, intptr_t n);
    void (*gru_backward[2])(void *dx, void *inner, const void *g, void *dh, const void *gates,
                            const void *before, intptr_t n);
} Recurrence;

#endif
