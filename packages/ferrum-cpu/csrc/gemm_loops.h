/* Products of matrices without BLAS: integers of any size, and floats so small that getting into
   BLAS would cost more than the work. */

/* `rows` rows, a constant where this is inlined, of one vector of columns. */
#define STRIP(T) \
    static inline __attribute__((always_inline)) void strip_##T( \
        int rows, const T *a, intptr_t a_row, intptr_t a_step, intptr_t k, const T *b, \
        intptr_t b_step, part_##T part, const T *bias, T *out, intptr_t lead) { \
        vec_##T sum[8]; \
        for (int r = 0; r < rows; r++) \
            sum[r] = SET_##T(0); \
        for (intptr_t l = 0; l < k; l++, a += a_step, b += b_step) { \
            vec_##T y = LOAD_##T(b, part); \
            for (int r = 0; r < rows; r++) \
                sum[r] = FMA_##T(SET_##T(a[r * a_row]), y, sum[r]); \
        } \
        if (bias) { \
            vec_##T row = LOAD_##T(bias, part); \
            for (int r = 0; r < rows; r++) \
                sum[r] = PLUS_##T(sum[r], row); \
        } \
        for (int r = 0; r < rows; r++) \
            STORE_##T(out + r * lead, part, sum[r]); \
    }

/* Columns that do not lie side by side are brought there first, a vector of them at a time. */
#define SMALL_PRODUCT(T) \
    STRIP(T) \
    static void product_##T(const Matrix *a, const Matrix *b, const void *bias, void *to, \
                            intptr_t lead) { \
        T panel[LONGEST * LANES_##T]; \
        intptr_t m = a->rows, n = b->columns, k = a->columns, row = a->row_stride; \
        for (intptr_t j = 0; j < n; j += LANES_##T) { \
            intptr_t count = n - j < LANES_##T ? n - j : LANES_##T, step = b->row_stride, i = 0; \
            part_##T part = PART_##T(count); \
            const T *x = (const T *)a->data, *y = (const T *)b->data + j * b->column_stride; \
            const T *add = bias ? (const T *)bias + j : NULL; \
            T *out = (T *)to + j; \
            if (b->column_stride != 1 && LANES_##T > 1) { \
                for (intptr_t c = 0; c < count; c++) \
                    for (intptr_t l = 0; l < k; l++) \
                        panel[l * LANES_##T + c] = y[c * b->column_stride + l * step]; \
                y = panel; \
                step = LANES_##T; \
            } \
            for (; i + 8 <= m; i += 8) \
                strip_##T(8, x + i * row, row, a->column_stride, k, y, step, part, add, \
                          out + i * lead, lead); \
            for (; i + 4 <= m; i += 4) \
                strip_##T(4, x + i * row, row, a->column_stride, k, y, step, part, add, \
                          out + i * lead, lead); \
            for (; i < m; i++) \
                strip_##T(1, x + i * row, row, a->column_stride, k, y, step, part, add, \
                          out + i * lead, lead); \
        } \
    }
SMALL_PRODUCT(f32)
SMALL_PRODUCT(f64)

/* Integers wrap, so that it makes no difference when the bias is added. A is unsigned, and wide
   enough that C does not make a signed number of it. */
#define WHOLE_PRODUCT(T, A) \
    static void product_##T(const Matrix *a, const Matrix *b, const void *bias, void *to, \
                            intptr_t lead) { \
        intptr_t n = b->columns, step = b->column_stride; \
        for (intptr_t i = 0; i < a->rows; i++) { \
            const T *x = (const T *)a->data + i * a->row_stride; \
            T *out = (T *)to + i * lead; \
            for (intptr_t j = 0; j < n; j++) \
                out[j] = bias ? ((const T *)bias)[j] : 0; \
            for (intptr_t l = 0; l < a->columns; l++) { \
                const T *y = (const T *)b->data + l * b->row_stride; \
                A factor = (A)x[l * a->column_stride]; \
                if (step == 1) \
                    INDEPENDENT for (intptr_t j = 0; j < n; j++) \
                        out[j] = (T)((A)out[j] + factor * (A)y[j]); \
                else \
                    for (intptr_t j = 0; j < n; j++) \
                        out[j] = (T)((A)out[j] + factor * (A)y[j * step]); \
            } \
        } \
    }
WHOLE_PRODUCT(u8, uint32_t)
WHOLE_PRODUCT(i8, uint32_t)
WHOLE_PRODUCT(i16, uint32_t)
WHOLE_PRODUCT(i32, uint32_t)
WHOLE_PRODUCT(i64, uint64_t)

#define PRODUCT_TABLE \
    {[U8] = product_u8, [I8] = product_i8, [I16] = product_i16, [I32] = product_i32, \
     [I64] = product_i64, [F32] = product_f32, [F64] = product_f64}
