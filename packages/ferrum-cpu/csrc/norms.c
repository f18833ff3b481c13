/* layer_norm and rms_norm: rows of the last axes, each normalised while it is in cache.

   Tasks are runs of rows, and blocks of rows that are not as a loop reads them are brought into
   scratch first. In the gradient a task adds up its own sums for weight and bias, which are added
   in order at last. How rows are cut depends on the shape alone. */
#include "norms_common.h"
#include "norms.h"

#include <stdatomic.h>

/* Elements of a task at least, those of a block of rows, and the tasks of a gradient at most. */
#define GRAIN 16384
#define BLOCK 4096
#define TASKS 64

typedef struct {
    Source x, g;
    View out;
    const char *weight, *bias;
    char *parameters; /* what holds those of them that had to be converted */
    double *sums;     /* for each task, of weight and of bias */
    double eps;
    intptr_t rows, n, each, block;
    int compute, size, centred, backward;
    atomic_int failed;
} Rows;

static void task(void *context, intptr_t i) {
    Rows *all = context;
    int size = all->size, wide = all->compute == F64, narrow = ITEMSIZE[all->out.dtype] == 2;
    intptr_t n = all->n, end = smaller(all->rows, (i + 1) * all->each);
    int wanted = !is_direct(&all->x) + (all->backward && !is_direct(&all->g)) + narrow;
    intptr_t bytes = smaller(all->block, all->each) * n * size;
    char *scratch = wanted ? pool_take((size_t)(wanted * bytes)) : NULL;
    if (wanted && !scratch) {
        atomic_store(&all->failed, 1);
        return;
    }
    double *dweight = all->backward ? all->sums + 2 * i * n : NULL;
    double *dbias = all->backward ? dweight + n : NULL;
    for (intptr_t j = 0; all->backward && j < 2 * n; j++)
        dweight[j] = 0;
    for (intptr_t r = i * all->each, rows; r < end; r += rows) {
        char *free = scratch;
        rows = smaller(all->block, end - r);
        const char *in[2] = {NULL, NULL};
        for (int k = 0; k <= all->backward; k++) {
            const Source *x = k ? &all->g : &all->x;
            if (is_direct(x)) {
                in[k] = x->view.data + r * n * size;
                continue;
            }
            load_dense(x, r * n, rows * n, free, size);
            in[k] = free;
            free += bytes;
        }
        char *to = all->out.data + r * n * ITEMSIZE[all->out.dtype];
        char *made = narrow ? free : to;
        if (all->backward)
            isa->norms.rows_backward[wide](made, in[1], in[0], rows, n, all->weight, all->eps,
                                           all->centred, dweight, dbias);
        else
            isa->norms.rows[wide](made, in[0], rows, n, all->weight, all->bias, all->eps,
                                  all->centred);
        if (narrow)
            isa->convert[all->compute][all->out.dtype](to, made, rows * n);
    }
    pool_give(scratch);
}

/* Read what both directions have; return OK, DECLINED or NO_MEMORY. */
static int prepare(Rows *all, uintptr_t x_id, uintptr_t weight_id, uintptr_t bias_id,
                   uintptr_t out_id, int last) {
    View x, weight, bias;
    if (!read_array(x_id, &x) || !read_array(out_id, &all->out) || last < 1 || last > x.axes)
        return DECLINED;
    const intptr_t *shape = x.shape + (x.axes - last);
    all->compute = compute_of(x.dtype);
    if (all->compute < 0 || !is_result(&all->out, &x) ||
        (weight_id &&
         (!read_array(weight_id, &weight) || !is_parameter(&weight, last, shape, x.dtype))) ||
        (bias_id && (!read_array(bias_id, &bias) || !is_parameter(&bias, last, shape, x.dtype))))
        return DECLINED;
    all->x = source_of(&x, all->compute);
    all->size = ITEMSIZE[all->compute];
    all->n = all->rows = 1;
    for (int axis = 0; axis < x.axes; axis++)
        *(axis < x.axes - last ? &all->rows : &all->n) *= x.shape[axis];
    if (!all->backward && count_of(&x) == 0)
        return OK; /* a weight may be a number that is repeated more often than memory holds */
    all->block = larger(4, BLOCK / larger(all->n, 1) / 4 * 4);
    Source of_weight = {.in_place = 0}, of_bias = of_weight;
    if (weight_id)
        of_weight = source_of(&weight, all->compute);
    if (bias_id)
        of_bias = source_of(&bias, all->compute);
    int wanted = (weight_id && !is_direct(&of_weight)) + (bias_id && !is_direct(&of_bias));
    if (wanted && !(all->parameters = pool_take((size_t)(2 * all->n * all->size + 1))))
        return NO_MEMORY;
    if (weight_id) {
        all->weight = is_direct(&of_weight) ? weight.data : all->parameters;
        if (!is_direct(&of_weight))
            load_dense(&of_weight, 0, all->n, all->parameters, all->size);
    }
    if (bias_id) {
        char *there = all->parameters ? all->parameters + all->n * all->size : NULL;
        all->bias = is_direct(&of_bias) ? bias.data : there;
        if (!is_direct(&of_bias))
            load_dense(&of_bias, 0, all->n, there, all->size);
    }
    return OK;
}

