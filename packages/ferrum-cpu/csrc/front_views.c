/* Views: other looks at the memory of an array, made from their one attribute. */
#include "front_internal.h"

/* Return a view of `array` with other axes. */
static PyObject *view(PyArrayObject *array, char *data, int axes, intptr_t *shape,
                      intptr_t *strides) {
    PyArray_Descr *descr = PyArray_DESCR(array);
    Py_INCREF((PyObject *)descr);
    PyObject *made =
        PyArray_NewFromDescr(&PyArray_Type, descr, axes, shape, strides, data,
                             PyArray_FLAGS(array) & NPY_ARRAY_WRITEABLE, NULL);
    if (!made)
        return NULL;
    PyArray_UpdateFlags((PyArrayObject *)made,
                        NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_F_CONTIGUOUS | NPY_ARRAY_ALIGNED);
    if (PyArray_SetBaseObject((PyArrayObject *)made, Py_NewRef((PyObject *)array)) < 0) {
        Py_DECREF(made);
        return NULL;
    }
    return made;
}

/* Return the array and the tuple of a call kernel(array, attribute=tuple), or NULL. */
static PyArrayObject *operands(PyObject *const *args, Py_ssize_t count, PyObject *names,
                               PyObject **attribute) {
    if (count != 1 || !names || PyTuple_Size(names) != 1 || !PyArray_Check(args[0]) ||
        !PyTuple_Check(args[1]) || PyTuple_Size(args[1]) > MAX_AXES)
        return NULL;
    *attribute = args[1];
    return (PyArrayObject *)args[0];
}

static PyObject *permute(PyObject *self, PyObject *const *args, Py_ssize_t count,
                         PyObject *names) {
    PyObject *order;
    PyArrayObject *x = operands(args, count, names, &order);
    intptr_t shape[MAX_AXES], strides[MAX_AXES], axis;
    uint64_t seen = 0;
    (void)self;
    if (!x || PyTuple_Size(order) != PyArray_NDIM(x))
        return declined();
    int axes = PyArray_NDIM(x);
    for (int i = 0; i < axes; i++) {
        if (!whole(PyTuple_GetItem(order, i), &axis) || axis < 0 || axis >= axes ||
            seen >> axis & 1)
            return declined();
        seen |= (uint64_t)1 << axis;
        shape[i] = PyArray_DIM(x, axis);
        strides[i] = PyArray_STRIDE(x, axis);
    }
    return view(x, PyArray_BYTES(x), axes, shape, strides);
}

static PyObject *expand(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    PyObject *wanted;
    PyArrayObject *x = operands(args, count, names, &wanted);
    intptr_t shape[MAX_AXES], strides[MAX_AXES];
    (void)self;
    if (!x || PyTuple_Size(wanted) < PyArray_NDIM(x))
        return declined();
    int axes = (int)PyTuple_Size(wanted), lead = axes - PyArray_NDIM(x);
    intptr_t elements = 1;
    for (int i = 0; i < axes; i++) {
        intptr_t size = i < lead ? 1 : PyArray_DIM(x, i - lead);
        if (!whole(PyTuple_GetItem(wanted, i), &shape[i]) || shape[i] < 0 ||
            (size != shape[i] && size != 1) ||
            __builtin_mul_overflow(elements, larger(shape[i], 1), &elements) ||
            elements >= (intptr_t)1 << 60)
            return declined();
        strides[i] = i < lead || (size == 1 && shape[i] != 1) ? 0 : PyArray_STRIDE(x, i - lead);
    }
    return view(x, PyArray_BYTES(x), axes, shape, strides);
}

/* An entry of the key is an index, which drops its axis, (start, count, step), or None for a new
   axis of size 1. */
