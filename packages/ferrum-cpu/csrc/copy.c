/* Copies, and arrays made of numbers.

   A copy that is dense in its source along one axis and in its result along another is made in
   square blocks of one cache line by another, through a buffer: so each line is read and written
   whole, once, however the strides fall on the sets of the cache. */
#include "arrays.h"
#include "copy.h"
#include "isa.h"

#include <emmintrin.h>
#include <string.h>

#define LINE 64
/* Sides, in blocks, of what is done together; lines of as many pages stay known. */
#define TOGETHER 4

typedef struct {
    int size, inner, outer, axes; /* `inner` is dense in the result, `outer` in the source */
    const char *from;
    char *to;
    intptr_t shape[MAX_AXES], from_stride[MAX_AXES], to_stride[MAX_AXES];
    intptr_t strips; /* along `outer` */
} Turn;

#define TURN_BLOCK(T) \
    static void turn_##T(char *to, intptr_t to_line, const char *from, intptr_t from_line) { \
        enum { SIDE = LINE / sizeof(T) }; \
        T read[SIDE][SIDE], written[SIDE]; \
        for (int r = 0; r < SIDE; r++) \
            memcpy(read[r], from + r * from_line, LINE); \
        for (int c = 0; c < SIDE; c++) { \
            for (int r = 0; r < SIDE; r++) \
                written[r] = read[r][c]; \
            memcpy(to + c * to_line, written, LINE); \
        } \
    }
TURN_BLOCK(uint8_t)
TURN_BLOCK(uint16_t)
TURN_BLOCK(uint64_t)

static void turn_uint32_t(char *to, intptr_t to_line, const char *from, intptr_t from_line) {
    float turned[16][16];
    for (int r = 0; r < 16; r += 4, from += 4 * from_line)
        for (int c = 0; c < 16; c += 4) {
            __m128 x0 = _mm_loadu_ps((const float *)from + c);
            __m128 x1 = _mm_loadu_ps((const float *)(from + from_line) + c);
            __m128 x2 = _mm_loadu_ps((const float *)(from + 2 * from_line) + c);
            __m128 x3 = _mm_loadu_ps((const float *)(from + 3 * from_line) + c);
            _MM_TRANSPOSE4_PS(x0, x1, x2, x3);
            _mm_storeu_ps(&turned[c][r], x0);
            _mm_storeu_ps(&turned[c + 1][r], x1);
            _mm_storeu_ps(&turned[c + 2][r], x2);
            _mm_storeu_ps(&turned[c + 3][r], x3);
        }
    for (int c = 0; c < 16; c++)
        memcpy(to + c * to_line, turned[c], LINE);
}

/* Copy rows x columns elements, each row dense in the result, each column in the source. */
static void turn(int size, char *to, intptr_t to_line, const char *from, intptr_t from_line,
                 intptr_t rows, intptr_t columns) {
    if (rows * size == LINE && columns * size == LINE) {
        switch (size) {
        case 1: turn_uint8_t(to, to_line, from, from_line); return;
        case 2: turn_uint16_t(to, to_line, from, from_line); return;
        case 4: turn_uint32_t(to, to_line, from, from_line); return;
        default: turn_uint64_t(to, to_line, from, from_line); return;
        }
    }
    for (intptr_t i = 0; i < rows; i++)
        for (intptr_t j = 0; j < columns; j++)
            memcpy(to + i * to_line + j * size, from + j * from_line + i * size, (size_t)size);
}

static void turn_strip(void *context, intptr_t number) {
    const Turn *job = context;
    intptr_t side = LINE / job->size, wide = TOGETHER * side, other = number / job->strips;
    intptr_t first = number % job->strips * wide;
    intptr_t end = smaller(job->shape[job->outer], first + wide);
    const char *from = job->from;
    char *to = job->to;
    for (int axis = job->axes - 1; axis >= 0; axis--) {
        if (axis == job->inner || axis == job->outer)
            continue;
        intptr_t i = other % job->shape[axis];
        other /= job->shape[axis];
        from += i * job->from_stride[axis];
        to += i * job->to_stride[axis];
    }
    intptr_t columns = job->shape[job->inner];
    intptr_t from_line = job->from_stride[job->inner], to_line = job->to_stride[job->outer];
    for (intptr_t j = 0; j < columns; j += side)
        for (intptr_t i = first; i < end; i += side)
            turn(job->size, to + i * to_line + j * job->size, to_line,
                 from + j * from_line + i * job->size, from_line, smaller(side, end - i),
                 smaller(side, columns - j));
}

/* Fill in how x is copied in blocks; return whether that is the way to do it. */
static int plan_turn(Turn *job, const View *x, const View *out) {
    int lead = out->axes - x->axes;
    job->axes = 0;
    job->inner = job->outer = -1;
    if (x->dtype != out->dtype || count_of(out) < 4096)
        return 0;
    for (int axis = 0; axis < out->axes; axis++) {
        intptr_t n = out->shape[axis], to = out->strides[axis];
        intptr_t from = axis < lead || x->shape[axis - lead] == 1 ? 0 : x->strides[axis - lead];
        int last = job->axes - 1;
        if (n == 1)
            continue;
        if (last >= 0 && job->to_stride[last] == to * n && job->from_stride[last] == from * n) {
            job->shape[last] *= n;
            job->to_stride[last] = to;
            job->from_stride[last] = from;
            continue;
        }
        job->shape[job->axes] = n;
        job->to_stride[job->axes] = to;
        job->from_stride[job->axes++] = from;
    }
    job->size = ITEMSIZE[x->dtype];
    for (int axis = 0; axis < job->axes; axis++) {
        if (job->shape[axis] < 8)
            continue;
        if (job->to_stride[axis] == job->size && job->from_stride[axis] != job->size)
            job->inner = axis;
        else if (job->from_stride[axis] == job->size)
            job->outer = axis;
    }
    job->from = x->data;
    job->to = out->data;
    return job->inner >= 0 && job->outer >= 0;
}

