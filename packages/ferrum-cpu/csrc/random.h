/* Random numbers, as ferrum.philox defines them. `out` is dense. */

int random_uniform(uint64_t seed, uint64_t offset, uintptr_t out);
int random_normal(uint64_t seed, uint64_t offset, uintptr_t out);
/* Integers start ... start + span - 1, modulo 2**64; a span of 0 stands for 2**64. */
int random_integers(uint64_t start, uint64_t span, uint64_t seed, uint64_t offset, uintptr_t out);
/* The stable argsort of 64-bit draws, int64 and of one axis. */
int random_permutation(uint64_t seed, uint64_t offset, uintptr_t out);
/* The standard normal quantiles of n 64-bit draws, n at most 1024. */
void normal_quantiles(const uint64_t *draws, double *out, int64_t n);
