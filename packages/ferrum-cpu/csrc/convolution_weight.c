/* The gradient of the weight: the product of the outer tensor and of what its positions read of
   the inner one, over all positions. Positions are taken some at a time: the lines that they read
   are written, and turned so that a position is a line of the right operand. */
#include "convolution_reading.h"
#include "isa.h"

#include <string.h>

/* The most rows, outer channels, of a task, and columns in those of the instruction set. */
#define MOST_ROWS 256
#define ACROSS 8
#define TASKS 16

typedef struct {
    Job *job;
    Reading from;
    intptr_t width, columns, blocks, panel, rows, row_blocks, all; /* columns: of a task */
    intptr_t parts, each; /* of all positions, in so many chunks to a part */
    char *partial;
} Sum;

/* Elements to copy. */
typedef struct {
    intptr_t to, from, count;
} Run;

/* Where positions lie in the planes of an outer channel; return how many runs there are. */
static intptr_t runs_of(const Job *job, intptr_t first, intptr_t count, Run *runs) {
    intptr_t found = 0, image = job->groups * job->outer * job->positions;
    for (intptr_t at = 0; at < count; found++) {
        intptr_t place = (first + at) % job->positions;
        intptr_t some = smaller(count - at, job->positions - place);
        runs[found] = (Run){at, (first + at) / job->positions * image + place, some};
        at += some;
    }
    return found;
}

/* Pack what an outer channel has at some positions: a row of an operand with `spacing` rows. What
   follows is asked for, since the next positions lie in as many pages as there are channels. */
static void pack_row(const Job *job, intptr_t channel, const Run *runs, intptr_t count,
                     intptr_t spacing, char *to) {
    _Alignas(64) char line[MOST_POSITIONS * sizeof(double)];
    intptr_t size = job->size, n = 0;
    const char *plane = job->g + channel * job->positions * size;
    for (const Run *run = runs; run < runs + count; n += run++->count)
        memcpy(line + run->to * size, plane + run->from * size, (size_t)(run->count * size));
    const char *next = plane + (runs[count - 1].from + runs[count - 1].count) * size;
    for (intptr_t ahead = 0; ahead < n * size; ahead += 64)
        __builtin_prefetch(next + ahead, 0, 2);
    if (size == sizeof(float))
        for (intptr_t k = 0; k < n; k += GROUP)
            memcpy(to + k * spacing * size, line + k * size, GROUP * sizeof(float));
    else
        for (intptr_t k = 0; k < n; k += GROUP)
            memcpy(to + k * spacing * size, line + k * size, GROUP * sizeof(double));
}

/* Write the lines that columns of the weight, from `first` on, read at some positions. */
static void read_columns(const Sum *sum, intptr_t group, intptr_t first, intptr_t columns,
                         const Segment *segments, intptr_t count, char *to) {
    const Job *job = sum->job;
    intptr_t places = job->places, size = job->size;
    for (intptr_t t = 0; t < places; t++) {
        intptr_t channel = first > t ? cut_in(first - t, places) : 0;
        intptr_t last = first + columns - 1 - t; /* a channel's column is its number times places */
        intptr_t channels = last < 0 ? 0 : last / places + 1 - channel;
        if (channels > 0)
            read_lines(job, &sum->from, (Some){group, channel, channels, t, 1}, segments, count,
                       to + (channel * places + t - first) * MOST_POSITIONS * size, 0,
                       places * MOST_POSITIONS);
    }
}

