/* argsort and nonzero. */
#include "index_sort.h"
#include "index_walk.h"
#include "index.h"

#include <stdatomic.h>

#define GRAIN 16384

/* ---- argsort */

typedef struct {
    View rows; /* without the axis */
    intptr_t shape[MAX_AXES], strides[MAX_AXES];
    intptr_t n, step, inner; /* along the axis; `inner` elements lie between two in the output */
    int64_t *out;
    int dtype, descending;
    intptr_t count, chunk;
    atomic_int fault;
} Sort;

/* The sign bit turned over, or all bits of negative floats; zeros alike, NaN the largest. */
#define WHOLE_KEYS(T, U, FLIP) \
    for (intptr_t i = 0; i < n; i++) { \
        U bits; \
        memcpy(&bits, row + i * (intptr_t)sizeof(T), sizeof(T)); \
        keys[i] = (U)(bits ^ (FLIP)); \
    }
#define REAL_KEYS(U, SIGN, INF) \
    for (intptr_t i = 0; i < n; i++) { \
        U bits, size; \
        memcpy(&bits, row + i * (intptr_t)sizeof(U), sizeof(U)); \
        size = bits & (U)~(SIGN); \
        bits = size == 0 ? (SIGN) : bits & (SIGN) ? (U)~bits : (U)(bits | (SIGN)); \
        keys[i] = size > (INF) ? (U)-1 : bits; \
    }

static void make_keys(const char *row, intptr_t n, int dtype, int descending, uint64_t *keys) {
    switch (dtype) {
    case BOOL:
        for (intptr_t i = 0; i < n; i++)
            keys[i] = row[i] != 0;
        break;
    case U8: WHOLE_KEYS(uint8_t, uint8_t, 0) break;
    case I8: WHOLE_KEYS(int8_t, uint8_t, 0x80) break;
    case I16: WHOLE_KEYS(int16_t, uint16_t, 0x8000) break;
    case I32: WHOLE_KEYS(int32_t, uint32_t, 0x80000000u) break;
    case I64: WHOLE_KEYS(int64_t, uint64_t, (uint64_t)1 << 63) break;
    case F16: REAL_KEYS(uint16_t, 0x8000, 0x7c00) break;
    case BF16: REAL_KEYS(uint16_t, 0x8000, 0x7f80) break;
    case F32: REAL_KEYS(uint32_t, 0x80000000u, 0x7f800000u) break;
    default: REAL_KEYS(uint64_t, (uint64_t)1 << 63, (uint64_t)0x7ff << 52)
    }
    if (descending) {
        uint64_t mask = UINT64_MAX >> (64 - 8 * ITEMSIZE[dtype]);
        for (intptr_t i = 0; i < n; i++)
            keys[i] = ~keys[i] & mask;
    }
}

static void sort_chunk(void *context, intptr_t i) {
    Sort *sort = context;
    intptr_t n = sort->n, end = smaller(sort->count, (i + 1) * sort->chunk);
    uint64_t *keys = pool_take((size_t)n * 3 * 8);
    if (!keys) {
        atomic_store(&sort->fault, NO_MEMORY);
        return;
    }
    char *row = (char *)(keys + n);
    int64_t *order = (int64_t *)(keys + 2 * n);
    for (intptr_t at = i * sort->chunk; at < end; at++) {
        intptr_t left = at;
        char *place = sort->rows.data;
        for (int axis = sort->rows.axes - 1; axis >= 0; axis--) {
            place += left % sort->shape[axis] * sort->strides[axis];
            left /= sort->shape[axis];
        }
        int size = ITEMSIZE[sort->dtype];
        move(row, size, place, sort->step, n, size);
        make_keys(row, n, sort->dtype, sort->descending, keys);
        int64_t *to = sort->out + at / sort->inner * sort->inner * n + at % sort->inner;
        int code = sort_keys(keys, sort->inner == 1 ? to : order, n, 0, 8 * ITEMSIZE[sort->dtype]);
        if (code != OK)
            atomic_store(&sort->fault, code);
        for (intptr_t k = 0; k < n && sort->inner != 1; k++)
            to[k * sort->inner] = order[k];
    }
    pool_give(keys);
}

