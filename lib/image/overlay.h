/* SPDX-License-Identifier: Apache-2.0
 * A picture with a mask's outline drawn into it. */
#ifndef M2S_IMAGE_OVERLAY_H
#define M2S_IMAGE_OVERLAY_H

#include "image/pixels.h"

#define M2S_MAX_LINE_WIDTH_PX 255

/* The picture as RGB8 with the outline of mask (GRAY8 of the same size, inside where not 0) in colour rgb, 0xRRGGBB.
 * The line is a disc of line_width_px (1..255) along the mask's outermost pixels: those with a 4-neighbour outside the
 * mask or outside the picture. Width 1 is these pixels; of an even width the odd half lies to the right and below. */
m2snet_status m2s_overlay(m2s_memory *memory, const m2snet_image *image, const m2snet_image *mask, uint32_t rgb,
                          int32_t line_width_px, m2s_bitmap *overlay, m2snet_error *error);

#endif
