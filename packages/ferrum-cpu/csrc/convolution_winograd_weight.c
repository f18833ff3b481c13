/* The gradient of kernels of 3 x 3 by the way of convolution_winograd.c: squares of 4 x 4 inner
   positions and of 2 x 2 outer ones are transformed, multiplied for each of 16 places, and summed
   over all squares; each kernel comes from 16 sums. */
#include "convolution_reading.h"
#include "isa.h"

#include <string.h>

#define DEPTH 256
/* Channels that are read at a time, and panels of them that a task multiplies. */
#define CHANNELS 16
#define ACROSS 4

typedef struct {
    Job *job;
    Reading inner, outer;
    intptr_t group, squares, first, wave, padded; /* padded: a wave's squares in whole GROUPs */
    intptr_t width, across, panel, panels; /* panels of inner channels, and of outer ones */
    float *lines, *rows, *sums; /* what inner and outer squares become; sums by place */
} Sum;

static intptr_t squares_of(const Sum *sum, intptr_t panel) {
    return smaller(sum->width, sum->wave - panel * sum->width);
}

/* Transform what a panel of inner channels has at a panel of squares, and turn it, so that a square
   is a line of the right operand. */
static void inner_task(void *context, intptr_t number) {
    const Sum *sum = context;
    Job *job = sum->job;
    intptr_t panels = cut_in(sum->wave, sum->width), panel = number % panels, width = sum->width;
    intptr_t block = number / panels, first = block * width;
    intptr_t end = smaller(first + width, job->inner), one = width * width;
    float *memory = pool_take((size_t)(CHANNELS * 16 * width + 16 * one) * sizeof(float));
    if (!memory) {
        atomic_store(&job->code, NO_MEMORY);
        return;
    }
    float *places = memory + CHANNELS * 16 * width;
    Segment segments[MOST_POSITIONS];
    intptr_t count = segments_of(&sum->inner, sum->first + panel * width, squares_of(sum, panel),
                                 segments);
    for (intptr_t channel = first, some; channel < end; channel += some) {
        some = smaller(CHANNELS, end - channel);
        read_lines(job, &sum->inner, (Some){sum->group, channel, some, 0, 16}, segments, count,
                   (char *)memory, width, 16 * width);
        for (intptr_t c = 0; c < some; c++)
            isa->winograd.squares(memory + c * 16 * width, places + (channel - first + c) * width,
                                  one);
    }
    for (intptr_t place = 0; place < 16; place++)
        isa->convolver.turn[0](sum->lines + ((place * sum->across + block) * sum->padded +
                                             panel * width) * width,
                               places + place * one, width, squares_of(sum, panel));
    pool_give(memory);
}

/* Transform and pack what some outer channels have at a panel of squares. */
static void outer_task(void *context, intptr_t number) {
    const Sum *sum = context;
    Job *job = sum->job;
    intptr_t panels = cut_in(sum->wave, sum->width), panel = number % panels, width = sum->width;
    intptr_t row = number / panels * CHANNELS, some = smaller(CHANNELS, job->outer - row);
    intptr_t whole = smaller(width, GROUP), place = sum->panels * sum->panel * sum->padded;
    Segment segments[MOST_POSITIONS];
    _Alignas(64) float read[CHANNELS * 4 * MOST_WIDTH], lines[16 * MOST_WIDTH];
    intptr_t count = segments_of(&sum->outer, sum->first + panel * width, squares_of(sum, panel),
                                 segments);
    read_lines(job, &sum->outer, (Some){sum->group, row, some, 0, 4}, segments, count,
               (char *)read, width, 4 * width);
    for (intptr_t r = row; r < row + some; r++) {
        intptr_t start = r / sum->panel * sum->panel, in_panel = r - start;
        float *to = sum->rows + start * sum->padded;
        isa->winograd.outers(read + (r - row) * 4 * width, lines);
        for (intptr_t i = 0; i < width; i += whole) {
            intptr_t at = panel * width + i;
            float *group = to + (at / GROUP * sum->panel + in_panel) * GROUP + at % GROUP;
            for (int k = 0; k < 16; k++)
                memcpy(group + k * place, lines + k * width + i, (size_t)whole * sizeof(float));
        }
    }
}

