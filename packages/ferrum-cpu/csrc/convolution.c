/* Convolution and its two adjoints, as Python calls them: the operands are checked, and computed
   with as float32 or float64. */
#include "convolution_job.h"
#include "convolution.h"
#include "isa.h"

#include <limits.h>

/* An operand as the job wants it: in place, or a dense copy in its dtype. */
typedef struct {
    View view;
    char *copy;
} Operand;

static int settle(Operand *x, int dtype) {
    intptr_t count = count_of(&x->view);
    if (x->view.dtype == dtype && is_dense(&x->view) && is_aligned(&x->view))
        return OK;
    x->copy = pool_take((size_t)(count * ITEMSIZE[dtype]) + 1);
    if (!x->copy)
        return NO_MEMORY;
    intptr_t strides[MAX_AXES];
    dense_strides(x->view.shape, x->view.axes, dtype, strides);
    View to = {x->copy, x->view.shape, strides, x->view.axes, dtype};
    int code = convert_view(&x->view, &to);
    x->view.data = x->copy;
    return code;
}

/* Fill in the sizes; whether the three tensors go together. */
static int measure(Job *job, const View *x, const View *weight, const View *g,
                   const int64_t *numbers, int64_t groups) {
    int axes = x->axes - 2;
    if (axes < 1 || axes > 3 || weight->axes != x->axes || g->axes != x->axes || groups < 1 ||
        x->dtype < F16 || weight->dtype != x->dtype || g->dtype != x->dtype ||
        x->shape[0] != g->shape[0] || x->shape[1] != weight->shape[1] * groups ||
        g->shape[1] != weight->shape[0] || weight->shape[0] % groups)
        return 0;
    job->dtype = x->dtype == F64 ? F64 : F32;
    job->size = ITEMSIZE[job->dtype];
    job->batch = x->shape[0];
    job->groups = groups;
    job->inner = weight->shape[1];
    job->outer = weight->shape[0] / groups;
    job->volume = job->positions = job->places = 1;
    for (int i = 0; i < 3; i++) {
        int axis = i - (3 - axes);
        int is = axis >= 0;
        job->in[i] = is ? x->shape[axis + 2] : 1;
        job->out[i] = is ? g->shape[axis + 2] : 1;
        job->kernel[i] = is ? weight->shape[axis + 2] : 1;
        job->stride[i] = is ? (intptr_t)numbers[3 * axis] : 1;
        job->padding[i] = is ? (intptr_t)numbers[3 * axis + 1] : 0;
        job->dilation[i] = is ? (intptr_t)numbers[3 * axis + 2] : 1;
        /* Beyond these sums of them could overflow; nobody has such an axis. */
        if (job->stride[i] < 1 || job->dilation[i] < 1 || job->stride[i] > INT_MAX ||
            job->dilation[i] > INT_MAX || job->padding[i] > INT_MAX || job->padding[i] < -INT_MAX)
            return 0;
        job->volume *= job->in[i];
        job->positions *= job->out[i];
        job->places *= job->kernel[i];
    }
    return job->volume <= INT_MAX && job->positions <= INT_MAX &&
           job->inner * job->places <= INT_MAX && job->outer <= INT_MAX;
}

/* Compute the last of three operands, and convert it where its dtype is a narrow one. */
static int compute(Job *job, Operand *one, Operand *two, Operand *bias, const View *out,
                   const char **to_one, const char **to_two, int (*run_it)(Job *)) {
    View wide = *out;
    int code = settle(one, job->dtype);
    if (code == OK)
        code = settle(two, job->dtype);
    if (code == OK && bias)
        code = settle(bias, job->dtype);
    *to_one = one->view.data;
    *to_two = two->view.data;
    job->bias = bias ? bias->view.data : NULL;
    if (code == OK && out->dtype != job->dtype) {
        wide.data = pool_take((size_t)(count_of(out) * job->size) + 1);
        code = wide.data ? OK : NO_MEMORY;
    }
    job->result = wide.data;
    if (code == OK)
        code = run_it(job);
    if (wide.data != out->data) {
        if (code == OK)
            isa->convert[job->dtype][out->dtype](out->data, wide.data, count_of(out));
        pool_give(wide.data);
    }
    pool_give(one->copy);
    pool_give(two->copy);
    if (bias)
        pool_give(bias->copy);
    return code;
}

/* Read a bias that may be missing; return whether it fits. */
static int read_bias(uintptr_t id, Operand *bias, intptr_t channels, int dtype) {
    const View *x = &bias->view;
    return !id || (read_array(id, &bias->view) && x->axes == 1 && x->shape[0] == channels &&
                   x->dtype == dtype);
}

static int is_free(const View *out) { return is_dense(out) && is_aligned(out); }

int convolution(uintptr_t x_id, uintptr_t weight_id, uintptr_t bias_id, uintptr_t out_id,
                const int64_t *numbers, int64_t groups) {
    Operand x = {.copy = NULL}, weight = x, bias = x;
    Job job = {.batch = 0};
    View out;
    if (!read_array(x_id, &x.view) || !read_array(weight_id, &weight.view) ||
        !read_array(out_id, &out) || !is_free(&out) ||
        !measure(&job, &x.view, &weight.view, &out, numbers, groups) ||
        !read_bias(bias_id, &bias, out.shape[1], out.dtype))
        return DECLINED;
    return compute(&job, &x, &weight, bias_id ? &bias : NULL, &out, &job.x, &job.weight, run_outer);
}

int convolution_input(uintptr_t outer_id, uintptr_t weight_id, uintptr_t bias_id,
                      uintptr_t out_id, const int64_t *numbers, int64_t groups) {
    Operand g = {.copy = NULL}, weight = g, bias = g;
    Job job = {.batch = 0};
    View out;
    if (!read_array(outer_id, &g.view) || !read_array(weight_id, &weight.view) ||
        !read_array(out_id, &out) || !is_free(&out) ||
        !measure(&job, &out, &weight.view, &g.view, numbers, groups) ||
        !read_bias(bias_id, &bias, out.shape[1], out.dtype))
        return DECLINED;
    return compute(&job, &g, &weight, bias_id ? &bias : NULL, &out, &job.g, &job.weight, run_inner);
}

int convolution_weight(uintptr_t x_id, uintptr_t outer_id, uintptr_t out_id,
                       const int64_t *numbers, int64_t groups) {
    Operand x = {.copy = NULL}, g = x;
    Job job = {.batch = 0};
    View out;
    if (!read_array(x_id, &x.view) || !read_array(outer_id, &g.view) ||
        !read_array(out_id, &out) || !is_free(&out) ||
        !measure(&job, &x.view, &out, &g.view, numbers, groups))
        return DECLINED;
    return compute(&job, &x, &g, NULL, &out, &job.x, &job.g, run_weight);
}
