/* softmax and log_softmax, and their gradients: what an instruction set gives for them. */
#ifndef FERRUM_SOFTMAX_H
#define FERRUM_SOFTMAX_H

#include "base.h"

enum { SOFTMAX, LOG_SOFTMAX, SOFTMAX_BACKWARD, LOG_SOFTMAX_BACKWARD, SOFTMAXES };

/* A block of columns is at most this wide. */
#define SOFTMAX_COLUMNS 256

/* Compute `rows` rows of n elements. The rows of an input are `stride` bytes apart. A result of
   rows has no gaps; one of columns, which are normalised along the rows, has them out_stride
   apart. The result may be the first input. */
typedef void (*SoftmaxLoop)(void *out, intptr_t out_stride, const char *const *in,
                            const intptr_t *stride, intptr_t rows, intptr_t n);

/* For float32 and float64, along rows and along columns. */
typedef SoftmaxLoop SoftmaxTable[SOFTMAXES][2][2];

#endif
