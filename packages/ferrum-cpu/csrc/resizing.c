/* Resizing: a plane's rows are resized, each by itself, and then weighed to make the rows of the
   result. A unit of work is some rows of the result; the rows of x that they are made of lie in a
   buffer that stays in a near cache. How planes are cut depends on shapes alone. */
#include "elementwise.h"
#include "isa.h"
#include "resizing.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

/* Elements that a task computes at least, and that a buffer of rows has about. */
#define GRAIN 32768
#define BUFFER 32768

typedef struct {
    const int32_t *places; /* NULL: as it is */
    const char *weights;
    intptr_t taps, length, size; /* of x, of the result */
    int sparse;                  /* there are places behind the end */
} Side;

typedef struct {
    const char *x;
    char *out;
    int wide; /* 8 bytes, not 4 */
    intptr_t item, planes, chunk, chunks, each;
    Side rows, columns;
    atomic_int code;
} Job;

/* Resize one row of x. */
static void along(const Job *job, void *out, const char *row, char *padded) {
    const Side *c = &job->columns;
    if (!c->weights) {
        isa->resizing.pick[job->wide](out, row, c->places, c->size);
        return;
    }
    if (c->sparse) { /* what lies behind the end is 0 */
        memcpy(padded, row, (size_t)(c->length * job->item));
        memset(padded + c->length * job->item, 0, (size_t)job->item);
        row = padded;
    }
    isa->resizing.along[job->wide](out, row, c->places, c->weights, c->taps, c->size);
}

/* Copy rows from where they are. */
static void pick_rows(const Job *job, const char *x, char *out, intptr_t from, intptr_t to) {
    size_t bytes = (size_t)(job->columns.size * job->item);
    for (intptr_t y = from; y < to; y++) {
        intptr_t place = job->rows.places ? job->rows.places[y] : y;
        char *line = out + (size_t)y * bytes;
        const char *row = x + place * job->columns.length * job->item;
        if (y > from && job->rows.places && job->rows.places[y - 1] == place)
            memcpy(line, line - bytes, bytes);
        else if (job->columns.places)
            along(job, line, row, NULL);
        else
            memcpy(line, row, bytes);
    }
}

/* Whether it is less work to weigh rows before each is resized; gathering counts twice. */
static int rows_first(const Side *r, const Side *c) {
    double before = (double)r->size * (double)c->length * (double)r->taps;
    double after = (double)r->size * (double)c->size * (double)r->taps;
    double each = 2.0 * (double)c->size * (double)c->taps;
    return before + each * (double)r->size < after + each * (double)r->length;
}

/* Weigh rows. `buffer` has room for the row with an end, then for rows, then for what a row of
   the result is made of. */
static int weigh_rows(const Job *job, const char *x, char *out, intptr_t from, intptr_t to) {
    const Side *r = &job->rows, *c = &job->columns;
    intptr_t low = r->length, high = 0, bytes = c->size * job->item;
    for (intptr_t t = 0; t < r->taps; t++)
        for (intptr_t y = from; y < to; y++) {
            intptr_t place = r->places[t * r->size + y];
            if (place < r->length) {
                low = smaller(low, place);
                high = larger(high, place + 1);
            }
        }
    intptr_t count = larger(high - low, 0), stay = !c->places || rows_first(r, c);
    intptr_t width = stay ? c->length : c->size;
    size_t pointers = (size_t)r->taps * (sizeof(void *) + (size_t)job->item);
    size_t before = (pointers + 63) / 64 * 64;
    size_t padded = (size_t)((c->length + 1) * job->item + 63) / 64 * 64;
    char *buffer = pool_take(before + padded + (stay ? 0 : (size_t)(count * bytes)) + 64);
    if (!buffer)
        return 0;
    const void **rows = (const void **)buffer;
    char *weights = buffer + (size_t)r->taps * sizeof(void *);
    char *lines = buffer + before + padded;
    for (intptr_t y = 0; y < count && !stay; y++)
        along(job, lines + y * bytes, x + (low + y) * c->length * job->item, buffer + before);
    const char *first = stay ? x + low * width * job->item : lines;
    for (intptr_t y = from; y < to; y++) {
        intptr_t found = 0;
        for (intptr_t t = 0; t < r->taps; t++) {
            intptr_t at = t * r->size + y, place = r->places[at];
            if (place >= r->length)
                continue;
            rows[found] = first + (place - low) * width * job->item;
            memcpy(weights + found++ * job->item, r->weights + at * job->item, (size_t)job->item);
        }
        char *line = out + y * bytes;
        int more = stay && c->places; /* then the row that is weighed has the end behind it */
        isa->resizing.across[job->wide](more ? buffer + before : line, rows, weights, found, width);
        if (more) {
            memset(buffer + before + width * job->item, 0, (size_t)job->item);
            isa->resizing.along[job->wide](line, buffer + before, c->places, c->weights, c->taps,
                                           c->size);
        }
    }
    pool_give(buffer);
    return 1;
}

