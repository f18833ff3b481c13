/* Pooling and its adjoints. A task takes some planes, each of which is computed by itself: bits do
   not depend on the number of threads. float16 and bfloat16 are computed as float32. */
#include "norms_common.h"
#include "pooling.h"

#include <limits.h>
#include <stdatomic.h>

/* About how many elements a task reads or writes. */
#define GRAIN 16384

typedef struct Job {
    Windows windows;
    Source from;          /* planes that are read */
    View to;              /* and written */
    Source at;            /* indices that are read */
    int64_t *index;       /* or written */
    int dtype, size;      /* that is computed in */
    intptr_t planes, read, written, each; /* how many, of how many elements, and in a task */
    int (*plane)(const struct Job *job, const void *x, void *out, intptr_t number, char *room);
    void (*whole)(const void *from, void *to, intptr_t planes, intptr_t n, double divisor);
    double divisor; /* of windows that are whole planes */
    intptr_t room;
    char *work;
    atomic_int code;
} Job;

/* ---- the windows */

/* Fill in the windows along an axis; `to` has room for three numbers for each position. */
static void fill_axis(Axis *axis, const int64_t *numbers, int padded, int32_t *to) {
    intptr_t kernel = numbers ? (intptr_t)numbers[0] : 1, n = axis->in;
    int32_t *first = to, *count = to + axis->out, *share = count + axis->out;
    axis->stride = numbers && kernel ? (intptr_t)numbers[1] : 1;
    axis->padding = numbers && kernel ? (intptr_t)numbers[2] : 0;
    axis->step = numbers && kernel ? (intptr_t)numbers[3] : 1;
    if (!kernel && axis->out && n % axis->out == 0) /* those that adapt are alike */
        kernel = axis->stride = n / axis->out;
    axis->kernel = kernel;
    axis->low = axis->high = axis->out;
    for (intptr_t o = 0; o < axis->out; o++) {
        intptr_t start, all = kernel, step = axis->step;
        if (kernel) {
            start = o * axis->stride - axis->padding;
        } else {
            start = o * n / axis->out;
            all = cut_in((o + 1) * n, axis->out) - start;
        }
        intptr_t before = start < 0 ? smaller((step - 1 - start) / step, all) : 0;
        intptr_t end = start < n ? smaller((n - 1 - start) / step + 1, all) : 0;
        intptr_t counted = n + axis->padding > start
                               ? smaller((n + axis->padding - 1 - start) / step + 1, all)
                               : 0;
        share[o] = (int32_t)(padded ? counted : end - before);
        first[o] = (int32_t)(start + before * step);
        count[o] = (int32_t)(end - before);
        if (kernel && count[o] == kernel) {
            axis->low = smaller(axis->low, o);
            axis->high = o + 1;
        }
        if (count[o] < 1) { /* the nearest element */
            first[o] = (int32_t)smaller(larger(start, 0), n - 1);
            count[o] = 1;
            share[o] = padded ? share[o] : 1;
        }
    }
    axis->low = smaller(axis->low, axis->high);
    axis->first = first;
    axis->count = count;
    axis->share = share;
}

/* Fill in the windows between planes of `in` and of `out`; OK, DECLINED or NO_MEMORY. */
static int set_windows(Job *job, const View *in, const View *out, int axes,
                       const int64_t *numbers, int padded, double divisor) {
    Windows *w = &job->windows;
    intptr_t positions = 0;
    w->divisor = divisor;
    w->most = 1;
    if (axes < 1 || axes > 3 || in->axes < axes || out->axes != in->axes ||
        !same_sizes(in->shape, out->shape, in->axes - axes))
        return DECLINED;
    for (int i = 0; i < 4 * axes; i++)
        if (numbers[i] < 0 || numbers[i] > INT_MAX || (i % 4 == 3 && !numbers[i] && numbers[i - 3]))
            return DECLINED;
    for (int i = 0; i < 3; i++) {
        int axis = in->axes - 3 + i, is = i >= 3 - axes;
        w->axis[i].in = is ? in->shape[axis] : 1;
        w->axis[i].out = is ? out->shape[axis] : 1;
        if (w->axis[i].in < 1 || w->axis[i].in > INT_MAX || w->axis[i].out > INT_MAX)
            return DECLINED;
        positions += w->axis[i].out;
    }
    if (!product_of(in->shape, in->axes - axes))
        return OK; /* no planes, so no tables: axes may be as long as they like */
    job->work = pool_take((size_t)positions * 3 * sizeof(int32_t) + 1);
    if (!job->work)
        return NO_MEMORY;
    int32_t *to = (int32_t *)job->work;
    for (int i = 0; i < 3; i++) {
        const int64_t *of_axis = i >= 3 - axes ? numbers + 4 * (i - (3 - axes)) : NULL;
        intptr_t most = 1;
        fill_axis(&w->axis[i], of_axis, padded, to);
        for (intptr_t o = 0; o < w->axis[i].out; o++)
            most = larger(most, w->axis[i].count[o]);
        if (i < 2)
            w->most *= most;
        to += 3 * w->axis[i].out;
    }
    return OK;
}

