/* Picking and placing by integer arrays.

   An element of the result has a place (lead, joint, trail): before the axes of the indices' joint
   shape, in them, after them. Its offset in the indexed array is a sum of three, each from a table
   that is made once; where the trailing elements lie side by side, as the rows of an embedding do,
   they are moved as a whole. */
#include "index_walk.h"
#include "index.h"

#include <stdatomic.h>

#define GRAIN 32768 /* bytes of a chunk */

typedef struct {
    View index[MAX_AXES];
    intptr_t strides[MAX_AXES][MAX_AXES];
    intptr_t size[MAX_AXES], step[MAX_AXES]; /* of the axis that an index picks from */
    int indices, joint_axes, rest_axes, lead_axes, axes, dtype, itemsize;
    intptr_t joint_shape[MAX_AXES];
    intptr_t rest_shape[MAX_AXES], rest_strides[MAX_AXES]; /* of the axes without an index */
    intptr_t shape[MAX_AXES];                              /* of the result */
    intptr_t leads, joints, trails;
    int64_t *memory, *lead, *joint, *trail; /* offsets in bytes; no `trail` where they are dense */
    atomic_int outside;
} Picks;

/* Fill in the offsets of all elements of some axes, in row-major order. */
static void list_offsets(int64_t *to, int axes, const intptr_t *shape, const intptr_t *strides) {
    intptr_t count = 1;
    to[0] = 0;
    if (product_of(shape, axes) == 0)
        return;
    for (int axis = 0; axis < axes; axis++) {
        for (intptr_t i = count - 1; i >= 0; i--) {
            int64_t before = to[i];
            for (intptr_t k = shape[axis] - 1; k >= 0; k--)
                to[i * shape[axis] + k] = before + k * strides[axis];
        }
        count *= shape[axis];
    }
}

/* Add up the offsets of a tile of the joint shape, and look whether an index lies outside. */
static void join_tile(void *context, intptr_t i) {
    Picks *picks = context;
    char stored[TILE * 8];
    int64_t values[TILE], *to = picks->joint + i * TILE;
    intptr_t n = smaller(picks->joints - i * TILE, TILE);
    memset(to, 0, (size_t)n * sizeof *to);
    for (int k = 0; k < picks->indices; k++) {
        int64_t size = picks->size[k], step = picks->step[k];
        int outside = 0;
        read_tile(&picks->index[k], i * TILE, n, stored);
        isa->convert[picks->index[k].dtype][I64](values, stored, n);
        for (intptr_t j = 0; j < n; j++) {
            int64_t value = values[j] + (values[j] < 0 ? size : 0);
            outside |= value < 0 || value >= size;
            /* without a sign: one that lies outside may overflow */
            to[j] = (int64_t)((uint64_t)to[j] + (uint64_t)value * (uint64_t)step);
        }
        if (outside)
            atomic_store(&picks->outside, 1);
    }
}

/* Whether all elements of an index lie inside an axis: where the indices' joint shape is empty,
   `join_tile` sees none of them. */
static int lies_inside(const View *index, intptr_t size) {
    char stored[TILE * 8];
    int64_t values[TILE];
    intptr_t count = count_of(index);
    for (intptr_t position = 0; position < count; position += TILE) {
        intptr_t n = smaller(count - position, TILE);
        read_tile(index, position, n, stored);
        isa->convert[index->dtype][I64](values, stored, n);
        for (intptr_t j = 0; j < n; j++)
            if (values[j] < -size || values[j] >= size)
                return 0;
    }
    return 1;
}

