/* Convolution as products of matrices: a tile of positions at a time is unfolded, so that what a
   position sums is a column, and multiplied by the weight. No more than a tile is ever unfolded.

   The adjoint in the input is a convolution too where the stride is 1, by the kernel turned over;
   else the products are folded back. That in the weight multiplies the outer tensor by what is
   unfolded. Tiles depend on shapes alone, and what they sum is joined in order: bits do not depend
   on the number of threads. float16 and bfloat16 are computed as float32. */
#include "elementwise.h"
#include "convolution.h"
#include "convolution_job.h"
#include "gemm.h"
#include "isa.h"

#include <limits.h>
#include <string.h>

/* The most positions of a tile, and about how many rows it has for each; 640 KiB of float32. */
#define COLUMNS 512
#define DEPTH 320
/* Outer sizes below which a tile takes positions of several images. */
#define SMALL_IMAGE 192
/* How many tasks there shall be, if the shape gives as many. */
#define TASKS 8
/* Multiplications from which threads pay. */
#define WORTH_THREADS 131072.0

/* Positions of a tile that lie in one line of the outer tensor. */
typedef struct {
    intptr_t image, at[3], count;
} Segment;

/* The positions of the whole batch from `first` on, as segments; return how many there are. */
static intptr_t segments_of(const Job *job, intptr_t first, intptr_t columns, Segment *to) {
    intptr_t found = 0;
    for (intptr_t count; columns > 0; columns -= count, first += count) {
        intptr_t place = first % job->positions, line = job->out[2];
        Segment *each = &to[found++];
        each->image = first / job->positions;
        each->at[0] = place / (job->out[1] * line);
        each->at[1] = place / line % job->out[1];
        each->at[2] = place % line;
        each->count = count = smaller(columns, line - each->at[2]);
    }
    return found;
}

/* Where the elements are that a segment joins at a place of the kernel: the start of their line in
   the inner tensor, or -1 outside of it; the first one; and which of the segment's lie inside. */
typedef struct {
    intptr_t line, start, from, to;
} Joined;

static Joined joined(const Job *job, const Segment *segment, const intptr_t *place) {
    Joined found = {-1, 0, 0, 0};
    intptr_t i[3];
    for (int axis = 0; axis < 3; axis++)
        i[axis] = segment->at[axis] * job->stride[axis] - job->padding[axis] +
                  place[axis] * job->dilation[axis];
    if (i[0] < 0 || i[0] >= job->in[0] || i[1] < 0 || i[1] >= job->in[1])
        return found;
    intptr_t step = job->stride[2], last = job->in[2] - 1 - i[2];
    found.from = i[2] < 0 ? smaller((step - 1 - i[2]) / step, segment->count) : 0;
    found.to = last < 0 ? 0 : smaller(last / step + 1, segment->count);
    found.line = (i[0] * job->in[1] + i[1]) * job->in[2];
    found.start = i[2];
    if (found.to <= found.from)
        found.line = -1;
    return found;
}

static void gather(char *to, const char *from, intptr_t step, intptr_t n, intptr_t size) {
    if (step == 1)
        memcpy(to, from, (size_t)(n * size));
    else if (size == 4)
        for (intptr_t i = 0; i < n; i++) ((uint32_t *)to)[i] = ((const uint32_t *)from)[i * step];
    else
        for (intptr_t i = 0; i < n; i++) ((uint64_t *)to)[i] = ((const uint64_t *)from)[i * step];
}

static void add_spread(int dtype, char *to, const char *from, intptr_t step, intptr_t n) {
    if (dtype == F32)
        for (intptr_t i = 0; i < n; i++) ((float *)to)[i * step] += ((const float *)from)[i];
    else
        for (intptr_t i = 0; i < n; i++) ((double *)to)[i * step] += ((const double *)from)[i];
}

/* Go through the rows of what is unfolded of some channels: a row for each channel and place in
   the kernel. Either `to`, the rows, is made from `planes`, the first channel in the first image;
   or, to fold, the rows are added to the planes. */
