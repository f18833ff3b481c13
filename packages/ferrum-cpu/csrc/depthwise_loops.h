/* The loops of depthwise convolution; see convolution_table.h. They read planes where these lie:
   of a vector that reaches out of a row, the part inside is loaded, and the rest is 0. */

#define PICK(T) \
    /* Elements start + stride i of a row, for i below `count`. */ \
    static inline __attribute__((always_inline)) vec_##T pick_##T( \
        const T *row, intptr_t length, intptr_t start, intptr_t stride, intptr_t count) { \
        intptr_t end = smaller(length, start + (count - 1) * stride + 1) - start; \
        if (stride <= 2) { \
            vec_##T x = LOAD_##T(row + start, RANGE_##T(-start, end)); \
            if (stride == 1) \
                return x; \
            vec_##T y = LOAD_##T(row + start + LANES_##T, \
                                 RANGE_##T(-start - LANES_##T, end - LANES_##T)); \
            return EVENS_##T(x, y); \
        } \
        T each[LANES_##T]; \
        for (intptr_t i = 0, at = start; i < LANES_##T; i++, at += stride) \
            each[i] = i < count && at >= 0 && at < length ? row[at] : 0; \
        return WHOLE_##T(each); \
    }

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
            for (intptr_t y = 0; y < how->out[0]; y++) { \
                vec_##T sum = SET_##T(first); \
                intptr_t top = y * how->stride[0] - how->padding[0]; \
                const T *plane = x, *kernel = weight; \
                for (intptr_t c = 0; c < channels; c++) { \
                    for (intptr_t i = 0; i < height; i++) { \
                        intptr_t row = top + i * how->dilation[0]; \
                        if (row < 0 || row >= how->in[0]) \
                            continue; \
                        for (intptr_t j = 0; j < width; j++) { \
                            vec_##T each = three ? factor[i * 3 + j] \
                                                 : SET_##T(kernel[i * width + j]); \
                            sum = FMA_##T(each, pick_##T(plane + row * length, length, \
                                                         start + j * dilation, stride, count), \
                                          sum); \
                        } \
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

/* Every second column at a time, of which each is summed from outer ones side by side; for other
   strides an element at a time. */
#define SPREAD(T) \
    static inline __attribute__((always_inline)) void spread_row_##T( \
        const Planes *how, intptr_t y, const T *g, const T *weight, T first, T *out) { \
        intptr_t columns = how->in[1], length = how->out[1], stride = how->stride[1]; \
        intptr_t height = how->kernel[0], width = how->kernel[1]; \
        intptr_t many = stride == 2 ? LANES_##T : 1; \
        for (intptr_t column = 0; column < columns; column += stride * many) { \
            vec_##T sums[2] = {SET_##T(first), SET_##T(first)}; \
            T single[1] = {first}; \
            for (intptr_t phase = 0; phase < stride && column + phase < columns; phase++) { \
                single[0] = first; \
                for (intptr_t i = 0; i < height; i++) { \
                    intptr_t row = y + how->padding[0] - i * how->dilation[0]; \
                    if (row % how->stride[0] || row < 0 || row / how->stride[0] >= how->out[0]) \
                        continue; \
                    row = row / how->stride[0] * length; \
                    for (intptr_t j = 0; j < width; j++) { \
                        intptr_t at = column + phase + how->padding[1] - j * how->dilation[1]; \
                        if (at % stride) \
                            continue; \
                        at /= stride; \
                        for (intptr_t c = 0; c < how->channels; c++) { \
                            T factor = weight[(c * height + i) * width + j]; \
                            const T *line = g + c * how->volume + row; \
                            if (stride == 2) \
                                sums[phase] = FMA_##T(SET_##T(factor), \
                                                      pick_##T(line, length, at, 1, LANES_##T), \
                                                      sums[phase]); \
                            else if (at >= 0 && at < length) \
                                single[0] += factor * line[at]; \
                        } \
                    } \
                } \
                if (stride != 2) \
                    out[column + phase] = single[0]; \
            } \
            if (stride == 2) { \
                intptr_t left = columns - column; \
                STORE_##T(out + column, PART_##T(smaller(left, LANES_##T)), \
                          FIRST_##T(sums[0], sums[1])); \
                if (left > LANES_##T) \
                    STORE_##T(out + column + LANES_##T, \
                              PART_##T(smaller(left - LANES_##T, LANES_##T)), \
                              SECOND_##T(sums[0], sums[1])); \
            } \
        } \
    } \
    static void spread_##T(const Planes *how, const void *g, const void *weight, double first, \
                           void *out) { \
        for (intptr_t y = 0; y < how->in[0]; y++) \
            spread_row_##T(how, y, g, weight, (T)first, (T *)out + y * how->in[1]); \
    }

#define WEIGH(T) \
    static inline __attribute__((always_inline)) void weigh_with_##T( \
        const Planes *how, int three, intptr_t stride, const T *x, const T *g, T *sums) { \
        intptr_t height = three ? 3 : how->kernel[0], width = three ? 3 : how->kernel[1]; \
        intptr_t columns = how->out[1], length = how->in[1]; \
        vec_##T sum[9]; \
        for (int k = 0; k < 9; k++) \
            sum[k] = three ? WHOLE_##T(sums + k * LANES_##T) : SET_##T(0); \
        for (intptr_t column = 0; column < columns; column += LANES_##T) { \
            intptr_t count = smaller(LANES_##T, columns - column); \
            intptr_t start = column * stride - how->padding[1]; \
            for (intptr_t y = 0; y < how->out[0]; y++) { \
                vec_##T each = LOAD_##T(g + y * columns + column, PART_##T(count)); \
                for (intptr_t i = 0; i < height; i++) { \
                    intptr_t row = y * how->stride[0] - how->padding[0] + i * how->dilation[0]; \
                    if (row < 0 || row >= how->in[0]) \
                        continue; \
                    for (intptr_t j = 0; j < width; j++) { \
                        T *place = sums + (i * width + j) * LANES_##T; \
                        vec_##T with = pick_##T(x + row * length, length, \
                                                start + j * how->dilation[1], stride, count); \
                        if (three) \
                            sum[i * 3 + j] = FMA_##T(each, with, sum[i * 3 + j]); \
                        else \
                            PUT_##T(place, FMA_##T(each, with, WHOLE_##T(place))); \
                    } \
                } \
            } \
        } \
        for (int k = 0; three && k < 9; k++) \
            PUT_##T(sums + k * LANES_##T, sum[k]); \
    } \
    static void weigh_##T(const Planes *how, const void *x, const void *g, void *sums) { \
        int three = how->kernel[0] == 3 && how->kernel[1] == 3; \
        if (three && how->stride[1] == 1) \
            weigh_with_##T(how, 1, 1, x, g, sums); \
        else if (three && how->stride[1] == 2) \
            weigh_with_##T(how, 1, 2, x, g, sums); \
        else \
            weigh_with_##T(how, 0, how->stride[1], x, g, sums); \
    }

PICK(f32) PICK(f64) GATHER(f32) GATHER(f64) SPREAD(f32) SPREAD(f64) WEIGH(f32) WEIGH(f64)
#define DEPTHWISE_TABLE \
    {{gather_f32, gather_f64}, {spread_f32, spread_f64}, {weigh_f32, weigh_f64}, \
     {LANES_f32, LANES_f64}}
