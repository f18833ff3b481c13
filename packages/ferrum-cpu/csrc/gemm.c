/* Products of the matrices of stacks. A result is cut into tiles that the shapes alone decide, and
   each tile is computed by one thread: bits do not depend on how many threads there are. */
#include "gemm.h"
#include "isa.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

/* Multiplications below which the plain loop beats BLAS, and from which a thread of its own pays
   for a group of tiles. */
#define SMALL 16384
#define SMALL_VECTOR 2048
#define WORTH_A_THREAD 131072.0

typedef struct {
    int dtype, axes, method;
    const View *a, *b, *out;
    const char *bias;   /* dense, in dtype, or NULL */
    Matrix left, right; /* of any matrix of the stack, but for where it starts */
    intptr_t stacks, tile_rows, tile_columns, tiles_down, tiles_across;
    intptr_t group;     /* tiles to a task */
    intptr_t parts;     /* of k, where it is long and the result small: sums of parts are added */
    char *partial;      /* the results of the parts but for the first */
    atomic_int code;
} Job;

/* ---- stacks of products */

/* Return where matrix `number` of a stack starts. */
static char *matrix_at(const Job *job, const View *stack, intptr_t number) {
    char *place = stack->data;
    for (int axis = job->axes - 3; axis >= 0; axis--) {
        intptr_t size = job->out->shape[axis], i = number % size;
        int own = axis - (job->axes - stack->axes);
        number /= size;
        if (own >= 0 && stack->shape[own] != 1)
            place += i * stack->strides[own];
    }
    return place;
}

static void one_tile(Job *job, intptr_t number, intptr_t part) {
    intptr_t tiles = job->tiles_down * job->tiles_across, stack = number / tiles;
    intptr_t down = number % tiles / job->tiles_across, across = number % job->tiles_across;
    intptr_t size = ITEMSIZE[job->dtype], columns = job->right.columns;
    intptr_t row = down * job->tile_rows, column = across * job->tile_columns;
    MatrixTile tile = {job->left, job->right, NULL, columns, NULL};
    tile.a.data = matrix_at(job, job->a, stack) + row * tile.a.row_stride * size;
    tile.b.data = matrix_at(job, job->b, stack) + column * tile.b.column_stride * size;
    tile.a.rows = smaller(job->tile_rows, tile.a.rows - row);
    tile.b.columns = smaller(job->tile_columns, tile.b.columns - column);
    tile.out = part ? job->partial + (part - 1) * job->left.rows * columns * size
                    : matrix_at(job, job->out, stack);
    tile.out += (row * columns + column) * size;
    if (job->parts > 1) {
        intptr_t depth = (job->left.columns + job->parts - 1) / job->parts, start = part * depth;
        keep_part_of_k(&tile, (int)size, start, smaller(depth, job->left.columns - start));
    } else if (job->bias) {
        tile.bias = job->bias + column * size;
    }
    int code = compute_tile(job->method, job->dtype, &tile);
    if (code != OK)
        atomic_store(&job->code, code);
}

static void some_tiles(void *context, intptr_t number) {
    Job *job = context;
    intptr_t tiles = job->stacks * job->tiles_down * job->tiles_across;
    if (job->parts > 1) {
        one_tile(job, number / job->parts, number % job->parts);
        return;
    }
    for (intptr_t i = number * job->group; i < smaller(tiles, (number + 1) * job->group); i++)
        one_tile(job, i, 0);
}

static Matrix matrix_of(const View *stack) {
    intptr_t size = ITEMSIZE[stack->dtype];
    return (Matrix){NULL, stack->shape[stack->axes - 2], stack->shape[stack->axes - 1],
                    stack->strides[stack->axes - 2] / size, stack->strides[stack->axes - 1] / size};
}

/* Whether BLAS can read a matrix as it lies: dense along rows or columns. An axis of size 1 may
   have any stride, so it is given the one that fits. */
