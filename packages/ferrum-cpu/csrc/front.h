/* What the module `_front` is given of the kernels, which are in another module. */
#ifndef FERRUM_FRONT_H
#define FERRUM_FRONT_H

#include "isa.h"

typedef struct {
    const Isa *const *isa;
    int (*elementwise)(int op, int dtype, const View *in, const View *out);
    int (*elementwise_inputs)(int op);
    const char *(*elementwise_name)(int op);
    int (*matmul)(const View *a, const View *b, const View *bias, const View *out);
    int (*linear)(const View *x, const View *weight, const View *bias, const View *out);
    void *(*pool_take)(size_t bytes);
    void (*pool_give)(void *block);
    int (*reduce)(int op, uintptr_t x, uintptr_t out, uint64_t axes, double correction);
    int (*reduce_index)(int least, uintptr_t x, uintptr_t out, int axis);
    int (*cumulative_sum)(uintptr_t x, uintptr_t out, int axis);
    int (*softmax)(int logarithm, uintptr_t x, uintptr_t out, int axis);
    int (*softmax_backward)(int logarithm, uintptr_t g, uintptr_t y, uintptr_t out, int axis);
} Table;

#endif
