/* The units of work of batch_norm; see norms_batch.c. */
#ifndef FERRUM_NORMS_UNITS_H
#define FERRUM_NORMS_UNITS_H

#include "norms_common.h"

#include <stdatomic.h>

/* Elements of a unit, and of a task at least; columns of a block; planes that are short. */
#define GRAIN 32768
#define WIDTH 512
#define SHORT 32

typedef struct Batch Batch;
typedef int (*Unit)(const Batch *, intptr_t chunk, intptr_t block);

struct Batch {
    Source x, g;
    View out;
    intptr_t n, c, l;
    intptr_t row, parts, width, blocks; /* of a sample: elements, parts; of a block; in a row */
    intptr_t chunk, chunks, each;       /* samples of a unit, units in a column, units of a task */
    int compute, size, short_planes, training;
    Unit unit;
    char *work;                /* all that follows */
    double *first, *second;    /* two sums for each chunk and part */
    double *mean, *var;        /* of channels */
    double *sum, *product;     /* of channels: g, and g times the distance from the mean */
    double *center;            /* of parts */
    char *coefficient[4];      /* of parts, in the loop's dtype: a mean and three factors */
    atomic_int failed;
};

static intptr_t part_of(const Batch *b, intptr_t block) {
    return b->short_planes ? block * b->width : block;
}

static intptr_t width_of(const Batch *b, intptr_t block) {
    return b->short_planes ? smaller(b->width, b->row - block * b->width) : b->l;
}

static intptr_t rows_of(const Batch *b, intptr_t chunk) {
    return smaller(b->chunk, b->n - chunk * b->chunk);
}

/* Where a sample's part of a block begins. */
static intptr_t position_of(const Batch *b, intptr_t sample, intptr_t block) {
    return sample * b->row + (b->short_planes ? block * b->width : block * b->l);
}

/* Return the rows of a unit as a loop reads them, `stride` bytes apart. */
static const char *rows_at(const Batch *b, const Source *x, intptr_t chunk, intptr_t block,
                           char *scratch, intptr_t *stride) {
    intptr_t m = width_of(b, block), rows = rows_of(b, chunk), first = chunk * b->chunk;
    if (is_direct(x)) {
        *stride = b->row * b->size;
        return x->view.data + position_of(b, first, block) * b->size;
    }
    *stride = m * b->size;
    for (intptr_t r = 0; r < rows; r++)
        load_dense(x, position_of(b, first + r, block), m, scratch + r * *stride, b->size);
    return scratch;
}

static double sum_of_lanes(const Reducer *loop, double *lanes) {
    loop->fold(lanes);
    return lanes[0];
}

static int statistics_unit(const Batch *b, intptr_t chunk, intptr_t block) {
    const Reducer *loop = &isa->reduce[SUM][b->compute];
    intptr_t m = width_of(b, block), rows = rows_of(b, chunk), stride;
    int direct = is_direct(&b->x);
    char *scratch = direct ? NULL : pool_take((size_t)(rows * m * b->size));
    if (!direct && !scratch)
        return 0;
    const char *x = rows_at(b, &b->x, chunk, block, scratch, &stride);
    double mean[WIDTH], square[WIDTH], drift[WIDTH];
    double *means = b->first + chunk * b->parts + part_of(b, block);
    double *squares = b->second + chunk * b->parts + part_of(b, block);
    intptr_t count = b->short_planes ? rows : rows * m, width = b->short_planes ? m : LANES;
    loop->start(mean, width);
    loop->start(square, width);
    loop->start(drift, width);
    if (b->short_planes) {
        loop->rows(mean, x, stride, rows, m);
        for (intptr_t j = 0; j < m; j++)
            mean[j] /= (double)count;
        loop->squares(square, drift, x, stride, rows, m, mean);
        for (intptr_t j = 0; j < m; j++) {
            means[j] = mean[j] + drift[j] / (double)count;
            squares[j] = square[j] - drift[j] * (drift[j] / (double)count);
        }
    } else {
        intptr_t step = LANES * b->size;
        for (intptr_t r = 0; r < rows; r++)
            loop->lanes(mean, x + r * stride, m);
        double about = sum_of_lanes(loop, mean) / (double)count;
        for (int j = 0; j < LANES; j++)
            mean[j] = about;
        for (intptr_t r = 0; r < rows; r++) {
            const char *at = x + r * stride;
            loop->squares(square, drift, at, step, m / LANES, LANES, mean);
            loop->squares(square, drift, at + m / LANES * step, 0, m % LANES > 0, m % LANES, mean);
        }
        double off = sum_of_lanes(loop, drift);
        *means = about + off / (double)count;
        *squares = sum_of_lanes(loop, square) - off * (off / (double)count);
    }
    pool_give(scratch);
    return 1;
}

