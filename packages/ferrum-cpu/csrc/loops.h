/* The loops of the elementwise ops. An expression is a macro of the type and the operands; a loop
   is one line for each kind of dtype that the op has. */

typedef uint32_t UNSIGNED_u8, UNSIGNED_i8, UNSIGNED_i16, UNSIGNED_i32;
typedef uint64_t UNSIGNED_i64;
#define MIN_u8 0
#define MIN_i8 INT8_MIN
#define MIN_i16 INT16_MIN
#define MIN_i32 INT32_MIN
#define MIN_i64 INT64_MIN

/* Operands are read before anything is decided: a conditional read is no vector code. */
#define LOOP1(op, T, R, EXPRESSION) \
    static void op##_##T(void *out, const void *const *in, intptr_t n) { \
        const T *x = in[0]; \
        R *y = out; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) y[i] = (R)EXPRESSION(T, x[i]); \
    }
#define LOOP2(op, T, R, EXPRESSION) \
    static void op##_##T(void *out, const void *const *in, intptr_t n) { \
        const T *x1 = in[0], *x2 = in[1]; \
        R *y = out; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T a = x1[i], b = x2[i]; \
            y[i] = (R)EXPRESSION(T, a, b); \
        } \
    }
#define LOOP3(op, C, T, EXPRESSION) \
    static void op##_##T(void *out, const void *const *in, intptr_t n) { \
        const C *x1 = in[0]; \
        const T *x2 = in[1], *x3 = in[2]; \
        T *y = out; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            C a = x1[i]; \
            T b = x2[i], c = x3[i]; \
            y[i] = (T)EXPRESSION(T, a, b, c); \
        } \
    }

#define LOOP_WAVE(op, T, R, TURNS) \
    static void op##_##T(void *out, const void *const *in, intptr_t n) { \
        wave_all_##T(out, in[0], n, TURNS); \
    }

/* L is LOOP1 or LOOP2; results of the same dtype, or of bool. */
#define WHOLE(L, op, E) \
    L(op, u8, u8, E) L(op, i8, i8, E) L(op, i16, i16, E) L(op, i32, i32, E) L(op, i64, i64, E)
#define REAL(L, op, E) L(op, f32, f32, E) L(op, f64, f64, E)
#define TRUTH(L, op, E) \
    L(op, b8, b8, E) L(op, u8, b8, E) L(op, i8, b8, E) L(op, i16, b8, E) L(op, i32, b8, E) \
    L(op, i64, b8, E) L(op, f32, b8, E) L(op, f64, b8, E)

/* ---- one operand */

#define SAME(T, a) (a)
#define ZERO(T, a) ((void)(a), 0)
#define ONE(T, a) ((void)(a), 1)
#define NEGATIVE_WHOLE(T, a) (0 - (UNSIGNED_##T)(a))
#define NEGATIVE(T, a) (-(a))
#define ABS_WHOLE(T, a) ((a) < 0 ? NEGATIVE_WHOLE(T, a) : (UNSIGNED_##T)(a))
#define ABS(T, a) abs_##T(a)
#define SIGN_WHOLE(T, a) (((a) > 0) - ((a) < 0))
#define SIGN(T, a) ((a) != (a) ? (a) : (T)(((a) > 0) - ((a) < 0)))
#define SQUARE_WHOLE(T, a) ((UNSIGNED_##T)(a) * (UNSIGNED_##T)(a))
#define SQUARE(T, a) ((a) * (a))
#define RELU(T, a) ((a) <= 0 ? 0 : (a))
#define FLOOR(T, a) floor_##T(a)
#define CEIL(T, a) ceil_##T(a)
#define TRUNC(T, a) trunc_##T(a)
#define ROUND(T, a) round_##T(a)
#define SQRT(T, a) sqrt_##T(a)
#define RECIPROCAL(T, a) (1 / (a))
#define RSQRT(T, a) (1 / sqrt_##T(a))
#define EXP(T, a) exp_##T(a)
#define EXPM1(T, a) expm1_##T(a)
#define LOG(T, a) log_##T(a)
#define LOG1P(T, a) log1p_##T(a)
#define TANH(T, a) tanh_##T(a)
#define ERF(T, a) erf_##T(a)
#define SIGMOID(T, a) sigmoid_##T(a)
#define INVERT(T, a) (~(a))
#define NOT(T, a) ((a) == 0)
#define IS_NAN(T, a) ((a) != (a))
#define IS_INF(T, a) (abs_##T(a) == (T)INFINITY)
#define IS_FINITE(T, a) (abs_##T(a) < (T)INFINITY)

