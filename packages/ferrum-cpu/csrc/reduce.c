/* Reductions along any axes of an array in any layout.

   The axes that are left after merging are kept or reduced. Where memory runs along a kept axis,
   rows of elements are reduced into a row of accumulators, a block of columns at a time; where it
   runs along a reduced axis, that axis is cut into rows of LANES elements, whose accumulators are
   joined at last. What is not dense, or of another dtype than the loop's, is gathered and
   converted a tile at a time.

   Work is cut into tasks by shape and layout alone, and partial results are joined in order, so
   the bits never depend on the number of threads. */
#include "elementwise.h"
#include "gather.h"
#include "isa.h"
#include "reduce_calls.h"

#include <math.h>
#include <string.h>

/* Elements of a task at least, and tasks that are enough for any number of threads. */
#define GRAIN 65536
#define TASKS 64
/* Elements of a tile: as many as var may read twice from a near cache, and as buffers hold. */
#define TWICE 16384
#define BUFFER 4096
/* Fewer elements of one result than this are not worth the joining of lanes. */
#define SHORT 48

typedef struct {
    const Reducer *loop;
    Convert convert; /* to the loop's dtype, or NULL */
    const char *data;
    char *out;
    int op, size, out_dtype, in_place, by_columns, axes, kept;
    intptr_t kept_shape[MAX_AXES], kept_stride[MAX_AXES], kept_out[MAX_AXES];
    intptr_t shape[MAX_AXES], stride[MAX_AXES];  /* of reduced axes; the last one runs */
    intptr_t columns, column_stride, column_out; /* one column where by_columns is 0 */
    intptr_t outer, length;                      /* products of kept_shape and of shape */
    intptr_t period;                             /* rows that lie side by side in a block */
    intptr_t blocks, splits, chunk, each;        /* of columns; of length; units of a task */
    double correction;
    char *partial; /* by split: accumulators of all results; for var, means and then squares */
} Plan;

typedef struct {
    _Alignas(64) char acc[COLUMNS * 8];
    _Alignas(64) double mean[COLUMNS], squares[COLUMNS];
    _Alignas(64) double tile_mean[COLUMNS], drift[COLUMNS];
    _Alignas(64) char stored[BUFFER * 8], converted[BUFFER * 8];
    intptr_t count; /* of elements that mean and squares are of */
} State;

/* ---- a tile, a unit */

/* Take the mean and the sum of squares of n more elements into those of `count`. Means that are too
   large for a float64 have no distance, and squares that are infinite already. */
static void chan(double *mean, double *squares, intptr_t count, const double *tile_mean,
                 const double *tile_squares, intptr_t n, intptr_t m) {
    double share = (double)n / (double)(count + n);
    double weight = (double)count * share;
    for (intptr_t j = 0; j < m; j++) {
        double step = tile_mean[j] - mean[j];
        double spread = count ? step * step * weight : 0; /* infinity times 0 is no number */
        mean[j] += step * share;
        squares[j] += tile_squares[j] + (spread == spread ? spread : 0);
    }
}

/* The tile of var: squares of distances from the tile's mean, which is as good as a float32 sum,
   and then corrected by what the distances add up to. */
static void tile_var(const Plan *plan, State *s, const char *x, intptr_t stride, intptr_t rows,
                     intptr_t m) {
    const Reducer *loop = plan->loop;
    double *acc = (double *)s->acc, *mean = s->tile_mean, *drift = s->drift;
    intptr_t n = plan->by_columns ? rows : m, width = plan->by_columns ? m : LANES;
    loop->start(acc, width);
    if (plan->by_columns) {
        loop->rows(acc, x, stride, rows, m);
    } else {
        loop->lanes(acc, x, m);
        loop->fold(acc);
    }
    for (intptr_t j = 0; j < width; j++)
        mean[j] = acc[plan->by_columns ? j : 0] / (double)n;
    loop->start(acc, width);
    loop->start(drift, width);
    if (plan->by_columns) {
        loop->squares(acc, drift, x, stride, rows, m, mean);
    } else {
        intptr_t step = LANES * ITEMSIZE[loop->reads];
        loop->squares(acc, drift, x, step, m / LANES, LANES, mean);
        loop->squares(acc, drift, x + m / LANES * step, 0, m % LANES > 0, m % LANES, mean);
        loop->fold(acc);
        loop->fold(drift);
        width = 1;
    }
    for (intptr_t j = 0; j < width; j++) {
        double off = drift[j] / (double)n, lost = off * drift[j];
        if (isfinite(lost)) {
            mean[j] += off;
            acc[j] -= lost;
        }
    }
    chan(s->mean, s->squares, s->count, mean, acc, n, width);
    s->count += n;
}

