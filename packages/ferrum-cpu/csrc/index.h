/* Picking and placing elements by integer arrays, sorting and searching. `out` is dense. */

/* out = x[indices]: an array of integers for each axis of x, or 0 for the whole axis. */
int index_pick(uintptr_t x, const uintptr_t *indices, int64_t axes, uintptr_t out);

/* out = x, then out[indices] = values, or += with `accumulate`. */
int index_place(uintptr_t x, uintptr_t values, const uintptr_t *indices, int64_t axes,
                uintptr_t out, int accumulate);

int gather(uintptr_t x, uintptr_t index, uintptr_t out, int axis);
int scatter_add(uintptr_t x, uintptr_t index, uintptr_t src, uintptr_t out, int axis);

int argsort(uintptr_t x, uintptr_t out, int axis, int descending);

/* How many chunks nonzero_count counts; out (chunks,) int64 gets the counts. */
int64_t nonzero_chunks(uintptr_t x);
int nonzero_count(uintptr_t x, uintptr_t out);
/* out (count, axes) int64 gets the indices; starts (chunks,) says where each chunk's begin. */
int nonzero_fill(uintptr_t x, uintptr_t starts, uintptr_t out);
