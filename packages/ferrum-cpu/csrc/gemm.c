/* Products of matrices: BLAS on tiles that the shapes alone decide, each by one thread, so that
   bits do not depend on how many threads there are. The library is loaded by name at run time
   (OpenBLAS or MKL), always by the same road. */
#define _GNU_SOURCE
#include "isa.h"
#include "kernels.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

typedef void (*Sgemm)(int, int, int, int, int, int, float, const float *, int, const float *, int,
                      float, float *, int);
typedef void (*Dgemm)(int, int, int, int, int, int, double, const double *, int, const double *,
                      int, double, double *, int);

static struct {
    Sgemm sgemm;
    Dgemm dgemm;
    char *(*corename)(void);
} blas;

static void *symbol(void *library, const char *prefix, const char *name) {
    char full[128];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return dlsym(library, full);
}

const char *blas_load(const char *path, const char *prefix) {
    void *library = dlopen(path, RTLD_LOCAL | RTLD_NOW);
    if (!library)
        return dlerror();
    void (*set_threads)(int) = (void (*)(int))symbol(library, prefix, "openblas_set_num_threads");
    if (!set_threads)
        set_threads = (void (*)(int))symbol(library, prefix, "MKL_Set_Num_Threads");
    Sgemm sgemm = (Sgemm)symbol(library, prefix, "cblas_sgemm");
    Dgemm dgemm = (Dgemm)symbol(library, prefix, "cblas_dgemm");
    if (!sgemm || !dgemm)
        return "it has no cblas_sgemm and cblas_dgemm";
    if (set_threads)
        set_threads(1);
    blas.sgemm = sgemm;
    blas.dgemm = dgemm;
    blas.corename = (char *(*)(void))symbol(library, prefix, "openblas_get_corename");
    return NULL;
}

const char *blas_kernel(void) { return blas.corename ? blas.corename() : NULL; }

/* ---- one product of two matrices */

/* A matrix of a stack: where it starts, and its strides in elements. */
typedef struct {
    const char *data;
    intptr_t rows, columns, row_stride, column_stride;
} Matrix;

/* Products smaller than this, in multiplications, are done by a plain loop: getting into BLAS
   costs more. */
#define SMALL 2048

#define PLAIN_PRODUCT(T, A) \
    static void product_##T(const Matrix *a, const Matrix *b, T *out) { \
        for (intptr_t i = 0; i < a->rows; i++, out += b->columns) { \
            const T *x = (const T *)a->data + i * a->row_stride; \
            for (intptr_t j = 0; j < b->columns; j++) \
                out[j] = 0; \
            for (intptr_t l = 0; l < a->columns; l++) { \
                const T *y = (const T *)b->data + l * b->row_stride; \
                A factor = (A)x[l * a->column_stride]; \
                if (b->column_stride == 1) \
                    for (intptr_t j = 0; j < b->columns; j++) \
                        out[j] = (T)((A)out[j] + factor * (A)y[j]); \
                else \
                    for (intptr_t j = 0; j < b->columns; j++) \
                        out[j] = (T)((A)out[j] + factor * (A)y[j * b->column_stride]); \
            } \
        } \
    }
PLAIN_PRODUCT(float, float)
PLAIN_PRODUCT(double, double)
PLAIN_PRODUCT(uint8_t, uint32_t)
PLAIN_PRODUCT(int8_t, uint32_t)
PLAIN_PRODUCT(int16_t, uint32_t)
PLAIN_PRODUCT(int32_t, uint32_t)
PLAIN_PRODUCT(int64_t, uint64_t)

static void product(int dtype, const Matrix *a, const Matrix *b, char *out) {
    switch (dtype) {
    case U8: product_uint8_t(a, b, (uint8_t *)out); break;
    case I8: product_int8_t(a, b, (int8_t *)out); break;
    case I16: product_int16_t(a, b, (int16_t *)out); break;
    case I32: product_int32_t(a, b, (int32_t *)out); break;
    case I64: product_int64_t(a, b, (int64_t *)out); break;
    case F32: product_float(a, b, (float *)out); break;
    default: product_double(a, b, (double *)out);
    }
}

