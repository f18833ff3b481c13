/* How every elementwise op walks its operands.

   A loop takes dense operands of one dtype. What is not so is brought to that form a tile at a
   time: gathered where it is strided or broadcast, converted where it is a narrow float, and the
   result likewise on its way out. A tile stays in the first cache, so this costs little beside
   memory, and no operand is ever copied whole. */
#include "elementwise.h"
#include "gather.h"
#include "isa.h"
#include "kernels.h"

#include <string.h>

/* Where rows are at least this long a tile never crosses the end of one, so that an operand dense
   along the rows is read in place. */
#define LONG_ROW 256

/* Elements from which threads pay, by cost of an element. */
#define GRAIN 32768
#define HEAVY_GRAIN 4096

#define X(name, inputs, heavy) #name,
static const char *const names[] = {ELEMENTWISE(X)};
#undef X
#define X(name, inputs, heavy) inputs,
static const unsigned char inputs_of[] = {ELEMENTWISE(X)};
#undef X
#define X(name, inputs, heavy) heavy,
static const unsigned char is_heavy[] = {ELEMENTWISE(X)};
#undef X

int elementwise_count(void) { return ELEMENTWISE_OPS; }
const char *elementwise_name(int op) { return op >= 0 && op < ELEMENTWISE_OPS ? names[op] : NULL; }
int elementwise_inputs(int op) { return inputs_of[op]; }

/* FLAT: dense as a whole. CONSTANT: one element. ROWS: dense along each row. */
enum { FLAT, CONSTANT, ROWS, SCATTERED };

typedef struct {
    char *data;
    intptr_t stride[MAX_AXES]; /* by axis of the plan, 0 where it is broadcast */
    Convert convert;           /* between the stored dtype and that of the loop, or NULL */
    int kind, size;            /* `size` is bytes of an element as stored */
} Operand;

typedef struct {
    Loop loop;
    int inputs, axes, by_row;
    intptr_t shape[MAX_AXES]; /* without axes of size 1, and merged where all operands allow */
    intptr_t row, count, chunk;
    Operand operand[1 + MAX_INPUTS]; /* the output first */
} Plan;

static void simplify(Plan *plan, const View *out) {
    int kept = 0;
    for (int axis = 0; axis < out->axes; axis++) {
        if (out->shape[axis] == 1)
            continue;
        int merges = kept > 0;
        for (int k = 0; k <= plan->inputs && merges; k++) {
            intptr_t *stride = plan->operand[k].stride;
            merges = stride[kept - 1] == stride[axis] * out->shape[axis];
        }
        int to = merges ? kept - 1 : kept++;
        plan->shape[to] = merges ? plan->shape[to] * out->shape[axis] : out->shape[axis];
        for (int k = 0; k <= plan->inputs; k++)
            plan->operand[k].stride[to] = plan->operand[k].stride[axis];
    }
    if (kept == 0) {
        plan->shape[kept++] = 1;
        for (int k = 0; k <= plan->inputs; k++)
            plan->operand[k].stride[0] = plan->operand[k].size;
    }
    plan->axes = kept;
    plan->row = plan->shape[kept - 1];
    plan->by_row = plan->row >= LONG_ROW || kept == 1;
}

static int kind_of(const Plan *plan, const Operand *x) {
    int dense = 1, constant = 1;
    intptr_t step = x->size;
    for (int axis = plan->axes - 1; axis >= 0; axis--) {
        dense &= x->stride[axis] == step;
        constant &= x->stride[axis] == 0;
        step *= plan->shape[axis];
    }
    int aligned = (uintptr_t)x->data % (unsigned)x->size == 0;
    if (constant)
        return CONSTANT;
    if (aligned && dense)
        return FLAT;
    for (int axis = 0; axis < plan->axes; axis++)
        aligned &= x->stride[axis] % x->size == 0;
    return aligned && plan->by_row && x->stride[plan->axes - 1] == x->size ? ROWS : SCATTERED;
}

/* Return where element `position`, in row-major order, of an operand is. */
static char *at(const Plan *plan, const Operand *x, intptr_t position) {
    char *place = x->data;
    for (int axis = plan->axes - 1; axis >= 0; axis--) {
        place += position % plan->shape[axis] * x->stride[axis];
        position /= plan->shape[axis];
    }
    return place;
}

/* Move elements position ... position + n - 1 between an operand and a dense buffer. */
static void exchange(const Plan *plan, const Operand *x, intptr_t position, intptr_t n, char *buffer,
                     int out) {
    intptr_t stride = x->stride[plan->axes - 1];
    while (n > 0) {
        intptr_t part = smaller(n, plan->row - position % plan->row);
        char *place = at(plan, x, position);
        if (out)
            move(place, stride, buffer, x->size, part, x->size);
        else
            move(buffer, x->size, place, stride, part, x->size);
        buffer += part * x->size;
        position += part;
        n -= part;
    }
}

/* Return the dense elements, in the loop's dtype, of a tile of an input. */
static const char *load(const Plan *plan, const Operand *x, intptr_t position, intptr_t n,
                        Tile *buffer) {
    const char *dense = buffer->stored;
    if (x->kind == FLAT)
        dense = x->data + position * x->size;
    else if (x->kind == ROWS)
        dense = at(plan, x, position);
    else
        exchange(plan, x, position, n, buffer->stored, 0);
    if (!x->convert)
        return dense;
    x->convert(buffer->converted, dense, n);
    return buffer->converted;
}

