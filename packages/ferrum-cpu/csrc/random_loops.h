/* The loops of random numbers: ferrum.philox says what they compute, to the bit. */

/* Philox in vectors as wide as the instruction set's. Words sit in 64-bit lanes, so that one
   product gives both halves; what is above their 32 bits is masked only where it would show. GCC
   does not find the 32-bit product in plain C, so it is named. */
#include <immintrin.h>

#if defined(__AVX512F__)
#define WORDS 8
#define COUNT ((Words){0, 1, 2, 3, 4, 5, 6, 7})
#define PRODUCT(a, b) (Words) _mm512_mul_epu32((__m512i)(a), (__m512i)(b))
#define FRONT(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define BACK(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif defined(__AVX2__)
#define WORDS 4
#define COUNT ((Words){0, 1, 2, 3})
#define PRODUCT(a, b) (Words) _mm256_mul_epu32((__m256i)(a), (__m256i)(b))
#define FRONT(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define BACK(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#else
#define WORDS 2
#define COUNT ((Words){0, 1})
#define PRODUCT(a, b) (Words) _mm_mul_epu32((__m128i)(a), (__m128i)(b))
#define FRONT(a, b) __builtin_shufflevector(a, b, 0, 2)
#define BACK(a, b) __builtin_shufflevector(a, b, 1, 3)
#endif
typedef uint64_t Words __attribute__((vector_size(8 * WORDS)));

/* Vectors side by side: a product takes several cycles, and another one can start in each. */
#define SIDE 4

