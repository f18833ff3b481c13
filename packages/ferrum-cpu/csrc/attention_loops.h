/* The loops of attention; see attention_table.h. Sums of tiles are added up in float64. Of the
   largest score NaN is no concern: it stays in the differences, and gets into the sum. */

/* Vectors are interleaved, the first half of them with the second one, until every bit of an
   element's row has become one of its column: log2 of their length times. */
#define ATTENTION_TURN(T) \
    static inline __attribute__((always_inline)) void turn_square_##T( \
        T *out, intptr_t wide, const T *in, intptr_t x_row, intptr_t rows, intptr_t columns) { \
        enum { L = LANES_##T, HALF = L / 2 }; \
        vec_##T x[L], y[L]; \
        part_##T part = PART_##T(columns); \
        _Pragma("GCC unroll 16") for (int i = 0; i < L; i++) \
            x[i] = i < rows ? LOAD_##T(in + i * x_row, part) : SET_##T(0); \
        _Pragma("GCC unroll 4") for (int step = 1; step < L; step *= 2) { \
            _Pragma("GCC unroll 16") for (int i = 0; i < HALF; i++) { \
                y[2 * i] = FIRST_##T(x[i], x[i + HALF]); \
                y[2 * i + 1] = SECOND_##T(x[i], x[i + HALF]); \
            } \
            _Pragma("GCC unroll 16") for (int i = 0; i < L; i++) x[i] = y[i]; \
        } \
        _Pragma("GCC unroll 16") for (int i = 0; i < L; i++) \
            if (i < columns) \
                PUT_##T(out + i * wide, x[i]); \
    } \
    static void attention_turn_##T(void *to, intptr_t wide, const void *from, intptr_t x_row, \
                                   intptr_t rows, intptr_t columns) { \
        enum { L = LANES_##T }; \
        intptr_t end = cut_in(rows, 2 * L) * 2 * L; \
        for (intptr_t r = 0; r < end; r += L) { \
            for (intptr_t c = 0; c < columns; c += L) { \
                const T *x = (const T *)from + r * x_row + c; \
                T *out = (T *)to + c * wide + r; \
                if (rows - r >= L && columns - c >= L) \
                    turn_square_##T(out, wide, x, x_row, L, L); \
                else \
                    turn_square_##T(out, wide, x, x_row, rows - r, smaller(columns - c, L)); \
            } \
        } \
    }

/* The sums of products of as many keys as a vector holds, side by side, are turned to be added. */
#define ATTENTION_DOTS(T) \
    static void attention_dots_##T(void *to, intptr_t to_row, const void *queries, \
                                   intptr_t q_row, intptr_t rows, const void *keys_of, \
                                   intptr_t k_row, intptr_t keys, intptr_t n) { \
        enum { L = LANES_##T }; \
        _Alignas(64) T sums[L * L], turned[L * L]; \
        for (intptr_t j = 0; j < keys; j += L) { \
            intptr_t some = smaller(L, keys - j); \
            for (intptr_t r = 0; r < rows; r++) { \
                const T *q = (const T *)queries + r * q_row; \
                vec_##T all = SET_##T(0); \
                for (intptr_t i = 0; i < L; i++) { \
                    const T *k = (const T *)keys_of + (j + i) * k_row; \
                    vec_##T sum = SET_##T(0); \
                    for (intptr_t c = 0; c < n && i < some; c += L) { \
                        part_##T part = PART_##T(smaller(n - c, L)); \
                        sum = FMA_##T(LOAD_##T(k + c, part), LOAD_##T(q + c, part), sum); \
                    } \
                    PUT_##T(sums + i * L, sum); \
                } \
                turn_square_##T(turned, L, sums, L, L, L); \
                for (intptr_t i = 0; i < L; i++) \
                    all = PLUS_##T(all, WHOLE_##T(turned + i * L)); \
                STORE_##T((T *)to + r * to_row + j, PART_##T(some), all); \
            } \
        } \
    }

#define FOR_EACH_QUERY INDEPENDENT for (intptr_t i = 0; i < queries; i++)

#define ATTENTION_MASKS(T) \
    static void attention_scale_##T(void *to, intptr_t n, double factor) { \
        T *x = to, by = (T)factor; \
        for (intptr_t i = 0; i < n; i++) x[i] *= by; \
    } \
    static void attention_mask_##T(void *scores, const void *mask, intptr_t keys, \
                                   intptr_t queries, int adds) { \
        T *x = scores; \
        const T *m = mask; \
        for (intptr_t j = 0; j < keys; j++, x += QUERIES, m += QUERIES) \
            if (adds) { \
                FOR_EACH_QUERY x[i] += m[i]; \
            } else { \
                FOR_EACH_QUERY x[i] = m[i] != 0 ? x[i] : -(T)INFINITY; \
            } \
    } \
    static void attention_hide_##T(void *scores, intptr_t keys, intptr_t queries, \
                                   intptr_t ahead) { \
        T *x = scores; \
        for (intptr_t j = 0; j < keys; j++, x += QUERIES) { \
            intptr_t hidden = smaller(queries, ahead + j); \
            for (intptr_t i = 0; i < hidden; i++) x[i] = -(T)INFINITY; \
        } \
    } \
    static void attention_times_##T(void *scores, const void *factors, intptr_t keys, \
                                    intptr_t queries) { \
        T *x = scores; \
        const T *by = factors; \
        for (intptr_t j = 0; j < keys; j++, x += QUERIES, by += QUERIES) \
            FOR_EACH_QUERY x[i] *= by[i]; \
    }

