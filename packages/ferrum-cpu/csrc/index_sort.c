/* Sorting by digits, from the lowest to the highest: each pass keeps the order of equals. */
#include "index_sort.h"

#include <string.h>

/* What so few keys are sorted by: insertion. */
#define FEW 48

#define DIGIT 11
#define BINS (1 << DIGIT)

/* A key and where it comes from: in 16 bytes, or packed into 8, which makes a pass twice as fast.
   Packed items differ all, and those with equal keys lie in their order. */
typedef struct {
    uint64_t key;
    int64_t index;
} Pair;
typedef uint64_t Packed;

#define KEY_OF_Pair(item) ((item).key)
#define KEY_OF_Packed(item) (item)

/* `sort_by_digits` sorts by the bits low ... high - 1, and returns which of the two buffers has the
   result; `differ` are the bits in which keys differ at all. */
#define SORTS(T) \
    static void sort_by_insertion_##T(T *items, intptr_t n) { \
        for (intptr_t i = 1; i < n; i++) { \
            T item = items[i]; \
            intptr_t to = i; \
            for (; to > 0 && KEY_OF_##T(items[to - 1]) > KEY_OF_##T(item); to--) \
                items[to] = items[to - 1]; \
            items[to] = item; \
        } \
    } \
    static T *sort_by_digits_##T(T *from, T *to, intptr_t n, int low, int high, \
                                 uint64_t differ) { \
        intptr_t starts[BINS]; \
        /* Narrow digits for few keys: a pass also costs what its bins cost. */ \
        int most = n < 2048 ? 8 : DIGIT, passes = (high - low + most - 1) / most; \
        for (; passes > 0; passes--) { \
            int bits = (high - low + passes - 1) / passes, shift = low; \
            uint64_t mask = ((uint64_t)1 << bits) - 1; \
            intptr_t before = 0; \
            low += bits; \
            if ((differ >> shift & mask) == 0) \
                continue; \
            memset(starts, 0, sizeof(intptr_t) << bits); \
            for (intptr_t i = 0; i < n; i++) \
                starts[KEY_OF_##T(from[i]) >> shift & mask]++; \
            for (intptr_t bin = 0; bin <= (intptr_t)mask; bin++) { \
                intptr_t count = starts[bin]; \
                starts[bin] = before; \
                before += count; \
            } \
            for (intptr_t i = 0; i < n; i++) \
                to[starts[KEY_OF_##T(from[i]) >> shift & mask]++] = from[i]; \
            T *swap = from; \
            from = to; \
            to = swap; \
        } \
        return from; \
    }
SORTS(Pair)
SORTS(Packed)

#define INDEX_OF(item) ((int64_t)((item) & UINT32_MAX))

/* Order packed items that are alike in the part of the key that they hold by the whole of it. */
static void sort_alike(Packed *items, intptr_t n, const uint64_t *keys) {
    for (intptr_t i = 1; i < n; i++) {
        Packed item = items[i];
        intptr_t to = i;
        for (; to > 0 && items[to - 1] >> 32 == item >> 32 &&
               keys[INDEX_OF(items[to - 1])] > keys[INDEX_OF(item)];
             to--)
            items[to] = items[to - 1];
        items[to] = item;
    }
}

/* Sort by the 32 bits of the keys above `down`. */
static int sort_packed(const uint64_t *keys, int64_t *out, intptr_t n, int low, int high,
                       int down) {
    Packed few[FEW], *memory = n <= FEW ? few : pool_take((size_t)n * 2 * sizeof(Packed));
    Packed *items = memory;
    uint64_t differ = 0;
    if (!memory)
        return NO_MEMORY;
    for (intptr_t i = 0; i < n; i++) {
        items[i] = keys[i] >> down << 32 | (uint64_t)i;
        differ |= items[i] ^ items[0];
    }
    if (n > FEW)
        items = sort_by_digits_Packed(items, memory + n, n, low - down + 32, high - down + 32,
                                      differ);
    if (low > 0 || n <= FEW)
        sort_by_insertion_Packed(items, n);
    if (down)
        sort_alike(items, n, keys);
    for (intptr_t i = 0; i < n; i++)
        out[i] = INDEX_OF(items[i]);
    if (memory != few)
        pool_give(memory);
    return OK;
}

int sort_keys(const uint64_t *keys, int64_t *out, intptr_t n, int low, int high) {
    int down = high > 32 ? high - 32 : 0;
    if (low >= down && n <= (intptr_t)UINT32_MAX)
        return sort_packed(keys, out, n, low, high, down);
    Pair few[FEW], *memory = n <= FEW ? few : pool_take((size_t)n * 2 * sizeof(Pair));
    Pair *items = memory;
    uint64_t differ = 0;
    if (!memory)
        return NO_MEMORY;
    for (intptr_t i = 0; i < n; i++) {
        items[i] = (Pair){keys[i], i};
        differ |= keys[i] ^ keys[0];
    }
    if (n > FEW)
        items = sort_by_digits_Pair(items, memory + n, n, low, high, differ);
    if (low > 0 || n <= FEW)
        sort_by_insertion_Pair(items, n);
    for (intptr_t i = 0; i < n; i++)
        out[i] = items[i].index;
    if (memory != few)
        pool_give(memory);
    return OK;
}
