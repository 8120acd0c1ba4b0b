/* SPDX-License-Identifier: Apache-2.0
 * Pixels that the library owns: what decoders give. */
#ifndef M2S_IMAGE_BITMAP_H
#define M2S_IMAGE_BITMAP_H

#include <stddef.h>
#include <stdint.h>

#include "core/control.h"
#include "core/memory.h"

#define M2S_MAX_SIDE_PX 65535
#define M2S_MAX_PIXELS  ((uint64_t)1 << 28)

/* Dense rows, top row first. GRAY16 is in native byte order. */
typedef struct m2s_bitmap {
    m2s_memory *memory; /* owner of pixels; NULL = empty */
    uint8_t *pixels;
    int32_t width, height;
    m2snet_pixel_format format; /* RGB8, GRAY8 or GRAY16 */
} m2s_bitmap;

/* Bytes of one pixel; 0 = not a format. */
int32_t m2s_pixel_bytes(m2snet_pixel_format format);

/* Whether a file that says width x height may be decoded: sides 1..65535, at most max_pixels and 2^28 pixels.
 * FORMAT for an empty picture, LIMIT for one that is too large. */
m2snet_status m2s_bitmap_check_size(uint64_t width, uint64_t height, uint64_t max_pixels, m2snet_error *error);

/* Uninitialised pixels; the size must have passed m2s_bitmap_check_size. */
m2snet_status m2s_bitmap_create(m2s_memory *memory, int32_t width, int32_t height, m2snet_pixel_format format,
                                m2s_bitmap *bitmap, m2snet_error *error);
void m2s_bitmap_release(m2s_bitmap *bitmap); /* and clears it; fine on a zeroed one */

/* Turns the picture upright: orientation 1..8 as in EXIF (1 = nothing to do). Phase "decode". On failure the bitmap is
 * as before. */
m2snet_status m2s_bitmap_orient(m2s_bitmap *bitmap, int orientation, m2s_control *control, m2snet_error *error);

/* The bitmap as a picture of the public interface, without an owner: valid while the bitmap is. */
m2snet_image m2s_bitmap_image(const m2s_bitmap *bitmap);

#endif
