/* The functions that are not exactly rounded, for float32 and float64: mostly within 1 to 1.5
   ULP, at most 2.5 (tests/test_math.py has each one's bound). Each is straight code with
   selects in place of branches, so that a loop over it becomes vector code, and an element's bits
   do not depend on where in a loop it stands. Polynomials are minimax fits (Remez) made for this
   file, low powers first.

   Where the processor has fused multiply-add the bits are the same for every vector length. The
   scalar variant, for processors without it, multiplies and adds; its bits differ in places. */
#include <math.h>

/* Functions of libm that the compiler knows, by type. */
#define floor_f32 __builtin_floorf
#define floor_f64 __builtin_floor
#define ceil_f32 __builtin_ceilf
#define ceil_f64 __builtin_ceil
#define trunc_f32 __builtin_truncf
#define trunc_f64 __builtin_trunc
#define round_f32 __builtin_rintf
#define round_f64 __builtin_rint
#define sqrt_f32 __builtin_sqrtf
#define sqrt_f64 __builtin_sqrt
#define abs_f32 __builtin_fabsf
#define abs_f64 __builtin_fabs
#define fmod_f32 fmodf
#define fmod_f64 fmod
#define copysign_f32 __builtin_copysignf
#define copysign_f64 __builtin_copysign

#ifdef __FMA__
#define fma_f32 __builtin_fmaf
#define fma_f64 __builtin_fma
/* What rounding took from product = a * b, exactly. */
static inline f64 product_rest_f64(f64 a, f64 b, f64 product) { return fma_f64(a, b, -product); }
/* c - a * b, where that is a float64. */
static inline f64 residual_f64(f64 a, f64 b, f64 c) { return fma_f64(-a, b, c); }
#else
static inline f32 fma_f32(f32 a, f32 b, f32 c) { return (f32)((f64)a * b + c); }
static inline f64 fma_f64(f64 a, f64 b, f64 c) { return a * b + c; }
/* Dekker, "A floating-point technique for extending the available precision", 1971 */
static inline f64 product_rest_f64(f64 a, f64 b, f64 product) {
    f64 wide_a = a * 0x8000001p0, wide_b = b * 0x8000001p0;
    f64 a1 = wide_a - (wide_a - a), a2 = a - a1, b1 = wide_b - (wide_b - b), b2 = b - b1;
    return ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2;
}
static inline f64 residual_f64(f64 a, f64 b, f64 c) {
    f64 product = a * b;
    return (c - product) - product_rest_f64(a, b, product);
}
#endif

/* POLY_n(T, x, c0, ..., cn), by Horner's rule: iterations of a loop overlap, so that the length of
   one chain does not matter. */
#define POLY_1(T, x, c0, c1) fma_##T(c1, x, c0)
#define POLY_2(T, x, c0, ...) fma_##T(POLY_1(T, x, __VA_ARGS__), x, c0)
#define POLY_3(T, x, c0, ...) fma_##T(POLY_2(T, x, __VA_ARGS__), x, c0)
#define POLY_4(T, x, c0, ...) fma_##T(POLY_3(T, x, __VA_ARGS__), x, c0)
#define POLY_5(T, x, c0, ...) fma_##T(POLY_4(T, x, __VA_ARGS__), x, c0)
#define POLY_6(T, x, c0, ...) fma_##T(POLY_5(T, x, __VA_ARGS__), x, c0)
#define POLY_7(T, x, c0, ...) fma_##T(POLY_6(T, x, __VA_ARGS__), x, c0)
#define POLY_8(T, x, c0, ...) fma_##T(POLY_7(T, x, __VA_ARGS__), x, c0)
#define POLY_9(T, x, c0, ...) fma_##T(POLY_8(T, x, __VA_ARGS__), x, c0)
#define POLY_10(T, x, c0, ...) fma_##T(POLY_9(T, x, __VA_ARGS__), x, c0)
#define POLY_11(T, x, c0, ...) fma_##T(POLY_10(T, x, __VA_ARGS__), x, c0)
#define POLY_12(T, x, c0, ...) fma_##T(POLY_11(T, x, __VA_ARGS__), x, c0)
#define POLY_13(T, x, c0, ...) fma_##T(POLY_12(T, x, __VA_ARGS__), x, c0)
#define POLY_14(T, x, c0, ...) fma_##T(POLY_13(T, x, __VA_ARGS__), x, c0)
#define POLY_15(T, x, c0, ...) fma_##T(POLY_14(T, x, __VA_ARGS__), x, c0)
#define POLY_16(T, x, c0, ...) fma_##T(POLY_15(T, x, __VA_ARGS__), x, c0)
#define POLY_17(T, x, c0, ...) fma_##T(POLY_16(T, x, __VA_ARGS__), x, c0)
#define POLY_18(T, x, c0, ...) fma_##T(POLY_17(T, x, __VA_ARGS__), x, c0)
#define POLY_19(T, x, c0, ...) fma_##T(POLY_18(T, x, __VA_ARGS__), x, c0)

/* Adding this and taking it away rounds to a whole number; the sum's low bits are that number. */
#define ROUNDER_f32 0x1.8p23f
#define ROUNDER_f64 0x1.8p52

#include "functions32.h"
#include "functions64.h"
#include "circular.h"
#include "power.h"
