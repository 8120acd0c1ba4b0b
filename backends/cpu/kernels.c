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
