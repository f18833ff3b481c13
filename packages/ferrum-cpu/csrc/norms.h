/* Normalisation and its gradients. Weights and biases are 0 where there are none. Results are
   dense. */

/* Rows are what the `last` axes hold. Unless `centred` it is rms_norm, which has no bias: dbias is
   0, too. */
int row_norm(int centred, uintptr_t x, uintptr_t weight, uintptr_t bias, uintptr_t out, int last,
             double eps);
int row_norm_backward(int centred, uintptr_t g, uintptr_t x, uintptr_t weight, uintptr_t dx,
                      uintptr_t dweight, uintptr_t dbias, int last, double eps);

/* Channels are the second axis. `mean` and `var` are written as float64 in the first, and read in
   any floating-point dtype in the others. */
int batch_norm(uintptr_t x, uintptr_t weight, uintptr_t bias, uintptr_t out, uintptr_t mean,
               uintptr_t var, double eps);
int batch_norm_eval(uintptr_t x, uintptr_t mean, uintptr_t var, uintptr_t weight, uintptr_t bias,
                    uintptr_t out, double eps);
int batch_norm_backward(uintptr_t g, uintptr_t x, uintptr_t mean, uintptr_t var, uintptr_t weight,
                        uintptr_t dx, uintptr_t dweight, uintptr_t dbias, double eps, int training);
