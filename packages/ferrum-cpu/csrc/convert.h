/* From one dtype to another: towards zero from floats to integers, which wrap; from wider floats
   to narrower ones rounded once, to nearest, ties to even. */

static inline uint32_t bits32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

static inline float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline uint64_t bits64(double x) {
    uint64_t bits;
    memcpy(&bits, &x, 8);
    return bits;
}

static inline double double_of(uint64_t bits) {
    double x;
    memcpy(&x, &bits, 8);
    return x;
}

#ifdef __F16C__
#include <immintrin.h>

static inline f32 f16_to_f32(f16 h) { return _cvtsh_ss(h); }
static inline f16 f32_to_f16(f32 x) { return _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT); }
#else
/* What F16C does, NaN included: it keeps the high bits of what NaN carries, and makes it quiet. */
static inline f32 f16_to_f32(f16 h) {
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
    uint32_t exponent = magnitude & (0x7c00u << 13);
    uint32_t normal = magnitude + (112u << 23);
    uint32_t special = (magnitude + (224u << 23)) | (magnitude > 0x7c00u << 13 ? 0x400000 : 0);
    uint32_t tiny = bits32(float_of(magnitude + (113u << 23)) - float_of(113u << 23));
    uint32_t bits = exponent == 0 ? tiny : exponent == (0x7c00u << 13) ? special : normal;
    return float_of(bits | (uint32_t)(h & 0x8000) << 16);
}

static inline f16 f32_to_f16(f32 x) {
    const uint32_t magic = 126u << 23;
    uint32_t bits = bits32(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    uint32_t tiny = bits32(float_of(magnitude) + float_of(magic)) - magic;
    uint32_t normal = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    uint32_t special = magnitude > 0x7f800000 ? 0x7e00 | (magnitude >> 13 & 0x1ff) : 0x7c00;
    uint32_t half = magnitude >= 143u << 23 ? special : magnitude < 113u << 23 ? tiny : normal;
    return (f16)(half | sign);
}
#endif

static inline f32 bf16_to_f32(bf16 x) { return float_of((uint32_t)x << 16); }

static inline bf16 f32_to_bf16(f32 x) {
    uint32_t bits = bits32(x);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (bf16)((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16 | 0x40) : rounded);
}

/* float64 to float32 rounded to odd: a second rounding, to fewer bits, is then as good as one. */
static inline f32 to_odd(f64 x) {
    f32 near = (f32)x;
    f64 back = near;
    uint32_t bits = bits32(near);
    int inexact = back != x && x == x && (bits & 0x7fffffff) != 0x7f800000;
    uint32_t past = __builtin_fabs(back) > __builtin_fabs(x);
    return float_of(inexact ? (bits - past) | 1 : bits);
}

/* What x86 answers where an integer cannot hold a float. */
static inline i32 f64_to_i32(f64 x) {
    return x > -2147483649.0 && x < 2147483648.0 ? (i32)x : INT32_MIN;
}
static inline i64 f64_to_i64(f64 x) {
    return x >= -9223372036854775808.0 && x < 9223372036854775808.0 ? (i64)x : INT64_MIN;
}

#define READ_b8(x) ((u8)((x) != 0))
#define READ_u8(x) (x)
#define READ_i8(x) (x)
#define READ_i16(x) (x)
#define READ_i32(x) (x)
#define READ_i64(x) (x)
#define READ_bf16(x) bf16_to_f32(x)
#define READ_f32(x) (x)
#define READ_f64(x) (x)

/* From an integer (w: whole) or a float (r: real) that has been read. */
#define w_TO_b8(x) ((x) != 0)
#define w_TO_u8(x) ((u8)(x))
#define w_TO_i8(x) ((i8)(x))
#define w_TO_i16(x) ((i16)(x))
#define w_TO_i32(x) ((i32)(x))
#define w_TO_i64(x) ((i64)(x))
#define w_TO_bf16(x) f32_to_bf16(w_TO_odd(x))
/* a float32 that rounds to a narrower float as x itself does */
#define w_TO_odd(x) (sizeof(x) < 4 ? (f32)(x) : to_odd((f64)(x)))
#define w_TO_f32(x) ((f32)(x))
#define w_TO_f64(x) ((f64)(x))
#define r_TO_b8(x) ((x) != 0)
#define r_TO_u8(x) ((u8)f64_to_i32(x))
#define r_TO_i8(x) ((i8)f64_to_i32(x))
#define r_TO_i16(x) ((i16)f64_to_i32(x))
#define r_TO_i32(x) f64_to_i32(x)
#define r_TO_i64(x) f64_to_i64(x)
#define r_TO_bf16(x) f32_to_bf16(x)
#define r_TO_f32(x) ((f32)(x))
#define r_TO_f64(x) ((f64)(x))

#define CONVERT(S, T, EXPRESSION) \
    static void S##_to_##T##_all(void *out, const void *in, intptr_t n) { \
        T *y = out; \
        const S *x = in; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) y[i] = (T)EXPRESSION(READ_##S(x[i])); \
    }
