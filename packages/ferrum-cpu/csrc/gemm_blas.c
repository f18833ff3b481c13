/* BLAS: OpenBLAS or MKL, loaded by name at run time and always called by the same road. It runs
   on the calling thread alone; FERRUM's own threads share the tiles of a product out. */
#define _GNU_SOURCE
#include "gemm.h"
#include "kernels.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

typedef void (*Sgemm)(int, int, int, int, int, int, float, const float *, int, const float *, int,
                      float, float *, int);
typedef void (*Dgemm)(int, int, int, int, int, int, double, const double *, int, const double *,
                      int, double, double *, int);
typedef void (*Sgemv)(int, int, int, int, float, const float *, int, const float *, int, float,
                      float *, int);
typedef void (*Dgemv)(int, int, int, int, double, const double *, int, const double *, int, double,
                      double *, int);

static struct {
    Sgemm sgemm;
    Dgemm dgemm;
    Sgemv sgemv;
    Dgemv dgemv;
    char *(*corename)(void);
} blas;

static void *symbol(void *library, const char *prefix, const char *name) {
    char full[128];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return dlsym(library, full);
}

const char *blas_load(const char *path, const char *prefix) {
    sigset_t all, before; /* not for the thread that OpenBLAS starts as it is loaded */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    void *library = dlopen(path, RTLD_LOCAL | RTLD_NOW);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!library)
        return dlerror();
    void (*set_threads)(int) = (void (*)(int))symbol(library, prefix, "openblas_set_num_threads");
    if (!set_threads)
        set_threads = (void (*)(int))symbol(library, prefix, "MKL_Set_Num_Threads");
    Sgemm sgemm = (Sgemm)symbol(library, prefix, "cblas_sgemm");
    Dgemm dgemm = (Dgemm)symbol(library, prefix, "cblas_dgemm");
    Sgemv sgemv = (Sgemv)symbol(library, prefix, "cblas_sgemv");
    Dgemv dgemv = (Dgemv)symbol(library, prefix, "cblas_dgemv");
    if (!sgemm || !dgemm || !sgemv || !dgemv)
        return "it has no cblas_sgemm, cblas_dgemm, cblas_sgemv and cblas_dgemv";
    if (set_threads)
        set_threads(1);
    blas.sgemm = sgemm;
    blas.dgemm = dgemm;
    blas.sgemv = sgemv;
    blas.dgemv = dgemv;
    blas.corename = (char *(*)(void))symbol(library, prefix, "openblas_get_corename");
    return NULL;
}

const char *blas_kernel(void) { return blas.corename ? blas.corename() : NULL; }

/* An axis of size 1 may have any stride, and then both may be 1. */
static int form_of(const Matrix *x) {
    int plain = x->column_stride == 1 && (x->rows == 1 || x->row_stride >= x->columns);
    return plain ? PLAIN : TRANSPOSED;
}

static int lead_of(const Matrix *x) {
    return (int)(form_of(x) == PLAIN ? larger(x->row_stride, x->columns)
                                     : larger(x->column_stride, x->rows));
}

void blas_product(int dtype, const Matrix *a, const Matrix *b, void *out, intptr_t lead, int more) {
    int m = (int)a->rows, n = (int)b->columns, k = (int)a->columns;
    if (dtype == F32)
        blas.sgemm(ROW_MAJOR, form_of(a), form_of(b), m, n, k, 1, (const float *)a->data,
                   lead_of(a), (const float *)b->data, lead_of(b), (float)more, out, (int)lead);
    else
        blas.dgemm(ROW_MAJOR, form_of(a), form_of(b), m, n, k, 1, (const double *)a->data,
                   lead_of(a), (const double *)b->data, lead_of(b), more, out, (int)lead);
}

/* y = x v, or xᵀ v, where v has k elements. What is in y is not read: 0 times NaN would be NaN. */
static void matrix_vector(int dtype, const Matrix *x, int form, const Matrix *v, intptr_t k,
                          intptr_t step, void *y, intptr_t y_step, intptr_t y_count) {
    int rows = (int)x->rows, columns = (int)x->columns, size = ITEMSIZE[dtype];
    if (x->column_stride != 1) { /* as its transpose, which is dense along rows */
        rows = (int)x->columns;
        columns = (int)x->rows;
        form = form == PLAIN ? TRANSPOSED : PLAIN;
    }
    for (intptr_t i = 0; i < y_count; i++)
        memset((char *)y + i * y_step * size, 0, (size_t)size);
    /* BLAS counts a vector of negative step from its other end. */
    const char *low = v->data + (step < 0 ? (k - 1) * step * size : 0);
    if (dtype == F32)
        blas.sgemv(ROW_MAJOR, form, rows, columns, 1, (const float *)x->data, lead_of(x),
                   (const float *)low, (int)step, 1, y, (int)y_step);
    else
        blas.dgemv(ROW_MAJOR, form, rows, columns, 1, (const double *)x->data, lead_of(x),
                   (const double *)low, (int)step, 1, y, (int)y_step);
}

void blas_vector(int dtype, const Matrix *a, const Matrix *b, void *out, intptr_t lead) {
    if (b->columns == 1)
        matrix_vector(dtype, a, PLAIN, b, a->columns, b->row_stride, out, lead, a->rows);
    else
        matrix_vector(dtype, b, TRANSPOSED, a, a->columns, a->column_stride, out, 1, b->columns);
}
