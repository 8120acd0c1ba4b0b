/* SPDX-License-Identifier: Apache-2.0
 * Windows that slide over a picture, and how much each says about a pixel (nnU-Net v2's sliding window; MODELS.md
 * 3.11). Everything is separable: a window's weights are a row of numbers for each axis. */
#ifndef M2S_IMAGE_TILES_H
#define M2S_IMAGE_TILES_H

#include <stdint.h>

/* Windows of `window` px that cover an axis of `length` px, neighbours at most step * window apart (0 < step <= 1):
 * ceil((length - window) / (step window)) + 1, and 1 where the window is not shorter than the axis. */
int32_t m2s_tile_count(int32_t length, int32_t window, double step);
/* First pixel of window 0 <= index < count: evenly spread, rounded half to even. Negative where the axis is shorter
 * than the window: the picture then lies in its middle. */
int32_t m2s_tile_begin(int32_t length, int32_t window, int32_t count, int32_t index);

/* One axis of a window's weights: exp(-d^2 / 2 sigma^2) with sigma = window / 8 and d the distance from pixel
 * trunc(window / 2). The product over both axes, times 10, is a Gaussian filter's answer to a single point, scaled to a
 * maximum of 10; its cut at 4 sigma lies outside the window, so no weight is 0. */
void m2s_tile_weights(int32_t window, float *weights);

/* sums[0..length): of all windows' weights at each pixel of the axis, in double. */
void m2s_tile_sums(int32_t length, int32_t window, int32_t count, const float *weights, double *sums);

#endif