#define ODD_bf16(x) f32_to_bf16(to_odd(x))

/* float16 to and from float32, a vector at a time, which GCC 12 does not do by itself. */
static void f16_to_f32_all(void *out, const void *in, intptr_t n) {
    f32 *y = out;
    const f16 *x = in;
    intptr_t i = 0;
#ifdef __AVX512F__
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(y + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(x + i))));
#elif defined __F16C__
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + i))));
#endif
    INDEPENDENT for (; i < n; i++) y[i] = f16_to_f32(x[i]);
}

static void f32_to_f16_all(void *out, const void *in, intptr_t n) {
    f16 *y = out;
    const f32 *x = in;
    intptr_t i = 0;
#ifdef __AVX512F__
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((__m256i *)(y + i),
                            _mm512_cvtps_ph(_mm512_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
#elif defined __F16C__
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(y + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
#endif
    INDEPENDENT for (; i < n; i++) y[i] = f32_to_f16(x[i]);
}

/* Other dtypes become float16, and float16 other dtypes, by way of a block of float32. */
#define BLOCK 256
#define CONVERT_TO_f16(S, EXPRESSION) \
    static void S##_to_f16_all(void *out, const void *in, intptr_t n) { \
        f32 block[BLOCK]; \
        const S *x = in; \
        for (intptr_t done = 0, part; done < n; done += part, x += part) { \
            part = smaller(n - done, BLOCK); \
            INDEPENDENT for (intptr_t i = 0; i < part; i++) block[i] = EXPRESSION(READ_##S(x[i])); \
            f32_to_f16_all((f16 *)out + done, block, part); \
        } \
    }
#define CONVERT_FROM_f16(T) \
    static void f16_to_##T##_all(void *out, const void *in, intptr_t n) { \
        f32 block[BLOCK]; \
        for (intptr_t done = 0, part; done < n; done += part) { \
            part = smaller(n - done, BLOCK); \
            f16_to_f32_all(block, (const f16 *)in + done, part); \
            f32_to_##T##_all((T *)out + done, block, part); \
        } \
    }

#define FROM_WHOLE(S) \
    CONVERT(S, b8, w_TO_b8) CONVERT(S, u8, w_TO_u8) CONVERT(S, i8, w_TO_i8) \
    CONVERT(S, i16, w_TO_i16) CONVERT(S, i32, w_TO_i32) CONVERT(S, i64, w_TO_i64) \
    CONVERT_TO_f16(S, w_TO_odd) CONVERT(S, bf16, w_TO_bf16) CONVERT(S, f32, w_TO_f32) \
    CONVERT(S, f64, w_TO_f64)
/* all but float16 and float32 */
#define FROM_REAL(S, TO_bf16) \
    CONVERT(S, b8, r_TO_b8) CONVERT(S, u8, r_TO_u8) CONVERT(S, i8, r_TO_i8) \
    CONVERT(S, i16, r_TO_i16) CONVERT(S, i32, r_TO_i32) CONVERT(S, i64, r_TO_i64) \
    CONVERT(S, bf16, TO_bf16) CONVERT(S, f64, r_TO_f64)

FROM_WHOLE(b8)
FROM_WHOLE(u8)
FROM_WHOLE(i8)
FROM_WHOLE(i16)
FROM_WHOLE(i32)
FROM_WHOLE(i64)
FROM_REAL(bf16, r_TO_bf16) CONVERT_TO_f16(bf16, r_TO_f32) CONVERT(bf16, f32, r_TO_f32)
FROM_REAL(f32, r_TO_bf16) CONVERT(f32, f32, r_TO_f32)
FROM_REAL(f64, ODD_bf16) CONVERT_TO_f16(f64, to_odd) CONVERT(f64, f32, r_TO_f32)
CONVERT_FROM_f16(b8) CONVERT_FROM_f16(u8) CONVERT_FROM_f16(i8) CONVERT_FROM_f16(i16)
CONVERT_FROM_f16(i32) CONVERT_FROM_f16(i64) CONVERT_FROM_f16(bf16) CONVERT_FROM_f16(f64)
static void f16_to_f16_all(void *out, const void *in, intptr_t n) {
    memmove(out, in, (size_t)n * sizeof(f16));
}

#define CONVERT_ROW(S) \
    {S##_to_b8_all, S##_to_u8_all, S##_to_i8_all, S##_to_i16_all, S##_to_i32_all, \
     S##_to_i64_all, S##_to_f16_all, S##_to_bf16_all, S##_to_f32_all, S##_to_f64_all}
/* in the order of base.h */
#define CONVERT_TABLE \
    {CONVERT_ROW(b8), CONVERT_ROW(u8), CONVERT_ROW(i8), CONVERT_ROW(i16), CONVERT_ROW(i32), \
     CONVERT_ROW(i64), CONVERT_ROW(f16), CONVERT_ROW(bf16), CONVERT_ROW(f32), CONVERT_ROW(f64)}
