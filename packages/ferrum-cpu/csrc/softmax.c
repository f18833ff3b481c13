/* softmax and log_softmax along any axis, and their gradients.

   Along the last axis rows are computed a batch at a time, each in one go while it is in cache;
   along another one, blocks of columns. An operand that is not dense along a row, or is of a
   narrow float, is brought into scratch first; and so are blocks of columns that are narrower than
   the rows they are cut from: rows far apart fall out of the caches between two passes. A line's
   result depends on that line alone. */
#include "elementwise.h"
#include "isa.h"
#include "lines.h"
#include "reduce_calls.h"

#include <stdatomic.h>

/* Elements of a task at least, those of a batch of rows at most, and those of a block of columns
   that should stay in the second cache. */
#define GRAIN 16384
#define BATCH 4096
#define BLOCK 131072

typedef struct {
    Lines lines;
    SoftmaxLoop loop;
    int reads;                                 /* the loops' dtype */
    intptr_t width, across, units, each;       /* of a block or batch; blocks in a row; tasks */
    int direct[LINE_OPERANDS];
    atomic_int failed;
} Plan;

/* Compute a block: `rows` rows of n elements, which begin `at` bytes into each operand. */
static int compute(Plan *plan, const intptr_t *at, const intptr_t *row, const intptr_t *step,
                   intptr_t rows, intptr_t n) {
    const Lines *lines = &plan->lines;
    intptr_t bytes = rows * n * ITEMSIZE[plan->reads];
    int last = lines->operands - 1, wanted = 0;
    const char *in[LINE_OPERANDS] = {0};
    intptr_t stride[LINE_OPERANDS];
    for (int k = 0; k < last; k++)
        wanted += !plan->direct[k];
    wanted += !plan->direct[last] && plan->direct[0]; /* else it is written over the first */
    char *scratch = wanted ? pool_take((size_t)(wanted * bytes)) : NULL, *free = scratch;
    if (wanted && !scratch)
        return 0;
    for (int k = 0; k < last; k++) {
        const LineOperand *x = &lines->operand[k];
        in[k] = x->data + at[k];
        stride[k] = row[k];
        if (plan->direct[k])
            continue;
        load_rows(free, ITEMSIZE[plan->reads], in[k], row[k], rows, step[k], n, x->size,
                  x->dtype == plan->reads ? NULL : isa->convert[x->dtype][plan->reads]);
        in[k] = free;
        stride[k] = n * ITEMSIZE[plan->reads];
        free += bytes;
    }
    const LineOperand *out = &lines->operand[last];
    char *to = out->data + at[last];
    if (plan->direct[last]) {
        plan->loop(to, row[last], in, stride, rows, n);
    } else {
        intptr_t dense = n * ITEMSIZE[plan->reads];
        if (!plan->direct[0])
            free = scratch;
        plan->loop(free, dense, in, stride, rows, n);
        for (intptr_t r = 0; r < rows; r++)
            isa->convert[plan->reads][out->dtype](to + r * row[last], free + r * dense, n);
    }
    pool_give(scratch);
    return 1;
}

static void task(void *context, intptr_t i) {
    Plan *plan = context;
    const Lines *lines = &plan->lines;
    intptr_t at[LINE_OPERANDS], row[LINE_OPERANDS], step[LINE_OPERANDS];
    intptr_t line = lines->columns || !lines->axes ? 1 : lines->shape[lines->axes - 1];
    intptr_t end = smaller(plan->units, (i + 1) * plan->each);
    for (intptr_t unit = i * plan->each; unit < end; unit++) {
        intptr_t outer = unit / plan->across, first = unit % plan->across * plan->width;
        intptr_t length = lines->columns ? lines->columns : line;
        intptr_t size = smaller(plan->width, length - first);
        for (int k = 0; k < lines->operands; k++) {
            const LineOperand *x = &lines->operand[k];
            if (lines->columns) {
                at[k] = line_offset(lines, x, outer) + first * x->column;
                row[k] = x->along;
                step[k] = x->column;
            } else {
                at[k] = line_offset(lines, x, outer * line + first);
                row[k] = lines->axes ? x->stride[lines->axes - 1] : 0;
                step[k] = x->along;
            }
        }
        int done = lines->columns ? compute(plan, at, row, step, lines->n, size)
                                  : compute(plan, at, row, step, size, lines->n);
        if (!done)
            atomic_store(&plan->failed, 1);
    }
}

static int run(int op, const View *const *views, int count, int axis) {
    const View *out = views[count - 1];
    Plan plan = {.failed = 0};
    Lines *lines = &plan.lines;
    if (count_of(out) == 0)
        return OK;
    make_lines(lines, views, count, axis);
    plan.reads = out->dtype == F64 ? F64 : F32;
    plan.loop = isa->softmax[op][lines->columns > 0][plan.reads == F64];
    for (int k = 0; k < count; k++) {
        const LineOperand *x = &lines->operand[k];
        intptr_t step = lines->columns ? x->column : x->along;
        int fits = aligned(x->data, x->along | x->column, x->size);
        for (int i = 0; i < lines->axes; i++)
            fits &= aligned(x->data, x->stride[i], x->size);
        plan.direct[k] = fits && x->dtype == plan.reads &&
                         (step == x->size || (lines->columns ? lines->columns : lines->n) == 1);
    }
    intptr_t length = lines->columns, rows = lines->n;
    if (length) {
        plan.width = larger(16, smaller(SOFTMAX_COLUMNS, BLOCK / rows / 16 * 16));
        plan.units = lines->outer;
    } else {
        length = lines->axes ? lines->shape[lines->axes - 1] : 1;
        plan.width = larger(1, BATCH / rows);
        plan.units = lines->outer / length;
    }
    for (int k = 0; lines->columns > plan.width && k < count; k++)
        plan.direct[k] = 0;
    plan.across = (length + plan.width - 1) / plan.width;
    plan.units *= plan.across;
    plan.each = larger(1, GRAIN / (rows * smaller(plan.width, length)));
    intptr_t tasks = (plan.units + plan.each - 1) / plan.each;
    parallel(task, &plan, tasks);
    return atomic_load(&plan.failed) ? NO_MEMORY : OK;
}

static int alike(const View *x, const View *out) {
    return x->dtype == out->dtype && same_shape(x, out);
}

static int takes(const View *out, int axis) {
    return out->dtype >= F16 && axis >= 0 && axis < out->axes && is_dense(out) &&
           is_aligned(out);
}

int softmax(int logarithm, uintptr_t x_id, uintptr_t out_id, int axis) {
    View x, out;
    if (!read_array(x_id, &x) || !read_array(out_id, &out) || !takes(&out, axis) ||
        !alike(&x, &out))
        return DECLINED;
    const View *views[] = {&x, &out};
    return run(logarithm ? LOG_SOFTMAX : SOFTMAX, views, 2, axis);
}

int softmax_backward(int logarithm, uintptr_t g_id, uintptr_t y_id, uintptr_t out_id, int axis) {
    View g, y, out;
    if (!read_array(g_id, &g) || !read_array(y_id, &y) || !read_array(out_id, &out) ||
        !takes(&out, axis) || !alike(&g, &out) || !alike(&y, &out))
        return DECLINED;
    const View *views[] = {&g, &y, &out};
    return run(logarithm ? LOG_SOFTMAX_BACKWARD : SOFTMAX_BACKWARD, views, 3, axis);
}
