/* Products of matrices: what their files share. */
#ifndef FERRUM_GEMM_H
#define FERRUM_GEMM_H

#include "base.h"

/* A matrix: where it starts, and its strides in elements. */
typedef struct {
    const char *data;
    intptr_t rows, columns, row_stride, column_stride;
} Matrix;

/* out = a b + bias, where `bias` is a dense row or NULL, and rows of `out` are `lead` apart. The
   bias is added to the rounded sum, as if by another op. `a` has at most LONGEST columns. */
typedef void (*Product)(const Matrix *a, const Matrix *b, const void *bias, void *out,
                        intptr_t lead);
#define LONGEST 512

/* out = a b by BLAS, which reads matrices that are dense along one axis; `more` adds to what is
   there. F32 and F64 only. */
void blas_product(int dtype, const Matrix *a, const Matrix *b, void *out, intptr_t lead, int more);
/* The same where the result has one row or one column. */
void blas_vector(int dtype, const Matrix *a, const Matrix *b, void *out, intptr_t lead);

/* out = a b of bfloat16 by vdpbf16ps; OK or NO_MEMORY. */
int bf16_runs(void);
int bf16_product(const Matrix *a, const Matrix *b, uint16_t *out, intptr_t lead);

/* How a product is computed: by a loop for few elements, and integers; by BLAS; where the result
   is a vector, by BLAS; for narrow floats by BLAS on float32, or by vdpbf16ps. */
enum { BY_LOOP, BY_NARROW_LOOP, BY_BLAS, BY_VECTOR, BY_NARROW, BY_BF16 };

/* The most elements of each matrix of BY_NARROW_LOOP. */
#define NARROW_SMALL 2048

/* One tile: its operands, and where it goes. */
typedef struct {
    Matrix a, b;
    char *out;
    intptr_t lead;
    const char *bias;
} MatrixTile;

/* Leave of a tile the columns of a, and the rows of b, from `start` on. */
void keep_part_of_k(MatrixTile *tile, int size, intptr_t start, intptr_t count);
/* Compute a tile; OK or NO_MEMORY. */
int compute_tile(int method, int dtype, const MatrixTile *tile);
/* Add a dense bias to rows that are `lead` apart, by the loop and the roundings of the op `add`. */
void add_bias(int dtype, char *out, intptr_t lead, intptr_t rows, intptr_t columns,
              const char *bias);

/* Products of the matrices of two stacks, into a dense stack; `bias`, a vector in any layout, is
   added to the rows if it is not NULL. */
int matmul(const View *a, const View *b, const View *bias, const View *out);

/* x (..., k) times the transposed `weight` (n, k), plus a bias or NULL, into a dense (..., n):
   bit by bit what matmul and add give. */
int linear(const View *x, const View *weight, const View *bias, const View *out);

#endif
