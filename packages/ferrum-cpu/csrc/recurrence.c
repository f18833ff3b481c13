/* Recurrent layers and their gradients.

   Sequences do not meet, so that each task takes some of them through all steps: no step waits for
   another thread. The recurrent weight is packed once, into panels that a step reads in order. In
   the gradient the steps leave the rows' gradients behind, from which one product makes that of the
   weight. */
#include "elementwise.h"
#include "isa.h"
#include "recurrence.h"

#include <string.h>

enum { PLAIN_TANH, PLAIN_RELU, LSTM, GRU, KINDS };

/* Sequences of a task at least, and columns of a task that adds up rows. */
#define SEQUENCES 4
#define ADDED 64

static const int GATES[KINDS] = {1, 1, 4, 3}; /* parts of a row of x */
static const int KEPT[KINDS] = {0, 0, 4, 4};  /* parts of a row of gates */

typedef struct {
    int kind, reverse, wide;
    intptr_t item, steps, batch, n, rows, each;
    const int64_t *sizes;
    /* `state` and `cell` (batch, n) go from step to step; in the gradient they hold gradients. */
    char *x, *h, *c, *weight, *bias, *out, *gates, *cells, *g, *state, *cell;
    char *panels;  /* the weight, packed */
    char *scratch; /* gru's products (batch, 3n); in the gradient their gradients (rows, 3n) */
    char *before;  /* the state before each row */
    intptr_t k, columns, weight_row, weight_column;
} Job;

static void pack(void *context, intptr_t panel) {
    const Job *job = context;
    intptr_t width = isa->panels.width[job->wide], item = job->item;
    char *to = job->panels + panel * width * job->k * item;
    intptr_t count = smaller(width, job->columns - panel * width);
    memset(to, 0, (size_t)(width * job->k * item));
    for (intptr_t l = 0; l < job->k; l++, to += width * item) {
        const char *from = job->weight + (l * job->weight_row +
                                          panel * width * job->weight_column) * item;
        if (item == 4)
            for (intptr_t j = 0; j < count; j++)
                ((float *)to)[j] = ((const float *)from)[j * job->weight_column];
        else
            for (intptr_t j = 0; j < count; j++)
                ((double *)to)[j] = ((const double *)from)[j * job->weight_column];
    }
}

/* Pack the weight as a matrix (k, columns); OK or NO_MEMORY. */
static int pack_all(Job *job) {
    intptr_t width = isa->panels.width[job->wide];
    intptr_t panels = cut_in(job->columns, width);
    job->panels = pool_take((size_t)(panels * width * job->k * job->item));
    if (!job->panels)
        return NO_MEMORY;
    parallel(pack, job, panels);
    return OK;
}

static char *row_of(const Job *job, char *array, intptr_t row, intptr_t parts) {
    return array ? array + row * parts * job->n * job->item : NULL;
}

/* The first row of a step. */
static intptr_t start_of(const Job *job, intptr_t step) {
    intptr_t start = 0;
    for (intptr_t t = 0; t < step; t++)
        start += job->sizes[t];
    return start;
}

/* out = base + a times the packed weight, for so many rows. */
static void add_product(const Job *job, void *out, const void *base, intptr_t base_row,
                        const void *a, intptr_t rows) {
    intptr_t width = isa->panels.width[job->wide];
    isa->panels.product[job->wide](&(PanelProduct){
        .out = out, .base = base, .a = a, .b = job->panels,
        .out_row = job->columns, .base_row = base_row, .a_row = job->k, .a_column = 1,
        .b_row = width, .b_panel = width * job->k,
        .rows = rows, .k = job->k, .n = job->columns,
    });
}

