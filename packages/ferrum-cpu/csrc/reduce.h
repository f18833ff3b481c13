/* Reductions: their names, and what an instruction set gives for them. */
#ifndef FERRUM_REDUCE_H
#define FERRUM_REDUCE_H

#include "base.h"

/* mean is a sum and a division; var has loops of its own beside those of the sum. */
enum { SUM, PROD, MAX, MIN, ANY, ALL, REDUCERS, MEAN = REDUCERS, VAR };

/* The dtype of a result. */
static inline int reduced_dtype(int op, int dtype) {
    if (op == ANY || op == ALL)
        return BOOL;
    return (op == SUM || op == PROD) && dtype < F16 ? I64 : dtype;
}

/* A row of elements is reduced into this many accumulators side by side, on every processor. */
#define LANES 64

/* Rows of elements are reduced into a row of accumulators at most this wide: with eight rows of
   float32, two thirds of the smallest first cache. */
#define COLUMNS 512

/* How an op reduces a dtype: the one that its loops read and the one of its accumulators. Float32
   is added up in float64, but for groups of eight or sixteen, and so are the narrow floats. */
typedef struct {
    unsigned char reads, holds;
    /* Make m accumulators those of no elements. */
    void (*start)(void *acc, intptr_t m);
    /* Take `rows` rows of m dense elements, `stride` bytes apart, into m accumulators. */
    void (*rows)(void *acc, const char *x, intptr_t stride, intptr_t rows, intptr_t m);
    /* Take n dense elements into LANES accumulators, in turn. */
    void (*lanes)(void *acc, const void *x, intptr_t n);
    /* Take m accumulators into m others. */
    void (*join)(void *acc, const void *from, intptr_t m);
    /* Take LANES accumulators into the first of them. */
    void (*fold)(void *acc);
    /* max and min: the first of n elements that equals a value or, as it, is not a number. */
    intptr_t (*find)(const void *x, intptr_t n, const void *value);
    /* max and min: where a row has better elements, take them and note the row's number. */
    void (*better)(void *best, int64_t *index, const void *x, int64_t number, intptr_t m);
    /* sum: y = the running sums of x, from accumulators that go on; along a row, or of m rows. */
    void (*along)(void *y, const void *x, void *acc, intptr_t n);
    void (*across)(void *y, const void *x, void *acc, intptr_t m);
    /* sum: add up the distances from m means, and their squares. */
    void (*squares)(void *squares, void *drift, const char *x, intptr_t stride, intptr_t rows,
                    intptr_t m, const void *mean);
} Reducer;

typedef Reducer ReducerTable[REDUCERS][DTYPES];

#endif
