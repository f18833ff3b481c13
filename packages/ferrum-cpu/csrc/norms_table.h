/* What an instruction set gives for normalisation. */
#ifndef FERRUM_NORMS_TABLE_H
#define FERRUM_NORMS_TABLE_H

#include <stdint.h>

/* By dtype: float32, float64. Weights and biases are of it, or NULL; strides are in bytes. */
typedef struct {
    /* Normalise dense rows. */
    void (*rows[2])(void *out, const void *x, intptr_t rows, intptr_t n, const void *weight,
                    const void *bias, double eps, int centred);
    /* The gradients of that: of x, and added to n sums each, of weight and bias. */
    void (*rows_backward[2])(void *dx, const void *g, const void *x, intptr_t rows, intptr_t n,
                             const void *weight, double eps, int centred, double *dweight,
                             double *dbias);
    /* Add to m sums each: g, and g times the distance of x from a mean. */
    void (*products[2])(double *sum, double *product, const char *g, intptr_t g_stride,
                        const char *x, intptr_t x_stride, intptr_t rows, intptr_t m,
                        const double *mean);
    /* (x - mean) scale + shift of rows of m elements; each has its own, or `shared` ones. */
    void (*apply[2])(char *out, intptr_t out_stride, const char *x, intptr_t x_stride,
                     intptr_t rows, intptr_t m, const void *mean, const void *scale,
                     const void *shift, int shared);
    /* g factor + (x - mean) scale + shift, likewise; of g alone where x is NULL. */
    void (*apply_backward[2])(char *dx, intptr_t dx_stride, const char *g, intptr_t g_stride,
                              const char *x, intptr_t x_stride, intptr_t rows, intptr_t m,
                              const void *factor, const void *mean, const void *scale,
                              const void *shift, int shared);
} Norms;

#endif
