/* Losses of an input and a target alike, element by element. */
#include "index_walk.h"
#include "losses.h"

#define GRAIN 32768


typedef struct {
    Source input, target, g; /* g only where it is element by element */
    View out;
    double factor, width;
    double *partial; /* a sum for each chunk */
    intptr_t count;
    int kind, wide, backward, whole_g;
} Pointwise;

static void sum_chunk(void *context, intptr_t i) {
    const Pointwise *s = context;
    Tile x, t, y;
    double sums[GRAIN / TILE];
    int tiles = 0;
    intptr_t position = i * GRAIN, end = smaller(s->count, (i + 1) * GRAIN);
    for (intptr_t n; position < end; position += n) {
        n = smaller(end - position, TILE);
        const void *input = load_tile(&s->input, position, n, &x);
        const void *target = load_tile(&s->target, position, n, &t);
        if (s->kind == SQUARED) {
            sums[tiles++] = isa->losses.squares[s->wide](input, target, n);
        } else {
            isa->losses.value[s->kind][s->wide](y.converted, input, target, s->width, n);
            sums[tiles++] = isa->losses.weighted[s->wide](y.converted, NULL, n);
        }
    }
    s->partial[i] = pairwise(sums, tiles);
}

/* Pointwise, or their gradients, into the dense output. */
static void write_chunk(void *context, intptr_t i) {
    const Pointwise *s = context;
    Tile x, t, of_g, y;
    intptr_t position = i * GRAIN, end = smaller(s->count, (i + 1) * GRAIN);
    intptr_t size = ITEMSIZE[s->out.dtype];
    int narrow = size == 2;
    for (intptr_t n; position < end; position += n) {
        n = smaller(end - position, TILE);
        char *to = s->out.data + position * size;
        void *made = narrow ? y.converted : to;
        const void *input = load_tile(&s->input, position, n, &x);
        const void *target = load_tile(&s->target, position, n, &t);
        if (!s->backward)
            isa->losses.value[s->kind][s->wide](made, input, target, s->width, n);
        else
            isa->losses.slope[s->kind][s->wide](
                made, input, target, s->whole_g ? NULL : load_tile(&s->g, position, n, &of_g),
                s->factor, s->width, n);
        if (narrow)
            isa->convert[F32][s->out.dtype](to, made, n);
    }
}

static int in_chunks(Task task, Pointwise *s) {
    intptr_t chunks = (s->count + GRAIN - 1) / GRAIN;
    if (chunks == 1)
        task(s, 0);
    else
        parallel(task, s, chunks);
    return OK;
}

static int read_pointwise(Pointwise *s, uintptr_t input, uintptr_t target, uintptr_t out) {
    View x, t;
    if (!read_array(input, &x) || !read_array(target, &t) || !read_array(out, &s->out))
        return 0;
    int compute = compute_of(x.dtype);
    if (compute < 0 || t.dtype != x.dtype || s->out.dtype != x.dtype || !same_shape(&x, &t) ||
        !is_dense(&s->out) || !is_aligned(&s->out))
        return 0;
    s->input = source_of(&x, compute);
    s->target = source_of(&t, compute);
    s->count = count_of(&x);
    s->wide = compute == F64;
    return 1;
}

int pointwise_loss(int kind, double width, uintptr_t input, uintptr_t target, uintptr_t out,
                   int reduction) {
    Pointwise s = {.kind = kind, .width = width};
    double one = 0;
    if (kind < 0 || kind >= POINTWISE_LOSSES || !read_pointwise(&s, input, target, out))
        return DECLINED;
    if (reduction == EACH)
        return same_shape(&s.out, &s.input.view) ? in_chunks(write_chunk, &s) : DECLINED;
    if (s.out.axes)
        return DECLINED;
    intptr_t chunks = (s.count + GRAIN - 1) / GRAIN;
    s.partial = &one;
    if (chunks > 1 && !(s.partial = pool_take((size_t)chunks * sizeof(double))))
        return NO_MEMORY;
    in_chunks(sum_chunk, &s);
    double sum = pairwise(s.partial, chunks);
    write_number(&s.out, reduction == MEAN_OF_ALL ? sum / (double)s.count : sum);
    if (chunks > 1)
        pool_give(s.partial);
    return OK;
}

int pointwise_loss_backward(int kind, double width, uintptr_t g, uintptr_t input,
                            uintptr_t target, uintptr_t out, int reduction) {
    Pointwise s = {.kind = kind, .width = width, .backward = 1, .whole_g = reduction != EACH};
    View of_g;
    double twice = kind == SQUARED ? 2.0 : 1.0;
    if (kind < 0 || kind >= POINTWISE_LOSSES || !read_pointwise(&s, input, target, out) || !same_shape(&s.out, &s.input.view) ||
        !read_array(g, &of_g) || of_g.dtype != s.out.dtype ||
        (s.whole_g ? of_g.axes != 0 : !same_shape(&of_g, &s.out)))
        return DECLINED;
    s.factor = reduction == MEAN_OF_ALL ? twice / (double)larger(s.count, 1) : twice;
    if (!s.whole_g) {
        s.g = source_of(&of_g, s.wide ? F64 : F32);
    } else {
        double by = s.wide ? s.factor : (float)s.factor;
        s.factor = read_number(&of_g) * by;
    }
    return in_chunks(write_chunk, &s);
}
