/* The inner tensor from products at outer positions, which are added where the kernel lies. */
#include "convolution_product.h"
#include "isa.h"

/* About how many rows of sums wait to be added, and the fewest images that keep threads busy. */
#define ROWS 256
#define LEAST_IMAGES 8

/* The outer tensor is read as it lies; a row is an inner channel and a place of the kernel. */
typedef struct {
    Pass pass;
    Reading inner;
} Spread;

/* Add rows of sums to the planes of their channels: one place of the kernel after the other, for
   what was written last is slow to be read. */
static void add_rows(const Spread *to, const Block *tile, const Segment *segments,
                     intptr_t count) {
    const Job *job = to->pass.job;
    for (intptr_t first = 0; first < smaller(job->places, tile->rows); first++)
        for (intptr_t r = first; r < tile->rows; r += job->places) {
            intptr_t row = tile->row + r, channel = tile->group * job->inner + row / job->places;
            isa->convolver.fold[job->dtype == F64](
                job->result + channel * job->volume * job->size,
                tile->sums + r * tile->lead * job->size, &to->inner,
                &to->inner.taps[row % job->places], segments, count);
        }
}

/* Compute what an image's outer positions add to inner ones, a tile of them at a time: the products
   for all rows, each a channel and a place of the kernel, and then their sums. */
static void spread_task(void *context, intptr_t number) {
    const Spread *to = context;
    const Pass *pass = &to->pass;
    Job *job = pass->job;
    intptr_t size = job->size, image = number / job->groups, channels = pass->from.channels;
    intptr_t rows = pass->block * pass->panel, line = channels * pass->width;
    Block tile = {.group = number % job->groups, .lead = pass->tile, .line = line};
    char *memory = pool_take((size_t)((line * ACROSS + rows * pass->tile) * size));
    if (!memory) {
        atomic_store(&job->code, NO_MEMORY);
        return;
    }
    tile.sums = memory + line * ACROSS * size;
    Segment segments[MOST_POSITIONS];
    for (intptr_t at = 0; at < job->positions; at += pass->tile) {
        tile.columns = smaller(pass->tile, job->positions - at);
        for (intptr_t i = 0; i < tile.columns; i += pass->width) {
            intptr_t count = segments_of(&pass->from, image * job->positions + at + i,
                                         smaller(pass->width, tile.columns - i), segments);
            read_lines(job, &pass->from, (Some){tile.group, 0, channels, 0, 1}, segments, count,
                       memory + i / pass->width * line * size, 0, pass->width);
        }
        intptr_t count = segments_of(&to->inner, image * job->positions + at, tile.columns,
                                     segments);
        for (tile.panel = 0; tile.panel < pass->panels; tile.panel += tile.panels) {
            Part part;
            int is = first_part(pass, &part);
            tile.row = tile.panel * pass->panel;
            tile.panels = smaller(pass->block, pass->panels - tile.panel);
            tile.rows = smaller(pass->rows - tile.row, tile.panels * pass->panel);
            for (int more = 0; is; is = next_part(pass, &part), more = 1) {
                tile.lines = memory + part.channel * pass->width * size;
                multiply_tile(pass, &tile, &part, more);
            }
            add_rows(to, &tile, segments, count);
        }
    }
    pool_give(memory);
}

/* Adding a line costs about as much as so many multiplications of one, reading as so many. */
int is_spread(const Job *job) {
    intptr_t steps = product_of(job->stride, 3), adding = job->stride[2] == 1 ? 16 : 64;
    double inner = (double)job->inner, outer = (double)job->outer, reading = 10;
    double gathered = (double)job->volume / (double)steps * outer * (inner + reading);
    double spread = inner * (outer + (double)adding) + reading * outer / (double)job->places;
    return job->batch * job->groups >= LEAST_IMAGES && spread * (double)job->positions < gathered;
}

int run_spread(Job *job) {
    Tap whole = {.place = 0};
    intptr_t kernels = job->inner * job->places;
    Spread to = {.pass = {.job = job,
                          .from = {.data = job->g, .channels = job->outer, .extent = {1, 1},
                                   .volume = job->positions, .step = {1, 1, 1}, .shape = {1, 1},
                                   .positions = job->positions, .taps = &whole, .count = 1},
                          .rows = kernels,
                          .weight = job->weight,
                          .to_row = 1,
                          .to_channel = kernels},
                 .inner = {.positions = job->positions, .taps = taps_of_kernel(job),
                           .image = job->groups * job->inner * job->volume}};
    Pass *pass = &to.pass;
    pass->from.extent[2] = pass->from.shape[2] = job->positions;
    pass->from.image = job->groups * job->outer * job->positions;
    copy_sizes(to.inner.extent, job->in, 3);
    copy_sizes(to.inner.step, job->stride, 3);
    copy_sizes(to.inner.shape, job->out, 3);
    cut_product(pass);
    pass->block = cut_in(ROWS, pass->panel);
    pass->tile = smaller(ACROSS * pass->width, cut_in(job->positions, pass->width) * pass->width);
    int code = to.inner.taps ? run_packed(pass, spread_task, &to, job->batch * job->groups)
                             : NO_MEMORY;
    pool_give(to.inner.taps);
    return code;
}
