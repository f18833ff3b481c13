/* The loops of optimizers' steps. Each operation is rounded on its own and in the order of the
   ops' fallbacks, so that the bits are the same. */

#define STEPS(T) \
    static void step_gradient_##T(void *out, const void *grad, const void *param, intptr_t n, \
                                  const Numbers *with) { \
        const T *g = grad, *p = param; \
        T *y = out, decay = (T)with->weight_decay; \
        if (with->maximize) { \
            INDEPENDENT for (intptr_t i = 0; i < n; i++) y[i] = -g[i]; \
            g = y; \
        } \
        if (with->weight_decay != 0) { \
            INDEPENDENT for (intptr_t i = 0; i < n; i++) y[i] = g[i] + p[i] * decay; \
        } \
    } \
    static void step_plain_##T(void *const *written, const void *grad, intptr_t n, \
                               const Numbers *with) { \
        T *p = written[0], lr = (T)with->lr; \
        const T *g = grad; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) p[i] = p[i] - g[i] * lr; \
    } \
    static void step_heavy_##T(void *const *written, const void *grad, intptr_t n, \
                               const Numbers *with) { \
        T *p = written[0], *m = written[1]; \
        T lr = (T)with->lr, momentum = (T)with->momentum, undamped = (T)with->undamped; \
        const T *g = grad; \
        if (with->nesterov) { \
            INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
                T used = g[i], kept = m[i] * momentum + used * undamped; \
                m[i] = kept; \
                p[i] = p[i] - (used + kept * momentum) * lr; \
            } \
            return; \
        } \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T kept = m[i] * momentum + g[i] * undamped; \
            m[i] = kept; \
            p[i] = p[i] - kept * lr; \
        } \
    } \
    static void step_adam_##T(void *const *written, const void *grad, intptr_t n, \
                              const Numbers *with) { \
        T *p = written[0], *m = written[1], *v = written[2]; \
        T shrink = (T)with->shrink, less1 = (T)with->less_beta1, beta2 = (T)with->beta2; \
        T less2 = (T)with->less_beta2, root = (T)with->root, rate = (T)with->rate; \
        T eps = (T)with->eps; \
        const T *g = grad; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T used = g[i], mean = m[i] + (used - m[i]) * less1; \
            T square = v[i] * beta2 + used * used * less2; \
            m[i] = mean; \
            v[i] = square; \
            p[i] = p[i] * shrink + mean / (sqrt_##T(square) / root + eps) * rate; \
        } \
    } \
    static void step_amsgrad_##T(void *const *written, const void *grad, intptr_t n, \
                                 const Numbers *with) { \
        T *p = written[0], *m = written[1], *v = written[2], *largest = written[3]; \
        T shrink = (T)with->shrink, less1 = (T)with->less_beta1, beta2 = (T)with->beta2; \
        T less2 = (T)with->less_beta2, root = (T)with->root, rate = (T)with->rate; \
        T eps = (T)with->eps; \
        const T *g = grad; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T used = g[i], mean = m[i] + (used - m[i]) * less1; \
            T square = v[i] * beta2 + used * used * less2; \
            T most = MAXIMUM(T, largest[i], square); \
            m[i] = mean; \
            v[i] = square; \
            largest[i] = most; \
            p[i] = p[i] * shrink + mean / (sqrt_##T(most) / root + eps) * rate; \
        } \
    }
STEPS(f32)
STEPS(f64)

#define STEPS_TABLE \
    {.gradient = {step_gradient_f32, step_gradient_f64}, \
     .plain = {step_plain_f32, step_plain_f64}, \
     .heavy = {step_heavy_f32, step_heavy_f64}, \
     .adam = {step_adam_f32, step_adam_f64}, \
     .amsgrad = {step_amsgrad_f32, step_amsgrad_f64}}
