/* gather and scatter_add: an index for each element, along one axis. */
#include "index_walk.h"
#include "index.h"

#include <stdatomic.h>

#define GRAIN 16384

typedef struct {
    View index, x; /* x has the index's shape, and no stride along the axis */
    intptr_t strides[MAX_AXES];
    intptr_t size, step; /* of the axis */
    char *out;           /* gather's */
    Source src;          /* scatter_add's */
    int dtype, split;    /* the axis along which scatter_add's parts are cut */
    intptr_t part;
    atomic_int outside;
} Call;

/* Check that an index fits x beside the axis, and lay x out in its shape. */
static int read_call(Call *call, const View *x, uintptr_t index, int axis) {
    if (!read_array(index, &call->index) || call->index.dtype < U8 || call->index.dtype > I64 ||
        call->index.axes != x->axes || axis < 0 || axis >= x->axes)
        return 0;
    for (int i = 0; i < x->axes; i++)
        if (i != axis && call->index.shape[i] > x->shape[i])
            return 0;
    memcpy(call->strides, x->strides, (size_t)x->axes * sizeof *x->strides);
    call->strides[axis] = 0;
    call->x = (View){x->data, call->index.shape, call->strides, x->axes, x->dtype};
    call->size = x->shape[axis];
    call->step = x->strides[axis];
    call->dtype = x->dtype;
    atomic_store(&call->outside, 0);
    return 1;
}

/* The offsets of elements position ... position + n - 1. */
static void list_offsets(const View *x, intptr_t position, intptr_t n, int64_t *to) {
    intptr_t at[MAX_AXES];
    int64_t offset = 0;
    int last = x->axes - 1;
    for (int axis = last; axis >= 0; axis--) {
        at[axis] = position % x->shape[axis];
        position /= x->shape[axis];
        offset += at[axis] * x->strides[axis];
    }
    intptr_t step = x->strides[last], size = x->shape[last];
    for (intptr_t i = 0; i < n;) {
        intptr_t part = smaller(n - i, size - at[last]);
        for (intptr_t k = 0; k < part; k++)
            to[i + k] = offset + k * step;
        i += part;
        offset += part * step;
        at[last] += part;
        for (int axis = last; axis > 0 && at[axis] == x->shape[axis]; axis--) {
            offset += x->strides[axis - 1] - at[axis] * x->strides[axis];
            at[axis] = 0;
            at[axis - 1]++;
        }
    }
}

/* Read a tile of indices, as offsets along the axis; return whether all lie inside. */
static int read_indices(const Call *call, const View *index, intptr_t position, intptr_t n,
                        int64_t *to) {
    char stored[TILE * 8];
    int outside = 0;
    read_tile(index, position, n, stored);
    isa->convert[index->dtype][I64](to, stored, n);
    for (intptr_t i = 0; i < n; i++) {
        outside |= to[i] < 0 || to[i] >= call->size;
        to[i] = (int64_t)((uint64_t)to[i] * (uint64_t)call->step); /* outside, it may overflow */
    }
    return !outside;
}

static void gather_chunk(void *context, intptr_t i) {
    Call *call = context;
    int64_t along[TILE], beside[TILE];
    intptr_t count = count_of(&call->index), end = smaller(count, (i + 1) * GRAIN);
    int size = ITEMSIZE[call->dtype];
    for (intptr_t position = i * GRAIN; position < end; position += TILE) {
        intptr_t n = smaller(end - position, TILE);
        if (!read_indices(call, &call->index, position, n, along)) {
            atomic_store(&call->outside, 1);
            return;
        }
        list_offsets(&call->x, position, n, beside);
        char *out = call->out + position * size;
#define GATHER(T) \
    for (intptr_t k = 0; k < n; k++) \
        memcpy(out + k * (intptr_t)sizeof(T), call->x.data + beside[k] + along[k], sizeof(T));
        switch (size) {
        case 1: GATHER(uint8_t) break;
        case 2: GATHER(uint16_t) break;
        case 4: GATHER(uint32_t) break;
        default: GATHER(uint64_t)
        }
    }
}

int gather(uintptr_t array, uintptr_t index, uintptr_t result, int axis) {
    View x, out;
    Call call;
    if (!read_array(array, &x) || !read_call(&call, &x, index, axis) ||
        !read_array(result, &out) || out.dtype != x.dtype || !is_dense(&out) ||
        !same_shape(&out, &call.index))
        return DECLINED;
    call.out = out.data;
    parallel(gather_chunk, &call, (count_of(&call.index) + GRAIN - 1) / GRAIN);
    return atomic_load(&call.outside) ? OUT_OF_RANGE : OK;
}

/* ---- scatter_add */

