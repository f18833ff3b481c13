/* Attention's calls as C sees them, and the tiles of operands and scores that both ways share. */
#include "attention_job.h"
#include "lines.h"

/* The largest vectors, in elements: tiles hold whole ones. */
#define LARGEST 1024

/* ---- calls */

static int is_floating(int dtype) { return dtype >= F16; }

/* Whether a view is (..., heads, rows, n) with the job's axes, or (..., heads, rows) where n is
   less than 0. */
static int has_shape(const Job *job, const View *x, int shared, intptr_t rows, intptr_t n) {
    int lead = (int)job->lead, last = lead - 1;
    if (x->axes != lead + (n < 0 ? 1 : 2) || x->shape[lead] != rows ||
        (n >= 0 && x->shape[lead + 1] != n))
        return 0;
    return !lead || (same_sizes(x->shape, job->shape, last) &&
                     x->shape[last] == (shared ? job->shared : job->shape[last]));
}

static void lay_out(const Job *job, Matrices *x, const View *view, int shared, intptr_t n) {
    intptr_t strides[MAX_AXES];
    spread(view, (int)job->lead + 2, strides);
    *x = (Matrices){.data = view->data, .dtype = view->dtype, .shared = shared};
    copy_sizes(x->strides, strides, (int)job->lead);
    x->row = strides[job->lead];
    x->column = strides[job->lead + 1];
    x->direct = view->dtype == (job->wide ? F64 : F32) && x->column == job->item &&
                is_aligned(view) && n % isa->panels.width[job->wide] == 0;
}

static int read_matrices(const Job *job, uintptr_t array, Matrices *x, int shared, intptr_t rows,
                         intptr_t n) {
    View view;
    if (!read_array(array, &view) || view.dtype != job->dtype ||
        !has_shape(job, &view, shared, rows, n))
        return 0;
    lay_out(job, x, &view, shared, n);
    return 1;
}

static int read_mask(Job *job, uintptr_t array) {
    View mask;
    intptr_t sizes[MAX_AXES];
    int axes = (int)job->lead + 2, have = axes;
    if (!read_array(array, &mask) || mask.axes > axes ||
        (mask.dtype != BOOL && mask.dtype != F32 && mask.dtype != job->dtype))
        return 0;
    copy_sizes(sizes, job->shape, (int)job->lead);
    sizes[job->lead] = job->l;
    sizes[job->lead + 1] = job->s;
    for (int i = 1; i <= mask.axes; i++)
        if (mask.shape[mask.axes - i] != 1 && mask.shape[mask.axes - i] != sizes[have - i])
            return 0;
    lay_out(job, &job->mask, &mask, 0, job->s);
    job->masked = 1;
    job->adds = mask.dtype != BOOL;
    return 1;
}

int read_attention(Job *job, const Asked *asked) {
    View q, k, v;
    if (!read_array(asked->q, &q) || !read_array(asked->k, &k) || !read_array(asked->v, &v) ||
        !is_floating(q.dtype) || q.axes < 2 || k.axes != q.axes || v.axes != q.axes)
        return 0;
    int lead = q.axes - 2;
    *job = (Job){.wide = q.dtype == F64, .dtype = q.dtype, .causal = asked->causal, .lead = lead,
                 .l = q.shape[lead], .s = k.shape[lead], .e = q.shape[lead + 1],
                 .ev = v.shape[lead + 1], .scale = asked->scale, .p = asked->p,
                 .seed = asked->seed, .offset = asked->offset};
    copy_sizes(job->shape, q.shape, lead);
    job->item = job->wide ? 8 : 4;
    job->heads = product_of(q.shape, lead);
    job->shared = lead ? k.shape[lead - 1] : 1;
    job->fewer = product_of(k.shape, lead);
    intptr_t each = lead ? q.shape[lead - 1] : 1, width = isa->panels.width[job->wide];
    job->groups = job->shared ? each / job->shared : 0;
    job->q_row = cut_in(job->e, width) * width;
    job->v_row = cut_in(job->ev, width) * width;
    if (job->groups * job->shared != each || larger(job->e, job->ev) > LARGEST ||
        !read_matrices(job, asked->q, &job->q, 0, job->l, job->e) ||
        !read_matrices(job, asked->k, &job->k, 1, job->s, job->e) ||
        !read_matrices(job, asked->v, &job->v, 1, job->s, job->ev))
        return 0;
    return (!asked->g || read_matrices(job, asked->g, &job->g, 0, job->l, job->ev)) &&
           (!asked->mask || read_mask(job, asked->mask));
}

