/* The steps of optimizers: all parameters in one call, one after the other, so that a tensor that
   comes twice is moved twice; a large one is moved by all threads. */
#include "arrays.h"
#include "index_walk.h"

#include <math.h>

#define GRAIN 32768
#define MOST_WRITTEN 4

/* One parameter. */
typedef struct {
    View written[MOST_WRITTEN]; /* it and its state */
    Source grad;
    StepLoop loop;
    Numbers with;
    int count, compute;
} Move;

static void run(const Move *move, intptr_t position, intptr_t end) {
    Tile grad, tiles[MOST_WRITTEN];
    int dtype = move->written[0].dtype, narrow = dtype != move->compute;
    intptr_t size = ITEMSIZE[dtype];
    for (intptr_t n; position < end; position += n) {
        void *at[MOST_WRITTEN];
        n = smaller(end - position, TILE);
        const void *g = load_tile(&move->grad, position, n, &grad);
        for (int k = 0; k < move->count; k++) {
            at[k] = move->written[k].data + position * size;
            if (narrow) {
                isa->convert[dtype][F32](tiles[k].converted, at[k], n);
                at[k] = tiles[k].converted;
            }
        }
        if (move->with.maximize || move->with.weight_decay != 0) {
            isa->steps.gradient[move->compute == F64](grad.converted, g, at[0], n, &move->with);
            g = grad.converted;
        }
        move->loop(at, g, n, &move->with);
        for (int k = 0; k < move->count && narrow; k++)
            isa->convert[F32][dtype](move->written[k].data + position * size, at[k], n);
    }
}

static void run_chunk(void *context, intptr_t i) {
    const Move *move = context;
    run(move, i * GRAIN, smaller(count_of(&move->written[0]), (i + 1) * GRAIN));
}

static void run_all(Move *move) {
    parallel(run_chunk, move, (count_of(&move->written[0]) + GRAIN - 1) / GRAIN);
}

/* Read an array that is written: dense, and by nobody else's leave. */
static int read_written(uintptr_t array, View *view) {
    return read_array(array, view) && PyArray_ISWRITEABLE((PyArrayObject *)array) &&
           is_dense(view) && is_aligned(view);
}

/* Whether writing one operand changes what is yet to be read of another. */
static int clash(const View *written, const View *other) {
    return overlap(written, other) &&
           !(other->data == written->data && other->dtype == written->dtype && is_dense(other));
}

/* Read parameter i, its gradient and the state in the lists first_state ... lists - 1. */
static int read_move(Move *move, const uintptr_t *arrays, int64_t count, int64_t i, int first_state,
                     int lists) {
    View grad, *param = &move->written[0];
    move->count = 1 + lists - first_state;
    if (!read_written(arrays[i], param) || !read_array(arrays[count + i], &grad))
        return 0;
    move->compute = compute_of(param->dtype);
    if (move->compute < 0 || grad.dtype != param->dtype || !same_shape(&grad, param) ||
        clash(param, &grad))
        return 0;
    for (int k = 1; k < move->count; k++) {
        View *state = &move->written[k];
        if (!read_written(arrays[(first_state + k - 1) * count + i], state) ||
            state->dtype != param->dtype || !same_shape(state, param) || clash(state, &grad))
            return 0;
        for (int other = 0; other < k; other++)
            if (overlap(state, &move->written[other]))
                return 0;
    }
    move->grad = source_of(&grad, move->compute);
    return 1;
}

int sgd_step(const uintptr_t *arrays, int64_t count, double lr, double momentum, double dampening,
             double weight_decay, int nesterov, int maximize) {
    Move move = {.with = {.lr = lr,
                          .weight_decay = weight_decay,
                          .momentum = momentum,
                          .undamped = 1 - dampening,
                          .nesterov = nesterov,
                          .maximize = maximize}};
    int lists = momentum != 0 ? 3 : 2;
    for (int64_t i = 0; i < count; i++)
        if (!read_move(&move, arrays, count, i, 2, lists))
            return DECLINED;
    for (int64_t i = 0; i < count; i++) {
        read_move(&move, arrays, count, i, 2, lists);
        move.loop = (momentum != 0 ? isa->steps.heavy : isa->steps.plain)[move.compute == F64];
        run_all(&move);
    }
    return OK;
}

