/* How planes are read; see convolution_reading.h. */
#include "convolution_reading.h"
#include "isa.h"

Tap *taps_of_kernel(const Job *job) {
    Tap *taps = pool_take((size_t)job->places * sizeof(Tap) + 1);
    for (intptr_t k = 0; k < job->places && taps; k++) {
        intptr_t row = k / job->kernel[2];
        intptr_t place[3] = {row / job->kernel[1], row % job->kernel[1], k % job->kernel[2]};
        taps[k].place = k;
        for (int axis = 0; axis < 3; axis++)
            taps[k].offset[axis] = place[axis] * job->dilation[axis] - job->padding[axis];
    }
    return taps;
}

intptr_t segments_of(const Reading *reading, intptr_t first, intptr_t count, Segment *to) {
    intptr_t found = 0, line = reading->shape[2];
    for (intptr_t some; count > 0; count -= some, first += some) {
        intptr_t place = first % reading->positions;
        Segment *each = &to[found++];
        each->image = first / reading->positions;
        each->at[0] = place / (reading->shape[1] * line);
        each->at[1] = place / line % reading->shape[1];
        each->at[2] = place % line;
        each->count = some = smaller(count, line - each->at[2]);
    }
    return found;
}

void read_lines(const Job *job, const Reading *reading, Some some, const Segment *segments,
                intptr_t count, char *to, intptr_t to_tap, intptr_t to_channel) {
    intptr_t plane = some.group * reading->channels + some.channel;
    isa->convolver.unfold[job->dtype == F64](
        to, to_tap, to_channel, reading->data + plane * reading->volume * job->size, reading,
        reading->taps + some.tap, some.taps, some.channels, segments, count);
}
