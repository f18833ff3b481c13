/* The loops of pooling; see pooling_table.h. */

/* Vectors of 32 bytes, since a wider row would be longer than many planes are wide, and of 16 for
   narrower planes: the vectors V, of the type T and WHOLE numbers of its size. */
#define VECTORS(V, T, WHOLE, BYTES) \
    typedef T many_##V __attribute__((vector_size(BYTES))); \
    typedef T loose_##V __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias)); \
    typedef WHOLE where_##V __attribute__((vector_size(BYTES))); \
    typedef i64 index_##V __attribute__((vector_size(BYTES * 8 / sizeof(T)), aligned(8), \
                                         may_alias));
VECTORS(f32, f32, i32, 32) VECTORS(f64, f64, i64, 32)
VECTORS(half_f32, f32, i32, 16) VECTORS(half_f64, f64, i64, 16)
#define MANY_f32 8
#define MANY_f64 4
#define MANY_half_f32 4
#define MANY_half_f64 2
#define STEPS_f32 {0, 1, 2, 3, 4, 5, 6, 7}
#define STEPS_f64 {0, 1, 2, 3}
#define STEPS_half_f32 STEPS_f64
#define STEPS_half_f64 {0, 1}

#define FROM(V, p) ((many_##V)*(const loose_##V *)(p))
/* Every second of the elements from p on; what lies after the last of them is not read. */
#define SECOND_f32(p) \
    __builtin_shufflevector(FROM(f32, p), FROM(f32, (p) + 7), 0, 2, 4, 6, 9, 11, 13, 15)
#define SECOND_f64(p) __builtin_shufflevector(FROM(f64, p), FROM(f64, (p) + 3), 0, 2, 5, 7)
#define SECOND_half_f32(p) \
    __builtin_shufflevector(FROM(half_f32, p), FROM(half_f32, (p) + 3), 0, 2, 5, 7)
#define SECOND_half_f64(p) (many_half_f64){(p)[0], (p)[2]}
/* One in s of them. */
#define EACH_f32(p, s) \
    (many_f32){(p)[0], (p)[s], (p)[2 * (s)], (p)[3 * (s)], (p)[4 * (s)], (p)[5 * (s)], \
               (p)[6 * (s)], (p)[7 * (s)]}
#define EACH_f64(p, s) (many_f64){(p)[0], (p)[s], (p)[2 * (s)], (p)[3 * (s)]}
#define EACH_half_f32(p, s) (many_half_f32){(p)[0], (p)[s], (p)[2 * (s)], (p)[3 * (s)]}
#define EACH_half_f64(p, s) (many_half_f64){(p)[0], (p)[s]}

/* List where the lines start that the windows of a row of positions meet; return how many. */
static inline intptr_t list_lines(const Windows *w, intptr_t a, intptr_t b, intptr_t *lines) {
    const Axis *one = &w->axis[0], *two = &w->axis[1];
    intptr_t n = 0, width = w->axis[2].in;
    for (intptr_t i = 0; i < one->count[a]; i++)
        for (intptr_t k = 0; k < two->count[b]; k++)
            lines[n++] = ((one->first[a] + i * one->step) * two->in + two->first[b] +
                          k * two->step) * width;
    return n;
}

