/* The loops of depthwise convolution; see convolution_table.h. They read planes where these lie:
   of a vector that reaches out of a row, the part inside is loaded, and the rest is 0. */

/* What of a vector of every `stride`th element, up to 2, lies inside: of elements one after the
   other from `start` on, in two halves. */
#define PICK(T) \
    typedef struct { \
        part_##T low, high; \
    } Inside_##T; \
    static inline __attribute__((always_inline)) Inside_##T inside_##T( \
        intptr_t start, intptr_t stride, intptr_t length, intptr_t count) { \
        intptr_t end = smaller(length, start + (count - 1) * stride + 1) - start; \
        return (Inside_##T){RANGE_##T(-start, end), \
                            RANGE_##T(-start - LANES_##T, end - LANES_##T)}; \
    } \
    static inline __attribute__((always_inline)) vec_##T pick_##T(const T *from, intptr_t stride, \
                                                                  Inside_##T inside) { \
        vec_##T x = LOAD_##T(from, inside.low); \
        if (stride == 1) \
            return x; \
        vec_##T y = LOAD_##T(from + LANES_##T, inside.high); \
        return EVENS_##T(x, y); \
    } \
    /* Elements start + stride i of a row, for i below `count`. */ \
    static inline __attribute__((always_inline)) vec_##T pick_any_##T( \
        const T *row, intptr_t length, intptr_t start, intptr_t stride, intptr_t count) { \
        if (stride <= 2) \
            return pick_##T(row + start, stride, inside_##T(start, stride, length, count)); \
        T each[LANES_##T]; \
        for (intptr_t i = 0, at = start; i < LANES_##T; i++, at += stride) \
            each[i] = i < count && at >= 0 && at < length ? row[at] : 0; \
        return WHOLE_##T(each); \
    }
#define UNROLLED _Pragma("GCC unroll 3")

/* `stride` is a constant where it is not that of the planes; `three` says that there is one plane,
   and a kernel of 3 x 3 without dilation. */
#define GATHER(T) \
    static inline __attribute__((always_inline)) void gather_with_##T( \
        const Planes *how, int three, intptr_t stride, const T *x, const T *weight, T first, \
        T *out) { \
        intptr_t height = three ? 3 : how->kernel[0], width = three ? 3 : how->kernel[1]; \
        intptr_t channels = three ? 1 : how->channels, dilation = three ? 1 : how->dilation[1]; \
        intptr_t columns = how->out[1], length = how->in[1]; \
        vec_##T factor[9]; \
        for (int k = 0; k < 9; k++) \
            factor[k] = SET_##T(three ? weight[k] : 0); \
        for (intptr_t column = 0; column < columns; column += LANES_##T) { \
            intptr_t count = smaller(LANES_##T, columns - column); \
            intptr_t start = column * stride - how->padding[1]; \
            Inside_##T inside[3]; \
            for (int j = 0; j < 3; j++) \
                inside[j] = inside_##T(start + j, stride, length, count); \
            for (intptr_t y = 0; y < how->out[0]; y++) { \
                vec_##T sum = SET_##T(first); \
                intptr_t top = y * how->stride[0] - how->padding[0]; \
                const T *plane = x, *kernel = weight; \
                for (intptr_t c = 0; c < channels; c++) { \
                    UNROLLED for (intptr_t i = 0; i < height; i++) { \
                        intptr_t row = top + i * how->dilation[0]; \
                        if (row < 0 || row >= how->in[0]) \
                            continue; \
                        const T *line = plane + row * length; \
                        UNROLLED for (intptr_t j = 0; j < width; j++) \
                            sum = three ? FMA_##T(factor[i * 3 + j], \
                                                  pick_##T(line + start + j, stride, inside[j]), \
                                                  sum) \
                                        : FMA_##T(SET_##T(kernel[i * width + j]), \
                                                  pick_any_##T(line, length, start + j * dilation, \
                                                               stride, count), sum); \
                    } \
                    plane += how->volume; \
                    kernel += height * width; \
                } \
                STORE_##T(out + y * columns + column, PART_##T(count), sum); \
            } \
        } \
    } \
    /* Four rows at a time: each inner row is read once, and few of them soon after an outer row \
       is written, which stalls where the two planes lie alike in their pages. */ \
    static void gather_four_##T(const Planes *how, const T *x, const T *weight, T first, T *out) { \
        intptr_t columns = how->out[1], length = how->in[1]; \
        vec_##T factor[9]; \
        for (int k = 0; k < 9; k++) \
            factor[k] = SET_##T(weight[k]); \
        for (intptr_t column = 0; column < columns; column += LANES_##T) { \
            intptr_t count = smaller(LANES_##T, columns - column); \
            intptr_t start = column - how->padding[1]; \
            part_##T part = PART_##T(count); \
            Inside_##T inside[3]; \
            for (int j = 0; j < 3; j++) \
                inside[j] = inside_##T(start + j, 1, length, count); \
            for (intptr_t y = 0; y < how->out[0]; y += 4) { \
                vec_##T a = SET_##T(first), b = a, c = a, d = a; \
                const T *line = x + (y - how->padding[0]) * length + start; \
                T *to = out + y * columns + column; \
                intptr_t row = y - how->padding[0], left = how->out[0] - y; \
                GATHER_ROW(T, 0, ADD_ROW(T, a, 0)) \
                GATHER_ROW(T, 1, ADD_ROW(T, a, 3) ADD_ROW(T, b, 0)) \
                GATHER_ROW(T, 2, ADD_ROW(T, a, 6) ADD_ROW(T, b, 3) ADD_ROW(T, c, 0)) \
                GATHER_ROW(T, 3, ADD_ROW(T, b, 6) ADD_ROW(T, c, 3) ADD_ROW(T, d, 0)) \
                GATHER_ROW(T, 4, ADD_ROW(T, c, 6) ADD_ROW(T, d, 3)) \
                GATHER_ROW(T, 5, ADD_ROW(T, d, 6)) \
                STORE_##T(to, part, a); \
                if (left > 1) STORE_##T(to + columns, part, b); \
                if (left > 2) STORE_##T(to + 2 * columns, part, c); \
                if (left > 3) STORE_##T(to + 3 * columns, part, d); \
            } \
        } \
    } \
    static void gather_##T(const Planes *how, const void *x, const void *weight, double first, \
                           void *out) { \
        int three = how->channels == 1 && how->kernel[0] == 3 && how->kernel[1] == 3 && \
                    how->dilation[1] == 1; \
        if (three && how->stride[1] == 1 && how->stride[0] == 1 && how->dilation[0] == 1) \
            gather_four_##T(how, x, weight, (T)first, out); \
        else if (three && how->stride[1] == 2) \
            gather_with_##T(how, 1, 2, x, weight, (T)first, out); \
        else if (how->stride[1] == 1) \
            gather_with_##T(how, 0, 1, x, weight, (T)first, out); \
        else \
            gather_with_##T(how, 0, how->stride[1], x, weight, (T)first, out); \
    }
