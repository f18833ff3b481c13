/* The kernels that Python calls with arrays: their views, and what is done with them. */
#include "arrays.h"

#include "front.h"
#include "kernels.h"
#include "reduce_calls.h"

static int bfloat16 = -1;

void arrays_init(int number) { bfloat16 = number; }

int read_array(uintptr_t array, View *view) {
    return array && view_of((PyArrayObject *)array, view, bfloat16);
}

uintptr_t front_table(void) {
    static const Table table = {
        .isa = &isa,
        .elementwise = elementwise,
        .elementwise_inputs = elementwise_inputs,
        .elementwise_name = elementwise_name,
        .matmul = matmul,
        .linear = linear,
        .pool_take = pool_take,
        .pool_give = pool_give,
        .reduce = reduce,
        .reduce_index = reduce_index,
        .cumulative_sum = cumulative_sum,
        .softmax = softmax,
        .softmax_backward = softmax_backward,
    };
    return (uintptr_t)&table;
}
