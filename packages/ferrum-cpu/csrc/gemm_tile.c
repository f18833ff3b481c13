/* One tile of a product: by a plain loop, by BLAS, and for narrow floats by way of float32. */
#include "gemm.h"
#include "isa.h"

#include <string.h>

/* Steps along k that narrow floats are converted for at a time. */
#define DEPTH 512

/* Add the bias to a row of rounded sums, by the loop and the roundings of the op `add`. */
static void add_row(int dtype, char *row, const char *bias, intptr_t n) {
    const Entry *add = &isa->elementwise[OP_add][dtype];
    float sums[TILE], addends[TILE];
    if (add->reads == dtype) {
        add->loop(row, (const void *[]){row, bias}, n);
        return;
    }
    for (intptr_t j = 0; j < n; j += TILE) {
        intptr_t count = smaller(n - j, TILE);
        isa->convert[dtype][F32](sums, row + j * 2, count);
        isa->convert[dtype][F32](addends, bias + j * 2, count);
        add->loop(sums, (const void *[]){sums, addends}, count);
        isa->convert[F32][dtype](row + j * 2, sums, count);
    }
}

void add_bias(int dtype, char *out, intptr_t lead, intptr_t rows, intptr_t columns,
                     const char *bias) {
    intptr_t size = ITEMSIZE[dtype], step = columns;
    char repeated[TILE * sizeof(double)];
    if (columns < 64 && lead == columns && rows > 1) { /* short rows, many at a time */
        step = smaller(TILE / columns, rows) * columns;
        for (intptr_t j = 0; j < step; j += columns)
            memcpy(repeated + j * size, bias, (size_t)(columns * size));
        bias = repeated;
        columns *= rows;
        rows = 1;
    }
    for (intptr_t i = 0; i < rows; i++)
        for (intptr_t j = 0; j < columns; j += step)
            add_row(dtype, out + (i * lead + j) * size, bias, smaller(step, columns - j));
}

/* Copy a block of a matrix of narrow floats as float32, dense along the axis that it is dense
   along itself; return the copy. No side is longer than NARROW_SMALL. */
static Matrix widened(int dtype, Matrix x, float *to) {
    uint16_t gathered[NARROW_SMALL];
    int turned = x.rows > 1 && x.row_stride == 1 && x.column_stride != 1;
    intptr_t lines = turned ? x.columns : x.rows, length = turned ? x.rows : x.columns;
    intptr_t line = turned ? x.column_stride : x.row_stride;
    intptr_t step = turned ? 1 : x.column_stride;
    for (intptr_t i = 0; i < lines; i++) {
        const uint16_t *from = (const uint16_t *)x.data + i * line;
        for (intptr_t j = 0; j < length && step != 1; j++)
            gathered[j] = from[j * step];
        isa->convert[dtype][F32](to + i * length, step == 1 ? from : gathered, length);
    }
    x.data = (const char *)to;
    x.row_stride = turned ? 1 : length;
    x.column_stride = turned ? length : 1;
    return x;
}

static void round_rows(int dtype, const MatrixTile *tile, const float *sums) {
    for (intptr_t i = 0; i < tile->a.rows; i++)
        isa->convert[F32][dtype](tile->out + i * tile->lead * 2, sums + i * tile->b.columns,
                                 tile->b.columns);
}

void keep_part_of_k(MatrixTile *tile, int size, intptr_t start, intptr_t count) {
    tile->a.data += start * tile->a.column_stride * size;
    tile->b.data += start * tile->b.row_stride * size;
    tile->a.columns = tile->b.rows = count;
}

static int narrow_tile(int dtype, const MatrixTile *tile) {
    intptr_t m = tile->a.rows, n = tile->b.columns, k = tile->a.columns, depth = smaller(k, DEPTH);
    float *sums = pool_take((size_t)(m * n + m * depth + n * depth) * sizeof(float));
    if (!sums)
        return NO_MEMORY;
    for (intptr_t start = 0; start < k; start += depth) {
        MatrixTile part = *tile;
        keep_part_of_k(&part, 2, start, smaller(depth, k - start));
        Matrix a = widened(dtype, part.a, sums + m * n);
        Matrix b = widened(dtype, part.b, sums + m * n + m * depth);
        blas_product(F32, &a, &b, sums, n, start > 0);
    }
    round_rows(dtype, tile, sums);
    pool_give(sums);
    return OK;
}

static void narrow_loop(int dtype, const MatrixTile *tile) {
    float a_copy[NARROW_SMALL], b_copy[NARROW_SMALL], sums[NARROW_SMALL];
    Matrix a = widened(dtype, tile->a, a_copy), b = widened(dtype, tile->b, b_copy);
    isa->product[F32](&a, &b, NULL, sums, b.columns);
    round_rows(dtype, tile, sums);
}

int compute_tile(int method, int dtype, const MatrixTile *tile) {
    int code = OK;
    switch (method) {
    case BY_LOOP:
        isa->product[dtype](&tile->a, &tile->b, tile->bias, tile->out, tile->lead);
        return OK;
    case BY_NARROW_LOOP: narrow_loop(dtype, tile); break;
    case BY_BLAS: blas_product(dtype, &tile->a, &tile->b, tile->out, tile->lead, 0); break;
    case BY_VECTOR: blas_vector(dtype, &tile->a, &tile->b, tile->out, tile->lead); break;
    case BY_NARROW: code = narrow_tile(dtype, tile); break;
    default: code = bf16_product(&tile->a, &tile->b, (uint16_t *)tile->out, tile->lead);
    }
    if (code == OK && tile->bias)
        add_bias(dtype, tile->out, tile->lead, tile->a.rows, tile->b.columns, tile->bias);
    return code;
}
