/* SPDX-License-Identifier: Apache-2.0
 * Numbers from one storage type to another, on the device: a plan's inputs and outputs where its activations are not
 * F32. */
#ifndef M2S_BACKENDS_CUDA_CAST_H
#define M2S_BACKENDS_CUDA_CAST_H

#include "backends/cuda/cuda.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* count numbers of src, of type `from`, to dst, of type `to` (each F32, F16 or BF16); they do not overlap. Of call the
 * stream is used. Only launches; 0 or the runtime's error number. */
int m2s_cuda_cast(const m2s_cuda_call *call, void *dst, m2snet_dtype to, const void *src, m2snet_dtype from,
                  int64_t count);

#if defined(__cplusplus)
}
#endif

#endif
