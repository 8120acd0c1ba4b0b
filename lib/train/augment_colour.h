/* SPDX-License-Identifier: Apache-2.0
 * Changes of colour as one affine map of R, G, B in 0..1, and what follows the sampling: blur and noise. */
#ifndef M2S_TRAIN_AUGMENT_COLOUR_H
#define M2S_TRAIN_AUGMENT_COLOUR_H

#include "train/augment.h"

typedef struct m2s_colour {
    double matrix[3][3]; /* row: of the result */
    double offset[3];
} m2s_colour;

/* False: nothing changes. Formulas in augment.h. */
bool m2s_colour_map(const m2s_draw *draw, const float mean_rgb[3], m2s_colour *colour);

/* Gaussian of standard deviation sigma_px, cut at three of them, over rows and then columns of a dense (height, width,
 * 3) picture, in place; pixels beyond an edge are those before it, mirrored. buffer: height x width x 3 floats,
 * line: 3 (width + 2 ceil(3 sigma_px)) floats. */
void m2s_blur(float *image, int32_t height, int32_t width, double sigma_px, float *buffer, float *line);
int32_t m2s_blur_radius(double sigma_px);

/* Adds std[c] z to channel c, z of mean 0 and variance 1: four uniform 16-bit numbers, from 64 bits that are counted
 * from the stream; so noise does not depend on threads. */
void m2s_noise(float *image, int64_t pixels, const float std[3], uint64_t stream);

#endif