int argsort(uintptr_t array, uintptr_t result, int axis, int descending) {
    View x, out;
    Sort sort = {.descending = descending, .count = 1, .inner = 1};
    if (!read_array(array, &x) || !read_array(result, &out) || out.dtype != I64 ||
        !same_shape(&out, &x) || !is_dense(&out) || !is_aligned(&out) || axis < 0 ||
        axis >= x.axes)
        return DECLINED;
    sort.rows = (View){x.data, sort.shape, sort.strides, x.axes - 1, x.dtype};
    for (int i = 0, to = 0; i < x.axes; i++) {
        if (i == axis)
            continue;
        sort.shape[to] = x.shape[i];
        sort.strides[to++] = x.strides[i];
        sort.count *= x.shape[i];
        if (i > axis)
            sort.inner *= x.shape[i];
    }
    sort.n = x.shape[axis];
    sort.step = x.strides[axis];
    sort.dtype = x.dtype;
    sort.out = (int64_t *)out.data;
    sort.chunk = larger(1, GRAIN / larger(1, sort.n));
    atomic_store(&sort.fault, OK);
    if (count_of(&x))
        parallel(sort_chunk, &sort, (sort.count + sort.chunk - 1) / sort.chunk);
    return atomic_load(&sort.fault);
}

/* ---- nonzero */

typedef struct {
    Source x;
    int64_t *counts, *out;
    intptr_t count, found;
} Search;

static int read_search(Search *search, uintptr_t array, uintptr_t counts) {
    View x, of_counts;
    if (!read_array(array, &x) || !read_array(counts, &of_counts) || of_counts.dtype != I64 ||
        of_counts.axes != 1 || !is_dense(&of_counts) || !is_aligned(&of_counts) ||
        of_counts.shape[0] != nonzero_chunks(array))
        return 0;
    search->x = source_of(&x, BOOL);
    search->counts = (int64_t *)of_counts.data;
    search->count = count_of(&x);
    return 1;
}

int64_t nonzero_chunks(uintptr_t array) {
    View x;
    return read_array(array, &x) ? (count_of(&x) + GRAIN - 1) / GRAIN : -1;
}

/* Return a tile as zeros and ones. */
static const uint8_t *load_truth(const Search *search, intptr_t position, intptr_t n, Tile *tile) {
    return load_tile(&search->x, position, n, tile);
}

static void count_chunk(void *context, intptr_t i) {
    const Search *search = context;
    Tile tile;
    int64_t count = 0;
    intptr_t end = smaller(search->count, (i + 1) * GRAIN);
    for (intptr_t position = i * GRAIN; position < end; position += TILE) {
        intptr_t n = smaller(end - position, TILE);
        const uint8_t *truth = load_truth(search, position, n, &tile);
        for (intptr_t k = 0; k < n; k++)
            count += truth[k] != 0;
    }
    search->counts[i] = count;
}

int nonzero_count(uintptr_t array, uintptr_t counts) {
    Search search;
    if (!read_search(&search, array, counts))
        return DECLINED;
    parallel(count_chunk, &search, nonzero_chunks(array));
    return OK;
}

/* Where the next chunk's indices begin. */
static int64_t end_of(const Search *search, intptr_t i) {
    return (i + 1) * GRAIN < search->count ? search->counts[i + 1] : search->found;
}

static void fill_chunk(void *context, intptr_t i) {
    const Search *search = context;
    const View *x = &search->x.view;
    Tile tile;
    int64_t room = end_of(search, i) - search->counts[i];
    int64_t *to = search->out + search->counts[i] * x->axes;
    intptr_t end = smaller(search->count, (i + 1) * GRAIN);
    for (intptr_t position = i * GRAIN; position < end; position += TILE) {
        intptr_t n = smaller(end - position, TILE);
        const uint8_t *truth = load_truth(search, position, n, &tile);
        for (intptr_t k = 0; k < n; k++) {
            intptr_t left = position + k;
            if (!truth[k] || room-- <= 0) /* x may have changed since it was counted */
                continue;
            for (int axis = x->axes - 1; axis > 0; axis--) {
                to[axis] = left % x->shape[axis];
                left /= x->shape[axis];
            }
            if (x->axes)
                to[0] = left;
            to += x->axes;
        }
    }
}

int nonzero_fill(uintptr_t array, uintptr_t starts, uintptr_t result) {
    Search search;
    View out;
    if (!read_search(&search, array, starts) || !read_array(result, &out) || out.dtype != I64 ||
        out.axes != 2 || !is_dense(&out) || !is_aligned(&out) ||
        out.shape[1] != search.x.view.axes)
        return DECLINED;
    search.out = (int64_t *)out.data;
    search.found = out.shape[0];
    intptr_t chunks = nonzero_chunks(array);
    for (intptr_t i = 0; i < chunks; i++)
        if (search.counts[i] < 0 || search.counts[i] > end_of(&search, i) ||
            end_of(&search, i) > search.found)
            return DECLINED;
    parallel(fill_chunk, &search, chunks);
    return OK;
}
