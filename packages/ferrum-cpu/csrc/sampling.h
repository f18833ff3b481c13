/* Sampling an image on a grid and its gradients: what Python calls, and its declaration there. */

/* x is (n, c, h, w), grid (n, rows, columns, 2) and samples are (n, c, rows, columns), all dense and
   of one dtype, float32 or float64. `mode` is 0 for bilinear, 1 for nearest and 2 for bicubic,
   `padding` 0 for zeros, 1 for border and 2 for reflection. The last argument is the result. */
int grid_sample(uintptr_t x, uintptr_t grid, int mode, int padding, int aligned, uintptr_t out);
int grid_sample_input(uintptr_t g, uintptr_t grid, int mode, int padding, int aligned,
                      uintptr_t out);
int grid_sample_grid(uintptr_t g, uintptr_t x, uintptr_t grid, int mode, int padding, int aligned,
                     uintptr_t out);
