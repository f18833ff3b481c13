/* What an instruction set gives for pooling: a plane at a time. */
#ifndef FERRUM_POOLING_TABLE_H
#define FERRUM_POOLING_TABLE_H

#include <stdint.h>

/* The windows along an axis: of each position, its first element, how many it has, `step` apart,
   and how many they are counted as. From `low` to `high` all have `kernel` elements, from
   position * stride - padding on. */
typedef struct {
    intptr_t in, out, step, low, high, kernel, stride, padding;
    const int32_t *first, *count, *share;
} Axis;

typedef struct {
    Axis axis[3];
    intptr_t most; /* lines of the inner plane that a window meets */
    double divisor; /* of all positions, or 0 */
} Windows;

/* By dtype: float32, float64. `lines` has room for `most` numbers, `line` for an inner line. */
typedef struct {
    /* The largest of each window, and its index in the plane. */
    void (*largest[2])(const Windows *windows, const void *x, void *out, int64_t *index,
                       intptr_t *lines);
    /* The mean of each window. */
    void (*mean[2])(const Windows *windows, const void *x, void *out, intptr_t *lines, void *line);
    /* Add to a plane what each mean spreads to its window. */
    void (*spread[2])(const Windows *windows, const void *g, void *out, intptr_t *lines,
                      void *line);
    /* The means of whole planes of n elements, and what they spread to them. */
    void (*total[2])(const void *x, void *out, intptr_t planes, intptr_t n, double divisor);
    void (*fill[2])(const void *g, void *out, intptr_t planes, intptr_t n, double divisor);
} Pooling;

#endif
