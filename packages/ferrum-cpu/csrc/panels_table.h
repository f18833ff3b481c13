/* What an instruction set gives for small products: with a weight, or with a tile that is near. */
#ifndef FERRUM_PANELS_TABLE_H
#define FERRUM_PANELS_TABLE_H

#include <stdint.h>

/* out = base + a b. Rows of `out`, and of `base`, which may be NULL or out, are dense and `row`
   elements apart; a is (rows, k), in any strides. b (k, n) is in panels of `width` columns: whole
   rows of them are read, also where n ends within a panel. */
typedef struct {
    void *out;
    const void *base, *a, *b;
    intptr_t out_row, base_row, a_row, a_column, b_row, b_panel;
    intptr_t rows, k, n;
} PanelProduct;

/* By dtype: float32, float64. */
typedef struct {
    int width[2];
    void (*product[2])(const PanelProduct *product);
} Panels;

#endif
