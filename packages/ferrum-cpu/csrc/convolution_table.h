/* What an instruction set gives for convolution. Each function is there by dtype: float32,
   float64. Distances are in elements. */
#ifndef FERRUM_CONVOLUTION_TABLE_H
#define FERRUM_CONVOLUTION_TABLE_H

#include <stdint.h>

/* How a left operand is packed: GROUP elements of what is summed of one row, then of the next. */
#define GROUP 16

/* The most positions that are read at once. */
#define MOST_POSITIONS 256

/* The most pieces that they are read in: as many to each vector as one may have elements. */
#define MOST_PIECES MOST_POSITIONS

/* How planes are read: position m, in a grid of its own, and a tap meet at step m + offset along
   each axis; what lies outside counts as 0. Taps are places in the kernel. */
typedef struct {
    intptr_t offset[3], place;
} Tap;

typedef struct {
    const char *data;
    intptr_t channels, extent[3], volume; /* channels of one group */
    intptr_t step[3], shape[3], positions; /* of the grid */
    intptr_t image; /* elements from an image to the next */
    Tap *taps;
    intptr_t count;
} Reading;

/* Positions that lie in one line of the grid. */
typedef struct {
    intptr_t image, at[3], count;
} Segment;

typedef struct {
    /* The most rows and columns of a tile. */
    int rows, columns[2];
    /* A tile of out = a b + bias, or with `more` of out += a b, over k: `a` packed, with `spacing`
       rows to a group, and `b` in lines of as many elements as a tile may have columns. */
    void (*product[2])(const void *a, intptr_t spacing, const void *b, void *out, intptr_t lead,
                       int rows, intptr_t columns, intptr_t k, const void *bias, int more);
    /* For every tap and channel write a line: what positions read, rounded up to whole vectors. */
    void (*unfold[2])(void *to, intptr_t to_tap, intptr_t to_channel, const void *from,
                      const Reading *reading, const Tap *taps, intptr_t tap_count,
                      intptr_t channels, const Segment *segments, intptr_t count);
    /* Add a line to what its positions read at a tap. */
    void (*fold[2])(void *to, const void *line, const Reading *reading, const Tap *tap,
                    const Segment *segments, intptr_t count);
    /* Transpose as many lines as a tile may have columns, of n elements. */
    void (*turn[2])(void *to, const void *from, intptr_t lead, intptr_t n);
} Convolver;

/* The most columns of a tile. */
#define MOST_WIDTH 32

/* F(2 x 2, 3 x 3) in float32; `place` is the distance of one of the 16 results from the next. */
typedef struct {
    /* Transform kernels, `step` apart, of up to GROUP channels; turned over, if so. */
    void (*kernels)(const float *weight, intptr_t step, intptr_t count, int turned, float *to,
                    intptr_t place);
    /* Transform 16 lines of one element of each square of a tile's columns. */
    void (*squares)(const float *from, float *to, intptr_t place);
    /* Two lines of twice a tile's columns, from 16 lines of sums. */
    void (*sums)(const float *from, intptr_t place, float first, float *to);
    void (*copy)(float *to, const float *from, intptr_t n);
    /* Transform 4 lines of one outer element of each square into 16 lines. */
    void (*outers)(const float *from, float *to);
    /* Kernels of up to GROUP channels, side by side, from 16 lines of sums. */
    void (*weights)(const float *from, intptr_t place, intptr_t count, float *to);
} Winograd;

/* The most places of a kernel, and lanes of a vector. */
#define MOST_PLACES 256
#define MOST_LANES 16

/* How planes of one channel meet. */
typedef struct {
    intptr_t in[2], out[2], kernel[2], stride[2], padding[2], dilation[2];
    intptr_t channels, volume; /* what is summed: how many planes, and their distance */
    /* An inner position stride m + r meets the places of remainder r, at m + shift. */
    intptr_t remainder[2][MOST_PLACES], shift[2][MOST_PLACES];
} Planes;

typedef struct {
    /* The outer plane of inner ones. */
    void (*gather[2])(const Planes *how, const void *x, const void *weight, double first,
                      void *out);
    /* The inner plane of outer ones. */
    void (*spread[2])(const Planes *how, const void *g, const void *weight, double first,
                      void *out);
    /* Add to `lanes` sums for each place what an inner and an outer plane have in common. */
    void (*weigh[2])(const Planes *how, const void *x, const void *g, void *sums);
    int lanes[2];
} Depthwise;

#endif
