/* Attention and its gradients: what Python calls, and its declaration there. */

/* q (..., h, l, e), k (..., h / groups, s, e), v (..., h / groups, s, ev) and g (..., h, l, ev) are
   of one floating dtype, in any layout; a mask broadcasts to (..., h, l, s), and 0 is none. `out`
   is dense and of their dtype. What else is written, and lse and delta, is dense, and float32
   unless that dtype is float64. Weights are dropped with probability p by draws of the seed. */
int attention(uintptr_t q, uintptr_t k, uintptr_t v, uintptr_t mask, uintptr_t out, uintptr_t lse,
              double scale, int causal, double p, uint64_t seed, uint64_t offset);
int attention_backward(uintptr_t g, uintptr_t q, uintptr_t k, uintptr_t v, uintptr_t mask,
                       uintptr_t lse, uintptr_t delta, uintptr_t dq, uintptr_t dk, uintptr_t dv,
                       double scale, int causal, double p, uint64_t seed, uint64_t offset);