static void run(const Plan *plan, intptr_t position, intptr_t end) {
    Tile buffers[1 + MAX_INPUTS];
    const void *in[MAX_INPUTS] = {0};
    const Operand *out = plan->operand;
    int tiled = out->kind > ROWS || out->convert;
    for (int k = 0; k < plan->inputs; k++) {
        const Operand *x = &plan->operand[k + 1];
        Tile *buffer = &buffers[k + 1];
        tiled |= x->kind > ROWS || x->kind == CONSTANT || x->convert;
        if (x->kind == CONSTANT) {
            char *to = x->convert ? buffer->stored : buffer->converted;
            repeat(to, x->data, smaller(end - position, TILE), x->size);
            if (x->convert)
                x->convert(buffer->converted, to, smaller(end - position, TILE));
            in[k] = buffer->converted;
        }
    }
    for (intptr_t n; position < end; position += n) {
        n = end - position;
        if (plan->by_row)
            n = smaller(n, plan->row - position % plan->row);
        if (tiled)
            n = smaller(n, TILE);
        for (int k = 0; k < plan->inputs; k++)
            if (plan->operand[k + 1].kind != CONSTANT)
                in[k] = load(plan, &plan->operand[k + 1], position, n, &buffers[k + 1]);
        char *to = buffers[0].stored;
        if (out->kind == FLAT)
            to = out->data + position * out->size;
        else if (out->kind == ROWS)
            to = at(plan, out, position);
        if (out->convert) {
            plan->loop(buffers[0].converted, in, n);
            out->convert(to, buffers[0].converted, n);
        } else {
            plan->loop(to, in, n);
        }
        if (to == buffers[0].stored)
            exchange(plan, out, position, n, to, 1);
    }
}

static void run_chunk(void *context, intptr_t i) {
    const Plan *plan = context;
    run(plan, i * plan->chunk, smaller(plan->count, (i + 1) * plan->chunk));
}

/* Lay out operand k of a plan, whose loop takes it in `loop_dtype`; 0 is the output. */
static void place(Plan *plan, int k, const View *view, int axes, int loop_dtype) {
    Operand *x = &plan->operand[k];
    int from = k ? view->dtype : loop_dtype, to = k ? loop_dtype : view->dtype;
    x->data = view->data;
    x->size = ITEMSIZE[view->dtype];
    x->convert = from == to ? NULL : isa->convert[from][to];
    spread(view, axes, x->stride);
}

static int finish(Plan *plan, const View *out, intptr_t grain) {
    plan->count = count_of(out);
    if (plan->count == 0)
        return OK;
    simplify(plan, out);
    for (int k = 0; k <= plan->inputs; k++)
        plan->operand[k].kind = kind_of(plan, &plan->operand[k]);
    if (plan->operand[0].kind == CONSTANT) /* one element */
        plan->operand[0].kind = SCATTERED;
    intptr_t chunks = smaller((plan->count + grain - 1) / grain, 8 * (intptr_t)threads_get());
    plan->chunk = (plan->count / chunks + TILE) / TILE * TILE;
    if (chunks < 2)
        run(plan, 0, plan->count);
    else
        parallel(run_chunk, plan, (plan->count + plan->chunk - 1) / plan->chunk);
    return OK;
}

/* Whether any element of signed integers is negative: the last of its bytes says so. */
static int any_negative(const View *x) {
    intptr_t count = x->dtype < I8 ? 0 : count_of(x);
    int last = ITEMSIZE[x->dtype] - 1;
    for (intptr_t number = 0; number < count; number++) {
        const char *place = x->data;
        intptr_t rest = number;
        for (int axis = x->axes - 1; axis >= 0; axis--) {
            place += rest % x->shape[axis] * x->strides[axis];
            rest /= x->shape[axis];
        }
        if ((signed char)place[last] < 0)
            return 1;
    }
    return 0;
}

int elementwise_whole(int op, int dtype, const View *in, const View *out) {
    const Entry *entry = &isa->elementwise[op][dtype];
    Plan plan = {.loop = entry->loop, .inputs = inputs_of[op]};
    place(&plan, 0, out, out->axes, entry->writes);
    for (int k = 0; k < plan.inputs; k++)
        place(&plan, k + 1, &in[k], out->axes, reads_of(op, entry, k));
    return finish(&plan, out, is_heavy[op] ? HEAVY_GRAIN : GRAIN);
}

int elementwise(int op, int dtype, const View *in, const View *out) {
    if (!isa->elementwise[op][dtype].loop)
        return DECLINED;
    if (op == OP_pow && dtype < F16 && any_negative(&in[1]))
        return NEGATIVE_POWER;
    return wants_bands(op, in, out) ? elementwise_in_bands(op, dtype, in, out)
                                    : elementwise_whole(op, dtype, in, out);
}

#define COPY(size) \
    static void copy_##size(void *out, const void *const *in, intptr_t n) { \
        memmove(out, in[0], (size_t)(n * size)); \
    }
COPY(1) COPY(2) COPY(4) COPY(8)

int convert_view(const View *x, const View *out) {
    static const Loop copies[] = {[1] = copy_1, [2] = copy_2, [4] = copy_4, [8] = copy_8};
    Plan plan = {.loop = copies[ITEMSIZE[out->dtype]], .inputs = 1};
    place(&plan, 0, out, out->axes, out->dtype);
    place(&plan, 1, x, out->axes, out->dtype);
    return finish(&plan, out, GRAIN);
}
