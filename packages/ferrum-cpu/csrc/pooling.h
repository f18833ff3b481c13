/* Pooling: what Python calls, and its declaration there. The last `axes` axes, at most 3, are
   planes. `numbers` are the kernel, stride, padding and dilation of the first of them, then those
   of the next; a kernel of 0 stands for windows that adapt. Results are dense. */

int max_pool(uintptr_t x, uintptr_t out, uintptr_t index, int axes, const int64_t *numbers);

/* Planes of zeros to which g is added at the index. */
int max_pool_input(uintptr_t g, uintptr_t index, uintptr_t out, int axes);

/* Sums are divided by `divisor`; if that is 0 by the elements of a window, `padded` ones too. */
int average_pool(uintptr_t x, uintptr_t out, int axes, const int64_t *numbers, int padded,
                 double divisor);
int average_pool_input(uintptr_t g, uintptr_t out, int axes, const int64_t *numbers, int padded,
                       double divisor);
