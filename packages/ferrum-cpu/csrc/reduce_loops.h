/* The loops of reductions; see reduce.h. An accumulator has type A, an element type T. Elements
   are joined in small trees before they meet an accumulator: fewer roundings in a row, and fewer
   loads and stores of accumulators. */

#define JOIN_SUM(T, a, b) ((a) + (b))
#define JOIN_SUM_WHOLE(T, a, b) ((T)((uint64_t)(a) + (uint64_t)(b)))
#define JOIN_PROD(T, a, b) ((a) * (b))
#define JOIN_PROD_WHOLE(T, a, b) ((T)((uint64_t)(a) * (uint64_t)(b)))
/* as MAXIMUM and MINIMUM, without a branch */
#define JOIN_MAX(T, a, b) (((a) >= (b)) | ((a) != (a)) ? (a) : (b))
#define JOIN_MIN(T, a, b) (((a) <= (b)) | ((a) != (a)) ? (a) : (b))

#define ROW(T, i) const T *x##i = (const T *)(x + i * stride);

#define REDUCE_ACCUMULATORS(name, A, OP, IDENTITY) \
    static void start_##name(void *acc, intptr_t m) { \
        A *to = acc; \
        for (intptr_t j = 0; j < m; j++) to[j] = IDENTITY; \
    } \
    static void join_##name(void *acc, const void *from, intptr_t m) { \
        A *to = acc; \
        const A *x = from; \
        INDEPENDENT for (intptr_t j = 0; j < m; j++) to[j] = OP(A, to[j], x[j]); \
    } \
    static void fold_##name(void *acc) { \
        A *to = acc; \
        for (int w = LANES / 2; w; w /= 2) \
            INDEPENDENT for (int j = 0; j < w; j++) to[j] = OP(A, to[j], to[j + w]); \
    }

#define REDUCE_ROWS(name, T, A, OP) \
    static void rows_##name(void *acc, const char *x, intptr_t stride, intptr_t rows, intptr_t m) { \
        A *restrict to = acc; \
        for (; rows >= 4; rows -= 4, x += 4 * stride) { \
            ROW(T, 0) ROW(T, 1) ROW(T, 2) ROW(T, 3) \
            INDEPENDENT for (intptr_t j = 0; j < m; j++) { \
                A a = OP(A, (A)x0[j], (A)x1[j]), b = OP(A, (A)x2[j], (A)x3[j]); \
                A c = OP(A, a, b); \
                to[j] = OP(A, to[j], c); \
            } \
        } \
        for (; rows > 0; rows--, x += stride) { \
            ROW(T, 0) \
            INDEPENDENT for (intptr_t j = 0; j < m; j++) { \
                A a = (A)x0[j]; \
                to[j] = OP(A, to[j], a); \
            } \
        } \
    }

/* max and min: the compiler makes vector code of no more than one choice. */
#define REDUCE_EACH_ROW(name, T, OP) \
    static void rows_##name(void *acc, const char *x, intptr_t stride, intptr_t rows, intptr_t m) { \
        T *restrict to = acc; \
        for (; rows > 0; rows--, x += stride) { \
            ROW(T, 0) \
            INDEPENDENT for (intptr_t j = 0; j < m; j++) { \
                T a = to[j], b = x0[j]; \
                to[j] = OP(T, a, b); \
            } \
        } \
    }

/* Along a row memory is read in its order, or it would not be fetched ahead. */
#define REDUCE_LANES(name, T, A, OP) \
    static void lanes_##name(void *acc, const void *in, intptr_t n) { \
        const T *x = in; \
        A *to = acc, lane[LANES]; \
        for (int j = 0; j < LANES; j++) lane[j] = to[j]; \
        for (; n >= LANES; n -= LANES, x += LANES) \
            for (int j = 0; j < LANES; j++) { \
                A a = (A)x[j]; \
                lane[j] = OP(A, lane[j], a); \
            } \
        for (int j = 0; j < LANES; j++) to[j] = lane[j]; \
        INDEPENDENT for (intptr_t j = 0; j < n; j++) { \
            A a = (A)x[j]; \
            to[j] = OP(A, to[j], a); \
        } \
    }

static void rows_sum_f32(void *acc, const char *x, intptr_t stride, intptr_t rows, intptr_t m) {
    f64 *restrict to = acc;
    for (; rows >= 8; rows -= 8, x += 8 * stride) {
        ROW(f32, 0) ROW(f32, 1) ROW(f32, 2) ROW(f32, 3)
        ROW(f32, 4) ROW(f32, 5) ROW(f32, 6) ROW(f32, 7)
        INDEPENDENT for (intptr_t j = 0; j < m; j++) {
            f32 low = (x0[j] + x1[j]) + (x2[j] + x3[j]), high = (x4[j] + x5[j]) + (x6[j] + x7[j]);
            to[j] += (f64)(low + high);
        }
    }
    for (; rows > 0; rows--, x += stride) {
        ROW(f32, 0)
        INDEPENDENT for (intptr_t j = 0; j < m; j++) to[j] += (f64)x0[j];
    }
}