char *read_dense(const Job *job, uintptr_t array, int dtype, int shared, intptr_t rows,
                 intptr_t n) {
    View x;
    if (!read_array(array, &x) || x.dtype != dtype || !has_shape(job, &x, shared, rows, n) ||
        !is_dense(&x) || !is_aligned(&x))
        return NULL;
    return x.data;
}

/* ---- rooms */

int take_room(Job *job, Room *room, int back) {
    int few = job->l <= FEW_QUERIES, turns = job->masked || job->p != 0;
    intptr_t q = QUERIES * job->q_row, v = QUERIES * job->v_row, tile = QUERIES * KEYS;
    const struct {
        char **to;
        intptr_t count; /* of elements */
    } all[] = {
        {&room->q, q},
        {&room->q_turned, q},
        {&room->g, v}, /* or the results */
        {&room->g_turned, back ? v : 0},
        {&room->k, KEYS * job->q_row},
        {&room->v, KEYS * job->v_row},
        {&room->scores, tile},
        {&room->change, back ? tile : 0},
        {&room->rows, turns || few ? tile : 0},
        {&room->turned, turns ? tile : 0},
        {&room->sums, 4 * QUERIES}, /* float64 sums, tops and factors */
    };
    enum { COUNT = sizeof all / sizeof *all };
    intptr_t bytes = 0;
    for (int i = 0; i < COUNT; i++)
        bytes += all[i].count * job->item;
    room->block = pool_take((size_t)bytes);
    if (!room->block) {
        atomic_store(&job->failed, 1);
        return 0;
    }
    char *free = room->block;
    for (int i = 0; i < COUNT; i++, free += all[i - 1].count * job->item)
        *all[i].to = free;
    return 1;
}

/* ---- tiles */

/* Where the matrix of a head begins. */
static const char *matrix_of(const Job *job, const Matrices *x, intptr_t head) {
    const char *data = x->data;
    for (intptr_t axis = job->lead - 1; axis >= 0; axis--) {
        intptr_t at = head % job->shape[axis];
        head /= job->shape[axis];
        data += (x->shared && axis == job->lead - 1 ? at / job->groups : at) * x->strides[axis];
    }
    return data;
}

/* Bring rows of n elements to rows that are `to_row` elements apart. */
static void load(const Job *job, const Matrices *x, const char *from, char *to, intptr_t to_row,
                 intptr_t rows, intptr_t n) {
    int made = job->wide ? F64 : F32;
    Convert convert = x->dtype == made ? NULL : isa->convert[x->dtype][made];
    for (intptr_t r = 0; r < rows; r++, to += to_row * job->item, from += x->row)
        load_rows(to, (int)job->item, from, 0, 1, x->column, n, ITEMSIZE[x->dtype], convert);
}

static intptr_t in_panels(const Job *job, intptr_t n) {
    intptr_t width = isa->panels.width[job->wide];
    return cut_in(n, width) * width;
}

/* Bring in rows from `first` on, with zeros up to a whole panel. */
static Rows load_rows_of(const Job *job, const Matrices *x, intptr_t head, intptr_t first,
                         intptr_t rows, char *to, intptr_t n) {
    intptr_t row = in_panels(job, n);
    load(job, x, matrix_of(job, x, head) + first * x->row, to, row, rows, n);
    for (intptr_t r = 0; r < rows && row > n; r++)
        memset(to + (r * row + n) * job->item, 0, (size_t)((row - n) * job->item));
    return (Rows){to, row};
}

static Rows rows_at(const Job *job, const Matrices *x, intptr_t head, intptr_t first,
                    intptr_t rows, char *to, intptr_t n) {
    if (!x->direct)
        return load_rows_of(job, x, head, first, rows, to, n);
    return (Rows){matrix_of(job, x, head) + first * x->row, x->row / job->item};
}

