/* Functions of one float32. */

/* x = k ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite, "Software Manual for the Elementary
   Functions", 1980). Return k + ROUNDER. */
static inline f32 split_exponent_f32(f32 x, f32 *r) {
    f32 shifted = fma_f32(x, 0x1.715476p0f, ROUNDER_f32), k = shifted - ROUNDER_f32;
    *r = fma_f32(-k, 0x1.7f7d1cp-20f, fma_f32(-k, 0x1.62e4p-1f, x));
    return shifted;
}

/* 2^k from the bits of k + ROUNDER, or from the difference of two such; -126 <= k < 128. */
static inline f32 power_of_two_f32(uint32_t bits) { return float_of((bits << 23) + (127u << 23)); }

/* e^r - 1 - r for |r| <= ln 2 / 2 */
static inline f32 exp_rest_f32(f32 r) {
    return r * r *
           POLY_4(f32, r, 0.5f, 0x1.55549p-3f, 0x1.5554cp-5f, 0x1.123ae2p-7f, 0x1.6d7b54p-10f);
}

static inline f32 exp_f32(f32 x) {
    f32 r;
    x = x > 89 ? 89 : x;
    x = x < -104 ? -104 : x;
    f32 shifted = split_exponent_f32(x, &r);
    /* 2^k in two factors: it may be too large for a float32, or too small */
    f32 half = fma_f32(shifted - ROUNDER_f32, 0.5f, ROUNDER_f32);
    f32 most = (1 + (r + exp_rest_f32(r))) * power_of_two_f32(bits32(half));
    return most * power_of_two_f32(bits32(shifted) - bits32(half));
}

static inline f32 expm1_f32(f32 x) {
    f32 r, bound = x > 89 ? 89 : x;
    bound = bound < -18 ? -18 : bound;
    f32 shifted = split_exponent_f32(bound, &r);
    f32 half = power_of_two_f32(bits32(shifted) - 1); /* of 2^k, which may be too large */
    f32 y = fma_f32(half, exp_rest_f32(r), fma_f32(half, r, half - 0.5f));
    return abs_f32(x) < 0x1p-25f ? x : 2 * y;
}

/* x = 2^k (1 + f) with 1 + f between the square roots of 1/2 and 2; x is normal and positive. */
static inline int32_t split_significand_f32(f32 x, f32 *f) {
    uint32_t bits = bits32(x) - 0x3f3504f3;
    *f = float_of((bits & 0x7fffff) + 0x3f3504f3) - 1;
    return (int32_t)bits >> 23;
}

/* k ln 2 + log(1 + f + rest) */
static inline f32 log_of_parts_f32(f32 k, f32 f, f32 rest) {
    f32 square = f * f;
    f32 p = POLY_7(f32, f, 0x1.555554p-2f, -0x1.00023p-2f, 0x1.99a03ap-3f, -0x1.547034p-3f,
                   0x1.22d51ep-3f, -0x1.0d9448p-3f, 0x1.0581acp-3f, -0x1.38bf1ep-4f);
    f32 low = fma_f32(f * square, p, fma_f32(k, 0x1.7f7d1cp-20f, rest));
    f32 whole = k * 0x1.62e4p-1f, high = whole + f;
    return high + (fma_f32(-0.5f, square, low) + ((whole - high) + f));
}

/* The logarithm of x where x > 0 and finite, given y. */
static inline f32 log_rules_f32(f32 x, f32 y) {
    f32 edge = x == 0 ? -INFINITY : NAN;
    y = x > 0 ? y : edge;
    return x < INFINITY ? y : x;
}

static inline f32 log_f32(f32 x) {
    int tiny = x < 0x1p-126f;
    f32 f, scaled = tiny ? x * 0x1p23f : x;
    int32_t k = split_significand_f32(scaled, &f) - (tiny ? 23 : 0);
    return log_rules_f32(x, log_of_parts_f32((f32)k, f, 0));
}

static inline f32 log1p_f32(f32 x) {
    f32 f, sum = 1 + x, part = sum - 1;
    f32 rest = (1 - (sum - part)) + (x - part); /* of the sum: Knuth */
    int32_t k = split_significand_f32(sum, &f);
    rest *= float_of((uint32_t)(127 - (k < 64 ? k : 64)) << 23); /* past 2^64 it is nothing */
    f32 all = f + rest;
    f32 y = log_rules_f32(sum, log_of_parts_f32((f32)k, all, rest - (all - f)));
    return abs_f32(x) < 0x1p-25f ? x : y;
}

/* With E = e^(2|x|) - 1: E / (E + 2). Both are kept as a sum of two, and the quotient is mended by
   what they say is left of it, or the roundings would add up. */
static inline f32 tanh_f32(f32 x) {
    f32 r, a = abs_f32(x);
    f32 shifted = split_exponent_f32(2 * (a > 10 ? 10 : a), &r);
    f32 scale = power_of_two_f32(bits32(shifted));
    f32 high = fma_f32(scale, r, scale - 1), low = fma_f32(scale, r, (scale - 1) - high);
    low = fma_f32(scale, exp_rest_f32(r), low);
    f32 top = high + low, top_low = low - (top - high);
    f32 bottom = top + 2, bottom_low = (top - (bottom - 2)) + top_low;
    f32 inverse = 1 / bottom, y = top * inverse;
    f32 left = fma_f32(-y, bottom, top) + fma_f32(-y, bottom_low, top_low);
    return copysign_f32(fma_f32(left, inverse, y), x);
}

/* x + x P(x^2) below 1; above, 1 - e^Q(|x|), where Q is fitted to the logarithm of erfc. */
static inline f32 erf_f32(f32 x) {
    f32 r, a = abs_f32(x), square = x * x, t = (a > 4 ? 4 : a) - 1;
    f32 p = POLY_6(f32, square, 0x1.06eba8p-3f, -0x1.81273ep-2f, 0x1.ce2ce6p-4f, -0x1.b7f726p-6f,
                   0x1.53f2fp-8f, -0x1.a359eap-11f, 0x1.478f64p-14f);
    f32 q = POLY_6(f32, t, -0x1.d97fcp0f, -0x1.51c9aap1f, -0x1.afad34p-1f, -0x1.53f93cp-5f,
                   0x1.441aaep-7f, -0x1.deb6d4p-10f, 0x1.852b38p-13f);
    f32 shifted = split_exponent_f32(q, &r), scale = power_of_two_f32(bits32(shifted));
    f32 far = 1 - fma_f32(scale, r + exp_rest_f32(r), scale);
    return copysign_f32(a < 1 ? fma_f32(a, p, a) : far, x);
}

/* e / (1 + e) or 1 / (1 + e) with e = e^-|x|, which may be too small for one factor 2^k */
static inline f32 sigmoid_f32(f32 x) {
    f32 r, bound = -abs_f32(x);
    f32 shifted = split_exponent_f32(bound < -104 ? -104 : bound, &r);
    f32 e = (1 + (r + exp_rest_f32(r))) * power_of_two_f32(bits32(shifted) + 64) * 0x1p-64f;
    return (x < 0 ? e : 1) / (1 + e);
}
