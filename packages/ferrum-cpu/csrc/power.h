/* Functions of two floats. */

/* C99, Annex F.9.4.4, given |x|^y where x is finite and not zero. */
#define POWER_RULES(T, SIGN) \
    static inline T power_rules_##T(T x, T y, T result) { \
        T a = abs_##T(x), half = y * (T)0.5; \
        int whole = trunc_##T(y) == y, odd = whole & (trunc_##T(half) != half); \
        int zero = a == 0, infinite = a == (T)INFINITY; \
        T edge = zero == (y < 0) ? (T)INFINITY : 0; \
        result = zero | infinite ? edge : result; \
        result = (x < 0) & !whole & !infinite ? (T)NAN : result; \
        result = odd & (SIGN < 0) ? -result : result; \
        result = (x != x) | (y != y) ? x + y : result; \
        return (y == 0) | (x == 1) ? 1 : result; \
    }
POWER_RULES(f32, copysign_f32(1, x))
POWER_RULES(f64, copysign_f64(1, x))

/* e^(y log|x|) in float64, with 40 bits of each */
static inline f32 pow_f32(f32 x, f32 y) {
    f64 f, r, k = split_significand_f64(abs_f32(x), &f);
    f64 s = f / (2 + f), square = s * s;
    f64 p = POLY_4(f64, square, 0x1.555555561e441p-1, 0x1.999996a94c07bp-2, 0x1.249411ec61996p-2,
                   0x1.c62b158ad9c9cp-3, 0x1.91157df6ea248p-3);
    f64 log = fma_f64(k, 0x1.62e42fefa39efp-1, fma_f64(s * square, p, 2 * s));
    /* an infinite y is as good as 2^40: |log| is 2^-25 at least, or 0 */
    f64 bound = y > 0x1p40f ? 0x1p40f : y;
    f64 t = (bound < -0x1p40 ? -0x1p40 : bound) * log;
    t = t > 90 ? 90 : t;
    t = t < -110 ? -110 : t;
    f64 shifted = split_exponent_f64(t, &r);
    f64 q = POLY_6(f64, r, 0x1.ffffffffeaa8bp-2, 0x1.5555557ed32adp-3, 0x1.5555558ad25b2p-5,
                   0x1.1110a0c45a161p-7, 0x1.6c1622485a62ep-10, 0x1.a187c0aea3c23p-13,
                   0x1.a18bb670c82bfp-16);
    f64 result = (1 + fma_f64(r * r, q, r)) * power_of_two_f64(bits64(shifted));
    return power_rules_f32(x, y, (f32)result);
}

/* log|x| = high + low, with 66 bits or more: the logarithm of functions64.h, of which the terms
   that matter, 2 s and 2/3 s^3, are sums of two float64. x is finite and not 0. */
static inline f64 long_log_f64(f64 x, f64 *low) {
    f64 a = abs_f64(x), f;
    int tiny = a < 0x1p-1022;
    f64 k = split_significand_f64(tiny ? a * 0x1p52 : a, &f) - (tiny ? 52 : 0);
    f64 d = 2 + f, d_low = f - (d - 2), inverse = 1 / d;
    f64 s = f * inverse, s_low = (residual_f64(s, d, f) - s * d_low) * inverse;
    f64 z = s * s, z_low = fma_f64(2 * s, s_low, product_rest_f64(s, s, z));
    f64 p = z * POLY_6(f64, z, 0x1.9999999999b3p-2, 0x1.2492492457d7p-2, 0x1.c71c722d64084p-3,
                       0x1.745ce9e44bc9p-3, 0x1.3b1eebdcbd2dbp-3, 0x1.0f7fedd8d7299p-3,
                       0x1.0e42865387b82p-3);
    f64 c = 0x1.5555555555555p-1 + p;
    f64 c_low = ((0x1.5555555555555p-1 - c) + p) + 0x1.5555555555555p-55;
    f64 u = z * c, u_low = product_rest_f64(z, c, u) + fma_f64(z, c_low, z_low * c);
    f64 v = s * u, v_low = product_rest_f64(s, u, v) + fma_f64(s, u_low, s_low * u);
    f64 whole = k * 0x1.62e42feep-1, most = whole + 2 * s, most_low = (whole - most) + 2 * s;
    f64 sum = most + v, sum_low = (most - sum) + v;
    sum_low += most_low + (fma_f64(k, 0x1.a39ef35793c76p-33, 2 * s_low) + v_low);
    f64 high = sum + sum_low;
    *low = sum_low - (high - sum);
    return high;
}

