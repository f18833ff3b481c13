/* Reductions, and what works along one axis. The result's shape follows from the attributes. */
#include "front_internal.h"

/* Put the keyword arguments into the order of `wanted`; return whether they are just those. */
static int keywords(PyObject *const *values, PyObject *names, const char *const *wanted, int count,
                    PyObject **found) {
    if (!names || PyTuple_Size(names) != count)
        return 0;
    for (int k = 0; k < count; k++) {
        PyObject *name = PyTuple_GetItem(names, k);
        int at = 0;
        while (at < count && PyUnicode_CompareWithASCIIString(name, wanted[at]))
            at++;
        if (at == count)
            return 0;
        found[at] = values[k];
    }
    return 1;
}

static int read_axis(PyObject *object, const View *x, intptr_t *axis) {
    return whole(object, axis) && *axis >= 0 && *axis < x->axes;
}

/* The shape of x without the axes that have a bit, or with 1 in their place; return its axes. */
static int shape_without(const View *x, uint64_t bits, int keepdims, intptr_t *shape) {
    int axes = 0;
    for (int axis = 0; axis < x->axes; axis++)
        if (!(bits >> axis & 1))
            shape[axes++] = x->shape[axis];
        else if (keepdims)
            shape[axes++] = 1;
    return axes;
}

static PyObject *reduce_into(const char *name, int op, PyObject *array, const View *x,
                             uint64_t bits, int axes, const intptr_t *shape, double correction) {
    PyObject *out = new_array(name, axes, shape, reduced_dtype(op, x->dtype));
    if (!out)
        return NULL;
    PyThreadState *state = let_go(count_of(x));
    int code = table->reduce(op, (uintptr_t)array, (uintptr_t)out, bits, correction);
    take_back(state);
    return finished(name, code, out);
}

static PyObject *reduction(const char *name, int op, PyObject *const *args, Py_ssize_t count,
                           PyObject *names) {
    static const char *const wanted[] = {"axes", "keepdims", "correction"};
    PyObject *given[3];
    View x;
    intptr_t axis, shape[MAX_AXES];
    uint64_t bits = 0;
    double correction = 0;
    if (count != 1 || !read_operand(args[0], &x) || (op >= MEAN && x.dtype < F16) ||
        !keywords(args + 1, names, wanted, op == VAR ? 3 : 2, given) || !PyTuple_Check(given[0]))
        return declined();
    for (Py_ssize_t i = 0; i < PyTuple_Size(given[0]); i++) {
        if (!read_axis(PyTuple_GetItem(given[0], i), &x, &axis) || bits >> axis & 1 ||
            ((op == MAX || op == MIN) && x.shape[axis] == 0))
            return declined();
        bits |= (uint64_t)1 << axis;
    }
    int keepdims = PyObject_IsTrue(given[1]);
    if (op == VAR)
        correction = PyFloat_AsDouble(given[2]);
    if (keepdims < 0 || (correction == -1.0 && PyErr_Occurred()))
        return NULL;
    int axes = shape_without(&x, bits, keepdims, shape);
    return reduce_into(name, op, args[0], &x, bits, axes, shape, correction);
}

static PyObject *index_of(const char *name, int least, PyObject *const *args, Py_ssize_t count,
                          PyObject *names) {
    static const char *const wanted[] = {"axis", "keepdims"};
    PyObject *given[2];
    View x;
    intptr_t axis, shape[MAX_AXES];
    if (count != 1 || !read_operand(args[0], &x) ||
        !keywords(args + 1, names, wanted, 2, given) || !read_axis(given[0], &x, &axis) ||
        x.shape[axis] == 0)
        return declined();
    int keepdims = PyObject_IsTrue(given[1]);
    if (keepdims < 0)
        return NULL;
    PyObject *out =
        new_array(name, shape_without(&x, (uint64_t)1 << axis, keepdims, shape), shape, I64);
    if (!out)
        return NULL;
    PyThreadState *state = let_go(count_of(&x));
    int code = table->reduce_index(least, (uintptr_t)args[0], (uintptr_t)out, (int)axis);
    take_back(state);
    return finished(name, code, out);
}