static int fits_blas(Matrix *x) {
    if (x->rows == 1)
        x->row_stride = x->column_stride == 1 ? larger(x->columns, 1) : 1;
    if (x->columns == 1)
        x->column_stride = x->row_stride == 1 ? x->rows : 1;
    return (x->column_stride == 1 && x->row_stride >= x->columns && x->row_stride <= INT_MAX) ||
           (x->row_stride == 1 && x->column_stride >= x->rows && x->column_stride <= INT_MAX);
}

static int fits_vector(intptr_t step) { return step && step >= -INT_MAX && step <= INT_MAX; }

/* How many tiles so much work is worth, in multiplications. Every tile packs its operands anew: on
   one thread, 64 tiles of a product of 256 x 256 matrices take 1.3 times as long as two. */
static double tiles_worth(int method, double work) {
    if (method == BY_VECTOR)
        return work < 1 << 16 ? 1 : 8;
    return work < 1 << 21 ? 1 : work <= 1 << 24 ? 2 : work <= 1 << 27 ? 4 : work <= 1 << 30 ? 8 : 16;
}

/* Tiles of up to 512 x 512, halved while there are fewer than the work is worth. A vector has tiles
   along the one axis that it has. */
static void choose_tiles(Job *job) {
    intptr_t m = job->left.rows, n = job->right.columns, k = job->left.columns;
    double wanted = tiles_worth(job->method, (double)m * (double)n * (double)k);
    job->tile_rows = smaller(m, job->method == BY_VECTOR ? 1 << 20 : 512);
    job->tile_columns = smaller(n, job->method == BY_VECTOR ? 1 << 20 : 512);
    if (job->method == BY_LOOP) { /* which computes whole rows */
        double row = (double)n * (double)k;
        job->tile_columns = n;
        job->tile_rows = row >= WORTH_A_THREAD ? 1 : smaller(m, (intptr_t)(WORTH_A_THREAD / row));
    }
    for (;;) {
        job->tiles_down = (m + job->tile_rows - 1) / job->tile_rows;
        job->tiles_across = (n + job->tile_columns - 1) / job->tile_columns;
        double tiles = (double)job->tiles_down * (double)job->tiles_across * (double)job->stacks;
        if (job->method <= BY_NARROW_LOOP || tiles >= wanted)
            break;
        intptr_t *side = job->tile_columns >= job->tile_rows ? &job->tile_columns : &job->tile_rows;
        if (*side <= 32)
            break;
        *side = (*side / 2 + 31) / 32 * 32;
    }
    double each = (double)job->tile_rows * (double)job->tile_columns * (double)k;
    job->group = each >= WORTH_A_THREAD ? 1 : (intptr_t)(WORTH_A_THREAD / each);
    job->parts = 1;
    if ((job->method == BY_BLAS || job->method == BY_VECTOR) && job->stacks == 1 && k >= 4096 &&
        job->tiles_down * job->tiles_across < 4 && each * 2 > WORTH_A_THREAD)
        job->parts = smaller(8, k / 2048);
}

/* Make a dense copy of an array in memory of the pool; what is broadcast along the first `leading`
   axes stays so. */
static int dense_copy(const View *x, int leading, View *copy, intptr_t *shape,
                      intptr_t *strides) {
    intptr_t step = ITEMSIZE[x->dtype];
    for (int axis = x->axes - 1; axis >= 0; axis--) {
        int repeated = axis < leading && x->strides[axis] == 0;
        shape[axis] = repeated ? 1 : x->shape[axis];
        strides[axis] = repeated ? 0 : step;
        step *= shape[axis];
    }
    *copy = (View){pool_take((size_t)step), shape, strides, x->axes, x->dtype};
    View once = *x;
    once.shape = shape;
    return copy->data ? copy_view(&once, copy) : NO_MEMORY;
}

/* Add up the results of the parts of k in order, and the bias. */
static void add_parts(const Job *job) {
    intptr_t count = job->left.rows * job->right.columns, bytes = count * ITEMSIZE[job->dtype];
    const Entry *add = &isa->elementwise[OP_add][job->dtype];
    char *out = job->out->data;
    for (intptr_t part = 1; part < job->parts; part++)
        add->loop(out, (const void *[]){out, job->partial + (part - 1) * bytes}, count);
    if (job->bias)
        add_bias(job->dtype, out, job->right.columns, job->left.rows, job->right.columns,
                 job->bias);
}

