/* Depthwise convolution: each channel has kernels of its own, so there is no product of matrices.

   A plane is laid out with zeros around it, and for a stride s as s x s planes of every s-th row
   and column. Then each place in the kernel, a tap, reads the whole plane at an offset: a plane is
   one vector, with a few columns in it that nobody needs. The gradient of the input is the same
   over the outer tensor, for each of these planes with the taps that fall on it. */
#include "convolution_job.h"
#include "isa.h"

#include <string.h>

/* Elements after a plane that a vector may read. */
#define SLACK 64
#define MOST_TAPS 1024
/* About how many elements a task computes. */
#define GRAIN 16384

int is_depthwise(const Job *job) {
    return job->inner == 1 && job->in[0] == 1 && job->out[0] == 1 && job->kernel[0] == 1 &&
           job->padding[0] == 0 && job->padding[1] >= 0 && job->padding[2] >= 0 && job->places > 0 && job->places * job->outer <= MOST_TAPS;
}

/* How planes are laid out: rows of `width` elements; `height` of them, and `plane` elements to
   one of the phases of stride[0] x stride[1]. Element (y, x) of what is laid out goes to
   (y + before[0], x + before[1]). */
typedef struct {
    intptr_t height, width, plane, stride[2], before[2];
} Layout;

static Layout layout_of(intptr_t height, intptr_t width, intptr_t s0, intptr_t s1, intptr_t b0,
                        intptr_t b1) {
    return (Layout){height, width, height * width + width + SLACK, {s0, s1}, {b0, b1}};
}

static intptr_t elements_of(const Layout *to) { return to->plane * to->stride[0] * to->stride[1]; }

/* Lay out a plane of rows x columns, between zeros that are there. */
static void lay_out(const Layout *to, const char *from, intptr_t rows, intptr_t columns,
                    intptr_t size, char *out) {
    intptr_t s = to->stride[1], b = to->before[1];
    for (intptr_t y = 0; y < rows; y++) {
        intptr_t row = y + to->before[0], phase = row % to->stride[0] * s;
        if (row < 0 || row / to->stride[0] >= to->height)
            continue;
        for (intptr_t k = 0; k < s; k++) {
            /* the first column of this phase, and how many follow */
            intptr_t x = ((k - b) % s + s) % s, place = (x + b) / s;
            if (x + b < 0) {
                intptr_t skip = -(x + b) / s;
                x += skip * s;
                place = (x + b) / s;
            }
            intptr_t n = x < columns ? smaller((columns - 1 - x) / s + 1, to->width - place) : 0;
            char *line = out + ((phase + k) * to->plane + row / to->stride[0] * to->width + place) *
                                   size;
            const char *source = from + (y * columns + x) * size;
            if (n <= 0)
                continue;
            if (s == 1)
                memcpy(line, source, (size_t)(n * size));
            else if (size == 4)
                for (intptr_t i = 0; i < n; i++)
                    ((uint32_t *)line)[i] = ((const uint32_t *)source)[i * s];
            else
                for (intptr_t i = 0; i < n; i++)
                    ((uint64_t *)line)[i] = ((const uint64_t *)source)[i * s];
        }
    }
}

/* How far behind the first tap the last one reads, in rows or columns of a phase. */
static intptr_t span(const Job *job, int axis) {
    return (job->kernel[axis] - 1) * job->dilation[axis] / job->stride[axis];
}

/* The inner tensor as taps read it. */
static Layout inner_layout(const Job *job) {
    return layout_of(job->out[1] + span(job, 1), job->out[2] + span(job, 2), job->stride[1],
                     job->stride[2], job->padding[1], job->padding[2]);
}

static void inner_offsets(const Job *job, const Layout *layout, intptr_t *offsets) {
    for (intptr_t k = 0; k < job->places; k++) {
        intptr_t y = k / job->kernel[2] * job->dilation[1], s = job->stride[1];
        intptr_t x = k % job->kernel[2] * job->dilation[2], t = job->stride[2];
        offsets[k] = (y % s * t + x % t) * layout->plane + y / s * layout->width + x / t;
    }
}

