/* SPDX-License-Identifier: Apache-2.0
 * Sums over the channels of each pixel. Some threads of a block, the lanes, share a pixel: neighbours read neighbouring
 * channels. What each lane found goes to shared memory as (lanes, pitch), from where one thread a pixel adds it up.
 * The number of lanes, and so every rounding, comes from the channels alone. */
#ifndef M2S_BACKENDS_CUDA_LANES_CUH
#define M2S_BACKENDS_CUDA_LANES_CUH

#include "backends/cuda/pack.cuh"

/* Lanes are 1 << shift. */
static inline int m2s_lane_shift(int64_t channels, int width, int most_shift)
{
    const int64_t vectors = channels / width;
    int shift = 0;

    while (shift < most_shift && (int64_t{ 2 } << shift) <= vectors) {
        shift++;
    }
    return shift;
}

/* From one lane's row to the next: lanes that write one pixel's numbers at a time do so in different banks. */
static inline int m2s_lane_pitch(int64_t pixels, int lane_shift)
{
    const int64_t apart = lane_shift == 0 ? 0 : 32 >> lane_shift;

    return static_cast<int>((pixels - apart + 31) / 32 * 32 + apart);
}

/* Adds one lane's channels of a pixel. */
template <int WIDTH, class T> M2S_HD float m2s_lane_sum(const T *pixel, int channels, int lane, int lanes)
{
    float sum[WIDTH] = {}, x[WIDTH], all = 0.0f;

    for (int c = lane * WIDTH; c < channels; c += lanes * WIDTH) {
        m2s_load<WIDTH>(pixel + c, x);
        for (int j = 0; j < WIDTH; j++) {
            sum[j] += x[j];
        }
    }
    for (int j = 0; j < WIDTH; j++) {
        all += sum[j];
    }
    return all;
}

/* What the lanes found for one pixel. */
M2S_HD inline float m2s_lane_total(const float *part, int pixel, int pitch, int lanes)
{
    float sum = 0.0f;

    for (int lane = 0; lane < lanes; lane++) {
        sum += part[lane * pitch + pixel];
    }
    return sum;
}

#endif
