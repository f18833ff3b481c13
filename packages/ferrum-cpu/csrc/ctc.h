/* Connectionist temporal classification, and its gradient. */

/* log_probs (t, n, classes) in any layout, targets (n, s), lengths (n,), losses `out` (n,) and alpha
   (n, t, 2 s + 1): all else is dense, int64 or of the dtype of log_probs, float32 or float64.
   OUT_OF_RANGE for a target that counts and is no class. */
int ctc_loss(uintptr_t log_probs, uintptr_t targets, uintptr_t input_lengths,
             uintptr_t target_lengths, uintptr_t out, uintptr_t alpha, int64_t blank);
/* g (n,), and `out` (t, n, classes) for the gradient. */
int ctc_loss_backward(uintptr_t g, uintptr_t alpha, uintptr_t targets, uintptr_t input_lengths,
                      uintptr_t target_lengths, uintptr_t out, int64_t blank);
