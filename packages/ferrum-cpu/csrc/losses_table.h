/* What an instruction set gives for losses. */
#ifndef FERRUM_LOSSES_TABLE_H
#define FERRUM_LOSSES_TABLE_H

#include <stdint.h>

/* What becomes of the losses of a batch: the `reduction` of the ops, by number. */
enum { EACH, MEAN_OF_ALL, SUM_OF_ALL };

/* By dtype: float32, float64. */
typedef struct {
    /* The sum of (x - t)², and each of them. */
    double (*squares[2])(const void *x, const void *t, intptr_t n);
    void (*square[2])(void *out, const void *x, const void *t, intptr_t n);
    /* (x - t) factor, where each element has its own `g` times the factor, or all have the same. */
    void (*difference[2])(void *out, const void *x, const void *t, const void *g, double factor,
                          intptr_t n);
    /* log_softmax of a row; `out` may not be x. */
    void (*log_softmax[2])(void *out, const void *x, intptr_t n);
    /* The sum of x, or of x times weight. */
    double (*weighted[2])(const void *x, const void *weight, intptr_t n);
    /* (exp(x) total - q) g, where q is share, times weight if there is one, and at `target` also
       `own`. */
    void (*gradient[2])(void *out, const void *x, intptr_t n, const void *weight, double share,
                        double total, double g, intptr_t target, double own);
} Losses;

#endif
