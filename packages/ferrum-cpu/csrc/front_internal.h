/* What the files of the module `_front` share. */
#ifndef FERRUM_FRONT_INTERNAL_H
#define FERRUM_FRONT_INTERNAL_H

/* Before any header of NumPy's: since 2.5 each declares the table of functions that these name. */
#define PY_ARRAY_UNIQUE_SYMBOL ferrum_front_numpy
#ifndef FRONT_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#define PY_SSIZE_T_CLEAN
#include "arrays.h"
#include <numpy/arrayobject.h>

#include "front.h"

/* The answer to a call that is not as it should be: the op's rule then says what is wrong. */
static inline PyObject *declined(void) { return Py_NewRef(Py_NotImplemented); }

/* Read a whole number; return whether it is one. */
static inline int whole(PyObject *object, intptr_t *value) {
    *value = PyLong_AsSsize_t(object);
    if (*value == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
}

extern const Table *table;
extern int bfloat16_number;

/* Fill in the view of an operand; return whether it is an array that kernels know. */
static inline int read_operand(PyObject *object, View *view) {
    return PyArray_Check(object) && view_of((PyArrayObject *)object, view, bfloat16_number);
}

/* Elements, or multiplications, from which other Python threads may run meanwhile. */
#define LONG_CALL 16384

/* Let other Python threads run during a call of so much work; what `take_back` ends that with. */
static inline PyThreadState *let_go(intptr_t work) {
    return work < LONG_CALL ? NULL : PyEval_SaveThread();
}

static inline void take_back(PyThreadState *state) {
    if (state)
        PyEval_RestoreThread(state);
}

extern PyMethodDef elementwise_methods[], product_methods[], reduce_methods[], view_methods[];

/* Return a new array, dense and not filled; NULL where there is no room, which the error says. */
PyObject *new_array(const char *op, int axes, const intptr_t *shape, int dtype);

/* Raise the error for a result of so many bytes, instead of the one that is raised, if any. */
PyObject *no_room(const char *op, intptr_t bytes);

/* Return the result of a kernel that is over, or what its answer means; takes the result over. */
PyObject *finished(const char *op, int code, PyObject *result);

#endif