Rows query_rows(const Job *job, const Matrices *x, const Place *at, char *to, intptr_t n) {
    return rows_at(job, x, at->head, at->query, at->queries, to, n);
}

Rows key_rows(const Job *job, const Matrices *x, const Place *at, char *to, intptr_t n) {
    return rows_at(job, x, at->head, at->key, at->keys, to, n);
}

void load_queries(const Job *job, const Room *room, const Place *at) {
    intptr_t row = in_panels(job, job->e);
    load_rows_of(job, &job->q, at->head, at->query, at->queries, room->q, job->e);
    isa->attention.scale[job->wide](room->q, at->queries * row, job->scale);
    isa->attention.turn[job->wide](room->q_turned, QUERIES, room->q, row, at->queries, job->e);
}

/* Bring in what the mask has for a place, turned. */
static void load_mask(const Job *job, const Room *room, const Place *at) {
    const Matrices *mask = &job->mask;
    const char *from = matrix_of(job, mask, at->head) + at->query * mask->row +
                       at->key * mask->column;
    load(job, mask, from, room->rows, KEYS, at->queries, at->keys);
    isa->attention.turn[job->wide](room->turned, QUERIES, room->rows, KEYS, at->queries, at->keys);
}

/* Make scores of few queries: in rows by queries, which are turned then. */
static void make_few(const Job *job, const Room *room, const Place *at, Rows keys) {
    const Attention *loops = &isa->attention;
    int wide = job->wide;
    loops->dots[wide](room->rows, KEYS, room->q, in_panels(job, job->e), at->queries, keys.data,
                      keys.row, at->keys, job->e);
    loops->turn[wide](room->scores, QUERIES, room->rows, KEYS, at->queries, at->keys);
}

static void make_many(const Job *job, const Room *room, const Place *at, Rows keys) {
    isa->panels.product[job->wide](&(PanelProduct){
        .out = room->scores, .a = keys.data, .b = room->q_turned,
        .out_row = QUERIES, .a_row = keys.row, .a_column = 1,
        .b_row = QUERIES, .b_panel = isa->panels.width[job->wide],
        .rows = at->keys, .k = job->e, .n = at->queries,
    });
}

void make_scores(const Job *job, const Room *room, const Place *at, Rows keys) {
    const Attention *loops = &isa->attention;
    int wide = job->wide;
    (job->l <= FEW_QUERIES ? make_few : make_many)(job, room, at, keys);
    if (job->masked) {
        load_mask(job, room, at);
        loops->mask[wide](room->scores, room->turned, at->keys, at->queries, job->adds);
    }
    if (job->causal && at->key + at->keys > at->query + 1)
        loops->hide[wide](room->scores, at->keys, at->queries, at->key - at->query);
}

/* A weight's draw is that of `dropout` for weights (..., l, s): by its place among all of them. */
void make_factors(const Job *job, const Room *room, const Place *at) {
    _Alignas(64) uint64_t draws[KEYS + 64];
    double uniform[KEYS], factor = job->p < 1 ? 1 / (1 - job->p) : 0;
    for (intptr_t r = 0; r < at->queries; r++) {
        uint64_t row = (uint64_t)at->head * (uint64_t)job->l + (uint64_t)(at->query + r);
        uint64_t first = row * (uint64_t)job->s + (uint64_t)at->key;
        intptr_t blocks = cut_in(at->keys + (intptr_t)(first % 2), 2);
        isa->random.blocks(draws, first / 2, cut_in(blocks, 32) * 32, job->seed, job->offset);
        isa->random.uniform64(uniform, draws + first % 2, at->keys);
        char *to = room->rows + r * KEYS * job->item;
        for (intptr_t j = 0; j < at->keys; j++) {
            double by = uniform[j] >= job->p ? factor : 0;
            if (job->wide)
                ((double *)to)[j] = by;
            else
                ((float *)to)[j] = (float)by;
        }
    }
    isa->attention.turn[job->wide](room->turned, QUERIES, room->rows, KEYS, at->queries, at->keys);
}