/* ---- stacks of products */

typedef struct {
    int dtype, axes;
    const View *a, *b, *out;
    Matrix left, right;          /* of any matrix of the stack, but for where it starts */
    intptr_t tile_rows, tile_columns, tiles_down, tiles_across;
    int by_blas;
} Job;

/* Return where matrix `number` of a stack starts. */
static char *matrix_at(const Job *job, const View *stack, intptr_t number) {
    char *place = stack->data;
    for (int axis = job->axes - 3; axis >= 0; axis--) {
        intptr_t size = job->out->shape[axis], i = number % size;
        int own = axis - (job->axes - stack->axes);
        number /= size;
        if (own >= 0 && stack->shape[own] != 1)
            place += i * stack->strides[own];
    }
    return place;
}

static void one_tile(void *context, intptr_t number) {
    const Job *job = context;
    intptr_t tiles = job->tiles_down * job->tiles_across, stack = number / tiles;
    intptr_t down = number % tiles / job->tiles_across, across = number % job->tiles_across;
    intptr_t size = ITEMSIZE[job->dtype], columns = job->right.columns;
    intptr_t row = down * job->tile_rows, column = across * job->tile_columns;
    Matrix a = job->left, b = job->right;
    a.data = matrix_at(job, job->a, stack) + row * a.row_stride * size;
    b.data = matrix_at(job, job->b, stack) + column * b.column_stride * size;
    a.rows = smaller(job->tile_rows, a.rows - row);
    b.columns = smaller(job->tile_columns, b.columns - column);
    char *out = matrix_at(job, job->out, stack) + (row * columns + column) * size;
    if (!job->by_blas) {
        product(job->dtype, &a, &b, out);
        return;
    }
    int a_form = a.column_stride == 1 ? PLAIN : TRANSPOSED;
    int b_form = b.column_stride == 1 ? PLAIN : TRANSPOSED;
    int a_lead = (int)(a_form == PLAIN ? a.row_stride : a.column_stride);
    int b_lead = (int)(b_form == PLAIN ? b.row_stride : b.column_stride);
    int m = (int)a.rows, n = (int)b.columns, k = (int)a.columns;
    if (job->dtype == F32)
        blas.sgemm(ROW_MAJOR, a_form, b_form, m, n, k, 1, (const float *)a.data, a_lead,
                   (const float *)b.data, b_lead, 0, (float *)out, (int)columns);
    else
        blas.dgemm(ROW_MAJOR, a_form, b_form, m, n, k, 1, (const double *)a.data, a_lead,
                   (const double *)b.data, b_lead, 0, (double *)out, (int)columns);
}

static Matrix matrix_of(const View *stack) {
    intptr_t size = ITEMSIZE[stack->dtype];
    return (Matrix){NULL, stack->shape[stack->axes - 2], stack->shape[stack->axes - 1],
                    stack->strides[stack->axes - 2] / size, stack->strides[stack->axes - 1] / size};
}

/* Whether BLAS can read a matrix as it lies: dense along rows or columns. An axis of size 1 may
   have any stride, so it is given the one that fits. */
static int fits_blas(Matrix *x) {
    if (x->rows == 1)
        x->row_stride = larger(x->columns, 1);
    if (x->columns == 1)
        x->column_stride = x->row_stride == 1 ? x->rows : 1;
    return (x->column_stride == 1 && x->row_stride >= x->columns && x->row_stride <= INT_MAX) ||
           (x->row_stride == 1 && x->column_stride >= x->rows && x->column_stride <= INT_MAX);
}