/* Take `rows` rows of m dense elements. */
static void tile(const Plan *plan, State *s, const char *x, intptr_t stride, intptr_t rows,
                 intptr_t m) {
    const Reducer *loop = plan->loop;
    if (plan->op == VAR) {
        tile_var(plan, s, x, stride, rows, m);
    } else if (!plan->by_columns) {
        loop->lanes(s->acc, x, m);
    } else if (plan->period > 1) {
        intptr_t wide = rows / plan->period, rest = rows % plan->period;
        loop->rows(s->acc, x, stride * plan->period, wide, m * plan->period);
        if (rest)
            loop->rows(s->acc, x + wide * plan->period * stride, 0, 1, m * rest);
    } else {
        loop->rows(s->acc, x, stride, rows, m);
    }
}

/* Take n steps along the axis that runs, from x, of m columns. */
static void feed(const Plan *plan, State *s, const char *x, intptr_t n, intptr_t m) {
    intptr_t run = plan->stride[plan->axes - 1], most = n;
    if (!plan->in_place)
        most = larger(1, BUFFER / m);
    else if (plan->op == VAR)
        most = larger(8, TWICE / m);
    for (intptr_t part; n > 0; n -= part, x += part * run) {
        part = smaller(n, most);
        intptr_t rows = plan->by_columns ? part : 1, width = plan->by_columns ? m : part;
        const char *dense = x;
        intptr_t stride = run;
        if (!plan->in_place) {
            intptr_t step = plan->by_columns ? plan->column_stride : run;
            for (intptr_t r = 0; r < rows; r++)
                move(s->stored + r * width * plan->size, plan->size, x + r * run, step, width,
                     plan->size);
            dense = s->stored;
            if (plan->convert) {
                plan->convert(s->converted, dense, rows * width);
                dense = s->converted;
            }
            stride = width * ITEMSIZE[plan->loop->reads];
        }
        tile(plan, s, dense, stride, rows, width);
    }
}

/* Return where the reduced or kept index `position`, in row-major order, begins. */
static intptr_t offset(const intptr_t *shape, const intptr_t *stride, int axes, intptr_t position) {
    intptr_t bytes = 0;
    for (int axis = axes - 1; axis >= 0; axis--) {
        bytes += position % shape[axis] * stride[axis];
        position /= shape[axis];
    }
    return bytes;
}

/* Reduce positions `from` ... `end` - 1 of m columns at x into the first m accumulators. */
static void reduce_unit(const Plan *plan, State *s, const char *x, intptr_t from, intptr_t end,
                        intptr_t m) {
    intptr_t run = plan->shape[plan->axes - 1];
    s->count = 0;
    if (plan->op == VAR) {
        memset(s->mean, 0, (size_t)m * sizeof(double));
        memset(s->squares, 0, (size_t)m * sizeof(double));
    } else {
        plan->loop->start(s->acc, plan->by_columns ? m * plan->period : LANES);
    }
    while (from < end) {
        intptr_t n = smaller(run - from % run, end - from);
        feed(plan, s, x + offset(plan->shape, plan->stride, plan->axes, from), n, m);
        from += n;
    }
    if (plan->op == VAR)
        return;
    if (!plan->by_columns)
        plan->loop->fold(s->acc);
    for (intptr_t k = 1; k < plan->period; k++)
        plan->loop->join(s->acc, s->acc + k * m * ITEMSIZE[plan->loop->holds], m);
}