/* Make a step of `count` sequences from `low` on, which are rows from `row` on. */
static void forward_step(const Job *job, intptr_t row, intptr_t low, intptr_t count) {
    const Recurrence *loops = &isa->recurrence;
    int wide = job->wide, kind = job->kind;
    intptr_t n = job->n, columns = job->columns;
    char *x = row_of(job, job->x, row, GATES[kind]), *state = row_of(job, job->state, low, 1);
    char *to = kind == GRU    ? row_of(job, job->scratch, low, 3)
               : kind == LSTM ? row_of(job, job->gates, row, 4)
                              : row_of(job, job->out, row, 1);
    const char *base = kind == GRU ? job->bias : x;
    add_product(job, to, base, kind == GRU ? 0 : columns, state, count);
    for (intptr_t r = 0; r < count; r++) {
        char *h = row_of(job, job->state, low + r, 1), *out = row_of(job, job->out, row + r, 1);
        char *gates = row_of(job, job->gates, row + r, 4);
        if (kind == GRU)
            loops->gru[wide](gates, row_of(job, job->x, row + r, 3),
                             row_of(job, job->scratch, low + r, 3), h, out, n);
        else if (kind == LSTM)
            loops->lstm[wide](gates, row_of(job, job->cells, row + r, 1),
                              row_of(job, job->cell, low + r, 1), h, out, n);
        else
            loops->plain[wide](out, h, n, kind == PLAIN_RELU);
    }
}

static void forward(void *context, intptr_t task) {
    const Job *job = context;
    intptr_t low = task * job->each, high = smaller(job->batch, low + job->each);
    intptr_t start = job->reverse ? job->rows : 0;
    for (intptr_t k = 0; k < job->steps; k++) {
        intptr_t size = job->sizes[job->reverse ? job->steps - 1 - k : k];
        start -= job->reverse ? size : 0;
        if (low < size)
            forward_step(job, start + low, low, smaller(high, size) - low);
        start += job->reverse ? 0 : size;
    }
}

/* What a sequence's row was before the step: another row, or what it started with. `near` is the
   step made before, of so many sequences from the row `start` on; 0 of them for none. */
static char *earlier(const Job *job, char *rows, char *first, intptr_t start, intptr_t near,
                     intptr_t sequence) {
    return sequence < near ? row_of(job, rows, start + sequence, 1)
                           : row_of(job, first, sequence, 1);
}

/* The gradient of a step; the step made before it has `near` sequences, from row `start` on. */
static void backward_step(const Job *job, intptr_t row, intptr_t low, intptr_t count,
                          intptr_t start, intptr_t near) {
    const Recurrence *loops = &isa->recurrence;
    int wide = job->wide, kind = job->kind, parts = GATES[kind];
    intptr_t n = job->n;
    for (intptr_t r = 0; r < count; r++) {
        char *dx = row_of(job, job->x, row + r, parts), *g = row_of(job, job->g, row + r, 1);
        char *dh = row_of(job, job->state, low + r, 1);
        char *gates = row_of(job, job->gates, row + r, KEPT[kind]);
        char *old = earlier(job, job->out, job->h, start, near, low + r);
        memcpy(row_of(job, job->before, row + r, 1), old, (size_t)(n * job->item));
        if (kind == GRU)
            loops->gru_backward[wide](dx, row_of(job, job->scratch, row + r, 3), g, dh, gates, old,
                                      n);
        else if (kind == LSTM)
            loops->lstm_backward[wide](dx, g, dh, row_of(job, job->cell, low + r, 1), gates,
                                       row_of(job, job->cells, row + r, 1),
                                       earlier(job, job->cells, job->c, start, near, low + r), n);
        else
            loops->plain_backward[wide](dx, g, dh, row_of(job, job->out, row + r, 1), n,
                                        kind == PLAIN_RELU);
    }
    char *dh = row_of(job, job->state, low, 1);
    char *rows = row_of(job, kind == GRU ? job->scratch : job->x, row, parts);
    add_product(job, dh, kind == GRU ? dh : NULL, n, rows, count);
}

static void backward(void *context, intptr_t task) {
    const Job *job = context;
    intptr_t low = task * job->each, high = smaller(job->batch, low + job->each);
    intptr_t start = job->reverse ? 0 : job->rows;
    for (intptr_t k = job->steps - 1; k >= 0; k--) {
        intptr_t step = job->reverse ? job->steps - 1 - k : k, size = job->sizes[step];
        intptr_t near = !k ? 0 : job->sizes[job->reverse ? step + 1 : step - 1];
        start -= job->reverse ? 0 : size;
        intptr_t of_near = job->reverse ? start + size : start - near;
        if (low < size)
            backward_step(job, start + low, low, smaller(high, size) - low, of_near, near);
        start += job->reverse ? size : 0;
    }
}

