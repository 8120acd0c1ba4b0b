/* SPDX-License-Identifier: Apache-2.0
 * What is the same for all instruction sets: the choice of a table, and packing. */
#include "backends/cpu/kernels.h"

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

void m2s_gemm_pack(const m2s_cpu_kernels *kernels, const float *b, int64_t depth, int64_t columns, int64_t row_stride,
                   int64_t column_stride, float *packed)
{
    int64_t all = m2s_gemm_packed_columns(kernels, columns);

    for (int64_t begin = 0; begin < all; begin += kernels->panel_columns) {
        int64_t width = all - begin < kernels->panel_columns ? all - begin : kernels->panel_columns;
        float *panel = packed + begin * depth;
        for (int64_t k = 0; k < depth; k++) {
            for (int64_t j = 0; j < width; j++) {
                panel[k * width + j] =
                    begin + j < columns ? b[k * row_stride + (begin + j) * column_stride] : 0.0f;
            }
        }
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
    { 1.0, 0.0, 0.0 },                                 /* 1 / (a^2 b^2) */
    { -2.0 / 3.0, -2.0 / 3.0 * A, -1.0 / 3.0 },        /* 1 / (2 a^2 (a^2 - b^2)) (1, a, a^2) */
    { -2.0 / 3.0, 2.0 / 3.0 * A, -1.0 / 3.0 },         /* at -a */
    { 1.0 / 6.0, 1.0 / 6.0 * B, 1.0 / 3.0 },           /* 1 / (2 b^2 (b^2 - a^2)) (1, b, b^2) */
    { 1.0 / 6.0, -1.0 / 6.0 * B, 1.0 / 3.0 },          /* at -b */
    { 0.0, 0.0, 1.0 },
};
#undef A
#undef B

void m2s_winograd_weights(const m2s_cpu_kernels *kernels, int m, const float *weights, int64_t o, int64_t i,
                          int64_t block, float *packed)
{
    const double(*rows)[3] = m == 4 ? transform_4 : transform_2;
    const int side = m + 2;
    int64_t all = m2s_gemm_packed_columns(kernels, o);

    for (int64_t begin = 0; begin < i; begin += block) {
        int64_t depth = i - begin < block ? i - begin : block;
        float *part = packed + begin * all * side * side;
        for (int64_t column = 0; column < all; column++) {
            int64_t panel = column / kernels->panel_columns * kernels->panel_columns;
            int64_t width = all - panel < kernels->panel_columns ? all - panel : kernels->panel_columns;
            for (int64_t k = 0; k < depth; k++) {
                float *dst = part + panel * depth + k * width + (column - panel);
                const float *g = column < o ? weights + (column * i + begin + k) * 9 : NULL;
                for (int p = 0; p < side && g != NULL; p++) {
                    double half[3]; /* row p of G g */
                    for (int x = 0; x < 3; x++) {
                        half[x] = rows[p][0] * (double)g[x] + rows[p][1] * (double)g[3 + x] +
                                  rows[p][2] * (double)g[6 + x];
                    }
                    for (int q = 0; q < side; q++) {
                        dst[(p * side + q) * depth * all] =
                            (float)(half[0] * rows[q][0] + half[1] * rows[q][1] + half[2] * rows[q][2]);
                    }
                }
                for (int p = 0; p < side * side && g == NULL; p++) {
                    dst[p * depth * all] = 0.0f;
                }
            }
        }
    }
}
