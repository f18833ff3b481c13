/* The loops of connectionist temporal classification. A row of states has two elements in front of
   it that stand for none, so that every state reads the two before it. What follows the states, to
   a whole number of vectors, comes from them and goes nowhere. */

#define CTC_ROW(T, a, i) ((T *)(a)->work + (i) * ((a)->width + 2) + 2)

#define CTC(T) \
    /* 1 for states that may be come to past a blank: from a class to another one. */ \
    static void ctc_skips_##T(T *skips, const Alignment *a) { \
        memset(skips, 0, (size_t)a->width * sizeof(T)); \
        for (intptr_t i = 1; i < a->size; i++) skips[2 * i + 1] = a->target[i] != a->target[i - 1]; \
    } \
    static void ctc_clear_##T(T *row, intptr_t from, intptr_t to) { \
        for (intptr_t s = from; s < to; s++) row[s] = (T)CTC_NEVER; \
    } \
    /* The probability of each state after a step, from those before it; all are logarithms. */ \
    static void ctc_step_##T(T *to, const T *from, const T *scores, const T *skips, intptr_t n) { \
        INDEPENDENT for (intptr_t s = 0; s < n; s++) { \
            T stay = from[s], ahead = from[s - 1], past = from[s - 2]; \
            past = skips[s] != 0 ? past : (T)CTC_NEVER; \
            T most = stay > ahead ? stay : ahead; \
            most = past > most ? past : most; \
            T sum = exp_##T(stay - most) + exp_##T(ahead - most) + exp_##T(past - most); \
            T found = log_##T(sum) + most + scores[s]; \
            to[s] = found <= (T)CTC_NEVER ? (T)CTC_NEVER : found; \
        } \
    } \
    static void ctc_scores_##T(T *to, const Alignment *a, intptr_t t) { \
        const char *from = a->scores + t * a->score_step; \
        T blank = *(const T *)(from + a->blank * a->score_class); \
        for (intptr_t i = 0; i < a->size; i++) { \
            to[2 * i] = blank; \
            to[2 * i + 1] = *(const T *)(from + a->target[i] * a->score_class); \
        } \
        to[2 * a->size] = blank; \
    } \
    static void ctc_loss_##T(const Alignment *a, void *out) { \
        intptr_t n = 2 * a->size + 1; \
        T *row = CTC_ROW(T, a, 0), *next = CTC_ROW(T, a, 1), *scores = CTC_ROW(T, a, 2); \
        T *skips = CTC_ROW(T, a, 3), *alpha = (T *)a->alpha; \
        ctc_skips_##T(skips, a); \
        ctc_clear_##T(row, -2, a->width); \
        ctc_clear_##T(next, -2, 0); \
        memset(scores, 0, (size_t)a->width * sizeof(T)); \
        row[0] = 0; \
        for (intptr_t t = 0; t < a->steps; t++, alpha += a->states) { \
            ctc_scores_##T(scores, a, t); \
            ctc_step_##T(next, row, scores, skips, a->width); \
            T *made = next; \
            next = row, row = made; \
            memcpy(alpha, row, (size_t)n * sizeof(T)); \
            ctc_clear_##T(alpha, n, a->states); \
        } \
        ctc_clear_##T(alpha, 0, (a->all_steps - a->steps) * a->states); \
        /* the sum of the last two is a step more of the last one, which costs nothing */ \
        T total, nothing = 0; \
        ctc_step_##T(&total, row + n - 1, &nothing, &nothing, 1); \
        *(T *)out = total == (T)CTC_NEVER ? (T)INFINITY : -total; \
    } \
    /* What states hand back of their shares: to themselves, to the one before, and past it. */ \
    static void ctc_parts_##T(T *stays, T *aheads, T *pasts, const T *share, const T *from, \
                              const T *skips, intptr_t n) { \
        INDEPENDENT for (intptr_t s = 0; s < n; s++) { \
            T stay = from[s], ahead = from[s - 1], past = from[s - 2]; \
            past = skips[s] != 0 ? past : (T)CTC_NEVER; \
            T most = stay > ahead ? stay : ahead; \
            most = past > most ? past : most; \
            stay = exp_##T(stay - most), ahead = exp_##T(ahead - most); \
            past = exp_##T(past - most); \
            T part = share[s] / (stay + ahead + past); \
            stays[s] = stay * part; \
            aheads[s] = ahead * part; \
            pasts[s] = past * part; \
        } \
    } \
    /* Take the states' shares off their classes. */ \
    static void ctc_take_##T(const Alignment *a, intptr_t t, const T *share, T g) { \
        char *to = a->scores + t * a->score_step; \
        T blank = share[2 * a->size]; \
        for (intptr_t i = 0; i < a->size; i++) { \
            blank += share[2 * i]; \
            *(T *)(to + a->target[i] * a->score_class) -= share[2 * i + 1] * g; \
        } \
        *(T *)(to + a->blank * a->score_class) -= blank * g; \
    } \
    static void ctc_gradient_##T(const Alignment *a, void *g) { \
        intptr_t n = 2 * a->size + 1; \
        T *row = CTC_ROW(T, a, 0), *share = CTC_ROW(T, a, 1), *skips = CTC_ROW(T, a, 2); \
        T *stays = CTC_ROW(T, a, 3), *aheads = CTC_ROW(T, a, 4) - 2, *pasts = CTC_ROW(T, a, 5) - 2; \
        ctc_skips_##T(skips, a); \
        ctc_clear_##T(row, -2, a->width); \
        memset(share, 0, (size_t)a->width * sizeof(T)); \
        for (intptr_t t = a->steps - 1; t >= 0; t--) { \
            memcpy(row, (const T *)a->alpha + t * a->states, (size_t)n * sizeof(T)); \
            if (t == a->steps - 1) { \
                if (row[n - 1] == (T)CTC_NEVER && row[n - 2] == (T)CTC_NEVER) \
                    return; \
                T all = 1, skip = 0, past; \
                ctc_parts_##T(share + n - 1, share + n - 2, &past, &all, row + n - 1, &skip, 1); \
            } else { \
                ctc_parts_##T(stays, aheads, pasts, share, row, skips, a->width); \
                aheads[n] = pasts[n] = pasts[n + 1] = 0; \
                INDEPENDENT for (intptr_t s = 0; s < n; s++) \
                    share[s] = stays[s] + aheads[s + 1] + pasts[s + 2]; \
            } \
            ctc_take_##T(a, t, share, *(const T *)g); \
        } \
    }
CTC(f32)
CTC(f64)

#define CTC_TABLE \
    {.loss = {ctc_loss_f32, ctc_loss_f64}, .gradient = {ctc_gradient_f32, ctc_gradient_f64}}
