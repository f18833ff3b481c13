/* Along one axis: argmax, argmin and running sums. */
#include "elementwise.h"
#include "isa.h"
#include "lines.h"
#include "reduce_calls.h"

#include <string.h>

#define GRAIN 32768
/* Elements of a long line that are looked at in one go, and those of a part of it. */
#define STRETCH 4096
#define PART 65536
/* Shorter lines are searched many at a time. */
#define SHORT 48

/* The best element yet of a line, and where it is; -1 where there is none. */
typedef struct {
    int64_t index;
    char value[8];
} Best;

typedef struct {
    Lines lines;
    const Reducer *loop;
    Convert convert;   /* of what is read, or NULL */
    Convert write;     /* of what is written, or NULL */
    int in_place, direct; /* what is read, and what is written, needs no buffer */
    intptr_t width, across, parts, each;
    Best *best; /* by line and part */
} Plan;

/* Return n elements, `step` bytes apart, dense and in the loop's dtype. */
static const char *dense(const Plan *plan, const char *x, intptr_t step, intptr_t n, char *buffer) {
    const LineOperand *from = &plan->lines.operand[0];
    if (plan->in_place)
        return x;
    load_rows(buffer, ITEMSIZE[plan->loop->reads], x, 0, 1, step, n, from->size, plan->convert);
    return buffer;
}

/* ---- argmax and argmin */

/* Take another best, found later, where it is better. */
static void improve(const Plan *plan, Best *best, const Best *other) {
    char value[8];
    memcpy(value, best->value, 8);
    plan->loop->join(value, other->value, 1);
    if (best->index < 0 || memcmp(value, best->value, (size_t)ITEMSIZE[plan->loop->reads]))
        *best = *other;
}

/* Find the best of elements `from` ... `end` - 1 of a line. */
static Best search(const Plan *plan, const char *x, intptr_t from, intptr_t end) {
    _Alignas(64) char buffer[STRETCH * 8], acc[LANES * 8];
    const Reducer *loop = plan->loop;
    intptr_t step = plan->lines.operand[0].along, size = ITEMSIZE[loop->reads];
    Best best = {.index = -1}, here = {.index = 0};
    for (intptr_t n; from < end; from += n) {
        n = smaller(end - from, STRETCH);
        const char *line = dense(plan, x + from * step, step, n, buffer);
        loop->start(acc, LANES);
        loop->lanes(acc, line, n);
        loop->fold(acc);
        here.index = from;
        memcpy(here.value, acc, (size_t)size);
        Best old = best;
        improve(plan, &best, &here);
        if (best.index != old.index)
            best.index = from + loop->find(line, n, best.value);
    }
    return best;
}

static void task_search(void *context, intptr_t i) {
    const Plan *plan = context;
    const Lines *lines = &plan->lines;
    const LineOperand *x = &lines->operand[0], *out = &lines->operand[1];
    intptr_t end = smaller((i + 1) * plan->each, lines->outer);
    if (plan->parts > 1) {
        intptr_t line = i / plan->parts, part = i % plan->parts;
        plan->best[i] = search(plan, x->data + line_offset(lines, x, line), part * PART,
                               smaller(lines->n, (part + 1) * PART));
        return;
    }
    for (intptr_t line = i * plan->each; line < end; line++) {
        Best best = search(plan, x->data + line_offset(lines, x, line), 0, lines->n);
        memcpy(out->data + line_offset(lines, out, line), &best.index, 8);
    }
}

/* The same for a block of columns. */
static void search_columns(const Plan *plan, const char *x, char *out, intptr_t m) {
    _Alignas(64) char buffer[COLUMNS * 8], best[COLUMNS * 8];
    int64_t index[COLUMNS];
    const LineOperand *from = &plan->lines.operand[0], *to = &plan->lines.operand[1];
    const char *row = dense(plan, x, from->column, m, buffer);
    memcpy(best, row, (size_t)(m * ITEMSIZE[plan->loop->reads]));
    memset(index, 0, (size_t)m * 8);
    for (intptr_t r = 1; r < plan->lines.n; r++) {
        row = dense(plan, x + r * from->along, from->column, m, buffer);
        plan->loop->better(best, index, row, r, m);
    }
    move(out, to->column, (char *)index, 8, m, 8);
}

/* ---- running sums */

static void run_row(const Plan *plan, const char *x, char *out) {
    _Alignas(64) char buffer[TILE * 8], sums[TILE * 8];
    _Alignas(8) char acc[8] = {0};
    const LineOperand *from = &plan->lines.operand[0], *to = &plan->lines.operand[1];
    for (intptr_t i = 0, n; i < plan->lines.n; i += n) {
        n = smaller(TILE, plan->lines.n - i);
        const char *line = dense(plan, x + i * from->along, from->along, n, buffer);
        char *place = out + i * to->along;
        plan->loop->along(plan->direct ? place : sums, line, acc, n);
        if (!plan->direct)
            plan->write(place, sums, n);
    }
}

static void task_run(void *context, intptr_t i) {
    const Plan *plan = context;
    const Lines *lines = &plan->lines;
    const LineOperand *x = &lines->operand[0], *out = &lines->operand[1];
    intptr_t end = smaller((i + 1) * plan->each, lines->outer);
    for (intptr_t line = i * plan->each; line < end; line++)
        run_row(plan, x->data + line_offset(lines, x, line),
                out->data + line_offset(lines, out, line));
}

