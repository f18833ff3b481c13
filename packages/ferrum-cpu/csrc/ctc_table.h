/* What an instruction set gives for connectionist temporal classification. */
#ifndef FERRUM_CTC_TABLE_H
#define FERRUM_CTC_TABLE_H

#include <stdint.h>

/* Stands for log 0 in alpha: differences of it are numbers, and nothing that is added changes it. */
#define CTC_NEVER (-0x1p126f)

/* Rows that a sequence needs to work in: of `width` elements, and two in front. */
enum { CTC_ROWS = 6 };

/* A sequence of `steps`, and a target of `size` classes: with blanks around them they are 2 size + 1
   states, in rows of `width`: whole vectors, so that loops have no rest. */
typedef struct {
    intptr_t steps, size, width;
    const int64_t *target;
    int64_t blank;
    char *scores; /* log_probs, or its gradient, which holds zeros; strides are in bytes */
    intptr_t score_step, score_class;
    char *alpha; /* dense (all_steps, states) */
    intptr_t all_steps, states;
    char *work;
} Alignment;

/* By dtype: float32, float64. */
typedef struct {
    /* Write alpha and the one number of the loss; and the gradient, times the number g. */
    void (*loss[2])(const Alignment *a, void *out);
    void (*gradient[2])(const Alignment *a, void *g);
} Ctc;

#endif