static int run(Job *job) {
    choose_tiles(job);
    intptr_t tiles = job->stacks * job->tiles_down * job->tiles_across, tasks;
    if (job->parts > 1) {
        tasks = tiles * job->parts;
        job->partial = pool_take((size_t)((job->parts - 1) * job->left.rows * job->right.columns *
                                          ITEMSIZE[job->dtype]));
        if (!job->partial)
            return NO_MEMORY;
    } else {
        tasks = (tiles + job->group - 1) / job->group;
    }
    parallel(some_tiles, job, tasks);
    int code = atomic_load(&job->code);
    if (job->parts > 1 && code == OK)
        add_parts(job);
    pool_give(job->partial);
    return code;
}

/* Return how a product is computed, which its shape, dtype and instruction set decide. */
static int method_of(int dtype, intptr_t m, intptr_t n, intptr_t k) {
    int vector = dtype >= F32 && (m == 1 || n == 1);
    int small = (double)m * (double)n * (double)k <= (vector ? SMALL_VECTOR : SMALL);
    small = small && k <= LONGEST;
    if (dtype < F16)
        return BY_LOOP;
    if (dtype >= F32) {
        if (small)
            return BY_LOOP;
        return vector ? BY_VECTOR : BY_BLAS;
    }
    if (small && larger(m, k) * larger(n, smaller(m, k)) <= NARROW_SMALL)
        return BY_NARROW_LOOP;
    return dtype == BF16 && isa == &isa_avx512 && bf16_runs() ? BY_BF16 : BY_NARROW;
}

/* Fill in the results of sums of nothing. */
static int empty_sums(const View *bias, const View *out) {
    if (bias)
        return convert_view(bias, out);
    memset(out->data, 0, (size_t)(count_of(out) * ITEMSIZE[out->dtype]));
    return OK;
}

/* Whether an operand can be read where it lies. */
static int fits(const Job *job, const View *stack, Matrix *matrix) {
    int is_left = matrix == &job->left, by_column = job->right.columns == 1;
    if (!is_aligned(stack))
        return 0;
    if (job->method == BY_VECTOR && is_left && !by_column)
        return fits_vector(matrix->column_stride);
    if (job->method == BY_VECTOR && !is_left && by_column)
        return fits_vector(matrix->row_stride);
    return (job->method != BY_VECTOR && job->method != BY_BLAS) || fits_blas(matrix);
}

/* Replace an operand that cannot be read where it lies. */
static int settle(Job *job, const View **stack, Matrix *matrix, View *copy,
                  intptr_t memory[2][MAX_AXES]) {
    if (fits(job, *stack, matrix))
        return OK;
    int code = dense_copy(*stack, (*stack)->axes - 2, copy, memory[0], memory[1]);
    *stack = copy;
    *matrix = matrix_of(copy);
    return code != OK || fits(job, copy, matrix) ? code : DECLINED;
}

/* Whether the first axes can be one; its stride. */
static int merge(const View *x, int axes, intptr_t *stride) {
    intptr_t reach = 0;
    int found = 0;
    *stride = 0;
    for (int axis = axes - 1; axis >= 0; axis--) {
        if (x->shape[axis] == 1)
            continue;
        if (!found++)
            *stride = reach = x->strides[axis];
        else if (x->strides[axis] != reach)
            return 0;
        reach *= x->shape[axis];
    }
    return 1;
}

/* A matrix as a view, whose shape and strides are in `memory`. */
static View matrix_view(const View *x, intptr_t rows, intptr_t columns, intptr_t row_stride,
                        intptr_t column_stride, intptr_t memory[4]) {
    memory[0] = rows;
    memory[1] = columns;
    memory[2] = row_stride;
    memory[3] = column_stride;
    return (View){x->data, memory, memory + 2, 2, x->dtype};
}

