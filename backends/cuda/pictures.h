/* SPDX-License-Identifier: Apache-2.0
 * Pictures made ready on the device: lib/image/preprocess.h and lib/train/augment.h say what is computed, and their
 * code gives the same numbers but for the last bit of a float. What is drawn or decided stays with the host; jobs say
 * it in plain numbers. Pixels and results are device memory.
 *
 * Functions only launch: 0 or the runtime's error number. Scratch is device memory that a job has for itself until it
 * is done. Of call the stream is used. */
#ifndef M2S_BACKENDS_CUDA_PICTURES_H
#define M2S_BACKENDS_CUDA_PICTURES_H

#include "backends/cuda/cuda.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* Pillow's BILINEAR (image/resample.h) of 8-bit pixels, then (v / 255 - mean) / std. */
typedef struct m2s_prepare_job {
    const uint8_t *pixels;
    ptrdiff_t row_stride_bytes;
    int32_t width, height, channels; /* channels: 3, or 1, which stands for all three */
    float mean[3], std[3];
    int32_t x, y, dst_width, dst_height; /* where it lies in an input, which is 0 around it */
    int32_t input_width, input_height;
    int32_t way[M2S_MAX_WAYS]; /* m2snet_mirror: over which axes an input is turned */
    int32_t ways;
    void *dst; /* (ways, input_height, input_width, 3) of call->storage */
} m2s_prepare_job;
size_t m2s_cuda_prepare_scratch_bytes(const m2s_prepare_job *job);
int m2s_cuda_prepare(const m2s_cuda_call *call, const m2s_prepare_job *job, void *scratch);

/* job->rgbm, image and mask are on the device. */
size_t m2s_cuda_augment_scratch_bytes(const m2s_augment_job *job);
int m2s_cuda_augment(const m2s_cuda_call *call, const m2s_augment_job *job, void *scratch);

#if defined(__cplusplus)
}
#endif

#endif
