/* What the files of the module `_front` share. */
#ifndef FERRUM_FRONT_INTERNAL_H
#define FERRUM_FRONT_INTERNAL_H

#define PY_SSIZE_T_CLEAN
#include "arrays.h"
#define PY_ARRAY_UNIQUE_SYMBOL ferrum_front_numpy
#ifndef FRONT_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
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

/* Elements from which other Python threads may run meanwhile. */
#define LONG_CALL 16384

extern const Table *table;
extern int bfloat16_number;
extern PyObject *out_of_memory;
extern PyMethodDef view_methods[], reduce_methods[];

/* Return a new array, dense and not filled; NULL where there is no room, which the error says. */
PyObject *new_array(const char *op, int axes, const intptr_t *shape, int dtype);

#endif
