/* Reading a view in row-major order, a tile at a time, in the dtype that a loop takes. */
#ifndef FERRUM_INDEX_WALK_H
#define FERRUM_INDEX_WALK_H

#include "gather.h"
#include "isa.h"

/* The dtype that a floating-point dtype is computed in; -1 for any other. */
static inline int compute_of(int dtype) {
    return dtype == F64 ? F64 : dtype == F16 || dtype == BF16 || dtype == F32 ? F32 : -1;
}

/* Return x broadcast to a shape. */
static inline View spread_out(const View *x, int axes, const intptr_t *shape, intptr_t *strides) {
    spread(x, axes, strides);
    return (View){x->data, shape, strides, axes, x->dtype};
}

/* Copy elements position ... position + n - 1 of x, in row-major order, as they are stored. */
static inline void read_tile(const View *x, intptr_t position, intptr_t n, char *to) {
    int size = ITEMSIZE[x->dtype], last = x->axes - 1;
    intptr_t at[MAX_AXES];
    const char *from = x->data;
    if (n <= 0)
        return;
    if (last < 0) {
        memcpy(to, from, (size_t)size);
        return;
    }
    for (int axis = last; axis >= 0; axis--) {
        at[axis] = position % x->shape[axis];
        position /= x->shape[axis];
        from += at[axis] * x->strides[axis];
    }
    for (;;) {
        intptr_t part = smaller(n, x->shape[last] - at[last]);
        move(to, size, from, x->strides[last], part, size);
        if ((n -= part) == 0)
            return;
        to += part * size;
        from += part * x->strides[last];
        at[last] += part;
        for (int axis = last; axis > 0 && at[axis] == x->shape[axis]; axis--) {
            from += x->strides[axis - 1] - at[axis] * x->strides[axis];
            at[axis] = 0;
            at[axis - 1]++;
        }
    }
}

/* An operand as a loop reads it. */
typedef struct {
    View view;
    Convert convert; /* or NULL */
    int in_place;    /* dense: the tile is where it is */
} Source;

static inline Source source_of(const View *x, int dtype) {
    return (Source){*x, x->dtype == dtype ? NULL : isa->convert[x->dtype][dtype],
                    is_dense(x) && (uintptr_t)x->data % ITEMSIZE[x->dtype] == 0};
}

/* Return at most TILE elements, from `position` on, dense and in the loop's dtype. */
static inline const void *load_tile(const Source *x, intptr_t position, intptr_t n, Tile *tile) {
    const char *dense = tile->stored;
    if (x->in_place)
        dense = x->view.data + position * ITEMSIZE[x->view.dtype];
    else
        read_tile(&x->view, position, n, tile->stored);
    if (!x->convert)
        return dense;
    x->convert(tile->converted, dense, n);
    return tile->converted;
}

/* The first element of a floating-point view as float64, and a number into it. */
static inline double read_number(const View *x) {
    double value;
    char stored[8];
    memcpy(stored, x->data, ITEMSIZE[x->dtype]);
    isa->convert[x->dtype][F64](&value, stored, 1);
    return value;
}

static inline void write_number(const View *x, double value) {
    char stored[8];
    isa->convert[F64][x->dtype](stored, &value, 1);
    memcpy(x->data, stored, ITEMSIZE[x->dtype]);
}

/* The sum of partial sums, over a tree that depends on their number alone. */
static inline double pairwise(const double *x, intptr_t n) {
    if (n <= 8) {
        double sum = 0;
        for (intptr_t i = 0; i < n; i++)
            sum += x[i];
        return sum;
    }
    return pairwise(x, n / 2) + pairwise(x + n / 2, n - n / 2);
}

#endif