static double bias_of(const Job *job, intptr_t channel) {
    if (!job->bias)
        return 0;
    return job->dtype == F32 ? (double)((const float *)job->bias)[channel]
                             : ((const double *)job->bias)[channel];
}

/* Take memory for a task, and set what planes are laid out in to zeros. */
static char *room(Job *job, intptr_t elements, intptr_t more) {
    char *memory = pool_take((size_t)((elements + more + SLACK) * job->size));
    if (memory)
        memset(memory, 0, (size_t)(elements * job->size));
    else
        atomic_store(&job->code, NO_MEMORY);
    return memory;
}

/* Run a task for each few planes, of so many elements, of `count`. */
static int run_planes(Job *job, Task task, intptr_t count, intptr_t elements) {
    job->tile = larger(1, smaller(GRAIN / larger(1, elements), cut_in(count, 16)));
    job->tiles = count;
    return run_convolution(job, task, cut_in(count, job->tile));
}

static void outer_plane(const Job *job, intptr_t number, const Layout *layout,
                        const intptr_t *offsets, char *planes) {
    intptr_t size = job->size, n = job->out[1] * layout->width;
    char *sums = planes + elements_of(layout) * size;
    lay_out(layout, job->x + number * job->volume * size, job->in[1], job->in[2], size, planes);
    for (intptr_t i = 0; i < job->outer; i++) {
        intptr_t o = number % job->groups * job->outer + i;
        char *out = job->result + (number * job->outer + i) * job->positions * size;
        isa->depthwise.taps[job->dtype == F64](sums, planes, offsets,
                                               job->weight + o * job->places * size, job->places,
                                               bias_of(job, o), n);
        for (intptr_t y = 0; y < job->out[1]; y++)
            memcpy(out + y * job->out[2] * size, sums + y * layout->width * size,
                   (size_t)(job->out[2] * size));
    }
}

static void outer_planes(void *context, intptr_t task) {
    Job *job = context;
    Layout layout = inner_layout(job);
    intptr_t offsets[MOST_TAPS], end = smaller(job->tiles, (task + 1) * job->tile);
    char *planes = room(job, elements_of(&layout), job->out[1] * layout.width);
    if (!planes)
        return;
    inner_offsets(job, &layout, offsets);
    for (intptr_t number = task * job->tile; number < end; number++)
        outer_plane(job, number, &layout, offsets, planes);
    pool_give(planes);
}

int run_depthwise_outer(Job *job) {
    intptr_t count = job->batch * job->groups;
    return job->positions ? run_planes(job, outer_planes, count, job->positions * job->outer) : OK;
}

/* ---- the inner tensor */

/* Add the taps of one phase: where they read the outer planes, and their weights. */
static intptr_t taps_of(const Job *job, intptr_t group, intptr_t row, intptr_t column,
                        const Layout *layout, intptr_t *offsets, char *weights) {
    intptr_t found = 0, size = job->size;
    for (intptr_t i = 0; i < job->outer; i++)
        for (intptr_t k = 0; k < job->places; k++) {
            intptr_t y = k / job->kernel[2] * job->dilation[1] - row;
            intptr_t x = k % job->kernel[2] * job->dilation[2] - column;
            if (y % job->stride[1] || x % job->stride[2])
                continue;
            offsets[found] = i * layout->plane +
                (span(job, 1) - y / job->stride[1]) * layout->width + span(job, 2) -
                x / job->stride[2];
            memcpy(weights + found++ * size,
                   job->weight + ((group * job->outer + i) * job->places + k) * size, (size_t)size);
        }
    return found;
}

/* What a task about the inner tensor works with. */
typedef struct {
    Layout layout;
    intptr_t rows, wide; /* of a phase */
    char *planes, *sums, *weights;
} Inner;