int copy_view(const View *x, const View *out) {
    Turn job;
    if (!plan_turn(&job, x, out))
        return convert_view(x, out);
    intptr_t wide = TOGETHER * (LINE / job.size), count = 1;
    job.strips = (job.shape[job.outer] + wide - 1) / wide;
    for (int axis = 0; axis < job.axes; axis++)
        if (axis != job.inner && axis != job.outer)
            count *= job.shape[axis];
    count *= job.strips;
    if (count_of(out) >= 32768)
        parallel(turn_strip, &job, count);
    else
        for (intptr_t i = 0; i < count; i++)
            turn_strip(&job, i);
    return OK;
}

/* ---- what Python calls */

static int broadcasts_to(const View *x, const View *out) {
    int lead = out->axes - x->axes;
    for (int axis = 0; axis < x->axes && lead >= 0; axis++)
        if (x->shape[axis] != 1 && x->shape[axis] != out->shape[axis + lead])
            return 0;
    return lead >= 0;
}

int copy_into(uintptr_t x, uintptr_t out) {
    View from, to;
    if (!read_array(x, &from) || !read_array(out, &to) || !broadcasts_to(&from, &to))
        return DECLINED;
    return copy_view(&from, &to);
}

int copy_over(uintptr_t x, uintptr_t out) {
    View from, to;
    if (!read_array(x, &from) || !read_array(out, &to) || !broadcasts_to(&from, &to))
        return DECLINED;
    for (int axis = 0; axis < to.axes; axis++) /* which value stays would be left to the threads */
        if (to.strides[axis] == 0 && to.shape[axis] > 1)
            return DECLINED;
    if (count_of(&to) == 0)
        return OK;
    if (!overlap(&from, &to))
        return copy_view(&from, &to);
    intptr_t strides[MAX_AXES];
    intptr_t bytes = dense_strides(from.shape, from.axes, from.dtype, strides);
    View copy = {pool_take((size_t)bytes), from.shape, strides, from.axes, from.dtype};
    if (!copy.data)
        return NO_MEMORY;
    int code = copy_view(&from, &copy);
    if (code == OK)
        code = copy_view(&copy, &to);
    pool_give(copy.data);
    return code;
}

int copy_part(uintptr_t x, uintptr_t out, int axis, intptr_t start) {
    View from, to;
    intptr_t shape[MAX_AXES];
    if (!read_array(x, &from) || !read_array(out, &to) || from.axes != to.axes || axis < 0 ||
        axis >= to.axes || start < 0 || from.shape[axis] > to.shape[axis] - start)
        return DECLINED;
    copy_sizes(shape, to.shape, to.axes);
    shape[axis] = from.shape[axis];
    to.shape = shape;
    to.data += start * to.strides[axis];
    return same_shape(&from, &to) ? copy_view(&from, &to) : DECLINED;
}

typedef struct {
    View out;
    int dtype; /* F64 or I64: in which it is computed */
    double start, step;
    int64_t whole_start, whole_step;
} Range;

static void range_chunk(void *context, intptr_t number) {
    const Range *range = context;
    union { double f64[TILE]; int64_t i64[TILE]; } tile;
    intptr_t first = number * 32 * TILE, end = smaller(range->out.shape[0], first + 32 * TILE);
    for (; first < end; first += TILE) {
        intptr_t n = smaller(TILE, end - first);
        for (intptr_t i = 0; i < n && range->dtype == F64; i++)
            tile.f64[i] = range->start + (double)(first + i) * range->step;
        for (intptr_t i = 0; i < n && range->dtype == I64; i++)
            tile.i64[i] = (int64_t)((uint64_t)range->whole_start +
                                    (uint64_t)(first + i) * (uint64_t)range->whole_step);
        isa->convert[range->dtype][range->out.dtype](
            range->out.data + first * ITEMSIZE[range->out.dtype], &tile, n);
    }
}

static int fill_range(Range *range, uintptr_t out) {
    if (!read_array(out, &range->out) || range->out.axes != 1 || !is_dense(&range->out) ||
        !is_aligned(&range->out))
        return DECLINED;
    parallel(range_chunk, range, (range->out.shape[0] + 32 * TILE - 1) / (32 * TILE));
    return OK;
}

int arange_floats(uintptr_t out, double start, double step) {
    return fill_range(&(Range){.dtype = F64, .start = start, .step = step}, out);
}

int arange_whole(uintptr_t out, int64_t start, int64_t step) {
    return fill_range(&(Range){.dtype = I64, .whole_start = start, .whole_step = step}, out);
}