/* x summed down to a shape that broadcasts to its own. */
static PyObject *kernel_sum_to(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *names) {
    static const char *const wanted[] = {"shape"};
    PyObject *to;
    View x;
    intptr_t shape[MAX_AXES];
    (void)self;
    if (count != 1 || !read_operand(args[0], &x) || x.dtype < F16 ||
        !keywords(args + 1, names, wanted, 1, &to) || !PyTuple_Check(to) ||
        PyTuple_Size(to) > x.axes)
        return declined();
    int axes = (int)PyTuple_Size(to), lead = x.axes - axes;
    uint64_t bits = ((uint64_t)1 << lead) - 1;
    if (lead == MAX_AXES)
        bits = UINT64_MAX;
    for (int i = 0; i < axes; i++) {
        if (!whole(PyTuple_GetItem(to, i), &shape[i]) ||
            (shape[i] != 1 && shape[i] != x.shape[lead + i]))
            return declined();
        if (shape[i] != x.shape[lead + i])
            bits |= (uint64_t)1 << (lead + i);
    }
    return reduce_into("sum_to", SUM, args[0], &x, bits, axes, shape, 0);
}

/* Beside the kinds of softmax. */
enum { CUMULATIVE_SUM = SOFTMAXES };

/* Run what leaves the shape as it is: the one operand, or the gradient and the result. */
static PyObject *along(const char *name, int op, int operands, PyObject *const *args,
                       Py_ssize_t count, PyObject *names) {
    static const char *const wanted[] = {"axis"};
    PyObject *given;
    View x;
    intptr_t axis;
    int is_sum = op == CUMULATIVE_SUM;
    if (count != operands || !read_operand(args[0], &x) || (!is_sum && x.dtype < F16) ||
        !keywords(args + count, names, wanted, 1, &given) || !read_axis(given, &x, &axis) ||
        !PyArray_Check(args[count - 1]))
        return declined();
    PyObject *out = new_array(name, x.axes, x.shape, is_sum ? reduced_dtype(SUM, x.dtype) : x.dtype);
    if (!out)
        return NULL;
    uintptr_t in = (uintptr_t)args[0], to = (uintptr_t)out;
    PyThreadState *state = let_go(count_of(&x));
    int code = is_sum ? table->cumulative_sum(in, to, (int)axis)
               : operands == 1
                   ? table->softmax(op == LOG_SOFTMAX, in, to, (int)axis)
                   : table->softmax_backward(op == LOG_SOFTMAX_BACKWARD, in, (uintptr_t)args[1], to,
                                             (int)axis);
    take_back(state);
    return finished(name, code, out);
}

#define KERNEL(name, call)                                                                         \
    static PyObject *kernel_##name(PyObject *self, PyObject *const *args, Py_ssize_t count,        \
                                   PyObject *names) {                                              \
        (void)self;                                                                                \
        return call;                                                                               \
    }
#define REDUCTION(name, op) KERNEL(name, reduction(#name, op, args, count, names))
#define INDEX_OF(name, least) KERNEL(name, index_of(#name, least, args, count, names))
#define ALONG(name, op, operands) KERNEL(name, along(#name, op, operands, args, count, names))

REDUCTION(sum, SUM)
REDUCTION(prod, PROD)
REDUCTION(max, MAX)
REDUCTION(min, MIN)
REDUCTION(any, ANY)
REDUCTION(all, ALL)
REDUCTION(mean, MEAN)
REDUCTION(var, VAR)
INDEX_OF(argmax, 0)
INDEX_OF(argmin, 1)
ALONG(cumulative_sum, CUMULATIVE_SUM, 1)
ALONG(softmax, SOFTMAX, 1)
ALONG(log_softmax, LOG_SOFTMAX, 1)
ALONG(softmax_backward, SOFTMAX_BACKWARD, 2)
ALONG(log_softmax_backward, LOG_SOFTMAX_BACKWARD, 2)

#define METHOD(name, doc)                                                                          \
    {#name, (PyCFunction)(void (*)(void))kernel_##name, METH_FASTCALL | METH_KEYWORDS, doc}
#define OVER_AXES "Reduce x along `axes`."
#define ON_AXIS "Work along `axis`."

PyMethodDef reduce_methods[] = {METHOD(sum, OVER_AXES),
                                METHOD(prod, OVER_AXES),
                                METHOD(max, OVER_AXES),
                                METHOD(min, OVER_AXES),
                                METHOD(any, OVER_AXES),
                                METHOD(all, OVER_AXES),
                                METHOD(mean, OVER_AXES),
                                METHOD(var, OVER_AXES),
                                METHOD(sum_to, "Return x summed down to `shape`."),
                                METHOD(argmax, ON_AXIS),
                                METHOD(argmin, ON_AXIS),
                                METHOD(cumulative_sum, ON_AXIS),
                                METHOD(softmax, ON_AXIS),
                                METHOD(log_softmax, ON_AXIS),
                                METHOD(softmax_backward, ON_AXIS),
                                METHOD(log_softmax_backward, ON_AXIS),
                                {NULL, NULL, 0, NULL}};