/* ---- planes */

static void *line_of(const Job *job, char *room) {
    return room + job->windows.most * (intptr_t)sizeof(intptr_t);
}

static int largest_plane(const Job *job, const void *x, void *out, intptr_t number, char *room) {
    isa->pooling.largest[job->dtype == F64](&job->windows, x, out,
                                            job->index + number * job->written, (intptr_t *)room);
    return OK;
}

static int mean_plane(const Job *job, const void *x, void *out, intptr_t number, char *room) {
    (void)number;
    if (job->whole) {
        job->whole(x, out, 1, job->read, job->divisor);
        return OK;
    }
    isa->pooling.mean[job->dtype == F64](&job->windows, x, out, (intptr_t *)room,
                                         line_of(job, room));
    return OK;
}

static int spread_plane(const Job *job, const void *g, void *out, intptr_t number, char *room) {
    (void)number;
    if (job->whole) {
        job->whole(g, out, 1, job->written, job->divisor);
        return OK;
    }
    memset(out, 0, (size_t)(job->written * job->size));
    isa->pooling.spread[job->dtype == F64](&job->windows, g, out, (intptr_t *)room,
                                           line_of(job, room));
    return OK;
}

#define SCATTER(T) \
    for (intptr_t i = 0; i < job->read; i++) { \
        int64_t at = index[i]; \
        if ((uint64_t)at >= (uint64_t)job->written) \
            return OUT_OF_RANGE; \
        ((T *)out)[at] += ((const T *)g)[i]; \
    }

static int scatter_plane(const Job *job, const void *g, void *out, intptr_t number, char *room) {
    const int64_t *index = (const int64_t *)room;
    if (is_direct(&job->at))
        index = (const int64_t *)job->at.view.data + number * job->read;
    else
        load_dense(&job->at, number * job->read, job->read, room, sizeof(int64_t));
    memset(out, 0, (size_t)(job->written * job->size));
    if (job->dtype == F64)
        SCATTER(double)
    else
        SCATTER(float)
    return OK;
}

/* Do some planes, through buffers where they are not dense or of another dtype. */
static void some_planes(void *context, intptr_t task) {
    Job *job = context;
    intptr_t end = smaller(job->planes, (task + 1) * job->each), size = job->size;
    int direct = is_direct(&job->from), narrow = job->to.dtype != job->dtype;
    intptr_t first = task * job->each;
    if (job->whole && direct && !narrow) {
        job->whole(job->from.view.data + first * job->read * size,
                   job->to.data + first * job->written * size, end - first,
                   larger(job->read, job->written), job->divisor);
        return;
    }
    size_t read = direct ? 0 : (size_t)(job->read * size + 8) & ~(size_t)7;
    size_t written = narrow ? (size_t)(job->written * size + 8) & ~(size_t)7 : 0;
    char *memory = pool_take(read + written + (size_t)job->room + 1);
    if (!memory) {
        atomic_store(&job->code, NO_MEMORY);
        return;
    }
    for (intptr_t number = first; number < end; number++) {
        const char *x = job->from.view.data + number * job->read * size;
        char *place = job->to.data + number * job->written * ITEMSIZE[job->to.dtype];
        char *out = narrow ? memory + read : place;
        if (!direct) {
            load_dense(&job->from, number * job->read, job->read, memory, (int)size);
            x = memory;
        }
        int code = job->plane(job, x, out, number, memory + read + written);
        if (code != OK) {
            atomic_store(&job->code, code);
            break;
        }
        if (narrow)
            isa->convert[job->dtype][job->to.dtype](place, out, job->written);
    }
    pool_give(memory);
}

