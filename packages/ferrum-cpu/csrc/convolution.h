/* Convolution and its two adjoints: what Python calls, and its declaration there. */

/* An inner x (n, c, ...), a weight (o, c / groups, ...) and an outer tensor (n, o, ...) meet as
   `numbers` says: the stride, padding and dilation of the first axis, then those of the next. Each
   call computes one of the three from the others; a bias may be 0. */
int convolution(uintptr_t x, uintptr_t weight, uintptr_t bias, uintptr_t out,
                const int64_t *numbers, int64_t groups);
int convolution_input(uintptr_t outer, uintptr_t weight, uintptr_t bias, uintptr_t out,
                      const int64_t *numbers, int64_t groups);
int convolution_weight(uintptr_t x, uintptr_t outer, uintptr_t out, const int64_t *numbers,
                       int64_t groups);