static void unfold(const Job *job, char *planes, intptr_t channels, const Segment *segments,
                   intptr_t count, intptr_t columns, char *to, int fold) {
    intptr_t size = job->size, image = job->groups * job->inner * job->volume, place[3];
    for (intptr_t c = 0; c < channels; c++, planes += job->volume * size)
        for (intptr_t k = 0; k < job->places; k++, to += columns * size) {
            place[0] = k / (job->kernel[1] * job->kernel[2]);
            place[1] = k / job->kernel[2] % job->kernel[1];
            place[2] = k % job->kernel[2];
            char *at = to;
            for (const Segment *each = segments; each < segments + count; each++) {
                Joined with = joined(job, each, place);
                char *line = planes + (each->image * image + with.line + with.start +
                                       with.from * job->stride[2]) * size;
                char *inside = at + with.from * size;
                intptr_t n = with.to - with.from, all = each->count;
                if (with.line < 0) {
                    if (!fold)
                        memset(at, 0, (size_t)(all * size));
                } else if (fold) {
                    add_spread(job->dtype, line, inside, job->stride[2], n);
                } else {
                    memset(at, 0, (size_t)(with.from * size));
                    gather(inside, line, job->stride[2], n, size);
                    memset(at + with.to * size, 0, (size_t)((all - with.to) * size));
                }
                at += all * size;
            }
        }
}

static void fill(int dtype, char *to, const char *value, intptr_t n) {
    if (dtype == F32)
        for (intptr_t i = 0; i < n; i++) ((float *)to)[i] = *(const float *)value;
    else
        for (intptr_t i = 0; i < n; i++) ((double *)to)[i] = *(const double *)value;
}

/* Write the bias of a channel, or 0, to n elements. */
static void fill_bias(const Job *job, char *to, intptr_t channel, intptr_t n) {
    if (job->bias)
        fill(job->dtype, to, job->bias + channel * job->size, n);
    else
        memset(to, 0, (size_t)(n * job->size));
}

/* Bring together `rows` channels of a tile that lies in several images, from the first one's plane
   in the first image; or bring them back there. */
static void collect(const Job *job, char *planes, intptr_t rows, intptr_t start, intptr_t columns,
                    char *tile, int back) {
    intptr_t size = job->size, image = job->groups * job->outer * job->positions;
    for (intptr_t i = 0; i < rows; i++, planes += job->positions * size)
        for (intptr_t at = 0, n; at < columns; at += n, tile += n * size) {
            intptr_t position = (start + at) % job->positions;
            char *place = planes + ((start + at) / job->positions * image + position) * size;
            n = smaller(columns - at, job->positions - position);
            memcpy(back ? place : tile, back ? tile : place, (size_t)(n * size));
        }
}

/* ---- the outer tensor */

static void outer_task(void *context, intptr_t number) {
    Job *job = context;
    intptr_t size = job->size, block = number % job->blocks, channels = job->groups * job->outer;
    intptr_t group = number / job->blocks % job->groups, tile = number / job->blocks / job->groups;
    intptr_t row = block * job->rows, rows = smaller(job->rows, job->outer - row);
    int spread = job->positions < SMALL_IMAGE; /* over several images */
    intptr_t image = spread ? 0 : tile / job->tiles, all = job->positions * (spread ? job->batch : 1);
    intptr_t start = (spread ? tile : tile % job->tiles) * job->tile;
    intptr_t columns = smaller(job->tile, all - start), lead = spread ? columns : job->positions;
    intptr_t channel = group * job->outer + row, inner = job->inner * job->places;
    char *memory = pool_take((size_t)((job->depth * job->places + (spread ? rows : 0)) * columns *
                                      size) + 1);
    if (!memory) {
        atomic_store(&job->code, NO_MEMORY);
        return;
    }
    char *sums = spread ? memory + job->depth * job->places * columns * size
                        : job->result + ((image * channels + channel) * lead + start) * size;
    Segment segments[COLUMNS];
    intptr_t count = segments_of(job, image * job->positions + start, columns, segments);
    int fresh = !job->bias && inner > 0; /* the first product need not add to anything */
    for (intptr_t i = 0; i < rows && !fresh; i++)
        fill_bias(job, sums + i * lead * size, channel + i, columns);
    for (intptr_t c = 0, some; c < job->inner && inner; c += some) {
        some = smaller(job->depth, job->inner - c);
        intptr_t k = some * job->places;
        Matrix left = {job->weight + (channel * inner + c * job->places) * size, rows, k, inner, 1};
        Matrix right = {memory, k, columns, columns, 1};
        intptr_t plane = (image * job->groups + group) * job->inner + c;
        if (job->pointwise && !spread) {
            right.data = job->x + (plane * job->volume + start) * size;
            right.row_stride = job->volume;
        } else {
            plane = group * job->inner + c; /* segments know their image */
            unfold(job, (char *)job->x + plane * job->volume * size, some, segments, count,
                   columns, memory, 0);
        }
        blas_product(job->dtype, &left, &right, sums, lead, !fresh || c > 0);
    }
    if (spread)
        collect(job, job->result + channel * job->positions * size, rows, start, columns, sums, 1);
    pool_give(memory);
}

