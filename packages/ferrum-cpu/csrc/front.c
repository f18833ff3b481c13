/* The module `ferrum_cpu._front`: calls whose result's shape follows from the operands' shapes.

   These are the calls that are so short that making the result, and getting into C, cost more than
   the work: elementwise ops and matmul, reductions and views. As functions of CPython they read the operands' headers,
   make the result and compute it in one go. Every other kernel is called through cffi. A call that
   is not as it should be returns NotImplemented: the op's rule then says what is wrong. */
#define FRONT_IMPORTS_NUMPY
#include "front_internal.h"

#include <string.h>

/* Bytes from which a result's memory comes from the pool. */
#define POOLED 65536

const Table *table;
int bfloat16_number = -1;
PyObject *out_of_memory;
static PyObject *argument_error;
static PyArray_Descr *bfloat16;

static const int NUMBER[DTYPES] = {NPY_BOOL,  NPY_UBYTE, NPY_BYTE, NPY_SHORT, NPY_INT,
                                   NPY_LONG,  NPY_HALF,  -1,       NPY_FLOAT, NPY_DOUBLE};

static void give_back(PyObject *capsule) {
    table->pool_give(PyCapsule_GetPointer(capsule, NULL));
}

static PyObject *no_room(const char *op, intptr_t bytes) {
    PyErr_Clear();
    return PyErr_Format(out_of_memory,
                        "%s: no room for %zd bytes on 'cpu'; delete tensors that are not needed "
                        "any more, or work in smaller batches",
                        op, (Py_ssize_t)bytes);
}

PyObject *new_array(const char *op, int axes, const intptr_t *shape, int dtype) {
    PyArray_Descr *descr = bfloat16;
    intptr_t bytes = ITEMSIZE[dtype];
    for (int axis = 0; axis < axes; axis++)
        if (__builtin_mul_overflow(bytes, shape[axis], &bytes))
            return no_room(op, PTRDIFF_MAX);
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

/* Loops, since an array of no axes may have NULL for its sizes. */
static void copy_sizes(intptr_t *to, const intptr_t *from, int axes) {
    for (int axis = 0; axis < axes; axis++)
        to[axis] = from[axis];
}

static int same_sizes(const intptr_t *a, const intptr_t *b, int axes) {
    for (int axis = 0; axis < axes; axis++)
        if (a[axis] != b[axis])
            return 0;
    return 1;
}

/* Read the operands, and broadcast their shapes; return whether the op takes them. */
static int read_operands(Call *call, int op, PyObject *const *args, int count) {
    int first = -1;
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
        if (first < 0) {
            first = k;
            call->axes = view->axes;
            copy_sizes(call->shape, view->shape, view->axes);
            continue;
        }
        if (view->axes == call->axes && same_sizes(view->shape, call->shape, view->axes))
            continue;
        call->dense_alike = 0;
        int axes = view->axes > call->axes ? view->axes : call->axes;
        for (int i = 1; i <= axes; i++) {
            intptr_t have = i <= call->axes ? call->shape[call->axes - i] : 1;
            intptr_t here = i <= view->axes ? view->shape[view->axes - i] : 1;
            if (have != here && have != 1 && here != 1)
                return 0;
        }
        intptr_t joint[MAX_AXES];
        for (int i = 1; i <= axes; i++) {
            intptr_t have = i <= call->axes ? call->shape[call->axes - i] : 1;
            intptr_t here = i <= view->axes ? view->shape[view->axes - i] : 1;
            joint[axes - i] = have == 1 ? here : have;
        }
        call->axes = axes;
        copy_sizes(call->shape, joint, axes);
    }
    if (call->dtype < 0)
        return 0;
    const Entry *entry = &(*table->isa)->elementwise[op][call->dtype];
    if (!entry->loop)
        return 0;
    for (int k = 0; k < count; k++) {
        View *view = &call->in[k];
        if (view->dtype >= 0)
            continue;
        int dtype = reads_of(op, entry, k);
        if (!convert_number(args[k], dtype, &call->number[k]))
            return 0;
        *view = (View){(char *)&call->number[k], NOWHERE, NOWHERE, 0, dtype};
    }
    return 1;
}

/* ---- elementwise */

