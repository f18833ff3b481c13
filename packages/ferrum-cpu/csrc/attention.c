/* Attention: softmax(scale q kT + mask) v without the scores ever being whole (Dao,
   "FlashAttention-2", arXiv:2307.08691).

   A task takes the queries of a tile through all keys, a tile of them at a time: their scores,
   which lie turned, in rows by keys, so that a vector holds many queries; the exponentials, against
   the largest score so far; and these times the values, added to what was scaled down where that
   score has risen. Bits do not depend on the number of threads, nor a query's, unless a call has
   FEW_QUERIES, on who the others are. Operands of any layout and dtype are brought in by tiles. */
#include "attention_job.h"
#include "attention.h"

#include <math.h>
#include <string.h>

/* Results and sums of 0, and tops of -∞. */
static void start_results(const Job *job, const Room *room) {
    char *tops = room->sums + QUERIES * sizeof(double);
    memset(room->g, 0, (size_t)(QUERIES * job->v_row * job->item));
    memset(room->sums, 0, QUERIES * sizeof(double));
    for (intptr_t i = 0; i < QUERIES; i++)
        if (job->wide)
            ((double *)tops)[i] = -INFINITY;
        else
            ((float *)tops)[i] = -INFINITY;
}

/* Make the weights of a tile, and add their values to the results. */
static void add_tile(const Job *job, const Room *room, const Place *at) {
    const Attention *loops = &isa->attention;
    int wide = job->wide;
    char *tops = room->sums + QUERIES * sizeof(double), *factors = row_of(job, tops, 1, QUERIES);
    Rows keys = key_rows(job, &job->k, at, room->k, job->e);
    Rows values = key_rows(job, &job->v, at, room->v, job->ev);
    make_scores(job, room, at, keys);
    loops->soften[wide](room->scores, at->keys, at->queries, tops, (double *)room->sums, factors);
    loops->rescale[wide](room->g, job->v_row, at->queries, job->ev, factors);
    if (job->p != 0) {
        make_factors(job, room, at);
        loops->times[wide](room->scores, room->turned, at->keys, at->queries);
    }
    isa->panels.product[wide](&(PanelProduct){
        .out = room->g, .base = room->g, .a = room->scores, .b = values.data,
        .out_row = job->v_row, .base_row = job->v_row, .a_row = 1, .a_column = QUERIES,
        .b_row = values.row, .b_panel = isa->panels.width[wide],
        .rows = at->queries, .k = at->keys, .n = job->ev,
    });
}

/* Divide results by their sums and bring them out. */
static void put_results(const Job *job, const Room *room, const Place *at) {
    int made = job->wide ? F64 : F32;
    intptr_t first = at->head * job->l + at->query, size = ITEMSIZE[job->dtype];
    isa->attention.finish[job->wide](room->g, job->v_row, at->queries, job->ev,
                                     room->sums + QUERIES * sizeof(double),
                                     (const double *)room->sums, row_of(job, job->lse, first, 1));
    for (intptr_t r = 0; r < at->queries; r++)
        isa->convert[made][job->dtype](job->out + (first + r) * job->ev * size,
                                       row_of(job, room->g, r, job->v_row), job->ev);
}

/* The longest tiles of a head come first, so that threads end together. */
static void task(void *context, intptr_t i) {
    Job *job = context;
    intptr_t tiles = cut_in(job->l, QUERIES), query = (tiles - 1 - i % tiles) * QUERIES;
    Place at = {.head = i / tiles, .query = query, .queries = smaller(QUERIES, job->l - query)};
    Room room;
    if (!take_room(job, &room, 0))
        return;
    load_queries(job, &room, &at);
    start_results(job, &room);
    intptr_t end = end_of_keys(job, &at);
    for (at.key = 0; at.key < end; at.key += KEYS) {
        at.keys = smaller(KEYS, end - at.key);
        add_tile(job, &room, &at);
    }
    put_results(job, &room, &at);
    pool_give(room.block);
}

int attention(uintptr_t q, uintptr_t k, uintptr_t v, uintptr_t mask, uintptr_t out, uintptr_t lse,
              double scale, int causal, double p, uint64_t seed, uint64_t offset) {
    Job job;
    const Asked asked = {q, k, v, mask, 0, scale, p, causal, seed, offset};
    if (!read_attention(&job, &asked) ||
        !(job.out = read_dense(&job, out, job.dtype, 0, job.l, job.ev)) ||
        !(job.lse = read_dense(&job, lse, job.wide ? F64 : F32, 0, job.l, -1)))
        return DECLINED;
    parallel(task, &job, job.heads * cut_in(job.l, QUERIES));
    return atomic_load(&job.failed) ? NO_MEMORY : OK;
}
