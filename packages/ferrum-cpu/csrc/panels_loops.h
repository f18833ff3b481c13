/* The loops of small products; see panels_table.h. */

#if defined(__AVX512F__)
#define MOST_ROWS 8 /* with two vectors of columns, what the registers hold */
#else
#define MOST_ROWS 4
#endif

/* `rows`, a constant where this is inlined, by the columns of a panel. A row's sums do not depend
   on which rows go with it. */
#define PANEL_ROWS(T) \
    static inline __attribute__((always_inline)) void panel_rows_##T( \
        int rows, T *out, const T *base, const T *a, const T *b, intptr_t n, \
        const PanelProduct *p) { \
        vec_##T one[MOST_ROWS], two[MOST_ROWS]; \
        intptr_t a_row = p->a_row, a_column = p->a_column, b_row = p->b_row; \
        for (int r = 0; r < rows; r++) \
            one[r] = two[r] = SET_##T(0); \
        for (intptr_t l = p->k; l > 0; l--, a += a_column, b += b_row) { \
            vec_##T y = WHOLE_##T(b), z = WHOLE_##T(b + LANES_##T); \
            for (int r = 0; r < rows; r++) { \
                vec_##T x = SET_##T(a[r * a_row]); \
                one[r] = FMA_##T(x, y, one[r]); \
                two[r] = FMA_##T(x, z, two[r]); \
            } \
        } \
        part_##T first = PART_##T(smaller(n, LANES_##T)); \
        part_##T second = PART_##T(larger(n - LANES_##T, 0)); \
        for (int r = 0; r < rows; r++) { \
            T *to = out + r * p->out_row, *next = to + LANES_##T; \
            const T *from = base ? base + r * p->base_row : NULL; \
            if (n == 2 * LANES_##T) { \
                PUT_##T(to, from ? PLUS_##T(WHOLE_##T(from), one[r]) : one[r]); \
                PUT_##T(next, from ? PLUS_##T(WHOLE_##T(from + LANES_##T), two[r]) : two[r]); \
                continue; \
            } \
            STORE_##T(to, first, from ? PLUS_##T(LOAD_##T(from, first), one[r]) : one[r]); \
            if (n <= LANES_##T) \
                continue; \
            from = from ? from + LANES_##T : NULL; \
            STORE_##T(next, second, from ? PLUS_##T(LOAD_##T(from, second), two[r]) : two[r]); \
        } \
    }

#define PANEL_PRODUCT(T) \
    PANEL_ROWS(T) \
    static void panel_product_##T(const PanelProduct *p) { \
        const intptr_t width = 2 * LANES_##T; \
        const T *b = p->b; \
        for (intptr_t j = 0; j < p->n; j += width, b += p->b_panel) { \
            intptr_t count = smaller(width, p->n - j); \
            const T *base = p->base ? (const T *)p->base + j : NULL, *a = p->a; \
            T *out = (T *)p->out + j; \
            for (intptr_t r = 0, some; r < p->rows; r += some) { \
                some = p->rows - r >= MOST_ROWS ? MOST_ROWS : p->rows - r >= 4 ? 4 : 1; \
                if (some == MOST_ROWS) \
                    panel_rows_##T(MOST_ROWS, out, base, a, b, count, p); \
                else if (some == 4) \
                    panel_rows_##T(4, out, base, a, b, count, p); \
                else \
                    panel_rows_##T(1, out, base, a, b, count, p); \
                out += some * p->out_row; \
                base = base ? base + some * p->base_row : NULL; \
                a += some * p->a_row; \
            } \
        } \
    }

PANEL_PRODUCT(f32)
PANEL_PRODUCT(f64)

#define PANELS_TABLE \
    {.width = {2 * LANES_f32, 2 * LANES_f64}, .product = {panel_product_f32, panel_product_f64}}
