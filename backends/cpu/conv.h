/* SPDX-License-Identifier: Apache-2.0
 * What the backend's ways to convolve share. */
#ifndef M2S_BACKENDS_CPU_CONV_H
#define M2S_BACKENDS_CPU_CONV_H

#include "backends/cpu/plan.h"

/* Where one image's operands lie; pixel strides in numbers. */
typedef struct m2s_conv_operands {
    const float *src, *addend; /* convolved: src + addend; addend may be NULL */
    int64_t src_pixel, addend_pixel;
    const float *bias, *residual; /* may be NULL */
    int64_t residual_pixel;
    float *dst;
    int64_t dst_pixel;
    bool relu;
} m2s_conv_operands;

#endif
