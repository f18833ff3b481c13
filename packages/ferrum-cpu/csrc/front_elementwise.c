/* Elementwise ops: arrays that broadcast, and Python numbers among them. */
#include "front_internal.h"

#include <string.h>

/* ---- operands */

typedef union {
    uint8_t b8, u8;
    int8_t i8;
    int16_t i16;
    int32_t i32;
    int64_t i64;
    float f32;
    double f64;
} Number;

/* Put a Python number into a loop's dtype; return whether that holds it. */
static int convert_number(PyObject *object, int dtype, Number *number) {
    if (dtype >= F16) {
        double value =
            PyFloat_CheckExact(object) ? PyFloat_AsDouble(object) : PyLong_AsDouble(object);
        if (value == -1.0 && PyErr_Occurred()) {
            PyErr_Clear();
            return 0;
        }
        number->f64 = value;
        if (dtype != F64)
            (*table->isa)->convert[F64][dtype](number, &value, 1);
        return 1;
    }
    if (PyFloat_CheckExact(object))
        return 0;
    if (dtype == BOOL) {
        number->b8 = (uint8_t)PyObject_IsTrue(object);
        return 1;
    }
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow || (value == -1 && PyErr_Occurred())) {
        PyErr_Clear();
        return 0;
    }
    static const long long least[] = {0, 0, INT8_MIN, INT16_MIN, INT32_MIN, INT64_MIN};
    static const long long most[] = {1, UINT8_MAX, INT8_MAX, INT16_MAX, INT32_MAX, INT64_MAX};
    number->i64 = value; /* little-endian: a narrow one is at the front */
    return least[dtype] <= value && value <= most[dtype];
}

static int is_number(PyObject *object) {
    return PyFloat_CheckExact(object) || PyLong_CheckExact(object) || PyBool_Check(object);
}

typedef struct {
    View in[MAX_INPUTS];
    Number number[MAX_INPUTS];
    int dtype, axes;
    int dense_alike; /* all arrays have one shape and no gaps: the loop can run as it is */
    intptr_t shape[MAX_AXES];
} Call;

static const intptr_t NOWHERE[1] = {0};

/* Put the numbers among the operands into the dtype that the op reads. */
static int read_numbers(Call *call, int op, PyObject *const *args, int count) {
    const Entry *entry = &(*table->isa)->elementwise[op][call->dtype];
    if (!entry->loop)
        return 0;
    for (int k = 0; k < count; k++) {
        if (call->in[k].dtype >= 0)
            continue;
        int dtype = reads_of(op, entry, k);
        if (!convert_number(args[k], dtype, &call->number[k]))
            return 0;
        call->in[k] = (View){(char *)&call->number[k], NOWHERE, NOWHERE, 0, dtype};
    }
    return 1;
}

/* Read the operands, and broadcast their shapes; return whether the op takes them. */
static int read_operands(Call *call, int op, PyObject *const *args, int count) {
    int arrays = 0;
    call->dtype = -1;
    call->dense_alike = 1;
    for (int k = 0; k < count; k++) {
        View *view = &call->in[k];
        if (!PyArray_Check(args[k])) {
            if (!is_number(args[k]))
                return 0;
            view->dtype = -1;
            continue;
        }
        PyArrayObject *array = (PyArrayObject *)args[k];
        if (!view_of(array, view, bfloat16_number))
            return 0;
        if (op == OP_where && k == 0) {
            if (view->dtype != BOOL)
                return 0;
        } else if (call->dtype < 0) {
            call->dtype = view->dtype;
        } else if (view->dtype != call->dtype) {
            return 0;
        }
        call->dense_alike &= PyArray_IS_C_CONTIGUOUS(array) && PyArray_ISALIGNED(array);
        if (arrays++ == 0) {
            call->axes = view->axes;
            copy_sizes(call->shape, view->shape, view->axes);
        } else if (view->axes != call->axes ||
                   !same_sizes(view->shape, call->shape, view->axes)) {
            call->dense_alike = 0;
            if (!broadcast(call->shape, &call->axes, view->shape, view->axes))
                return 0;
        }
    }
    return call->dtype >= 0 && read_numbers(call, op, args, count);
}

/* ---- calls */

