/* SPDX-License-Identifier: Apache-2.0
 * Reading the caller's pictures: every pixel format, any row stride. */
#ifndef M2S_IMAGE_PIXELS_H
#define M2S_IMAGE_PIXELS_H

#include "image/bitmap.h"

/* A rectangle of pixels. As a region of interest 0 x 0 stands for the whole picture. */
typedef struct m2s_rect {
    int32_t x, y, width, height;
} m2s_rect;

const char *m2s_pixel_format_name(m2snet_pixel_format format); /* "RGB8"; "?" for anything else */

/* INVALID_ARGUMENT with a sentence that begins with name, unless the picture makes sense: data there, a known format,
 * sides 1..65535, at most 2^28 pixels, rows that do not overlap, a window that is finite and low < high. */
m2snet_status m2s_image_check(const m2snet_image *image, const char *name, m2snet_error *error);

/* The region as it applies to a width x height picture: 0 x 0 becomes the whole. INVALID_ARGUMENT when it reaches
 * outside. */
m2snet_status m2s_region_resolve(int32_t width, int32_t height, const m2s_rect *region, m2s_rect *resolved,
                                 m2snet_error *error);

/* First byte of row y of a picture that passed m2s_image_check. */
const uint8_t *m2s_image_row(const m2snet_image *image, int32_t y);

/* Bytes a pixel that m2s_image_row_u8 gives: 1 for the gray formats, 3 for the others. */
int32_t m2s_image_channels(m2snet_pixel_format format);

/* Pixels x .. x + width - 1 of row y as gray bytes or as R, G, B bytes, either in place or written to scratch
 * (width * m2s_image_channels bytes). GRAY16 and F32 go through the window: low and below give 0, high and above 255,
 * between them round-to-nearest of 255 (v - low) / (high - low), computed in double; infinities are below or above, NaN
 * gives 0. */
const uint8_t *m2s_image_row_u8(const m2snet_image *image, int32_t x, int32_t y, int32_t width, uint8_t *scratch);

#endif
