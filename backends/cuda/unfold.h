/* SPDX-License-Identifier: Apache-2.0
 * A convolution's windows as rows of a matrix, and back. Row (n, oy, ox) of `columns` has the kh x kw x c numbers of x
 * that output pixel (n, oy, ox) sees, channels fastest, zeros outside. One launch each; 0 or the runtime's error
 * number. groups is 1. */
#ifndef M2S_BACKENDS_CUDA_UNFOLD_H
#define M2S_BACKENDS_CUDA_UNFOLD_H

#include "backends/cuda/conv.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* The windows of `images` images, in the storage type. */
int m2s_cuda_unfold(const m2s_cuda_call *call, const m2s_conv_problem *problem, int32_t images, void *columns,
                    const void *x);
/* x, in the storage type, = the sums over all windows that a pixel is in; columns are F32. */
int m2s_cuda_fold(const m2s_cuda_call *call, const m2s_conv_problem *problem, int32_t images, void *x,
                  const float *columns);

#if defined(__cplusplus)
}
#endif

#endif
