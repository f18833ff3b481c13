/* What an instruction set gives for losses. */
#ifndef FERRUM_LOSSES_TABLE_H
#define FERRUM_LOSSES_TABLE_H

#include <stdint.h>

/* What becomes of the losses of a batch: the `reduction` of the ops, by number. */
enum { EACH, MEAN_OF_ALL, SUM_OF_ALL };

/* The losses of one input and one target: the number that Python says. */
enum { SQUARED, ABSOLUTE, SMOOTH, HUBER, LOGITS, POINTWISE_LOSSES };

/* By dtype: float32, float64. */
typedef struct {
    /* The sum of (x - t)². */
    double (*squares[2])(const void *x, const void *t, intptr_t n);
    /* Each loss, of a `width` where it has one; its slope times factor, and each element's own g. */
    void (*value[POINTWISE_LOSSES][2])(void *out, const void *x, const void *t, double width,
                                       intptr_t n);
    void (*slope[POINTWISE_LOSSES][2])(void *out, const void *x, const void *t, const void *g,
                                       double factor, double width, intptr_t n);
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
