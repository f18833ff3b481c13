/* Convolution as a product of matrices that are never there: of the weight, packed once, and of
   what positions read, which is written a tile at a time.

   The outer tensor is one such product. The inner one is a product for each remainder of its
   positions by the stride: positions of one remainder meet the same places of the kernel, and read
   the outer tensor side by side. Or it is added up, by convolution_spread.c. Tiles depend on shapes
   alone, and bits not on the number of threads. */
#include "convolution_product.h"
#include "gather.h"
#include "isa.h"

#include <string.h>

/* About how many elements of a sum are taken at a time. */
#define DEPTH 256
/* The fewest rows of a task. */
#define LEAST_ROWS 24
/* Positions below which a tile takes some of several images. */
#define SMALL_IMAGE 512

static intptr_t padded(intptr_t k) { return cut_in(k, GROUP) * GROUP; }

int first_part(const Pass *to, Part *part) {
    *part = (Part){.channels = smaller(to->depth, to->from.channels),
                   .taps = smaller(to->taps, to->from.count)};
    part->k = part->channels * part->taps;
    return part->k > 0;
}

int next_part(const Pass *to, Part *part) {
    part->packed += to->panels * to->panel * padded(part->k);
    part->tap += part->taps;
    if (part->tap == to->from.count) {
        part->tap = 0;
        part->channel += part->channels;
    }
    part->channels = smaller(to->depth, to->from.channels - part->channel);
    part->taps = smaller(to->taps, to->from.count - part->tap);
    part->k = part->channels * part->taps;
    return part->channels > 0;
}

/* ---- packing the weight */

#define PACK(T) \
    static void pack_##T(const Pass *to, const Part *part, const T *weight, intptr_t rows, \
                         T *out) { \
        const Tap *taps = to->from.taps + part->tap; \
        intptr_t spacing = to->panel * GROUP; \
        int flat = to->to_channel == part->taps && taps[0].place == 0 && part->taps > 0 && \
                   taps[part->taps - 1].place == part->taps - 1; \
        for (intptr_t r = 0; r < rows; r++) { \
            const T *row = weight + r * to->to_row + part->channel * to->to_channel; \
            T *line = out + r * GROUP; \
            if (flat) { /* what is summed lies side by side */ \
                intptr_t k = 0; \
                for (; k + GROUP <= part->k; k += GROUP, line += spacing) \
                    memcpy(line, row + k, GROUP * sizeof(T)); \
                memcpy(line, row + k, (size_t)(part->k - k) * sizeof(T)); \
                continue; \
            } \
            for (intptr_t c = 0, k = 0; c < part->channels; c++, row += to->to_channel) \
                for (intptr_t t = 0; t < part->taps; t++) { \
                    line[k] = row[taps[t].place]; \
                    if (++k == GROUP) { \
                        k = 0; \
                        line += spacing; \
                    } \
                } \
        } \
    }
PACK(float)
PACK(double)

/* Pack a panel of rows of a group. */
static void pack_task(void *context, intptr_t number) {
    const Pass *to = context;
    const Job *job = to->job;
    intptr_t panel = number % to->panels, group = number / to->panels, row = panel * to->panel;
    intptr_t all = job->outer * job->inner * job->places;
    const char *weight = to->weight + (group * all + row * to->to_row) * job->size;
    Part part;
    for (int is = first_part(to, &part); is; is = next_part(to, &part)) {
        char *out = to->packed + (group * to->packed_group + part.packed +
                                  panel * to->panel * padded(part.k)) * job->size;
        intptr_t rows = smaller(to->panel, to->rows - row);
        if (job->dtype == F32)
            pack_float(to, &part, (const float *)weight, rows, (float *)out);
        else
            pack_double(to, &part, (const double *)weight, rows, (double *)out);
    }
}

/* ---- multiplying */

