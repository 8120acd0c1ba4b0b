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

/* Source place of a result's pixel: x' = xx x + xy y + x0, y' = yx x + yy y + y0 (train/augment_map.h). */
typedef struct m2s_picture_map {
    double xx, xy, x0, yx, yy, y0;
} m2s_picture_map;

typedef enum m2s_picture_border {
    M2S_PICTURE_EDGE, /* edge pixels go on for ever */
    M2S_PICTURE_AREA, /* they end with the picture's area; then 0 */
    M2S_PICTURE_ZERO  /* every neighbour outside is 0; only of what an earlier step made */
} m2s_picture_border;

/* One bilinear sampling, rounded to float. */
typedef struct m2s_picture_step {
    m2s_picture_map map;
    m2s_picture_border border;
    int32_t width, height; /* of its result */
} m2s_picture_step;

#define M2S_PICTURE_STEPS     3
#define M2S_PICTURE_MAX_SIGMA 16

typedef struct m2s_augment_job {
    const uint8_t *rgbm; /* R, G, B, mask: dense */
    int32_t width, height;
    m2s_picture_step step[M2S_PICTURE_STEPS]; /* the last makes the result */
    int32_t steps;
    /* The finished colour: clip(matrix (r, g, b) + offset) when has_colour, then normalised. Before the second step. */
    bool has_colour;
    float matrix[3][3], offset[3], mean[3], std[3];
    int32_t labels;        /* 0: a soft mask of one channel; else channels of a mask of labels */
    bool one_hot;          /* labels: the nearest, channel 0 the background; else each label soft, 1 in channel 0 */
    m2s_picture_map whole; /* labels: from result to rgbm */
    bool binarize;         /* 1 from 0.5 on, else 0 */
    double blur_sigma_px;  /* 0 = none; at most M2S_PICTURE_MAX_SIGMA */
    float noise_std[3];    /* 0 = none; of the normalised picture */
    uint64_t noise_stream;
    float *image; /* (height, width, 3) of the last step */
    float *mask;  /* (height, width, labels or 1) */
} m2s_augment_job;
size_t m2s_cuda_augment_scratch_bytes(const m2s_augment_job *job);
int m2s_cuda_augment(const m2s_cuda_call *call, const m2s_augment_job *job, void *scratch);

#if defined(__cplusplus)
}
#endif

#endif
