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

/* A vector of a line is joined from pieces: of each segment that falls into it, what meets the tap
   inside of the planes. A piece reads from where its vector would start; of every second element,
   from two vectors. As many slots for pieces are there to each vector as the fullest has. */
#define UNFOLD(T) \
    typedef struct { \
        intptr_t from; \
        part_##T low, high; \
    } Piece_##T; \
    /* Where segments lie: in slots, once for all taps; return the slots to a vector. */ \
    static intptr_t slots_##T(const Segment *segments, intptr_t count, intptr_t *slots, \
                              intptr_t *vectors) { \
        intptr_t most = 1, at = 0; \
        for (int round = 0; round < 2; round++) { \
            intptr_t *slot = slots, last = -1, held = 0; \
            at = 0; \
            for (const Segment *each = segments; each < segments + count; at += each++->count) \
                for (intptr_t v = at / LANES_##T; v * LANES_##T < at + each->count; v++) { \
                    held = v == last ? held + 1 : 0; \
                    last = v; \
                    most = larger(most, held + 1); \
                    *slot++ = v * most + held; \
                } \
        } \
        *vectors = cut_in(at, LANES_##T); \
        return most; \
    } \
    static void pieces_##T(const Reading *reading, const Tap *tap, const Segment *segments, \
                           intptr_t count, const intptr_t *slot, Piece_##T *pieces) { \
        const intptr_t *extent = reading->extent; \
        intptr_t step = reading->step[2], at = 0; \
        for (const Segment *each = segments; each < segments + count; at += each++->count) { \
            intptr_t y = each->at[0] * reading->step[0] + tap->offset[0]; \
            intptr_t x = each->at[1] * reading->step[1] + tap->offset[1]; \
            intptr_t z = each->at[2] * step + tap->offset[2], after = extent[2] - z; \
            int inside = y >= 0 && y < extent[0] && x >= 0 && x < extent[1]; \
            intptr_t first = z >= 0 ? 0 : step == 1 ? -z : (1 - z) >> 1; \
            intptr_t end = smaller(each->count, step == 1 ? after : (after + 1) >> 1); \
            intptr_t from = each->image * reading->image + (y * extent[1] + x) * extent[2] + z; \
            for (intptr_t start = at & -LANES_##T; start < at + each->count; start += LANES_##T) { \
                intptr_t low = larger(0, at + first - start), high = at + end - start; \
                high = inside ? smaller(LANES_##T, high) : 0; \
                int is = high > low; \
                intptr_t begin = is ? step * low : 0, past = is ? step * (high - 1) + 1 : 0; \
                pieces[*slot++] = (Piece_##T){ \
                    is ? from + (start - at) * step : 0, RANGE_##T(begin, past), \
                    RANGE_##T(begin - LANES_##T, past - LANES_##T)}; \
            } \
        } \
    } \
    static inline __attribute__((always_inline)) void lines_##T( \
        T *to, intptr_t to_channel, const T *from, intptr_t from_channel, intptr_t channels, \
        const Piece_##T *pieces, intptr_t most, intptr_t vectors, intptr_t step) { \
        for (; channels > 0; channels--, to += to_channel, from += from_channel) \
            for (intptr_t v = 0; v < vectors; v++) { \
                const Piece_##T *piece = pieces + v * most; \
                vec_##T all = SET_##T(0); \
                for (intptr_t k = 0; k < most; k++) { \
                    vec_##T x = LOAD_##T(from + piece[k].from, piece[k].low); \
                    if (step == 2) \
                        x = EVENS_##T(x, LOAD_##T(from + piece[k].from + LANES_##T, \
                                                  piece[k].high)); \
                    all = k ? OR_##T(all, x) : x; \
                } \
                PUT_##T(to + v * LANES_##T, all); \
            } \
    } \
    /* By single elements, of every third or farther. */ \
    static void elements_##T(T *to, intptr_t to_channel, const T *from, const Reading *reading, \
                             const Tap *tap, intptr_t channels, const Segment *segments, \
                             intptr_t count, intptr_t vectors) { \
        const intptr_t *extent = reading->extent; \
        intptr_t step = reading->step[2], at = 0; \
        for (intptr_t c = 0; c < channels; c++) \
            memset(to + c * to_channel, 0, (size_t)(vectors * LANES_##T) * sizeof(T)); \
        for (const Segment *each = segments; each < segments + count; at += each++->count) { \
            intptr_t y = each->at[0] * reading->step[0] + tap->offset[0]; \
            intptr_t x = each->at[1] * reading->step[1] + tap->offset[1]; \
            if (y < 0 || y >= extent[0] || x < 0 || x >= extent[1]) \
                continue; \
            intptr_t z = each->at[2] * step + tap->offset[2]; \
            const T *line = from + each->image * reading->image + (y * extent[1] + x) * extent[2]; \
            for (intptr_t c = 0; c < channels; c++, line += reading->volume) \
                for (intptr_t i = 0, place = z; i < each->count; i++, place += step) \
                    if (place >= 0 && place < extent[2]) \
                        to[c * to_channel + at + i] = line[place]; \
        } \
    } \
    static void unfold_##T(void *to, intptr_t to_tap, intptr_t to_channel, const void *from, \
                           const Reading *reading, const Tap *taps, intptr_t tap_count, \
                           intptr_t channels, const Segment *segments, intptr_t count) { \
        intptr_t slots[MOST_POSITIONS + MOST_POSITIONS / LANES_##T], vectors; \
        Piece_##T pieces[MOST_PIECES]; \
        intptr_t most = slots_##T(segments, count, slots, &vectors), step = reading->step[2]; \
        intptr_t apart = reading->volume; \
        for (intptr_t i = 0; i < most * vectors; i++) \
            pieces[i] = (Piece_##T){0, RANGE_##T(0, 0), RANGE_##T(0, 0)}; \
        for (const Tap *tap = taps; tap < taps + tap_count; tap++) { \
            T *line = (T *)to + (tap - taps) * to_tap; \
            if (step > 2) { \
                elements_##T(line, to_channel, from, reading, tap, channels, segments, count, \
                             vectors); \
                continue; \
            } \
            pieces_##T(reading, tap, segments, count, slots, pieces); \
            if (step == 2) \
                lines_##T(line, to_channel, from, apart, channels, pieces, most, vectors, 2); \
            else if (most == 1) \
                lines_##T(line, to_channel, from, apart, channels, pieces, 1, vectors, 1); \
            else if (most == 2) \
                lines_##T(line, to_channel, from, apart, channels, pieces, 2, vectors, 1); \
            else \
                lines_##T(line, to_channel, from, apart, channels, pieces, most, vectors, 1); \
        } \
    }

#define ADD_LINE(T) \
    static void fold_##T(void *to, const void *line, const Reading *reading, const Tap *tap, \
                         const Segment *segments, intptr_t count) { \
        const intptr_t *extent = reading->extent; \
        intptr_t step = reading->step[2]; \
        const T *from = line; \
        for (const Segment *each = segments; each < segments + count; from += each++->count) { \
            intptr_t y = each->at[0] * reading->step[0] + tap->offset[0]; \
            intptr_t x = each->at[1] * reading->step[1] + tap->offset[1]; \
            intptr_t z = each->at[2] * step + tap->offset[2], last = z + (each->count - 1) * step; \
            if (y < 0 || y >= extent[0] || x < 0 || x >= extent[1] || z >= extent[2]) \
                continue; \
            T *at = (T *)to + each->image * reading->image + (y * extent[1] + x) * extent[2] + z; \
            intptr_t i = z < 0 ? cut_in(-z, step) : 0, end = each->count; \
            if (last >= extent[2]) \
                end = (extent[2] - 1 - z) / step + 1; \
            if (step == 1) /* no masked vectors: loads would wait for a neighbour's store */ \
                INDEPENDENT for (; i < end; i++) \
                    at[i] += from[i]; \
            for (; i < end; i++) \
                at[i * step] += from[i]; \
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

PRODUCT_OF(f32) PRODUCT_OF(f64) UNFOLD(f32) UNFOLD(f64)
ADD_LINE(f32) ADD_LINE(f64) TURN(f32) TURN(f64)
#define CONVOLVER_TABLE \
    {TILE_ROWS, {2 * LANES_f32, 2 * LANES_f64}, {product_of_f32, product_of_f64}, \
     {unfold_f32, unfold_f64}, {fold_f32, fold_f64}, {turn_f32, turn_f64}}
