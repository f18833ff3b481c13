/* The variants of the kernels, one for each instruction set, and the one that is in use. */
#ifndef FERRUM_ISA_H
#define FERRUM_ISA_H

#include "attention_table.h"
#include "convolution_table.h"
#include "ctc_table.h"
#include "elementwise.h"
#include "gemm.h"
#include "losses_table.h"
#include "norms_table.h"
#include "panels_table.h"
#include "pooling_table.h"
#include "random_table.h"
#include "recurrence_table.h"
#include "reduce.h"
#include "resizing_table.h"
#include "softmax.h"
#include "steps.h"
#include "steps_table.h"

typedef struct {
    const char *name;
    Attention attention;
    Entry elementwise[ELEMENTWISE_OPS][DTYPES];
    Convert convert[DTYPES][DTYPES]; /* [from][to] */
    Convolver convolver;
    Ctc ctc;
    Depthwise depthwise;
    Winograd winograd;
    Steps steps;
    Losses losses;
    Norms norms;
    Panels panels;
    Pooling pooling;
    Random random;
    Product product[DTYPES];
    Recurrence recurrence;
    ReducerTable reduce;
    Resizing resizing;
    SoftmaxTable softmax;
} Isa;

extern const Isa isa_scalar, isa_avx2, isa_avx512;
extern const Isa *isa;

#endif
