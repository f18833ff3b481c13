/* Functions of one float64, made as those of float32; the comments are there. */

static inline f64 split_exponent_f64(f64 x, f64 *r) {
    f64 shifted = fma_f64(x, 0x1.71547652b82fep0, ROUNDER_f64), k = shifted - ROUNDER_f64;
    *r = fma_f64(-k, 0x1.a39ef35793c76p-33, fma_f64(-k, 0x1.62e42feep-1, x));
    return shifted;
}

static inline f64 power_of_two_f64(uint64_t bits) {
    return double_of((bits << 52) + (1023ull << 52));
}

static inline f64 exp_rest_f64(f64 r) {
    return r * r *
           POLY_9(f64, r, 0x1.000000000000cp-1, 0x1.5555555555556p-3, 0x1.555555554fd66p-5,
                  0x1.111111111078fp-7, 0x1.6c16c1863d16p-10, 0x1.a01a01a8888b2p-13,
                  0x1.a01995090c375p-16, 0x1.71de0c08a2f21p-19, 0x1.28b1ac763135ap-22,
                  0x1.af3b3eeab6f31p-26);
}

/* y 2^k */
static inline f64 scaled_f64(f64 y, f64 shifted) {
    f64 half = fma_f64(shifted - ROUNDER_f64, 0.5, ROUNDER_f64);
    return y * power_of_two_f64(bits64(half)) * power_of_two_f64(bits64(shifted) - bits64(half));
}

static inline f64 exp_f64(f64 x) {
    f64 r;
    x = x > 710 ? 710 : x;
    x = x < -746 ? -746 : x;
    f64 shifted = split_exponent_f64(x, &r);
    return scaled_f64(1 + (r + exp_rest_f64(r)), shifted);
}

static inline f64 expm1_f64(f64 x) {
    f64 r, bound = x > 710 ? 710 : x;
    bound = bound < -40 ? -40 : bound;
    f64 shifted = split_exponent_f64(bound, &r);
    f64 half = power_of_two_f64(bits64(shifted) - 1);
    f64 y = fma_f64(half, exp_rest_f64(r), fma_f64(half, r, half - 0.5));
    return abs_f64(x) < 0x1p-54 ? x : 2 * y;
}

/* Return k. AVX2 has neither a signed shift nor a conversion of 64-bit integers: the exponent,
   which is not negative, becomes the low bits of 2^52. */
static inline f64 split_significand_f64(f64 x, f64 *f) {
    const uint64_t root = 0x3fe6a09e667f3bcd;
    uint64_t bits = bits64(x) - root + (1023ull << 52);
    *f = double_of((bits & 0xfffffffffffff) + root) - 1;
    return double_of(bits >> 52 | bits64(0x1p52)) - (0x1p52 + 1023);
}

/* With s = f / (2 + f), log(1 + f) = 2 atanh(s) = 2 s + s P(s^2) = f - f^2 / 2 + s (f^2 / 2 + P),
   as Ng's in fdlibm. */
static inline f64 log_of_parts_f64(f64 k, f64 f, f64 rest) {
    f64 s = f / (2 + f), square = s * s, half = 0.5 * f * f;
    f64 p = POLY_6(f64, square, 0x1.5555555555592p-1, 0x1.999999997ffbfp-2, 0x1.24924941d6212p-2,
                   0x1.c71c521d7d13dp-3, 0x1.74663b21e284fp-3, 0x1.39a21418e67c6p-3,
                   0x1.2f02255af20c5p-3);
    f64 low = fma_f64(s, fma_f64(square, p, half), fma_f64(k, 0x1.a39ef35793c76p-33, rest));
    f64 whole = k * 0x1.62e42feep-1, high = whole + f;
    return high + ((low - half) + ((whole - high) + f));
}

static inline f64 log_rules_f64(f64 x, f64 y) {
    f64 edge = x == 0 ? -INFINITY : NAN;
    y = x > 0 ? y : edge;
    return x < INFINITY ? y : x;
}