/* Read what `indices` pick from x: the axes, and the shape of the result. Return OK or DECLINED. */
static int read_picks(Picks *picks, const View *x, const uintptr_t *indices) {
    int first = -1, last = -1;
    picks->indices = picks->joint_axes = picks->rest_axes = 0;
    picks->dtype = x->dtype;
    picks->itemsize = ITEMSIZE[x->dtype];
    for (int axis = 0; axis < x->axes; axis++) {
        View *index = &picks->index[picks->indices];
        if (!indices[axis]) {
            picks->rest_shape[picks->rest_axes] = x->shape[axis];
            picks->rest_strides[picks->rest_axes++] = x->strides[axis];
            continue;
        }
        if (!read_array(indices[axis], index) || index->dtype < U8 || index->dtype > I64 ||
            !broadcast(picks->joint_shape, &picks->joint_axes, index->shape, index->axes))
            return DECLINED;
        picks->size[picks->indices] = x->shape[axis];
        picks->step[picks->indices++] = x->strides[axis];
        first = first < 0 ? axis : first;
        last = axis;
    }
    picks->axes = picks->joint_axes + picks->rest_axes;
    if (first < 0 || picks->axes > MAX_AXES)
        return DECLINED;
    /* The joint shape comes first, unless the indices are neighbours. */
    int lead = picks->lead_axes = last - first + 1 == picks->indices ? first : 0;
    copy_sizes(picks->shape, picks->rest_shape, lead);
    copy_sizes(picks->shape + lead, picks->joint_shape, picks->joint_axes);
    copy_sizes(picks->shape + lead + picks->joint_axes, picks->rest_shape + lead,
               picks->rest_axes - lead);
    return OK;
}

/* Make the tables of offsets of what was read, in memory of the pool; OK, or what is wrong. */
static int list_picks(Picks *picks) {
    int lead = picks->lead_axes, trails = picks->rest_axes - lead;
    const intptr_t *trail_shape = picks->rest_shape + lead;
    const intptr_t *trail_strides = picks->rest_strides + lead;
    picks->leads = product_of(picks->rest_shape, lead);
    picks->joints = product_of(picks->joint_shape, picks->joint_axes);
    picks->trails = product_of(trail_shape, trails);
    for (int k = 0; k < picks->indices && picks->joints == 0; k++)
        if (!lies_inside(&picks->index[k], picks->size[k]))
            return OUT_OF_RANGE;
    for (int k = 0; k < picks->indices; k++)
        picks->index[k] = spread_out(&picks->index[k], picks->joint_axes, picks->joint_shape,
                                     picks->strides[k]);
    int dense = !picks->leads || !picks->joints || /* nothing is copied, or whole runs */
                is_dense(&(View){NULL, trail_shape, trail_strides, trails, picks->dtype});
    size_t count = (size_t)(picks->leads + picks->joints + (dense ? 0 : picks->trails) + 3);
    if (!(picks->memory = pool_take(count * sizeof(int64_t))))
        return NO_MEMORY;
    picks->lead = picks->memory;
    picks->joint = picks->lead + picks->leads + 1;
    picks->trail = picks->joint + picks->joints + 1;
    list_offsets(picks->lead, lead, picks->rest_shape, picks->rest_strides);
    if (dense)
        picks->trail = NULL;
    else
        list_offsets(picks->trail, trails, trail_shape, trail_strides);
    atomic_store(&picks->outside, 0);
    parallel(join_tile, picks, (picks->joints + TILE - 1) / TILE);
    if (atomic_load(&picks->outside)) {
        pool_give(picks->memory);
        return OUT_OF_RANGE;
    }
    return OK;
}

typedef struct {
    const Picks *picks;
    const char *x;
    char *out;
    intptr_t chunk; /* rows */
} Pick;

#define AHEAD 12

/* Ask for the first cache lines of a row that is needed soon. */
static inline void ask_for(const char *row, intptr_t bytes) {
    for (intptr_t at = 0; at < smaller(bytes, 256); at += 64)
        __builtin_prefetch(row + at);
}