static PyObject *getitem(PyObject *self, PyObject *const *args, Py_ssize_t count,
                         PyObject *names) {
    PyObject *key;
    PyArrayObject *x = operands(args, count, names, &key);
    intptr_t shape[MAX_AXES], strides[MAX_AXES];
    (void)self;
    if (!x)
        return declined();
    char *data = PyArray_BYTES(x);
    int axis = 0, axes = 0;
    for (Py_ssize_t i = 0; i < PyTuple_Size(key); i++) {
        PyObject *entry = PyTuple_GetItem(key, i);
        intptr_t start, length, step;
        if (entry == Py_None) {
            shape[axes] = 1;
            strides[axes++] = 0;
            continue;
        }
        if (axis == PyArray_NDIM(x))
            return declined();
        intptr_t size = PyArray_DIM(x, axis), stride = PyArray_STRIDE(x, axis);
        axis++;
        if (!PyTuple_Check(entry)) {
            if (!whole(entry, &start) || start < 0 || start >= size)
                return declined();
            data += start * stride;
            continue;
        }
        if (PyTuple_Size(entry) != 3 || !whole(PyTuple_GetItem(entry, 0), &start) ||
            !whole(PyTuple_GetItem(entry, 1), &length) || !whole(PyTuple_GetItem(entry, 2), &step))
            return declined();
        intptr_t last;
        if (step == 0 || length < 0 || __builtin_mul_overflow(length - 1, step, &last) ||
            __builtin_add_overflow(start, last, &last) ||
            (length && (start < 0 || start >= size || last < 0 || last >= size)))
            return declined();
        if (length)
            data += start * stride;
        shape[axes] = length;
        strides[axes++] = length ? stride * step : ITEMSIZE[F64];
    }
    if (axis != PyArray_NDIM(x))
        return declined();
    return view(x, data, axes, shape, strides);
}

/* Return the array in another shape, and whether that is a view. */
static PyObject *reshape(PyObject *self, PyObject *const *args, Py_ssize_t count,
                         PyObject *names) {
    PyObject *wanted;
    PyArrayObject *x = operands(args, count, names, &wanted);
    intptr_t shape[MAX_AXES], elements = 1;
    (void)self;
    if (!x)
        return declined();
    int axes = (int)PyTuple_Size(wanted);
    for (int i = 0; i < axes; i++)
        if (!whole(PyTuple_GetItem(wanted, i), &shape[i]) || shape[i] < 0 ||
            __builtin_mul_overflow(elements, shape[i], &elements))
            return declined();
    if (elements != PyArray_SIZE(x))
        return declined();
    PyArray_Dims dims = {shape, axes};
    PyObject *made = PyArray_Newshape(x, &dims, NPY_CORDER);
    if (!made && PyErr_ExceptionMatches(PyExc_MemoryError))
        return no_room("reshape", PyArray_NBYTES(x));
    if (!made) { /* sizes too large to address, beside a 0 */
        PyErr_Clear();
        return declined();
    }
    int shares = elements == 0 || PyArray_BYTES((PyArrayObject *)made) == PyArray_BYTES(x);
    if (shares)
        return made;
    PyObject *pair = PyTuple_Pack(2, made, Py_False);
    Py_DECREF(made);
    return pair;
}

PyMethodDef view_methods[] = {
    {"permute", (PyCFunction)(void (*)(void))permute, METH_FASTCALL | METH_KEYWORDS,
     "permute(x, *, axes): return x with its axes in another order."},
    {"expand", (PyCFunction)(void (*)(void))expand, METH_FASTCALL | METH_KEYWORDS,
     "expand(x, *, shape): return x with strides of 0 along what it is repeated on."},
    {"getitem", (PyCFunction)(void (*)(void))getitem, METH_FASTCALL | METH_KEYWORDS,
     "getitem(x, *, key): return the part of x that the key picks."},
    {"reshape", (PyCFunction)(void (*)(void))reshape, METH_FASTCALL | METH_KEYWORDS,
     "reshape(x, *, shape): return x in another shape, and whether that is a view."},
    {NULL, NULL, 0, NULL}};
