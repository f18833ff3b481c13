/* Connectionist temporal classification, and its gradient: a task for each sequence. */
#include "index_walk.h"
#include "ctc.h"

#include <stdatomic.h>

/* Elements that the longest vectors hold. */
#define VECTOR 16

typedef struct {
    int wide, backward;
    intptr_t item, steps, batch, size, states, classes;
    View scores;    /* log_probs, or its gradient */
    char *of_batch; /* the losses, or gradients of them */
    char *alpha;
    const int64_t *targets, *input_lengths, *target_lengths;
    int64_t blank;
    atomic_int fault;
} Call;

/* Copy a target, since others may write over it meanwhile; return whether it has classes only. */
static int copy_target(int64_t *to, const int64_t *from, intptr_t size, intptr_t classes) {
    memcpy(to, from, (size_t)size * sizeof *to);
    for (intptr_t i = 0; i < size; i++)
        if (to[i] < 0 || to[i] >= classes)
            return 0;
    return 1;
}

static int run_sequence(const Call *call, intptr_t i) {
    const View *scores = &call->scores;
    intptr_t steps = call->input_lengths[i], size = call->target_lengths[i];
    intptr_t width = cut_in(2 * size + 1, VECTOR) * VECTOR;
    char *work = pool_take((size_t)(CTC_ROWS * (width + 2) * call->item + size * 8));
    int64_t *target = (int64_t *)work;
    if (!work)
        return NO_MEMORY;
    if (!copy_target(target, call->targets + i * call->size, size, call->classes)) {
        pool_give(work);
        return OUT_OF_RANGE;
    }
    const Alignment a = {.steps = steps,
                         .size = size,
                         .width = width,
                         .target = target,
                         .blank = call->blank,
                         .scores = scores->data + i * scores->strides[1],
                         .score_step = scores->strides[0],
                         .score_class = scores->strides[2],
                         .alpha = call->alpha + i * call->steps * call->states * call->item,
                         .all_steps = call->steps,
                         .states = call->states,
                         .work = work + size * 8};
    for (intptr_t t = 0; t < call->steps && call->backward; t++)
        memset(a.scores + t * a.score_step, 0, (size_t)(call->classes * call->item));
    (call->backward ? isa->ctc.gradient : isa->ctc.loss)[call->wide](
        &a, call->of_batch + i * call->item);
    pool_give(work);
    return OK;
}

static void run_task(void *context, intptr_t i) {
    Call *call = context;
    int code = run_sequence(call, i);
    if (code != OK)
        atomic_store(&call->fault, code);
}

/* ---- what comes in */

/* Read a dense array of a dtype and of these sizes. */
static int read_dense(uintptr_t id, int dtype, int axes, const intptr_t *shape, char **data) {
    View x;
    if (!read_array(id, &x) || x.dtype != dtype || x.axes != axes ||
        !same_sizes(x.shape, shape, axes) || !is_dense(&x) || !is_aligned(&x))
        return 0;
    *data = x.data;
    return 1;
}

static int read_whole(uintptr_t id, int axes, const intptr_t *shape, const int64_t **data) {
    char *found;
    if (!read_dense(id, I64, axes, shape, &found))
        return 0;
    *data = (const int64_t *)found;
    return 1;
}

/* Whether all lengths are from 0 to `most`. */
static int within(const int64_t *lengths, intptr_t count, intptr_t most) {
    for (intptr_t i = 0; i < count; i++)
        if (lengths[i] < 0 || lengths[i] > most)
            return 0;
    return 1;
}

/* Run all sequences of `call`; its scores have been read, and nothing else. */
static int run(Call *call, uintptr_t targets_id, uintptr_t input_lengths, uintptr_t target_lengths,
               uintptr_t of_batch, uintptr_t alpha) {
    const View *scores = &call->scores;
    View targets;
    int dtype = scores->dtype;
    if (scores->axes != 3 || (dtype != F32 && dtype != F64) || !is_aligned(scores) ||
        !read_array(targets_id, &targets) || targets.axes != 2)
        return DECLINED;
    call->wide = dtype == F64;
    call->item = ITEMSIZE[dtype];
    call->steps = scores->shape[0];
    call->batch = scores->shape[1];
    call->classes = scores->shape[2];
    call->size = targets.shape[1];
    call->states = 2 * call->size + 1;
    const intptr_t of_targets[] = {call->batch, call->size};
    const intptr_t of_alpha[] = {call->batch, call->steps, call->states};
    if (call->blank < 0 || call->blank >= call->classes ||
        !read_whole(targets_id, 2, of_targets, &call->targets) ||
        !read_whole(input_lengths, 1, of_targets, &call->input_lengths) ||
        !read_whole(target_lengths, 1, of_targets, &call->target_lengths) ||
        !within(call->input_lengths, call->batch, call->steps) ||
        !within(call->target_lengths, call->batch, call->size) ||
        !read_dense(of_batch, dtype, 1, of_targets, &call->of_batch) ||
        !read_dense(alpha, dtype, 3, of_alpha, &call->alpha))
        return DECLINED;
    atomic_store(&call->fault, OK);
    parallel(run_task, call, call->batch);
    return atomic_load(&call->fault);
}

int ctc_loss(uintptr_t log_probs, uintptr_t targets, uintptr_t input_lengths,
             uintptr_t target_lengths, uintptr_t out, uintptr_t alpha, int64_t blank) {
    Call call = {.blank = blank};
    if (!read_array(log_probs, &call.scores))
        return DECLINED;
    return run(&call, targets, input_lengths, target_lengths, out, alpha);
}

int ctc_loss_backward(uintptr_t g, uintptr_t alpha, uintptr_t targets, uintptr_t input_lengths,
                      uintptr_t target_lengths, uintptr_t out, int64_t blank) {
    Call call = {.blank = blank, .backward = 1};
    if (!read_array(out, &call.scores) || !is_dense(&call.scores))
        return DECLINED;
    return run(&call, targets, input_lengths, target_lengths, g, alpha);
}
