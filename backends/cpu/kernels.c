/* SPDX-License-Identifier: Apache-2.0
 * What is the same for all instruction sets: the choice of a table, and packing. */
#include "backends/cpu/kernels.h"

#include "backends/ref/kernel_cuts.h"

const m2s_cpu_kernels *m2s_cpu_kernels_for(m2s_isa isa)
{
#if defined(__x86_64__)
    if (isa >= M2S_ISA_AVX512) {
        return &m2s_cpu_kernels_avx512;
    }
    if (isa >= M2S_ISA_AVX2) {
        return &m2s_cpu_kernels_avx2;
    }
#endif
    (void)isa;
    return &m2s_cpu_kernels_baseline;
}

int64_t m2s_gemm_packed_columns(const m2s_cpu_kernels *kernels, int64_t columns)
{
    return (columns + kernels->vector - 1) / kernels->vector * kernels->vector;
}

void m2s_resize_taps(int64_t in, int64_t out, m2s_tap *taps)
{
    for (int64_t x = 0; x < out; x++) {
        resize_tap tap = resize_tap_at(in, out, x);
        taps[x] = (m2s_tap){ (int32_t)tap.low, (int32_t)tap.high, (float)tap.low_weight, (float)tap.high_weight };
    }
}

int64_t m2s_subtract_reach(const m2s_subtract *subtract)
{
    int64_t reach = 0;

    for (int32_t k = 0; k < subtract->scales; k++) {
        reach = subtract->kernel[k] / 2 > reach ? subtract->kernel[k] / 2 : reach;
    }
    return reach;
}

int64_t m2s_subtract_scratch(const m2s_subtract *subtract, int64_t rows)
{
    int64_t reach = m2s_subtract_reach(subtract), width = subtract->w + 2 * reach, band = rows + 2 * reach;
    int64_t coarse = band * subtract->coarse_h / subtract->h + 3; /* both ends of every tap */

    coarse = coarse < subtract->coarse_h ? coarse : subtract->coarse_h;
    return 2 * band * width + width + 2 * subtract->scales * subtract->w + coarse * subtract->coarse_w;
}

/* The rows of G of each point, by m (winograd_kernels.inc): weights g transform to G g G^T. */
static const double transform_2[4][3] = { { 1.0, 0.0, 0.0 }, { 0.5, 0.5, 0.5 }, { 0.5, -0.5, 0.5 }, { 0.0, 0.0, 1.0 } };
#define A (0.70710678118654752440)
#define B (1.41421356237309504880)
static const double transform_4[6][3] = {
    { 1.0, 0.0, 0.0 },                          /* 1 / (a^2 b^2) */
    { -2.0 / 3.0, -2.0 / 3.0 * A, -1.0 / 3.0 }, /* 1 / (2 a^2 (a^2 - b^2)) (1, a, a^2) */
    { -2.0 / 3.0, 2.0 / 3.0 * A, -1.0 / 3.0 },  /* at -a */
    { 1.0 / 6.0, 1.0 / 6.0 * B, 1.0 / 3.0 },    /* 1 / (2 b^2 (b^2 - a^2)) (1, b, b^2) */
    { 1.0 / 6.0, -1.0 / 6.0 * B, 1.0 / 3.0 },   /* at -b */
    { 0.0, 0.0, 1.0 },
};
#undef A
#undef B

#define MOST_COLUMNS 32 /* of a panel */

/* Weights (i x 9) of `width` output channels at input channel k, to the points' rows k, of which each lies `stride`
 * after the one before. Columns from `valid` on are zeros. */
static void transform_columns(int m, const float *weights, int64_t i, int64_t k, int64_t width, int64_t valid,
                              int64_t stride, float *dst)
{
    const double(*rows)[3] = m == 4 ? transform_4 : transform_2;
    const int side = m + 2;
    double g[9][MOST_COLUMNS] = { { 0.0 } }, half[3][MOST_COLUMNS]; /* half: a row of G g */

    for (int64_t j = 0; j < valid; j++) {
        for (int t = 0; t < 9; t++) {
            g[t][j] = (double)weights[(j * i + k) * 9 + t];
        }
    }
    for (int p = 0; p < side; p++) {
        for (int x = 0; x < 3; x++) {
            for (int64_t j = 0; j < width; j++) {
                half[x][j] = rows[p][0] * g[x][j] + rows[p][1] * g[3 + x][j] + rows[p][2] * g[6 + x][j];
            }
        }
        for (int q = 0; q < side; q++) {
            for (int64_t j = 0; j < width; j++) {
                dst[j] = (float)(half[0][j] * rows[q][0] + half[1][j] * rows[q][1] + half[2][j] * rows[q][2]);
            }
            dst += stride;
        }
    }
}

void m2s_winograd_weights(const m2s_cpu_kernels *kernels, int m, const float *weights, int64_t o, int64_t i,
                          int64_t block, float *packed)
{
    int64_t all = m2s_gemm_packed_columns(kernels, o), points = (int64_t)(m + 2) * (m + 2);

    for (int64_t begin = 0; begin < i; begin += block) {
        int64_t depth = i - begin < block ? i - begin : block;
        float *part = packed + begin * all * points;
        for (int64_t panel = 0; panel < all; panel += kernels->panel_columns) {
            int64_t width = all - panel < kernels->panel_columns ? all - panel : kernels->panel_columns;
            int64_t valid = o - panel < width ? o - panel : width;
            for (int64_t k = 0; k < depth; k++) {
                transform_columns(m, weights + panel * i * 9, i, begin + k, width, valid, depth * all,
                                  part + panel * depth + k * width);
            }
        }
    }
}
