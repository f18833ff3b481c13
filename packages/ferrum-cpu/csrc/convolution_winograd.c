/* Convolution by kernels of 3 x 3 with 16 multiplications for four sums instead of 36: F(2 x 2,
   3 x 3) of Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016. Its factors
   are 1 and 1/2, and its error is that of a direct sum.

   Squares of 4 x 4 inner positions, 2 apart, are transformed, and so are the kernels; for each of
   16 places in a square there is a product of matrices, and 2 x 2 outer positions come from the 16.
   A wave of squares is in memory at a time. */
#include "convolution_reading.h"
#include "isa.h"

#define DEPTH 256
/* Channels of a task that transforms. */
#define CHANNELS 16
#define ACROSS 4
/* Fewer squares, or channels, do not make up for transforming the kernels, or the squares. */
#define LEAST_SQUARES 64
#define LEAST_CHANNELS 32

typedef struct {
    Job *job;
    Reading from;
    intptr_t rows, to[2], group;          /* channels that are written, into planes of `to` */
    const char *weight;
    intptr_t to_row, to_channel, turned;  /* between kernels; whether they are turned over */
    intptr_t panel, panels, padded;       /* packed kernels: rows to a panel, padded channels */
    intptr_t width, squares, first, wave; /* squares in all; the first of a wave, and how many */
    float *kernels, *lines, *sums;
} Fast;

void read_squares(const Job *job, Reading *from, intptr_t side, const intptr_t *padding,
                  const intptr_t *plane) {
    from->volume = product_of(from->extent, 3);
    from->image = job->groups * from->channels * from->volume;
    for (intptr_t tap = 0; tap < side * side; tap++)
        from->taps[tap] = (Tap){{0, tap / side - padding[0], tap % side - padding[1]}, tap};
    from->step[0] = 1;
    from->step[1] = from->step[2] = 2;
    from->shape[0] = from->extent[0];
    for (int axis = 0; axis < 2; axis++)
        from->shape[axis + 1] = cut_in(plane[axis], 2);
    from->positions = product_of(from->shape, 3);
}

intptr_t wave_of(intptr_t channels, intptr_t squares, intptr_t width) {
    intptr_t panels = larger(4, 131072 / channels / width);
    return smaller(panels, cut_in(squares, width)) * width;
}

int is_fast(const Job *job) {
    intptr_t squares = job->batch * cut_in(job->out[1], 2) * cut_in(job->out[2], 2) * job->out[0];
    int fits = job->dtype == F32 && job->kernel[0] == 1 && job->kernel[1] == 3 &&
               job->kernel[2] == 3 && job->padding[0] == 0 &&
               smaller(job->inner, job->outer) >= LEAST_CHANNELS && squares >= LEAST_SQUARES;
    for (int axis = 0; axis < 3; axis++)
        fits &= job->stride[axis] == 1 && job->dilation[axis] == 1;
    return fits;
}

/* Transform and pack a panel of kernels. */
static void kernel_task(void *context, intptr_t panel) {
    const Fast *fast = context;
    intptr_t row = panel * fast->panel, rows = smaller(fast->panel, fast->rows - row);
    intptr_t place = fast->panels * fast->panel * fast->padded;
    for (intptr_t r = 0; r < rows; r++)
        for (intptr_t c = 0; c < fast->from.channels; c += GROUP)
            isa->winograd.kernels((const float *)fast->weight + (row + r) * fast->to_row +
                                      c * fast->to_channel,
                                  fast->to_channel, smaller(GROUP, fast->from.channels - c),
                                  (int)fast->turned,
                                  fast->kernels + row * fast->padded +
                                      (c / GROUP * fast->panel + r) * GROUP,
                                  place);
}

/* Squares of a panel of a wave. */
static intptr_t squares_of(const Fast *fast, intptr_t panel) {
    return smaller(fast->width, fast->wave - panel * fast->width);
}

/* Transform what some channels have at a panel of squares. */
static void square_task(void *context, intptr_t number) {
    const Fast *fast = context;
    Job *job = fast->job;
    intptr_t panels = cut_in(fast->wave, fast->width), panel = number % panels;
    intptr_t channel = number / panels * CHANNELS;
    intptr_t channels = smaller(CHANNELS, fast->from.channels - channel), width = fast->width;
    Segment segments[MOST_POSITIONS];
    _Alignas(64) float read[CHANNELS * 16 * MOST_WIDTH];
    intptr_t count = segments_of(&fast->from, fast->first + panel * width, squares_of(fast, panel),
                                 segments);
    read_lines(job, &fast->from, (Some){fast->group, channel, channels, 0, 16}, segments, count,
               (char *)read, width, 16 * width);
    for (intptr_t c = 0; c < channels; c++)
        isa->winograd.squares(read + c * 16 * width,
                              fast->lines + (panel * fast->from.channels + channel + c) * width,
                              panels * fast->from.channels * width);
}

/* Multiply, for one of the 16 places, some panels of squares. */
static void multiply_task(void *context, intptr_t number) {
    const Fast *fast = context;
    intptr_t panels = cut_in(fast->wave, fast->width), depth = fast->from.channels;
    intptr_t place = number % 16, start = number / 16 * ACROSS;
    const float *kernels = fast->kernels + place * fast->panels * fast->panel * fast->padded;
    const float *lines = fast->lines + place * panels * depth * fast->width;
    float *sums = fast->sums + place * fast->rows * panels * fast->width;
    for (intptr_t k = 0; k < depth; k += DEPTH)
        for (intptr_t row = 0; row < fast->rows; row += fast->panel)
            for (intptr_t panel = start; panel < smaller(start + ACROSS, panels); panel++)
                isa->convolver.product[0](
                    kernels + row * fast->padded + k * fast->panel, fast->panel,
                    lines + (panel * depth + k) * fast->width,
                    sums + (row * panels + panel) * fast->width, panels * fast->width,
                    (int)smaller(fast->panel, fast->rows - row), squares_of(fast, panel),
                    smaller(DEPTH, depth - k), NULL, k > 0);
}