static void pick_rows(void *context, intptr_t i) {
    const Pick *call = context;
    const Picks *picks = call->picks;
    intptr_t rows = picks->leads * picks->joints, end = smaller(rows, (i + 1) * call->chunk);
    intptr_t bytes = picks->trails * picks->itemsize;
    for (intptr_t row = i * call->chunk; row < end;) {
        intptr_t lead = row / picks->joints, from = row - lead * picks->joints;
        intptr_t to = smaller(picks->joints, from + end - row);
        const char *base = call->x + picks->lead[lead];
        char *out = call->out + row * bytes;
#define ONE(T) \
    for (intptr_t j = from; j < to; j++, out += sizeof(T)) \
        memcpy(out, base + picks->joint[j], sizeof(T));
        if (picks->trails == 1 && picks->itemsize == 4) {
            ONE(uint32_t)
        } else if (picks->trails == 1 && picks->itemsize == 8) {
            ONE(uint64_t)
        } else {
            for (intptr_t j = from; j < to; j++, out += bytes) {
                const char *place = base + picks->joint[j];
                if (picks->trail) {
                    for (intptr_t k = 0; k < picks->trails; k++)
                        memcpy(out + k * picks->itemsize, place + picks->trail[k],
                               (size_t)picks->itemsize);
                    continue;
                }
                if (j + AHEAD < to)
                    ask_for(base + picks->joint[j + AHEAD], bytes);
                memcpy(out, place, (size_t)bytes);
            }
        }
        row += to - from;
    }
}

int index_pick(uintptr_t array, const uintptr_t *indices, int64_t axes, uintptr_t result) {
    View x, out;
    Picks picks;
    if (!read_array(array, &x) || !read_array(result, &out) || axes != x.axes ||
        out.dtype != x.dtype || !is_dense(&out) || read_picks(&picks, &x, indices) != OK ||
        out.axes != picks.axes || !same_sizes(out.shape, picks.shape, out.axes))
        return DECLINED;
    int code = list_picks(&picks);
    if (code != OK)
        return code;
    intptr_t rows = picks.leads * picks.joints, bytes = picks.trails * picks.itemsize;
    Pick call = {&picks, x.data, out.data, larger(1, GRAIN / larger(bytes, 1))};
    if (rows && bytes)
        parallel(pick_rows, &call, (rows + call.chunk - 1) / call.chunk);
    pool_give(picks.memory);
    return OK;
}

/* ---- placing */

typedef struct {
    const Picks *picks;
    const char *values;
    char *out;
    intptr_t width; /* trailing elements of a part; 0 where a part is a lead */
    int accumulate, dtype;
} Place;

#define ADD_EACH(T) \
    for (intptr_t k = 0; k < n; k++) { \
        T sum, value; \
        char *to = place + (trail ? trail[k] : k * (intptr_t)sizeof(T)); \
        memcpy(&sum, to, sizeof(T)); \
        memcpy(&value, values + k * (intptr_t)sizeof(T), sizeof(T)); \
        sum = (T)(sum + value); \
        memcpy(to, &sum, sizeof(T)); \
    }

/* Add n values; integers wrap, which is the same for those with a sign. */
static void add_values(char *place, const int64_t *trail, const char *values, intptr_t n,
                       int dtype) {
    if (dtype == BOOL || (!trail && n >= 8)) {
        for (intptr_t k = 0; k < n; k += trail ? 1 : n) {
            char *to = place + (trail ? trail[k] : 0);
            const void *const in[] = {to, values + (trail ? k * ITEMSIZE[dtype] : 0)};
            isa->elementwise[OP_add][dtype].loop(to, in, trail ? 1 : n);
        }
        return;
    }
    switch (dtype) {
    case U8:
    case I8: ADD_EACH(uint8_t) break;
    case I16: ADD_EACH(uint16_t) break;
    case I32: ADD_EACH(uint32_t) break;
    case I64: ADD_EACH(uint64_t) break;
    case F32: ADD_EACH(float) break;
    default: ADD_EACH(double)
    }
}

static void put_values(char *place, const int64_t *trail, const char *values, intptr_t n,
                       int size) {
    if (!trail) {
        memcpy(place, values, (size_t)(n * size));
        return;
    }
    for (intptr_t k = 0; k < n; k++)
        memcpy(place + trail[k], values + k * size, (size_t)size);
}

/* Place the values of some leads and columns: one after the other where they fall on one element,
   and no element is another part's. */