static void lanes_sum_f32(void *acc, const void *in, intptr_t n) {
    f64 *to = acc;
    const f32 *x = in;
    for (; n >= 16 * LANES; n -= 16 * LANES) {
        f32 lane[LANES];
        for (int j = 0; j < LANES; j++) lane[j] = 0;
        for (int r = 0; r < 16; r++, x += LANES)
            for (int j = 0; j < LANES; j++) lane[j] += x[j];
        for (int j = 0; j < LANES; j++) to[j] += (f64)lane[j];
    }
    for (; n > 0; n -= LANES, x += LANES)
        INDEPENDENT for (intptr_t j = 0; j < smaller(n, LANES); j++) to[j] += (f64)x[j];
}

#define REDUCE_SQUARES(T) \
    static void squares_##T(void *squares, void *drifts, const char *x, intptr_t stride, \
                            intptr_t rows, intptr_t m, const void *means) { \
        f64 *restrict to = squares; \
        f64 *restrict drift = drifts; \
        const f64 *restrict mean = means; \
        for (; rows >= 4; rows -= 4, x += 4 * stride) { \
            ROW(T, 0) ROW(T, 1) ROW(T, 2) ROW(T, 3) \
            INDEPENDENT for (intptr_t j = 0; j < m; j++) { \
                f64 d0 = x0[j] - mean[j], d1 = x1[j] - mean[j]; \
                f64 d2 = x2[j] - mean[j], d3 = x3[j] - mean[j]; \
                to[j] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3); \
                drift[j] += (d0 + d1) + (d2 + d3); \
            } \
        } \
        for (; rows > 0; rows--, x += stride) { \
            ROW(T, 0) \
            INDEPENDENT for (intptr_t j = 0; j < m; j++) { \
                f64 d = x0[j] - mean[j]; \
                to[j] += d * d; \
                drift[j] += d; \
            } \
        } \
    }

#define REDUCE_RUNNING(T, A, OP) \
    static void along_##T(void *out, const void *in, void *acc, intptr_t n) { \
        T *y = out; \
        const T *x = in; \
        A sum = *(A *)acc; \
        for (intptr_t i = 0; i < n; i++) { \
            sum = OP(A, sum, x[i]); \
            y[i] = (T)sum; \
        } \
        *(A *)acc = sum; \
    } \
    static void across_##T(void *out, const void *in, void *acc, intptr_t m) { \
        T *y = out; \
        const T *x = in; \
        A *sum = acc; \
        INDEPENDENT for (intptr_t j = 0; j < m; j++) { \
            sum[j] = OP(A, sum[j], x[j]); \
            y[j] = (T)sum[j]; \
        } \
    }

/* Whether b is to be taken, a being the best so far: NaN is, and nothing beats it. */
#define BEATS_MAX(a, b) (!((a) >= (b)) & ((a) == (a)))
#define BEATS_MIN(a, b) (!((a) <= (b)) & ((a) == (a)))

#define REDUCE_EXTREMUM(name, T, OP, BEATS, IDENTITY) \
    REDUCE_ACCUMULATORS(name, T, OP, IDENTITY) \
    REDUCE_EACH_ROW(name, T, OP) \
    REDUCE_LANES(name, T, T, OP) \
    static void better_##name(void *best, int64_t *index, const void *in, int64_t number, \
                              intptr_t m) { \
        T *value = best; \
        const T *x = in; \
        INDEPENDENT for (intptr_t j = 0; j < m; j++) { \
            T old = value[j]; \
            int take = BEATS(old, x[j]); \
            value[j] = take ? x[j] : old; \
            index[j] = take ? number : index[j]; \
        } \
    }
#define REDUCE_FIND(T) \
    static intptr_t find_##T(const void *in, intptr_t n, const void *value) { \
        const T *x = in; \
        T wanted = *(const T *)value; \
        intptr_t i = 0; \
        for (int hit = 0; i + LANES <= n; i += LANES) { \
            for (int j = 0; j < LANES; j++) \
                hit |= (x[i + j] == wanted) | (x[i + j] != x[i + j]); \
            if (hit) break; \
        } \
        for (; i < n; i++) \
            if (x[i] == wanted || (x[i] != x[i] && wanted != wanted)) break; \
        return i; \
    }
