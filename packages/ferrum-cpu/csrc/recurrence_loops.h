/* The loops of recurrence: a step's gates of one sequence. */

#define RECURRENT_ROWS(T) \
    static void recurrent_plain_##T(void *result, void *state, intptr_t n, int relu) { \
        T *out = result, *h = state; \
        if (relu) { \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) h[j] = out[j] = out[j] < 0 ? 0 : out[j]; \
        } else { \
            INDEPENDENT for (intptr_t j = 0; j < n; j++) h[j] = out[j] = tanh_##T(out[j]); \
        } \
    } \
    static void recurrent_lstm_##T(void *gates, void *cells, void *cell, void *state, \
                                   void *result, intptr_t n) { \
        T *i = gates, *f = i + n, *g = f + n, *o = g + n; \
        T *all = cells, *c = cell, *h = state, *out = result; \
        INDEPENDENT for (intptr_t j = 0; j < 2 * n; j++) i[j] = sigmoid_##T(i[j]); \
        INDEPENDENT for (intptr_t j = 0; j < n; j++) g[j] = tanh_##T(g[j]); \
        INDEPENDENT for (intptr_t j = 0; j < n; j++) o[j] = sigmoid_##T(o[j]); \
        INDEPENDENT for (intptr_t j = 0; j < n; j++) { \
            T new = f[j] * c[j] + i[j] * g[j]; \
            all[j] = c[j] = new; \
            out[j] = h[j] = o[j] * tanh_##T(new); \
        } \
    } \
    static void recurrent_gru_##T(void *gates, const void *input, const void *inner, void *state, \
                                  void *result, intptr_t n) { \
        T *r = gates, *new = r + 2 * n, *kept = r + 3 * n, *h = state, *out = result; \
        const T *x = input, *u = inner, *z = r + n; \
        INDEPENDENT for (intptr_t j = 0; j < 2 * n; j++) r[j] = sigmoid_##T(x[j] + u[j]); \
        INDEPENDENT for (intptr_t j = 0; j < n; j++) { \
            kept[j] = u[2 * n + j]; \
            new[j] = tanh_##T(x[2 * n + j] + r[j] * u[2 * n + j]); \
            out[j] = h[j] = (1 - z[j]) * new[j] + z[j] * h[j]; \
        } \
    }

#define RECURRENT_BACKWARD(T) \
    static void recurrent_plain_backward_##T(void *result, const void *gradient, \
                                             const void *later, const void *values, intptr_t n, \
                                             int relu) { \
        T *dx = result; \
        const T *g = gradient, *dh = later, *out = values; \
        INDEPENDENT for (intptr_t j = 0; j < n; j++) { \
            T d = g ? g[j] + dh[j] : dh[j]; \
            dx[j] = d * (relu ? (T)(out[j] > 0) : 1 - out[j] * out[j]); \
        } \
    } \
    static void recurrent_lstm_backward_##T(void *result, const void *gradient, \
                                            const void *later, void *of_cell, const void *gates, \
                                            const void *cells, const void *old, intptr_t n) { \
        T *dx = result, *dc = of_cell; \
        const T *gs = gradient, *dh = later, *before = old, *all = cells; \
        const T *i = gates, *f = i + n, *g = f + n, *o = g + n; \
        INDEPENDENT for (intptr_t j = 0; j < n; j++) { \
            T d = gs ? gs[j] + dh[j] : dh[j], t = tanh_##T(all[j]); \
            T dcell = dc[j] + d * (o[j] * (1 - t * t)); \
            dx[j] = dcell * (g[j] * i[j] * (1 - i[j])); \
            dx[n + j] = dcell * (before[j] * f[j] * (1 - f[j])); \
            dx[2 * n + j] = dcell * (i[j] * (1 - g[j] * g[j])); \
            dx[3 * n + j] = d * (t * o[j] * (1 - o[j])); \
            dc[j] = dcell * f[j]; \
        } \
    } \
    static void recurrent_gru_backward_##T(void *result, void *hidden, const void *gradient, \
                                           void *later, const void *gates, const void *old, \
                                           intptr_t n) { \
        T *dx = result, *inner = hidden, *dh = later; \
        const T *g = gradient, *before = old; \
        const T *r = gates, *z = r + n, *new = z + n, *u = new + n; \
        INDEPENDENT for (intptr_t j = 0; j < n; j++) { \
            T d = g ? g[j] + dh[j] : dh[j]; \
            T of_new = (1 - z[j]) * (1 - new[j] * new[j]); \
            dx[j] = inner[j] = d * (of_new * u[j] * r[j] * (1 - r[j])); \
            dx[n + j] = inner[n + j] = d * ((before[j] - new[j]) * z[j] * (1 - z[j])); \
            dx[2 * n + j] = d * of_new; \
            inner[2 * n + j] = d * of_new * r[j]; \
            dh[j] = d * z[j]; \
        } \
    }

#define RECURRENCE(T) RECURRENT_ROWS(T) RECURRENT_BACKWARD(T)
RECURRENCE(f32)
RECURRENCE(f64)

#define RECURRENCE_TABLE \
    {.plain = {recurrent_plain_f32, recurrent_plain_f64}, \
     .lstm = {recurrent_lstm_f32, recurrent_lstm_f64}, \
     .gru = {recurrent_gru_f32, recurrent_gru_f64}, \
     .plain_backward = {recurrent_plain_backward_f32, recurrent_plain_backward_f64}, \
     .lstm_backward = {recurrent_lstm_backward_f32, recurrent_lstm_backward_f64}, \
     .gru_backward = {recurrent_gru_backward_f32, recurrent_gru_backward_f64}}
