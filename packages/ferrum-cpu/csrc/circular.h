/* Sine and cosine. A loop leaves arguments of LARGE and more as they are, and then repairs them
   one by one: a sine is at most 1, so they can be told from results even in place. */

#define LARGE_f32 0x1p17f
#define LARGE_f64 0x1p30

/* The sine of the angle r and a multiple of right angles, `turns`, whose last two bits count.
   Both polynomials are for |r| <= pi / 4. */
static inline f32 turned_f32(f32 r, uint32_t turns) {
    f32 square = r * r;
    f32 p = POLY_2(f32, square, -0x1.555546p-3f, 0x1.110774p-7f, -0x1.9951fcp-13f);
    f32 q = POLY_2(f32, square, 0x1.55554ap-5f, -0x1.6c0c1ap-10f, 0x1.99e0eep-16f);
    f32 sine = square > 0 ? fma_f32(r * square, p, r) : r; /* -0 */
    f32 cosine = fma_f32(square * square, q, fma_f32(-0.5f, square, 1));
    f32 y = turns & 1 ? cosine : sine;
    return float_of(bits32(y) ^ (turns & 2) << 30);
}

/* The same of r + low; the cosine as in fdlibm, where 1 - square / 2 is not rounded. */
static inline f64 turned_f64(f64 r, f64 low, uint64_t turns) {
    f64 square = r * r, half = 0.5 * square, rest = 1 - half;
    f64 p = POLY_5(f64, square, -0x1.5555555555548p-3, 0x1.111111110f73p-7, -0x1.a01a019be9193p-13,
                   0x1.71de35551b31bp-19, -0x1.ae5e4b6f6bfp-26, 0x1.5d8b4d464b036p-33);
    f64 q = POLY_5(f64, square, 0x1.555555555554cp-5, -0x1.6c16c16c15214p-10, 0x1.a01a019cbd68fp-16,
                   -0x1.27e4f810bb932p-22, 0x1.1ee9efa6de2d6p-29, -0x1.8fb02daa30bd3p-37);
    f64 sine = r + fma_f64(r * square, p, fma_f64(-half, low, low));
    sine = square > 0 ? sine : r; /* -0 */
    f64 cosine = rest + fma_f64(square * square, q, ((1 - rest) - half) - r * low);
    f64 y = turns & 1 ? cosine : sine;
    return double_of(bits64(y) ^ (turns & 2) << 62);
}

/* x less its nearest multiple of pi / 2, which is in three parts (Cody and Waite), in float32 of
   one sign, so that -0 stays what it is. Taking away the first leaves no rounding: what is left has
   no more bits than a float. */
static inline f32 wave_f32(f32 x, uint32_t turns) {
    f32 shifted = fma_f32(x, 0x1.45f306p-1f, ROUNDER_f32), k = shifted - ROUNDER_f32;
    f32 r = fma_f32(-k, 0x1.921fb4p0f, x);
    r = fma_f32(-k, 0x1.846988p-48f, fma_f32(-k, 0x1.4442dp-24f, r));
    f32 y = turned_f32(r, bits32(shifted) + turns);
    return abs_f32(x) < LARGE_f32 ? y : x;
}

static inline f64 wave_f64(f64 x, uint64_t turns) {
    f64 shifted = fma_f64(x, 0x1.45f306dc9c883p-1, ROUNDER_f64), k = shifted - ROUNDER_f64;
    f64 first = residual_f64(k, 0x1.921fb54442d18p0, x), second = k * 0x1.1a62633145c07p-54;
    f64 r = first - second, part = r - first;
    f64 low = (first - (r - part)) - (second + part); /* what rounding took from r: Knuth */
    low -= product_rest_f64(k, 0x1.1a62633145c07p-54, second);
    low = fma_f64(-k, -0x1.f1976b7ed8fbcp-110, low);
    f64 y = turned_f64(r, low, bits64(shifted) + turns);
    return abs_f64(x) < LARGE_f64 ? y : x;
}

/* Any finite float64 from 2^-22 on, after Payne and Hanek, "Radian reduction for trigonometric
   functions", 1983. x = whole 2^exponent. Of 2 / pi only those bits matter that make less than 4
   turns with it, and 192 of them leave 139 below the point; floats come no nearer than 2^-62 to a
   multiple of pi / 2. */
static f64 large_wave(f64 x, uint64_t turns) {
    /* 2 / pi after 64 bits of zeros */
    static const uint64_t digits[] = {
        0,                  0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041,
        0xfe5163abdebbc561, 0xb7246e3a424dd2e0, 0x06492eea09d1921c, 0xfe1deb1cb129a73e,
        0xe88235f52ebb4484, 0xe99c7026b45f7e41, 0x3991d639835339f4, 0x9c845f8bbdf9283b,
        0x1ff897ffde05980f, 0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7, 0x4f463f669e5fea2d,
        0x7527bac7ebe5f17b, 0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab,
        0xf0cfbc209af4361d};
    uint64_t bits = bits64(x), window[3];
    int exponent = (int)(bits >> 52 & 2047) - 1075;
    if (exponent == 972) /* infinite or NaN */
        return NAN;
    uint64_t whole = (bits & 0xfffffffffffff) | 1ull << 52;
    int skip = exponent - 2 + 64, word = skip >> 6, shift = skip & 63;
    for (int i = 0; i < 3; i++)
        window[i] = digits[word + i] << shift | digits[word + i + 1] >> 1 >> (63 - shift);
    /* the high 128 of the low 192 bits of the product */
    unsigned __int128 product = (unsigned __int128)whole * window[1] +
                                ((unsigned __int128)whole * window[2] >> 64) +
                                ((unsigned __int128)(whole * window[0]) << 64);
    /* turns in the top two bits; the rest, signed, in units of 2^-127 turns */
    uint64_t quarters = (uint64_t)(product >> 126);
    __int128 part = (__int128)(product << 2) >> 1;
    quarters += part < 0;
    f64 high = (f64)part, left = (f64)(part - (__int128)high);
    f64 r = high * 0x1.921fb54442d18p0;
    f64 low = product_rest_f64(high, 0x1.921fb54442d18p0, r);
    low += fma_f64(high, 0x1.1a62633145c07p-54, left * 0x1.921fb54442d18p0);
    if (x < 0) /* sin(-x + q) = -sin(x - q) */
        quarters = -quarters, r = -r, low = -low;
    return turned_f64(r * 0x1p-127, low * 0x1p-127, quarters + turns);
}

#define CIRCULAR(T, WHOLE) \
    static void wave_all_##T(T *y, const T *x, intptr_t n, WHOLE turns) { \
        for (intptr_t done = 0, end; done < n; done = end) { \
            WHOLE large = 0; \
            end = smaller(n, done + TILE); \
            INDEPENDENT for (intptr_t i = done; i < end; i++) { \
                T a = x[i]; \
                large |= abs_##T(a) >= LARGE_##T; \
                y[i] = wave_##T(a, turns); \
            } \
            for (intptr_t i = large ? done : end; i < end; i++) \
                if (abs_##T(y[i]) >= LARGE_##T) \
                    y[i] = (T)large_wave(y[i], turns); \
        } \
    }
CIRCULAR(f32, uint32_t)
CIRCULAR(f64, uint64_t)
