/* The loops of losses. Sums run in lanes, which are added in a fixed order at the end. */

#define LOSS_LANES 16

/* Fold the lanes of a sum or maximum in halves. */
#define FOLD(lane, COMBINE) \
    for (int half = LOSS_LANES / 2; half; half /= 2) \
        for (int j = 0; j < half; j++) \
            lane[j] = COMBINE(lane[j], lane[j + half]);
#define PLUS(a, b) ((a) + (b))
#define LARGER(a, b) ((a) > (b) ? (a) : (b))

#define LOSSES(T) \
    static double loss_squares_##T(const void *input, const void *target, intptr_t n) { \
        const T *x = input, *t = target; \
        f64 lane[LOSS_LANES] = {0}; \
        for (intptr_t start = 0; start + LOSS_LANES <= n; start += LOSS_LANES) \
            for (int j = 0; j < LOSS_LANES; j++) { \
                f64 d = x[start + j] - t[start + j]; \
                lane[j] += d * d; \
            } \
        for (intptr_t i = n / LOSS_LANES * LOSS_LANES; i < n; i++) { \
            f64 d = x[i] - t[i]; \
            lane[i % LOSS_LANES] += d * d; \
        } \
        FOLD(lane, PLUS) \
        return lane[0]; \
    } \
    static void loss_log_softmax_##T(void *out, const void *row, intptr_t n) { \
        const T *restrict x = row; \
        T *restrict y = out; \
        T most[LOSS_LANES]; \
        f64 sum = 0; \
        for (int j = 0; j < LOSS_LANES; j++) \
            most[j] = -(T)INFINITY; \
        for (intptr_t start = 0; start + LOSS_LANES <= n; start += LOSS_LANES) \
            for (int j = 0; j < LOSS_LANES; j++) \
                most[j] = LARGER(x[start + j], most[j]); \
        for (intptr_t i = n / LOSS_LANES * LOSS_LANES; i < n; i++) \
            most[i % LOSS_LANES] = LARGER(x[i], most[i % LOSS_LANES]); \
        FOLD(most, LARGER) \
        T top = most[0]; \
        for (intptr_t i = 0; i < n; i++) \
            y[i] = exp_##T(x[i] - top); \
        for (intptr_t start = 0; start < n; start += TILE) \
            sum += loss_weighted_##T(y + start, NULL, smaller(n - start, TILE)); \
        T less = log_##T((T)sum); \
        for (intptr_t i = 0; i < n; i++) \
            y[i] = x[i] - top - less; \
    } \
    static void loss_gradient_##T(void *out, const void *log_probs, intptr_t n, \
                                  const void *weights, double share, double total, double g, \
                                  intptr_t target, double own) { \
        const T *restrict x = log_probs, *w = weights; \
        T *restrict y = out; \
        T of_each = (T)share, all = (T)total, by = (T)g; \
        for (intptr_t i = 0; i < n; i++) \
            y[i] = exp_##T(x[i]); \
        T there = y[target] * all - ((w ? w[target] * of_each : of_each) + (T)own); \
        if (w && share != 0) { \
            for (intptr_t i = 0; i < n; i++) \
                y[i] = (y[i] * all - w[i] * of_each) * by; \
        } else { \
            for (intptr_t i = 0; i < n; i++) \
                y[i] = (y[i] * all - of_each) * by; \
        } \
        y[target] = there * by; \
    }

/* Sums of at most TILE elements of float32 are exact enough in it. */
#define WEIGHTED(T) \
    static double loss_weighted_##T(const void *row, const void *weights, intptr_t n) { \
        const T *x = row, *w = weights; \
        T lane[LOSS_LANES] = {0}; \
        intptr_t whole = n / LOSS_LANES * LOSS_LANES; \
        if (w) { \
            for (intptr_t start = 0; start < whole; start += LOSS_LANES) \
                for (int j = 0; j < LOSS_LANES; j++) \
                    lane[j] += x[start + j] * w[start + j]; \
            for (intptr_t i = whole; i < n; i++) \
                lane[i - whole] += x[i] * w[i]; \
        } else { \
            for (intptr_t start = 0; start < whole; start += LOSS_LANES) \
                for (int j = 0; j < LOSS_LANES; j++) \
                    lane[j] += x[start + j]; \
            for (intptr_t i = whole; i < n; i++) \
                lane[i - whole] += x[i]; \
        } \
        FOLD(lane, PLUS) \
        return lane[0]; \
    }

/* A loss of x and t, which differ by d, and its slope; w is a width. */
#define POINTWISE(NAME, T, VALUE, SLOPE) \
    static void loss_##NAME##_##T(void *out, const void *input, const void *target, double width, \
                                  intptr_t n) { \
        const T *x = input, *t = target; \
        T *y = out, w = (T)width; \
        (void)w; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T d = x[i] - t[i]; \
            (void)d; \
            y[i] = VALUE; \
        } \
    } \
    static void loss_slope_##NAME##_##T(void *out, const void *input, const void *target, \
                                        const void *gradient, double factor, double width, \
                                        intptr_t n) { \
        const T *x = input, *t = target, *g = gradient; \
        T *y = out, by = (T)factor, w = (T)width; \
        (void)w; \
        if (g) { \
            INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
                T d = x[i] - t[i]; \
                (void)d; \
                y[i] = (SLOPE) * (g[i] * by); \
            } \
            return; \
        } \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T d = x[i] - t[i]; \
            (void)d; \
            y[i] = (SLOPE)*by; \
        } \
    }
#define SIDE_OF(T, d) ((d) == (d) ? (T)(((d) > 0) - ((d) < 0)) : (d))
#define POINTWISES(T) \
    POINTWISE(squared, T, d * d, d) \
    POINTWISE(absolute, T, abs_##T(d), SIDE_OF(T, d)) \
    POINTWISE(smooth, T, abs_##T(d) < w ? d * d * (T)0.5 / w : abs_##T(d) - (T)0.5 * w, \
              abs_##T(d) < w ? d / w : SIDE_OF(T, d)) \
    POINTWISE(huber, T, abs_##T(d) <= w ? d * d * (T)0.5 : (abs_##T(d) - (T)0.5 * w) * w, \
              abs_##T(d) < w ? d : SIDE_OF(T, d) * w) \
    POINTWISE(logits, T, \
              (x[i] > 0 ? 1 - t[i] : -t[i]) * x[i] + log1p_##T(exp_##T(-abs_##T(x[i]))), \
              sigmoid_##T(x[i]) - t[i])
POINTWISES(f32)
POINTWISES(f64)
WEIGHTED(f32)
WEIGHTED(f64)
LOSSES(f32)
LOSSES(f64)

#define OF_BOTH(name) {name##_f32, name##_f64}
#define EACH_POINTWISE(of) \
    OF_BOTH(of##_squared), OF_BOTH(of##_absolute), OF_BOTH(of##_smooth), OF_BOTH(of##_huber), OF_BOTH(of##_logits)
#define LOSSES_TABLE \
    {.squares = {loss_squares_f32, loss_squares_f64}, \
     .value = {EACH_POINTWISE(loss)}, \
     .slope = {EACH_POINTWISE(loss_slope)}, \
     .log_softmax = {loss_log_softmax_f32, loss_log_softmax_f64}, \
     .weighted = {loss_weighted_f32, loss_weighted_f64}, \
     .gradient = {loss_gradient_f32, loss_gradient_f64}}