/* beta to the power of count, less one, as the fallback has it in its dtype. */
static double power_less_one(double beta, double count, int dtype) {
    double log_beta = beta != 0 ? log(beta) : -(double)INFINITY;
    if (dtype == F64) {
        double in = count * log_beta, out;
        isa->elementwise[OP_expm1][F64].loop(&out, (const void *const[]){&in}, 1);
        return out;
    }
    float in = (float)count * (float)log_beta, out;
    isa->elementwise[OP_expm1][F32].loop(&out, (const void *const[]){&in}, 1);
    return out;
}

/* Count a step up, and set what depends on the count. */
static void count_up(Move *move, const View *step, double beta1, double beta2) {
    Numbers *with = &move->with;
    double count = read_number(step);
    count = step->dtype == F64 ? count + 1 : (float)count + 1.0f;
    write_number(step, count);
    double less1 = power_less_one(beta1, count, move->compute);
    double less2 = power_less_one(beta2, count, move->compute);
    if (move->compute == F64) {
        with->root = sqrt(-less2);
        with->rate = with->lr / less1;
    } else {
        with->root = sqrtf(-(float)less2);
        with->rate = (float)with->lr / (float)less1;
    }
}

static int read_step(uintptr_t array, const Move *move, View *step) {
    if (!read_written(array, step) || step->axes || compute_of(step->dtype) < 0 ||
        overlap(step, &move->grad.view))
        return 0;
    for (int k = 0; k < move->count; k++)
        if (overlap(step, &move->written[k]))
            return 0;
    return 1;
}

int adam_step(const uintptr_t *arrays, int64_t count, double lr, double beta1, double beta2,
              double eps, double weight_decay, int amsgrad, int maximize, int decoupled) {
    Move move = {.with = {.lr = lr,
                          .weight_decay = decoupled ? 0 : weight_decay,
                          .shrink = decoupled ? 1 - lr * weight_decay : 1,
                          .less_beta1 = 1 - beta1,
                          .beta2 = beta2,
                          .less_beta2 = 1 - beta2,
                          .eps = eps,
                          .maximize = maximize}};
    int lists = amsgrad ? 6 : 5;
    View step;
    if (!(beta1 >= 0 && beta2 >= 0))
        return DECLINED;
    for (int64_t i = 0; i < count; i++)
        if (!read_move(&move, arrays, count, i, 3, lists) ||
            !read_step(arrays[2 * count + i], &move, &step))
            return DECLINED;
    for (int64_t i = 0; i < count; i++) {
        read_move(&move, arrays, count, i, 3, lists);
        read_step(arrays[2 * count + i], &move, &step);
        count_up(&move, &step, beta1, beta2);
        move.loop = (amsgrad ? isa->steps.amsgrad : isa->steps.adam)[move.compute == F64];
        run_all(&move);
    }
    return OK;
}

/* ---- the kinds of a table */

typedef struct {
    double lr, beta1, beta2, extra;
} Options;

static double function_of(int op, double x) {
    double y;
    isa->elementwise[op][F64].loop(&y, (const void *const[]){&x}, 1);
    return y;
}

/* What depends on the step, whose number is `count`; `product` is NAdam's, 0-d. */
typedef void (*Prepare)(Numbers *with, const Options *options, double count, const View *product);

static void prepare_nothing(Numbers *with, const Options *options, double count,
                            const View *product) {
    (void)with, (void)options, (void)count, (void)product;
}

static void prepare_adagrad(Numbers *with, const Options *options, double count,
                            const View *product) {
    (void)product;
    with->rate = options->lr / ((count - 1) * options->extra + 1);
}

static void prepare_adamax(Numbers *with, const Options *options, double count,
                           const View *product) {
    (void)product;
    with->rate = options->lr / power_less_one(options->beta1, count, F64);
}

static double momentum_of_nadam(const Options *options, double count) {
    return (1 - function_of(OP_exp, count * (options->extra * log(0.96))) * 0.5) * options->beta1;
}

