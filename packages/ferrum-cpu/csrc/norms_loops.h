/* The loops of normalisation. Sums are in float64, so that rows far from 0 come out right: a mean
   is a number of the loop's type and what is missing from it, which go off one after the other. */

#define NORM_LANES LOSS_LANES /* which FOLD folds */

#define ROW_STATISTICS(T) \
    typedef struct { \
        T mean, rest, scale; \
    } Statistics_##T; \
    static inline Statistics_##T statistics_##T(const T *x, intptr_t n, double eps, int centred) { \
        intptr_t whole = n / NORM_LANES * NORM_LANES; \
        f64 sum[NORM_LANES] = {0}, square[NORM_LANES] = {0}, mean = 0; \
        Statistics_##T s; \
        if (centred) { \
            for (intptr_t i = 0; i < whole; i += NORM_LANES) \
                for (int j = 0; j < NORM_LANES; j++) sum[j] += x[i + j]; \
            for (intptr_t i = whole; i < n; i++) sum[i - whole] += x[i]; \
            FOLD(sum, PLUS) \
            mean = sum[0] / (f64)n; \
        } \
        for (intptr_t i = 0; i < whole; i += NORM_LANES) \
            for (int j = 0; j < NORM_LANES; j++) { \
                f64 d = x[i + j] - mean; \
                square[j] += d * d; \
            } \
        for (intptr_t i = whole; i < n; i++) { \
            f64 d = x[i] - mean; \
            square[i - whole] += d * d; \
        } \
        FOLD(square, PLUS) \
        s.mean = (T)mean; \
        s.rest = (T)(mean - s.mean); \
        s.scale = (T)(1 / sqrt_f64(square[0] / (f64)n + eps)); \
        return s; \
    }

#define STANDARD(x, s) ((((x) - (s).mean) - (s).rest) * (s).scale)

#define NORM_ROWS(T) \
    static void norm_rows_##T(void *out, const void *in, intptr_t rows, intptr_t n, \
                              const void *weight, const void *bias, double eps, int centred) { \
        const T *x = in, *w = weight, *b = bias; \
        T *y = out; \
        for (; rows > 0; rows--, x += n, y += n) { \
            Statistics_##T s = statistics_##T(x, n, eps, centred); \
            if (w && b) { \
                INDEPENDENT for (intptr_t j = 0; j < n; j++) y[j] = STANDARD(x[j], s) * w[j] + b[j]; \
            } else if (w) { \
                INDEPENDENT for (intptr_t j = 0; j < n; j++) y[j] = STANDARD(x[j], s) * w[j]; \
            } else if (b) { \
                INDEPENDENT for (intptr_t j = 0; j < n; j++) y[j] = STANDARD(x[j], s) + b[j]; \
            } else { \
                INDEPENDENT for (intptr_t j = 0; j < n; j++) y[j] = STANDARD(x[j], s); \
            } \
        } \
    }

/* What a row's gradient subtracts: the mean of g weight, and y times that of g weight y. */
#define ROW_MEANS(T) \
    static inline void means_##T(const T *g, const T *x, const T *w, intptr_t n, \
                                 Statistics_##T s, int centred, T *mean, T *slope) { \
        f64 sum[NORM_LANES] = {0}, product[NORM_LANES] = {0}; \
        intptr_t whole = n / NORM_LANES * NORM_LANES; \
        if (w) { \
            for (intptr_t i = 0; i < whole; i += NORM_LANES) \
                for (int j = 0; j < NORM_LANES; j++) { \
                    T gw = g[i + j] * w[i + j]; \
                    sum[j] += gw; \
                    product[j] += (f64)gw * STANDARD(x[i + j], s); \
                } \
        } else { \
            for (intptr_t i = 0; i < whole; i += NORM_LANES) \
                for (int j = 0; j < NORM_LANES; j++) { \
                    sum[j] += g[i + j]; \
                    product[j] += (f64)g[i + j] * STANDARD(x[i + j], s); \
                } \
        } \
        for (intptr_t i = whole; i < n; i++) { \
            T gw = w ? g[i] * w[i] : g[i]; \
            sum[i - whole] += gw; \
            product[i - whole] += (f64)gw * STANDARD(x[i], s); \
        } \
        FOLD(sum, PLUS) \
        FOLD(product, PLUS) \
        *mean = centred ? (T)(sum[0] / (f64)n) : 0; \
        *slope = (T)(product[0] / (f64)n); \
    }

#define OF_ROW(T, r) \
    T y##r = STANDARD(x[r * n + j], s[r]), g##r = g[r * n + j];
#define GRADIENT(r, WEIGHT) ((g##r WEIGHT - mean[r] - y##r * slope[r]) * s[r].scale)

/* Four rows share the trips of the sums, which are float64. */
#define FOUR_ROWS(T, WEIGHT) \
    INDEPENDENT for (intptr_t j = 0; j < n; j++) { \
        OF_ROW(T, 0) OF_ROW(T, 1) OF_ROW(T, 2) OF_ROW(T, 3) \
        dweight[j] += (f64)((g0 * y0 + g1 * y1) + (g2 * y2 + g3 * y3)); \
        dbias[j] += (f64)((g0 + g1) + (g2 + g3)); \
        dx[j] = GRADIENT(0, WEIGHT); \
        dx[n + j] = GRADIENT(1, WEIGHT); \
        dx[2 * n + j] = GRADIENT(2, WEIGHT); \
        dx[3 * n + j] = GRADIENT(3, WEIGHT); \
    }
