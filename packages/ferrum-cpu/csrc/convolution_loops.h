/* The loops of depthwise convolution; see convolution_table.h. Vectors are those of gemm_loops.h. */

#define TAPS(T) \
    static void taps_##T(void *out, const void *in, const intptr_t *offsets, const void *weights, \
                         intptr_t taps, double first, intptr_t n) { \
        const T *x = in, *weight = weights; \
        T *y = out; \
        part_##T all = PART_##T(LANES_##T); \
        intptr_t i = 0, lanes = LANES_##T; \
        for (; i + 4 * lanes <= n; i += 4 * lanes) { \
            vec_##T a = SET_##T((T)first), b = a, c = a, d = a; \
            for (intptr_t t = 0; t < taps; t++) { \
                const T *p = x + offsets[t] + i; \
                vec_##T w = SET_##T(weight[t]); \
                a = FMA_##T(w, LOAD_##T(p, all), a); \
                b = FMA_##T(w, LOAD_##T(p + lanes, all), b); \
                c = FMA_##T(w, LOAD_##T(p + 2 * lanes, all), c); \
                d = FMA_##T(w, LOAD_##T(p + 3 * lanes, all), d); \
            } \
            STORE_##T(y + i, all, a); \
            STORE_##T(y + i + lanes, all, b); \
            STORE_##T(y + i + 2 * lanes, all, c); \
            STORE_##T(y + i + 3 * lanes, all, d); \
        } \
        for (; i < n; i += lanes) { \
            part_##T part = PART_##T(smaller(lanes, n - i)); \
            vec_##T a = SET_##T((T)first); \
            for (intptr_t t = 0; t < taps; t++) \
                a = FMA_##T(SET_##T(weight[t]), LOAD_##T(x + offsets[t] + i, part), a); \
            STORE_##T(y + i, part, a); \
        } \
    }

#define TAP_PRODUCTS(T) \
    static inline double total_##T(vec_##T x) { \
        T each[LANES_##T]; \
        double sum = 0; \
        STORE_##T(each, PART_##T(LANES_##T), x); \
        for (int i = 0; i < LANES_##T; i++) sum += (double)each[i]; \
        return sum; \
    } \
    static void tap_products_##T(double *sums, const void *of_out, const void *in, \
                                 const intptr_t *offsets, intptr_t taps, intptr_t n) { \
        const T *g = of_out, *x = in; \
        intptr_t lanes = LANES_##T; \
        for (intptr_t t = 0; t < taps; t += 4) { \
            intptr_t some = smaller(4, taps - t); /* what is missing is the first once more */ \
            const T *p = x + offsets[t], *q = x + offsets[some > 1 ? t + 1 : t]; \
            const T *r = x + offsets[some > 2 ? t + 2 : t], *s = x + offsets[some > 3 ? t + 3 : t]; \
            vec_##T a = SET_##T(0), b = a, c = a, d = a; \
            for (intptr_t i = 0; i < n; i += lanes) { \
                part_##T part = PART_##T(smaller(lanes, n - i)); \
                vec_##T each = LOAD_##T(g + i, part); \
                a = FMA_##T(each, LOAD_##T(p + i, part), a); \
                b = FMA_##T(each, LOAD_##T(q + i, part), b); \
                c = FMA_##T(each, LOAD_##T(r + i, part), c); \
                d = FMA_##T(each, LOAD_##T(s + i, part), d); \
            } \
            sums[t] += total_##T(a); \
            if (some > 1) sums[t + 1] += total_##T(b); \
            if (some > 2) sums[t + 2] += total_##T(c); \
            if (some > 3) sums[t + 3] += total_##T(d); \
        } \
    }

TAPS(f32) TAPS(f64) TAP_PRODUCTS(f32) TAP_PRODUCTS(f64)
#define DEPTHWISE_TABLE {{taps_f32, taps_f64}, {tap_products_f32, tap_products_f64}}