/* Do all planes of `from`, and write those of `to`. */
static int run(Job *job, const View *from, int axes) {
    int lead = from->axes - axes;
    job->dtype = compute_of(from->dtype);
    job->size = ITEMSIZE[job->dtype];
    job->from = source_of(from, job->dtype);
    job->planes = product_of(from->shape, lead);
    job->read = product_of(from->shape + lead, axes);
    job->written = product_of(job->to.shape + lead, axes);
    if (job->read > INT_MAX || job->written > INT_MAX)
        return DECLINED;
    if (job->planes == 0 || job->written == 0)
        return OK;
    job->each = larger(1, GRAIN / larger(1, job->read + job->written));
    parallel(some_planes, job, cut_in(job->planes, job->each));
    return atomic_load(&job->code);
}

static int run_windows(Job *job, const View *from, int axes) {
    Windows *w = &job->windows;
    int whole = 1;
    double divisor = w->divisor;
    if (!job->work)
        return OK;
    for (int i = 0; i < 3; i++)
        whole &= w->axis[i].out == 1 && w->axis[i].count[0] == w->axis[i].in &&
                 w->axis[i].step == 1;
    if (whole && divisor == 0)
        divisor = (double)w->axis[0].share[0] * w->axis[1].share[0] * w->axis[2].share[0];
    job->divisor = divisor;
    if (whole && job->plane == mean_plane)
        job->whole = isa->pooling.total[from->dtype == F64];
    if (whole && job->plane == spread_plane)
        job->whole = isa->pooling.fill[from->dtype == F64];
    job->room = w->most * (intptr_t)sizeof(intptr_t) + w->axis[2].in * 8;
    int code = run(job, from, axes);
    pool_give(job->work);
    return code;
}

/* ---- what Python calls */

/* Whether a kernel may write an array: dense, and floats as those of `like`. */
static int is_free(const View *out, const View *like) {
    return out->dtype == like->dtype && compute_of(out->dtype) >= 0 && is_dense(out) &&
           is_aligned(out);
}

int max_pool(uintptr_t x_id, uintptr_t out_id, uintptr_t index_id, int axes,
             const int64_t *numbers) {
    Job job = {.plane = largest_plane};
    View x, index;
    if (!read_array(x_id, &x) || !read_array(out_id, &job.to) || !read_array(index_id, &index) ||
        !is_free(&job.to, &x) || index.dtype != I64 || !is_dense(&index) || !is_aligned(&index) ||
        !same_shape(&index, &job.to))
        return DECLINED;
    job.index = (int64_t *)index.data;
    int code = set_windows(&job, &x, &job.to, axes, numbers, 0, 0);
    return code == OK ? run_windows(&job, &x, axes) : code;
}

int max_pool_input(uintptr_t g_id, uintptr_t index_id, uintptr_t out_id, int axes) {
    Job job = {.plane = scatter_plane};
    View g, index;
    if (!read_array(g_id, &g) || !read_array(out_id, &job.to) || !read_array(index_id, &index) ||
        !is_free(&job.to, &g) || index.dtype != I64 || !same_shape(&index, &g) || axes < 1 ||
        g.axes < axes || job.to.axes != g.axes ||
        !same_sizes(g.shape, job.to.shape, g.axes - axes))
        return DECLINED;
    job.at = source_of(&index, I64);
    job.room = product_of(g.shape + g.axes - axes, axes) * (intptr_t)sizeof(int64_t);
    return run(&job, &g, axes);
}

int average_pool(uintptr_t x_id, uintptr_t out_id, int axes, const int64_t *numbers, int padded,
                 double divisor) {
    Job job = {.plane = mean_plane};
    View x;
    if (!read_array(x_id, &x) || !read_array(out_id, &job.to) || !is_free(&job.to, &x))
        return DECLINED;
    int code = set_windows(&job, &x, &job.to, axes, numbers, padded, divisor);
    return code == OK ? run_windows(&job, &x, axes) : code;
}

int average_pool_input(uintptr_t g_id, uintptr_t out_id, int axes, const int64_t *numbers,
                       int padded, double divisor) {
    Job job = {.plane = spread_plane};
    View g;
    if (!read_array(g_id, &g) || !read_array(out_id, &job.to) || !is_free(&job.to, &g))
        return DECLINED;
    int code = set_windows(&job, &job.to, &g, axes, numbers, padded, divisor);
    return code == OK ? run_windows(&job, &g, axes) : code;
}