static void check_chunk(void *context, intptr_t i) {
    Call *call = context;
    int64_t along[TILE];
    intptr_t end = smaller(count_of(&call->index), (i + 1) * GRAIN);
    for (intptr_t position = i * GRAIN; position < end; position += TILE)
        if (!read_indices(call, &call->index, position, smaller(end - position, TILE), along))
            atomic_store(&call->outside, 1);
}

/* The part of a view between two places of an axis. */
static View cut(const View *x, int axis, intptr_t from, intptr_t to, intptr_t *shape) {
    memcpy(shape, x->shape, (size_t)x->axes * sizeof *shape);
    shape[axis] = to - from;
    return (View){x->data + from * x->strides[axis], shape, x->strides, x->axes, x->dtype};
}

#define SCATTER(T, ADD) \
    for (intptr_t k = 0; k < n; k++) { \
        T sum, value; \
        char *to = x.data + beside[k] + along[k]; \
        memcpy(&sum, to, sizeof(T)); \
        memcpy(&value, values + k * (intptr_t)sizeof(T), sizeof(T)); \
        sum = (T)(ADD); \
        memcpy(to, &sum, sizeof(T)); \
    }

/* Add the values of a part, one after the other in row-major order. */
static void scatter_part(void *context, intptr_t i) {
    Call *call = context;
    Tile tile;
    int64_t along[TILE], beside[TILE];
    intptr_t shapes[3][MAX_AXES], from = i * call->part;
    intptr_t to = smaller(call->index.shape[call->split], from + call->part);
    View index = cut(&call->index, call->split, from, to, shapes[0]);
    View x = cut(&call->x, call->split, from, to, shapes[1]);
    View part = cut(&call->src.view, call->split, from, to, shapes[2]);
    Source src = source_of(&part, call->dtype);
    intptr_t count = count_of(&index);
    for (intptr_t n, position = 0; position < count; position += n) {
        n = smaller(count - position, TILE);
        if (!read_indices(call, &index, position, n, along)) /* written meanwhile */
            return;
        list_offsets(&x, position, n, beside);
        const char *values = load_tile(&src, position, n, &tile);
        switch (call->dtype) {
        case BOOL: SCATTER(uint8_t, sum | value) break;
        case U8:
        case I8: SCATTER(uint8_t, sum + value) break;
        case I16: SCATTER(uint16_t, sum + value) break;
        case I32: SCATTER(uint32_t, sum + value) break;
        case I64: SCATTER(uint64_t, sum + value) break;
        case F32: SCATTER(float, sum + value) break;
        default: SCATTER(double, sum + value)
        }
    }
}

/* Cut the work along the longest other axis: elements apart along it never meet. */
static void scatter_all(Call *call, int axis) {
    const intptr_t *shape = call->index.shape;
    intptr_t count = count_of(&call->index);
    call->split = -1;
    for (int i = 0; i < call->x.axes; i++)
        if (i != axis && (call->split < 0 || shape[i] > shape[call->split]))
            call->split = i;
    if (call->split < 0 || count < GRAIN) {
        call->split = axis;
        call->part = shape[axis];
    } else {
        call->part = larger(1, (shape[call->split] + 7) / 8);
    }
    if (count)
        parallel(scatter_part, call, (shape[call->split] + call->part - 1) / call->part);
}

int scatter_add(uintptr_t array, uintptr_t index, uintptr_t of_src, uintptr_t result, int axis) {
    View x, src, out, work;
    Call call;
    char *scratch = NULL;
    intptr_t strides[MAX_AXES];
    if (!read_array(array, &x) || !read_array(of_src, &src) || !read_array(result, &out) ||
        out.dtype != x.dtype || src.dtype != x.dtype || src.axes != x.axes ||
        !same_shape(&out, &x) || !is_dense(&out) || !is_aligned(&out))
        return DECLINED;
    int dtype = x.dtype == F16 || x.dtype == BF16 ? F32 : x.dtype;
    work = out;
    if (dtype != x.dtype) {
        dense_strides(x.shape, x.axes, dtype, strides);
        work = (View){NULL, x.shape, strides, x.axes, dtype};
    }
    if (!read_call(&call, &work, index, axis))
        return DECLINED;
    for (int i = 0; i < x.axes; i++)
        if (call.index.shape[i] > src.shape[i])
            return DECLINED;
    parallel(check_chunk, &call, (count_of(&call.index) + GRAIN - 1) / GRAIN);
    if (atomic_load(&call.outside))
        return OUT_OF_RANGE;
    if (dtype != x.dtype && !(work.data = scratch = pool_take((size_t)(count_of(&x) * 4))))
        return NO_MEMORY;
    call.x.data = work.data;
    convert_view(&x, &work);
    src.shape = call.index.shape; /* the rest is not read */
    call.src.view = src;
    scatter_all(&call, axis);
    if (scratch)
        convert_view(&work, &out);
    pool_give(scratch);
    return OK;
}
