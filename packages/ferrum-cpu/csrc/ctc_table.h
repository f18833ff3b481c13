/* What an instruction set gives for connectionist temporal classification. */
#ifndef FERRUM_CTC_TABLE_H
#define FERRUM_CTC_TABLE_H

#include <stdint.h>

/* Stands for log 0 in alpha: differences of it are numbers, and nothing that is added changes it. */
#define CTC_NEVER (-0x1p126f)

/* Rows of 2 size + 3 elements that a sequence needs to work in. */
enum { CTC_ROWS = 6 };

/* A sequence of `steps`, and a target of `size` classes: with blanks around them they are 2 size + 1
   states. */
typedef struct {
    intptr_t steps, size;
    const int64_t *target;
    int64_t blank;
    char *scores; /* log_probs, or its gradient, which holds zeros; strides are in bytes */
    intptr_t score_step, score_class;
    char *alpha; /* a dense row for each step, `states` elements after the one before */
    intptr_t states;
    char *work;
} Alignment;

/* By dtype: float32, float64. */
typedef struct {
    /* Write alpha, of the steps and states that the sequence has, and the loss. */
    void (*loss[2])(const Alignment *a, void *out);
    /* Write the gradient, times the one number g. */
    void (*gradient[2])(const Alignment *a, const void *g);
} Ctc;

#endif
