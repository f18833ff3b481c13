/* Losses of classification: scores (n, classes, ...), a class for each of (n, ...). */
#include "index_walk.h"
#include "losses.h"

#include <stdatomic.h>

/* Rows that are gathered together where a row's classes are not side by side: neighbours lie in
   the same cache lines. */
#define BLOCK 16

/* Elements in a chunk of rows. */
#define GRAIN 16384

enum { LOG_LIKELIHOOD, ENTROPY, GRADIENT };

/* A call. A row is what stands at one target: its classes are `step` bytes apart. */
typedef struct {
    int kind, reduction, compute, wide, dtype;
    /* whether rows cannot be read, or not written, where they are; and whether they are widened */
    int gathered, scattered, narrow;
    View x, target, each; /* `each`: the losses, or the gradients that come, element by element */
    View out;             /* dense: log_probs, or their gradient */
    intptr_t rows, classes, chunk, step, out_step;
    View rows_of_x, rows_of_out; /* without the classes' axis */
    intptr_t shape[MAX_AXES], strides[MAX_AXES], out_strides[MAX_AXES];
    const void *weight;
    int64_t ignore_index;
    double smoothing, weights, g; /* `weights` is the sum of all classes' */
    double *losses, *totals;      /* partial sums, a pair for each chunk */
    atomic_int fault;
} Call;

static char *row_at(const View *rows, intptr_t row) {
    char *place = rows->data;
    for (int axis = rows->axes - 1; axis >= 0; axis--) {
        place += row % rows->shape[axis] * rows->strides[axis];
        row /= rows->shape[axis];
    }
    return place;
}

static View without_classes(const View *x, const intptr_t *shape, intptr_t *strides) {
    strides[0] = x->strides[0];
    for (int axis = 2; axis < x->axes; axis++)
        strides[axis - 1] = x->strides[axis];
    return (View){x->data, shape, strides, x->axes - 1, x->dtype};
}

/* Element i of a dense array of the computation's dtype. */
static double element(const Call *call, const void *x, intptr_t i) {
    return call->wide ? ((const double *)x)[i] : (double)((const float *)x)[i];
}

static double weight_of(const Call *call, intptr_t class) {
    return call->weight ? element(call, call->weight, class) : 1;
}

static int64_t target_at(const Call *call, intptr_t row) {
    int64_t class;
    memcpy(&class, row_at(&call->target, row), sizeof class);
    return class;
}

/* What a task works in, where it cannot work on the arrays: rows as they are stored, on their way
   in and out, and one row as it is computed, before and after. */
typedef struct {
    char *memory, *in, *out, *wide;
} Scratch;

static int take_scratch(const Call *call, Scratch *scratch) {
    size_t row = (size_t)call->classes * 8, block = row * BLOCK;
    if (!call->gathered && !call->scattered && !call->narrow)
        return 1;
    if (!(scratch->memory = pool_take(row + block * (size_t)(call->gathered + call->scattered))))
        return 0;
    scratch->wide = scratch->memory;
    scratch->in = scratch->memory + row;
    scratch->out = scratch->in + (call->gathered ? block : 0);
    return 1;
}

/* Move n rows between an array and the scratch, a class at a time. */
static void exchange(const Call *call, char *const *places, intptr_t step, int n, char *rows,
                     int out) {
    intptr_t size = ITEMSIZE[call->dtype], row = call->classes * size;
#define EXCHANGE(T) \
    for (intptr_t class = 0; class < call->classes; class++) \
        for (int j = 0; j < n; j++) { \
            char *there = places[j] + class * step, *here = rows + j * row + class * size; \
            if (out) \
                memcpy(there, here, sizeof(T)); \
            else \
                memcpy(here, there, sizeof(T)); \
        }
    if (size == 2) {
        EXCHANGE(uint16_t)
    } else if (size == 4) {
        EXCHANGE(uint32_t)
    } else {
        EXCHANGE(uint64_t)
    }
}

/* The loss of a row and its weight; `log_probs` has the classes `step` bytes apart. */
static double log_likelihood(const Call *call, const char *log_probs, intptr_t step, int dtype,
                             int64_t class, double *weight) {
    View one = {(char *)log_probs + class * step, NULL, NULL, 0, dtype};
    *weight = weight_of(call, class);
    return -read_number(&one) * *weight;
}

/* Compute a row that lies dense in the computation's dtype; return its loss. */
static double compute_row(const Call *call, intptr_t row, int64_t class, int kept, const char *x,
                          char *made, double *weight) {
    double smoothing = call->smoothing, classes = (double)call->classes;
    if (call->kind == ENTROPY) {
        isa->losses.log_softmax[call->wide](made, x, call->classes);
        if (!kept)
            return 0;
        double loss = log_likelihood(call, made, call->wide ? 8 : 4, call->compute, class, weight);
        if (smoothing == 0)
            return loss;
        double all = isa->losses.weighted[call->wide](made, call->weight, call->classes);
        return loss * (1 - smoothing) - all * (smoothing / classes);
    }
    double g = call->g, share = smoothing / classes;
    if (call->reduction == EACH) {
        View one = {row_at(&call->each, row), NULL, NULL, 0, call->dtype};
        g = read_number(&one);
    }
    double own = (kept ? weight_of(call, class) : 0) * (1 - smoothing);
    isa->losses.gradient[call->wide](made, x, call->classes, call->weight, share,
                                     own + share * call->weights, kept ? g : 0, kept ? class : 0,
                                     own);
    return 0;
}