/* Add up the rows of gru's gradients, in float64, for the bias. */
static void add_rows(void *context, intptr_t task) {
    const Job *job = context;
    intptr_t all = 3 * job->n, low = task * ADDED, count = smaller(ADDED, all - low);
    double sums[ADDED] = {0};
    for (intptr_t r = 0; r < job->rows; r++) {
        const char *row = job->scratch + (r * all + low) * job->item;
        for (intptr_t j = 0; j < count; j++)
            sums[j] += job->wide ? ((const double *)row)[j] : (double)((const float *)row)[j];
    }
    for (intptr_t j = 0; j < count; j++)
        if (job->wide)
            ((double *)job->bias)[low + j] = sums[j];
        else
            ((float *)job->bias)[low + j] = (float)sums[j];
}

/* ---- what comes in */

/* An array that a call has: where its data goes, its sizes, and whether it may be missing. */
typedef struct {
    uintptr_t id;
    char **to;
    intptr_t shape[2];
    int axes, missing;
} Wanted;

/* Read the arrays; return whether all are dense, aligned, of the dtype and of these sizes. */
static int read_all(const Job *job, const Wanted *all, int count) {
    for (int k = 0; k < count; k++) {
        View x;
        if (!all[k].id && all[k].missing)
            continue;
        if (!all[k].id || !read_array(all[k].id, &x) || x.dtype != (job->wide ? F64 : F32) ||
            x.axes != all[k].axes || !same_sizes(x.shape, all[k].shape, x.axes) || !is_dense(&x) ||
            !is_aligned(&x))
            return 0;
        *all[k].to = x.data;
    }
    return 1;
}

/* Fill in the job's numbers from the sizes and the first state; return whether they fit. */
static int measure(Job *job, int kind, int reverse, uintptr_t sizes_id, uintptr_t h_id) {
    View sizes, h;
    if (kind < 0 || kind >= KINDS || !sizes_id || !h_id || !read_array(sizes_id, &sizes) ||
        !read_array(h_id, &h) || h.axes != 2 || (h.dtype != F32 && h.dtype != F64) ||
        sizes.dtype != I64 || sizes.axes != 1 || !is_dense(&sizes) || !is_aligned(&sizes) ||
        !is_dense(&h) || !sizes.shape[0] || !h.shape[1])
        return 0;
    *job = (Job){.kind = kind, .reverse = reverse, .wide = h.dtype == F64};
    job->sizes = (const int64_t *)sizes.data;
    job->steps = sizes.shape[0];
    job->batch = h.shape[0];
    job->n = h.shape[1];
    job->item = ITEMSIZE[h.dtype];
    int64_t before = job->batch;
    for (intptr_t t = 0; t < job->steps; t++) {
        if (job->sizes[t] < 0 || job->sizes[t] > before)
            return 0;
        before = job->sizes[t];
    }
    job->rows = start_of(job, job->steps);
    intptr_t each = cut_in(job->batch, threads_get());
    job->each = larger(SEQUENCES, cut_in(each, SEQUENCES) * SEQUENCES);
    return job->sizes[0] == job->batch;
}

static void fill(const Job *job, char *to, const char *from) {
    size_t bytes = (size_t)(job->batch * job->n * job->item);
    if (from)
        memcpy(to, from, bytes);
    else
        memset(to, 0, bytes);
}

static int give_all(Job *job, int code) {
    pool_give(job->panels);
    pool_give(job->scratch);
    pool_give(job->before);
    return code;
}

