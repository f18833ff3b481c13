/* batch_norm, by the statistics of a batch or by others, and its gradient: x is (n, c, ...).

   x is seen as n samples of c planes. Where planes are short, a sample is a row of columns, and a
   unit of work is a block of columns of some samples; else it is a plane of some samples. A unit
   leaves two sums for each of its parts, the columns or the plane: for the statistics the mean and
   the squared distances from it, which it reads twice while they are near. Then the parts of a
   channel are joined in order. How all this is cut depends on the shape alone. */
#include "norms_units.h"
#include "norms.h"

#include <math.h>

/* ---- all units */

static void task(void *context, intptr_t i) {
    Batch *b = context;
    intptr_t end = smaller(b->chunks * b->blocks, (i + 1) * b->each);
    for (intptr_t unit = i * b->each; unit < end; unit++)
        if (!b->unit(b, unit / b->blocks, unit % b->blocks))
            atomic_store(&b->failed, 1);
}

/* Run a kind of unit all over x; return whether there was memory for it. */
static int everywhere(Batch *b, Unit unit) {
    intptr_t tasks = (b->chunks * b->blocks + b->each - 1) / b->each;
    b->unit = unit;
    parallel(task, b, tasks);
    return !atomic_load(&b->failed);
}

/* Cut x into units, and take what memory there must be. */
static int prepare(Batch *b, const View *x) {
    b->compute = compute_of(x->dtype);
    b->size = ITEMSIZE[b->compute];
    b->x = source_of(x, b->compute);
    b->n = x->shape[0];
    b->c = x->shape[1];
    b->l = 1;
    for (int axis = 2; axis < x->axes; axis++)
        b->l *= x->shape[axis];
    b->row = b->c * b->l;
    b->short_planes = b->l < SHORT;
    b->parts = b->short_planes ? b->row : b->c;
    b->width = b->short_planes ? smaller(larger(b->row, 1), WIDTH) : b->l;
    b->blocks = b->short_planes ? (b->row + b->width - 1) / b->width : b->c;
    b->chunk = larger(1, GRAIN / larger(b->width, 1));
    b->chunks = b->l ? (b->n + b->chunk - 1) / b->chunk : 0;
    b->each = larger(1, GRAIN / larger(1, smaller(b->chunk, b->n) * b->width));
    intptr_t sums = b->chunks * b->parts;
    size_t doubles = (size_t)(2 * sums + 4 * b->c + b->parts);
    b->work = pool_take(doubles * sizeof(double) + (size_t)(4 * b->parts * b->size) + 1);
    if (!b->work)
        return 0;
    b->first = (double *)b->work;
    b->second = b->first + sums;
    b->mean = b->second + sums;
    b->var = b->mean + b->c;
    b->sum = b->var + b->c;
    b->product = b->sum + b->c;
    b->center = b->product + b->c;
    for (int k = 0; k < 4; k++)
        b->coefficient[k] = (char *)(b->center + b->parts) + k * b->parts * b->size;
    return 1;
}

/* Add up what the units left for each channel, in order. */
static void join_products(Batch *b) {
    intptr_t each = b->short_planes ? b->l : 1;
    for (intptr_t c = 0; c < b->c; c++) {
        double sum = 0, product = 0;
        for (intptr_t chunk = 0; chunk < b->chunks; chunk++)
            for (intptr_t part = c * each; part < (c + 1) * each; part++) {
                sum += b->first[chunk * b->parts + part];
                product += b->second[chunk * b->parts + part];
            }
        b->sum[c] = sum;
        b->product[c] = product;
    }
}

/* Join the means and squared distances: those from the means of units, and those of these means. */
static void join_statistics(Batch *b) {
    intptr_t each = b->short_planes ? b->l : 1;
    double count = (double)(b->n * b->l), plane = b->short_planes ? 1 : (double)b->l;
    for (intptr_t c = 0; c < b->c; c++) {
        double mean = 0, square = 0;
        for (intptr_t chunk = 0; chunk < b->chunks; chunk++)
            for (intptr_t part = c * each; part < (c + 1) * each; part++)
                mean += b->first[chunk * b->parts + part] * ((double)rows_of(b, chunk) * plane);
        mean /= count;
        for (intptr_t chunk = 0; chunk < b->chunks; chunk++)
            for (intptr_t part = c * each; part < (c + 1) * each; part++) {
                double d = b->first[chunk * b->parts + part] - mean;
                square += b->second[chunk * b->parts + part] +
                          d * d * ((double)rows_of(b, chunk) * plane);
            }
        square /= count;
        b->mean[c] = mean;
        b->var[c] = square < 0 ? 0 : square;
    }
}

