/* The elementwise ops, and what an instruction set gives for them. */
#ifndef FERRUM_ELEMENTWISE_H
#define FERRUM_ELEMENTWISE_H

#include "base.h"

/* Activations and their gradients; the numbers among an op's attributes are inputs here. */
#define ACTIVATIONS(X) \
    X(leaky_relu, 2, 0) X(leaky_relu_backward, 3, 0) \
    X(hardtanh, 3, 0) X(hardtanh_backward, 4, 0) \
    X(hardsigmoid, 1, 0) X(hardsigmoid_backward, 2, 0) \
    X(hardshrink, 2, 0) X(softshrink, 2, 0) X(shrink_backward, 3, 0) \
    X(threshold, 3, 0) X(threshold_backward, 3, 0) \
    X(hardswish, 1, 0) X(hardswish_backward, 2, 0) X(elu, 4, 1) X(elu_backward, 5, 1) \
    X(gelu, 1, 1) X(gelu_backward, 2, 1) X(gelu_tanh, 1, 1) X(gelu_tanh_backward, 2, 1) \
    X(silu, 1, 1) X(silu_backward, 2, 1) X(mish, 1, 1) X(mish_backward, 2, 1) \
    X(softplus, 3, 1) X(softplus_backward, 4, 1) X(logsigmoid, 1, 1) X(logsigmoid_backward, 2, 1)

/* name, inputs, and whether an element costs much more than its memory */
#define ELEMENTWISE(X) \
    X(negative, 1, 0) X(abs, 1, 0) X(sign, 1, 0) X(square, 1, 0) X(relu, 1, 0) \
    X(floor, 1, 0) X(ceil, 1, 0) X(trunc, 1, 0) X(round, 1, 0) \
    X(sqrt, 1, 0) X(reciprocal, 1, 0) X(rsqrt, 1, 0) \
    X(exp, 1, 1) X(expm1, 1, 1) X(log, 1, 1) X(log1p, 1, 1) X(sin, 1, 1) X(cos, 1, 1) \
    X(tanh, 1, 1) X(erf, 1, 1) X(sigmoid, 1, 1) \
    X(bitwise_invert, 1, 0) X(logical_not, 1, 0) X(isnan, 1, 0) X(isinf, 1, 0) X(isfinite, 1, 0) \
    X(add, 2, 0) X(subtract, 2, 0) X(multiply, 2, 0) X(divide, 2, 0) \
    X(floor_divide, 2, 1) X(remainder, 2, 1) X(pow, 2, 1) X(atan2, 2, 1) \
    X(maximum, 2, 0) X(minimum, 2, 0) X(tanh_backward, 2, 0) X(relu_backward, 2, 0) \
    X(bitwise_and, 2, 0) X(bitwise_or, 2, 0) X(bitwise_xor, 2, 0) \
    X(left_shift, 2, 0) X(right_shift, 2, 0) \
    X(equal, 2, 0) X(not_equal, 2, 0) X(less, 2, 0) X(less_equal, 2, 0) \
    X(greater, 2, 0) X(greater_equal, 2, 0) \
    X(logical_and, 2, 0) X(logical_or, 2, 0) X(logical_xor, 2, 0) \
    X(where, 3, 0) X(clip, 3, 0) \
    ACTIVATIONS(X)

#define X(name, inputs, heavy) OP_##name,
enum { ELEMENTWISE(X) ELEMENTWISE_OPS };
#undef X

#define MAX_INPUTS 5

/* Compute n elements; operands lie dense, and the output may be one of the inputs. */
typedef void (*Loop)(void *out, const void *const *in, intptr_t n);
typedef void (*Convert)(void *out, const void *in, intptr_t n);

/* How an op is computed for inputs of a dtype: the loop, the dtype that it reads (float32 for the
   narrow floats) and the one that it writes. The first input of `where` is bool for all. */
typedef struct {
    Loop loop;
    unsigned char reads, writes;
} Entry;

/* The result's dtype: that of the inputs, unless the loop answers with bool. */
static inline int result_of(const Entry *entry, int dtype) {
    return entry->writes == BOOL ? BOOL : dtype;
}

static inline int reads_of(int op, const Entry *entry, int input) {
    return op == OP_where && input == 0 ? BOOL : entry->reads;
}

/* Compute `out` from inputs that broadcast to its shape; `out` may be the first of them. */
int elementwise(int op, int dtype, const View *in, const View *out);
int elementwise_inputs(int op);

/* The same at one go; and in bands of rows, for large inputs that are transposed: bands.c. */
int elementwise_whole(int op, int dtype, const View *in, const View *out);
int elementwise_in_bands(int op, int dtype, const View *in, const View *out);
int wants_bands(int op, const View *in, const View *out);

/* Fill in the view of an array that Python passed by its id(); return whether kernels know it. */
int read_array(uintptr_t array, View *view);

/* Copy x, in any layout and broadcast, into out, converted to its dtype. */
int convert_view(const View *x, const View *out);
/* The same, the fast way round where one of the two is transposed. */
int copy_view(const View *x, const View *out);

#endif
