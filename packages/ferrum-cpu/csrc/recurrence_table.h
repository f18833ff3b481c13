/* What an instruction set gives for recurrence. */
#ifndef FERRUM_RECURRENCE_TABLE_H
#define FERRUM_RECURRENCE_TABLE_H

#include <stdint.h>

/* By dtype: float32, float64. */
typedef struct {
    int width[2]; /* columns of a panel */
    /* out = base + a b for dense-rowed matrices that are `lead` elements apart; `base` may be NULL,
       or out. b (k, n) is in panels: of `width` columns each, row by row. */
    void (*product[2])(void *out, intptr_t lead, const void *base, intptr_t base_lead,
                       const void *a, intptr_t a_lead, intptr_t rows, const void *b, intptr_t k,
                       intptr_t n);
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
