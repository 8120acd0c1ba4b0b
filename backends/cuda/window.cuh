/* SPDX-License-Identifier: Apache-2.0
 * The filters' window, weight[i] weight[j]: ones, or a Gaussian that sums to 1 (MODELS.md 2.5). */
#ifndef M2S_BACKENDS_CUDA_WINDOW_CUH
#define M2S_BACKENDS_CUDA_WINDOW_CUH

#include "backends/cuda/kernel.cuh"

static constexpr int M2S_MOST_WINDOW = 31; /* the filters' shape rule allows no more */

struct m2s_window {
    int kernel;
    float weight[M2S_MOST_WINDOW];
};

/* As backends/ref has it. */
static inline m2s_window m2s_window_of(int kernel, bool gaussian, double deviation)
{
    m2s_window window = {};
    double centre = (kernel - 1.0) / 2.0, sigma = deviation > 0.0 ? deviation : 0.3 * (centre - 1.0) + 0.8, sum = 0.0;
    double weight[M2S_MOST_WINDOW];

    window.kernel = kernel;
    for (int i = 0; i < kernel; i++) {
        double x = i - centre;
        weight[i] = gaussian ? exp(-x * x / (2.0 * sigma * sigma)) : 1.0;
        sum += weight[i];
    }
    for (int i = 0; i < kernel; i++) {
        window.weight[i] = static_cast<float>(gaussian ? weight[i] / sum : 1.0);
    }
    return window;
}

#endif