/* Run tasks, on threads where the whole is worth it. */
int run_convolution(Job *job, Task task, intptr_t count) {
    double work = (double)job->batch * (double)job->groups * (double)job->inner *
                  (double)job->outer * (double)job->places * (double)job->positions;
    if (work >= WORTH_THREADS)
        parallel(task, job, count);
    else
        for (intptr_t i = 0; i < count; i++) task(job, i);
    return atomic_load(&job->code);
}

/* Cut positions into tiles of about one size, of one image or of all. */
static void cut_columns(Job *job) {
    intptr_t all = job->positions * (job->positions < SMALL_IMAGE ? job->batch : 1);
    job->tiles = cut_in(all, COLUMNS);
    job->tile = job->tiles ? smaller(cut_in(cut_in(all, job->tiles), 16) * 16, COLUMNS) : 1;
    job->tiles = cut_in(all, job->tile);
    job->depth = larger(1, smaller(job->inner, DEPTH / larger(1, job->places)));
}

static int run_outer(Job *job) {
    if (is_depthwise(job))
        return run_depthwise_outer(job);
    cut_columns(job);
    intptr_t tiles = job->tiles * (job->positions < SMALL_IMAGE ? 1 : job->batch) * job->groups;
    if (tiles == 0 || job->outer == 0)
        return OK;
    intptr_t parts = larger(1, smaller(TASKS / tiles, job->outer / 64));
    job->rows = cut_in(job->outer, parts);
    job->blocks = cut_in(job->outer, job->rows);
    return run_convolution(job, outer_task, tiles * job->blocks);
}

/* ---- the inner tensor */

/* Turn a job about the inner tensor, of stride 1, into one about the outer tensor: by kernels that
   are turned over, with channels exchanged. `to` takes the kernels. */
static void turn_over(Job *job, char *to) {
    const char *weight = job->weight;
    intptr_t size = job->size, places = job->places;
    for (intptr_t group = 0; group < job->groups; group++)
        for (intptr_t c = 0; c < job->inner; c++)
            for (intptr_t o = 0; o < job->outer; o++) {
                const char *from = weight +
                    ((group * job->outer + o) * job->inner + c) * places * size;
                char *kernel = to + ((group * job->inner + c) * job->outer + o) * places * size;
                for (intptr_t k = 0, last = places - 1; k < places; k++)
                    if (size == 4)
                        ((uint32_t *)kernel)[last - k] = ((const uint32_t *)from)[k];
                    else
                        ((uint64_t *)kernel)[last - k] = ((const uint64_t *)from)[k];
            }
    job->weight = to;
    job->x = job->g;
    intptr_t channels = job->inner, volume = job->volume;
    job->inner = job->outer;
    job->outer = channels;
    job->volume = job->positions;
    job->positions = volume;
    for (int axis = 0; axis < 3; axis++) {
        intptr_t length = job->in[axis];
        job->in[axis] = job->out[axis];
        job->out[axis] = length;
        job->padding[axis] =
            job->dilation[axis] * (job->kernel[axis] - 1) - job->padding[axis];
    }
}

