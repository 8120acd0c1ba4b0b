/* SPDX-License-Identifier: Apache-2.0
 * Mean and biased variance down columns. */
#ifndef M2S_BACKENDS_CUDA_SPREAD_CUH
#define M2S_BACKENDS_CUDA_SPREAD_CUH

#include "backends/cuda/columns.cuh"

/* Sums of how far a column's numbers are from its first one, and of the squares. The first number being one of them,
 * it is at most sqrt(pixels) deviations from the mean, so that their difference loses few of a double's digits.
 * Subtracted in double: roundings of x - first are alike for many x and would shift the mean. */
template <class T> struct m2s_spread_sums {
    static constexpr int sums = 2, constants = 1;

    const T *src;

    M2S_HD void prepare(int, int channel, float *made) const
    {
        made[0] = m2s_to_float(src[channel]);
    }

    template <int WIDTH>
    M2S_HD void at(const float (&first)[constants][WIDTH], int64_t offset, double (&sum)[sums][WIDTH]) const
    {
        float x[WIDTH];

        m2s_load<WIDTH>(src + offset, x);
        for (int i = 0; i < WIDTH; i++) {
            double beyond = static_cast<double>(x[i]) - static_cast<double>(first[0][i]);
            sum[0][i] += beyond;
            sum[1][i] += beyond * beyond;
        }
    }
};

/* From these sums and the column's first number. */
M2S_HD inline void m2s_spread_of(const double (&total)[2], float first, double pixels, float *mean, float *var)
{
    const double beyond = total[0] / pixels, square = total[1] / pixels - beyond * beyond;

    *mean = static_cast<float>(static_cast<double>(first) + beyond);
    *var = static_cast<float>(square < 0.0 ? 0.0 : square);
}

#endif
