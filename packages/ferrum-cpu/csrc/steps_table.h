/* What an instruction set gives for the steps of optimizers. */
#ifndef FERRUM_STEPS_TABLE_H
#define FERRUM_STEPS_TABLE_H

#include <stdint.h>

/* What an element is computed with. A loop rounds them to its dtype, as elementwise ops do with
   Python numbers. */
typedef struct {
    double lr, weight_decay;
    double momentum, undamped;
    double shrink, beta1, less_beta1, beta2, less_beta2, root, rate, eps;
    double grad_rate; /* of NAdam, whose `rate` is that of the average */
    int nesterov, maximize, centered;
    int is_scaled; /* RAdam: whether the squares count yet */
} Numbers;

/* Move n elements: of the parameter and its state, in `written`, by the gradient. */
typedef void (*StepLoop)(void *const *written, const void *grad, intptr_t n, const Numbers *with);

/* Make the gradient that is used from the one that came, and the parameter. */
typedef void (*GradientLoop)(void *out, const void *grad, const void *param, intptr_t n,
                             const Numbers *with);

/* By dtype: float32, float64. */
typedef struct {
    GradientLoop gradient[2];
    StepLoop plain[2], heavy[2], adam[2], amsgrad[2];
    StepLoop kinds[7][2]; /* by StepKind */
} Steps;

#endif