/* Some channels of one image: what an outer position spreads is added where it belongs. */
static void inner_task(void *context, intptr_t number) {
    Job *job = context;
    intptr_t size = job->size, block = number % job->blocks, image = number / job->blocks / job->groups;
    intptr_t group = number / job->blocks % job->groups, c = block * job->depth;
    intptr_t channels = smaller(job->depth, job->inner - c), k = channels * job->places;
    intptr_t plane = group * job->inner + c, all = job->groups * job->inner;
    char *planes = job->result + plane * job->volume * size;
    for (intptr_t i = 0; i < channels; i++)
        fill_bias(job, planes + (image * all + i) * job->volume * size, plane + i, job->volume);
    if (job->outer * k == 0)
        return;
    char *memory = pool_take((size_t)(k * job->tile * size));
    if (!memory) {
        atomic_store(&job->code, NO_MEMORY);
        return;
    }
    Segment segments[COLUMNS];
    for (intptr_t start = 0, columns; start < job->positions; start += columns) {
        columns = smaller(job->tile, job->positions - start);
        intptr_t count = segments_of(job, image * job->positions + start, columns, segments);
        intptr_t rows = group * job->outer, kernels = job->inner * job->places;
        Matrix left = {job->weight + (rows * kernels + c * job->places) * size, k, job->outer, 1,
                       kernels};
        Matrix right = {job->g + ((image * job->groups * job->outer + rows) * job->positions +
                                  start) * size,
                        job->outer, columns, job->positions, 1};
        blas_product(job->dtype, &left, &right, memory, columns, 0);
        unfold(job, planes, channels, segments, count, columns, memory, 1);
    }
    pool_give(memory);
}

static int run_inner(Job *job) {
    if (is_depthwise(job))
        return run_depthwise_inner(job);
    int once = job->stride[0] == 1 && job->stride[1] == 1 && job->stride[2] == 1;
    if (once) {
        char *kernels = pool_take((size_t)(job->groups * job->outer * job->inner * job->places *
                                           job->size) + 1);
        if (!kernels)
            return NO_MEMORY;
        turn_over(job, kernels);
        int code = run_outer(job);
        pool_give(kernels);
        return code;
    }
    job->tile = larger(1, smaller(job->positions, COLUMNS));
    intptr_t wanted = larger(1, TASKS / larger(1, job->batch * job->groups));
    job->depth = larger(1, smaller(DEPTH / larger(1, job->places), cut_in(job->inner, wanted)));
    job->blocks = cut_in(job->inner, job->depth);
    return run_convolution(job, inner_task, job->batch * job->groups * job->blocks);
}

/* ---- the weight */

/* What some channels of a group have to do with the outer ones, over a part of all positions. */
static void weight_task(void *context, intptr_t number) {
    Job *job = context;
    intptr_t size = job->size, parts = job->rows, part = number % parts;
    intptr_t block = number / parts % job->blocks, group = number / parts / job->blocks;
    intptr_t c = block * job->depth, channels = smaller(job->depth, job->inner - c);
    intptr_t k = channels * job->places, kernels = job->inner * job->places, all = job->outer * job->groups;
    char *to = part ? job->partial + (part - 1) * all * kernels * size : job->result;
    to += (group * job->outer * kernels + c * job->places) * size;
    char *memory = pool_take((size_t)((k + job->outer) * job->tile * size));
    if (!memory) {
        atomic_store(&job->code, NO_MEMORY);
        return;
    }
    char *rows = memory + k * job->tile * size;
    Segment segments[COLUMNS];
    int spread = job->positions < SMALL_IMAGE;
    intptr_t tiles = spread ? job->tiles : job->tiles * job->batch, each = cut_in(tiles, parts);
    intptr_t end = smaller(tiles, (part + 1) * each), length = spread ? job->batch * job->positions : job->positions;
    for (intptr_t tile = part * each; tile < end; tile++) {
        intptr_t image = spread ? 0 : tile / job->tiles;
        intptr_t start = (spread ? tile : tile % job->tiles) * job->tile;
        intptr_t columns = smaller(job->tile, length - start);
        intptr_t count = segments_of(job, image * job->positions + start, columns, segments);
        intptr_t plane = group * job->inner + c;
        Matrix left = {rows, job->outer, columns, columns, 1};
        Matrix right = {memory, columns, k, 1, columns};
        if (spread) {
            char *planes = (char *)job->g + group * job->outer * job->positions * size;
            collect(job, planes, job->outer, start, columns, rows, 0);
        } else {
            left.data = job->g +
                ((image * all + group * job->outer) * job->positions + start) * size;
            left.row_stride = job->positions;
        }
        if (job->pointwise && !spread) {
            right.data = job->x + ((image * job->groups * job->inner + plane) * job->volume + start) * size;
            right.column_stride = job->volume;
        } else {
            unfold(job, (char *)job->x + plane * job->volume * size, channels, segments, count,
                   columns, memory, 0);
        }
        blas_product(job->dtype, &left, &right, to, kernels, tile > part * each);
    }
    pool_give(memory);
}