/* ---- results */

/* Write m results, made of accumulators, into `out`, whose elements are `step` apart. */
static void finish(const Plan *plan, State *s, void *acc, char *out, intptr_t step, intptr_t m) {
    int size = ITEMSIZE[plan->out_dtype];
    double count = (double)plan->length;
    if (plan->op == VAR)
        count = count > plan->correction ? count - plan->correction : 0;
    if (plan->op >= MEAN)
        for (intptr_t j = 0; j < m; j++)
            ((double *)acc)[j] /= count;
    char *to = step == size ? out : s->stored;
    isa->convert[plan->loop->holds][plan->out_dtype](to, acc, m);
    if (to != out)
        move(out, step, to, size, m, size);
}

static char *out_of(const Plan *plan, intptr_t o) {
    return plan->out + offset(plan->kept_shape, plan->kept_out, plan->kept, o);
}

static const char *data_of(const Plan *plan, intptr_t o) {
    return plan->data + offset(plan->kept_shape, plan->kept_stride, plan->kept, o);
}

/* The accumulators of result `result` in a split; results are counted by outer and column. */
static char *partial_of(const Plan *plan, intptr_t split, intptr_t result, int squares) {
    intptr_t results = plan->outer * plan->columns;
    intptr_t parts = plan->op == VAR ? 2 : 1;
    return plan->partial +
           ((split * parts + squares) * results + result) * ITEMSIZE[plan->loop->holds];
}

static void task_whole(void *context, intptr_t i) {
    const Plan *plan = context;
    State s;
    intptr_t end = smaller((i + 1) * plan->each, plan->outer * plan->blocks);
    for (intptr_t unit = i * plan->each; unit < end; unit++) {
        intptr_t o = unit / plan->blocks, first = unit % plan->blocks * COLUMNS;
        intptr_t m = smaller(plan->columns - first, COLUMNS);
        reduce_unit(plan, &s, data_of(plan, o) + first * plan->column_stride, 0, plan->length, m);
        finish(plan, &s, plan->op == VAR ? (void *)s.squares : s.acc,
               out_of(plan, o) + first * plan->column_out, plan->column_out, m);
    }
}

static void task_split(void *context, intptr_t i) {
    const Plan *plan = context;
    State s;
    intptr_t unit = i / plan->splits, split = i % plan->splits;
    intptr_t o = unit / plan->blocks, first = unit % plan->blocks * COLUMNS;
    intptr_t m = smaller(plan->columns - first, COLUMNS), result = o * plan->columns + first;
    size_t bytes = (size_t)(m * ITEMSIZE[plan->loop->holds]);
    reduce_unit(plan, &s, data_of(plan, o) + first * plan->column_stride, split * plan->chunk,
                smaller(plan->length, (split + 1) * plan->chunk), m);
    if (plan->op == VAR) {
        memcpy(partial_of(plan, split, result, 0), s.mean, bytes);
        memcpy(partial_of(plan, split, result, 1), s.squares, bytes);
    } else {
        memcpy(partial_of(plan, split, result, 0), s.acc, bytes);
    }
}

static void join_splits(const Plan *plan) {
    State s;
    intptr_t results = plan->outer * plan->columns;
    void *first = partial_of(plan, 0, 0, 0);
    for (intptr_t split = 1; split < plan->splits; split++) {
        intptr_t done = split * plan->chunk;
        if (plan->op == VAR)
            chan(first, (double *)first + results, done, (double *)partial_of(plan, split, 0, 0),
                 (double *)partial_of(plan, split, 0, 1),
                 smaller(plan->length, done + plan->chunk) - done, results);
        else
            plan->loop->join(first, partial_of(plan, split, 0, 0), results);
    }
    for (intptr_t o = 0; o < plan->outer; o++)
        for (intptr_t c = 0; c < plan->columns; c += COLUMNS)
            finish(plan, &s, partial_of(plan, 0, o * plan->columns + c, plan->op == VAR),
                   out_of(plan, o) + c * plan->column_out, plan->column_out,
                   smaller(plan->columns - c, COLUMNS));
}

