/* The loops of softmax; see softmax.h. Sums are kept in float64, and every pass is over elements
   that are still in a near cache. Of the largest element NaN is no concern: it stays in the
   differences, and from there it gets into the sum. */

#define SOFTMAX_HELPERS(T) \
    static inline T top_of_##T(const T *x, intptr_t n) { \
        T best[LANES]; \
        intptr_t i = 0; \
        T top = -INFINITY; \
        if (n >= LANES) { \
            for (int j = 0; j < LANES; j++) best[j] = x[j]; \
            for (i = LANES; i + LANES <= n; i += LANES) \
                for (int j = 0; j < LANES; j++) \
                    best[j] = x[i + j] > best[j] ? x[i + j] : best[j]; \
            for (int w = LANES / 2; w; w /= 2) \
                INDEPENDENT for (int j = 0; j < w; j++) \
                    best[j] = best[j + w] > best[j] ? best[j + w] : best[j]; \
            top = best[0] == best[0] ? best[0] : top; \
        } \
        for (; i < n; i++) top = x[i] > top ? x[i] : top; \
        return top; \
    } \
    static inline f64 total_of_##T(const T *x, intptr_t n) { \
        f64 sum[LANES]; \
        if (n < LANES) { \
            f64 few[8] = {0}; \
            intptr_t i = 0; \
            for (; i + 8 <= n; i += 8) \
                for (int j = 0; j < 8; j++) few[j] += x[i + j]; \
            for (int j = 0; i + j < n; j++) few[j] += x[i + j]; \
            return ((few[0] + few[4]) + (few[2] + few[6])) + ((few[1] + few[5]) + (few[3] + few[7])); \
        } \
        start_sum_f64(sum, LANES); \
        lanes_sum_##T(sum, x, n); \
        fold_sum_f64(sum); \
        return sum[0]; \
    } \
    /* The sum of exp(x), which is not kept. */ \
    static inline f64 exp_total_of_##T(const T *x, intptr_t n) { \
        T e[TILE]; \
        f64 sum = 0; \
        for (intptr_t i = 0; i < n; i += TILE) { \
            const void *in[] = {x + i}; \
            loop_exp_##T(e, in, smaller(n - i, TILE)); \
            sum += total_of_##T(e, smaller(n - i, TILE)); \
        } \
        return sum; \
    }

#define SOFTMAX_OF_ROWS(T) \
    static void softmax_rows_##T(void *out, intptr_t out_stride, const char *const *in, \
                                 const intptr_t *stride, intptr_t rows, intptr_t n) { \
        T *y = out; \
        const void *exponents[] = {out}; \
        (void)out_stride; \
        for (intptr_t r = 0; r < rows; r++) { \
            const T *x = (const T *)(in[0] + r * stride[0]); \
            T top = top_of_##T(x, n); \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) y[r * n + j] = x[j] - top; \
        } \
        loop_exp_##T(y, exponents, rows * n); \
        for (intptr_t r = 0; r < rows; r++, y += n) { \
            T scale = (T)(1 / total_of_##T(y, n)); \
            for (intptr_t j = 0; j < n; j++) y[j] *= scale; \
        } \
    } \
    static void log_softmax_rows_##T(void *out, intptr_t out_stride, const char *const *in, \
                                     const intptr_t *stride, intptr_t rows, intptr_t n) { \
        T *y = out; \
        (void)out_stride; \
        for (intptr_t r = 0; r < rows; r++, y += n) { \
            const T *x = (const T *)(in[0] + r * stride[0]); \
            T top = top_of_##T(x, n); \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) y[j] = x[j] - top; \
            T shift = (T)log_f64(exp_total_of_##T(y, n)); \
            for (intptr_t j = 0; j < n; j++) y[j] -= shift; \
        } \
    } \
    static void softmax_backward_rows_##T(void *out, intptr_t out_stride, const char *const *in, \
                                          const intptr_t *stride, intptr_t rows, intptr_t n) { \
        T *dx = out; \
        (void)out_stride; \
        for (intptr_t r = 0; r < rows; r++, dx += n) { \
            const T *g = (const T *)(in[0] + r * stride[0]), *y = (const T *)(in[1] + r * stride[1]); \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) dx[j] = g[j] * y[j]; \
            T sum = (T)total_of_##T(dx, n); \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) dx[j] -= y[j] * sum; \
        } \
    } \
    static void log_softmax_backward_rows_##T(void *out, intptr_t out_stride, \
                                              const char *const *in, const intptr_t *stride, \
                                              intptr_t rows, intptr_t n) { \
        T *dx = out; \
        T e[TILE]; \
        (void)out_stride; \
        for (intptr_t r = 0; r < rows; r++, dx += n) { \
            const T *g = (const T *)(in[0] + r * stride[0]), *y = (const T *)(in[1] + r * stride[1]); \
            T sum = (T)total_of_##T(g, n); \
            for (intptr_t i = 0, part; i < n; i += part) { \
                const void *exponents[] = {y + i}; \
                part = smaller(n - i, TILE); \
                loop_exp_##T(e, exponents, part); \
                INDEPENDENT for (intptr_t j = 0; j < part; j++) \
                    dx[i + j] = g[i + j] - e[j] * sum; \
            } \
        } \
    }

