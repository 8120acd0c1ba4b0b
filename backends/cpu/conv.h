/* SPDX-License-Identifier: Apache-2.0
 * What the backend's ways to convolve share. */
#ifndef M2S_BACKENDS_CPU_CONV_H
#define M2S_BACKENDS_CPU_CONV_H

#include "backends/cpu/plan.h"

/* Where the operands lie: addresses of the first image, numbers from a pixel and from an image to the next. */
typedef struct m2s_conv_operands {
    const float *src, *addend; /* convolved: src + addend; addend may be NULL */
    int64_t src_pixel, src_image;
    int64_t addend_pixel, addend_image;
    const float *weights;         /* packed, as the way to convolve wants them */
    const float *bias, *residual; /* may be NULL */
    int64_t residual_pixel, residual_image;
    float *dst;
    int64_t dst_pixel, dst_image;
    bool relu;
} m2s_conv_operands;

#endif
