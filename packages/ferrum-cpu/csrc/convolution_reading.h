/* Reading planes at positions of a grid; see Reading in convolution_table.h. */
#ifndef FERRUM_CONVOLUTION_READING_H
#define FERRUM_CONVOLUTION_READING_H

#include "convolution_job.h"
#include "convolution_table.h"

/* The taps of a kernel, as the outer tensor reads the inner one; from the pool, or NULL. */
Tap *taps_of_kernel(const Job *job);

/* Cut positions of the whole batch, from `first` on, in segments; return how many there are. */
intptr_t segments_of(const Reading *reading, intptr_t first, intptr_t count, Segment *to);

/* Channels of one group, and taps. */
typedef struct {
    intptr_t group, channel, channels, tap, taps;
} Some;

/* Write what positions read at some taps of some channels: a line for each, of as many elements as
   there are positions, rounded up to whole vectors. */
void read_lines(const Job *job, const Reading *reading, Some some, const Segment *segments,
                intptr_t count, char *to, intptr_t to_tap, intptr_t to_channel);

/* Make of `from`, whose channels and extent are known, a reading of squares that belong to 2 x 2
   positions of a plane each: squares of 4 x 4, or of the 2 x 2. */
void read_squares(const Job *job, Reading *from, intptr_t side, const intptr_t *padding,
                  const intptr_t *plane);
/* How many squares are in memory at a time, in whole panels, where so many channels are. */
intptr_t wave_of(intptr_t channels, intptr_t squares, intptr_t width);

#endif