/* ---- the plan */

static intptr_t magnitude(intptr_t stride) { return stride < 0 ? -stride : stride; }

/* Sort the reduced axes by stride, the least last (broadcast ones first), and merge them. */
static void order_reduced(Plan *plan) {
    for (int i = 1; i < plan->axes; i++) {
        intptr_t size = plan->shape[i], stride = plan->stride[i];
        int k = i;
        for (; k > 0 && (stride == 0 || plan->stride[k - 1] < stride) && plan->stride[k - 1]; k--) {
            plan->shape[k] = plan->shape[k - 1];
            plan->stride[k] = plan->stride[k - 1];
        }
        plan->shape[k] = size;
        plan->stride[k] = stride;
    }
    int left = 0;
    for (int i = 0; i < plan->axes; i++) {
        if (left && plan->stride[left - 1] == plan->stride[i] * plan->shape[i]) {
            plan->shape[left - 1] *= plan->shape[i];
            plan->stride[left - 1] = plan->stride[i];
        } else {
            plan->shape[left] = plan->shape[i];
            plan->stride[left++] = plan->stride[i];
        }
    }
    plan->axes = left;
}

static void take_axes(Plan *plan, const View *x, uint64_t mask) {
    intptr_t out_stride = ITEMSIZE[plan->out_dtype];
    intptr_t of_out[MAX_AXES];
    for (int axis = x->axes - 1; axis >= 0; axis--) {
        of_out[axis] = out_stride;
        if (!(mask >> axis & 1))
            out_stride *= x->shape[axis];
    }
    for (int axis = 0; axis < x->axes; axis++) {
        intptr_t size = x->shape[axis], stride = x->strides[axis];
        if (mask >> axis & 1) {
            plan->length *= size;
            if (size != 1) {
                if (stride < 0)
                    plan->data += (size - 1) * stride;
                plan->shape[plan->axes] = size;
                plan->stride[plan->axes++] = magnitude(stride);
            }
            continue;
        }
        plan->outer *= size;
        int last = plan->kept - 1;
        if (size == 1)
            continue;
        if (plan->kept && plan->kept_stride[last] == stride * size) {
            plan->kept_shape[last] *= size;
        } else {
            last = plan->kept++;
            plan->kept_shape[last] = size;
        }
        plan->kept_stride[last] = stride;
        plan->kept_out[last] = of_out[axis];
    }
    order_reduced(plan);
    if (plan->axes == 0) {
        plan->shape[0] = 1;
        plan->stride[plan->axes++] = plan->size;
    }
}

/* Choose the kept axis that lies along memory, if any, as the columns. */
static void choose_columns(Plan *plan) {
    int column = -1;
    intptr_t run = plan->stride[plan->axes - 1];
    if (plan->length == 1 || run == 0)
        run = PTRDIFF_MAX;
    for (int k = 0; k < plan->kept; k++)
        if (plan->kept_stride[k] && magnitude(plan->kept_stride[k]) < run &&
            (column < 0 || magnitude(plan->kept_stride[k]) <= magnitude(plan->kept_stride[column])))
            column = k;
    if (column < 0 && plan->kept && (plan->length < SHORT || run == PTRDIFF_MAX))
        for (int k = 0; k < plan->kept; k++)
            if (column < 0 || plan->kept_shape[k] >= plan->kept_shape[column])
                column = k;
    plan->columns = 1;
    plan->column_out = ITEMSIZE[plan->out_dtype];
    plan->period = 1;
    plan->in_place = !plan->convert;
    for (int k = 0; k < plan->kept; k++)
        plan->in_place &= aligned(plan->data, plan->kept_stride[k], plan->size);
    for (int k = 0; k < plan->axes; k++)
        plan->in_place &= aligned(plan->data, plan->stride[k], plan->size);
    if (column < 0) {
        plan->in_place &= plan->stride[plan->axes - 1] == plan->size;
        return;
    }
    plan->by_columns = 1;
    plan->columns = plan->kept_shape[column];
    plan->column_stride = plan->kept_stride[column];
    plan->column_out = plan->kept_out[column];
    plan->outer /= plan->columns;
    plan->in_place &= plan->column_stride == plan->size;
    plan->kept--;
    for (int k = column; k < plan->kept; k++) {
        plan->kept_shape[k] = plan->kept_shape[k + 1];
        plan->kept_stride[k] = plan->kept_stride[k + 1];
        plan->kept_out[k] = plan->kept_out[k + 1];
    }
    intptr_t rows = plan->shape[plan->axes - 1];
    if (plan->op != VAR && plan->columns <= LANES / 2 && rows >= 16 &&
        (!plan->in_place || plan->stride[plan->axes - 1] == plan->columns * plan->size))
        plan->period = smaller((rows >= 1024 ? COLUMNS / 2 : LANES) / plan->columns, rows / 8);
}