/* Tiles of up to 256 x 512, halved while there are fewer than eight and they stay worth a call. */
static void choose_tiles(Job *job, intptr_t stacks) {
    intptr_t m = job->left.rows, n = job->right.columns, k = job->left.columns;
    job->tile_rows = smaller(m, 256);
    job->tile_columns = smaller(n, 512);
    for (;;) {
        job->tiles_down = (m + job->tile_rows - 1) / job->tile_rows;
        job->tiles_across = (n + job->tile_columns - 1) / job->tile_columns;
        intptr_t tiles = job->tiles_down * job->tiles_across * stacks;
        if (tiles >= 8 || job->tile_rows * job->tile_columns * k <= 1 << 19)
            break;
        intptr_t *side = job->tile_columns >= job->tile_rows ? &job->tile_columns : &job->tile_rows;
        *side = (*side / 2 + 15) / 16 * 16;
    }
}

/* Return a dense copy of a stack, in dtype, in memory of the pool. */
static int dense_copy(const View *x, int dtype, View *copy, intptr_t *strides) {
    intptr_t step = ITEMSIZE[dtype];
    for (int axis = x->axes - 1; axis >= 0; axis--) {
        strides[axis] = step;
        step *= x->shape[axis];
    }
    *copy = (View){pool_take((size_t)step), x->shape, strides, x->axes, dtype};
    return copy->data ? convert_view(x, copy) : NO_MEMORY;
}

static int narrow_matmul(const View *a, const View *b, const View *out) {
    intptr_t strides[3][MAX_AXES], step = ITEMSIZE[F32];
    View wide[3] = {{0}};
    for (int axis = out->axes - 1; axis >= 0; axis--) {
        strides[2][axis] = step;
        step *= out->shape[axis];
    }
    wide[2] = (View){pool_take((size_t)step), out->shape, strides[2], out->axes, F32};
    int code = wide[2].data ? dense_copy(a, F32, &wide[0], strides[0]) : NO_MEMORY;
    if (code == OK)
        code = dense_copy(b, F32, &wide[1], strides[1]);
    if (code == OK)
        code = matmul(&wide[0], &wide[1], &wide[2]);
    if (code == OK)
        code = convert_view(&wide[2], out);
    for (int i = 0; i < 3; i++)
        pool_give(wide[i].data);
    return code;
}

int matmul(const View *a, const View *b, const View *out) {
    Job job = {out->dtype, out->axes, a, b, out, matrix_of(a), matrix_of(b), 0, 0, 0, 0, 0};
    intptr_t stacks = 1, k = job.left.columns, strides[2][MAX_AXES];
    View dense_a = {0}, dense_b = {0};
    int code = OK;
    if (out->dtype == F16 || out->dtype == BF16)
        return narrow_matmul(a, b, out);
    for (int axis = 0; axis < out->axes - 2; axis++)
        stacks *= out->shape[axis];
    if (stacks * job.left.rows * job.right.columns == 0)
        return OK;
    if (k == 0) {
        memset(out->data, 0, (size_t)(count_of(out) * ITEMSIZE[out->dtype]));
        return OK;
    }
    job.by_blas = out->dtype >= F32 && blas.sgemm &&
                  job.left.rows * job.right.columns * k > SMALL && k <= INT_MAX &&
                  job.right.columns <= INT_MAX;
    if (job.by_blas && !fits_blas(&job.left)) {
        code = dense_copy(a, a->dtype, &dense_a, strides[0]);
        job.a = &dense_a;
        job.left = matrix_of(&dense_a);
        fits_blas(&job.left);
    }
    if (job.by_blas && code == OK && !fits_blas(&job.right)) {
        code = dense_copy(b, b->dtype, &dense_b, strides[1]);
        job.b = &dense_b;
        job.right = matrix_of(&dense_b);
        fits_blas(&job.right);
    }
    if (code == OK) {
        choose_tiles(&job, stacks);
        if (!job.by_blas) { /* the plain loop writes whole rows */
            job.tile_columns = job.right.columns;
            job.tiles_across = 1;
        }
        parallel(one_tile, &job, stacks * job.tiles_down * job.tiles_across);
    }
    pool_give(dense_a.data);
    pool_give(dense_b.data);
    return code;
}