/* Write two lines of a plane for each segment of squares. */
static void write_squares(const Fast *fast, const float *lines, const Segment *segments,
                          intptr_t count, intptr_t channel) {
    const Job *job = fast->job;
    intptr_t height = fast->to[0], width = fast->to[1], all = job->groups * fast->rows;
    for (intptr_t i = 0, at = 0; i < count; at += segments[i++].count) {
        intptr_t y = 2 * segments[i].at[1], x = 2 * segments[i].at[2];
        intptr_t plane = segments[i].image * all + channel;
        plane = plane * fast->from.shape[0] + segments[i].at[0];
        float *to = (float *)job->result + (plane * height + y) * width + x;
        intptr_t n = smaller(2 * segments[i].count, width - x);
        isa->winograd.copy(to, lines + 2 * at, n);
        if (y + 1 < height)
            isa->winograd.copy(to + width, lines + 2 * (fast->width + at), n);
    }
}

/* Write the outer positions that some channels have at a panel of squares. */
static void outer_task(void *context, intptr_t number) {
    const Fast *fast = context;
    const Job *job = fast->job;
    intptr_t panels = cut_in(fast->wave, fast->width), panel = number % panels;
    intptr_t row = number / panels * CHANNELS, end = smaller(row + CHANNELS, fast->rows);
    Segment segments[MOST_POSITIONS];
    _Alignas(64) float lines[4 * MOST_WIDTH];
    intptr_t count = segments_of(&fast->from, fast->first + panel * fast->width,
                                 squares_of(fast, panel), segments);
    for (; row < end; row++) {
        intptr_t channel = fast->group * fast->rows + row;
        isa->winograd.sums(fast->sums + (row * panels + panel) * fast->width,
                           fast->rows * panels * fast->width,
                           job->bias ? ((const float *)job->bias)[channel] : 0, lines);
        write_squares(fast, lines, segments, count, channel);
    }
}

/* All squares of a group, some at a time. */
static void run_group(Fast *fast, intptr_t most) {
    Job *job = fast->job;
    run_convolution(job, kernel_task, fast, fast->panels);
    for (fast->first = 0; fast->first < fast->squares; fast->first += fast->wave) {
        fast->wave = smaller(most, fast->squares - fast->first);
        intptr_t panels = cut_in(fast->wave, fast->width);
        run_convolution(job, square_task, fast, panels * cut_in(fast->from.channels, CHANNELS));
        run_convolution(job, multiply_task, fast, 16 * cut_in(panels, ACROSS));
        run_convolution(job, outer_task, fast, panels * cut_in(fast->rows, CHANNELS));
    }
}

/* Of what `from` says the data, the channels and the extent are known. */
static int run_fast(Fast *fast, const intptr_t *padding) {
    Job *job = fast->job;
    Reading *from = &fast->from;
    Tap taps[16];
    from->taps = taps;
    read_squares(job, from, 4, padding, fast->to);
    fast->squares = job->batch * from->positions;
    fast->width = isa->convolver.columns[0];
    fast->panels = cut_in(fast->rows, isa->convolver.rows);
    fast->panel = cut_in(fast->rows, fast->panels);
    fast->panels = cut_in(fast->rows, fast->panel);
    fast->padded = cut_in(from->channels, GROUP) * GROUP;
    intptr_t most = wave_of(from->channels + fast->rows, fast->squares, fast->width);
    intptr_t kernels = 16 * fast->panels * fast->panel * fast->padded;
    intptr_t lines = 16 * most * from->channels;
    fast->kernels = pool_take((size_t)(kernels + lines + 16 * most * fast->rows) * sizeof(float));
    if (!fast->kernels)
        return NO_MEMORY;
    fast->lines = fast->kernels + kernels;
    fast->sums = fast->lines + lines;
    const char *weight = fast->weight;
    for (fast->group = 0; fast->group < job->groups; fast->group++) {
        fast->weight = weight + fast->group * job->outer * job->inner * 9 * job->size;
        run_group(fast, most);
    }
    pool_give(fast->kernels);
    return OK;
}

int run_fast_outer(Job *job) {
    Fast fast = {.job = job,
                 .from = {.data = job->x, .channels = job->inner},
                 .rows = job->outer,
                 .weight = job->weight,
                 .to_row = job->inner * 9,
                 .to_channel = 9};
    copy_sizes(fast.from.extent, job->in, 3);
    copy_sizes(fast.to, job->out + 1, 2);
    return run_fast(&fast, job->padding + 1);
}

int run_fast_inner(Job *job) {
    Fast fast = {.job = job,
                 .from = {.data = job->g, .channels = job->outer},
                 .rows = job->inner,
                 .weight = job->weight,
                 .to_row = 9,
                 .to_channel = job->inner * 9,
                 .turned = 1};
    copy_sizes(fast.from.extent, job->out, 3);
    copy_sizes(fast.to, job->in + 1, 2);
    return run_fast(&fast, (intptr_t[]){2 - job->padding[1], 2 - job->padding[2]});
}
