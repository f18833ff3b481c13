/* Sampling an image on a grid, and its gradients. For a run of places it is worked out which
   entries of a plane each is made of, and their weights; then every channel is sampled so. */
#include "elementwise.h"
#include "isa.h"
#include "sampling.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#define RUN 256   /* places */
#define MOST 16   /* taps of a place */
#define CHANNELS 8 /* of a task that adds to the image */

enum { BILINEAR, NEAREST, BICUBIC };
enum { ZEROS, BORDER, REFLECTION };

typedef struct {
    int dtype, mode, padding, aligned;
    intptr_t item, n, c, size[2], places, runs, parts;
    const char *x, *g, *grid;
    char *out;
} Job;

/* The taps of one place along an axis; at -1 there is none. */
#define AXIS(T) \
    typedef struct { \
        int32_t at[4]; \
        T weight[4], slope[4]; \
    } Axis_##T; \
    /* The taps of a run of places: [tap][place]. */ \
    typedef struct { \
        int32_t at[MOST * RUN]; \
        T weight[MOST * RUN], slope[2][MOST * RUN]; \
    } Taps_##T;

/* A position moved into the image, and its derivative. */
#define PADDED(T) \
    static void padded_##T(const Job *job, T *at, T *slope, T size) { \
        T u = *at; \
        if (job->padding == ZEROS) \
            return; \
        if (job->padding == REFLECTION) { \
            T low = job->aligned ? 0 : (T)-0.5, span = job->aligned ? size - 1 : size; \
            if (span == 0) { \
                *at = *slope = 0; \
                return; \
            } \
            int behind = u < low; \
            T far = behind ? low - u : u - low; \
            int back = (T)fmod(floor((double)(T)(far / span)), 2) != 0; \
            T rest = far < span ? far : (T)fmod((double)far, (double)span); \
            u = (back ? span - rest : rest) + low; \
            if (back != behind) \
                *slope = -*slope; \
        } \
        if (!(u > 0)) \
            u = *slope = 0; \
        else if (!(u < size - 1)) { \
            u = size - 1; \
            *slope = 0; \
        } \
        *at = u; \
    } \
    static int32_t place_##T(T at, T size) { \
        return at >= 0 && at <= size - 1 ? (int32_t)at : -1; \
    }

#define NEAR(x) (((a + 2) * (x) - (a + 3)) * (x) * (x) + 1)
#define FAR(x) (((a * (x) - 5 * a) * (x) + 8 * a) * (x) - 4 * a)
#define NEAR_SLOPE(x) ((3 * (a + 2) * (x) - 2 * (a + 3)) * (x))
#define FAR_SLOPE(x) ((3 * a * (x) - 10 * a) * (x) + 8 * a)

/* The taps of a coordinate x. */
#define ALONG(T) \
    static void along_##T(const Job *job, T x, T size, Axis_##T *axis) { \
        T slope = job->aligned ? (size - 1) / 2 : size / 2; \
        T u = job->aligned ? (x + 1) / 2 * (size - 1) : ((x + 1) * size - 1) / 2; \
        if (job->mode != BICUBIC) \
            padded_##T(job, &u, &slope, size); \
        if (job->mode == NEAREST) { \
            axis->at[0] = place_##T((T)rint((double)u), size); \
            axis->weight[0] = 1; \
            axis->slope[0] = 0; \
            return; \
        } \
        T first = (T)floor((double)u), t = u - first; \
        if (job->mode == BILINEAR) { \
            axis->at[0] = place_##T(first, size); \
            axis->at[1] = place_##T(first + 1, size); \
            axis->weight[0] = 1 - t; \
            axis->weight[1] = t; \
            axis->slope[0] = -slope; \
            axis->slope[1] = slope; \
            return; \
        } \
        const T a = (T)-0.75; \
        T s = 1 - t; \
        T weight[4] = {FAR(t + 1), NEAR(t), NEAR(s), FAR(s + 1)}; \
        T by_t[4] = {FAR_SLOPE(t + 1), NEAR_SLOPE(t), -NEAR_SLOPE(s), -FAR_SLOPE(s + 1)}; \
        for (int k = 0; k < 4; k++) { \
            T at = first + (T)(k - 1), unused = 0; \
            padded_##T(job, &at, &unused, size); \
            axis->at[k] = place_##T(at, size); \
            axis->weight[k] = weight[k]; \
            axis->slope[k] = by_t[k] * slope; \
        } \
    }