#define REDUCE_EXTREMA(T, LEAST, MOST) \
    REDUCE_FIND(T) \
    REDUCE_EXTREMUM(max_##T, T, JOIN_MAX, BEATS_MAX, LEAST) \
    REDUCE_EXTREMUM(min_##T, T, JOIN_MIN, BEATS_MIN, MOST)

REDUCE_ACCUMULATORS(sum_f64, f64, JOIN_SUM, 0)
REDUCE_ACCUMULATORS(sum_i64, i64, JOIN_SUM_WHOLE, 0)
REDUCE_ROWS(sum_f64, f64, f64, JOIN_SUM) REDUCE_LANES(sum_f64, f64, f64, JOIN_SUM)
REDUCE_ROWS(sum_i64, i64, i64, JOIN_SUM_WHOLE) REDUCE_LANES(sum_i64, i64, i64, JOIN_SUM_WHOLE)
REDUCE_SQUARES(f32)
REDUCE_SQUARES(f64)
REDUCE_RUNNING(f32, f64, JOIN_SUM)
REDUCE_RUNNING(f64, f64, JOIN_SUM)
REDUCE_RUNNING(i64, i64, JOIN_SUM_WHOLE)
REDUCE_ACCUMULATORS(prod_f64, f64, JOIN_PROD, 1)
REDUCE_ACCUMULATORS(prod_i64, i64, JOIN_PROD_WHOLE, 1)
REDUCE_ROWS(prod_f32, f32, f64, JOIN_PROD) REDUCE_LANES(prod_f32, f32, f64, JOIN_PROD)
REDUCE_ROWS(prod_f64, f64, f64, JOIN_PROD) REDUCE_LANES(prod_f64, f64, f64, JOIN_PROD)
REDUCE_ROWS(prod_i64, i64, i64, JOIN_PROD_WHOLE) REDUCE_LANES(prod_i64, i64, i64, JOIN_PROD_WHOLE)
REDUCE_EXTREMA(b8, 0, 1)
REDUCE_EXTREMA(u8, 0, UINT8_MAX)
REDUCE_EXTREMA(i8, INT8_MIN, INT8_MAX)
REDUCE_EXTREMA(i16, INT16_MIN, INT16_MAX)
REDUCE_EXTREMA(i32, INT32_MIN, INT32_MAX)
REDUCE_EXTREMA(i64, INT64_MIN, INT64_MAX)
REDUCE_EXTREMA(f32, -INFINITY, INFINITY)
REDUCE_EXTREMA(f64, -INFINITY, INFINITY)

/* ---- the table */

#define REDUCER(READS, HOLDS, read, held) \
    .reads = READS, .holds = HOLDS, .start = start_##held, .rows = rows_##read, \
    .lanes = lanes_##read, \
    .join = join_##held, .fold = fold_##held
#define SUM_OF(READS, HOLDS, T, A) \
    {REDUCER(READS, HOLDS, sum_##T, sum_##A), .along = along_##T, .across = across_##T}
#define SUM_OF_REAL(READS, T) \
    {REDUCER(READS, F64, sum_##T, sum_f64), .along = along_##T, .across = across_##T, \
     .squares = squares_##T}
#define PROD_OF(READS, HOLDS, T, A) {REDUCER(READS, HOLDS, prod_##T, prod_##A)}
#define EXTREMUM_OF(READS, name, T) \
    {REDUCER(READS, READS, name##_##T, name##_##T), .find = find_##T, .better = better_##name##_##T}
#define FOR_WHOLE(...) \
    [BOOL] = __VA_ARGS__, [U8] = __VA_ARGS__, [I8] = __VA_ARGS__, [I16] = __VA_ARGS__, \
    [I32] = __VA_ARGS__, [I64] = __VA_ARGS__
#define FOR_EACH(...) \
    FOR_WHOLE(__VA_ARGS__), [F16] = __VA_ARGS__, [BF16] = __VA_ARGS__, [F32] = __VA_ARGS__, \
    [F64] = __VA_ARGS__
#define EXTREMA_OF(name) { \
    [BOOL] = EXTREMUM_OF(BOOL, name, b8), [U8] = EXTREMUM_OF(U8, name, u8), \
    [I8] = EXTREMUM_OF(I8, name, i8), [I16] = EXTREMUM_OF(I16, name, i16), \
    [I32] = EXTREMUM_OF(I32, name, i32), [I64] = EXTREMUM_OF(I64, name, i64), \
    [F16] = EXTREMUM_OF(F32, name, f32), [BF16] = EXTREMUM_OF(F32, name, f32), \
    [F32] = EXTREMUM_OF(F32, name, f32), [F64] = EXTREMUM_OF(F64, name, f64)}
#define SUM_OF_I64 SUM_OF(I64, I64, i64, i64)
#define PROD_OF_I64 PROD_OF(I64, I64, i64, i64)
#define PROD_OF_F32 PROD_OF(F32, F64, f32, f64)
#define MAX_OF_B8 EXTREMUM_OF(BOOL, max, b8)
#define MIN_OF_B8 EXTREMUM_OF(BOOL, min, b8)

/* Products of float32 in float64: the order of the factors must not decide on overflow. */
#define REDUCE_TABLE { \
    [SUM] = {FOR_WHOLE(SUM_OF_I64), [F16] = SUM_OF_REAL(F32, f32), [BF16] = SUM_OF_REAL(F32, f32), \
             [F32] = SUM_OF_REAL(F32, f32), [F64] = SUM_OF_REAL(F64, f64)}, \
    [PROD] = {FOR_WHOLE(PROD_OF_I64), [F16] = PROD_OF_F32, [BF16] = PROD_OF_F32, \
              [F32] = PROD_OF_F32, [F64] = PROD_OF(F64, F64, f64, f64)}, \
    [MAX] = EXTREMA_OF(max), [MIN] = EXTREMA_OF(min), \
    [ANY] = {FOR_EACH(MAX_OF_B8)}, [ALL] = {FOR_EACH(MIN_OF_B8)}, \
}
