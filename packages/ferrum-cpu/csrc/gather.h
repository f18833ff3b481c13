/* Elements from anywhere into a dense buffer, and back: what all walks over arrays share. */
#ifndef FERRUM_GATHER_H
#define FERRUM_GATHER_H

#include "base.h"

#include <string.h>

/* A tile of an operand: as it is stored, and in the dtype that a loop takes. */
typedef struct {
    _Alignas(64) char stored[TILE * 8], converted[TILE * 8];
} Tile;

/* Lay the strides of x out over the axes of a result that it broadcasts to. */
static inline void spread(const View *x, int axes, intptr_t *strides) {
    int lead = axes - x->axes;
    for (int axis = 0; axis < axes; axis++)
        strides[axis] = axis < lead || x->shape[axis - lead] == 1 ? 0 : x->strides[axis - lead];
}

/* Make n elements of one. */
static inline void repeat(char *to, const char *from, intptr_t n, int size) {
    memcpy(to, from, (size_t)size);
    for (intptr_t have = 1; have < n; have *= 2)
        memcpy(to + have * size, to, (size_t)(smaller(have, n - have) * size));
}

#define STRIDED(T) \
    for (intptr_t i = 0; i < n; i++) \
        memcpy(to + i * to_stride, from + i * from_stride, sizeof(T));

/* Move n elements of `size` bytes from one line to another. */
static inline void move(char *to, intptr_t to_stride, const char *from, intptr_t from_stride,
                        intptr_t n, int size) {
    if (to_stride == size && from_stride == size) {
        memcpy(to, from, (size_t)(n * size));
    } else if (to_stride == size && from_stride == 0) {
        if (n)
            repeat(to, from, n, size);
    } else {
        switch (size) {
        case 1: STRIDED(uint8_t) break;
        case 2: STRIDED(uint16_t) break;
        case 4: STRIDED(uint32_t) break;
        default: STRIDED(uint64_t)
        }
    }
}

#undef STRIDED

/* Return whether elements of `size` bytes can be read where they are. */
static inline int aligned(const void *data, intptr_t stride, int size) {
    return ((uintptr_t)data | (uintptr_t)stride) % (unsigned)size == 0;
}

#endif