void multiply_tile(const Pass *to, const Block *tile, const Part *part, int more) {
    const Job *job = to->job;
    intptr_t size = job->size, group = to->packed_group * tile->group + part->packed;
    for (intptr_t at = 0; at < tile->columns; at += to->width)
        for (intptr_t panel = 0; panel < tile->panels; panel++) {
            intptr_t row = panel * to->panel, channel = tile->group * to->rows + tile->row + row;
            intptr_t packed = group + (tile->panel + panel) * to->panel * padded(part->k);
            isa->convolver.product[job->dtype == F64](
                to->packed + packed * size, to->panel,
                tile->lines + at / to->width * tile->line * size,
                tile->sums + (row * tile->lead + at) * size, tile->lead,
                (int)smaller(to->panel, tile->rows - row), smaller(to->width, tile->columns - at),
                part->k, to->bias ? to->bias + channel * size : NULL, more);
        }
}

/* Write the sums of a tile where its positions go. */
static void scatter(const Pass *to, const Block *tile, const Segment *segments,
                    const intptr_t *counts) {
    const Job *job = to->job;
    intptr_t size = job->size, step = to->step[2], channels = job->groups * to->rows, count = 0;
    for (intptr_t i = 0; i < tile->across; i++)
        count += counts[i];
    for (intptr_t r = 0; r < tile->rows; r++) {
        intptr_t channel = tile->group * to->rows + tile->row + r;
        const char *from = tile->sums + r * tile->lead * size;
        for (const Segment *each = segments; each < segments + count; each++) {
            intptr_t y = to->first[0] + each->at[0] * to->step[0];
            intptr_t x = to->first[1] + each->at[1] * to->step[1];
            intptr_t z = to->first[2] + each->at[2] * step, n = each->count;
            intptr_t plane = each->image * channels + channel;
            intptr_t line = (plane * to->extent[0] + y) * to->extent[1] + x;
            move(job->result + (line * to->extent[2] + z) * size, step * size, from, size, n,
                 (int)size);
            from += n * size;
        }
    }
}

/* What a task computes; return 0 if there is no room. */
static int start_tile(const Pass *to, intptr_t number, Block *tile, Segment *segments,
                      intptr_t *counts) {
    const Job *job = to->job;
    intptr_t size = job->size, cut = number / to->blocks / job->groups;
    intptr_t image = to->direct ? cut / to->tiles : 0, positions = to->from.positions;
    intptr_t start = (to->direct ? cut % to->tiles : cut) * to->tile;
    *tile = (Block){.group = number / to->blocks % job->groups,
                   .panel = number % to->blocks * to->block};
    tile->panels = smaller(to->block, to->panels - tile->panel);
    tile->row = tile->panel * to->panel;
    tile->rows = smaller(to->rows - tile->row, tile->panels * to->panel);
    tile->columns = smaller(to->tile, positions * (to->direct ? 1 : job->batch) - start);
    tile->line = smaller(to->depth, to->from.channels) * smaller(to->taps, to->from.count) *
                 to->width;
    tile->across = cut_in(tile->columns, to->width);
    intptr_t lines = tile->line * tile->across;
    intptr_t scattered = to->direct ? 0 : tile->rows * to->tile;
    tile->lines = pool_take((size_t)((lines + scattered) * size) + 1);
    tile->lead = to->direct ? to->volume : to->tile;
    tile->sums = tile->lines + lines * size;
    if (to->direct) {
        intptr_t plane = (image * job->groups + tile->group) * to->rows + tile->row;
        tile->sums = job->result + (plane * to->volume + start) * size;
    }
    for (intptr_t i = 0; i < tile->across; i++, segments += *counts++)
        *counts = segments_of(&to->from, image * positions + start + i * to->width,
                              smaller(to->width, tile->columns - i * to->width), segments);
    return tile->lines != NULL;
}