/* Multiply, for one of the 16 places, all outer channels and some panels of inner ones. */
static void multiply_task(void *context, intptr_t number) {
    const Sum *sum = context;
    const Job *job = sum->job;
    intptr_t place = number % 16, first = number / 16 * ACROSS, width = sum->width;
    const float *rows = sum->rows + place * sum->panels * sum->panel * sum->padded;
    for (intptr_t k = 0; k < sum->wave; k += DEPTH)
        for (intptr_t row = 0; row < job->outer; row += sum->panel)
            for (intptr_t block = first; block < smaller(first + ACROSS, sum->across); block++)
                isa->convolver.product[0](
                    rows + row * sum->padded + k * sum->panel, sum->panel,
                    sum->lines + ((place * sum->across + block) * sum->padded + k) * width,
                    sum->sums + (place * job->outer + row) * job->inner + block * width, job->inner,
                    (int)smaller(sum->panel, job->outer - row),
                    smaller(width, job->inner - block * width), smaller(DEPTH, sum->wave - k), NULL,
                    sum->first + k > 0);
}

static void weight_task(void *context, intptr_t row) {
    const Sum *sum = context;
    const Job *job = sum->job;
    float *to = (float *)job->result + (sum->group * job->outer + row) * job->inner * 9;
    for (intptr_t c = 0; c < job->inner; c += GROUP)
        isa->winograd.weights(sum->sums + row * job->inner + c, job->outer * job->inner,
                              smaller(GROUP, job->inner - c), to + 9 * c);
}

static void run_group(Sum *sum, intptr_t most) {
    Job *job = sum->job;
    for (sum->first = 0; sum->first < sum->squares; sum->first += sum->wave) {
        sum->wave = smaller(most, sum->squares - sum->first);
        intptr_t panels = cut_in(sum->wave, sum->width);
        run_convolution(job, inner_task, sum, panels * sum->across);
        run_convolution(job, outer_task, sum, panels * cut_in(job->outer, CHANNELS));
        run_convolution(job, multiply_task, sum, 16 * cut_in(sum->across, ACROSS));
    }
    run_convolution(job, weight_task, sum, job->outer);
}

int run_fast_weight(Job *job) {
    Tap inner[16], outer[4];
    Sum sum = {.job = job,
               .inner = {.data = job->x, .channels = job->inner, .taps = inner},
               .outer = {.data = job->g, .channels = job->outer, .taps = outer}};
    copy_sizes(sum.inner.extent, job->in, 3);
    copy_sizes(sum.outer.extent, job->out, 3);
    read_squares(job, &sum.inner, 4, job->padding + 1, job->out + 1);
    read_squares(job, &sum.outer, 2, (const intptr_t[]){0, 0}, job->out + 1);
    sum.squares = job->batch * sum.outer.positions;
    sum.width = isa->convolver.columns[0];
    sum.across = cut_in(job->inner, sum.width);
    sum.panels = cut_in(job->outer, isa->convolver.rows);
    sum.panel = cut_in(job->outer, sum.panels);
    sum.panels = cut_in(job->outer, sum.panel);
    intptr_t most = wave_of(job->inner + job->outer, sum.squares, sum.width);
    sum.padded = cut_in(most, GROUP) * GROUP;
    intptr_t lines = 16 * sum.across * sum.width * sum.padded;
    intptr_t rows = 16 * sum.panels * sum.panel * sum.padded;
    sum.lines = pool_take((size_t)(lines + rows + 16 * job->outer * job->inner) * sizeof(float));
    if (!sum.lines)
        return NO_MEMORY;
    sum.rows = sum.lines + lines;
    sum.sums = sum.rows + rows;
    for (sum.group = 0; sum.group < job->groups; sum.group++)
        run_group(&sum, most);
    pool_give(sum.lines);
    return atomic_load(&job->code);
}
