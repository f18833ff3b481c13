/* Depthwise convolution: each channel has kernels of its own, so no product of matrices. */
#include "convolution_job.h"
#include "isa.h"

#include <string.h>

/* About how many elements a task computes, and are summed in one lane in the job's dtype. */
#define GRAIN 16384
#define LONG_SUM 4096

int is_depthwise(const Job *job) {
    return job->inner == 1 && job->in[0] == 1 && job->out[0] == 1 && job->kernel[0] == 1 &&
           job->padding[0] == 0 && job->places > 0 && job->places * job->outer <= MOST_PLACES;
}

static Planes planes_of(const Job *job) {
    Planes how;
    how.channels = 1;
    how.volume = 0;
    copy_sizes(how.in, job->in + 1, 2);
    copy_sizes(how.out, job->out + 1, 2);
    copy_sizes(how.kernel, job->kernel + 1, 2);
    copy_sizes(how.stride, job->stride + 1, 2);
    copy_sizes(how.padding, job->padding + 1, 2);
    copy_sizes(how.dilation, job->dilation + 1, 2);
    return how;
}

static double bias_of(const Job *job, intptr_t channel) {
    if (!job->bias)
        return 0;
    return job->dtype == F32 ? (double)((const float *)job->bias)[channel]
                             : ((const double *)job->bias)[channel];
}

/* Run a task for some planes, of so many elements each, of `count`. */
static int run_planes(Job *job, Task task, intptr_t count, intptr_t elements) {
    if (count * elements == 0)
        return OK;
    job->tile = larger(1, smaller(GRAIN / elements, cut_in(count, 16)));
    job->tiles = count;
    return run_convolution(job, task, job, cut_in(count, job->tile));
}

static void outer_planes(void *context, intptr_t task) {
    const Job *job = context;
    Planes how = planes_of(job);
    intptr_t size = job->size, end = smaller(job->tiles, (task + 1) * job->tile);
    for (intptr_t number = task * job->tile; number < end; number++) {
        intptr_t group = number / job->outer, channel = number % (job->groups * job->outer);
        isa->depthwise.gather[job->dtype == F64](&how, job->x + group * job->volume * size,
                                                 job->weight + channel * job->places * size,
                                                 bias_of(job, channel),
                                                 job->result + number * job->positions * size);
    }
}

int run_depthwise_outer(Job *job) {
    return run_planes(job, outer_planes, job->batch * job->groups * job->outer, job->positions);
}

/* Turn over a kernel. */
static void turn_over(char *to, const char *from, intptr_t places, intptr_t size) {
    for (intptr_t k = 0; k < places; k++)
        memcpy(to + (places - 1 - k) * size, from + k * size, (size_t)size);
}

static void inner_planes(void *context, intptr_t task) {
    const Job *job = context;
    Planes how = planes_of(job);
    intptr_t size = job->size, end = smaller(job->tiles, (task + 1) * job->tile);
    intptr_t kernels = job->outer * job->places * size;
    int once = job->stride[1] == 1 && job->stride[2] == 1;
    char turned[MOST_PLACES * sizeof(double)];
    how.channels = job->outer;
    how.volume = job->positions;
    for (int axis = 0; axis < 2; axis++)
        for (intptr_t i = 0; i < how.kernel[axis]; i++) {
            intptr_t stride = how.stride[axis], at = i * how.dilation[axis] - how.padding[axis];
            how.remainder[axis][i] = (at % stride + stride) % stride;
            how.shift[axis][i] = (how.remainder[axis][i] - at) / stride;
        }
    for (int axis = 0; axis < 2 && once; axis++) { /* a convolution by the kernel turned over */
        how.in[axis] = job->out[axis + 1];
        how.out[axis] = job->in[axis + 1];
        how.padding[axis] = how.dilation[axis] * (how.kernel[axis] - 1) - how.padding[axis];
    }
    for (intptr_t number = task * job->tile; number < end; number++) {
        intptr_t group = number % job->groups;
        const char *weight = job->weight + group * kernels;
        const char *g = job->g + number * job->outer * job->positions * size;
        char *out = job->result + number * job->volume * size;
        for (intptr_t i = 0; i < job->outer && once; i++)
            turn_over(turned + i * job->places * size, weight + i * job->places * size, job->places,
                      size);
        (once ? isa->depthwise.gather : isa->depthwise.spread)[job->dtype == F64](
            &how, g, once ? turned : weight, bias_of(job, group), out);
    }
}

int run_depthwise_inner(Job *job) {
    return run_planes(job, inner_planes, job->batch * job->groups, job->volume);
}

/* The kernel of one outer channel. Sums of many elements are sums of sums in float64. */
static void weight_kernel(void *context, intptr_t channel) {
    const Job *job = context;
    Planes how = planes_of(job);
    intptr_t size = job->size, lanes = isa->depthwise.lanes[job->dtype == F64];
    intptr_t images = larger(1, LONG_SUM * lanes / larger(1, job->positions));
    double totals[MOST_PLACES] = {0};
    _Alignas(64) char sums[MOST_PLACES * MOST_LANES * sizeof(float)];
    for (intptr_t image = 0; image < job->batch; image++) {
        intptr_t plane = image * job->groups * job->outer + channel;
        if (image % images == 0)
            memset(sums, 0, (size_t)(job->places * lanes * size));
        isa->depthwise.weigh[job->dtype == F64](&how,
                                                job->x + plane / job->outer * job->volume * size,
                                                job->g + plane * job->positions * size, sums);
        if (image % images == images - 1 || image == job->batch - 1)
            for (intptr_t k = 0, i = 0; k < job->places; k++)
                for (intptr_t end = i + lanes; i < end; i++)
                    totals[k] += size == 4 ? (double)((float *)sums)[i] : ((double *)sums)[i];
    }
    isa->convert[F64][job->dtype](job->result + channel * job->places * size, totals, job->places);
}

int run_depthwise_weight(Job *job) {
    return run_convolution(job, weight_kernel, job, job->groups * job->outer);
}