/* e^x where x is not above 0, or NaN; 0 where that is less than the least normal number. */
#define LOWEST_f32 -87.0f
#define LOWEST_f64 -708.0
#define SHARE(T) \
    static inline T share_##T(T x) { \
        T r, shifted = split_exponent_##T(x < LOWEST_##T ? LOWEST_##T : x, &r); \
        T y = (1 + (r + exp_rest_##T(r))) * power_of_two_##T(BITS_OF_##T(shifted)); \
        return x < LOWEST_##T ? 0 : y; \
    }
#define BITS_OF_f32 bits32
#define BITS_OF_f64 bits64

/* With `queries` a constant, what goes from key to key stays in registers. */
#define ATTENTION_FORWARD(T) \
    static inline __attribute__((always_inline)) void soften_columns_##T( \
        T *scores, intptr_t keys, intptr_t queries, T *top, f64 *sums, T *factor) { \
        T *x = scores, best[QUERIES], shift[QUERIES], sum[QUERIES]; \
        FOR_EACH_QUERY best[i] = top[i]; \
        for (intptr_t j = 0; j < keys; j++, x += QUERIES) \
            FOR_EACH_QUERY best[i] = x[i] > best[i] ? x[i] : best[i]; \
        FOR_EACH_QUERY { \
            shift[i] = best[i] == -(T)INFINITY ? 0 : best[i]; \
            factor[i] = share_##T(top[i] - shift[i]); \
            top[i] = best[i]; \
            sum[i] = 0; \
        } \
        x = scores; \
        for (intptr_t j = 0; j < keys; j++, x += QUERIES) \
            FOR_EACH_QUERY { \
                T weight = share_##T(x[i] - shift[i]); \
                x[i] = weight; \
                sum[i] += weight; \
            } \
        FOR_EACH_QUERY sums[i] = sums[i] * factor[i] + sum[i]; \
    } \
    static void attention_soften_##T(void *scores, intptr_t keys, intptr_t queries, void *top, \
                                     double *sum, void *factor) { \
        if (queries == QUERIES) \
            soften_columns_##T(scores, keys, QUERIES, top, sum, factor); \
        else if (queries <= FEW_QUERIES && queries <= LANES_##T) /* as many are there */ \
            soften_columns_##T(scores, keys, LANES_##T, top, sum, factor); \
        else \
            soften_columns_##T(scores, keys, queries, top, sum, factor); \
    } \
    static void attention_rescale_##T(void *rows_of, intptr_t x_row, intptr_t rows, intptr_t n, \
                                      const void *factors) { \
        T *x = rows_of; \
        const T *factor = factors; \
        for (intptr_t r = 0; r < rows; r++, x += x_row) { \
            if (factor[r] == 1) \
                continue; \
            for (intptr_t i = 0; i < n; i++) x[i] *= factor[r]; \
        } \
    } \
    static void attention_finish_##T(void *rows_of, intptr_t x_row, intptr_t rows, intptr_t n, \
                                     const void *tops, const double *sum, void *logarithms) { \
        T *x = rows_of, *lse = logarithms; \
        const T *top = tops; \
        for (intptr_t r = 0; r < rows; r++, x += x_row) { \
            T by = (T)(sum[r] == 0 ? 1 : 1 / sum[r]); \
            for (intptr_t i = 0; i < n; i++) x[i] *= by; \
            lse[r] = sum[r] == 0 ? -(T)INFINITY : (T)(log_f64(sum[r]) + top[r]); \
        } \
    }

#define ATTENTION_BACKWARD(T) \
    static void attention_weigh_##T(void *scores, intptr_t keys, intptr_t queries, \
                                    const void *logarithms) { \
        T *x = scores, shift[QUERIES]; \
        const T *lse = logarithms; \
        FOR_EACH_QUERY shift[i] = lse[i] == -(T)INFINITY ? 0 : lse[i]; \
        for (intptr_t j = 0; j < keys; j++, x += QUERIES) \
            FOR_EACH_QUERY x[i] = exp_##T(x[i] - shift[i]); \
    } \
    static void attention_change_##T(void *change, const void *weights, intptr_t keys, \
                                     intptr_t queries, const void *sums) { \
        T *d = change; \
        const T *w = weights, *delta = sums; \
        for (intptr_t j = 0; j < keys; j++, d += QUERIES, w += QUERIES) \
            FOR_EACH_QUERY d[i] = w[i] * (d[i] - delta[i]); \
    }

#define ATTENTION(T) \
    SHARE(T) ATTENTION_TURN(T) ATTENTION_DOTS(T) ATTENTION_MASKS(T) \
    ATTENTION_FORWARD(T) ATTENTION_BACKWARD(T)
ATTENTION(f32)
ATTENTION(f64)

#define ATTENTION_TABLE \
    {.turn = {attention_turn_f32, attention_turn_f64}, \
     .dots = {attention_dots_f32, attention_dots_f64}, \
     .scale = {attention_scale_f32, attention_scale_f64}, \
     .mask = {attention_mask_f32, attention_mask_f64}, \
     .hide = {attention_hide_f32, attention_hide_f64}, \
     .times = {attention_times_f32, attention_times_f64}, \
     .soften = {attention_soften_f32, attention_soften_f64}, \
     .rescale = {attention_rescale_f32, attention_rescale_f64}, \
     .finish = {attention_finish_f32, attention_finish_f64}, \
     .weigh = {attention_weigh_f32, attention_weigh_f64}, \
     .change = {attention_change_f32, attention_change_f64}}
