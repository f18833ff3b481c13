/* Copies, and arrays made of numbers: what Python calls, and its declaration there. */

/* Copy x, broadcast, into out, maybe of another dtype. They share no memory. */
int copy_into(uintptr_t x, uintptr_t out);
/* The same, as if x were copied first: they may overlap. */
int copy_over(uintptr_t x, uintptr_t out);
/* Copy x into `out` from `start` of an axis on. */
int copy_part(uintptr_t x, uintptr_t out, int axis, intptr_t start);
/* Fill a dense out of one axis with start + i * step, computed in float64 or int64. */
int arange_floats(uintptr_t out, double start, double step);
int arange_whole(uintptr_t out, int64_t start, int64_t step);
