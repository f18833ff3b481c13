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
    int is_long = __builtin_mul_overflow(work, a->shape[a->axes - 1], &work) || work > LONG_CALL;
    PyThreadState *state = is_long ? PyEval_SaveThread() : NULL;
    int code = is_linear ? table->linear(a, b, bias, &out) : table->matmul(a, b, bias, &out);
    if (is_long)
        PyEval_RestoreThread(state);
    return finished(op, code, result);
}

static PyObject *call_matmul(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    View a, b;
    intptr_t shape[MAX_AXES];
    (void)self;
    if (count != 2 || !PyArray_Check(args[0]) || !PyArray_Check(args[1]) ||
        !view_of((PyArrayObject *)args[0], &a, bfloat16_number) ||
        !view_of((PyArrayObject *)args[1], &b, bfloat16_number) || a.dtype != b.dtype ||
        a.dtype == BOOL || a.axes < 2 || b.axes < 2 ||
        a.shape[a.axes - 1] != b.shape[b.axes - 2])
        return declined();
    int axes = a.axes > b.axes ? a.axes : b.axes;
    shape[axes - 2] = a.shape[a.axes - 2];
    shape[axes - 1] = b.shape[b.axes - 1];
    for (int i = 3; i <= axes; i++) {
        intptr_t of_a = i <= a.axes ? a.shape[a.axes - i] : 1;
        intptr_t of_b = i <= b.axes ? b.shape[b.axes - i] : 1;
        if (of_a != of_b && of_a != 1 && of_b != 1)
            return declined();
        shape[axes - i] = of_a == 1 ? of_b : of_a;
    }
    return finish_product(0, "matmul", &a, &b, NULL, axes, shape);
}

/* x Wᵀ + b, or without b where it is None. */
static PyObject *call_linear(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    View x, weight, bias;
    intptr_t shape[MAX_AXES];
    (void)self;
    if (count != 3 || !PyArray_Check(args[0]) || !PyArray_Check(args[1]) ||
        !view_of((PyArrayObject *)args[0], &x, bfloat16_number) ||
        !view_of((PyArrayObject *)args[1], &weight, bfloat16_number) ||
        x.dtype != weight.dtype || x.dtype == BOOL || x.axes < 1 || weight.axes != 2 ||
        x.shape[x.axes - 1] != weight.shape[1])
        return declined();
    if (args[2] != Py_None &&
        (!PyArray_Check(args[2]) || !view_of((PyArrayObject *)args[2], &bias, bfloat16_number) ||
         bias.dtype != x.dtype || bias.axes != 1 || bias.shape[0] != weight.shape[0]))
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
