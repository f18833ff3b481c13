/* The memory pool: blocks that were given back are kept for the next array of about their size.

   The first touch of fresh memory costs a page fault for every 4 KiB, more than most kernels cost.
   Sizes are rounded up to one of four classes a doubling, so that at most a fifth is wasted. Each
   block has a header in front of it that says its class; the free ones of a class form a list. */
#define _GNU_SOURCE
#include "base.h"
#include "kernels.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* For AddressSanitizer a block ends where what was asked for ends, and is gone once given back. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define HIDE(from, bytes) __asan_poison_memory_region(from, bytes)
#define SHOW(from, bytes) __asan_unpoison_memory_region(from, bytes)
#else
#define HIDE(from, bytes) ((void)(from))
#define SHOW(from, bytes) ((void)(from))
#endif

#define ALIGNMENT 256
#define CLASSES 256
#define HUGE_PAGE (2u << 20)

typedef struct Block {
    struct Block *next;
    size_t bytes; /* of the class, without the header */
    int class;
} Block;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Block *free_blocks[CLASSES];
static PoolStatistics statistics = {.limit = -1};

/* Return the class of a size: two bits below the highest one, rounded up; and the class's size. */
static int class_of(size_t bytes, size_t *rounded) {
    int top = 63 - __builtin_clzll(bytes | 1024);
    size_t step = (size_t)1 << (top - 2);
    size_t up = (bytes + step - 1) & ~(step - 1);
    *rounded = up < 1024 ? 1024 : up;
    top = 63 - __builtin_clzll(*rounded);
    return top * 4 + (int)(*rounded >> (top - 2) & 3);
}

static int64_t default_limit(void) {
    const char *text = getenv("FERRUM_CPU_POOL_BYTES"); /* a number, or library.py had refused */
    if (text && *text)
        return strtoll(text, NULL, 10);
    return (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) / 4;
}

static int64_t limit(void) {
    if (statistics.limit < 0)
        statistics.limit = default_limit();
    return statistics.limit;
}

static void release(Block *block) {
    statistics.cached -= (int64_t)block->bytes;
    free(block);
}

static void release_down_to(int64_t bytes) {
    for (int class = CLASSES - 1; class >= 0 && statistics.cached > bytes; class--) {
        while (free_blocks[class] && statistics.cached > bytes) {
            Block *block = free_blocks[class];
            free_blocks[class] = block->next;
            release(block);
        }
    }
}

static Block *fresh(size_t bytes) {
    void *memory = NULL;
    size_t total = bytes + ALIGNMENT;
    if (total < bytes || bytes > PTRDIFF_MAX / 2)
        return NULL;
    if (posix_memalign(&memory, total >= HUGE_PAGE ? HUGE_PAGE : ALIGNMENT, total))
        return NULL;
#ifdef MADV_HUGEPAGE
    if (total >= HUGE_PAGE)
        madvise(memory, total & ~(size_t)(HUGE_PAGE - 1), MADV_HUGEPAGE);
#endif
    return memory;
}

void *pool_take(size_t bytes) {
    size_t rounded;
    if (bytes > PTRDIFF_MAX / 2)
        return NULL;
    int class = class_of(bytes, &rounded);
    pthread_mutex_lock(&lock);
    Block *block = free_blocks[class];
    if (block) {
        free_blocks[class] = block->next;
        statistics.cached -= (int64_t)rounded;
        statistics.hits++;
    } else {
        statistics.misses++;
        block = fresh(rounded);
        if (!block && statistics.cached) {
            release_down_to(0);
            block = fresh(rounded);
        }
    }
    if (block) {
        block->class = class;
        block->bytes = rounded;
        statistics.in_use += (int64_t)rounded;
        if (statistics.in_use > statistics.peak)
            statistics.peak = statistics.in_use;
    }
    pthread_mutex_unlock(&lock);
    if (!block)
        return NULL;
    HIDE(block + 1, ALIGNMENT - sizeof *block + rounded);
    SHOW((char *)block + ALIGNMENT, bytes);
    return (char *)block + ALIGNMENT;
}

void pool_give(void *memory) {
    if (!memory)
        return;
    Block *block = (Block *)((char *)memory - ALIGNMENT);
    pthread_mutex_lock(&lock);
    int64_t bytes = (int64_t)block->bytes, room = limit() - bytes;
    statistics.in_use -= bytes;
    HIDE(memory, block->bytes);
    if (room < 0) {
        free(block);
    } else {
        /* What was given back last is most likely to be asked for next: others make room. */
        release_down_to(room);
        statistics.cached += bytes;
        block->next = free_blocks[block->class];
        free_blocks[block->class] = block;
    }
    pthread_mutex_unlock(&lock);
}

void pool_empty(void) {
    pthread_mutex_lock(&lock);
    release_down_to(0);
    malloc_trim(0);
    pthread_mutex_unlock(&lock);
}

void pool_set_limit(int64_t bytes) {
    pthread_mutex_lock(&lock);
    statistics.limit = bytes < 0 ? default_limit() : bytes;
    release_down_to(statistics.limit);
    pthread_mutex_unlock(&lock);
}

void pool_statistics(PoolStatistics *out) {
    pthread_mutex_lock(&lock);
    limit();
    *out = statistics;
    pthread_mutex_unlock(&lock);
}

void pool_before_fork(void) { pthread_mutex_lock(&lock); }

void pool_after_fork(void) { pthread_mutex_unlock(&lock); }
