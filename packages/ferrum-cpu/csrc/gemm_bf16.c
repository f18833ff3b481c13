/* Products of bfloat16 by vdpbf16ps, which multiplies pairs of bfloat16 and adds them to float32.

   It takes subnormal numbers for 0, as PyTorch does with it: infinity times one of them is NaN. It
   adds the two products of a pair without a rounding of their own that IEEE would know, which is
   far below what rounding a result to bfloat16 loses. A sum over k is kept in float32 and rounded
   once. */
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,prefer-vector-width=512")
#include "gemm.h"
#include "isa.h"

#include <immintrin.h>

/* A block of the result in registers: BLOCK_ROWS x BLOCK_COLUMNS. A step takes two k, "a pair". */
#define BLOCK_ROWS 8
#define BLOCK_COLUMNS 32
#define DEPTH 512

int bf16_runs(void) { return __builtin_cpu_supports("avx512bf16"); }

/* Turn a square of 16 x 16 pairs over. */
static inline void turn(__m512i x[16]) {
    __m512i y[16];
    for (int i = 0; i < 16; i += 2) {
        y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
        x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
        x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
        x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        y[i] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
        y[i + 4] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xdd);
        y[i + 8] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
        y[i + 12] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; i++) {
        x[i] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0x88);
        x[i + 8] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0xdd);
    }
}

/* Each of the next packs `lines` (rows of a, columns of b) of k elements as pairs, those of one
   step beside each other, `width` of them; what is missing is 0. */

/* Lines whose elements lie side by side. */
static void pack_along(uint32_t *to, const uint16_t *from, intptr_t line, intptr_t lines,
                       intptr_t k, int width) {
    __m512i x[16];
    for (int first = 0; first < width; first += 16)
        for (intptr_t l = 0; l < k; l += 32) {
            __mmask32 part = k - l < 32 ? (1u << (k - l)) - 1 : ~0u;
            for (int i = 0; i < 16; i++)
                x[i] = i + first < lines
                           ? _mm512_maskz_loadu_epi16(part, from + (i + first) * line + l)
                           : _mm512_setzero_si512();
            turn(x);
            for (intptr_t i = 0; i < 16 && l + 2 * i < k; i++) {
                uint32_t *row = to + (l / 2 + i) * width + first;
                if (width == BLOCK_ROWS)
                    _mm256_storeu_si256((__m256i *)row, _mm512_castsi512_si256(x[i]));
                else
                    _mm512_storeu_si512(row, x[i]);
            }
        }
}

/* Lines that lie side by side. */
static void pack_across(uint32_t *to, const uint16_t *from, intptr_t step, intptr_t lines,
                        intptr_t k, int width) {
    __mmask32 part = lines < 32 ? (1u << lines) - 1 : ~0u;
    for (intptr_t l = 0; l < k; l += 2, to += width) {
        __m512i even = _mm512_maskz_loadu_epi16(part, from + l * step);
        __m512i odd = _mm512_setzero_si512();
        if (l + 1 < k)
            odd = _mm512_maskz_loadu_epi16(part, from + (l + 1) * step);
        __m512i low = _mm512_or_si512(
            _mm512_cvtepu16_epi32(_mm512_castsi512_si256(even)),
            _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(odd)), 16));
        if (width == BLOCK_ROWS) {
            _mm256_storeu_si256((__m256i *)to, _mm512_castsi512_si256(low));
            continue;
        }
        _mm512_storeu_si512(to, low);
        _mm512_storeu_si512(
            to + 16,
            _mm512_or_si512(
                _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(even, 1)),
                _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(odd, 1)), 16)));
    }
}

static void pack_scattered(uint32_t *to, const uint16_t *from, intptr_t line, intptr_t step,
                           intptr_t lines, intptr_t k, int width) {
    for (intptr_t l = 0; l < k; l += 2)
        for (int i = 0; i < width; i++) {
            const uint16_t *x = from + i * line + l * step;
            uint32_t low = i < lines ? x[0] : 0, high = i < lines && l + 1 < k ? x[step] : 0;
            *to++ = low | high << 16;
        }
}

static void pack(uint32_t *to, const uint16_t *from, intptr_t line, intptr_t step, intptr_t lines,
                 intptr_t k, int width) {
    for (; lines > 0; lines -= width, from += width * line, to += (k + 1) / 2 * width) {
        intptr_t here = smaller(lines, width);
        if (step == 1)
            pack_along(to, from, line, here, k, width);
        else if (line == 1)
            pack_across(to, from, step, here, k, width);
        else
            pack_scattered(to, from, line, step, here, k, width);
    }
}

/* Add the products of `pairs` steps to a block of sums, or start it with them. */
static void block(intptr_t pairs, const uint32_t *a, const uint32_t *b, float *sums, intptr_t lead,
                  int more) {
    __m512 sum[BLOCK_ROWS][2];
#pragma GCC unroll 8
    for (int i = 0; i < BLOCK_ROWS; i++) {
        sum[i][0] = more ? _mm512_loadu_ps(sums + i * lead) : _mm512_setzero_ps();
        sum[i][1] = more ? _mm512_loadu_ps(sums + i * lead + 16) : _mm512_setzero_ps();
    }
    for (intptr_t l = 0; l < pairs; l++, a += BLOCK_ROWS, b += BLOCK_COLUMNS) {
        __m512bh left = (__m512bh)_mm512_loadu_si512(b);
        __m512bh right = (__m512bh)_mm512_loadu_si512(b + 16);
#pragma GCC unroll 8
        for (int i = 0; i < BLOCK_ROWS; i++) {
            __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[i]);
            sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, left);
            sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, right);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < BLOCK_ROWS; i++) {
        _mm512_storeu_ps(sums + i * lead, sum[i][0]);
        _mm512_storeu_ps(sums + i * lead + 16, sum[i][1]);
    }
}

int bf16_product(const Matrix *a, const Matrix *b, uint16_t *out, intptr_t lead) {
    intptr_t m = (a->rows + BLOCK_ROWS - 1) / BLOCK_ROWS * BLOCK_ROWS;
    intptr_t n = (b->columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS * BLOCK_COLUMNS, k = a->columns;
    intptr_t blocks = (k + DEPTH - 1) / DEPTH, depth = ((k + blocks - 1) / blocks + 1) / 2 * 2;
    float *sums = pool_take((size_t)(m * n + (m + n) * (depth / 2)) * 4);
    if (!sums)
        return NO_MEMORY;
    uint32_t *rows = (uint32_t *)(sums + m * n), *columns = rows + m * (depth / 2);
    const uint16_t *x = (const uint16_t *)a->data, *y = (const uint16_t *)b->data;
    for (intptr_t start = 0; start < k; start += depth) {
        intptr_t count = smaller(depth, k - start), pairs = (count + 1) / 2;
        pack(rows, x + start * a->column_stride, a->row_stride, a->column_stride, a->rows, count,
             BLOCK_ROWS);
        pack(columns, y + start * b->row_stride, b->column_stride, b->row_stride, b->columns, count,
             BLOCK_COLUMNS);
        for (intptr_t j = 0; j < n; j += BLOCK_COLUMNS)
            for (intptr_t i = 0; i < m; i += BLOCK_ROWS)
                block(pairs, rows + i * pairs, columns + j * pairs, sums + i * n + j, n, start > 0);
    }
    for (intptr_t i = 0; i < a->rows; i++)
        isa->convert[F32][BF16](out + i * lead, sums + i * n, b->columns);
    pool_give(sums);
    return OK;
}
