/* Sorting by digits, from the lowest to the highest: each pass keeps the order of equals. */
#include "index_sort.h"

#include <string.h>

#define FEW 48
#define DIGIT 11
#define BINS (1 << DIGIT)

typedef struct {
    uint64_t key;
    int64_t index;
} Pair;

static void sort_by_insertion(Pair *pairs, intptr_t n) {
    for (intptr_t i = 1; i < n; i++) {
        Pair pair = pairs[i];
        intptr_t to = i;
        for (; to > 0 && pairs[to - 1].key > pair.key; to--)
            pairs[to] = pairs[to - 1];
        pairs[to] = pair;
    }
}

/* Move pairs into the order of one digit. */
static void pass(const Pair *from, Pair *to, intptr_t n, int shift, int bits, intptr_t *starts) {
    uint64_t mask = ((uint64_t)1 << bits) - 1;
    memset(starts, 0, sizeof(intptr_t) << bits);
    for (intptr_t i = 0; i < n; i++)
        starts[from[i].key >> shift & mask]++;
    intptr_t before = 0;
    for (intptr_t bin = 0; bin <= (intptr_t)mask; bin++) {
        intptr_t count = starts[bin];
        starts[bin] = before;
        before += count;
    }
    for (intptr_t i = 0; i < n; i++)
        to[starts[from[i].key >> shift & mask]++] = from[i];
}

int sort_keys(const uint64_t *keys, int64_t *out, intptr_t n, int low, int high) {
    if (n == 0)
        return OK;
    intptr_t starts[BINS];
    Pair few[FEW], *memory = n <= FEW ? few : pool_take((size_t)n * 2 * sizeof(Pair));
    if (!memory)
        return NO_MEMORY;
    Pair *pairs = memory, *other = memory + n;
    uint64_t differ = 0;
    for (intptr_t i = 0; i < n; i++) {
        pairs[i] = (Pair){keys[i], i};
        differ |= keys[i] ^ keys[0];
    }
    if (n > FEW) {
        /* Narrow digits for few keys: a pass also costs what its bins cost. */
        int most = n < 2048 ? 8 : DIGIT;
        int passes = (high - low + most - 1) / most;
        int bits = passes ? (high - low + passes - 1) / passes : 0;
        for (int shift = low; shift < high; shift += bits) {
            int here = bits < high - shift ? bits : high - shift;
            if ((differ >> shift & (((uint64_t)1 << here) - 1)) == 0)
                continue; /* all alike */
            pass(pairs, other, n, shift, here, starts);
            Pair *swap = pairs;
            pairs = other;
            other = swap;
        }
    }
    if (low > 0 || n <= FEW)
        sort_by_insertion(pairs, n);
    for (intptr_t i = 0; i < n; i++)
        out[i] = pairs[i].index;
    if (memory != few)
        pool_give(memory);
    return OK;
}
