/* The loops of resizing; see resizing_table.h. */

#if defined(__AVX512F__)
#define GATHERED_f32(x, p) _mm512_i32gather_ps(_mm512_loadu_si512(p), x, 4)
#define GATHERED_f64(x, p) _mm512_i32gather_pd(_mm256_loadu_si256((const __m256i *)(p)), x, 8)
#define SOME_f32(x, p) \
    _mm512_mask_i32gather_ps(_mm512_setzero_ps(), \
                             _mm512_movepi32_mask(_mm512_loadu_si512(p)) ^ 0xffff, \
                             _mm512_loadu_si512(p), x, 4)
#define SOME_f64(x, p) \
    _mm512_mask_i32gather_pd(_mm512_setzero_pd(), \
                             _mm256_movepi32_mask(_mm256_loadu_si256((const __m256i *)(p))) ^ \
                                 0xff, \
                             _mm256_loadu_si256((const __m256i *)(p)), x, 8)
#elif defined(__AVX2__)
#define INSIDE(p) \
    _mm256_cmpgt_epi32(_mm256_loadu_si256((const __m256i *)(p)), _mm256_set1_epi32(-1))
#define INSIDE_4(p) \
    _mm_cmpgt_epi32(_mm_loadu_si128((const __m128i *)(p)), _mm_set1_epi32(-1))
#define SOME_f32(x, p) \
    _mm256_mask_i32gather_ps(_mm256_setzero_ps(), x, _mm256_loadu_si256((const __m256i *)(p)), \
                             _mm256_castsi256_ps(INSIDE(p)), 4)
#define SOME_f64(x, p) \
    _mm256_mask_i32gather_pd(_mm256_setzero_pd(), x, _mm_loadu_si128((const __m128i *)(p)), \
                             _mm256_castsi256_pd(_mm256_cvtepi32_epi64(INSIDE_4(p))), 8)
#define GATHERED_f32(x, p) _mm256_i32gather_ps(x, _mm256_loadu_si256((const __m256i *)(p)), 4)
#define GATHERED_f64(x, p) _mm256_i32gather_pd(x, _mm_loadu_si128((const __m128i *)(p)), 8)
#endif

/* What is left behind the last whole vector takes the same steps. */
#ifdef GATHERED_f32
#define ALONG_VECTORS(T, GATHER) \
    part_##T all = PART_##T(LANES_##T); \
    for (; i + LANES_##T <= n; i += LANES_##T) { \
        vec_##T sum = SET_##T(0); \
        for (intptr_t t = 0; t < taps; t++) \
            sum = FMA_##T(LOAD_##T(w + t * n + i, all), GATHER##_##T(x, places + t * n + i), sum); \
        STORE_##T(y + i, all, sum); \
    }
#define PICK_VECTORS(T) \
    part_##T all = PART_##T(LANES_##T); \
    for (; i + LANES_##T <= n; i += LANES_##T) \
        STORE_##T(y + i, all, GATHERED_##T(x, places + i));
#define PRODUCTS_VECTORS(T) \
    part_##T all = PART_##T(LANES_##T); \
    for (; i + LANES_##T <= n; i += LANES_##T) \
        STORE_##T(y + i, all, FMA_##T(LOAD_##T(w + i, all), SOME_##T(x, places + i), \
                                      LOAD_##T(y + i, all)));
#else
#define ALONG_VECTORS(T, GATHER)
#define PICK_VECTORS(T)
#define PRODUCTS_VECTORS(T)
#endif

#define RESIZING(T) \
    static void resize_along_##T(void *out, const void *in, const int32_t *places, \
                                 const void *weights, intptr_t taps, intptr_t n) { \
        const T *x = in, *w = weights; \
        T *y = out; \
        intptr_t i = 0; \
        ALONG_VECTORS(T, GATHERED) \
        for (; i < n; i++) { \
            T sum = 0; \
            for (intptr_t t = 0; t < taps; t++) \
                sum = fma_##T(w[t * n + i], x[places[t * n + i]], sum); \
            y[i] = sum; \
        } \
    } \
    static void resize_some_##T(void *out, const void *in, const int32_t *places, \
                                const void *weights, intptr_t taps, intptr_t n) { \
        const T *x = in, *w = weights; \
        T *y = out; \
        intptr_t i = 0; \
        ALONG_VECTORS(T, SOME) \
        for (; i < n; i++) { \
            T sum = 0; \
            for (intptr_t t = 0; t < taps; t++) { \
                int32_t place = places[t * n + i]; \
                sum = fma_##T(w[t * n + i], place < 0 ? 0 : x[place], sum); \
            } \
            y[i] = sum; \
        } \
    } \
    static void resize_products_##T(void *sums, const void *in, const int32_t *places, \
                                    const void *of_out, intptr_t n) { \
        const T *x = in, *w = of_out; \
        T *y = sums; \
        intptr_t i = 0; \
        PRODUCTS_VECTORS(T) \
        for (; i < n; i++) \
            y[i] = fma_##T(w[i], places[i] < 0 ? 0 : x[places[i]], y[i]); \
    } \
    static void resize_across_##T(void *out, const void *const *rows, const void *weights, \
                           intptr_t taps, intptr_t n) { \
        const T *w = weights; \
        T *y = out; \
        part_##T all = PART_##T(LANES_##T); \
        intptr_t i = 0, lanes = LANES_##T; \
        for (; i + 2 * lanes <= n; i += 2 * lanes) { \
            vec_##T a = SET_##T(0), b = a; \
            for (intptr_t t = 0; t < taps; t++) { \
                const T *p = (const T *)rows[t] + i; \
                vec_##T weight = SET_##T(w[t]); \
                a = FMA_##T(weight, LOAD_##T(p, all), a); \
                b = FMA_##T(weight, LOAD_##T(p + lanes, all), b); \
            } \
            STORE_##T(y + i, all, a); \
            STORE_##T(y + i + lanes, all, b); \
        } \
        for (; i < n; i += lanes) { \
            part_##T part = PART_##T(smaller(lanes, n - i)); \
            vec_##T a = SET_##T(0); \
            for (intptr_t t = 0; t < taps; t++) \
                a = FMA_##T(SET_##T(w[t]), LOAD_##T((const T *)rows[t] + i, part), a); \
            STORE_##T(y + i, part, a); \
        } \
    } \
    static void resize_pick_##T(void *out, const void *in, const int32_t *places, intptr_t n) { \
        const T *x = in; \
        T *y = out; \
        intptr_t i = 0; \
        PICK_VECTORS(T) \
        for (; i < n; i++) \
            memcpy(y + i, x + places[i], sizeof(T)); \
    }

RESIZING(f32) RESIZING(f64)
#define RESIZING_TABLE {{resize_along_f32, resize_along_f64}, \
                        {resize_across_f32, resize_across_f64}, \
                        {resize_pick_f32, resize_pick_f64}, \
                        {resize_some_f32, resize_some_f64}, \
                        {resize_products_f32, resize_products_f64}}
