/* What Python calls, through cffi: this file is its declaration there too, so it has no
   preprocessor lines, not even a guard. */

/* ---- the pool of threads */

int threads_get(void);
void threads_set(int threads);

/* ---- the pool of memory, in bytes */

typedef struct {
    int64_t in_use, cached, peak, limit, hits, misses;
} PoolStatistics;

void pool_statistics(PoolStatistics *out);
void pool_set_limit(int64_t bytes);
void pool_empty(void);

/* ---- processors */

/* Choose the variant called "scalar", "avx2" or "avx512"; NULL for the best one that runs here.
   Return its name, or NULL where there is none or it does not run. */
const char *isa_choose(const char *name);

/* ---- BLAS: load a library, whose names have a prefix; return what went wrong, or NULL */

const char *blas_load(const char *path, const char *prefix);
/* The processor that the library's kernels are for, or NULL where it does not say. */
const char *blas_kernel(void);

/* ---- arrays: kernels take them by their id() */

/* Say by which number NumPy knows bfloat16. */
void arrays_init(int bfloat16);

/* ---- elementwise ops */

int elementwise_count(void);
const char *elementwise_name(int op);

/* The table that the module `_front` works with. */
uintptr_t front_table(void);
