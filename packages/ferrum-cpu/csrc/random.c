/* Random numbers: every element is a pure function of its index, so threads share them as they
   like. */
#include "index_sort.h"
#include "index_walk.h"
#include "random.h"

#define GRAIN 16384

enum { UNIFORM, NORMAL, WHOLE, DRAWS };

typedef struct {
    int kind;
    uint64_t seed, offset, start, span;
    char *out;
    intptr_t count;
    int dtype;
} Call;

/* Make elements position ... position + n - 1, at most a tile; position is a multiple of TILE. */
static void run_tile(const Call *call, intptr_t position, intptr_t n) {
    _Alignas(64) uint64_t draws[TILE];
    _Alignas(64) char made[TILE * 8];
    int dtype = call->dtype, short_draws = call->kind == UNIFORM && dtype != F64, made_in = F64;
    intptr_t per_block = short_draws ? 4 : 2, blocks = (n + per_block - 1) / per_block;
    char *to = call->out + position * ITEMSIZE[dtype];
    isa->random.blocks(draws, (uint64_t)(position / per_block), (blocks + 31) / 32 * 32, call->seed,
                       call->offset);
    if (short_draws) {
        made_in = F32;
        isa->random.uniform32(dtype == F32 ? (void *)to : made, (uint32_t *)draws, n,
                              dtype == F32   ? 24
                              : dtype == F16 ? 11
                                             : 8);
    } else if (call->kind == UNIFORM) {
        isa->random.uniform64((void *)to, draws, n);
    } else if (call->kind == NORMAL) {
        isa->random.normal(dtype == F64 ? (void *)to : made, draws, n);
    } else if (call->kind == DRAWS) {
        memcpy(to, draws, (size_t)n * 8);
    } else {
        made_in = I64;
        isa->random.whole(dtype == I64 ? (void *)to : made, draws, n, call->start, call->span);
    }
    if (dtype != made_in && call->kind != DRAWS)
        isa->convert[made_in][dtype](to, made, n);
}

static void run_chunk(void *context, intptr_t i) {
    const Call *call = context;
    intptr_t end = smaller(call->count, (i + 1) * GRAIN);
    for (intptr_t position = i * GRAIN; position < end; position += TILE)
        run_tile(call, position, smaller(end - position, TILE));
}

static void run(Call *call) {
    parallel(run_chunk, call, (call->count + GRAIN - 1) / GRAIN);
}

static int fill(Call *call, uintptr_t array) {
    View out;
    if (!read_array(array, &out) || !is_dense(&out) || !is_aligned(&out) ||
        (call->kind == WHOLE ? out.dtype >= F16 : compute_of(out.dtype) < 0))
        return DECLINED;
    call->out = out.data;
    call->dtype = out.dtype;
    call->count = count_of(&out);
    run(call);
    return OK;
}

int random_uniform(uint64_t seed, uint64_t offset, uintptr_t out) {
    return fill(&(Call){.kind = UNIFORM, .seed = seed, .offset = offset}, out);
}

int random_normal(uint64_t seed, uint64_t offset, uintptr_t out) {
    return fill(&(Call){.kind = NORMAL, .seed = seed, .offset = offset}, out);
}

int random_integers(uint64_t start, uint64_t span, uint64_t seed, uint64_t offset, uintptr_t out) {
    return fill(
        &(Call){.kind = WHOLE, .seed = seed, .offset = offset, .start = start, .span = span}, out);
}

void normal_quantiles(const uint64_t *draws, double *out, int64_t n) {
    isa->random.normal(out, draws, smaller(n, TILE));
}

int random_permutation(uint64_t seed, uint64_t offset, uintptr_t array) {
    View out;
    if (!read_array(array, &out) || out.axes != 1 || out.dtype != I64 || !is_dense(&out) ||
        !is_aligned(&out))
        return DECLINED;
    intptr_t n = out.shape[0];
    uint64_t *keys = pool_take((size_t)n * 8);
    if (!keys)
        return NO_MEMORY;
    Call call = {.kind = DRAWS, .seed = seed, .offset = offset, .out = (char *)keys, .count = n,
                 .dtype = I64};
    run(&call);
    /* The draws are spread evenly, so their top bits all but order them. */
    int bits = 1;
    while (bits < 32 && (intptr_t)1 << bits < 256 * n)
        bits++;
    int code = sort_keys(keys, (int64_t *)out.data, n, 64 - bits, 64);
    pool_give(keys);
    return code;
}
