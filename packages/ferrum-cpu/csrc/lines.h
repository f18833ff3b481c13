/* What is done along one axis for each place on the other ones: arrays of one shape as lines. */
#ifndef FERRUM_LINES_H
#define FERRUM_LINES_H

#include "gather.h"

#define LINE_OPERANDS 3

/* An operand's strides, in bytes: along the lines, from column to column, and of other axes. */
typedef struct {
    char *data;
    intptr_t along, column, stride[MAX_AXES];
    int size, dtype;
} LineOperand;

/* Lines of n elements. Unless the axis is the last one, neighbouring lines lie side by side in
   row-major order: those are the columns of a block, and `columns` is 0 otherwise. */
typedef struct {
    int operands, axes;
    intptr_t n, columns, outer, shape[MAX_AXES];
    LineOperand operand[LINE_OPERANDS];
} Lines;

static inline intptr_t line_offset(const Lines *lines, const LineOperand *x, intptr_t position) {
    intptr_t bytes = 0;
    for (int axis = lines->axes - 1; axis >= 0; axis--) {
        bytes += position % lines->shape[axis] * x->stride[axis];
        position /= lines->shape[axis];
    }
    return bytes;
}

/* Lay out views of one shape along an axis. */
static inline void make_lines(Lines *lines, const View *const *views, int count, int axis) {
    const View *first = views[0];
    lines->operands = count;
    lines->n = first->shape[axis];
    lines->axes = 0;
    lines->outer = 1;
    for (int k = 0; k < count; k++) {
        LineOperand *x = &lines->operand[k];
        x->data = views[k]->data;
        x->along = views[k]->strides[axis];
        x->column = 0;
        x->dtype = views[k]->dtype;
        x->size = ITEMSIZE[x->dtype];
    }
    intptr_t inner = 1;
    for (int i = 0; i < first->axes; i++) {
        intptr_t size = first->shape[i];
        if (i == axis || size == 1)
            continue;
        int merges = lines->axes > 0 && (i < axis || inner > 1);
        for (int k = 0; k < count && merges; k++)
            merges = lines->operand[k].stride[lines->axes - 1] == views[k]->strides[i] * size;
        int to = merges ? lines->axes - 1 : lines->axes++;
        lines->shape[to] = merges ? lines->shape[to] * size : size;
        lines->outer *= size;
        if (i > axis)
            inner *= size;
        for (int k = 0; k < count; k++)
            lines->operand[k].stride[to] = views[k]->strides[i];
    }
    lines->columns = 0;
    if (inner > 1) {
        lines->columns = lines->shape[--lines->axes];
        lines->outer = lines->columns ? lines->outer / lines->columns : 0;
        for (int k = 0; k < count; k++)
            lines->operand[k].column = lines->operand[k].stride[lines->axes];
    }
}

/* Bring rows of n elements, anywhere, to a dense buffer, converted where `convert` is not NULL. */
static inline void load_rows(char *to, intptr_t to_size, const char *x, intptr_t row_stride,
                             intptr_t rows, intptr_t stride, intptr_t n, int size,
                             void (*convert)(void *, const void *, intptr_t)) {
    _Alignas(64) char buffer[TILE * 8];
    for (intptr_t r = 0; r < rows; r++) {
        for (intptr_t i = 0, part; i < n; i += part) {
            const char *from = x + r * row_stride + i * stride;
            part = convert ? smaller(n - i, TILE) : n;
            if (!convert) {
                move(to, size, from, stride, part, size);
            } else {
                move(buffer, size, from, stride, part, size);
                convert(to, buffer, part);
            }
            to += part * to_size;
        }
    }
}

#endif