#define AT(T, x, stride, r) ((T *)((x) + (r) * (stride)))
#define CONST_AT(T, k, r) ((const T *)(in[k] + (r) * stride[k]))

#define SOFTMAX_OF_COLUMNS(T) \
    static void softmax_columns_##T(void *out, intptr_t out_stride, const char *const *in, \
                                    const intptr_t *stride, intptr_t rows, intptr_t n) { \
        T top[SOFTMAX_COLUMNS], scale[SOFTMAX_COLUMNS]; \
        f64 sum[SOFTMAX_COLUMNS]; \
        start_max_##T(top, n); \
        rows_max_##T(top, in[0], stride[0], rows, n); \
        start_sum_f64(sum, n); \
        for (intptr_t r = 0; r < rows; r++) { \
            const T *x = CONST_AT(T, 0, r); \
            T *y = AT(T, (char *)out, out_stride, r); \
            const void *exponents[] = {y}; \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) y[j] = x[j] - top[j]; \
            loop_exp_##T(y, exponents, n); \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) sum[j] += y[j]; \
        } \
        for (intptr_t j = 0; j < n; j++) scale[j] = (T)(1 / sum[j]); \
        for (intptr_t r = 0; r < rows; r++) { \
            T *y = AT(T, (char *)out, out_stride, r); \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) y[j] *= scale[j]; \
        } \
    } \
    static void log_softmax_columns_##T(void *out, intptr_t out_stride, const char *const *in, \
                                        const intptr_t *stride, intptr_t rows, intptr_t n) { \
        T top[SOFTMAX_COLUMNS], e[SOFTMAX_COLUMNS]; \
        f64 sum[SOFTMAX_COLUMNS]; \
        start_max_##T(top, n); \
        rows_max_##T(top, in[0], stride[0], rows, n); \
        start_sum_f64(sum, n); \
        for (intptr_t r = 0; r < rows; r++) { \
            const T *x = CONST_AT(T, 0, r); \
            T *y = AT(T, (char *)out, out_stride, r); \
            const void *exponents[] = {y}; \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) y[j] = x[j] - top[j]; \
            loop_exp_##T(e, exponents, n); \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) sum[j] += e[j]; \
        } \
        for (intptr_t j = 0; j < n; j++) e[j] = (T)log_f64(sum[j]); \
        for (intptr_t r = 0; r < rows; r++) { \
            T *y = AT(T, (char *)out, out_stride, r); \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) y[j] -= e[j]; \
        } \
    } \
    static void softmax_backward_columns_##T(void *out, intptr_t out_stride, \
                                             const char *const *in, const intptr_t *stride, \
                                             intptr_t rows, intptr_t n) { \
        T total[SOFTMAX_COLUMNS]; \
        f64 sum[SOFTMAX_COLUMNS]; \
        start_sum_f64(sum, n); \
        for (intptr_t r = 0; r < rows; r++) { \
            const T *g = CONST_AT(T, 0, r), *y = CONST_AT(T, 1, r); \
            T *dx = AT(T, (char *)out, out_stride, r); \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) { \
                dx[j] = g[j] * y[j]; \
                sum[j] += dx[j]; \
            } \
        } \
        for (intptr_t j = 0; j < n; j++) total[j] = (T)sum[j]; \
        for (intptr_t r = 0; r < rows; r++) { \
            const T *y = CONST_AT(T, 1, r); \
            T *dx = AT(T, (char *)out, out_stride, r); \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) dx[j] -= y[j] * total[j]; \
        } \
    } \
    static void log_softmax_backward_columns_##T(void *out, intptr_t out_stride, \
                                                 const char *const *in, const intptr_t *stride, \
                                                 intptr_t rows, intptr_t n) { \
        T total[SOFTMAX_COLUMNS], e[SOFTMAX_COLUMNS]; \
        f64 sum[SOFTMAX_COLUMNS]; \
        start_sum_f64(sum, n); \
        rows_sum_##T(sum, in[0], stride[0], rows, n); \
        for (intptr_t j = 0; j < n; j++) total[j] = (T)sum[j]; \
        for (intptr_t r = 0; r < rows; r++) { \
            const T *g = CONST_AT(T, 0, r); \
            T *dx = AT(T, (char *)out, out_stride, r); \
            const void *exponents[] = {CONST_AT(T, 1, r)}; \
            loop_exp_##T(e, exponents, n); \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) dx[j] = g[j] - e[j] * total[j]; \
        } \
    }

SOFTMAX_HELPERS(f32)
SOFTMAX_HELPERS(f64)
SOFTMAX_OF_ROWS(f32)
SOFTMAX_OF_ROWS(f64)
SOFTMAX_OF_COLUMNS(f32)
SOFTMAX_OF_COLUMNS(f64)

#define SOFTMAX_LOOPS(op) \
    {{op##_rows_f32, op##_rows_f64}, {op##_columns_f32, op##_columns_f64}}
#define SOFTMAX_TABLE \
    {SOFTMAX_LOOPS(softmax), SOFTMAX_LOOPS(log_softmax), SOFTMAX_LOOPS(softmax_backward), \
     SOFTMAX_LOOPS(log_softmax_backward)}
