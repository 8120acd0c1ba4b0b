/* SPDX-License-Identifier: Apache-2.0
 * A picture as the network wants it. */
#ifndef M2S_IMAGE_PREPROCESS_H
#define M2S_IMAGE_PREPROCESS_H

#include "core/host.h"
#include "image/pixels.h"

/* Per channel, R, G, B: the network sees (v / 255 - mean) / std. */
typedef struct m2s_normalization {
    float mean[3];
    float std[3];
} m2s_normalization;
#define M2S_NORMALIZATION_IMAGENET ((m2s_normalization){ { 0.485f, 0.456f, 0.406f }, { 0.229f, 0.224f, 0.225f } })

/* A region inside a picture, as a source of rows: for m2s_row_source, or who else resizes. */
typedef struct m2s_picture_part {
    const m2snet_image *image;
    m2s_rect region;
} m2s_picture_part;
/* Row y of a part in m2s_image_row_u8's bytes, in place or written to scratch (region.width * m2s_image_channels). */
const uint8_t *m2s_picture_row(const void *part, int32_t y, uint8_t *scratch);

/* Fills dst, dense width x height x 3 floats, channels last:
 *   the region (NULL or 0 x 0: all) of the picture as 8-bit R, G, B (gray three times; m2s_image_row_u8 has the
 * window), resized to width x height (m2s_resize_u8), then v / 255, minus mean, divided by std, each rounded to float.
 * Checks the picture and the region. Phase "prepare". dst is undefined after a failure. */
m2snet_status m2s_preprocess(const m2s_host *host, const m2snet_image *image, const m2s_rect *region,
                             const m2s_normalization *normalization, int32_t width, int32_t height, float *dst,
                             m2s_control *control, m2snet_error *error);

/* dst = src resized to dst's size by m2s_resize_u8; both RGB8 or both GRAY8, any strides, in different memory. */
m2snet_status m2s_image_resize(const m2s_host *host, const m2snet_image *src, const m2snet_image *dst,
                               m2s_control *control, m2snet_error *error);

#endif