/* Positions o ... of a row, as many as a vector has, whose windows are whole. */
#define LARGEST_MANY(V, T, WHOLE) \
    static inline void largest_many_##V(const Axis *axis, const T *x, T *out, int64_t *index, \
                                        const intptr_t *lines, intptr_t n, intptr_t o) { \
        intptr_t start = o * axis->stride - axis->padding, s = axis->stride; \
        where_##V step = STEPS_##V, none = step - step, at = none + (WHOLE)lines[0]; \
        many_##V best = {0}; \
        best -= (T)INFINITY; \
        for (intptr_t i = 0; i < n; i++) \
            for (intptr_t k = 0; k < axis->kernel; k++) { \
                const T *p = x + start + lines[i] + k * axis->step; \
                many_##V v = s == 1 ? FROM(V, p) : s == 2 ? SECOND_##V(p) : EACH_##V(p, s); \
                where_##V take = (v > best) | (v != v); \
                where_##V here = none + (WHOLE)(lines[i] + k * axis->step); \
                best = (many_##V)(((where_##V)v & take) | ((where_##V)best & ~take)); \
                at = (here & take) | (at & ~take); \
            } \
        at += step * (WHOLE)s + (WHOLE)start; \
        *(loose_##V *)(out + o) = best; \
        *(index_##V *)(index + o) = __builtin_convertvector(at, index_##V); \
    }
LARGEST_MANY(f32, f32, i32) LARGEST_MANY(half_f32, f32, i32)
LARGEST_MANY(f64, f64, i64) LARGEST_MANY(half_f64, f64, i64)

#define LARGEST(T) \
    static inline void largest_one_##T(const Axis *axis, const T *x, T *out, int64_t *index, \
                                       const intptr_t *lines, intptr_t n, intptr_t o) { \
        intptr_t first = axis->first[o], count = axis->count[o], at = lines[0] + first; \
        T best = -(T)INFINITY; \
        for (intptr_t i = 0; i < n; i++) \
            for (intptr_t k = 0; k < count; k++) { \
                intptr_t here = lines[i] + first + k * axis->step; \
                T v = x[here]; \
                if (v > best || v != v) { \
                    best = v; \
                    at = here; \
                } \
            } \
        out[o] = best; \
        index[o] = at; \
    } \
    static void largest_##T(const Windows *w, const void *of_x, void *to, int64_t *index, \
                            intptr_t *lines) { \
        const Axis *axis = &w->axis[2]; \
        const T *x = of_x; \
        T *out = to; \
        intptr_t low = axis->low, high = axis->high; \
        int whole = high - low >= MANY_##T, half = high - low >= MANY_half_##T; \
        if (!half) \
            low = high = axis->out; \
        for (intptr_t a = 0; a < w->axis[0].out; a++) \
            for (intptr_t b = 0; b < w->axis[1].out; b++) { \
                intptr_t n = list_lines(w, a, b, lines), o = 0; \
                for (; o < low; o++) \
                    largest_one_##T(axis, x, out, index, lines, n, o); \
                for (; whole && o < high; o += MANY_##T) \
                    largest_many_##T(axis, x, out, index, lines, n, smaller(o, high - MANY_##T)); \
                for (; o < high; o += MANY_half_##T) \
                    largest_many_half_##T(axis, x, out, index, lines, n, \
                                          smaller(o, high - MANY_half_##T)); \
                for (o = high; o < axis->out; o++) \
                    largest_one_##T(axis, x, out, index, lines, n, o); \
                out += axis->out; \
                index += axis->out; \
            } \
    }

/* Add up the lanes of a vector. */
#define FOLD_f32(x) \
    x += __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3); \
    x += __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5); \
    x += __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6);
#define FOLD_f64(x) \
    x += __builtin_shufflevector(x, x, 2, 3, 0, 1); \
    x += __builtin_shufflevector(x, x, 1, 0, 3, 2);

#define MEANS(T) \
    static void plane_mean_##T(const void *of_x, void *to, intptr_t planes, intptr_t n, \
                          double divisor) { \
        const T *x = of_x; \
        T *out = to; \
        for (intptr_t plane = 0; plane < planes; plane++, x += n) { \
            many_##T one = {0}, two = {0}; \
            T rest = 0; \
            intptr_t i = 0; \
            for (; i + 2 * MANY_##T <= n; i += 2 * MANY_##T) { \
                one += FROM(T, x + i); \
                two += FROM(T, x + i + MANY_##T); \
            } \
            if (i + MANY_##T <= n) { \
                one += FROM(T, x + i); \
                i += MANY_##T; \
            } \
            for (; i < n; i++) rest += x[i]; \
            one += two; \
            FOLD_##T(one) \
            out[plane] = (one[0] + rest) / (T)divisor; \
        } \
    } \
    static void plane_fill_##T(const void *of_g, void *to, intptr_t planes, intptr_t n, \
                         double divisor) { \
        const T *g = of_g; \
        T *out = to; \
        for (intptr_t plane = 0; plane < planes; plane++, out += n) { \
            T each = g[plane] / (T)divisor; \
            INDEPENDENT for (intptr_t i = 0; i < n; i++) out[i] = each; \
        } \
    } \
    static inline T divisor_##T(const Windows *w, intptr_t a, intptr_t b, intptr_t o) { \
        T lines = (T)w->axis[0].share[a] * (T)w->axis[1].share[b]; \
        return w->divisor != 0 ? (T)w->divisor : lines * (T)w->axis[2].share[o]; \
    } \
    static void mean_##T(const Windows *w, const void *of_x, void *to, intptr_t *lines, \
                         void *room) { \
        const Axis *axis = &w->axis[2]; \
        const T *x = of_x; \
        T *out = to, *sums = room; \
        intptr_t width = axis->in; \
        for (intptr_t a = 0; a < w->axis[0].out; a++) \
            for (intptr_t b = 0; b < w->axis[1].out; b++, out += axis->out) { \
                intptr_t n = list_lines(w, a, b, lines); \
                const T *line = x + lines[0]; \
                for (intptr_t i = 1; i < n; i++) { \
                    const T *more = x + lines[i]; \
                    INDEPENDENT for (intptr_t j = 0; j < width; j++) sums[j] = line[j] + more[j]; \
                    line = sums; \
                } \
                for (intptr_t o = 0; o < axis->out; o++) { \
                    const T *p = line + axis->first[o]; \
                    T sum = *p; \
                    for (intptr_t k = 1; k < axis->count[o]; k++) sum += p[k * axis->step]; \
                    out[o] = sum / divisor_##T(w, a, b, o); \
                } \
            } \
    } \
    static void spread_##T(const Windows *w, const void *of_g, void *to, intptr_t *lines, \
                           void *room) { \
        const Axis *axis = &w->axis[2]; \
        const T *g = of_g; \
        T *out = to, *line = room; \
        intptr_t width = axis->in; \
        for (intptr_t a = 0; a < w->axis[0].out; a++) \
            for (intptr_t b = 0; b < w->axis[1].out; b++, g += axis->out) { \
                intptr_t n = list_lines(w, a, b, lines); \
                memset(line, 0, (size_t)width * sizeof(T)); \
                for (intptr_t o = 0; o < axis->out; o++) { \
                    T *p = line + axis->first[o], each = g[o] / divisor_##T(w, a, b, o); \
                    for (intptr_t k = 0; k < axis->count[o]; k++) p[k * axis->step] += each; \
                } \
                for (intptr_t i = 0; i < n; i++) { \
                    T *with = out + lines[i]; \
                    INDEPENDENT for (intptr_t j = 0; j < width; j++) with[j] += line[j]; \
                } \
            } \
    }

LARGEST(f32) LARGEST(f64) MEANS(f32) MEANS(f64)
#define POOLING_TABLE \
    {{largest_f32, largest_f64}, {mean_f32, mean_f64}, {spread_f32, spread_f64}, \
     {plane_mean_f32, plane_mean_f64}, {plane_fill_f32, plane_fill_f64}}
