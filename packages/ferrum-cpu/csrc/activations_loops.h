/* The loops of activations and of their gradients, which take the incoming gradient g first. The
   last operands are the ops' numbers. What is equal to an op's fallback is not explained again. */

#define LOOP4(op, T, EXPRESSION) \
    static void op##_##T(void *out, const void *const *in, intptr_t n) { \
        const T *x1 = in[0], *x2 = in[1], *x3 = in[2], *x4 = in[3]; \
        T *y = out; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T a = x1[i], b = x2[i], c = x3[i], d = x4[i]; \
            y[i] = EXPRESSION(T, a, b, c, d); \
        } \
    }
#define LOOP5(op, T, EXPRESSION) \
    static void op##_##T(void *out, const void *const *in, intptr_t n) { \
        const T *x1 = in[0], *x2 = in[1], *x3 = in[2], *x4 = in[3], *x5 = in[4]; \
        T *y = out; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T a = x1[i], b = x2[i], c = x3[i], d = x4[i], e = x5[i]; \
            y[i] = EXPRESSION(T, a, b, c, d, e); \
        } \
    }
/* The loops of both dtypes, by how many operands there are. */
#define REAL1(op, E) REAL(LOOP1, loop_##op, E)
#define REAL2(op, E) REAL(LOOP2, loop_##op, E)
#define REAL3(op, E) LOOP3(loop_##op, f32, f32, E) LOOP3(loop_##op, f64, f64, E)
#define REAL4(op, E) LOOP4(loop_##op, f32, E) LOOP4(loop_##op, f64, E)
#define REAL5(op, E) LOOP5(loop_##op, f32, E) LOOP5(loop_##op, f64, E)

/* ---- straight lines */

#define LEAKY_RELU(T, x, slope) ((x) > 0 ? (x) : (x) * (slope))
#define LEAKY_RELU_BACKWARD(T, g, x, slope) ((x) > 0 ? (g) : (g) * (slope))
#define HARDTANH_BACKWARD(T, g, x, low, high) (((x) <= (low)) | ((x) >= (high)) ? 0 : (g))
#define HARDTANH(T, x, low, high) hardtanh_##T(x, low, high)
#define SIX_STEPS(T, x) hardtanh_##T((x) + 3, 0, 6)
#define HARDSIGMOID(T, x) (SIX_STEPS(T, x) / 6)
#define HARDSIGMOID_BACKWARD(T, g, x) (((x) > -3) & ((x) < 3) ? (g) / 6 : 0)
#define HARDSWISH(T, x) ((x) * SIX_STEPS(T, x) / 6)
#define HARDSWISH_BACKWARD(T, g, x) hardswish_slope_##T(g, x)
#define HARDSHRINK(T, x, bound) (((x) >= -(bound)) & ((x) <= (bound)) ? 0 : (x))
#define SOFTSHRINK(T, x, bound) ((x) - hardtanh_##T(x, -(bound), bound))
#define SHRINK_BACKWARD(T, g, x, bound) (((x) >= -(bound)) & ((x) <= (bound)) ? 0 : (g))
#define THRESHOLD(T, x, bound, value) ((x) <= (bound) ? (value) : (x))
#define THRESHOLD_BACKWARD(T, g, x, bound) ((x) <= (bound) ? 0 : (g))

/* ---- curves */

