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

extern PyMethodDef view_methods[];

#endif