static void sum_task(void *context, intptr_t number) {
    const Sum *sum = context;
    Job *job = sum->job;
    intptr_t size = job->size, part = number % sum->parts, kernels = job->inner * job->places;
    intptr_t block = number / sum->parts % sum->blocks, rest = number / sum->parts / sum->blocks;
    intptr_t row = rest % sum->row_blocks * sum->rows, group = rest / sum->row_blocks;
    intptr_t rows = smaller(sum->rows, job->outer - row), first = block * sum->columns;
    intptr_t columns = smaller(sum->columns, kernels - first), channel = group * job->outer + row;
    intptr_t lines = cut_in(columns, sum->width) * sum->width * MOST_POSITIONS;
    intptr_t packed = cut_in(rows, sum->panel) * sum->panel * MOST_POSITIONS;
    char *memory = pool_take((size_t)((2 * lines + packed) * size));
    if (!memory) {
        atomic_store(&job->code, NO_MEMORY);
        return;
    }
    char *turned = memory + lines * size, *left = turned + lines * size;
    char *to = part ? sum->partial + (part - 1) * job->groups * job->outer * kernels * size
                    : job->result;
    to += (channel * kernels + first) * size;
    intptr_t start = part * sum->each * MOST_POSITIONS;
    intptr_t end = smaller(sum->all, start + sum->each * MOST_POSITIONS);
    for (intptr_t at = start, n; at < end; at += n) {
        Segment segments[MOST_POSITIONS];
        Run runs[MOST_POSITIONS];
        n = smaller(MOST_POSITIONS, end - at);
        read_columns(sum, group, first, columns, segments, segments_of(&sum->from, at, n, segments),
                     memory);
        intptr_t count = runs_of(job, at, n, runs);
        for (intptr_t r = 0; r < rows; r++) {
            intptr_t panel = r / sum->panel * sum->panel;
            pack_row(job, channel + r, runs, count, sum->panel,
                     left + (panel * MOST_POSITIONS + (r - panel) * GROUP) * size);
        }
        for (intptr_t c = 0; c < columns; c += sum->width)
            isa->convolver.turn[job->dtype == F64](turned + c * MOST_POSITIONS * size,
                                                   memory + c * MOST_POSITIONS * size,
                                                   MOST_POSITIONS, n);
        for (intptr_t r = 0; r < rows; r += sum->panel)
            for (intptr_t c = 0; c < columns; c += sum->width)
                isa->convolver.product[job->dtype == F64](
                    left + r * MOST_POSITIONS * size, sum->panel,
                    turned + c * MOST_POSITIONS * size,
                    to + (r * kernels + c) * size, kernels, (int)smaller(sum->panel, rows - r),
                    smaller(sum->width, columns - c), n, NULL, at > start);
    }
    pool_give(memory);
}

/* Add what the parts of all positions give, in order. */
static void join_task(void *context, intptr_t channel) {
    const Sum *sum = context;
    const Job *job = sum->job;
    intptr_t n = job->inner * job->places, all = job->groups * job->outer * n;
    const Entry *add = &isa->elementwise[OP_add][job->dtype];
    char *to = job->result + channel * n * job->size;
    for (intptr_t part = 1; part < sum->parts; part++) {
        const char *more = sum->partial + ((part - 1) * all + channel * n) * job->size;
        add->loop(to, (const void *[]){to, more}, n);
    }
}

int run_weight(Job *job) {
    if (is_depthwise(job))
        return run_depthwise_weight(job);
    if (is_fast(job))
        return run_fast_weight(job);
    Sum sum = {.job = job, .all = job->batch * job->positions};
    intptr_t kernels = job->inner * job->places;
    intptr_t elements = job->groups * job->outer * kernels;
    if (elements == 0)
        return OK;
    if (sum.all == 0) {
        memset(job->result, 0, (size_t)(elements * job->size));
        return OK;
    }
    Reading *from = &sum.from;
    *from = (Reading){.data = job->x, .channels = job->inner, .volume = job->volume,
                      .positions = job->positions, .count = job->places,
                      .image = job->groups * job->inner * job->volume};
    copy_sizes(from->extent, job->in, 3);
    copy_sizes(from->step, job->stride, 3);
    copy_sizes(from->shape, job->out, 3);
    sum.width = isa->convolver.columns[job->dtype == F64];
    intptr_t across = cut_in(kernels, sum.width);
    sum.columns = cut_in(across, cut_in(across, ACROSS)) * sum.width;
    sum.blocks = cut_in(kernels, sum.columns);
    intptr_t panels = cut_in(job->outer, isa->convolver.rows);
    sum.panel = cut_in(job->outer, panels);
    sum.row_blocks = cut_in(job->outer, MOST_ROWS);
    sum.rows = cut_in(cut_in(job->outer, sum.row_blocks), sum.panel) * sum.panel;
    sum.row_blocks = cut_in(job->outer, sum.rows);
    intptr_t tasks = sum.blocks * sum.row_blocks * job->groups;
    intptr_t chunks = cut_in(sum.all, MOST_POSITIONS);
    sum.each = cut_in(chunks, smaller(chunks, larger(1, TASKS / tasks)));
    sum.parts = cut_in(chunks, sum.each);
    from->taps = taps_of_kernel(job);
    if (sum.parts > 1)
        sum.partial = pool_take((size_t)((sum.parts - 1) * elements * job->size));
    int code = from->taps && (sum.parts == 1 || sum.partial) ? OK : NO_MEMORY;
    if (code == OK)
        code = run_convolution(job, sum_task, &sum, sum.parts * tasks);
    if (code == OK && sum.parts > 1)
        run_convolution(job, join_task, &sum, job->groups * job->outer);
    pool_give(from->taps);
    pool_give(sum.partial);
    return code;
}
