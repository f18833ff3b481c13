/* The functions that are not exactly rounded, for float32 and float64. */
#include <math.h>

static inline f32 exp_f32(f32 x) { return expf(x); }
static inline f64 exp_f64(f64 x) { return exp(x); }
static inline f32 expm1_f32(f32 x) { return expm1f(x); }
static inline f64 expm1_f64(f64 x) { return expm1(x); }
static inline f32 log_f32(f32 x) { return logf(x); }
static inline f64 log_f64(f64 x) { return log(x); }
static inline f32 log1p_f32(f32 x) { return log1pf(x); }
static inline f64 log1p_f64(f64 x) { return log1p(x); }
static inline f32 sin_f32(f32 x) { return sinf(x); }
static inline f64 sin_f64(f64 x) { return sin(x); }
static inline f32 cos_f32(f32 x) { return cosf(x); }
static inline f64 cos_f64(f64 x) { return cos(x); }
static inline f32 tanh_f32(f32 x) { return tanhf(x); }
static inline f64 tanh_f64(f64 x) { return tanh(x); }
static inline f32 erf_f32(f32 x) { return erff(x); }
static inline f64 erf_f64(f64 x) { return erf(x); }
static inline f32 pow_f32(f32 x, f32 y) { return powf(x, y); }
static inline f64 pow_f64(f64 x, f64 y) { return pow(x, y); }
static inline f32 atan2_f32(f32 y, f32 x) { return atan2f(y, x); }
static inline f64 atan2_f64(f64 y, f64 x) { return atan2(y, x); }

static inline f32 sigmoid_f32(f32 x) {
    f32 e = exp_f32(-fabsf(x));
    return (x < 0 ? e : 1) / (1 + e);
}
static inline f64 sigmoid_f64(f64 x) {
    f64 e = exp_f64(-fabs(x));
    return (x < 0 ? e : 1) / (1 + e);
}
