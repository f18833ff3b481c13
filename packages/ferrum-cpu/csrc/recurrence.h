/* Recurrent layers and their gradients: what Python calls, and its declaration there. */

/* Rows lie step by step, the longest sequence first; `sizes` (steps,) of int64 says how many
   sequences each step has, and with `reverse` the steps are made from the last one on. `kind` is 0
   for tanh, 1 for relu, 2 for lstm and 3 for gru. All else is dense and of one dtype, float32 or
   float64; what a kind does not have is 0, and so may be gru's bias, and gradients that come in. */
int recurrence(int kind, int reverse, uintptr_t sizes, uintptr_t x, uintptr_t h, uintptr_t c,
               uintptr_t weight, uintptr_t bias, uintptr_t out, uintptr_t last_h, uintptr_t last_c,
               uintptr_t gates, uintptr_t cells);
int recurrence_backward(int kind, int reverse, uintptr_t sizes, uintptr_t g, uintptr_t last_h,
                        uintptr_t last_c, uintptr_t out, uintptr_t gates, uintptr_t cells,
                        uintptr_t h, uintptr_t c, uintptr_t weight, uintptr_t dx, uintptr_t dh,
                        uintptr_t dc, uintptr_t dweight, uintptr_t dbias);