static int run(Rows *all) {
    intptr_t tasks = (all->rows + all->each - 1) / all->each;
    if (all->n == 0)
        tasks = 0;
    parallel(task, all, tasks);
    return atomic_load(&all->failed) ? NO_MEMORY : OK;
}

int row_norm(int centred, uintptr_t x, uintptr_t weight, uintptr_t bias, uintptr_t out, int last,
             double eps) {
    Rows all = {.eps = eps, .centred = centred != 0};
    int code = prepare(&all, x, weight, bias, out, last);
    if (code == OK) {
        all.each = larger(1, GRAIN / larger(all.n, 1));
        code = run(&all);
    }
    pool_give(all.parameters);
    return code;
}

/* Add the tasks' sums, and write them to what is one row. */
static void write_sums(const Rows *all, intptr_t tasks, int of_bias, const View *out) {
    double *to = all->sums + of_bias * all->n;
    for (intptr_t i = 1; i < tasks; i++)
        for (intptr_t j = 0; j < all->n; j++)
            to[j] += to[2 * i * all->n + j];
    if (tasks)
        isa->convert[F64][out->dtype](out->data, to, all->n);
    else
        memset(out->data, 0, (size_t)(all->n * ITEMSIZE[out->dtype]));
}

int row_norm_backward(int centred, uintptr_t g_id, uintptr_t x_id, uintptr_t weight_id,
                      uintptr_t dx_id, uintptr_t dweight_id, uintptr_t dbias_id, int last,
                      double eps) {
    Rows all = {.eps = eps, .centred = centred != 0, .backward = 1};
    View g, x, weight, dweight, dbias;
    if (!read_array(x_id, &x) || !read_array(g_id, &g) || g.dtype != x.dtype ||
        !same_shape(&g, &x) || last < 1 || last > x.axes || !read_array(dweight_id, &dweight) ||
        (dbias_id != 0) != (centred != 0) || (dbias_id && !read_array(dbias_id, &dbias)))
        return DECLINED;
    View parameter = {.shape = x.shape + (x.axes - last), .axes = last, .dtype = x.dtype};
    if (weight_id) {
        if (!read_array(weight_id, &weight))
            return DECLINED;
        parameter.dtype = weight.dtype;
    }
    if (!is_result(&dweight, &parameter) || (dbias_id && !is_result(&dbias, &parameter)))
        return DECLINED;
    int code = prepare(&all, x_id, weight_id, 0, dx_id, last);
    if (code == OK) {
        all.g = source_of(&g, all.compute);
        all.each = larger((all.rows + TASKS - 1) / TASKS, GRAIN / larger(all.n, 1));
        all.each = larger(4, (all.each + 3) / 4 * 4);
        intptr_t tasks = (all.rows + all.each - 1) / all.each;
        all.sums = pool_take((size_t)(2 * tasks * all.n + 1) * sizeof(double));
        code = all.sums ? run(&all) : NO_MEMORY;
        if (code == OK) {
            write_sums(&all, tasks, 0, &dweight);
            if (dbias_id)
                write_sums(&all, tasks, 1, &dbias);
        }
        pool_give(all.sums);
    }
    pool_give(all.parameters);
    return code;
}