#define ELU(T, x, alpha, scale, input_scale) \
    ((x) <= 0 ? expm1_##T((x) * (input_scale)) * ((alpha) * (scale)) : (x) * (scale))
#define ELU_BACKWARD(T, g, x, alpha, scale, input_scale) \
    ((g) * ((x) <= 0 ? exp_##T((x) * (input_scale)) * ((alpha) * (scale) * (input_scale)) \
                     : (scale)))
#define GELU(T, x) ((x) * (T)0.5 * (erf_##T((x) * (T)ROOT_HALF) + 1))
#define GELU_BACKWARD(T, g, x) gelu_slope_##T(g, x)
#define GELU_TANH(T, x) ((x) * sigmoid_##T(gelu_inner_##T(x)))
#define GELU_TANH_BACKWARD(T, g, x) gelu_tanh_slope_##T(g, x)
#define SILU(T, x) ((x) * sigmoid_##T(x))
#define SILU_BACKWARD(T, g, x) silu_slope_##T(g, x)
#define MISH(T, x) mish_##T(x)
#define MISH_BACKWARD(T, g, x) mish_slope_##T(g, x)
#define SOFTPLUS(T, x, beta, threshold) softplus_##T(x, beta, threshold)
#define SOFTPLUS_BACKWARD(T, g, x, beta, threshold) \
    ((x) * (beta) > (threshold) ? (g) : (g) * sigmoid_##T((x) * (beta)))
#define LOGSIGMOID(T, x) (((x) < 0 ? (x) : 0) - log1p_##T(exp_##T(-abs_##T(x))))
#define LOGSIGMOID_BACKWARD(T, g, x) ((g) * sigmoid_##T(-(x)))

#define ROOT_HALF 0.70710678118654752440
#define ROOT_2_OVER_PI 0.79788456080286535588
#define GELU_CUBIC 0.044715

/* With m = e^-|x| the tangent of mish, tanh(log(1 + e^x)) = (n^2 + 2 n) / (n^2 + 2 n + 2) where
   n = e^x, is top / bottom; and x sigmoid(x) (1 - tanh^2) = 4 x n (n + 1) / (n^2 + 2 n + 2)^2. */
#define CURVES(T) \
    static inline T hardtanh_##T(T x, T low, T high) { /* NaN stays: so maxps and minps have it */ \
        T raised = low > x ? low : x; \
        return high < raised ? high : raised; \
    } \
    static inline T hardswish_slope_##T(T g, T x) { \
        T middle = g * (x / 3 + (T)0.5), above = x < 3 ? middle : g; \
        return x <= -3 ? 0 : above; \
    } \
    static inline T gelu_slope_##T(T g, T x) { \
        T density = exp_##T(x * x * (T)-0.5) * (T)(ROOT_2_OVER_PI / 2); \
        return g * ((erf_##T(x * (T)ROOT_HALF) + 1) * (T)0.5 + x * density); \
    } \
    static inline T gelu_inner_##T(T x) { /* (1 + tanh(u)) / 2 = sigmoid(2 u) */ \
        return (x + x * x * x * (T)GELU_CUBIC) * (T)(2 * ROOT_2_OVER_PI); \
    } \
    /* sigmoid(x), and in `rest` 1 - sigmoid(x), which a subtraction would strip of its digits */ \
    static inline T step_##T(T x, T *rest) { \
        T e = exp_##T(-abs_##T(x)), most = 1 / (1 + e), least = e * most; \
        *rest = x < 0 ? most : least; \
        return x < 0 ? least : most; \
    } \
    static inline T gelu_tanh_slope_##T(T g, T x) { \
        T rest, s = step_##T(gelu_inner_##T(x), &rest); \
        T inner = (x * x * (T)(3 * GELU_CUBIC) + 1) * (T)(2 * ROOT_2_OVER_PI); \
        return g * (s + x * (s * rest) * inner); \
    } \
    static inline T silu_slope_##T(T g, T x) { \
        T rest, s = step_##T(x, &rest); \
        return g * (s * (x * rest + 1)); \
    } \
    static inline T mish_parts_##T(T x, T m, T *bottom) { \
        T below = m * (m + 2), above = 1 + 2 * m; \
        *bottom = x < 0 ? below + 2 : above + 2 * m * m; \
        return x < 0 ? below : above; \
    } \
    static inline T mish_##T(T x) { \
        T bottom, top = mish_parts_##T(x, exp_##T(-abs_##T(x)), &bottom); \
        return x * (top / bottom); \
    } \
    static inline T mish_slope_##T(T g, T x) { \
        T m = exp_##T(-abs_##T(x)), bottom, top = mish_parts_##T(x, m, &bottom); \
        T rest = (m + 1) * (x < 0 ? m : m * m) * 4; \
        return g * ((top + x * (rest / bottom)) / bottom); \
    } \
    static inline T softplus_##T(T x, T beta, T threshold) { \
        T t = x * beta, y = ((t > 0 ? t : 0) + log1p_##T(exp_##T(-abs_##T(t)))) / beta; \
        return t > threshold ? x : y; \
    }
CURVES(f32)
CURVES(f64)

REAL2(leaky_relu, LEAKY_RELU) REAL3(leaky_relu_backward, LEAKY_RELU_BACKWARD)
REAL3(hardtanh, HARDTANH) REAL4(hardtanh_backward, HARDTANH_BACKWARD)
REAL1(hardsigmoid, HARDSIGMOID) REAL2(hardsigmoid_backward, HARDSIGMOID_BACKWARD)
REAL1(hardswish, HARDSWISH) REAL2(hardswish_backward, HARDSWISH_BACKWARD)
REAL2(hardshrink, HARDSHRINK) REAL2(softshrink, SOFTSHRINK)
REAL3(shrink_backward, SHRINK_BACKWARD)
REAL3(threshold, THRESHOLD) REAL3(threshold_backward, THRESHOLD_BACKWARD)
REAL4(elu, ELU) REAL5(elu_backward, ELU_BACKWARD)
REAL1(gelu, GELU) REAL2(gelu_backward, GELU_BACKWARD)
REAL1(gelu_tanh, GELU_TANH) REAL2(gelu_tanh_backward, GELU_TANH_BACKWARD)
REAL1(silu, SILU) REAL2(silu_backward, SILU_BACKWARD)
REAL1(mish, MISH) REAL2(mish_backward, MISH_BACKWARD)
REAL3(softplus, SOFTPLUS) REAL4(softplus_backward, SOFTPLUS_BACKWARD)
REAL1(logsigmoid, LOGSIGMOID) REAL2(logsigmoid_backward, LOGSIGMOID_BACKWARD)

#define ACTIVATIONS_TABLE \
    FLOATS(leaky_relu), FLOATS(leaky_relu_backward), \
    FLOATS(hardtanh), FLOATS(hardtanh_backward), \
    FLOATS(hardsigmoid), FLOATS(hardsigmoid_backward), \
    FLOATS(hardshrink), FLOATS(softshrink), FLOATS(shrink_backward), \
    FLOATS(threshold), FLOATS(threshold_backward), \
    FLOATS(hardswish), FLOATS(hardswish_backward), FLOATS(elu), FLOATS(elu_backward), \
    FLOATS(gelu), FLOATS(gelu_backward), FLOATS(gelu_tanh), FLOATS(gelu_tanh_backward), \
    FLOATS(silu), FLOATS(silu_backward), FLOATS(mish), FLOATS(mish_backward), \
    FLOATS(softplus), FLOATS(softplus_backward), \
    FLOATS(logsigmoid), FLOATS(logsigmoid_backward),
