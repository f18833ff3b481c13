/* What the two files of normalisation share. */
#ifndef FERRUM_NORMS_COMMON_H
#define FERRUM_NORMS_COMMON_H

#include "index_walk.h"

/* Bring n elements, from `position` on, to a dense buffer in the loop's dtype. */
static inline void load_dense(const Source *x, intptr_t position, intptr_t n, char *to, int size) {
    char stored[TILE * 8];
    for (intptr_t part; n > 0; n -= part, position += part, to += part * size) {
        const char *from = x->convert ? stored : to;
        part = smaller(n, TILE);
        if (x->in_place)
            from = x->view.data + position * ITEMSIZE[x->view.dtype];
        else
            read_tile(&x->view, position, part, x->convert ? stored : to);
        if (x->convert)
            x->convert(to, from, part);
        else if (from != to)
            memcpy(to, from, (size_t)(part * size));
    }
}

/* Whether a loop can read x where it is. */
static inline int is_direct(const Source *x) { return x->in_place && !x->convert; }

/* Whether an array may be a parameter, of these sizes, for elements of a dtype; float16 and
   bfloat16 may have ones of float32. */
static inline int is_parameter(const View *x, int axes, const intptr_t *shape, int dtype) {
    return x->axes == axes && same_sizes(x->shape, shape, axes) &&
           (x->dtype == dtype || (x->dtype == F32 && ITEMSIZE[dtype] == 2));
}

/* Whether a kernel may write an array like `like`. */
static inline int is_result(const View *x, const View *like) {
    return x->dtype == like->dtype && same_shape(x, like) && is_dense(x) && is_aligned(x);
}

#endif
