/* The module `ferrum_cpu._front`: calls whose result's shape follows from the operands' shapes.

   These are the calls that are so short that making the result, and getting into C, cost more than
   the work: elementwise ops, products of matrices, reductions and views. As functions of CPython
   they read the operands' headers, make the result and compute it in one go. Every other kernel is
   called through cffi. A call that is not as it should be returns NotImplemented: the op's rule
   then says what is wrong. */
#define FRONT_IMPORTS_NUMPY
#include "front_internal.h"

/* Bytes from which a result's memory comes from the pool. */
#define POOLED 65536

const Table *table;
int bfloat16_number = -1;
static PyObject *out_of_memory, *shape_error, *argument_error;
static PyArray_Descr *bfloat16;

static const int NUMBER[DTYPES] = {NPY_BOOL,  NPY_UBYTE, NPY_BYTE, NPY_SHORT, NPY_INT,
                                   NPY_LONG,  NPY_HALF,  -1,       NPY_FLOAT, NPY_DOUBLE};

static void give_back(PyObject *capsule) {
    table->pool_give(PyCapsule_GetPointer(capsule, NULL));
}

PyObject *no_room(const char *op, intptr_t bytes) {
    PyErr_Clear();
    return PyErr_Format(out_of_memory,
                        "%s: no room for %zd bytes on 'cpu'; delete tensors that are not needed "
                        "any more, or work in smaller batches",
                        op, (Py_ssize_t)bytes);
}

/* Also where another size is 0: NumPy has no such arrays. */
static PyObject *too_large(const char *op, int axes, const intptr_t *shape) {
    PyObject *sizes = PyTuple_New(axes);
    for (int axis = 0; sizes && axis < axes; axis++) {
        PyObject *size = PyLong_FromSsize_t(shape[axis]);
        if (!size || PyTuple_SetItem(sizes, axis, size) < 0)
            Py_CLEAR(sizes);
    }
    if (sizes)
        PyErr_Format(shape_error, "%s: a tensor of shape %R is too large to address", op, sizes);
    Py_XDECREF(sizes);
    return NULL;
}

PyObject *new_array(const char *op, int axes, const intptr_t *shape, int dtype) {
    PyArray_Descr *descr = bfloat16;
    intptr_t bytes = ITEMSIZE[dtype];
    int empty = 0;
    for (int axis = 0; axis < axes; axis++) {
        empty |= !shape[axis];
        if (shape[axis] && __builtin_mul_overflow(bytes, shape[axis], &bytes))
            return too_large(op, axes, shape);
    }
    bytes = empty ? 0 : bytes;
    if (dtype == BF16)
        Py_INCREF((PyObject *)descr);
    else
        descr = PyArray_DescrFromType(NUMBER[dtype]);
    if (bytes < POOLED) {
        PyObject *array = PyArray_NewFromDescr(&PyArray_Type, descr, axes, shape, NULL, NULL, 0, NULL);
        if (!array && PyErr_ExceptionMatches(PyExc_MemoryError))
            return no_room(op, bytes);
        return array;
    }
    void *block = table->pool_take((size_t)bytes);
    if (!block) {
        Py_DECREF((PyObject *)descr);
        return no_room(op, bytes);
    }
    PyObject *capsule = PyCapsule_New(block, NULL, give_back);
    if (!capsule) {
        table->pool_give(block);
        Py_DECREF((PyObject *)descr);
        return NULL;
    }
    PyObject *array = PyArray_NewFromDescr(&PyArray_Type, descr, axes, shape, NULL, block,
                                           NPY_ARRAY_CARRAY, NULL);
    if (!array) {
        Py_DECREF(capsule);
        return NULL;
    }
    if (PyArray_SetBaseObject((PyArrayObject *)array, capsule) < 0) {
        Py_DECREF(array);
        return NULL;
    }
    return array;
}

PyObject *finished(const char *op, int code, PyObject *result) {
    if (code == OK)
        return result;
    Py_DECREF(result);
    if (code == NO_MEMORY)
        return PyErr_Format(out_of_memory,
                            "%s: no room for the work on 'cpu'; delete tensors that are not needed "
                            "any more, or work in smaller batches",
                            op);
    if (code != NEGATIVE_POWER)
        return declined();
    PyErr_SetString(argument_error, "pow: expected exponents of at least 0 for integers");
    return NULL;
}

/* ---- for the kernels that are called through cffi */

static PyObject *call_empty(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    intptr_t shape[MAX_AXES];
    (void)self;
    if (count != 3 || !PyUnicode_Check(args[0]) || !PyTuple_Check(args[1]) ||
        PyTuple_Size(args[1]) > MAX_AXES) {
        PyErr_SetString(PyExc_TypeError, "empty: expected an op's name, a shape and a dtype");
        return NULL;
    }
    const char *op = PyUnicode_AsUTF8AndSize(args[0], NULL);
    if (!op)
        return NULL;
    args++;
    int axes = (int)PyTuple_Size(args[0]), dtype = -1;
    for (int axis = 0; axis < axes; axis++) {
        shape[axis] = PyLong_AsSsize_t(PyTuple_GetItem(args[0], axis));
        if (shape[axis] < 0) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError, "empty: expected sizes of at least 0");
            return NULL;
        }
    }
    if (PyArray_DescrCheck(args[1])) {
        int number = ((PyArray_Descr *)args[1])->type_num;
        for (int each = 0; each < DTYPES; each++)
            if (number == (each == BF16 ? bfloat16_number : NUMBER[each]))
                dtype = each;
    }
    if (dtype < 0) {
        PyErr_SetString(PyExc_TypeError, "empty: expected a dtype of FERRUM's");
        return NULL;
    }
    return new_array(op, axes, shape, dtype);
}

/* ---- the module */

static PyObject *connect(PyObject *self, PyObject *args) {
    unsigned long long address;
    PyObject *dtype, *errors;
    (void)self;
    if (!PyArg_ParseTuple(args, "KO!O", &address, &PyArrayDescr_Type, &dtype, &errors))
        return NULL;
    out_of_memory = PyObject_GetAttrString(errors, "OutOfMemoryError");
    shape_error = PyObject_GetAttrString(errors, "ShapeError");
    argument_error = PyObject_GetAttrString(errors, "ArgumentError");
    if (!out_of_memory || !shape_error || !argument_error)
        return NULL;
    table = (const Table *)(uintptr_t)address;
    bfloat16 = (PyArray_Descr *)Py_NewRef(dtype);
    bfloat16_number = bfloat16->type_num;
    return PyLong_FromLong(bfloat16_number);
}

static PyMethodDef methods[] = {
    {"connect", connect, METH_VARARGS,
     "connect(table, bfloat16, errors): take the kernels; return NumPy's number for bfloat16."},
    {"empty", (PyCFunction)(void (*)(void))call_empty, METH_FASTCALL,
     "empty(op, shape, dtype): return a new array, not filled, from the pool if it is large."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_front", "The short way from Python to the kernels.", -1, methods,
    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__front(void) {
    import_array();
    PyObject *made = PyModule_Create(&module);
    PyMethodDef *const families[] = {elementwise_methods, product_methods, reduce_methods,
                                     view_methods};
    for (int i = 0; i < 4 && made; i++)
        if (PyModule_AddFunctions(made, families[i]) < 0)
            Py_CLEAR(made);
    return made;
}