static inline f64 log_f64(f64 x) {
    int tiny = x < 0x1p-1022;
    f64 f, k = split_significand_f64(tiny ? x * 0x1p52 : x, &f) - (tiny ? 52 : 0);
    return log_rules_f64(x, log_of_parts_f64(k, f, 0));
}

static inline f64 log1p_f64(f64 x) {
    f64 f, sum = 1 + x, part = sum - 1;
    f64 rest = (1 - (sum - part)) + (x - part);
    f64 k = split_significand_f64(sum, &f);
    rest *= power_of_two_f64(bits64(ROUNDER_f64 - (k < 64 ? k : 64)));
    f64 all = f + rest;
    f64 y = log_rules_f64(sum, log_of_parts_f64(k, all, rest - (all - f)));
    return abs_f64(x) < 0x1p-54 ? x : y;
}

static inline f64 tanh_f64(f64 x) {
    f64 r, a = abs_f64(x);
    f64 shifted = split_exponent_f64(2 * (a > 20 ? 20 : a), &r);
    f64 scale = power_of_two_f64(bits64(shifted));
    f64 high = fma_f64(scale, r, scale - 1), low = fma_f64(scale, r, (scale - 1) - high);
    low = fma_f64(scale, exp_rest_f64(r), low);
    f64 top = high + low, top_low = low - (top - high);
    f64 bottom = top + 2, bottom_low = (top - (bottom - 2)) + top_low;
    f64 inverse = 1 / bottom, y = top * inverse;
    f64 left = residual_f64(y, bottom, top) + fma_f64(-y, bottom_low, top_low);
    return copysign_f64(fma_f64(left, inverse, y), x);
}

static inline f64 erf_f64(f64 x) {
    f64 r, a = abs_f64(x), square = x * x, t = (a > 6 ? 6 : a) - 1;
    f64 p = POLY_11(f64, square, 0x1.06eba8214db68p-3, -0x1.812746b03799dp-2, 0x1.ce2f21a03f8b2p-4,
                    -0x1.b82ce311a92d9p-6, 0x1.565bcceebc49fp-8, -0x1.c02daeae3b749p-11,
                    0x1.f9a29568512f1p-14, -0x1.f4c8131713502p-17, 0x1.b969f19de3631p-20,
                    -0x1.5b81dae061f44p-23, 0x1.d386935fa39cdp-27, -0x1.a110904a7f641p-31);
    f64 q = POLY_17(f64, t, -0x1.d97fbf27aa2a1p+0, -0x1.51c9b0006c21ap+1, -0x1.afabc11a2afe7p-1,
                    -0x1.5477f099b5c8p-5, 0x1.48c9d37f99f33p-7, -0x1.033f5a0f1c535p-9,
                    0x1.f1b0499240595p-13, 0x1.b92defa01ac01p-16, -0x1.c852d5e22d8cap-16,
                    0x1.4484e10a0e84bp-17, -0x1.1e2677dd462c9p-19, 0x1.b7e784cd2ce41p-23,
                    0x1.f22726c7c1b97p-25, -0x1.1ec3b4373eac3p-25, 0x1.24a1d0a7a4e3bp-27,
                    -0x1.6a7d552bf86d3p-30, 0x1.064fe6ec8cb9bp-33, -0x1.5635a4ddc6418p-38);
    f64 shifted = split_exponent_f64(q, &r), scale = power_of_two_f64(bits64(shifted));
    f64 far = 1 - fma_f64(scale, r + exp_rest_f64(r), scale);
    return copysign_f64(a < 1 ? fma_f64(a, p, a) : far, x);
}

/* ... but for the quotient, which is mended as in tanh. */
static inline f64 sigmoid_f64(f64 x) {
    f64 r, bound = -abs_f64(x);
    f64 shifted = split_exponent_f64(bound < -746 ? -746 : bound, &r);
    f64 e = (1 + (r + exp_rest_f64(r))) * power_of_two_f64(bits64(shifted) + 512) * 0x1p-512;
    f64 top = x < 0 ? e : 1, bottom = 1 + e, low = e - (bottom - 1);
    f64 inverse = 1 / bottom, y = top * inverse;
    return fma_f64(fma_f64(-y, low, residual_f64(y, bottom, top)), inverse, y);
}