/* Write a phase of an inner plane. */
static void spread(const Job *job, const Inner *with, intptr_t row, intptr_t column, char *out) {
    intptr_t s = job->stride[1], t = job->stride[2], p = job->padding[1], q = job->padding[2];
    intptr_t from = cut_in(larger(0, q - column), t), columns = job->in[2];
    for (intptr_t y = 0; y < with->rows; y++) {
        intptr_t iy = y * s + row - p, ix = from * t + column - q;
        if (iy < 0 || iy >= job->in[1])
            continue;
        const char *sums = with->sums + (y * with->layout.width + from) * job->size;
        char *line = out + iy * columns * job->size;
        if (job->size == 4)
            for (const uint32_t *each = (const uint32_t *)sums; ix < columns; ix += t)
                ((uint32_t *)line)[ix] = *each++;
        else
            for (const uint64_t *each = (const uint64_t *)sums; ix < columns; ix += t)
                ((uint64_t *)line)[ix] = *each++;
    }
}

static void inner_plane(const Job *job, intptr_t number, const Inner *with) {
    intptr_t size = job->size, group = number % job->groups, offsets[MOST_TAPS];
    for (intptr_t i = 0; i < job->outer; i++)
        lay_out(&with->layout, job->g + (number * job->outer + i) * job->positions * size,
                job->out[1], job->out[2], size, with->planes + i * with->layout.plane * size);
    for (intptr_t row = 0; row < job->stride[1]; row++)
        for (intptr_t column = 0; column < job->stride[2]; column++) {
            intptr_t taps = taps_of(job, group, row, column, &with->layout, offsets, with->weights);
            isa->depthwise.taps[job->dtype == F64](with->sums, with->planes, offsets, with->weights,
                                                   taps, bias_of(job, group),
                                                   with->rows * with->layout.width);
            spread(job, with, row, column, job->result + number * job->volume * size);
        }
}

static void inner_planes(void *context, intptr_t task) {
    Job *job = context;
    Inner with = {.rows = cut_in(job->in[1] + job->padding[1], job->stride[1]),
                  .wide = cut_in(job->in[2] + job->padding[2], job->stride[2])};
    intptr_t end = smaller(job->tiles, (task + 1) * job->tile);
    with.layout = layout_of(with.rows + span(job, 1) + 1, with.wide + span(job, 2) + 1, 1, 1,
                            span(job, 1), span(job, 2));
    intptr_t elements = with.layout.plane * job->outer, n = with.rows * with.layout.width;
    with.planes = room(job, elements, n + MOST_TAPS);
    if (!with.planes)
        return;
    with.sums = with.planes + elements * job->size;
    with.weights = with.sums + n * job->size;
    for (intptr_t number = task * job->tile; number < end; number++)
        inner_plane(job, number, &with);
    pool_give(with.planes);
}

int run_depthwise_inner(Job *job) {
    intptr_t count = job->batch * job->groups;
    return job->volume ? run_planes(job, inner_planes, count, job->volume) : OK;
}

/* ---- the weight */

static void weight_plane(void *context, intptr_t group) {
    Job *job = context;
    intptr_t size = job->size, offsets[MOST_TAPS], taps = job->places;
    Layout layout = inner_layout(job);
    Layout like = layout_of(job->out[1], layout.width, 1, 1, 0, 0);
    intptr_t n = job->out[1] * layout.width;
    double sums[MOST_TAPS];
    char *planes = room(job, elements_of(&layout) + like.plane, 0);
    if (!planes)
        return;
    char *outer = planes + elements_of(&layout) * size;
    memset(sums, 0, (size_t)(job->outer * taps) * sizeof(double));
    inner_offsets(job, &layout, offsets);
    for (intptr_t image = 0; image < job->batch; image++) {
        intptr_t number = image * job->groups + group;
        lay_out(&layout, job->x + number * job->volume * size, job->in[1], job->in[2], size,
                planes);
        for (intptr_t i = 0; i < job->outer; i++) {
            lay_out(&like, job->g + (number * job->outer + i) * job->positions * size, job->out[1],
                    job->out[2], size, outer);
            isa->depthwise.products[job->dtype == F64](sums + i * taps, outer, planes, offsets,
                                                       taps, n);
        }
    }
    isa->convert[F64][job->dtype](job->result + group * job->outer * taps * size, sums,
                                  job->outer * taps);
    pool_give(planes);
}

int run_depthwise_weight(Job *job) {
    return run_convolution(job, weight_plane, job->groups);
}