/* e^(x + low), and the roundings of r and of 1 + r are not lost */
static inline f64 exp_of_parts_f64(f64 x, f64 low) {
    f64 shifted = fma_f64(x, 0x1.71547652b82fep0, ROUNDER_f64), k = shifted - ROUNDER_f64;
    f64 high = fma_f64(-k, 0x1.62e42feep-1, x);
    low = fma_f64(-k, 0x1.a39ef35793c76p-33, low);
    f64 r = high + low, sum = 1 + r;
    low = (low - (r - high)) + ((1 - sum) + r);
    return scaled_f64(sum + (low + exp_rest_f64(r)), shifted);
}

static inline f64 pow_f64(f64 x, f64 y) {
    f64 log_low, log = long_log_f64(x, &log_low);
    /* an infinite y is as good as 2^70: |log| is 2^-54 at least, or 0 */
    f64 bound = y > 0x1p70 ? 0x1p70 : y;
    bound = bound < -0x1p70 ? -0x1p70 : bound;
    f64 t = bound * log, low = fma_f64(bound, log_low, product_rest_f64(bound, log, t));
    low = abs_f64(t) < 750 ? low : 0;
    t = t > 750 ? 750 : t;
    f64 result = exp_of_parts_f64(t < -750 ? -750 : t, low);
    return power_rules_f64(x, y, result);
}

/* The arc tangent of least / most of |x| and |y|, and from it the angle in its octant. */
#define ATAN2_RULES(T, PI, PI_LOW) \
    static inline T atan2_##T(T y, T x) { \
        T a = abs_##T(x), b = abs_##T(y); \
        int steep = b > a, back = copysign_##T(1, x) < 0; \
        T most = steep ? b : a, least = steep ? a : b; \
        T q = least == most ? 1 : least / most; \
        T angle = atan_##T(most == 0 ? 0 : q), flat = back ? PI : 0, flat_low = back ? PI_LOW : 0; \
        T base = steep ? PI / 2 : flat, base_low = steep ? PI_LOW / 2 : flat_low; \
        angle = base + (base_low + (steep != back ? -angle : angle)); \
        return (x != x) | (y != y) ? x + y : copysign_##T(angle, y); \
    }

/* between 0 and 1 */
static inline f32 atan_f32(f32 x) {
    f32 square = x * x;
    f32 p = POLY_8(f32, square, -0x1.55553ep-2f, 0x1.9991e4p-3f, -0x1.2420a8p-3f, 0x1.c0906ap-4f,
                   -0x1.581f2ep-4f, 0x1.da9932p-5f, -0x1.fe9d9cp-6f, 0x1.6597eep-7f,
                   -0x1.d6507ap-10f);
    return fma_f32(x * square, p, x);
}

static inline f64 atan_f64(f64 x) {
    f64 square = x * x;
    f64 p = POLY_19(f64, square, -0x1.5555555555526p-2, 0x1.99999999955d3p-3, -0x1.249249237fe74p-3,
                    0x1.c71c717fef0dcp-4, -0x1.745d11b0391e8p-4, 0x1.3b1366a7e82dep-4,
                    -0x1.110e51566d6cap-4, 0x1.e1bba565a4c4dp-5, -0x1.ae5e5f03c971p-5,
                    0x1.82da5d445c508p-5, -0x1.59a21d76cf407p-5, 0x1.2c290f25f93ccp-5,
                    -0x1.e9e3c3a5bcd45p-6, 0x1.68196c9c0c2fep-6, -0x1.c73b5aedd5c6p-7,
                    0x1.d723d559580a1p-8, -0x1.797c367605273p-9, 0x1.b2b55430df5a4p-11,
                    -0x1.3de3583f1a3f4p-13, 0x1.b9682bd83a7ap-17);
    return fma_f64(x * square, p, x);
}

ATAN2_RULES(f32, 0x1.921fb6p1f, -0x1.777a5cp-24f)
ATAN2_RULES(f64, 0x1.921fb54442d18p1, 0x1.1a62633145c07p-53)
