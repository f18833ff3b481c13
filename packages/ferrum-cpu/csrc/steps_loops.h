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

#define STEP_KINDS(T) \
    static void step_adadelta_##T(void *const *written, const void *grad, intptr_t n, \
                                  const Numbers *with) { \
        T *p = written[0], *v = written[1], *u = written[2]; \
        T rho = (T)with->beta2, less = (T)with->less_beta2, eps = (T)with->eps, lr = (T)with->lr; \
        const T *g = grad; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T used = g[i], square = v[i] * rho + used * used * less; \
            T move = sqrt_##T(u[i] + eps) / sqrt_##T(square + eps) * used; \
            v[i] = square; \
            u[i] = u[i] * rho + move * move * less; \
            p[i] = p[i] - move * lr; \
        } \
    } \
    static void step_adagrad_##T(void *const *written, const void *grad, intptr_t n, \
                                 const Numbers *with) { \
        T *p = written[0], *sum = written[1], eps = (T)with->eps, rate = (T)with->rate; \
        const T *g = grad; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T used = g[i], total = sum[i] + used * used; \
            sum[i] = total; \
            p[i] = p[i] - used / (sqrt_##T(total) + eps) * rate; \
        } \
    } \
    static void step_adamax_##T(void *const *written, const void *grad, intptr_t n, \
                                const Numbers *with) { \
        T *p = written[0], *m = written[1], *u = written[2]; \
        T less1 = (T)with->less_beta1, beta2 = (T)with->beta2, eps = (T)with->eps; \
        T rate = (T)with->rate; \
        const T *g = grad; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T used = g[i], mean = m[i] + (used - m[i]) * less1; \
            T old = u[i] * beta2, new = abs_##T(used) + eps, most = MAXIMUM(T, old, new); \
            m[i] = mean; \
            u[i] = most; \
            p[i] = p[i] + mean / most * rate; \
        } \
    } \
    static void step_lion_##T(void *const *written, const void *grad, intptr_t n, \
                              const Numbers *with) { \
        T *p = written[0], *m = written[1]; \
        T shrink = (T)with->shrink, lr = (T)with->lr, beta1 = (T)with->beta1; \
        T less1 = (T)with->less_beta1, beta2 = (T)with->beta2, less2 = (T)with->less_beta2; \
        const T *g = grad; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T used = g[i], way = m[i] * beta1 + used * less1; \
            T sign = way > 0 ? (T)1 : way < 0 ? (T)-1 : way; \
            m[i] = m[i] * beta2 + used * less2; \
            p[i] = p[i] * shrink - sign * lr; \
        } \
    } \
    static void step_nadam_##T(void *const *written, const void *grad, intptr_t n, \
                               const Numbers *with) { \
        T *p = written[0], *m = written[1], *v = written[2]; \
        T shrink = (T)with->shrink, less1 = (T)with->less_beta1, beta2 = (T)with->beta2; \
        T less2 = (T)with->less_beta2, root = (T)with->root, rate = (T)with->rate; \
        T grad_rate = (T)with->grad_rate, eps = (T)with->eps; \
        const T *g = grad; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T used = g[i], mean = m[i] + (used - m[i]) * less1; \
            T square = v[i] * beta2 + used * used * less2, scale = sqrt_##T(square) / root + eps; \
            m[i] = mean; \
            v[i] = square; \
            p[i] = p[i] * shrink - used / scale * grad_rate - mean / scale * rate; \
        } \
    } \
    static void step_radam_##T(void *const *written, const void *grad, intptr_t n, \
                               const Numbers *with) { \
        T *p = written[0], *m = written[1], *v = written[2]; \
        T shrink = (T)with->shrink, less1 = (T)with->less_beta1, beta2 = (T)with->beta2; \
        T less2 = (T)with->less_beta2, rate = (T)with->rate, eps = (T)with->eps; \
        int is_scaled = with->is_scaled; \
        const T *g = grad; \
        INDEPENDENT for (intptr_t i = 0; i < n; i++) { \
            T used = g[i], mean = m[i] + (used - m[i]) * less1; \
            T square = v[i] * beta2 + used * used * less2; \
            T scale = is_scaled ? sqrt_##T(square) + eps : (T)1; \
            m[i] = mean; \
            v[i] = square; \
            p[i] = p[i] * shrink + mean / scale * rate; \
        } \
    } \
    static void step_rmsprop_##T(void *const *written, const void *grad, intptr_t n, \
                                 const Numbers *with) { \
        int heavy = with->momentum > 0, centered = with->centered; \
        T *p = written[0], *v = written[1], *m = written[heavy ? 2 : 1]; \
        T *a = written[centered ? 2 + heavy : 1], momentum = (T)with->momentum, lr = (T)with->lr; \
        T alpha = (T)with->beta2, less = (T)with->less_beta2, eps = (T)with->eps; \
        const T *g = grad; \
        for (intptr_t i = 0; i < n; i++) { \
            T used = g[i], square = v[i] * alpha + used * used * less, spread = square; \
            v[i] = square; \
            if (centered) { \
                T mean = a[i] + (used - a[i]) * less; \
                a[i] = mean; \
                spread = square - mean * mean; \
            } \
            T move = used / (sqrt_##T(spread) + eps); \
            if (heavy) { \
                move = m[i] * momentum + move; \
                m[i] = move; \
            } \
            p[i] = p[i] - move * lr; \
        } \
    }
STEPS(f32)
STEPS(f64)
STEP_KINDS(f32)
STEP_KINDS(f64)

#define KIND(name) {step_##name##_f32, step_##name##_f64}

#define STEPS_TABLE \
    {.gradient = {step_gradient_f32, step_gradient_f64}, \
     .plain = {step_plain_f32, step_plain_f64}, \
     .heavy = {step_heavy_f32, step_heavy_f64}, \
     .adam = {step_adam_f32, step_adam_f64}, \
     .amsgrad = {step_amsgrad_f32, step_amsgrad_f64}, \
     .kinds = {[STEP_ADADELTA] = KIND(adadelta), [STEP_ADAGRAD] = KIND(adagrad), \
               [STEP_ADAMAX] = KIND(adamax), [STEP_LION] = KIND(lion), [STEP_NADAM] = KIND(nadam), \
               [STEP_RADAM] = KIND(radam), [STEP_RMSPROP] = KIND(rmsprop)}}
