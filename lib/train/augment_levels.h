/* SPDX-License-Identifier: Apache-2.0
 * nnU-Net's changes of levels (MODELS.md 3.11, as batchgeneratorsv2 computes them), in this order. x is a channel of
 * the picture in levels 0..1; statistics are those of the whole channel; every number is a channel's own but the
 * noise's.
 *
 * - noise: x + std z, z of mean 0 and variance 1 (augment_colour.h);
 * - blur: Gaussian, as wide as the odd number nearest to 6 sigma + 0.5, edges reflected without repeating them;
 * - brightness: x f;
 * - contrast: (x - mean) f + mean, kept within the old minimum and maximum;
 * - low resolution: sides round(share side), halves to even: nearest pixel down, bilinear up (half-pixel centres);
 * - inverted gamma: -gamma(-x);
 * - gamma: ((x - min) / range)^g range + min, then moved and scaled to the old mean and deviation.
 *
 * Nothing is clipped to 0..1. */
#ifndef M2S_TRAIN_AUGMENT_LEVELS_H
#define M2S_TRAIN_AUGMENT_LEVELS_H

#include "train/augment.h"

/* Floats of the buffer that m2s_levels_apply needs. */
size_t m2s_levels_scratch(int32_t height, int32_t width);

/* image (height, width, 3) is normalised by mean and std, and stays so. */
void m2s_levels_apply(const m2s_levels_draw *draw, uint64_t noise_stream, const double mean[3], const double std[3],
                      int32_t height, int32_t width, float *image, float *buffer);

#endif