static int run_weight(Job *job) {
    if (is_depthwise(job))
        return run_depthwise_weight(job);
    intptr_t kernels = job->groups * job->outer * job->inner * job->places;
    cut_columns(job);
    intptr_t tiles = job->tiles * (job->positions < SMALL_IMAGE ? 1 : job->batch);
    if (kernels == 0)
        return OK;
    if (tiles == 0) {
        memset(job->result, 0, (size_t)(kernels * job->size));
        return OK;
    }
    job->blocks = cut_in(job->inner, job->depth);
    intptr_t parts = larger(1, smaller(TASKS / (job->blocks * job->groups), tiles));
    job->rows = parts = cut_in(tiles, cut_in(tiles, parts)); /* none of them empty */
    if (parts > 1 && !(job->partial = pool_take((size_t)((parts - 1) * kernels * job->size))))
        return NO_MEMORY;
    int code = run_convolution(job, weight_task, parts * job->blocks * job->groups);
    for (intptr_t part = 1; part < parts && code == OK; part++)
        add_spread(job->dtype, job->result, job->partial + (part - 1) * kernels * job->size, 1,
                   kernels);
    pool_give(job->partial);
    return code;
}

/* ---- what Python calls */

/* An operand as the job wants it: in place, or a dense copy in its dtype. */
typedef struct {
    View view;
    char *copy;
} Operand;

static int settle(Operand *x, int dtype) {
    intptr_t count = count_of(&x->view);
    if (x->view.dtype == dtype && is_dense(&x->view) && is_aligned(&x->view))
        return OK;
    x->copy = pool_take((size_t)(count * ITEMSIZE[dtype]) + 1);
    if (!x->copy)
        return NO_MEMORY;
    intptr_t strides[MAX_AXES];
    dense_strides(x->view.shape, x->view.axes, dtype, strides);
    View to = {x->copy, x->view.shape, strides, x->view.axes, dtype};
    int code = convert_view(&x->view, &to);
    x->view.data = x->copy;
    return code;
}

/* Fill in the sizes; whether the three tensors go together. */
static int measure(Job *job, const View *x, const View *weight, const View *g,
                   const int64_t *numbers, int64_t groups) {
    int axes = x->axes - 2;
    if (axes < 1 || axes > 3 || weight->axes != x->axes || g->axes != x->axes || groups < 1 ||
        x->dtype < F16 || weight->dtype != x->dtype || g->dtype != x->dtype ||
        x->shape[0] != g->shape[0] || x->shape[1] != weight->shape[1] * groups ||
        g->shape[1] != weight->shape[0] || weight->shape[0] % groups)
        return 0;
    job->dtype = x->dtype == F64 ? F64 : F32;
    job->size = ITEMSIZE[job->dtype];
    job->batch = x->shape[0];
    job->groups = groups;
    job->inner = weight->shape[1];
    job->outer = weight->shape[0] / groups;
    job->volume = job->positions = job->places = job->pointwise = 1;
    for (int i = 0; i < 3; i++) {
        int axis = i - (3 - axes);
        int is = axis >= 0;
        job->in[i] = is ? x->shape[axis + 2] : 1;
        job->out[i] = is ? g->shape[axis + 2] : 1;
        job->kernel[i] = is ? weight->shape[axis + 2] : 1;
        job->stride[i] = is ? (intptr_t)numbers[3 * axis] : 1;
        job->padding[i] = is ? (intptr_t)numbers[3 * axis + 1] : 0;
        job->dilation[i] = is ? (intptr_t)numbers[3 * axis + 2] : 1;
        /* Beyond these sums of them could overflow; nobody has such an axis. */
        if (job->stride[i] < 1 || job->dilation[i] < 1 || job->stride[i] > INT_MAX ||
            job->dilation[i] > INT_MAX || job->padding[i] > INT_MAX || job->padding[i] < -INT_MAX)
            return 0;
        job->volume *= job->in[i];
        job->positions *= job->out[i];
        job->places *= job->kernel[i];
        job->pointwise &= job->kernel[i] == 1 && job->stride[i] == 1 && job->padding[i] == 0 &&
                          job->in[i] == job->out[i];
    }
    return job->volume <= INT_MAX && job->positions <= INT_MAX &&
           job->inner * job->places <= INT_MAX && job->outer <= INT_MAX;
}

