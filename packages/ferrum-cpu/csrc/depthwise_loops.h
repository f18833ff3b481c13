/* The loops of depthwise convolution; see convolution_table.h. They read planes where these lie:
   of a vector that reaches out of a row, the part inside is loaded, and the rest is 0. */

/* What of a vector of every `stride`th element, up to 2, lies inside: of elements one after the other
   from `start` on, in two halves. */
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
    static void gather_##T(const Planes *how, const void *x, const void *weight, double first, \
                           void *out) { \
        int three = how->channels == 1 && how->kernel[0] == 3 && how->kernel[1] == 3 && \
                    how->dilation[1] == 1; \
        if (three && how->stride[1] == 1) \
            gather_with_##T(how, 1, 1, x, weight, (T)first, out); \
        else if (three && how->stride[1] == 2) \
            gather_with_##T(how, 1, 2, x, weight, (T)first, out); \
        else if (how->stride[1] == 1) \
            gather_with_##T(how, 0, 1, x, weight, (T)first, out); \
        else \
            gather_with_##T(how, 0, how->stride[1], x, weight, (T)first, out); \
    }

/* For a stride of 2 the even columns, and the odd ones, are summed from outer ones that lie side by
   side; for another one it is an element at a time. */
#define SPREAD(T) \
    static inline __attribute__((always_inline)) vec_##T met_##T( \
        const Planes *how, const intptr_t *first, intptr_t y, intptr_t x, int vector, const T *g, \
        const T *weight, T bias) { \
        intptr_t length = how->out[1]; \
        vec_##T sum = SET_##T(bias); \
        T single = bias; \
        for (intptr_t c = 0; c < how->channels; c++, g += how->volume) \
            for (intptr_t i = 0; i < how->kernel[0]; i++) { \
                intptr_t row = y + how->shift[0][i]; \
                const T *kernel = weight + (c * how->kernel[0] + i) * how->kernel[1]; \
                if (how->remainder[0][i] != first[0] || row < 0 || row >= how->out[0]) \
                    continue; \
                for (intptr_t j = 0; j < how->kernel[1]; j++) { \
                    intptr_t at = x + how->shift[1][j]; \
                    if (how->remainder[1][j] != first[1]) \
                        continue; \
                    if (vector) \
                        sum = FMA_##T(SET_##T(kernel[j]), \
                                      pick_any_##T(g + row * length, length, at, 1, LANES_##T), \
                                      sum); \
                    else if (at >= 0 && at < length) \
                        single += kernel[j] * g[row * length + at]; \
                } \
            } \
        return vector ? sum : SET_##T(single); \
    } \
    static void spread_##T(const Planes *how, const void *g, const void *weight, double bias, \
                           void *out) { \
        intptr_t length = how->in[1], stride = how->stride[1], first[2], odd[2]; \
        for (first[0] = 0; first[0] < smaller(how->stride[0], how->in[0]); first[0]++) \
            for (intptr_t y = 0, at = first[0]; at < how->in[0]; y++, at += how->stride[0]) { \
                T *to = (T *)out + at * length; \
                if (stride != 2) { \
                    for (intptr_t x = 0; x < length; x++) { \
                        first[1] = x % stride; \
                        STORE_##T(to + x, PART_##T(1), \
                                  met_##T(how, first, y, x / stride, 0, g, weight, (T)bias)); \
                    } \
                    continue; \
                } \
                odd[0] = first[0]; \
                odd[1] = 1; \
                first[1] = 0; \
                for (intptr_t x = 0; 2 * x < length; x += LANES_##T) { \
                    intptr_t left = length - 2 * x; \
                    vec_##T a = met_##T(how, first, y, x, 1, g, weight, (T)bias); \
                    vec_##T b = met_##T(how, odd, y, x, 1, g, weight, (T)bias); \
                    STORE_##T(to + 2 * x, PART_##T(smaller(left, LANES_##T)), FIRST_##T(a, b)); \
                    if (left > LANES_##T) \
                        STORE_##T(to + 2 * x + LANES_##T, \
                                  PART_##T(smaller(left - LANES_##T, LANES_##T)), \
                                  SECOND_##T(a, b)); \
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
