/* NumPy arrays as C sees them, by their header: no buffer protocol, no ctypes, no copy. */
#ifndef FERRUM_ARRAYS_H
#define FERRUM_ARRAYS_H

#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <Python.h>
#include <numpy/ndarraytypes.h>

#include "base.h"

/* By NumPy's numbers for its own types; bfloat16, of ml_dtypes, has one only at run time. */
static inline int dtype_of(PyArrayObject *array, int bfloat16) {
    static const signed char known[] = {
        [NPY_BOOL] = BOOL + 1, [NPY_UBYTE] = U8 + 1, [NPY_BYTE] = I8 + 1, [NPY_SHORT] = I16 + 1,
        [NPY_INT] = I32 + 1, [NPY_LONG] = I64 + 1, [NPY_LONGLONG] = I64 + 1,
        [NPY_HALF] = F16 + 1, [NPY_FLOAT] = F32 + 1, [NPY_DOUBLE] = F64 + 1,
    };
    int number = PyArray_TYPE(array);
    if (number == bfloat16)
        return BF16;
    return number >= 0 && number < (int)sizeof known ? known[number] - 1 : -1;
}

/* Fill in the view of an array; return whether it is of a dtype that kernels know. */
static inline int view_of(PyArrayObject *array, View *view, int bfloat16) {
    view->data = PyArray_BYTES(array);
    view->shape = PyArray_DIMS(array);
    view->strides = PyArray_STRIDES(array);
    view->axes = PyArray_NDIM(array);
    view->dtype = dtype_of(array, bfloat16);
    return view->dtype >= 0;
}

#endif