int recurrence(int kind, int reverse, uintptr_t sizes, uintptr_t x, uintptr_t h, uintptr_t c,
               uintptr_t weight, uintptr_t bias, uintptr_t out, uintptr_t last_h, uintptr_t last_c,
               uintptr_t gates, uintptr_t cells) {
    Job job;
    if (!measure(&job, kind, reverse, sizes, h))
        return DECLINED;
    intptr_t n = job.n, parts = GATES[kind], rows = job.rows, batch = job.batch;
    int no_cells = kind != LSTM, no_gates = kind < LSTM;
    const Wanted all[] = {
        {x, &job.x, {rows, parts * n}, 2, 0},
        {h, &job.h, {batch, n}, 2, 0},
        {c, &job.c, {batch, n}, 2, no_cells},
        {weight, &job.weight, {parts * n, n}, 2, 0},
        {bias, &job.bias, {parts * n}, 1, 1},
        {out, &job.out, {rows, n}, 2, 0},
        {last_h, &job.state, {batch, n}, 2, 0},
        {last_c, &job.cell, {batch, n}, 2, no_cells},
        {gates, &job.gates, {rows, KEPT[kind] * n}, 2, no_gates},
        {cells, &job.cells, {rows, n}, 2, no_cells},
    };
    if (!read_all(&job, all, sizeof all / sizeof *all))
        return DECLINED;
    fill(&job, job.state, job.h);
    if (kind == LSTM)
        fill(&job, job.cell, job.c);
    job.k = n;
    job.columns = parts * n;
    job.weight_row = 1;
    job.weight_column = n;
    int code = pack_all(&job);
    if (code == OK && kind == GRU &&
        !(job.scratch = pool_take((size_t)(larger(batch, 1) * 3 * n * job.item))))
        code = NO_MEMORY;
    if (code == OK)
        parallel(forward, &job, cut_in(batch, job.each));
    return give_all(&job, code);
}

/* The gradient of the weight: that of the rows, turned, times the states before them. */
static int weight_gradient(const Job *job, const View *like, char *rows) {
    intptr_t item = job->item, parts = GATES[job->kind];
    intptr_t turned[] = {parts * job->n, job->rows, item, parts * job->n * item};
    intptr_t before[] = {job->rows, job->n, job->n * item, item};
    View a = {rows, turned, turned + 2, 2, like->dtype};
    View b = {job->before, before, before + 2, 2, like->dtype};
    return matmul(&a, &b, NULL, like);
}

int recurrence_backward(int kind, int reverse, uintptr_t sizes, uintptr_t g, uintptr_t last_h,
                        uintptr_t last_c, uintptr_t out, uintptr_t gates, uintptr_t cells,
                        uintptr_t h, uintptr_t c, uintptr_t weight, uintptr_t dx, uintptr_t dh,
                        uintptr_t dc, uintptr_t dweight, uintptr_t dbias) {
    Job job;
    View of_weight;
    if (!measure(&job, kind, reverse, sizes, h))
        return DECLINED;
    intptr_t n = job.n, parts = GATES[kind], rows = job.rows, batch = job.batch;
    int no_cells = kind != LSTM, no_gates = kind < LSTM;
    char *of_h = NULL, *of_c = NULL, *unused = NULL;
    const Wanted all[] = {
        {g, &job.g, {rows, n}, 2, 1},
        {last_h, &of_h, {batch, n}, 2, 1},
        {last_c, &of_c, {batch, n}, 2, 1},
        {out, &job.out, {rows, n}, 2, 0},
        {gates, &job.gates, {rows, KEPT[kind] * n}, 2, no_gates},
        {cells, &job.cells, {rows, n}, 2, no_cells},
        {h, &job.h, {batch, n}, 2, 0},
        {c, &job.c, {batch, n}, 2, no_cells},
        {weight, &job.weight, {parts * n, n}, 2, 0},
        {dx, &job.x, {rows, parts * n}, 2, 0},
        {dh, &job.state, {batch, n}, 2, 0},
        {dc, &job.cell, {batch, n}, 2, no_cells},
        {dweight, &unused, {parts * n, n}, 2, 0},
        {dbias, &job.bias, {parts * n}, 1, kind != GRU},
    };
    if (!read_all(&job, all, sizeof all / sizeof *all) || !read_array(dweight, &of_weight))
        return DECLINED;
    fill(&job, job.state, of_h);
    if (kind == LSTM)
        fill(&job, job.cell, of_c);
    job.k = parts * n;
    job.columns = n;
    job.weight_row = n;
    job.weight_column = 1;
    int code = pack_all(&job);
    job.before = pool_take((size_t)(larger(rows, 1) * n * job.item));
    if (kind == GRU)
        job.scratch = pool_take((size_t)(larger(rows, 1) * 3 * n * job.item));
    if (code != OK || !job.before || (kind == GRU && !job.scratch))
        return give_all(&job, NO_MEMORY);
    parallel(backward, &job, cut_in(batch, job.each));
    if (kind == GRU)
        parallel(add_rows, &job, cut_in(3 * n, ADDED));
    return give_all(&job, weight_gradient(&job, &of_weight, kind == GRU ? job.scratch : job.x));
}
