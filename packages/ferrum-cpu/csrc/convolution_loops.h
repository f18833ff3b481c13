/* The loops of convolution; see convolution_table.h. */

/* Rows of a tile that leave registers for a line of one operand and an element of the other. */
#if defined(__AVX512F__)
#define TILE_ROWS 14
#define WIDE_ROWS(CASE) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
#else
#define TILE_ROWS 6
#define WIDE_ROWS(CASE)
#endif
#define ALL_ROWS(CASE) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) WIDE_ROWS(CASE)

/* `rows` and `vectors`, 1 or 2, are constants where this is inlined; the last vector is a part. */
#define PRODUCT_OF(T) \
    static inline __attribute__((always_inline)) void tile_##T( \
        int rows, int vectors, const T *a, intptr_t group, const T *b, T *out, intptr_t lead, \
        intptr_t k, part_##T part, const T *bias, int more) { \
        vec_##T sum[TILE_ROWS][2]; \
        for (int r = 0; r < rows; r++) \
            if (more) { \
                sum[r][vectors - 1] = LOAD_##T(out + r * lead + (vectors - 1) * LANES_##T, part); \
                if (vectors > 1) \
                    sum[r][0] = WHOLE_##T(out + r * lead); \
            } else { \
                sum[r][0] = sum[r][vectors - 1] = SET_##T(bias ? bias[r] : 0); \
            } \
        for (; k > 0; k -= GROUP, a += group) \
            for (intptr_t j = 0, some = smaller(k, GROUP); j < some; j++, b += 2 * LANES_##T) { \
                vec_##T x = WHOLE_##T(b), y = vectors > 1 ? WHOLE_##T(b + LANES_##T) : x; \
                for (int r = 0; r < rows; r++) { \
                    vec_##T factor = SET_##T(a[r * GROUP + j]); \
                    sum[r][0] = FMA_##T(factor, x, sum[r][0]); \
                    if (vectors > 1) \
                        sum[r][1] = FMA_##T(factor, y, sum[r][1]); \
                } \
            } \
        for (int r = 0; r < rows; r++) { \
            STORE_##T(out + r * lead + (vectors - 1) * LANES_##T, part, sum[r][vectors - 1]); \
            if (vectors > 1) \
                PUT_##T(out + r * lead, sum[r][0]); \
        } \
    } \
    static void product_of_##T(const void *a, intptr_t spacing, const void *b, void *out, \
                               intptr_t lead, int rows, intptr_t columns, intptr_t k, \
                               const void *bias, int more) { \
        if (columns > LANES_##T) { \
            part_##T part = PART_##T(columns - LANES_##T); \
            switch (rows) { ALL_ROWS(TWO_##T) } \
        } else { \
            part_##T part = PART_##T(columns); \
            switch (rows) { ALL_ROWS(ONE_##T) } \
        } \
    }
#define ROWS_CASE(T, R, V) \
    case R: tile_##T(R, V, a, spacing * GROUP, b, out, lead, k, part, bias, more); return;
#define ONE_f32(R) ROWS_CASE(f32, R, 1)
#define TWO_f32(R) ROWS_CASE(f32, R, 2)
#define ONE_f64(R) ROWS_CASE(f64, R, 1)
#define TWO_f64(R) ROWS_CASE(f64, R, 2)

/* A vector of a line is joined from pieces of the runs that fall into it. A piece reads from where
   its vector would start; of every second element, from two vectors. */
#define UNFOLD(T) \
    typedef struct { \
        intptr_t vector, from; \
        part_##T low, high; \
    } Piece_##T; \
    static inline __attribute__((always_inline)) void pieces_##T( \
        T *to, intptr_t to_channel, const T *from, intptr_t from_channel, intptr_t channels, \
        const Piece_##T *pieces, intptr_t count, intptr_t step, intptr_t vectors) { \
        for (; channels > 0; channels--, to += to_channel, from += from_channel) { \
            const Piece_##T *piece = pieces; \
            for (intptr_t v = 0; v < vectors; v++) { \
                vec_##T all = SET_##T(0); \
                for (; piece < pieces + count && piece->vector == v; piece++) { \
                    vec_##T x = LOAD_##T(from + piece->from, piece->low); \
                    if (step == 2) \
                        x = EVENS_##T(x, LOAD_##T(from + piece->from + LANES_##T, piece->high)); \
                    all = OR_##T(all, x); \
                } \
                PUT_##T(to + v * LANES_##T, all); \
            } \
        } \
    } \
    /* Lines of one run. Of every second element, nothing is read past the last one. */ \
    static void whole_##T(T *to, intptr_t to_channel, const T *from, intptr_t from_channel, \
                          intptr_t channels, intptr_t step, intptr_t vectors) { \
        part_##T high = PART_##T(LANES_##T - 1); \
        for (; channels > 0; channels--, to += to_channel, from += from_channel) \
            for (intptr_t i = 0; i < vectors * LANES_##T; i += LANES_##T) \
                if (step == 1) \
                    PUT_##T(to + i, WHOLE_##T(from + i)); \
                else \
                    PUT_##T(to + i, EVENS_##T(WHOLE_##T(from + 2 * i), \
                                              LOAD_##T(from + 2 * i + LANES_##T, high))); \
    } \
    static void unfold_##T(void *to, intptr_t to_channel, const void *from, intptr_t from_channel, \
                           intptr_t channels, const Run *runs, intptr_t count, intptr_t step, \
                           intptr_t width) { \
        Piece_##T pieces[MOST_POSITIONS + MOST_POSITIONS / LANES_##T]; \
        intptr_t found = 0, vectors = (width + LANES_##T - 1) / LANES_##T; \
        if (count == 1 && runs->count == width && step <= 2 && width % LANES_##T == 0) { \
            whole_##T(to, to_channel, (const T *)from + runs->from, from_channel, channels, step, \
                      vectors); \
            return; \
        } \
        for (const Run *run = runs; run < runs + count && step <= 2; run++) \
            for (intptr_t v = run->to / LANES_##T; v * LANES_##T < run->to + run->count; v++) { \
                intptr_t first = larger(0, run->to - v * LANES_##T); \
                intptr_t end = smaller(LANES_##T, run->to + run->count - v * LANES_##T); \
                intptr_t last = step * (end - 1) + 1; \
                pieces[found++] = (Piece_##T){ \
                    v, run->from + (v * LANES_##T - run->to) * step, \
                    RANGE_##T(step * first, last), \
                    RANGE_##T(step * first - LANES_##T, last - LANES_##T)}; \
            } \
        if (step == 1) \
            pieces_##T(to, to_channel, from, from_channel, channels, pieces, found, 1, vectors); \
        else if (step == 2) \
            pieces_##T(to, to_channel, from, from_channel, channels, pieces, found, 2, vectors); \
        else \
            for (intptr_t c = 0; c < channels; c++) { \
                T *y = (T *)to + c * to_channel; \
                for (intptr_t v = 0; v < vectors; v++) \
                    PUT_##T(y + v * LANES_##T, SET_##T(0)); \
                for (const Run *run = runs; run < runs + count; run++) \
                    for (intptr_t i = 0, at = c * from_channel + run->from; i < run->count; i++) \
                        y[run->to + i] = ((const T *)from)[at + i * step]; \
            } \
    }

/* A square of lines is transposed as often as its side can be halved: each time what lies where in
   it, as a number in bits, moves by one. */
#define TURN(T) \
    static void turn_##T(void *to, const void *from, intptr_t lead, intptr_t n) { \
        enum { side = LANES_##T, half = (LANES_##T + 1) / 2 }; \
        for (int which = 0; which < 2; which++) \
            for (intptr_t i = 0; i < n; i += side) { \
                const T *x = (const T *)from + which * side * lead + i; \
                T *y = (T *)to + i * 2 * side + which * side; \
                vec_##T have[side], next[side + 1]; \
                for (int j = 0; j < side; j++) \
                    have[j] = WHOLE_##T(x + j * lead); \
                for (int left = side; left > 1; left /= 2) { \
                    for (int j = 0; j < half; j++) { \
                        next[2 * j] = FIRST_##T(have[j], have[(j + half) % side]); \
                        next[2 * j + 1] = SECOND_##T(have[j], have[(j + half) % side]); \
                    } \
                    for (int j = 0; j < side; j++) \
                        have[j] = next[j]; \
                } \
                intptr_t some = smaller(side, n - i); \
                for (int j = 0; j < side; j++) \
                    if (j < some) \
                        PUT_##T(y + j * 2 * side, have[j]); \
            } \
    }

PRODUCT_OF(f32) PRODUCT_OF(f64) UNFOLD(f32) UNFOLD(f64) TURN(f32) TURN(f64)
#define CONVOLVER_TABLE \
    {TILE_ROWS, {2 * LANES_f32, 2 * LANES_f64}, {product_of_f32, product_of_f64}, \
     {unfold_f32, unfold_f64}, {turn_f32, turn_f64}}
