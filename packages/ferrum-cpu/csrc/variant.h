/* The kernels of one instruction set. A file that sets its target and ISA includes this; all of it
   is static, so that no function built for a newer processor can be linked for an older one. */
#include "isa.h"

#include <string.h>

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

/* The iterations of the next loop do not depend on each other, even where it writes over an
   input: element i of the output is made from elements i. */
#define INDEPENDENT _Pragma("GCC ivdep")

typedef uint8_t b8, u8;
typedef int8_t i8;
typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;
typedef uint16_t f16, bf16; /* bits */
typedef float f32;
typedef double f64;

#include "vectors.h"
#include "convert.h"
#include "functions.h"
#include "loops.h"
#include "activations_loops.h"
#include "attention_loops.h"
#include "gemm_loops.h"
#include "convolution_loops.h"
#include "ctc_loops.h"
#include "depthwise_loops.h"
#include "winograd_loops.h"
#include "losses_loops.h"
#include "norms_loops.h"
#include "panels_loops.h"
#include "pooling_loops.h"
#include "random_loops.h"
#include "recurrence_loops.h"
#include "steps_loops.h"
#include "reduce_loops.h"
#include "resizing_loops.h"
#include "softmax_loops.h"

const Isa JOIN(isa_, ISA) = {
    .name = TEXT(ISA),
    .attention = ATTENTION_TABLE,
    .elementwise = ELEMENTWISE_TABLE,
    .convert = CONVERT_TABLE,
    .convolver = CONVOLVER_TABLE,
    .ctc = CTC_TABLE,
    .depthwise = DEPTHWISE_TABLE,
    .winograd = WINOGRAD_TABLE,
    .steps = STEPS_TABLE,
    .losses = LOSSES_TABLE,
    .norms = NORMS_TABLE,
    .panels = PANELS_TABLE,
    .pooling = POOLING_TABLE,
    .random = RANDOM_TABLE,
    .product = PRODUCT_TABLE,
    .recurrence = RECURRENCE_TABLE,
    .reduce = REDUCE_TABLE,
    .resizing = RESIZING_TABLE,
    .softmax = SOFTMAX_TABLE,
};
