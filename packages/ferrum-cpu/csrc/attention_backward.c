/* The gradients of attention by queries, keys and values, tile by tile: a weight is exp(score -
   lse) once more, and with d = weight (g vT - delta) they are scale d k, scale dT q and weightT g.

   A task takes a head of keys through all tiles. Where there are too few of these for the threads,
   one task takes a tile of queries for its gradient, and another one a tile of keys for theirs, and
   the products that both want are made twice. Either way an element is the sum of the same terms in
   the same order, so bits do not depend on threads. */
#include "attention_job.h"
#include "attention.h"

#include <string.h>

enum { OF_QUERIES = 1, OF_KEYS = 2 };

/* out += a b for rows of n elements; a is turned where its rows are the tile's columns. */
static void add_product(const Job *job, char *out, intptr_t row, intptr_t rows, intptr_t n,
                        const char *tile, int turned, Rows b, intptr_t k) {
    isa->panels.product[job->wide](&(PanelProduct){
        .out = out, .base = out, .a = tile, .b = b.data,
        .out_row = row, .base_row = row,
        .a_row = turned ? 1 : QUERIES, .a_column = turned ? QUERIES : 1,
        .b_row = b.row, .b_panel = isa->panels.width[job->wide],
        .rows = rows, .k = k, .n = n,
    });
}

/* Bring in the queries of a tile, and the gradient that comes to them. */
static Rows start_queries(const Job *job, const Room *room, const Place *at) {
    load_queries(job, room, at);
    Rows g = query_rows(job, &job->g, at, room->g, job->ev);
    isa->attention.turn[job->wide](room->g_turned, QUERIES, g.data, g.row, at->queries, job->ev);
    return g;
}

/* Add what a tile gives to the gradients that are wanted. */
static void add_tile(const Job *job, const Room *room, const Place *at, Rows g, int wanted) {
    const Attention *loops = &isa->attention;
    int wide = job->wide;
    intptr_t first = at->head * job->l + at->query;
    intptr_t key = at->head / job->groups * job->s + at->key;
    Rows keys = key_rows(job, &job->k, at, room->k, job->e);
    Rows values = key_rows(job, &job->v, at, room->v, job->ev);
    make_scores(job, room, at, keys);
    loops->weigh[wide](room->scores, at->keys, at->queries, row_of(job, job->lse, first, 1));
    isa->panels.product[wide](&(PanelProduct){
        .out = room->change, .a = values.data, .b = room->g_turned,
        .out_row = QUERIES, .a_row = values.row, .a_column = 1,
        .b_row = QUERIES, .b_panel = isa->panels.width[wide],
        .rows = at->keys, .k = job->ev, .n = at->queries,
    });
    if (job->p != 0) {
        make_factors(job, room, at);
        loops->times[wide](room->change, room->turned, at->keys, at->queries);
    }
    loops->change[wide](room->change, room->scores, at->keys, at->queries,
                        row_of(job, job->delta, first, 1));
    if (job->p != 0)
        loops->times[wide](room->scores, room->turned, at->keys, at->queries);
    if (wanted & OF_KEYS) {
        add_product(job, row_of(job, job->dv, key, job->ev), job->ev, at->keys, job->ev,
                    room->scores, 0, g, at->queries);
        add_product(job, row_of(job, job->dk, key, job->e), job->e, at->keys, job->e, room->change,
                    0, (Rows){room->q, job->q_row}, at->queries);
    }
    if (wanted & OF_QUERIES)
        add_product(job, row_of(job, job->dq, first, job->e), job->e, at->queries, job->e,
                    room->change, 1, keys, at->keys);
}

/* Take the queries of a tile through all keys. */
static void take_queries(Job *job, const Room *room, intptr_t head, intptr_t query, int wanted) {
    Place at = {.head = head, .query = query, .queries = smaller(QUERIES, job->l - query)};
    intptr_t end = end_of_keys(job, &at), count = at.queries * job->e;
    char *dq = row_of(job, job->dq, head * job->l + query, job->e);
    memset(dq, 0, (size_t)(count * job->item));
    Rows g = start_queries(job, room, &at);
    for (at.key = 0; at.key < end; at.key += KEYS) {
        at.keys = smaller(KEYS, end - at.key);
        add_tile(job, room, &at, g, wanted);
    }
    isa->attention.scale[job->wide](dq, count, job->scale);
}