/* Compute the last of three operands, and convert it where its dtype is a narrow one. */
static int compute(Job *job, Operand *one, Operand *two, Operand *bias, const View *out,
                   const char **to_one, const char **to_two, int (*run_it)(Job *)) {
    View wide = *out;
    int code = settle(one, job->dtype);
    if (code == OK)
        code = settle(two, job->dtype);
    if (code == OK && bias)
        code = settle(bias, job->dtype);
    *to_one = one->view.data;
    *to_two = two->view.data;
    job->bias = bias ? bias->view.data : NULL;
    if (code == OK && out->dtype != job->dtype) {
        wide.data = pool_take((size_t)(count_of(out) * job->size) + 1);
        code = wide.data ? OK : NO_MEMORY;
    }
    job->result = wide.data;
    if (code == OK)
        code = run_it(job);
    if (wide.data != out->data) {
        if (code == OK)
            isa->convert[job->dtype][out->dtype](out->data, wide.data, count_of(out));
        pool_give(wide.data);
    }
    pool_give(one->copy);
    pool_give(two->copy);
    if (bias)
        pool_give(bias->copy);
    return code;
}

/* Read a bias that may be missing; return whether it fits. */
static int read_bias(uintptr_t id, Operand *bias, intptr_t channels, int dtype) {
    const View *x = &bias->view;
    return !id || (read_array(id, &bias->view) && x->axes == 1 && x->shape[0] == channels &&
                   x->dtype == dtype);
}

static int is_free(const View *out) { return is_dense(out) && is_aligned(out); }

int convolution(uintptr_t x_id, uintptr_t weight_id, uintptr_t bias_id, uintptr_t out_id,
                const int64_t *numbers, int64_t groups) {
    Operand x = {.copy = NULL}, weight = x, bias = x;
    Job job = {.batch = 0};
    View out;
    if (!read_array(x_id, &x.view) || !read_array(weight_id, &weight.view) ||
        !read_array(out_id, &out) || !is_free(&out) ||
        !measure(&job, &x.view, &weight.view, &out, numbers, groups) ||
        !read_bias(bias_id, &bias, out.shape[1], out.dtype))
        return DECLINED;
    return compute(&job, &x, &weight, bias_id ? &bias : NULL, &out, &job.x, &job.weight, run_outer);
}

int convolution_input(uintptr_t outer_id, uintptr_t weight_id, uintptr_t bias_id,
                      uintptr_t out_id, const int64_t *numbers, int64_t groups) {
    Operand g = {.copy = NULL}, weight = g, bias = g;
    Job job = {.batch = 0};
    View out;
    if (!read_array(outer_id, &g.view) || !read_array(weight_id, &weight.view) ||
        !read_array(out_id, &out) || !is_free(&out) ||
        !measure(&job, &out, &weight.view, &g.view, numbers, groups) ||
        !read_bias(bias_id, &bias, out.shape[1], out.dtype))
        return DECLINED;
    return compute(&job, &g, &weight, bias_id ? &bias : NULL, &out, &job.g, &job.weight, run_inner);
}

int convolution_weight(uintptr_t x_id, uintptr_t outer_id, uintptr_t out_id,
                       const int64_t *numbers, int64_t groups) {
    Operand x = {.copy = NULL}, g = x;
    Job job = {.batch = 0};
    View out;
    if (!read_array(x_id, &x.view) || !read_array(outer_id, &g.view) ||
        !read_array(out_id, &out) || !is_free(&out) ||
        !measure(&job, &x.view, &out, &g.view, numbers, groups))
        return DECLINED;
    return compute(&job, &x, &g, NULL, &out, &job.x, &job.g, run_weight);
}
