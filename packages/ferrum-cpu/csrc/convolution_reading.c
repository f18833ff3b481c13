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

/* What of a segment meets a tap inside of the planes; `to` is where the segment's elements go. */
static int run_of(const Reading *reading, const Segment *segment, const Tap *tap, intptr_t to,
                  Run *run) {
    const intptr_t *extent = reading->extent;
    intptr_t y = segment->at[0] * reading->step[0] + tap->offset[0];
    intptr_t x = segment->at[1] * reading->step[1] + tap->offset[1];
    intptr_t step = reading->step[2], first = segment->at[2] * step + tap->offset[2];
    if (y < 0 || y >= extent[0] || x < 0 || x >= extent[1] || first >= extent[2])
        return 0;
    intptr_t skipped = first < 0 ? (step - 1 - first) / step : 0;
    intptr_t end = smaller((extent[2] - 1 - first) / step + 1, segment->count);
    *run = (Run){to + skipped,
                 segment->image * reading->image + (y * extent[1] + x) * extent[2] + first +
                     skipped * step,
                 end - skipped};
    return end > skipped;
}

void read_lines(const Job *job, const Reading *reading, intptr_t group, intptr_t channel,
                intptr_t channels, intptr_t tap, const Segment *segments, intptr_t count, char *to,
                intptr_t lead) {
    intptr_t plane = group * reading->channels + channel, found = 0, at = 0;
    const char *from = reading->data + plane * reading->volume * job->size;
    Run runs[MOST_POSITIONS];
    for (const Segment *each = segments; each < segments + count; at += each++->count)
        found += run_of(reading, each, &reading->taps[tap], at, &runs[found]);
    isa->convolver.unfold[job->dtype == F64](to, lead, from, reading->volume, channels, runs, found,
                                             reading->step[2], at);
}