typedef struct {
    double loss, weight;
} Sums;

/* Compute n rows, at most BLOCK. */
static int run_block(Call *call, intptr_t row, int n, const Scratch *scratch, Sums *sums) {
    char *ins[BLOCK], *outs[BLOCK];
    intptr_t width = call->classes * ITEMSIZE[call->dtype];
    for (int j = 0; j < n; j++)
        ins[j] = row_at(&call->rows_of_x, row + j);
    if (call->gathered)
        exchange(call, ins, call->step, n, scratch->in, 0);
    for (int j = 0; j < n && call->kind != LOG_LIKELIHOOD; j++)
        outs[j] = row_at(&call->rows_of_out, row + j);
    for (int j = 0; j < n; j++) {
        int64_t class = target_at(call, row + j);
        int kept = class != call->ignore_index;
        double loss = 0, weight = 0;
        if (kept && (class < 0 || class >= call->classes))
            return OUT_OF_RANGE;
        if (call->kind == LOG_LIKELIHOOD) {
            if (kept)
                loss = log_likelihood(call, ins[j], call->step, call->dtype, class, &weight);
        } else {
            char *x = call->gathered ? scratch->in + j * width : ins[j];
            char *y = call->scattered ? scratch->out + j * width : outs[j];
            if (call->narrow) {
                char *wide = scratch->wide, *made = wide + call->classes * 4;
                isa->convert[call->dtype][F32](wide, x, call->classes);
                loss = compute_row(call, row + j, class, kept, wide, made, &weight);
                isa->convert[F32][call->dtype](y, made, call->classes);
            } else {
                loss = compute_row(call, row + j, class, kept, x, y, &weight);
            }
        }
        if (call->kind != GRADIENT && call->reduction == EACH) {
            View one = {row_at(&call->each, row + j), NULL, NULL, 0, call->dtype};
            write_number(&one, loss);
        }
        sums->loss += loss;
        sums->weight += weight;
    }
    if (call->scattered)
        exchange(call, outs, call->out_step, n, scratch->out, 1);
    return OK;
}

static void run_chunk(void *context, intptr_t i) {
    Call *call = context;
    Scratch scratch = {0};
    Sums sums = {0, 0};
    intptr_t row = i * call->chunk, end = smaller(call->rows, (i + 1) * call->chunk);
    int code = take_scratch(call, &scratch) ? OK : NO_MEMORY;
    for (int n; row < end && code == OK; row += n) {
        n = (int)smaller(end - row, BLOCK);
        code = run_block(call, row, n, &scratch, &sums);
    }
    if (code != OK)
        atomic_store(&call->fault, code);
    pool_give(scratch.memory);
    if (call->losses) {
        call->losses[i] = sums.loss;
        call->totals[i] = sums.weight;
    }
}

/* Read what all have: scores or log-probabilities, targets, weights. */
static int read_call(Call *call, uintptr_t x, uintptr_t target, uintptr_t weight, View *w) {
    if (!read_array(x, &call->x) || !read_array(target, &call->target) || call->x.axes < 2 ||
        call->target.axes != call->x.axes - 1 || call->target.dtype != I64)
        return 0;
    call->dtype = call->x.dtype;
    call->compute = compute_of(call->dtype);
    call->classes = call->x.shape[1];
    call->step = call->x.strides[1];
    call->rows = count_of(&call->target);
    call->wide = call->compute == F64;
    call->narrow = call->kind != LOG_LIKELIHOOD && call->compute != call->dtype;
    call->gathered = call->kind != LOG_LIKELIHOOD &&
                     (call->step != ITEMSIZE[call->dtype] || !is_aligned(&call->x));
    if (call->compute < 0 || call->target.shape[0] != call->x.shape[0] ||
        (call->classes == 0 && call->rows != 0))
        return 0;
    for (int axis = 2; axis < call->x.axes; axis++)
        if (call->target.shape[axis - 1] != call->x.shape[axis])
            return 0;
    call->rows_of_x = without_classes(&call->x, call->target.shape, call->strides);
    w->data = NULL;
    return !weight || (read_array(weight, w) && w->dtype == call->dtype && w->axes == 1 &&
                       w->shape[0] == call->classes);
}