static void random_blocks(uint64_t *out, uint64_t first, intptr_t count, uint64_t seed,
                          uint64_t offset) {
    const Words low = (Words){0} + 0xffffffff;
    const Words by0 = (Words){0} + 0xD2511F53, by1 = (Words){0} + 0xCD9E8D57;
    for (intptr_t start = 0; start < count; start += SIDE * WORDS) {
        Words a[SIDE], b[SIDE], c[SIDE], d[SIDE];
        uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
        for (int j = 0; j < SIDE; j++) {
            a[j] = COUNT + (first + (uint64_t)(start + j * WORDS));
            b[j] = a[j] >> 32;
            c[j] = (Words){0} + (offset & 0xffffffff);
            d[j] = (Words){0} + (offset >> 32);
        }
        for (int round = 0; round < 10; round++) {
            const Words key0 = (Words){0} + k0, key1 = (Words){0} + k1;
#pragma GCC unroll 4
            for (int j = 0; j < SIDE; j++) {
                Words product0 = PRODUCT(a[j], by0), product1 = PRODUCT(c[j], by1);
                a[j] = product1 >> 32 ^ b[j] ^ key0;
                b[j] = product1;
                c[j] = product0 >> 32 ^ d[j] ^ key1;
                d[j] = product0;
            }
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        uint64_t *to = out + 2 * start;
#pragma GCC unroll 4
        for (int j = 0; j < SIDE; j++, to += 2 * WORDS) {
            Words draw0 = (a[j] & low) | b[j] << 32, draw1 = (c[j] & low) | d[j] << 32;
            Words front = FRONT(draw0, draw1), back = BACK(draw0, draw1);
            memcpy(to, &front, sizeof front);
            memcpy(to + WORDS, &back, sizeof back);
        }
    }
}

static void random_uniform32(float *out, const uint32_t *draws, intptr_t n, int precision) {
    float scale = float_of((uint32_t)(127 - precision) << 23);
    int shift = 32 - precision;
    for (intptr_t i = 0; i < n; i++)
        out[i] = (float)(int32_t)(draws[i] >> shift) * scale;
}

static void random_uniform64(double *out, const uint64_t *draws, intptr_t n) {
    for (intptr_t i = 0; i < n; i++)
        out[i] = (double)(int64_t)(draws[i] >> 11) * 0x1p-53;
}

static void random_whole(int64_t *out, const uint64_t *draws, intptr_t n, uint64_t start,
                         uint64_t span) {
    if ((span & (span - 1)) == 0) {
        for (intptr_t i = 0; i < n; i++)
            out[i] = (int64_t)((draws[i] & (span - 1)) + start);
        return;
    }
    /* The quotient by way of the reciprocal is right, or one too small. */
    uint64_t reciprocal = UINT64_MAX / span;
    for (intptr_t i = 0; i < n; i++) {
        uint64_t quotient = (uint64_t)((unsigned __int128)draws[i] * reciprocal >> 64);
        uint64_t rest = draws[i] - quotient * span;
        out[i] = (int64_t)((rest >= span ? rest - span : rest) + start);
    }
}

/* ---- the normal law: Wichura's PPND16 */

#define HORNER(x, c) \
    (((((((c[0] * x + c[1]) * x + c[2]) * x + c[3]) * x + c[4]) * x + c[5]) * x + c[6]) * x + c[7])

static const double CENTRE_P[] = {
    2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
    4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
    1.3314166789178437745e2, 3.3871328727963666080e0};
static const double CENTRE_Q[] = {
    5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
    2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
    4.2313330701600911252e1, 1.0};
static const double TAIL_P[] = {
    7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
    1.27045825245236838258e0,  3.64784832476320460504e0,  5.76949722146069140550e0,
    4.63033784615654529590e0,  1.42343711074968357734e0};
static const double TAIL_Q[] = {
    1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
    1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
    2.05319162663775882187e0,  1.0};
static const double FAR_P[] = {
    2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
    2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
    5.46378491116411436990e0,  6.65790464350110377720e0};
static const double FAR_Q[] = {
    2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
    7.86869131145613259100e-4,  1.48753612908506148525e-2, 1.36929880922735805310e-1,
    5.99832206555887937690e-1,  1.0};

static inline double log_of_normal(double x) {
    int64_t bits;
    memcpy(&bits, &x, 8);
    int64_t exponent = (bits - 0x3FE6A09E667F3BCD) >> 52;
    bits -= (int64_t)((uint64_t)exponent << 52);
    double m;
    memcpy(&m, &bits, 8);
    double f = (m - 1.0) / (m + 1.0), s = f * f, t = 1.0 / 19;
    t = t * s + 1.0 / 17;
    t = t * s + 1.0 / 15;
    t = t * s + 1.0 / 13;
    t = t * s + 1.0 / 11;
    t = t * s + 1.0 / 9;
    t = t * s + 1.0 / 7;
    t = t * s + 1.0 / 5;
    t = t * s + 1.0 / 3;
    t = t * s + 1.0;
    return (double)exponent * 0.6931471805599453 + (f + f) * t;
}

/* The centre is computed for all; then the seventh that lies in the tails, packed, once more. */
static void random_normal(double *out, const uint64_t *draws, intptr_t n) {
    double side[TILE], tail[TILE];
    int32_t where[TILE + 1];
    intptr_t tails = 0;
    int far = 0;
    for (intptr_t i = 0; i < n; i++) {
        double q = ((double)((int64_t)(draws[i] >> 11) - ((int64_t)1 << 52)) + 0.5) * 0x1p-53;
        double r = 0.180625 - q * q;
        side[i] = q;
        out[i] = HORNER(r, CENTRE_P) * q / HORNER(r, CENTRE_Q);
    }
    for (intptr_t i = 0; i < n; i++) {
        where[tails] = (int32_t)i;
        tails += __builtin_fabs(side[i]) > 0.425;
    }
    for (intptr_t i = 0; i < tails; i++)
        tail[i] = side[where[i]];
    for (intptr_t i = 0; i < tails; i++) {
        double r = __builtin_sqrt(-log_of_normal(0.5 - __builtin_fabs(tail[i]))), near = r - 1.6;
        side[i] = r;
        tail[i] = __builtin_copysign(HORNER(near, TAIL_P) / HORNER(near, TAIL_Q), tail[i]);
    }
    for (intptr_t i = 0; i < tails; i++)
        far |= side[i] > 5;
    for (intptr_t i = 0; i < tails && far; i++) /* once in 10¹¹ draws */
        if (side[i] > 5) {
            double r = side[i] - 5;
            tail[i] = __builtin_copysign(HORNER(r, FAR_P) / HORNER(r, FAR_Q), tail[i]);
        }
    for (intptr_t i = 0; i < tails; i++)
        out[where[i]] = tail[i];
}

#define RANDOM_TABLE \
    {.blocks = random_blocks, .uniform32 = random_uniform32, .uniform64 = random_uniform64, \
     .normal = random_normal, .whole = random_whole}
