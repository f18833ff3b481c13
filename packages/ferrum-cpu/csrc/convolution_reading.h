/* How planes are read: position m, in a grid of its own, and a tap meet at step m + offset along
   each axis; what lies outside counts as 0. Taps are places in the kernel. */
#ifndef FERRUM_CONVOLUTION_READING_H
#define FERRUM_CONVOLUTION_READING_H

#include "convolution_job.h"
#include "convolution_table.h"

typedef struct {
    intptr_t offset[3], place;
} Tap;

typedef struct {
    const char *data;
    intptr_t channels, extent[3], volume; /* channels of one group */
    intptr_t step[3], shape[3], positions; /* of the grid */
    intptr_t image; /* elements from an image to the next */
    Tap *taps;
    intptr_t count;
} Reading;

/* The taps of a kernel, as the outer tensor reads the inner one; from the pool, or NULL. */
Tap *taps_of_kernel(const Job *job);

/* Positions that lie in one line of the grid. */
typedef struct {
    intptr_t image, at[3], count;
} Segment;

/* Cut positions of the whole batch, from `first` on, in segments; return how many there are. */
intptr_t segments_of(const Reading *reading, intptr_t first, intptr_t count, Segment *to);

/* Write what positions read at one tap of some channels: a line for each channel, `lead` apart. Of
   a line so many elements are written as there are positions, rounded up to whole vectors. */
void read_lines(const Job *job, const Reading *reading, intptr_t group, intptr_t channel,
                intptr_t channels, intptr_t tap, const Segment *segments, intptr_t count, char *to,
                intptr_t lead);

/* Make of `from`, whose channels and extent are known, a reading of squares that belong to 2 x 2
   positions of a plane each: squares of 4 x 4, or of the 2 x 2. */
void read_squares(const Job *job, Reading *from, intptr_t side, const intptr_t *padding,
                  const intptr_t *plane);
/* How many squares are in memory at a time, in whole panels, where so many channels are. */
intptr_t wave_of(intptr_t channels, intptr_t squares, intptr_t width);

#endif