static void tile_task(void *context, intptr_t number) {
    const Pass *to = context;
    Job *job = to->job;
    Block tile;
    Segment segments[MOST_POSITIONS];
    intptr_t counts[ACROSS], found = 0;
    if (!start_tile(to, number, &tile, segments, counts)) {
        atomic_store(&job->code, NO_MEMORY);
        return;
    }
    Part part;
    int is = first_part(to, &part);
    if (!is)
        multiply_tile(to, &tile, &part, 0); /* the bias alone */
    for (int more = 0; is; is = next_part(to, &part), more = 1) {
        found = 0;
        for (intptr_t i = 0; i < tile.across; found += counts[i++])
            read_lines(job, &to->from,
                       (Some){tile.group, part.channel, part.channels, part.tap, part.taps},
                       segments + found, counts[i], tile.lines + i * tile.line * job->size,
                       to->width, part.taps * to->width);
        multiply_tile(to, &tile, &part, more);
    }
    if (!to->direct)
        scatter(to, &tile, segments, counts);
    pool_give(tile.lines);
}

int run_convolution(Job *job, Task task, void *context, intptr_t count) {
    double work = (double)job->batch * (double)job->groups * (double)job->inner *
                  (double)job->outer * (double)job->places * (double)job->positions;
    if (work >= 131072.0) /* from here threads pay */
        parallel(task, context, count);
    else
        for (intptr_t i = 0; i < count; i++) task(context, i);
    return atomic_load(&job->code);
}

/* Axes that are read and written as they lie are one. */
static void join_axes(Pass *to) {
    Reading *from = &to->from;
    if (from->count != 1 || to->volume != from->positions || from->volume != from->positions)
        return;
    for (int axis = 0; axis < 3; axis++)
        if (from->step[axis] != 1 || from->taps[0].offset[axis] != 0 || to->step[axis] != 1)
            return;
    for (int axis = 0; axis < 2; axis++)
        from->extent[axis] = from->shape[axis] = to->extent[axis] = 1;
    from->extent[2] = from->shape[2] = to->extent[2] = from->positions;
}

void cut_product(Pass *to) {
    to->taps = larger(1, smaller(DEPTH, to->from.count));
    to->depth = larger(1, DEPTH / to->taps);
    to->panels = cut_in(to->rows, isa->convolver.rows);
    to->panel = cut_in(to->rows, to->panels);
    to->panels = cut_in(to->rows, to->panel);
    to->width = isa->convolver.columns[to->job->dtype == F64];
}

int run_packed(Pass *to, Task task, void *context, intptr_t count) {
    Job *job = to->job;
    Part part;
    for (int is = first_part(to, &part); is;) {
        to->packed_group = part.packed + to->panels * to->panel * padded(part.k);
        is = next_part(to, &part);
    }
    to->packed = pool_take((size_t)(job->groups * to->packed_group * job->size) + 1);
    if (!to->packed)
        return NO_MEMORY;
    run_convolution(job, pack_task, to, job->groups * to->panels);
    int code = run_convolution(job, task, context, count);
    pool_give(to->packed);
    return code;
}

static int run_product(Pass *to) {
    Job *job = to->job;
    Reading *from = &to->from;
    from->volume = product_of(from->extent, 3);
    from->positions = product_of(from->shape, 3);
    from->image = job->groups * from->channels * from->volume;
    to->volume = product_of(to->extent, 3);
    if (job->batch * job->groups * to->rows * from->positions == 0)
        return OK;
    join_axes(to);
    cut_product(to);
    to->direct = to->volume == from->positions && from->positions >= SMALL_IMAGE;
    intptr_t all = from->positions * (to->direct ? 1 : job->batch);
    to->tiles = cut_in(all, ACROSS * to->width);
    to->tile = cut_in(cut_in(all, to->tiles), to->width) * to->width;
    to->tiles = cut_in(all, to->tile);
    intptr_t cuts = to->tiles * (to->direct ? job->batch : 1) * job->groups;
    to->block = larger(cut_in(LEAST_ROWS, to->panel), cut_in(to->panels, cut_in(TASKS, cuts)));
    to->blocks = cut_in(to->panels, to->block);
    return run_packed(to, tile_task, to, cuts * to->blocks);
}