static int along_count(const Job *job) {
    return job->mode == NEAREST ? 1 : job->mode == BILINEAR ? 2 : 4;
}

/* The taps of places from `first` on, `count` of them, of an image. */
#define FIND(T) \
    static void find_##T(const Job *job, intptr_t image, intptr_t first, intptr_t count, \
                         Taps_##T *taps) { \
        const T *grid = (const T *)job->grid + (image * job->places + first) * 2; \
        int each = along_count(job); \
        for (intptr_t i = 0; i < count; i++) { \
            Axis_##T y, x; \
            along_##T(job, grid[2 * i + 1], (T)job->size[0], &y); \
            along_##T(job, grid[2 * i], (T)job->size[1], &x); \
            for (int k = 0; k < each * each; k++) { \
                int r = k / each, c = k % each; \
                intptr_t to = k * count + i; \
                int inside = y.at[r] >= 0 && x.at[c] >= 0; \
                taps->at[to] = inside ? (int32_t)(y.at[r] * job->size[1] + x.at[c]) : -1; \
                taps->weight[to] = y.weight[r] * x.weight[c]; \
                taps->slope[0][to] = y.weight[r] * x.slope[c]; \
                taps->slope[1][to] = x.weight[c] * y.slope[r]; \
            } \
        } \
    }

/* The samples of a run, of all channels. */
#define SAMPLE(T) \
    static void sample_##T(void *context, intptr_t i) { \
        const Job *job = context; \
        Taps_##T taps; \
        intptr_t image = i / job->runs, first = i % job->runs * RUN; \
        intptr_t count = smaller(RUN, job->places - first), area = job->size[0] * job->size[1]; \
        int each = along_count(job); \
        find_##T(job, image, first, count, &taps); \
        for (intptr_t plane = image * job->c; plane < (image + 1) * job->c; plane++) \
            isa->resizing.some[job->dtype == F64]((T *)job->out + plane * job->places + first, \
                                                  (const T *)job->x + plane * area, taps.at, \
                                                  taps.weight, each * each, count); \
    }

/* Add to some planes of an image what all places send there. */
#define ADD(T) \
    static void add_##T(void *context, intptr_t i) { \
        const Job *job = context; \
        Taps_##T taps; \
        intptr_t image = i / job->parts, low = i % job->parts * CHANNELS; \
        intptr_t high = smaller(job->c, low + CHANNELS), area = job->size[0] * job->size[1]; \
        int each = along_count(job) * along_count(job); \
        T *out = (T *)job->out + image * job->c * area; \
        memset(out + low * area, 0, (size_t)((high - low) * area) * sizeof(T)); \
        for (intptr_t first = 0; first < job->places; first += RUN) { \
            intptr_t count = smaller(RUN, job->places - first); \
            find_##T(job, image, first, count, &taps); \
            for (intptr_t c = low; c < high; c++) { \
                const T *g = (const T *)job->g + (image * job->c + c) * job->places + first; \
                T *plane = out + c * area; \
                for (int k = 0; k < each; k++) \
                    for (intptr_t p = k * count; p < (k + 1) * count; p++) \
                        if (taps.at[p] >= 0) \
                            plane[taps.at[p]] += g[p - k * count] * taps.weight[p]; \
            } \
        } \
    }

/* The gradient of the grid, of a run. */
#define SLOPES(T) \
    static void slopes_##T(void *context, intptr_t i) { \
        const Job *job = context; \
        Taps_##T taps; \
        T sums[MOST * RUN]; \
        intptr_t image = i / job->runs, first = i % job->runs * RUN; \
        intptr_t count = smaller(RUN, job->places - first), area = job->size[0] * job->size[1]; \
        int each = along_count(job) * along_count(job); \
        T *out = (T *)job->out + (image * job->places + first) * 2; \
        find_##T(job, image, first, count, &taps); \
        memset(sums, 0, (size_t)(each * count) * sizeof(T)); \
        for (intptr_t plane = image * job->c; plane < (image + 1) * job->c; plane++) { \
            const T *x = (const T *)job->x + plane * area; \
            const T *g = (const T *)job->g + plane * job->places + first; \
            for (int k = 0; k < each; k++) \
                isa->resizing.products[job->dtype == F64](sums + k * count, x, \
                                                          taps.at + k * count, g, count); \
        } \
        for (intptr_t p = 0; p < count; p++) { \
            T along[2] = {0, 0}; \
            for (int k = 0; k < each; k++) \
                if (taps.at[k * count + p] >= 0) \
                    for (int axis = 0; axis < 2; axis++) \
                        along[axis] += sums[k * count + p] * taps.slope[axis][k * count + p]; \
            out[2 * p] = along[0]; \
            out[2 * p + 1] = along[1]; \
        } \
    }

