/* A stable argsort of unsigned keys. */
#ifndef FERRUM_INDEX_SORT_H
#define FERRUM_INDEX_SORT_H

#include "base.h"

/* Write the indices that sort n keys, which hold bits below `high`. Bits below `low` are sorted
   last, by insertion: they should hardly matter. Return OK or NO_MEMORY. */
int sort_keys(const uint64_t *keys, int64_t *out, intptr_t n, int low, int high);

#endif