WHOLE(LOOP1, loop_negative, NEGATIVE_WHOLE) REAL(LOOP1, loop_negative, NEGATIVE)
WHOLE(LOOP1, loop_abs, ABS_WHOLE) REAL(LOOP1, loop_abs, ABS)
WHOLE(LOOP1, loop_sign, SIGN_WHOLE) REAL(LOOP1, loop_sign, SIGN) LOOP1(loop_sign, b8, b8, SAME)
WHOLE(LOOP1, loop_square, SQUARE_WHOLE) REAL(LOOP1, loop_square, SQUARE)
WHOLE(LOOP1, loop_relu, RELU) REAL(LOOP1, loop_relu, RELU)
WHOLE(LOOP1, loop_same, SAME)
REAL(LOOP1, loop_floor, FLOOR) REAL(LOOP1, loop_ceil, CEIL)
REAL(LOOP1, loop_trunc, TRUNC) REAL(LOOP1, loop_round, ROUND)
REAL(LOOP1, loop_sqrt, SQRT) REAL(LOOP1, loop_reciprocal, RECIPROCAL) REAL(LOOP1, loop_rsqrt, RSQRT)
REAL(LOOP1, loop_exp, EXP) REAL(LOOP1, loop_expm1, EXPM1)
REAL(LOOP1, loop_log, LOG) REAL(LOOP1, loop_log1p, LOG1P)
REAL(LOOP_WAVE, loop_sin, 0) REAL(LOOP_WAVE, loop_cos, 1)
REAL(LOOP1, loop_tanh, TANH) REAL(LOOP1, loop_erf, ERF) REAL(LOOP1, loop_sigmoid, SIGMOID)
WHOLE(LOOP1, loop_bitwise_invert, INVERT) LOOP1(loop_bitwise_invert, b8, b8, NOT)
TRUTH(LOOP1, loop_logical_not, NOT)
LOOP1(loop_false, b8, b8, ZERO) LOOP1(loop_false, i16, b8, ZERO) LOOP1(loop_false, i32, b8, ZERO)
LOOP1(loop_false, i64, b8, ZERO)
LOOP1(loop_true, b8, b8, ONE) LOOP1(loop_true, i16, b8, ONE) LOOP1(loop_true, i32, b8, ONE)
LOOP1(loop_true, i64, b8, ONE)
LOOP1(loop_isnan, f32, b8, IS_NAN) LOOP1(loop_isnan, f64, b8, IS_NAN)
LOOP1(loop_isinf, f32, b8, IS_INF) LOOP1(loop_isinf, f64, b8, IS_INF)
LOOP1(loop_isfinite, f32, b8, IS_FINITE) LOOP1(loop_isfinite, f64, b8, IS_FINITE)

/* ---- two operands */