static int resize_rows(const Job *job, const char *x, char *out, intptr_t from, intptr_t to) {
    if (job->rows.weights)
        return weigh_rows(job, x, out, from, to);
    if (!job->columns.weights) {
        pick_rows(job, x, out, from, to);
        return 1;
    }
    char *padded = pool_take((size_t)((job->columns.length + 1) * job->item));
    if (!padded)
        return 0;
    for (intptr_t y = from; y < to; y++)
        along(job, out + y * job->columns.size * job->item,
              x + y * job->columns.length * job->item, padded);
    pool_give(padded);
    return 1;
}

static void task(void *context, intptr_t i) {
    Job *job = context;
    intptr_t end = smaller(job->planes * job->chunks, (i + 1) * job->each);
    for (intptr_t unit = i * job->each; unit < end; unit++) {
        intptr_t plane = unit / job->chunks, from = unit % job->chunks * job->chunk;
        if (!resize_rows(job, job->x + plane * job->rows.length * job->columns.length * job->item,
                         job->out + plane * job->rows.size * job->columns.size * job->item, from,
                         smaller(job->rows.size, from + job->chunk)))
            atomic_store(&job->code, NO_MEMORY);
    }
}

/* Read how an axis is resized; whether it fits, and every place is there. */
static int read_axis(Side *axis, uintptr_t places_id, uintptr_t weights_id, int dtype,
                     intptr_t length, intptr_t size) {
    View places, weights;
    *axis = (Side){.length = length, .size = size};
    if (!places_id)
        return length == size && !weights_id;
    if (length >= INT_MAX || !read_array(places_id, &places) || places.dtype != I32 ||
        places.axes != 2 || places.shape[1] != size || !is_dense(&places) || !is_aligned(&places))
        return 0;
    axis->places = (const int32_t *)places.data;
    axis->taps = places.shape[0];
    for (intptr_t i = 0; i < axis->taps * size; i++) {
        if (axis->places[i] < 0 || axis->places[i] > length)
            return 0;
        axis->sparse |= axis->places[i] == length;
    }
    if (!weights_id)
        return axis->taps == 1 && !axis->sparse;
    if (!read_array(weights_id, &weights) || weights.dtype != dtype ||
        !same_shape(&weights, &places) || !is_dense(&weights) || !is_aligned(&weights))
        return 0;
    axis->weights = weights.data;
    return 1;
}

int resize(uintptr_t x_id, uintptr_t out_id, uintptr_t row_places, uintptr_t row_weights,
           uintptr_t column_places, uintptr_t column_weights) {
    View x, out;
    if (!read_array(x_id, &x) || !read_array(out_id, &out) || x.axes != 3 || out.axes != 3 ||
        x.dtype != out.dtype || x.shape[0] != out.shape[0] || !is_dense(&x) || !is_aligned(&x) ||
        !is_dense(&out) || !is_aligned(&out) || overlap(&x, &out))
        return DECLINED;
    Job job = {.x = x.data, .out = out.data, .item = ITEMSIZE[x.dtype], .planes = x.shape[0]};
    job.wide = job.item == 8;
    int weighed = row_weights || column_weights;
    if (job.item < 4 || (weighed && x.dtype != F32 && x.dtype != F64) ||
        (weighed && ((row_places && !row_weights) || (column_places && !column_weights))) ||
        !read_axis(&job.rows, row_places, row_weights, x.dtype, x.shape[1], out.shape[1]) ||
        !read_axis(&job.columns, column_places, column_weights, x.dtype, x.shape[2], out.shape[2]))
        return DECLINED;
    if (!count_of(&out))
        return OK;
    job.chunk = larger(1, BUFFER / job.columns.size);
    job.chunks = cut_in(job.rows.size, job.chunk);
    intptr_t unit = smaller(job.chunk, job.rows.size) * job.columns.size;
    job.each = larger(1, GRAIN / unit);
    atomic_init(&job.code, OK);
    parallel(task, &job, cut_in(job.planes * job.chunks, job.each));
    return atomic_load(&job.code);
}