/* The last two axes of a stack that is one matrix. */
static View last_matrix(const View *x, intptr_t memory[4]) {
    const intptr_t *shape = x->shape + x->axes - 2, *strides = x->strides + x->axes - 2;
    return matrix_view(x, shape[0], shape[1], strides[0], strides[1], memory);
}

/* A stack times one matrix is one product, where the stack's rows lie evenly. */
static int merge_rows(const View *a, const View *b, const View *out, View merged[3],
                      intptr_t memory[3][4]) {
    intptr_t row, columns = out->shape[out->axes - 1], k = a->shape[a->axes - 1];
    if (out->axes < 3 || a->axes != out->axes || !merge(a, a->axes - 1, &row))
        return 0;
    for (int axis = 0; axis < b->axes - 2; axis++)
        if (b->shape[axis] != 1)
            return 0;
    intptr_t rows = count_of(out) / larger(columns, 1), size = ITEMSIZE[out->dtype];
    merged[0] = matrix_view(a, rows, k, row, a->strides[a->axes - 1], memory[0]);
    merged[1] = last_matrix(b, memory[1]);
    merged[2] = matrix_view(out, rows, columns, columns * size, size, memory[2]);
    return 1;
}

int matmul(const View *a, const View *b, const View *bias, const View *out) {
    intptr_t merged_memory[3][4], memory[3][2][MAX_AXES];
    View merged[3], dense[3] = {{0}};
    if (merge_rows(a, b, out, merged, merged_memory)) {
        a = &merged[0];
        b = &merged[1];
        out = &merged[2];
    }
    Job job = {.dtype = out->dtype, .axes = out->axes, .a = a, .b = b, .out = out};
    job.left = matrix_of(a);
    job.right = matrix_of(b);
    intptr_t m = job.left.rows, n = job.right.columns, k = job.left.columns;
    job.stacks = 1;
    for (int axis = 0; axis < out->axes - 2; axis++)
        job.stacks *= out->shape[axis];
    if (job.stacks * m * n == 0)
        return OK;
    if (k == 0)
        return empty_sums(bias, out);
    job.method = method_of(job.dtype, m, n, k);
    if (job.method > BY_NARROW_LOOP && (k > INT_MAX || n > INT_MAX))
        return DECLINED;
    int code = OK;
    if (bias) {
        job.bias = bias->data;
        if (bias->strides[0] != ITEMSIZE[bias->dtype] || !is_aligned(bias)) {
            code = dense_copy(bias, 0, &dense[2], memory[2][0], memory[2][1]);
            job.bias = dense[2].data;
        }
    }
    if (code == OK)
        code = settle(&job, &job.a, &job.left, &dense[0], memory[0]);
    if (code == OK)
        code = settle(&job, &job.b, &job.right, &dense[1], memory[1]);
    if (code == OK)
        code = run(&job);
    for (int i = 0; i < 3; i++)
        pool_give(dense[i].data);
    return code;
}

int linear(const View *x, const View *weight, const View *bias, const View *out) {
    intptr_t k = weight->shape[1], n = weight->shape[0], size = ITEMSIZE[out->dtype], row;
    intptr_t memory[2][MAX_AXES], of_left[4], of_right[4], of_result[4];
    intptr_t rows = count_of(out) / larger(n, 1);
    View dense = {0};
    int code = OK;
    if (!merge(x, x->axes - 1, &row)) {
        code = dense_copy(x, 0, &dense, memory[0], memory[1]);
        x = &dense;
        merge(x, x->axes - 1, &row);
    }
    View left = matrix_view(x, rows, k, row, x->strides[x->axes - 1], of_left);
    View right = matrix_view(weight, k, n, weight->strides[1], weight->strides[0], of_right);
    View result = matrix_view(out, rows, n, n * size, size, of_result);
    if (code == OK)
        code = matmul(&left, &right, bias, &result);
    pool_give(dense.data);
    return code;
}