#define ALL(T) AXIS(T) PADDED(T) ALONG(T) FIND(T) SAMPLE(T) ADD(T) SLOPES(T)
ALL(float) ALL(double)

/* Whether these are an image, a grid and samples that go together; fill in the job. */
static int measure(Job *job, const View *x, const View *grid, const View *samples, int mode,
                   int padding, int aligned) {
    const View *all[] = {x, grid, samples};
    for (int k = 0; k < 3; k++)
        if (all[k]->axes != 4 || all[k]->dtype != x->dtype || !is_dense(all[k]) ||
            !is_aligned(all[k]))
            return 0;
    if ((x->dtype != F32 && x->dtype != F64) || mode < BILINEAR || mode > BICUBIC ||
        padding < ZEROS || padding > REFLECTION || grid->shape[3] != 2 ||
        x->shape[0] != grid->shape[0] || !same_sizes(x->shape, samples->shape, 2) ||
        !same_sizes(grid->shape + 1, samples->shape + 2, 2) || !x->shape[2] || !x->shape[3] ||
        x->shape[2] > INT_MAX / x->shape[3])
        return 0;
    *job = (Job){.dtype = x->dtype, .mode = mode, .padding = padding, .aligned = aligned};
    job->n = x->shape[0];
    job->c = x->shape[1];
    job->size[0] = x->shape[2];
    job->size[1] = x->shape[3];
    job->places = grid->shape[1] * grid->shape[2];
    job->runs = cut_in(job->places, RUN);
    job->parts = cut_in(job->c, CHANNELS);
    job->grid = grid->data;
    return 1;
}

static int run(Job *job, Task narrow, Task wide, intptr_t tasks) {
    parallel(job->dtype == F32 ? narrow : wide, job, tasks);
    return OK;
}

int grid_sample(uintptr_t x_id, uintptr_t grid_id, int mode, int padding, int aligned,
                uintptr_t out_id) {
    View x, grid, out;
    Job job;
    if (!read_array(x_id, &x) || !read_array(grid_id, &grid) || !read_array(out_id, &out) ||
        !measure(&job, &x, &grid, &out, mode, padding, aligned))
        return DECLINED;
    job.x = x.data;
    job.out = out.data;
    return run(&job, sample_float, sample_double, job.n * job.runs);
}

int grid_sample_input(uintptr_t g_id, uintptr_t grid_id, int mode, int padding, int aligned,
                      uintptr_t out_id) {
    View g, grid, out;
    Job job;
    if (!read_array(g_id, &g) || !read_array(grid_id, &grid) || !read_array(out_id, &out) ||
        !measure(&job, &out, &grid, &g, mode, padding, aligned))
        return DECLINED;
    job.g = g.data;
    job.out = out.data;
    return run(&job, add_float, add_double, job.n * job.parts);
}

int grid_sample_grid(uintptr_t g_id, uintptr_t x_id, uintptr_t grid_id, int mode, int padding,
                     int aligned, uintptr_t out_id) {
    View g, x, grid, out;
    Job job;
    if (!read_array(g_id, &g) || !read_array(x_id, &x) || !read_array(grid_id, &grid) ||
        !read_array(out_id, &out) || !measure(&job, &x, &grid, &g, mode, padding, aligned) ||
        !same_shape(&out, &grid) || out.dtype != x.dtype || !is_dense(&out) || !is_aligned(&out))
        return DECLINED;
    job.g = g.data;
    job.x = x.data;
    job.out = out.data;
    return run(&job, slopes_float, slopes_double, job.n * job.runs);
}