/* Run the loop itself on few dense elements; return whether that was possible. */
static int run_short(const Call *call, int op, int count, intptr_t n, void *out) {
    const Entry *entry = &(*table->isa)->elementwise[op][call->dtype];
    _Alignas(64) char tiles[MAX_INPUTS][16 * sizeof(Number)];
    const void *in[MAX_INPUTS];
    if (!call->dense_alike || n > LONG_CALL || entry->reads != call->dtype || op == OP_pow)
        return 0;
    for (int k = 0; k < count; k++) {
        const View *view = &call->in[k];
        in[k] = view->data;
        if (view->data == (const char *)&call->number[k]) {
            if (n > 16)
                return 0;
            for (intptr_t i = 0; i < n; i++)
                memcpy(tiles[k] + i * ITEMSIZE[view->dtype], view->data, ITEMSIZE[view->dtype]);
            in[k] = tiles[k];
        }
    }
    entry->loop(out, in, n);
    return 1;
}

static int run(const Call *call, int op, const View *out, intptr_t n) {
    PyThreadState *state = let_go(n);
    int code = table->elementwise(op, call->dtype, call->in, out);
    take_back(state);
    return code;
}

static PyObject *call_elementwise(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    int op = (int)PyLong_AsLong(self);
    Call call;
    if (count != table->elementwise_inputs(op) || !read_operands(&call, op, args, (int)count))
        return declined();
    const Entry *entry = &(*table->isa)->elementwise[op][call.dtype];
    const char *name = table->elementwise_name(op);
    PyObject *result = new_array(name, call.axes, call.shape, result_of(entry, call.dtype));
    if (!result)
        return NULL;
    View out;
    view_of((PyArrayObject *)result, &out, bfloat16_number);
    intptr_t n = count_of(&out);
    int code = OK;
    if (!run_short(&call, op, (int)count, n, out.data))
        code = run(&call, op, &out, n);
    return finished(name, code, result);
}

/* Whether writing to `out` could change what is yet to be read of x. */
static int clashes(const View *out, const View *x) {
    int same = x->data == out->data && same_shape(x, out) &&
               same_sizes(x->strides, out->strides, out->axes);
    return !same && overlap(x, out);
}

/* The same, written into the first operand. */
static PyObject *call_in_place(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    int op = (int)PyLong_AsLong(self);
    Call call;
    if (count != table->elementwise_inputs(op) || !PyArray_Check(args[0]) ||
        !PyArray_ISWRITEABLE((PyArrayObject *)args[0]) ||
        !read_operands(&call, op, args, (int)count))
        return declined();
    const Entry *entry = &(*table->isa)->elementwise[op][call.dtype];
    const View *out = &call.in[0];
    if (result_of(entry, call.dtype) != out->dtype || call.axes != out->axes ||
        !same_sizes(call.shape, out->shape, out->axes))
        return declined();
    intptr_t n = count_of(out);
    for (int k = 1; k < count && n; k++)
        if (call.in[k].data != (char *)&call.number[k] && clashes(out, &call.in[k]))
            return declined();
    int code = OK;
    if (!run_short(&call, op, (int)count, n, out->data))
        code = run(&call, op, out, n);
    return finished(table->elementwise_name(op), code, Py_NewRef(Py_None));
}

static PyMethodDef elementwise_method = {
    "elementwise", (PyCFunction)(void (*)(void))call_elementwise, METH_FASTCALL, NULL};
static PyMethodDef in_place_method = {
    "elementwise_in_place", (PyCFunction)(void (*)(void))call_in_place, METH_FASTCALL, NULL};

static PyObject *elementwise_kernel(PyObject *self, PyObject *op) {
    (void)self;
    return PyCFunction_NewEx(&elementwise_method, op, NULL);
}

static PyObject *in_place_kernel(PyObject *self, PyObject *op) {
    (void)self;
    return PyCFunction_NewEx(&in_place_method, op, NULL);
}

PyMethodDef elementwise_methods[] = {
    {"elementwise_kernel", elementwise_kernel, METH_O, "Return the kernel of an elementwise op."},
    {"in_place_kernel", in_place_kernel, METH_O, "Return the kernel that writes its first operand."},
    {NULL, NULL, 0, NULL}};