static PyObject *refused(int code) {
    if (code != NEGATIVE_POWER)
        return declined();
    PyErr_SetString(argument_error, "pow: expected exponents of at least 0 for integers");
    return NULL;
}

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
    if (n < LONG_CALL)
        return table->elementwise(op, call->dtype, call->in, out);
    PyThreadState *state = PyEval_SaveThread();
    int code = table->elementwise(op, call->dtype, call->in, out);
    PyEval_RestoreThread(state);
    return code;
}

static PyObject *call_elementwise(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    int op = (int)PyLong_AsLong(self);
    Call call;
    if (count != table->elementwise_inputs(op) || !read_operands(&call, op, args, (int)count))
        return declined();
    const Entry *entry = &(*table->isa)->elementwise[op][call.dtype];
    PyObject *result = new_array("elementwise", call.axes, call.shape, result_of(entry, call.dtype));
    if (!result)
        return NULL;
    View out;
    view_of((PyArrayObject *)result, &out, bfloat16_number);
    intptr_t n = count_of(&out);
    int code = OK;
    if (!run_short(&call, op, (int)count, n, out.data))
        code = run(&call, op, &out, n);
    if (code == OK)
        return result;
    Py_DECREF(result);
    return refused(code);
}

/* The ends of the memory that an array reaches. */
static void extent(const View *x, const char **low, const char **high) {
    *low = x->data;
    *high = x->data + ITEMSIZE[x->dtype];
    for (int axis = 0; axis < x->axes; axis++) {
        intptr_t reach = (x->shape[axis] - 1) * x->strides[axis];
        if (reach < 0)
            *low += reach;
        else
            *high += reach;
    }
}

/* Whether writing to `out` could change what is yet to be read of x. */
static int clashes(const View *out, const View *x) {
    const char *low, *high, *x_low, *x_high;
    extent(out, &low, &high);
    extent(x, &x_low, &x_high);
    if (x_low >= high || low >= x_high)
        return 0;
    return !(x->data == out->data && x->axes == out->axes &&
             same_sizes(x->strides, out->strides, out->axes) &&
             same_sizes(x->shape, out->shape, out->axes));
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
    return code == OK ? Py_NewRef(Py_None) : refused(code);
}

/* ---- matrix products */

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
    if (code == OK)
        return result;
    Py_DECREF(result);
    return code == NO_MEMORY ? no_room(op, work) : declined();
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
    memcpy(shape, x.shape, (size_t)x.axes * sizeof(intptr_t));
    shape[x.axes - 1] = weight.shape[0];
    return finish_product(1, "linear", &x, &weight, args[2] == Py_None ? NULL : &bias, x.axes,
                          shape);
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

static PyObject *connect(PyObject *self, PyObject *args) {
    unsigned long long address;
    PyObject *dtype, *errors;
    (void)self;
    if (!PyArg_ParseTuple(args, "KO!O", &address, &PyArrayDescr_Type, &dtype, &errors))
        return NULL;
    out_of_memory = PyObject_GetAttrString(errors, "OutOfMemoryError");
    argument_error = PyObject_GetAttrString(errors, "ArgumentError");
    if (!out_of_memory || !argument_error)
        return NULL;
    table = (const Table *)(uintptr_t)address;
    bfloat16 = (PyArray_Descr *)Py_NewRef(dtype);
    bfloat16_number = bfloat16->type_num;
    return PyLong_FromLong(bfloat16_number);
}

static PyMethodDef methods[] = {
    {"connect", connect, METH_VARARGS,
     "connect(table, bfloat16, errors): take the kernels; return NumPy's number for bfloat16."},
    {"elementwise_kernel", elementwise_kernel, METH_O, "Return the kernel of an elementwise op."},
    {"in_place_kernel", in_place_kernel, METH_O, "Return the kernel that writes its first operand."},
    {"matmul", (PyCFunction)(void (*)(void))call_matmul, METH_FASTCALL, "Return matrix products."},
    {"linear", (PyCFunction)(void (*)(void))call_linear, METH_FASTCALL,
     "linear(x, weight, bias): return x times the transposed weight, plus bias if not None."},
    {"empty", (PyCFunction)(void (*)(void))call_empty, METH_FASTCALL,
     "empty(op, shape, dtype): return a new array, not filled, from the pool if it is large."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_front", "The short way from Python to the kernels.", -1, methods,
    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__front(void) {
    import_array();
    PyObject *made = PyModule_Create(&module);
    if (made && (PyModule_AddFunctions(made, view_methods) < 0 ||
                 PyModule_AddFunctions(made, reduce_methods) < 0))
        Py_CLEAR(made);
    return made;
}