#define GATHER_ROW(T, i, ADD) \
    if (row + i >= 0 && row + i < how->in[0]) { \
        vec_##T p = pick_##T(line + i * length, 1, inside[0]); \
        vec_##T q = pick_##T(line + i * length + 1, 1, inside[1]); \
        vec_##T r = pick_##T(line + i * length + 2, 1, inside[2]); \
        ADD \
    }
#define ADD_ROW(T, sum, k) \
    sum = FMA_##T(factor[k], p, sum); \
    sum = FMA_##T(factor[k + 1], q, sum); \
    sum = FMA_##T(factor[k + 2], r, sum);

/* The places that inner positions of a remainder meet along an axis. */
#define FEW 8
static intptr_t meet(const Planes *how, int axis, intptr_t remainder, intptr_t *found) {
    intptr_t count = 0;
    for (intptr_t k = 0; k < how->kernel[axis]; k++)
        if (how->remainder[axis][k] == remainder)
            found[count++] = k;
    return count;
}

/* For a stride of 2 the even columns, and the odd ones, are summed from outer ones that lie side by
   side; for another one it is an element at a time. */
#define SPREAD(T) \
    static void spread_##T(const Planes *how, const void *g, const void *weight, double bias, \
                           void *out) { \
        intptr_t length = how->in[1], stride = how->stride[1], columns[2][MOST_PLACES]; \
        intptr_t rows[MOST_PLACES], width = how->out[1]; \
        Inside_##T inside[2][FEW]; \
        for (intptr_t s = 0; s < smaller(how->stride[0], how->in[0]); s++) { \
            intptr_t height = meet(how, 0, s, rows), counts[2]; \
            for (intptr_t x = 0; x < length; x += stride == 2 ? 2 * LANES_##T : 1) { \
                for (int t = 0; t < 2; t++) { \
                    counts[t] = meet(how, 1, stride == 2 ? t : x % stride, columns[t]); \
                    for (intptr_t j = 0; j < smaller(counts[t], FEW); j++) \
                        inside[t][j] = inside_##T(x / stride + how->shift[1][columns[t][j]], 1, \
                                                  width, LANES_##T); \
                } \
                for (intptr_t y = 0, at = s; at < how->in[0]; y++, at += how->stride[0]) { \
                    vec_##T sum[2] = {SET_##T((T)bias), SET_##T((T)bias)}; \
                    T single = (T)bias, *to = (T *)out + at * length + x; \
                    for (intptr_t c = 0; c < how->channels * height; c++) { \
                        intptr_t i = rows[c % height], row = y + how->shift[0][i]; \
                        const T *line = (const T *)g + c / height * how->volume + row * width; \
                        const T *kernel = (const T *)weight + \
                                          (c / height * how->kernel[0] + i) * how->kernel[1]; \
                        if (row < 0 || row >= how->out[0]) \
                            continue; \
                        for (int t = 0; t < (stride == 2 ? 2 : 1); t++) \
                            for (intptr_t j = 0; j < counts[t]; j++) { \
                                intptr_t place = columns[t][j]; \
                                intptr_t from = x / stride + how->shift[1][place]; \
                                if (stride == 2) \
                                    sum[t] = FMA_##T( \
                                        SET_##T(kernel[place]), \
                                        j < FEW ? pick_##T(line + from, 1, inside[t][j]) \
                                                : pick_any_##T(line, width, from, 1, LANES_##T), \
                                        sum[t]); \
                                else if (from >= 0 && from < width) \
                                    single += kernel[place] * line[from]; \
                            } \
                    } \
                    if (stride != 2) { \
                        *to = single; \
                        continue; \
                    } \
                    intptr_t left = length - x; \
                    STORE_##T(to, PART_##T(smaller(left, LANES_##T)), FIRST_##T(sum[0], sum[1])); \
                    if (left > LANES_##T) \
                        STORE_##T(to + LANES_##T, \
                                  PART_##T(smaller(left - LANES_##T, LANES_##T)), \
                                  SECOND_##T(sum[0], sum[1])); \
                } \
            } \
        } \
    }

