/* What the two ways of attention share: a call, and the tiles that a task works on. */
#ifndef FERRUM_ATTENTION_JOB_H
#define FERRUM_ATTENTION_JOB_H

#include "elementwise.h"
#include "isa.h"

#include <stdatomic.h>

/* An operand of matrices: strides in bytes, those over heads and what is before them laid out over
   the axes of the scores. */
typedef struct {
    const char *data;
    intptr_t strides[MAX_AXES], row, column;
    int dtype, shared, direct; /* one for each group of heads; rows are read where they are */
} Matrices;

/* Rows of a tile, `row` elements apart: in whole panels. */
typedef struct {
    const char *data;
    intptr_t row;
} Rows;

typedef struct {
    int wide, dtype, causal, masked, adds; /* what a mask does */
    intptr_t item;                         /* of what is computed in */
    intptr_t lead, shape[MAX_AXES];        /* the axes before the last two */
    intptr_t heads, groups, l, s, e, ev;   /* a group of heads shares its keys */
    intptr_t shared, fewer;                /* heads of keys: on the last axis, and all of them */
    intptr_t q_row, v_row;                 /* e and ev in whole panels */
    double scale, p;
    uint64_t seed, offset;
    Matrices q, k, v, g, mask;
    char *out, *lse, *delta, *dq, *dk, *dv;
    atomic_int failed;
} Job;

/* A task's tiles: rows of queries, keys and values, of the gradient, the first and the last of them
   turned too; scores and their gradients; what is made for one query after another, and turned. */
typedef struct {
    char *q, *q_turned, *g, *g_turned, *k, *v, *scores, *change, *rows, *turned, *sums;
    char *block;
} Room;

/* A tile's place: its head, and its first query and key, and how many there are of each. */
typedef struct {
    intptr_t head, query, queries, key, keys;
} Place;

/* The arrays and numbers of a call as Python has them. */
typedef struct {
    uintptr_t q, k, v, mask, g;
    double scale, p;
    int causal;
    uint64_t seed, offset;
} Asked;

/* Fill in a job; return whether its operands go together. `g` may be 0. */
int read_attention(Job *job, const Asked *asked);
/* The data of a dense array (..., h, l, n) in the axes of matrices, or (..., h, l) where n is less
   than 0; NULL where it is no such array. `shared` asks for the shape of keys. */
char *read_dense(const Job *job, uintptr_t array, int dtype, int shared, intptr_t rows, intptr_t n);

/* Take a room, for the way back too; 0 where there is no memory, and the job has failed. */
int take_room(Job *job, Room *room, int back);

/* Bring in the queries of a place, scaled, and turned. */
void load_queries(const Job *job, const Room *room, const Place *at);
/* Return the rows of a place, brought `to` a tile unless they can be read where they are. */
Rows query_rows(const Job *job, const Matrices *x, const Place *at, char *to, intptr_t n);
Rows key_rows(const Job *job, const Matrices *x, const Place *at, char *to, intptr_t n);
/* Make the scores of a place, masked, from its keys. */
void make_scores(const Job *job, const Room *room, const Place *at, Rows keys);
/* Make what weights are scaled by when some are dropped, in `turned`. */
void make_factors(const Job *job, const Room *room, const Place *at);

/* The first key that a place's queries never see. */
static inline intptr_t end_of_keys(const Job *job, const Place *at) {
    return job->causal ? smaller(job->s, at->query + at->queries) : job->s;
}

static inline char *row_of(const Job *job, char *rows, intptr_t row, intptr_t n) {
    return rows + row * n * job->item;
}

#endif
