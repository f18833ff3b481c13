/* Elementwise ops on large inputs that are transposed, in bands of rows.

   Read row by row, a transposed matrix costs a cache line for every element. So a band of its rows
   is turned into scratch first, by blocks (copy.c), and stays in the second cache until the loop
   has read it. Scratch is a band for each thread, never the whole input. */
#include "elementwise.h"

#include <stdatomic.h>

/* Rows of a band; and the sides from which an input is worth turning. */
#define BAND 64

typedef struct {
    int op, dtype, inputs;
    const View *in, *out;
    intptr_t bands; /* for each matrix of a stack */
    atomic_int code;
} Bands;

/* Whether the last axis but one is the dense one. */
static int is_turned(const View *x, const View *out) {
    int last = x->axes - 1;
    return x->axes == out->axes && last >= 1 && x->shape[last] >= BAND &&
           x->shape[last - 1] >= BAND && x->strides[last - 1] == ITEMSIZE[x->dtype] &&
           (x->strides[last] >= 64 || x->strides[last] <= -64);
}

int wants_bands(int op, const View *in, const View *out) {
    if (count_of(out) < 1 << 16)
        return 0;
    for (int k = 0; k < elementwise_inputs(op); k++)
        if (is_turned(&in[k], out))
            return 1;
    return 0;
}

/* Fill in the view of rows `row` ... of matrix `stack` of an operand that broadcasts to `out`. */
static void take_rows(const View *x, const View *out, intptr_t stack, intptr_t row,
                      const intptr_t *shape, View *part, intptr_t *strides) {
    char *data = x->data;
    for (int axis = out->axes - 1; axis >= 0; axis--) {
        int own = axis - (out->axes - x->axes), inner = axis - (out->axes - 2);
        intptr_t stride = own < 0 || x->shape[own] == 1 ? 0 : x->strides[own];
        if (inner >= 0) {
            strides[inner] = stride;
            data += inner == 0 ? row * stride : 0;
        } else {
            data += stack % out->shape[axis] * stride;
            stack /= out->shape[axis];
        }
    }
    *part = (View){data, shape, strides, 2, x->dtype};
}

static void one_band(void *context, intptr_t number) {
    Bands *bands = context;
    const View *out = bands->out;
    intptr_t rows = out->shape[out->axes - 2], row = number % bands->bands * BAND;
    intptr_t shape[2] = {smaller(BAND, rows - row), out->shape[out->axes - 1]};
    intptr_t strides[1 + MAX_INPUTS][2], dense[MAX_INPUTS][2];
    View parts[1 + MAX_INPUTS];
    void *scratch[MAX_INPUTS] = {0};
    int code = OK;
    take_rows(out, out, number / bands->bands, row, shape, &parts[0], strides[0]);
    for (int k = 0; k < bands->inputs && code == OK; k++) {
        const View *x = &bands->in[k];
        take_rows(x, out, number / bands->bands, row, shape, &parts[k + 1], strides[k + 1]);
        if (!is_turned(x, out))
            continue;
        intptr_t size = ITEMSIZE[x->dtype];
        scratch[k] = pool_take((size_t)(shape[0] * shape[1] * size));
        dense[k][0] = shape[1] * size;
        dense[k][1] = size;
        View turned = {scratch[k], shape, dense[k], 2, x->dtype};
        code = scratch[k] ? copy_view(&parts[k + 1], &turned) : NO_MEMORY;
        parts[k + 1] = turned;
    }
    if (code == OK)
        code = elementwise_whole(bands->op, bands->dtype, parts + 1, &parts[0]);
    for (int k = 0; k < bands->inputs; k++)
        pool_give(scratch[k]);
    if (code != OK)
        atomic_store(&bands->code, code);
}

int elementwise_in_bands(int op, int dtype, const View *in, const View *out) {
    intptr_t count = (out->shape[out->axes - 2] + BAND - 1) / BAND;
    Bands bands = {op, dtype, elementwise_inputs(op), in, out, count, OK};
    for (int axis = 0; axis < out->axes - 2; axis++)
        count *= out->shape[axis];
    parallel(one_band, &bands, count);
    return atomic_load(&bands.code);
}