/* Read the dense output of the scores' shape. */
static int read_out(Call *call, uintptr_t out) {
    if (!read_array(out, &call->out) || call->out.dtype != call->dtype ||
        !same_shape(&call->out, &call->x) || !is_dense(&call->out) || !is_aligned(&call->out))
        return 0;
    call->out_step = call->out.strides[1];
    call->scattered = call->classes > 1 && call->out_step != ITEMSIZE[call->dtype];
    call->rows_of_out = without_classes(&call->out, call->target.shape, call->out_strides);
    return 1;
}

/* Read losses, or gradients of them: one, or one for each row. */
static int read_each(Call *call, uintptr_t each) {
    return read_array(each, &call->each) && call->each.dtype == call->dtype &&
           (call->reduction == EACH ? same_shape(&call->each, &call->target)
                                    : call->each.axes == 0);
}

/* Lay the weights out dense, as they are computed with. */
static int take_weight(Call *call, const View *w) {
    if (!w->data)
        return call->weights = (double)call->classes, 1;
    size_t size = ITEMSIZE[call->compute], bytes = (size_t)call->classes * size;
    if (!(call->weight = pool_take(bytes)))
        return 0;
    intptr_t stride = (intptr_t)size;
    View dense = {(char *)call->weight, w->shape, &stride, 1, call->compute};
    convert_view(w, &dense);
    for (intptr_t start = 0; start < call->classes; start += TILE)
        call->weights += isa->losses.weighted[call->wide](
            (const char *)call->weight + start * stride, NULL,
            smaller(call->classes - start, TILE));
    return 1;
}

/* Run all rows; set the sums of the losses and of the weights. */
static int run(Call *call, const View *w, double *loss, double *total) {
    double two[2] = {0, 0};
    intptr_t cost = call->kind == LOG_LIKELIHOOD ? 4 : larger(call->classes, 1);
    call->chunk = (GRAIN / cost + BLOCK) / BLOCK * BLOCK;
    intptr_t chunks = (call->rows + call->chunk - 1) / call->chunk;
    atomic_store(&call->fault, OK);
    call->losses = chunks > 1 ? pool_take((size_t)chunks * 2 * sizeof(double)) : two;
    if (!call->losses)
        return NO_MEMORY;
    call->totals = call->losses + larger(chunks, 1);
    if (!take_weight(call, w)) {
        if (chunks > 1)
            pool_give(call->losses);
        return NO_MEMORY;
    }
    parallel(run_chunk, call, chunks);
    *loss = pairwise(call->losses, chunks);
    *total = pairwise(call->totals, chunks);
    if (chunks > 1)
        pool_give(call->losses);
    pool_give((void *)call->weight);
    return atomic_load(&call->fault);
}

/* Run a loss, and write its value, reduced, and the sum of the weights. */
static int run_loss(Call *call, const View *w, uintptr_t total) {
    View sum;
    double loss, weights;
    if (!read_array(total, &sum) || sum.axes || sum.dtype != call->compute)
        return DECLINED;
    int code = run(call, w, &loss, &weights);
    if (code != OK)
        return code;
    write_number(&sum, weights);
    if (call->reduction != EACH)
        write_number(&call->each, call->reduction == MEAN_OF_ALL ? loss / weights : loss);
    return OK;
}

int nll_loss(uintptr_t log_probs, uintptr_t target, uintptr_t weight, uintptr_t out,
             uintptr_t total, int64_t ignore_index, int reduction) {
    Call call = {.kind = LOG_LIKELIHOOD, .reduction = reduction, .ignore_index = ignore_index};
    View w;
    if (!read_call(&call, log_probs, target, weight, &w) || !read_each(&call, out))
        return DECLINED;
    return run_loss(&call, &w, total);
}

int cross_entropy(uintptr_t x, uintptr_t target, uintptr_t weight, uintptr_t out,
                  uintptr_t log_probs, uintptr_t total, int64_t ignore_index,
                  double label_smoothing, int reduction) {
    Call call = {.kind = ENTROPY,
                 .reduction = reduction,
                 .ignore_index = ignore_index,
                 .smoothing = label_smoothing};
    View w;
    if (!read_call(&call, x, target, weight, &w) || !read_each(&call, out) ||
        !read_out(&call, log_probs))
        return DECLINED;
    return run_loss(&call, &w, total);
}

int cross_entropy_backward(uintptr_t g, uintptr_t log_probs, uintptr_t target, uintptr_t weight,
                           uintptr_t total, uintptr_t out, int64_t ignore_index,
                           double label_smoothing, int reduction) {
    Call call = {.kind = GRADIENT,
                 .reduction = reduction,
                 .ignore_index = ignore_index,
                 .smoothing = label_smoothing};
    View w, sum;
    double loss, weights;
    if (!read_call(&call, log_probs, target, weight, &w) || !read_each(&call, g) ||
        !read_out(&call, out) || !read_array(total, &sum) || sum.axes || compute_of(sum.dtype) < 0)
        return DECLINED;
    if (reduction != EACH)
        call.g = read_number(&call.each) / (reduction == MEAN_OF_ALL ? read_number(&sum) : 1);
    return run(&call, &w, &loss, &weights);
}