static int products_unit(const Batch *b, intptr_t chunk, intptr_t block) {
    const Reducer *loop = &isa->reduce[SUM][b->compute];
    intptr_t m = width_of(b, block), rows = rows_of(b, chunk), g_stride, x_stride;
    int wanted = !is_direct(&b->x) + !is_direct(&b->g), wide = b->compute == F64;
    intptr_t bytes = rows * m * b->size;
    char *scratch = wanted ? pool_take((size_t)(wanted * bytes)) : NULL;
    if (wanted && !scratch)
        return 0;
    const char *g = rows_at(b, &b->g, chunk, block, scratch, &g_stride);
    char *rest = wanted > 1 ? scratch + bytes : scratch;
    const char *x = rows_at(b, &b->x, chunk, block, rest, &x_stride);
    double *sum = b->first + chunk * b->parts + part_of(b, block);
    double *product = b->second + chunk * b->parts + part_of(b, block);
    const double *center = b->center + part_of(b, block);
    if (b->short_planes) {
        loop->start(sum, m);
        loop->start(product, m);
        isa->norms.products[wide](sum, product, g, g_stride, x, x_stride, rows, m, center);
    } else {
        double sums[LANES], products[LANES], mean[LANES];
        intptr_t step = LANES * b->size, whole = m / LANES;
        loop->start(sums, LANES);
        loop->start(products, LANES);
        for (int j = 0; j < LANES; j++)
            mean[j] = *center;
        for (intptr_t r = 0; r < rows; r++, g += g_stride, x += x_stride) {
            isa->norms.products[wide](sums, products, g, step, x, step, whole, LANES, mean);
            isa->norms.products[wide](sums, products, g + whole * step, 0, x + whole * step, 0,
                                      m % LANES > 0, m % LANES, mean);
        }
        *sum = sum_of_lanes(loop, sums);
        *product = sum_of_lanes(loop, products);
    }
    pool_give(scratch);
    return 1;
}

/* Write a unit of the result: of x, or with `backward` the gradient. */
static int write_unit(const Batch *b, intptr_t chunk, intptr_t block, int backward) {
    intptr_t m = width_of(b, block), rows = rows_of(b, chunk), part = part_of(b, block) * b->size;
    intptr_t out_size = ITEMSIZE[b->out.dtype], step = b->row * b->size;
    int wide = b->compute == F64, narrow = out_size == 2, shared = !b->short_planes;
    int reads_x = !backward || b->training;
    const char *mean = b->coefficient[0] + part, *scale = b->coefficient[1] + part;
    const char *shift = b->coefficient[2] + part, *factor = b->coefficient[3] + part;
    if ((!reads_x || is_direct(&b->x)) && (!backward || is_direct(&b->g)) && !narrow) {
        intptr_t at = position_of(b, chunk * b->chunk, block) * b->size;
        char *to = b->out.data + at;
        const char *x = reads_x ? b->x.view.data + at : NULL;
        if (backward)
            isa->norms.apply_backward[wide](to, step, b->g.view.data + at, step, x, step, rows, m,
                                            factor, mean, scale, shift, shared);
        else
            isa->norms.apply[wide](to, step, x, step, rows, m, mean, scale, shift, shared);
        return 1;
    }
    Tile of_x, of_g, made;
    for (intptr_t r = 0; r < rows; r++) {
        intptr_t position = position_of(b, chunk * b->chunk + r, block);
        for (intptr_t j = 0, n; j < m; j += n, position += n) {
            intptr_t skip = shared ? 0 : j * b->size;
            n = smaller(m - j, TILE);
            char *to = b->out.data + position * out_size, *y = narrow ? made.converted : to;
            const char *x = reads_x ? load_tile(&b->x, position, n, &of_x) : NULL;
            if (backward)
                isa->norms.apply_backward[wide](y, 0, load_tile(&b->g, position, n, &of_g), 0, x, 0,
                                                1, n, factor + skip, mean + skip, scale + skip,
                                                shift + skip, shared);
            else
                isa->norms.apply[wide](y, 0, x, 0, 1, n, mean + skip, scale + skip, shift + skip,
                                       shared);
            if (narrow)
                isa->convert[F32][b->out.dtype](to, y, n);
        }
    }
    return 1;
}

static int apply_unit(const Batch *b, intptr_t chunk, intptr_t block) {
    return write_unit(b, chunk, block, 0);
}

static int backward_unit(const Batch *b, intptr_t chunk, intptr_t block) {
    return write_unit(b, chunk, block, 1);
}

/* In evaluation the gradient needs none of the sums: both while the unit is near. */
static int both_unit(const Batch *b, intptr_t chunk, intptr_t block) {
    return products_unit(b, chunk, block) && write_unit(b, chunk, block, 1);
}

#endif