static void run_columns(const Plan *plan, const char *x, char *out, intptr_t m) {
    _Alignas(64) char buffer[COLUMNS * 8], acc[COLUMNS * 8], sums[COLUMNS * 8];
    const LineOperand *from = &plan->lines.operand[0], *to = &plan->lines.operand[1];
    plan->loop->start(acc, m);
    for (intptr_t r = 0; r < plan->lines.n; r++, x += from->along, out += to->along) {
        const char *row = dense(plan, x, from->column, m, buffer);
        plan->loop->across(plan->direct ? out : sums, row, acc, m);
        if (!plan->direct)
            plan->write(out, sums, m);
    }
}

/* ---- both */

static void task_columns(void *context, intptr_t i) {
    const Plan *plan = context;
    const Lines *lines = &plan->lines;
    const LineOperand *x = &lines->operand[0], *out = &lines->operand[1];
    intptr_t end = smaller((i + 1) * plan->each, lines->outer * plan->across);
    for (intptr_t unit = i * plan->each; unit < end; unit++) {
        intptr_t outer = unit / plan->across, first = unit % plan->across * plan->width;
        intptr_t m = smaller(plan->width, lines->columns - first);
        const char *from = x->data + line_offset(lines, x, outer) + first * x->column;
        char *to = out->data + line_offset(lines, out, outer) + first * out->column;
        if (plan->loop->find)
            search_columns(plan, from, to, m);
        else
            run_columns(plan, from, to, m);
    }
}

static void prepare(Plan *plan, const View *x, const View *out, int axis) {
    const View *views[] = {x, out};
    Lines *lines = &plan->lines;
    make_lines(lines, views, 2, axis);
    if (plan->loop->find && !lines->columns && lines->axes && lines->n < SHORT) {
        lines->columns = lines->shape[--lines->axes];
        lines->outer /= lines->columns;
        for (int k = 0; k < 2; k++)
            lines->operand[k].column = lines->operand[k].stride[lines->axes];
    }
    const LineOperand *from = &lines->operand[0];
    int reads = plan->loop->reads;
    plan->convert = reads == x->dtype ? NULL : isa->convert[x->dtype][reads];
    plan->in_place = !plan->convert && aligned(x->data, from->along | from->column, from->size);
    for (int i = 0; i < lines->axes; i++)
        plan->in_place &= aligned(x->data, from->stride[i], from->size);
    plan->in_place &= (lines->columns ? from->column : from->along) == from->size;
    /* Blocks are narrow where there are few: every thread should get some. */
    plan->width = lines->columns >= 8 * COLUMNS ? COLUMNS : 128;
    plan->across = (lines->columns + plan->width - 1) / plan->width;
    intptr_t width = lines->columns ? smaller(plan->width, lines->columns) : 1;
    plan->each = larger(1, GRAIN / (lines->n * width));
}

static int start(Plan *plan, Task rows) {
    Task task = plan->lines.columns ? task_columns : rows;
    intptr_t units = plan->lines.outer * (plan->lines.columns ? plan->across : 1);
    parallel(task, plan, (units + plan->each - 1) / plan->each);
    return OK;
}

int reduce_index(int least, uintptr_t x_id, uintptr_t out_id, int axis) {
    View x, out;
    if (!read_array(x_id, &x) || !read_array(out_id, &out) || out.dtype != I64 || axis < 0 ||
        axis >= x.axes || x.shape[axis] == 0 || !is_dense(&out) || !is_aligned(&out))
        return DECLINED;
    /* The result as an array of the shape of x whose elements are one along the axis. */
    intptr_t strides[MAX_AXES], results = 1;
    for (int i = x.axes - 1; i >= 0; i--) {
        strides[i] = i == axis ? 0 : 8 * results;
        results *= i == axis ? 1 : x.shape[i];
    }
    if (count_of(&out) != results)
        return DECLINED;
    View like_x = {out.data, x.shape, strides, x.axes, I64};
    Plan plan = {.loop = &isa->reduce[least ? MIN : MAX][x.dtype], .parts = 1};
    if (results == 0)
        return OK;
    prepare(&plan, &x, &like_x, axis);
    const Lines *lines = &plan.lines;
    if (lines->columns || lines->outer >= 16 || lines->n < 2 * PART)
        return start(&plan, task_search);
    plan.parts = (lines->n + PART - 1) / PART;
    plan.best = pool_take((size_t)(lines->outer * plan.parts) * sizeof(Best));
    if (!plan.best)
        return NO_MEMORY;
    parallel(task_search, &plan, lines->outer * plan.parts);
    for (intptr_t line = 0; line < lines->outer; line++) {
        Best *best = &plan.best[line * plan.parts];
        for (intptr_t part = 1; part < plan.parts; part++)
            improve(&plan, best, best + part);
        memcpy(out.data + line_offset(lines, &lines->operand[1], line), &best->index, 8);
    }
    pool_give(plan.best);
    return OK;
}

int cumulative_sum(uintptr_t x_id, uintptr_t out_id, int axis) {
    View x, out;
    if (!read_array(x_id, &x) || !read_array(out_id, &out) || axis < 0 || axis >= x.axes ||
        !same_shape(&x, &out) || out.dtype != reduced_dtype(SUM, x.dtype) || !is_dense(&out) ||
        !is_aligned(&out))
        return DECLINED;
    Plan plan = {.loop = &isa->reduce[SUM][x.dtype]};
    if (count_of(&out) == 0)
        return OK;
    prepare(&plan, &x, &out, axis);
    plan.direct = plan.loop->reads == out.dtype;
    plan.write = isa->convert[plan.loop->reads][out.dtype];
    return start(&plan, task_run);
}
