/* Elements from anywhere into a dense buffer, and back. */
#ifndef FERRUM_GATHER_H
#define FERRUM_GATHER_H

#include "base.h"

#include <string.h>

static inline void fill(char *to, const char *from, intptr_t n, int size) {
    memcpy(to, from, (size_t)size);
    for (intptr_t have = 1; have < n; have *= 2)
        memcpy(to + have * size, to, (size_t)(smaller(have, n - have) * size));
}

#define STRIDED(T) \
    for (intptr_t i = 0; i < n; i++) \
        memcpy(to + i * to_stride, from + i * from_stride, sizeof(T));

static inline void move(char *to, intptr_t to_stride, const char *from, intptr_t from_stride,
                        intptr_t n, int size) {
    if (to_stride == size && from_stride == size) {
        memcpy(to, from, (size_t)(n * size));
    } else if (to_stride == size && from_stride == 0) {
        if (n)
            fill(to, from, n, size);
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
