/* What every file shares: dtypes, how an array looks from C, and the tasks of the thread pool. */
#ifndef FERRUM_BASE_H
#define FERRUM_BASE_H

#include <stddef.h>
#include <stdint.h>

enum { BOOL, U8, I8, I16, I32, I64, F16, BF16, F32, F64, DTYPES };

/* The most axes that NumPy 2 gives an array. */
#define MAX_AXES 64

/* Elements that a loop takes at a time where operands must be gathered or converted first: three
   inputs and an output of float64 stay in a core's first cache. */
#define TILE 1024

/* What kernels return; anything but OK leaves the call to the op's rule, which names the fault. */
enum { OK = 0, DECLINED = 1, NO_MEMORY = 2, OUT_OF_RANGE = 3, NEGATIVE_POWER = 4 };

/* An array, or a number as an array of no axes. Strides are in bytes. */
typedef struct {
    char *data;
    const intptr_t *shape;
    const intptr_t *strides;
    int axes;
    int dtype;
} View;

static const unsigned char ITEMSIZE[DTYPES] = {1, 1, 1, 2, 4, 8, 2, 2, 4, 8};

/* Run task(context, i) for every i below count, on all threads of the pool. */
typedef void (*Task)(void *context, intptr_t i);
void parallel(Task task, void *context, intptr_t count);
int threads_get(void);

/* Memory from the pool, aligned to 256 bytes, or NULL. */
void *pool_take(size_t bytes);
void pool_give(void *block);

static inline intptr_t smaller(intptr_t a, intptr_t b) { return a < b ? a : b; }
static inline intptr_t larger(intptr_t a, intptr_t b) { return a > b ? a : b; }

/* A division that is rounded up. */
static inline intptr_t cut_in(intptr_t whole, intptr_t parts) {
    return (whole + parts - 1) / parts;
}

static inline intptr_t product_of(const intptr_t *sizes, int axes) {
    intptr_t product = 1;
    for (int axis = 0; axis < axes; axis++)
        product *= sizes[axis];
    return product;
}

/* The number of elements. */
static inline intptr_t count_of(const View *x) { return product_of(x->shape, x->axes); }

/* Loops, since an array of no axes may have NULL for its sizes. */
static inline void copy_sizes(intptr_t *to, const intptr_t *from, int axes) {
    for (int axis = 0; axis < axes; axis++)
        to[axis] = from[axis];
}

static inline int same_sizes(const intptr_t *a, const intptr_t *b, int axes) {
    for (int axis = 0; axis < axes; axis++)
        if (a[axis] != b[axis])
            return 0;
    return 1;
}

static inline int same_shape(const View *a, const View *b) {
    return a->axes == b->axes && same_sizes(a->shape, b->shape, a->axes);
}

/* Broadcast a shape, in place, with another one; return whether they fit. From the last axis on,
   so that a size is read before another is written there. */
static inline int broadcast(intptr_t *shape, int *axes, const intptr_t *other, int other_axes) {
    int most = *axes > other_axes ? *axes : other_axes;
    for (int i = 1; i <= most; i++) {
        intptr_t have = i <= *axes ? shape[*axes - i] : 1;
        intptr_t here = i <= other_axes ? other[other_axes - i] : 1;
        if (have != here && have != 1 && here != 1)
            return 0;
        shape[most - i] = have == 1 ? here : have;
    }
    *axes = most;
    return 1;
}

/* Fill in the strides of a dense array; return its bytes. */
static inline intptr_t dense_strides(const intptr_t *shape, int axes, int dtype,
                                     intptr_t *strides) {
    intptr_t step = ITEMSIZE[dtype];
    for (int axis = axes - 1; axis >= 0; axis--) {
        strides[axis] = step;
        step *= shape[axis];
    }
    return step;
}

/* Whether every element can be read where it is. */
static inline int is_aligned(const View *x) {
    uintptr_t ends = (uintptr_t)x->data;
    for (int axis = 0; axis < x->axes; axis++)
        ends |= (uintptr_t)x->strides[axis];
    return ends % ITEMSIZE[x->dtype] == 0;
}

/* The ends of the memory that a view reaches. */
static inline void reach(const View *x, const char **low, const char **high) {
    *low = x->data;
    *high = x->data + (count_of(x) ? ITEMSIZE[x->dtype] : 0);
    for (int axis = 0; axis < x->axes && *low != *high; axis++) {
        intptr_t step = (x->shape[axis] - 1) * x->strides[axis];
        *(step < 0 ? low : high) += step;
    }
}

static inline int overlap(const View *a, const View *b) {
    const char *low_a, *high_a, *low_b, *high_b;
    reach(a, &low_a, &high_a);
    reach(b, &low_b, &high_b);
    return low_a < high_b && low_b < high_a;
}

/* Whether the elements lie in row-major order without gaps. */
static inline int is_dense(const View *x) {
    intptr_t step = ITEMSIZE[x->dtype];
    for (int axis = x->axes - 1; axis >= 0; axis--) {
        if (x->shape[axis] != 1 && x->strides[axis] != step)
            return count_of(x) == 0;
        step *= x->shape[axis];
    }
    return 1;
}

#endif
