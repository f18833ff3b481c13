/* A convolution, or one of its adjoints, as the files that compute it see it. */
#ifndef FERRUM_CONVOLUTION_JOB_H
#define FERRUM_CONVOLUTION_JOB_H

#include "base.h"

#include <stdatomic.h>

typedef struct {
    int dtype; /* F32 or F64 */
    intptr_t size, batch, groups, inner, outer; /* channels of one group */
    intptr_t in[3], out[3], kernel[3], stride[3], padding[3], dilation[3];
    intptr_t volume, positions, places; /* of in, out and kernel */
    int pointwise; /* a position sums what stands at its own place */
    const char *x, *weight, *g, *bias;
    char *result;
    intptr_t tile, tiles, rows, blocks, depth; /* how the work is cut */
    char *partial;
    atomic_int code;
} Job;

static inline intptr_t cut_in(intptr_t whole, intptr_t parts) {
    return (whole + parts - 1) / parts;
}

/* Run tasks, on threads where the whole is worth it; OK or NO_MEMORY. */
int run_convolution(Job *job, Task task, intptr_t count);

/* Each channel by itself, over two axes at most: no products of matrices. */
int is_depthwise(const Job *job);
int run_depthwise_outer(Job *job);
int run_depthwise_inner(Job *job);
int run_depthwise_weight(Job *job);

#endif
