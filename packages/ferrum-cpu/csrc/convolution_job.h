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
    const char *x, *weight, *g, *bias;
    char *result;
    intptr_t tile, tiles; /* how depthwise work is cut */
    atomic_int code;
} Job;

/* Run a task `count` times, on threads where the job is worth it; OK or NO_MEMORY. */
int run_convolution(Job *job, Task task, void *context, intptr_t count);

/* Compute what a job asks for: OK or NO_MEMORY. */
int run_outer(Job *job);
int run_inner(Job *job);
int run_weight(Job *job);

/* Each channel by itself, over two axes at most: no products of matrices. */
int is_depthwise(const Job *job);
int run_depthwise_outer(Job *job);
int run_depthwise_inner(Job *job);
int run_depthwise_weight(Job *job);

/* The inner tensor where it is less work to multiply for outer positions, and to add. */
int is_spread(const Job *job);
int run_spread(Job *job);

/* Kernels of 3 x 3, by fewer multiplications than places. */
int is_fast(const Job *job);
int run_fast_outer(Job *job);
int run_fast_inner(Job *job);
int run_fast_weight(Job *job);

#endif