static void place_part(void *context, intptr_t i) {
    const Place *call = context;
    const Picks *picks = call->picks;
    int size = picks->itemsize;
    intptr_t column = call->width ? i * call->width : 0;
    intptr_t n = call->width ? smaller(call->width, picks->trails - column) : picks->trails;
    intptr_t lead = call->width ? 0 : i, end = call->width ? picks->leads : i + 1;
    for (; lead < end; lead++)
        for (intptr_t j = 0; j < picks->joints; j++) {
            char *place = call->out + picks->lead[lead] + picks->joint[j];
            const int64_t *trail = picks->trail ? picks->trail + column : NULL;
            const char *values =
                call->values + ((lead * picks->joints + j) * picks->trails + column) * size;
            place += trail ? 0 : column * size;
            if (!trail && n > 1 && j + AHEAD < picks->joints)
                ask_for(place - picks->joint[j] + picks->joint[j + AHEAD], n * size);
            if (call->accumulate)
                add_values(place, trail, values, n, call->dtype);
            else
                put_values(place, trail, values, n, size);
        }
}

/* Place all values, in as many parts as there are threads: bits do not depend on how columns are
   dealt out. */
static void place_all(Place *call) {
    const Picks *picks = call->picks;
    intptr_t parts = picks->leads, bytes = picks->trails * picks->itemsize;
    intptr_t count = picks->leads * picks->joints * picks->trails;
    if (!picks->trail && bytes >= 128) {
        intptr_t most = smaller(threads_get(), bytes / 128);
        call->width = (picks->trails + most - 1) / most;
        call->width = (call->width + 15) / 16 * 16;
        parts = (picks->trails + call->width - 1) / call->width;
    }
    if (count >= 8192)
        parallel(place_part, call, parts);
    else
        for (intptr_t i = 0; i < parts && count; i++)
            place_part(call, i);
}

/* Whether values can be broadcast to what is picked. */
static int takes(const Picks *picks, const View *values) {
    intptr_t shape[MAX_AXES];
    int axes = picks->axes;
    copy_sizes(shape, picks->shape, axes);
    return broadcast(shape, &axes, values->shape, values->axes) && axes == picks->axes &&
           same_sizes(shape, picks->shape, axes);
}

int index_place(uintptr_t array, uintptr_t of_values, const uintptr_t *indices, int64_t axes,
                uintptr_t result, int accumulate) {
    View x, values, out;
    intptr_t dense_stride[MAX_AXES], work_stride[MAX_AXES], wide_stride[MAX_AXES];
    Picks picks;
    if (!read_array(array, &x) || !read_array(of_values, &values) || !read_array(result, &out) ||
        axes != x.axes || out.dtype != x.dtype || values.dtype != x.dtype ||
        !same_shape(&out, &x) || !is_dense(&out) || !is_aligned(&out))
        return DECLINED;
    /* Sums of narrow floats are rounded once, at last. */
    int dtype = accumulate && (x.dtype == F16 || x.dtype == BF16) ? F32 : x.dtype;
    View work = {out.data, x.shape, work_stride, x.axes, dtype};
    intptr_t work_bytes = dense_strides(x.shape, x.axes, dtype, work_stride);
    if (read_picks(&picks, &work, indices) != OK || !takes(&picks, &values))
        return DECLINED;
    int code = list_picks(&picks);
    if (code != OK)
        return code;
    View wide = spread_out(&values, picks.axes, picks.shape, wide_stride);
    View dense = {values.data, picks.shape, dense_stride, picks.axes, dtype};
    intptr_t dense_bytes = dense_strides(picks.shape, picks.axes, dtype, dense_stride);
    char *copy = NULL, *scratch = NULL;
    int copied = values.dtype != dtype || !is_dense(&wide) || !is_aligned(&wide);
    if ((copied && !(dense.data = copy = pool_take((size_t)dense_bytes))) ||
        (dtype != x.dtype && !(work.data = scratch = pool_take((size_t)work_bytes))))
        code = NO_MEMORY;
    if (code == OK) {
        if (copied)
            convert_view(&wide, &dense);
        convert_view(&x, &work);
        place_all(&(Place){&picks, dense.data, work.data, 0, accumulate, dtype});
        if (scratch)
            convert_view(&work, &out);
    }
    pool_give(copy);
    pool_give(scratch);
    pool_give(picks.memory);
    return code;
}
