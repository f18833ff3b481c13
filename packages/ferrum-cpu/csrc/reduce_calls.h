/* Reductions and what is like them, as Python calls them (see kernels.h). `axes` has a bit for
   each axis. Each returns 0, or DECLINED or NO_MEMORY of csrc/base.h. `out` is dense, and has the
   shape and dtype that the op's rule says. */

/* `op` counts sum, prod, max, min, any, all, mean, var; `correction` is for var. */
int reduce(int op, uintptr_t x, uintptr_t out, uint64_t axes, double correction);
/* argmax, or argmin where `least`. */
int reduce_index(int least, uintptr_t x, uintptr_t out, int axis);
int cumulative_sum(uintptr_t x, uintptr_t out, int axis);
int softmax(int logarithm, uintptr_t x, uintptr_t out, int axis);
/* The gradient of x from that of softmax or log_softmax and its result. */
int softmax_backward(int logarithm, uintptr_t g, uintptr_t y, uintptr_t out, int axis);