static int run(Plan *plan) {
    intptr_t width = smaller(plan->columns, COLUMNS);
    plan->blocks = (plan->columns + COLUMNS - 1) / COLUMNS;
    intptr_t units = plan->outer * plan->blocks, work = larger(1, width * plan->length);
    plan->splits = 1;
    if (units < TASKS / 2) {
        plan->splits = smaller(TASKS / units, work / GRAIN);
        plan->splits = larger(1, smaller(plan->splits, plan->length / (8 * LANES)));
    }
    if (plan->splits == 1) {
        plan->each = larger(1, GRAIN / work);
        parallel(task_whole, plan, (units + plan->each - 1) / plan->each);
        return OK;
    }
    intptr_t step = 8 * LANES; /* whole groups of rows for the loops */
    plan->chunk = ((plan->length + plan->splits - 1) / plan->splits + step - 1) / step * step;
    plan->splits = (plan->length + plan->chunk - 1) / plan->chunk;
    plan->partial = pool_take((size_t)(2 * plan->splits * plan->outer * plan->columns * 8));
    if (!plan->partial)
        return NO_MEMORY;
    parallel(task_split, plan, units * plan->splits);
    join_splits(plan);
    pool_give(plan->partial);
    return OK;
}

/* Return whether `out` is dense, with room for what x has besides the axes of the mask. */
static int fits(const View *x, const View *out, uint64_t mask) {
    intptr_t results = 1;
    for (int axis = 0; axis < x->axes; axis++)
        results *= mask >> axis & 1 ? 1 : x->shape[axis];
    return (x->axes == MAX_AXES || mask >> x->axes == 0) && count_of(out) == results &&
           is_dense(out) && is_aligned(out);
}

int reduce(int op, uintptr_t x_id, uintptr_t out_id, uint64_t axes, double correction) {
    View x, out;
    if (op < 0 || op > VAR || !read_array(x_id, &x) || !read_array(out_id, &out) ||
        out.dtype != reduced_dtype(op, x.dtype) || (op >= MEAN && x.dtype < F16) ||
        !fits(&x, &out, axes))
        return DECLINED;
    const Reducer *loop = &isa->reduce[op < REDUCERS ? op : SUM][x.dtype];
    Plan plan;
    memset(&plan, 0, offsetof(Plan, kept_shape));
    plan.loop = loop;
    plan.convert = loop->reads == x.dtype ? NULL : isa->convert[x.dtype][loop->reads];
    plan.data = x.data;
    plan.out = out.data;
    plan.op = op;
    plan.size = ITEMSIZE[x.dtype];
    plan.out_dtype = out.dtype;
    plan.outer = plan.length = 1;
    plan.correction = correction;
    if (count_of(&out) == 0)
        return OK;
    take_axes(&plan, &x, axes);
    choose_columns(&plan);
    return run(&plan);
}
