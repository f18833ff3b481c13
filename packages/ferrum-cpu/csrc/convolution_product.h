/* Products of matrices of which the right one is never there; see convolution_product.c. */
#ifndef FERRUM_CONVOLUTION_PRODUCT_H
#define FERRUM_CONVOLUTION_PRODUCT_H

#include "convolution_reading.h"

/* The most columns of a tile in those of the instruction set, and how many tasks there shall be, if
   the shape gives as many. */
#define ACROSS 4
#define TASKS 16

/* Positions that read, and where their sums go. */
typedef struct {
    Job *job;
    Reading from;
    intptr_t rows; /* channels of one group that are written */
    intptr_t extent[3], first[3], step[3], volume; /* where position m goes: first + step m */
    int direct; /* positions go side by side */
    const char *weight, *bias;
    intptr_t to_row, to_channel;  /* from a weight to that of the next row, and next channel */
    intptr_t depth, taps;         /* channels and taps that are summed at a time */
    intptr_t panels, panel;       /* packed rows: how many panels, and rows to each */
    intptr_t packed_group;        /* elements */
    char *packed;
    intptr_t width, tile, tiles;  /* columns of a panel and of a tile, and how many tiles */
    intptr_t block, blocks;       /* panels of rows of a task, and how many such blocks */
} Pass;

/* Some channels and taps of what is summed. */
typedef struct {
    intptr_t channel, channels, tap, taps, k;
    intptr_t packed; /* where their weights start in a group */
} Part;

/* The tile of one task. */
typedef struct {
    intptr_t group, panel, panels, row, rows, columns, across; /* across: panels of columns */
    char *lines, *sums;  /* what positions read; where sums go, with rows `lead` apart */
    intptr_t lead, line; /* `line`: elements to a panel of columns of `lines` */
} Block;

int first_part(const Pass *to, Part *part);
int next_part(const Pass *to, Part *part);

/* Multiply a part of the weight by lines; add to the sums, if there are `more`. */
void multiply_tile(const Pass *to, const Block *tile, const Part *part, int more);

/* Cut rows in panels, and what is summed in parts. */
void cut_product(Pass *to);

/* Pack the weight, and run tasks that multiply by it. */
int run_packed(Pass *to, Task task, void *context, intptr_t count);

#endif
