/* The loops of F(2 x 2, 3 x 3); see convolution_table.h and convolution_winograd.c. */

/* Along one axis: what 3 places of a kernel, or 4 of a square, become; and the 2 sums of 4. */
#define KERNEL_AXIS(to, a, b, c, step) { \
        to[0] = a; \
        to[step] = (a + b + c) * 0.5f; \
        to[2 * (step)] = (a - b + c) * 0.5f; \
        to[3 * (step)] = c; \
    }
#define SQUARE_AXIS(to, step, a, b, c, d) { \
        to[0] = a - c; \
        to[step] = b + c; \
        to[2 * (step)] = c - b; \
        to[3 * (step)] = b - d; \
    }

static void winograd_kernels(const float *weight, intptr_t step, intptr_t count, int turned,
                             float *to, intptr_t place) {
    float have[9][GROUP] = {0}, half[3][4][GROUP], all[16][GROUP];
    for (intptr_t i = 0; i < count; i++)
        for (int k = 0; k < 9; k++)
            have[turned ? 8 - k : k][i] = weight[i * step + k];
    for (int row = 0; row < 3; row++)
        for (int i = 0; i < GROUP; i++) {
            float *each = &half[row][0][i];
            KERNEL_AXIS(each, have[3 * row][i], have[3 * row + 1][i], have[3 * row + 2][i], GROUP)
        }
    for (int column = 0; column < 4; column++)
        for (int i = 0; i < GROUP; i++) {
            float *each = &all[column][i];
            KERNEL_AXIS(each, half[0][column][i], half[1][column][i], half[2][column][i], 4 * GROUP)
        }
    for (int k = 0; k < 16; k++)
        memcpy(to + k * place, all[k], sizeof all[k]);
}

enum { WINOGRAD_WIDTH = 2 * LANES_f32 };

static void winograd_squares(const float *from, float *to, intptr_t place) {
    float half[16][WINOGRAD_WIDTH];
    for (int row = 0; row < 4; row++) {
        const float *x = from + 4 * row * WINOGRAD_WIDTH;
        INDEPENDENT for (int i = 0; i < WINOGRAD_WIDTH; i++) {
            float *each = &half[4 * row][i];
            float a = x[i], b = x[WINOGRAD_WIDTH + i], c = x[2 * WINOGRAD_WIDTH + i];
            SQUARE_AXIS(each, WINOGRAD_WIDTH, a, b, c, x[3 * WINOGRAD_WIDTH + i])
        }
    }
    for (int column = 0; column < 4; column++) {
        float *out = to + column * place;
        INDEPENDENT for (int i = 0; i < WINOGRAD_WIDTH; i++) {
            float *each = out + i;
            float a = half[column][i], b = half[4 + column][i], c = half[8 + column][i];
            SQUARE_AXIS(each, 4 * place, a, b, c, half[12 + column][i])
        }
    }
}

/* Two lines: the outer positions of the squares, row by row. */
static void winograd_sums(const float *from, intptr_t place, float first, float *to) {
    float half[2][4][WINOGRAD_WIDTH], lines[2][2][WINOGRAD_WIDTH];
    for (int column = 0; column < 4; column++) {
        const float *x = from + column * place;
        INDEPENDENT for (int i = 0; i < WINOGRAD_WIDTH; i++) {
            float a = x[i], b = x[4 * place + i], c = x[8 * place + i], d = x[12 * place + i];
            half[0][column][i] = a + b + c;
            half[1][column][i] = b - c - d;
        }
    }
    for (int row = 0; row < 2; row++) {
        INDEPENDENT for (int i = 0; i < WINOGRAD_WIDTH; i++) {
            float a = half[row][0][i], b = half[row][1][i], c = half[row][2][i];
            lines[row][0][i] = a + b + c + first;
            lines[row][1][i] = b - c - half[row][3][i] + first;
        }
        for (int v = 0; v < 2; v++) {
            vec_f32 x = WHOLE_f32(lines[row][0] + v * LANES_f32);
            vec_f32 y = WHOLE_f32(lines[row][1] + v * LANES_f32);
            PUT_f32(to + (4 * row + 2 * v) * LANES_f32, FIRST_f32(x, y));
            PUT_f32(to + (4 * row + 2 * v + 1) * LANES_f32, SECOND_f32(x, y));
        }
    }
}

static void winograd_copy(float *to, const float *from, intptr_t n) {
    for (intptr_t i = 0; i < n; i += LANES_f32) {
        part_f32 part = PART_f32(smaller(LANES_f32, n - i));
        STORE_f32(to + i, part, LOAD_f32(from + i, part));
    }
}

/* Along one axis, for the gradient of the kernel: what 2 outer elements become, and 3 sums of 4. */
#define OUTER_AXIS(to, step, a, b) { \
        to[0] = a; \
        to[step] = a + b; \
        to[2 * (step)] = a - b; \
        to[3 * (step)] = -b; \
    }
#define WEIGHT_AXIS(to, step, a, b, c, d) { \
        to[0] = a + (b + c) * 0.5f; \
        to[step] = (b - c) * 0.5f; \
        to[2 * (step)] = (b + c) * 0.5f + d; \
    }

static void winograd_outers(const float *from, float *to) {
    float half[8][WINOGRAD_WIDTH];
    for (int row = 0; row < 2; row++)
        INDEPENDENT for (int i = 0; i < WINOGRAD_WIDTH; i++) {
            const float *x = from + 2 * row * WINOGRAD_WIDTH + i;
            float *each = &half[4 * row][i], a = x[0], b = x[WINOGRAD_WIDTH];
            OUTER_AXIS(each, WINOGRAD_WIDTH, a, b)
        }
    for (int column = 0; column < 4; column++)
        INDEPENDENT for (int i = 0; i < WINOGRAD_WIDTH; i++) {
            float *each = to + column * WINOGRAD_WIDTH + i;
            float a = half[column][i], b = half[4 + column][i];
            OUTER_AXIS(each, 4 * WINOGRAD_WIDTH, a, b)
        }
}

static void winograd_weights(const float *from, intptr_t place, intptr_t count, float *to) {
    float have[16][GROUP], half[4][3][GROUP], all[9][GROUP];
    for (int k = 0; k < 16; k++)
        for (intptr_t i = 0; i < GROUP; i++)
            have[k][i] = i < count ? from[k * place + i] : 0;
    for (int row = 0; row < 4; row++)
        for (int i = 0; i < GROUP; i++) {
            float *each = &half[row][0][i], a = have[4 * row][i], b = have[4 * row + 1][i];
            float c = have[4 * row + 2][i];
            WEIGHT_AXIS(each, GROUP, a, b, c, have[4 * row + 3][i])
        }
    for (int column = 0; column < 3; column++)
        for (int i = 0; i < GROUP; i++) {
            float *each = &all[column][i], a = half[0][column][i], b = half[1][column][i];
            float c = half[2][column][i];
            WEIGHT_AXIS(each, 3 * GROUP, a, b, c, half[3][column][i])
        }
    for (intptr_t i = 0; i < count; i++)
        for (int k = 0; k < 9; k++)
            to[9 * i + k] = all[k][i];
}

#define WINOGRAD_TABLE \
    {winograd_kernels, winograd_squares, winograd_sums, winograd_copy, winograd_outers, \
     winograd_weights}