#define ONE_ROW(T, WEIGHT) \
    INDEPENDENT for (intptr_t j = 0; j < n; j++) { \
        OF_ROW(T, 0) \
        dweight[j] += (f64)(g0 * y0); \
        dbias[j] += (f64)g0; \
        dx[j] = GRADIENT(0, WEIGHT); \
    }

#define NORM_ROWS_BACKWARD(T) \
    static void norm_rows_backward_##T(void *out, const void *gradient, const void *in, \
                                       intptr_t rows, intptr_t n, const void *weight, double eps, \
                                       int centred, double *dweight, double *dbias) { \
        const T *g = gradient, *x = in, *w = weight; \
        T *dx = out; \
        Statistics_##T s[4]; \
        T mean[4], slope[4]; \
        for (int some; rows > 0; rows -= some, x += some * n, g += some * n, dx += some * n) { \
            some = rows >= 4 ? 4 : 1; \
            for (int r = 0; r < some; r++) { \
                s[r] = statistics_##T(x + r * n, n, eps, centred); \
                means_##T(g + r * n, x + r * n, w, n, s[r], centred, &mean[r], &slope[r]); \
            } \
            if (some == 4 && w) { \
                FOUR_ROWS(T, * w[j]) \
            } else if (some == 4) { \
                FOUR_ROWS(T, ) \
            } else if (w) { \
                ONE_ROW(T, * w[j]) \
            } else { \
                ONE_ROW(T, ) \
            } \
        } \
    }

/* ---- channels */

#define NORM_PRODUCTS(T) \
    static void norm_products_##T(double *sums, double *products, const char *g, \
                                  intptr_t g_stride, const char *x, intptr_t x_stride, \
                                  intptr_t rows, intptr_t m, const double *means) { \
        f64 *restrict sum = sums; \
        f64 *restrict product = products; \
        const f64 *restrict mean = means; \
        for (; rows >= 2; rows -= 2, g += 2 * g_stride, x += 2 * x_stride) { \
            const T *g0 = (const T *)g, *g1 = (const T *)(g + g_stride); \
            const T *x0 = (const T *)x, *x1 = (const T *)(x + x_stride); \
            INDEPENDENT for (intptr_t j = 0; j < m; j++) { \
                f64 a = g0[j], b = g1[j]; \
                sum[j] += a + b; \
                product[j] += a * (x0[j] - mean[j]) + b * (x1[j] - mean[j]); \
            } \
        } \
        if (rows) { \
            const T *g0 = (const T *)g, *x0 = (const T *)x; \
            INDEPENDENT for (intptr_t j = 0; j < m; j++) { \
                f64 a = g0[j]; \
                sum[j] += a; \
                product[j] += a * (x0[j] - mean[j]); \
            } \
        } \
    }

#define NORM_APPLY(T) \
    static void norm_apply_##T(char *out, intptr_t out_stride, const char *in, intptr_t x_stride, \
                               intptr_t rows, intptr_t m, const void *means, const void *scales, \
                               const void *shifts, int shared) { \
        const T *mean = means, *scale = scales, *shift = shifts; \
        for (; rows > 0; rows--, in += x_stride, out += out_stride) { \
            const T *x = (const T *)in; \
            T *y = (T *)out; \
            if (shared) { \
                T less = *mean, by = *scale, more = *shift; \
                INDEPENDENT for (intptr_t j = 0; j < m; j++) y[j] = (x[j] - less) * by + more; \
            } else { \
                INDEPENDENT for (intptr_t j = 0; j < m; j++) \
                    y[j] = (x[j] - mean[j]) * scale[j] + shift[j]; \
            } \
        } \
    } \
    static void norm_apply_backward_##T(char *out, intptr_t out_stride, const char *gradient, \
                                        intptr_t g_stride, const char *in, intptr_t x_stride, \
                                        intptr_t rows, intptr_t m, const void *factors, \
                                        const void *means, const void *scales, \
                                        const void *shifts, int shared) { \
        const T *factor = factors, *mean = means, *scale = scales, *shift = shifts; \
        for (; rows > 0; rows--, gradient += g_stride, out += out_stride) { \
            const T *g = (const T *)gradient, *x = (const T *)in; \
            T *dx = (T *)out; \
            if (!x && shared) { \
                T by = *factor; \
                INDEPENDENT for (intptr_t j = 0; j < m; j++) dx[j] = g[j] * by; \
            } else if (!x) { \
                INDEPENDENT for (intptr_t j = 0; j < m; j++) dx[j] = g[j] * factor[j]; \
            } else if (shared) { \
                T by = *factor, less = *mean, slope = *scale, more = *shift; \
                INDEPENDENT for (intptr_t j = 0; j < m; j++) \
                    dx[j] = g[j] * by + ((x[j] - less) * slope + more); \
            } else { \
                INDEPENDENT for (intptr_t j = 0; j < m; j++) \
                    dx[j] = g[j] * factor[j] + ((x[j] - mean[j]) * scale[j] + shift[j]); \
            } \
            in = in ? in + x_stride : in; \
        } \
    }

#define NORMS(T) \
    ROW_STATISTICS(T) NORM_ROWS(T) ROW_MEANS(T) NORM_ROWS_BACKWARD(T) NORM_PRODUCTS(T) NORM_APPLY(T)
NORMS(f32)
NORMS(f64)

#define NORMS_TABLE \
    {.rows = {norm_rows_f32, norm_rows_f64}, \
     .rows_backward = {norm_rows_backward_f32, norm_rows_backward_f64}, \
     .products = {norm_products_f32, norm_products_f64}, \
     .apply = {norm_apply_f32, norm_apply_f64}, \
     .apply_backward = {norm_apply_backward_f32, norm_apply_backward_f64}}