#define ADD_WHOLE(T, a, b) ((UNSIGNED_##T)(a) + (UNSIGNED_##T)(b))
#define SUBTRACT_WHOLE(T, a, b) ((UNSIGNED_##T)(a) - (UNSIGNED_##T)(b))
#define MULTIPLY_WHOLE(T, a, b) ((UNSIGNED_##T)(a) * (UNSIGNED_##T)(b))
#define ADD(T, a, b) ((a) + (b))
#define SUBTRACT(T, a, b) ((a) - (b))
#define MULTIPLY(T, a, b) ((a) * (b))
#define DIVIDE(T, a, b) ((a) / (b))
#define MAXIMUM(T, a, b) ((a) != (a) ? (a) : (a) >= (b) ? (a) : (b))
#define MINIMUM(T, a, b) ((a) != (a) ? (a) : (a) <= (b) ? (a) : (b))
#define TANH_BACKWARD(T, g, out) ((g) * (1 - (out) * (out)))
#define RELU_BACKWARD(T, g, out) ((out) <= 0 ? 0 : (g))
#define POW(T, a, b) pow_##T(a, b)
#define ATAN2(T, a, b) atan2_##T(a, b)
#define AND(T, a, b) ((a) & (b))
#define OR(T, a, b) ((a) | (b))
#define XOR(T, a, b) ((a) ^ (b))
#define BOTH(T, a, b) (((a) != 0) & ((b) != 0))
#define EITHER(T, a, b) (((a) != 0) | ((b) != 0))
#define ONE_OF(T, a, b) (((a) != 0) != ((b) != 0))
#define BITS(T) (8 * (int)sizeof(T))
#define FITS(T, b) ((UNSIGNED_##T)(b) < (UNSIGNED_##T)BITS(T))
#define LEFT_SHIFT(T, a, b) (FITS(T, b) ? (T)((UNSIGNED_##T)(a) << ((b) & (BITS(T) - 1))) : 0)
#define RIGHT_SHIFT(T, a, b) \
    (FITS(T, b) ? (a) >> ((b) & (BITS(T) - 1)) : MIN_##T < 0 ? (a) >> (BITS(T) - 1) : 0)
#define EQUAL(T, a, b) ((a) == (b))
#define NOT_EQUAL(T, a, b) ((a) != (b))
#define LESS(T, a, b) ((a) < (b))
#define LESS_EQUAL(T, a, b) ((a) <= (b))
#define GREATER(T, a, b) ((a) > (b))
#define GREATER_EQUAL(T, a, b) ((a) >= (b))

/* Rounded down, and 0 where the divisor is 0. The least integer divided by -1 wraps. */
#define DIVISION_WHOLE(T) \
    static inline T floor_divide_of_##T(T a, T b) { \
        if (b == 0) return 0; \
        if (MIN_##T < 0 && b == (T)-1) return (T)NEGATIVE_WHOLE(T, a); \
        return (T)(a / b - ((a % b != 0) & (((a % b ^ b) & MIN_##T) != 0))); \
    } \
    static inline T remainder_of_##T(T a, T b) { \
        if (b == 0 || (MIN_##T < 0 && b == (T)-1)) return 0; \
        T rest = (T)(a % b); \
        return (T)(rest != 0 && ((rest ^ b) & MIN_##T) ? rest + b : rest); \
    }
DIVISION_WHOLE(u8) DIVISION_WHOLE(i8) DIVISION_WHOLE(i16) DIVISION_WHOLE(i32) DIVISION_WHOLE(i64)

/* fmod is exact, so the quotient that is left is whole but for its rounding. */
#define DIVISION_REAL(T) \
    static inline T remainder_of_##T(T a, T b) { \
        T rest = fmod_##T(a, b); \
        if (b == 0) return rest; \
        if (rest == 0) return copysign_##T(0, b); \
        return (b < 0) != (rest < 0) ? rest + b : rest; \
    } \
    static inline T floor_divide_of_##T(T a, T b) { \
        if (b == 0) return a / b; \
        T rest = fmod_##T(a, b), quotient = (a - rest) / b; \
        if (rest != 0 && (b < 0) != (rest < 0)) quotient -= 1; \
        if (quotient == 0) return copysign_##T(0, a / b); \
        T whole = floor_##T(quotient); \
        return quotient - whole > (T)0.5 ? whole + 1 : whole; \
    }
DIVISION_REAL(f32) DIVISION_REAL(f64)
#define FLOOR_DIVIDE(T, a, b) floor_divide_of_##T(a, b)
#define REMAINDER(T, a, b) remainder_of_##T(a, b)

#define POW_WHOLE(T) \
    static inline T pow_##T(T base, T exponent) { \
        UNSIGNED_##T result = 1, square = (UNSIGNED_##T)base; \
        for (UNSIGNED_##T left = (UNSIGNED_##T)exponent; left; left >>= 1, square *= square) \
            if (left & 1) result *= square; \
        return (T)result; \
    }
POW_WHOLE(u8) POW_WHOLE(i8) POW_WHOLE(i16) POW_WHOLE(i32) POW_WHOLE(i64)

WHOLE(LOOP2, loop_add, ADD_WHOLE) REAL(LOOP2, loop_add, ADD) LOOP2(loop_add, b8, b8, EITHER)
WHOLE(LOOP2, loop_subtract, SUBTRACT_WHOLE) REAL(LOOP2, loop_subtract, SUBTRACT)
WHOLE(LOOP2, loop_multiply, MULTIPLY_WHOLE) REAL(LOOP2, loop_multiply, MULTIPLY)
LOOP2(loop_multiply, b8, b8, BOTH)
REAL(LOOP2, loop_divide, DIVIDE)
WHOLE(LOOP2, loop_floor_divide, FLOOR_DIVIDE) REAL(LOOP2, loop_floor_divide, FLOOR_DIVIDE)
WHOLE(LOOP2, loop_remainder, REMAINDER) REAL(LOOP2, loop_remainder, REMAINDER)
WHOLE(LOOP2, loop_pow, POW) REAL(LOOP2, loop_pow, POW)
REAL(LOOP2, loop_atan2, ATAN2)
WHOLE(LOOP2, loop_maximum, MAXIMUM) REAL(LOOP2, loop_maximum, MAXIMUM)
WHOLE(LOOP2, loop_minimum, MINIMUM) REAL(LOOP2, loop_minimum, MINIMUM)
REAL(LOOP2, loop_tanh_backward, TANH_BACKWARD)
WHOLE(LOOP2, loop_relu_backward, RELU_BACKWARD) REAL(LOOP2, loop_relu_backward, RELU_BACKWARD)
WHOLE(LOOP2, loop_bitwise_and, AND) LOOP2(loop_bitwise_and, b8, b8, BOTH)
WHOLE(LOOP2, loop_bitwise_or, OR) LOOP2(loop_bitwise_or, b8, b8, EITHER)
WHOLE(LOOP2, loop_bitwise_xor, XOR) LOOP2(loop_bitwise_xor, b8, b8, ONE_OF)
WHOLE(LOOP2, loop_left_shift, LEFT_SHIFT) WHOLE(LOOP2, loop_right_shift, RIGHT_SHIFT)
TRUTH(LOOP2, loop_equal, EQUAL) TRUTH(LOOP2, loop_not_equal, NOT_EQUAL)
TRUTH(LOOP2, loop_less, LESS) TRUTH(LOOP2, loop_less_equal, LESS_EQUAL)
TRUTH(LOOP2, loop_greater, GREATER) TRUTH(LOOP2, loop_greater_equal, GREATER_EQUAL)
TRUTH(LOOP2, loop_logical_and, BOTH) TRUTH(LOOP2, loop_logical_or, EITHER)
TRUTH(LOOP2, loop_logical_xor, ONE_OF)

/* ---- three operands */

#define WHERE(T, c, a, b) ((c) ? (a) : (b))
#define CLIP(T, a, low, high) clip_of_##T(a, low, high)
/* the minimum of high and the maximum of low and a, but written so, it would be no vector code */
#define CLIP_OF(T) \
    static inline T clip_of_##T(T a, T low, T high) { \
        T raised = a >= low ? a : low; \
        raised = a != a ? a : raised; \
        T lowered = raised <= high ? raised : high; \
        return raised != raised ? raised : lowered; \
    }
CLIP_OF(u8) CLIP_OF(i8) CLIP_OF(i16) CLIP_OF(i32) CLIP_OF(i64) CLIP_OF(f32) CLIP_OF(f64)

LOOP3(loop_where, b8, u8, WHERE) LOOP3(loop_where, b8, i16, WHERE) LOOP3(loop_where, b8, i32, WHERE)
LOOP3(loop_where, b8, i64, WHERE)
LOOP3(loop_clip, u8, u8, CLIP) LOOP3(loop_clip, i8, i8, CLIP) LOOP3(loop_clip, i16, i16, CLIP)
LOOP3(loop_clip, i32, i32, CLIP) LOOP3(loop_clip, i64, i64, CLIP)
LOOP3(loop_clip, f32, f32, CLIP) LOOP3(loop_clip, f64, f64, CLIP)

/* ---- the table */

#define OF_BOOL(op) [BOOL] = {loop_##op##_b8, BOOL, BOOL}
#define OF_WHOLE(op) \
    [U8] = {loop_##op##_u8, U8, U8}, [I8] = {loop_##op##_i8, I8, I8}, \
    [I16] = {loop_##op##_i16, I16, I16}, [I32] = {loop_##op##_i32, I32, I32}, \
    [I64] = {loop_##op##_i64, I64, I64}
#define OF_REAL(op) \
    [F16] = {loop_##op##_f32, F32, F32}, [BF16] = {loop_##op##_f32, F32, F32}, \
    [F32] = {loop_##op##_f32, F32, F32}, [F64] = {loop_##op##_f64, F64, F64}
#define TRUTH_OF_WHOLE(op) \
    [BOOL] = {loop_##op##_b8, BOOL, BOOL}, [U8] = {loop_##op##_u8, U8, BOOL}, \
    [I8] = {loop_##op##_i8, I8, BOOL}, [I16] = {loop_##op##_i16, I16, BOOL}, \
    [I32] = {loop_##op##_i32, I32, BOOL}, [I64] = {loop_##op##_i64, I64, BOOL}
#define TRUTH_OF_REAL(op) \
    [F16] = {loop_##op##_f32, F32, BOOL}, [BF16] = {loop_##op##_f32, F32, BOOL}, \
    [F32] = {loop_##op##_f32, F32, BOOL}, [F64] = {loop_##op##_f64, F64, BOOL}
/* where only sizes matter */
#define CONSTANT_OF_WHOLE(op) \
    [BOOL] = {loop_##op##_b8, BOOL, BOOL}, [U8] = {loop_##op##_b8, U8, BOOL}, \
    [I8] = {loop_##op##_b8, I8, BOOL}, [I16] = {loop_##op##_i16, I16, BOOL}, \
    [I32] = {loop_##op##_i32, I32, BOOL}, [I64] = {loop_##op##_i64, I64, BOOL}

#define NUMBERS(op) [OP_##op] = {OF_WHOLE(op), OF_REAL(op)}
#define ALL(op) [OP_##op] = {OF_BOOL(op), OF_WHOLE(op), OF_REAL(op)}
#define FLOATS(op) [OP_##op] = {OF_REAL(op)}
#define ROUNDS(op) [OP_##op] = {OF_WHOLE(same), OF_REAL(op)}
#define WHOLES(op) [OP_##op] = {OF_BOOL(op), OF_WHOLE(op)}
#define SHIFTS(op) [OP_##op] = {OF_WHOLE(op)}
#define TRUTHS(op) [OP_##op] = {TRUTH_OF_WHOLE(op), TRUTH_OF_REAL(op)}
#define KNOWN(op, answer) [OP_##op] = {CONSTANT_OF_WHOLE(answer), TRUTH_OF_REAL(op)}

#define ELEMENTWISE_TABLE { \
    NUMBERS(negative), NUMBERS(abs), ALL(sign), NUMBERS(square), NUMBERS(relu), \
    ROUNDS(floor), ROUNDS(ceil), ROUNDS(trunc), ROUNDS(round), \
    FLOATS(sqrt), FLOATS(reciprocal), FLOATS(rsqrt), \
    FLOATS(exp), FLOATS(expm1), FLOATS(log), FLOATS(log1p), FLOATS(sin), FLOATS(cos), \
    FLOATS(tanh), FLOATS(erf), FLOATS(sigmoid), \
    WHOLES(bitwise_invert), TRUTHS(logical_not), \
    KNOWN(isnan, false), KNOWN(isinf, false), KNOWN(isfinite, true), \
    ALL(add), NUMBERS(subtract), ALL(multiply), FLOATS(divide), \
    NUMBERS(floor_divide), NUMBERS(remainder), NUMBERS(pow), FLOATS(atan2), \
    MAXIMA(maximum, logical_or), MAXIMA(minimum, logical_and), \
    FLOATS(tanh_backward), NUMBERS(relu_backward), \
    WHOLES(bitwise_and), WHOLES(bitwise_or), WHOLES(bitwise_xor), \
    SHIFTS(left_shift), SHIFTS(right_shift), \
    TRUTHS(equal), TRUTHS(not_equal), TRUTHS(less), TRUTHS(less_equal), \
    TRUTHS(greater), TRUTHS(greater_equal), \
    TRUTHS(logical_and), TRUTHS(logical_or), TRUTHS(logical_xor), \
    [OP_where] = { \
        [BOOL] = {loop_where_u8, BOOL, BOOL}, [U8] = {loop_where_u8, U8, U8}, \
        [I8] = {loop_where_u8, I8, I8}, [I16] = {loop_where_i16, I16, I16}, \
        [I32] = {loop_where_i32, I32, I32}, [I64] = {loop_where_i64, I64, I64}, \
        [F16] = {loop_where_i16, F16, F16}, [BF16] = {loop_where_i16, BF16, BF16}, \
        [F32] = {loop_where_i32, F32, F32}, [F64] = {loop_where_i64, F64, F64}}, \
    NUMBERS(clip), \
    ACTIVATIONS_TABLE \
}
#define MAXIMA(op, of_bool) \
    [OP_##op] = {[BOOL] = {loop_##of_bool##_b8, BOOL, BOOL}, OF_WHOLE(op), OF_REAL(op)}