/* ---- what is the same in a channel */

static double number_of(const Batch *b, int k, intptr_t c) {
    double value;
    isa->convert[b->compute][F64](&value, b->coefficient[k] + c * b->size, 1);
    return value;
}

static void set(Batch *b, int k, intptr_t c, double value) {
    intptr_t each = b->short_planes ? b->l : 1;
    for (intptr_t part = c * each; part < (c + 1) * each; part++)
        isa->convert[F64][b->compute](b->coefficient[k] + part * b->size, &value, 1);
}

/* Set the mean of a channel, as a number of the loop's dtype, and return what that lacks. */
static double set_mean(Batch *b, intptr_t c) {
    intptr_t each = b->short_planes ? b->l : 1;
    if (!each)
        return 0;
    set(b, 0, c, b->mean[c]);
    return b->mean[c] - number_of(b, 0, c * each);
}

/* Read channels of a parameter, or `other` where there is none. */
static void read_channels(const View *x, intptr_t n, double other, double *to) {
    if (x) {
        Source source = source_of(x, F64);
        load_dense(&source, 0, n, (char *)to, sizeof(double));
        return;
    }
    for (intptr_t i = 0; i < n; i++)
        to[i] = other;
}

/* Set the coefficients of the result: b->sum and b->product hold weight and bias. */
static void set_result(Batch *b, double eps) {
    for (intptr_t c = 0; c < b->c; c++) {
        double scale = b->sum[c] / sqrt(b->var[c] + eps), rest = set_mean(b, c);
        set(b, 1, c, scale);
        set(b, 2, c, b->product[c] - rest * scale);
    }
}

/* ---- what Python calls */

static int is_channels(const View *x, const View *like) {
    return x->dtype >= F16 && x->axes == 1 && x->shape[0] == like->shape[1];
}

/* Read x and a result that is like it. */
static int read_batch(uintptr_t x_id, uintptr_t out_id, View *x, View *out) {
    return read_array(x_id, x) && read_array(out_id, out) && compute_of(x->dtype) >= 0 &&
           x->axes >= 2 && is_result(out, x);
}

/* Read a parameter that may be missing; return whether it fits x. */
static int read_parameter(uintptr_t id, const View *x, View *parameter) {
    return !id || (read_array(id, parameter) && is_parameter(parameter, 1, x->shape + 1, x->dtype));
}

static int is_vector(const View *x, const View *like, int dtype) {
    return is_channels(x, like) && x->dtype == dtype && is_dense(x) && is_aligned(x);
}

int batch_norm(uintptr_t x_id, uintptr_t weight_id, uintptr_t bias_id, uintptr_t out_id,
               uintptr_t mean_id, uintptr_t var_id, double eps) {
    Batch b = {.training = 1};
    View x, weight, bias, mean, var;
    if (!read_batch(x_id, out_id, &x, &b.out) || !read_parameter(weight_id, &x, &weight) ||
        !read_parameter(bias_id, &x, &bias) || !read_array(mean_id, &mean) ||
        !read_array(var_id, &var) || !is_vector(&mean, &x, F64) || !is_vector(&var, &x, F64))
        return DECLINED;
    if (!prepare(&b, &x))
        return NO_MEMORY;
    int done = everywhere(&b, statistics_unit);
    if (done) {
        join_statistics(&b);
        memcpy(mean.data, b.mean, (size_t)b.c * sizeof(double));
        memcpy(var.data, b.var, (size_t)b.c * sizeof(double));
        read_channels(weight_id ? &weight : NULL, b.c, 1, b.sum);
        read_channels(bias_id ? &bias : NULL, b.c, 0, b.product);
        set_result(&b, eps);
        done = everywhere(&b, apply_unit);
    }
    pool_give(b.work);
    return done ? OK : NO_MEMORY;
}

