/* What an instruction set gives for attention. */
#ifndef FERRUM_ATTENTION_TABLE_H
#define FERRUM_ATTENTION_TABLE_H

#include <stdint.h>

/* The queries and the keys of a tile. Scores lie in rows of QUERIES, a row for each key: what is
   done to a query is done to all of them at once, element by element. */
#define QUERIES 64
#define KEYS 256

/* For so many queries of a call at most scores are sums along keys, as these lie. */
#define FEW_QUERIES 4

/* By dtype: float32, float64. */
typedef struct {
    /* out (columns, rows) = the transpose of x (rows, columns); their rows are `wide` and x_row
       apart. Those of out are filled up to a whole panel with 0. */
    void (*turn[2])(void *out, intptr_t wide, const void *x, intptr_t x_row, intptr_t rows,
                    intptr_t columns);
    /* out (rows, keys) = q (rows, n) times k (keys, n) turned, for few rows */
    void (*dots[2])(void *out, intptr_t out_row, const void *q, intptr_t q_row, intptr_t rows,
                    const void *k, intptr_t k_row, intptr_t keys, intptr_t n);
    void (*scale[2])(void *x, intptr_t n, double factor);
    /* Put -∞ where a mask is 0, or add it; and -∞ where a key comes after its query, the first one
       being `ahead` of the first query. */
    void (*mask[2])(void *scores, const void *mask, intptr_t keys, intptr_t queries, int adds);
    void (*hide[2])(void *scores, intptr_t keys, intptr_t queries, intptr_t ahead);
    /* scores times others, element by element */
    void (*times[2])(void *scores, const void *by, intptr_t keys, intptr_t queries);
    /* Raise the tops to those of these scores too, and make of these exp(scores - top), of `factor`
       what sums so far are to be scaled by, and of the sums those with these in them. */
    void (*soften[2])(void *scores, intptr_t keys, intptr_t queries, void *top, double *sum,
                      void *factor);
    /* Scale each row of x by its factor. */
    void (*rescale[2])(void *x, intptr_t x_row, intptr_t rows, intptr_t n, const void *factor);
    /* Divide rows by their sums, and make the logarithms of those. */
    void (*finish[2])(void *x, intptr_t x_row, intptr_t rows, intptr_t n, const void *top,
                      const double *sum, void *lse);
    /* The way back: exp(scores - lse), and weights (change - delta). */
    void (*weigh[2])(void *scores, intptr_t keys, intptr_t queries, const void *lse);
    void (*change[2])(void *change, const void *weights, intptr_t keys, intptr_t queries,
                      const void *delta);
} Attention;

#endif
