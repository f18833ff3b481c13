/* Losses and their gradients. `reduction` is 0 for none, 1 for the mean, 2 for the sum. */

/* `kind`: 0 (x - t)², 1 |x - t|, 2 smooth_l1_loss, 3 Huber's, 4 binary cross entropy of scores. */
int pointwise_loss(int kind, double width, uintptr_t input, uintptr_t target, uintptr_t out,
                   int reduction);
int pointwise_loss_backward(int kind, double width, uintptr_t g, uintptr_t input,
                            uintptr_t target, uintptr_t out, int reduction);

/* `weight` is 0 where there is none. */
int nll_loss(uintptr_t log_probs, uintptr_t target, uintptr_t weight, uintptr_t out,
             uintptr_t total, int64_t ignore_index, int reduction);
int cross_entropy(uintptr_t x, uintptr_t target, uintptr_t weight, uintptr_t out,
                  uintptr_t log_probs, uintptr_t total, int64_t ignore_index,
                  double label_smoothing, int reduction);
int cross_entropy_backward(uintptr_t g, uintptr_t log_probs, uintptr_t target, uintptr_t weight,
                           uintptr_t total, uintptr_t out, int64_t ignore_index,
                           double label_smoothing, int reduction);