int batch_norm_eval(uintptr_t x_id, uintptr_t mean_id, uintptr_t var_id, uintptr_t weight_id,
                    uintptr_t bias_id, uintptr_t out_id, double eps) {
    Batch b = {.training = 0};
    View x, weight, bias, mean, var;
    if (!read_batch(x_id, out_id, &x, &b.out) || !read_parameter(weight_id, &x, &weight) ||
        !read_parameter(bias_id, &x, &bias) || !read_array(mean_id, &mean) ||
        !read_array(var_id, &var) || !is_channels(&mean, &x) || !is_channels(&var, &x))
        return DECLINED;
    if (count_of(&x) == 0)
        return OK; /* the others may be numbers that are repeated more often than memory holds */
    if (!prepare(&b, &x))
        return NO_MEMORY;
    read_channels(&mean, b.c, 0, b.mean);
    read_channels(&var, b.c, 0, b.var);
    read_channels(weight_id ? &weight : NULL, b.c, 1, b.sum);
    read_channels(bias_id ? &bias : NULL, b.c, 0, b.product);
    set_result(&b, eps);
    int done = everywhere(&b, apply_unit);
    pool_give(b.work);
    return done ? OK : NO_MEMORY;
}

/* Set the factors of g: weight over the root of the variance. b->sum holds the weight. */
static void set_factors(Batch *b, double eps) {
    for (intptr_t c = 0; c < b->c; c++)
        set(b, 3, c, b->sum[c] / sqrt(b->var[c] + eps));
}

/* Write the gradients of weight and bias, and set what else that of x is made with in training. */
static void set_gradient(Batch *b, double eps, const View *weight, const View *dweight,
                         const View *dbias) {
    double count = (double)(b->n * b->l), weighs = 1;
    Source source = {.in_place = 0};
    if (weight)
        source = source_of(weight, F64);
    for (intptr_t c = 0; c < b->c; c++) {
        double scale = 1 / sqrt(b->var[c] + eps);
        double by_weight = count > 0 ? b->product[c] * scale : 0;
        if (b->training) {
            if (weight)
                load_dense(&source, c, 1, (char *)&weighs, sizeof(double));
            double rest = set_mean(b, c), factor = scale * weighs;
            double slope = -factor * scale * (by_weight / count);
            set(b, 1, c, slope);
            set(b, 2, c, -factor * (b->sum[c] / count) - slope * rest);
        }
        b->product[c] = by_weight;
    }
    isa->convert[F64][dweight->dtype](dweight->data, b->product, b->c);
    isa->convert[F64][dbias->dtype](dbias->data, b->sum, b->c);
}

int batch_norm_backward(uintptr_t g_id, uintptr_t x_id, uintptr_t mean_id, uintptr_t var_id,
                        uintptr_t weight_id, uintptr_t dx_id, uintptr_t dweight_id,
                        uintptr_t dbias_id, double eps, int training) {
    Batch b = {.training = training != 0};
    View g, x, mean, var, weight, dweight, dbias;
    if (!read_batch(x_id, dx_id, &x, &b.out) || !read_array(g_id, &g) || g.dtype != x.dtype ||
        !same_shape(&g, &x) || !read_parameter(weight_id, &x, &weight) ||
        !read_array(mean_id, &mean) || !read_array(var_id, &var) || !is_channels(&mean, &x) ||
        !is_channels(&var, &x) || !read_array(dweight_id, &dweight) || !read_array(dbias_id, &dbias))
        return DECLINED;
    int dtype = weight_id ? weight.dtype : x.dtype;
    if (!is_vector(&dweight, &x, dtype) || !is_vector(&dbias, &x, dtype))
        return DECLINED;
    if (!prepare(&b, &x))
        return NO_MEMORY;
    b.g = source_of(&g, b.compute);
    read_channels(&mean, b.c, 0, b.mean);
    read_channels(&var, b.c, 0, b.var);
    for (intptr_t part = 0; part < b.parts; part++)
        b.center[part] = b.mean[b.short_planes ? part / b.l : part];
    read_channels(weight_id ? &weight : NULL, b.c, 1, b.sum);
    set_factors(&b, eps);
    int done = everywhere(&b, b.training ? products_unit : both_unit);
    if (done) {
        join_products(&b);
        set_gradient(&b, eps, weight_id ? &weight : NULL, &dweight, &dbias);
        done = !b.training || everywhere(&b, backward_unit);
    }
    pool_give(b.work);
    return done ? OK : NO_MEMORY;
}
