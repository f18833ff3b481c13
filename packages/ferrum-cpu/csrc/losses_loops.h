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
    static void loss_square_##T(void *out, const void *input, const void *target, intptr_t n) { \
        const T *x = input, *t = target; \
        T *y = out; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T d = x[i] - t[i]; \
            y[i] = d * d; \
        } \
    } \
    static void loss_difference_##T(void *out, const void *input, const void *target, \
                                    const void *gradient, double factor, intptr_t n) { \
        const T *x = input, *t = target, *g = gradient; \
        T *y = out, by = (T)factor; \
        if (g) { \
            INDEPENDENT for (intptr_t i = 0; i < n; i++) y[i] = (x[i] - t[i]) * (g[i] * by); \
            return; \
        } \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) y[i] = (x[i] - t[i]) * by; \
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
WEIGHTED(f32)
WEIGHTED(f64)
LOSSES(f32)
LOSSES(f64)

#define LOSSES_TABLE \
    {.squares = {loss_squares_f32, loss_squares_f64}, \
     .square = {loss_square_f32, loss_square_f64}, \
     .difference = {loss_difference_f32, loss_difference_f64}, \
     .log_softmax = {loss_log_softmax_f32, loss_log_softmax_f64}, \
     .weighted = {loss_weighted_f32, loss_weighted_f64}, \
     .gradient = {loss_gradient_f32, loss_gradient_f64}}