static void clear_keys(const Job *job, intptr_t head, intptr_t key, intptr_t keys) {
    intptr_t first = head * job->s + key;
    memset(row_of(job, job->dk, first, job->e), 0, (size_t)(keys * job->e * job->item));
    memset(row_of(job, job->dv, first, job->ev), 0, (size_t)(keys * job->ev * job->item));
}

/* All gradients of a head of keys, and of the heads of queries that share it. */
static void whole_head(void *context, intptr_t i) {
    Job *job = context;
    Room room;
    if (!take_room(job, &room, 1))
        return;
    clear_keys(job, i, 0, job->s);
    for (intptr_t head = i * job->groups; head < (i + 1) * job->groups; head++)
        for (intptr_t query = 0; query < job->l; query += QUERIES)
            take_queries(job, &room, head, query, OF_QUERIES | OF_KEYS);
    pool_give(room.block);
}

static void queries_of_tile(void *context, intptr_t i) {
    Job *job = context;
    intptr_t tiles = cut_in(job->l, QUERIES);
    Room room;
    if (!take_room(job, &room, 1))
        return;
    take_queries(job, &room, i / tiles, (tiles - 1 - i % tiles) * QUERIES, OF_QUERIES);
    pool_give(room.block);
}

static void keys_of_tile(void *context, intptr_t i) {
    Job *job = context;
    intptr_t tiles = cut_in(job->s, KEYS), of = i / tiles, key = i % tiles * KEYS;
    Room room;
    if (!take_room(job, &room, 1))
        return;
    clear_keys(job, of, key, smaller(KEYS, job->s - key));
    for (intptr_t head = of * job->groups; head < (of + 1) * job->groups; head++)
        for (intptr_t query = 0; query < job->l; query += QUERIES) {
            Place at = {.head = head, .query = query, .queries = smaller(QUERIES, job->l - query),
                        .key = key};
            at.keys = smaller(KEYS, end_of_keys(job, &at) - key);
            if (at.keys <= 0)
                continue;
            Rows g = start_queries(job, &room, &at);
            add_tile(job, &room, &at, g, OF_KEYS);
        }
    pool_give(room.block);
}

int attention_backward(uintptr_t g, uintptr_t q, uintptr_t k, uintptr_t v, uintptr_t mask,
                       uintptr_t lse, uintptr_t delta, uintptr_t dq, uintptr_t dk, uintptr_t dv,
                       double scale, int causal, double p, uint64_t seed, uint64_t offset) {
    Job job;
    const Asked asked = {q, k, v, mask, g, scale, p, causal, seed, offset};
    if (!g || !read_attention(&job, &asked))
        return DECLINED;
    int made = job.wide ? F64 : F32;
    if (!(job.lse = read_dense(&job, lse, made, 0, job.l, -1)) ||
        !(job.delta = read_dense(&job, delta, made, 0, job.l, -1)) ||
        !(job.dq = read_dense(&job, dq, made, 0, job.l, job.e)) ||
        !(job.dk = read_dense(&job, dk, made, 1, job.s, job.e)) ||
        !(job.dv = read_dense(&job, dv, made, 1, job.s, job.ev)))
        return DECLINED;
    /* In two passes seven products take the place of five. */
    intptr_t threads = threads_get(), rounds = cut_in(job.fewer, threads);
    if (5 * rounds * threads <= 7 * job.fewer) {
        parallel(whole_head, &job, job.fewer);
    } else {
        parallel(queries_of_tile, &job, job.heads * cut_in(job.l, QUERIES));
        parallel(keys_of_tile, &job, job.fewer * cut_in(job.s, KEYS));
    }
    return atomic_load(&job.failed) ? NO_MEMORY : OK;
}