int run_outer(Job *job) {
    if (is_depthwise(job))
        return run_depthwise_outer(job);
    if (is_fast(job))
        return run_fast_outer(job);
    Pass to = {.job = job,
                  .from = {.data = job->x, .channels = job->inner},
                  .rows = job->outer,
                  .step = {1, 1, 1},
                  .weight = job->weight,
                  .bias = job->bias,
                  .to_row = job->inner * job->places,
                  .to_channel = job->places};
    Reading *from = &to.from;
    copy_sizes(from->extent, job->in, 3);
    copy_sizes(from->step, job->stride, 3);
    copy_sizes(from->shape, job->out, 3);
    copy_sizes(to.extent, job->out, 3);
    from->taps = taps_of_kernel(job);
    if (!from->taps)
        return NO_MEMORY;
    from->count = job->places;
    int code = run_product(&to);
    pool_give(from->taps);
    return code;
}

/* Write the bias, or 0, everywhere. */
static void fill_task(void *context, intptr_t plane) {
    const Job *job = context;
    char *to = job->result + plane * job->volume * job->size;
    intptr_t channel = plane % (job->groups * job->inner);
    if (!job->bias)
        memset(to, 0, (size_t)(job->volume * job->size));
    else
        repeat(to, job->bias + channel * job->size, job->volume, (int)job->size);
}

/* Add to a product the taps that inner positions of a remainder meet; return how many there are. */
static intptr_t meet(Pass *to, const Tap *taps) {
    const Job *job = to->job;
    to->from.count = 0;
    for (const Tap *tap = taps; tap < taps + job->places; tap++) {
        Tap *with = &to->from.taps[to->from.count];
        int is = 1;
        for (int axis = 0; axis < 3; axis++) {
            intptr_t distance = to->first[axis] - tap->offset[axis];
            is &= distance % job->stride[axis] == 0;
            with->offset[axis] = distance / job->stride[axis];
        }
        with->place = tap->place;
        to->from.count += is;
    }
    return to->from.count;
}

/* Compute inner positions of one remainder; none where nothing meets them. */
static int run_remainder(Job *job, const intptr_t *first, const Tap *taps, Tap *memory) {
    Pass to = {.job = job,
                  .from = {.data = job->g, .channels = job->outer, .step = {1, 1, 1},
                           .taps = memory},
                  .rows = job->inner,
                  .weight = job->weight,
                  .bias = job->bias,
                  .to_row = job->places,
                  .to_channel = job->inner * job->places};
    copy_sizes(to.from.extent, job->out, 3);
    copy_sizes(to.extent, job->in, 3);
    copy_sizes(to.first, first, 3);
    copy_sizes(to.step, job->stride, 3);
    for (int axis = 0; axis < 3; axis++)
        to.from.shape[axis] = cut_in(job->in[axis] - first[axis], job->stride[axis]);
    return meet(&to, taps) ? run_product(&to) : OK;
}

int run_inner(Job *job) {
    if (is_depthwise(job))
        return run_depthwise_inner(job);
    if (is_fast(job))
        return run_fast_inner(job);
    if (job->batch * job->groups * job->inner * job->volume == 0)
        return OK;
    int spread = is_spread(job), alone = product_of(job->stride, 3) == 1;
    if (spread || !(alone && job->places))
        run_convolution(job, fill_task, job, job->batch * job->groups * job->inner);
    if (spread)
        return run_spread(job);
    Tap *taps = taps_of_kernel(job), *memory = taps_of_kernel(job);
    intptr_t least[3], first[3];
    for (int axis = 0; axis < 3; axis++)
        least[axis] = smaller(job->stride[axis], job->in[axis]);
    int code = taps && memory ? OK : NO_MEMORY;
    for (first[0] = 0; first[0] < least[0]; first[0]++)
        for (first[1] = 0; first[1] < least[1]; first[1]++)
            for (first[2] = 0; first[2] < least[2] && code == OK; first[2]++)
                code = run_remainder(job, first, taps, memory);
    pool_give(taps);
    pool_give(memory);
    return code;
}
