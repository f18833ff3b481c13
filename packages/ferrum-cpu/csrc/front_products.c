/* Products of matrices. */
#include "front_internal.h"

/* Make the result of a product, whose operands fit, and compute it. */
static PyObject *finish_product(int is_linear, const char *op, const View *a, const View *b,
                                const View *bias, int axes, const intptr_t *shape) {
    PyObject *result = new_array(op, axes, shape, a->dtype);
    if (!result)
        return NULL;
    View out;
    view_of((PyArrayObject *)result, &out, bfloat16_number);
    intptr_t work = count_of(&out);
    if (__builtin_mul_overflow(work, a->shape[a->axes - 1], &work))
        work = PTRDIFF_MAX;
    PyThreadState *state = let_go(work);
    int code = is_linear ? table->linear(a, b, bias, &out) : table->matmul(a, b, bias, &out);
    take_back(state);
    return finished(op, code, result);
}

static PyObject *call_matmul(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    View a, b;
    intptr_t shape[MAX_AXES];
    (void)self;
    if (count != 2 || !read_operand(args[0], &a) || !read_operand(args[1], &b) ||
        a.dtype != b.dtype || a.dtype == BOOL || a.axes < 2 || b.axes < 2 ||
        a.shape[a.axes - 1] != b.shape[b.axes - 2])
        return declined();
    int axes = a.axes - 2;
    copy_sizes(shape, a.shape, axes);
    if (!broadcast(shape, &axes, b.shape, b.axes - 2))
        return declined();
    shape[axes++] = a.shape[a.axes - 2];
    shape[axes++] = b.shape[b.axes - 1];
    return finish_product(0, "matmul", &a, &b, NULL, axes, shape);
}

/* x Wᵀ + b, or without b where it is None. */
static PyObject *call_linear(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    View x, weight, bias;
    intptr_t shape[MAX_AXES];
    (void)self;
    if (count != 3 || !read_operand(args[0], &x) || !read_operand(args[1], &weight) ||
        x.dtype != weight.dtype || x.dtype == BOOL || x.axes < 1 || weight.axes != 2 ||
        x.shape[x.axes - 1] != weight.shape[1])
        return declined();
    if (args[2] != Py_None &&
        (!read_operand(args[2], &bias) || bias.dtype != x.dtype || bias.axes != 1 ||
         bias.shape[0] != weight.shape[0]))
        return declined();
    copy_sizes(shape, x.shape, x.axes);
    shape[x.axes - 1] = weight.shape[0];
    return finish_product(1, "linear", &x, &weight, args[2] == Py_None ? NULL : &bias, x.axes,
                          shape);
}

PyMethodDef product_methods[] = {
    {"matmul", (PyCFunction)(void (*)(void))call_matmul, METH_FASTCALL, "Return matrix products."},
    {"linear", (PyCFunction)(void (*)(void))call_linear, METH_FASTCALL,
     "linear(x, weight, bias): return x times the transposed weight, plus bias if not None."},
    {NULL, NULL, 0, NULL}};