/* One row of a kernel of 3 x 3, whose sums are three variables. */
#define WEIGH_ROW(T, i, a, b, c) { \
        intptr_t row = y * how->stride[0] - how->padding[0] + i * how->dilation[0]; \
        const T *line = x + row * length + start; \
        if (row >= 0 && row < how->in[0]) { \
            a = FMA_##T(each, pick_##T(line, stride, inside[0]), a); \
            b = FMA_##T(each, pick_##T(line + 1, stride, inside[1]), b); \
            c = FMA_##T(each, pick_##T(line + 2, stride, inside[2]), c); \
        } \
    }

#define WEIGH(T) \
    static inline __attribute__((always_inline)) void weigh_three_##T( \
        const Planes *how, intptr_t stride, const T *x, const T *g, T *sums) { \
        intptr_t columns = how->out[1], length = how->in[1]; \
        vec_##T a = SET_##T(0), b = a, c = a, d = a, e = a, f = a, p = a, q = a, r = a; \
        for (intptr_t column = 0; column < columns; column += LANES_##T) { \
            intptr_t count = smaller(LANES_##T, columns - column); \
            intptr_t start = column * stride - how->padding[1]; \
            Inside_##T inside[3]; \
            for (int j = 0; j < 3; j++) \
                inside[j] = inside_##T(start + j, stride, length, count); \
            for (intptr_t y = 0; y < how->out[0]; y++) { \
                vec_##T each = LOAD_##T(g + y * columns + column, PART_##T(count)); \
                WEIGH_ROW(T, 0, a, b, c) \
                WEIGH_ROW(T, 1, d, e, f) \
                WEIGH_ROW(T, 2, p, q, r) \
            } \
        } \
        vec_##T all[9] = {a, b, c, d, e, f, p, q, r}; \
        for (int k = 0; k < 9; k++, sums += LANES_##T) \
            PUT_##T(sums, PLUS_##T(WHOLE_##T(sums), all[k])); \
    } \
    static void weigh_##T(const Planes *how, const void *x, const void *g, void *sums) { \
        if (how->kernel[0] == 3 && how->kernel[1] == 3 && how->dilation[1] == 1) { \
            if (how->stride[1] == 1) { \
                weigh_three_##T(how, 1, x, g, sums); \
                return; \
            } else if (how->stride[1] == 2) { \
                weigh_three_##T(how, 2, x, g, sums); \
                return; \
            } \
        } \
        intptr_t columns = how->out[1], length = how->in[1]; \
        for (intptr_t column = 0; column < columns; column += LANES_##T) \
            for (intptr_t y = 0; y < how->out[0]; y++) { \
                intptr_t count = smaller(LANES_##T, columns - column); \
                vec_##T each = LOAD_##T((const T *)g + y * columns + column, PART_##T(count)); \
                for (intptr_t i = 0; i < how->kernel[0]; i++) { \
                    intptr_t row = y * how->stride[0] - how->padding[0] + i * how->dilation[0]; \
                    T *place = (T *)sums + i * how->kernel[1] * LANES_##T; \
                    if (row < 0 || row >= how->in[0]) \
                        continue; \
                    for (intptr_t j = 0; j < how->kernel[1]; j++, place += LANES_##T) { \
                        vec_##T with = pick_any_##T( \
                            (const T *)x + row * length, length, \
                            column * how->stride[1] - how->padding[1] + j * how->dilation[1], \
                            how->stride[1], count); \
                        PUT_##T(place, FMA_##T(each, with, WHOLE_##T(place))); \
                    } \
                } \
            } \
    }

PICK(f32) PICK(f64) GATHER(f32) GATHER(f64) SPREAD(f32) SPREAD(f64) WEIGH(f32) WEIGH(f64)
#define DEPTHWISE_TABLE \
    {{gather_f32, gather_f64}, {spread_f32, spread_f64}, {weigh_f32, weigh_f64}, \
     {LANES_f32, LANES_f64}}