static void prepare_nadam(Numbers *with, const Options *options, double count, const View *product) {
    double now = momentum_of_nadam(options, count), then = momentum_of_nadam(options, count + 1);
    double mu = read_number(product);
    mu = product->dtype == F64 ? mu * now : (float)mu * (float)now;
    write_number(product, mu);
    mu = read_number(product);
    with->grad_rate = (1 - now) * options->lr / (1 - mu);
    with->rate = then * options->lr / (1 - mu * then);
    with->root = sqrt(-power_less_one(options->beta2, count, F64));
}

static void prepare_radam(Numbers *with, const Options *options, double count,
                          const View *product) {
    (void)product;
    double longest = 2 / (1 - options->beta2) - 1;
    double less2 = power_less_one(options->beta2, count, F64);
    double length = count * 2 * (less2 + 1) / less2 + longest;
    with->rate = options->lr / power_less_one(options->beta1, count, F64);
    with->is_scaled = longest > 5 && length > 5;
    if (with->is_scaled)
        with->rate *= sqrt((length - 4) * (length - 2) / length * -less2) *
                      sqrt(longest / ((longest - 4) * (longest - 2)));
}

/* How many lists of 0-d tensors the state begins with (the counts, what NAdam multiplies up), how
   many others it always has, and what depends on the count. */
static const struct {
    int numbers, others;
    Prepare prepare;
} KINDS[] = {
    [STEP_ADADELTA] = {1, 2, prepare_nothing}, [STEP_ADAGRAD] = {1, 1, prepare_adagrad},
    [STEP_ADAMAX] = {1, 2, prepare_adamax},    [STEP_LION] = {0, 1, prepare_nothing},
    [STEP_NADAM] = {2, 2, prepare_nadam},      [STEP_RADAM] = {1, 2, prepare_radam},
    [STEP_RMSPROP] = {1, 1, prepare_nothing},
};

/* Read parameter i with what is 0-d of its state. */
static int read_all(Move *move, View *numbers, const uintptr_t *arrays, int64_t count, int64_t i,
                    int zero_d, int lists) {
    if (!read_move(move, arrays, count, i, 2 + zero_d, 2 + lists))
        return 0;
    for (int k = 0; k < zero_d; k++)
        if (!read_step(arrays[(2 + k) * count + i], move, &numbers[k]))
            return 0;
    return zero_d < 2 || !overlap(&numbers[0], &numbers[1]);
}

int kind_step(int kind, const uintptr_t *arrays, int64_t count, int lists, double lr, double beta1,
              double beta2, double eps, double weight_decay, double extra, int centered,
              int maximize, int decoupled) {
    if (kind < 0 || kind > STEP_RMSPROP || !(beta1 >= 0 && beta2 >= 0))
        return DECLINED;
    Options options = {lr, beta1, beta2, extra};
    Move move = {.with = {.lr = lr,
                          .weight_decay = decoupled ? 0 : weight_decay,
                          .shrink = decoupled ? 1 - lr * weight_decay : 1,
                          .beta1 = beta1,
                          .less_beta1 = 1 - beta1,
                          .beta2 = beta2,
                          .less_beta2 = 1 - beta2,
                          .eps = eps,
                          .momentum = extra,
                          .centered = centered,
                          .maximize = maximize}};
    int zero_d = KINDS[kind].numbers;
    View numbers[2]; /* the count of steps, and NAdam's product of momenta */
    if (lists != zero_d + KINDS[kind].others +
                     (kind == STEP_RMSPROP ? (extra > 0) + (centered != 0) : 0))
        return DECLINED;
    for (int64_t i = 0; i < count; i++)
        if (!read_all(&move, numbers, arrays, count, i, zero_d, lists))
            return DECLINED;
    for (int64_t i = 0; i < count; i++) {
        double step = 0;
        read_all(&move, numbers, arrays, count, i, zero_d, lists);
        if (zero_d) {
            step = read_number(&numbers[0]);
            write_number(&numbers[0], numbers[0].dtype == F64 ? step + 1 : (float)step + 1.0f);
            step = read_number(&numbers[0]);
        }
        KINDS[kind].prepare(&move.with, &options, step, &numbers[1]);
        move.loop = isa->steps.kinds[kind][move.compute == F64];
        run_all(&move);
    }
    return OK;
}
