/* SPDX-License-Identifier: Apache-2.0
 * From the network's logits to maps, a mask, and what was found, at the picture's size. */
#ifndef M2S_IMAGE_POSTPROCESS_H
#define M2S_IMAGE_POSTPROCESS_H

#include "core/host.h"
#include "image/pixels.h"

typedef struct m2s_postprocess_options {
    double threshold;            /* 0..1 */
    m2s_rect region;             /* what the network saw; 0 x 0 = the whole picture */
    bool largest_component;      /* keep only the largest component */
    bool fill_holes;             /* before components are counted and measured */
    double min_area_px;          /* smaller components leave the mask */
    double presence_min_area_px; /* negative = 0.0005 of the picture (not of the region) */
    double spacing_y_mm;         /* both 0 = unknown */
    double spacing_x_mm;
} m2s_postprocess_options;

typedef struct m2s_component {
    m2snet_component info;
    int32_t label;            /* of the labelling it was found in */
    int32_t first_x, first_y; /* topmost row, leftmost pixel */
    int32_t *points;          /* outline, made when first asked for */
    int32_t point_count;
} m2s_component;

/* Dense planes of width x height. One thread at a time. */
typedef struct m2s_segmentation {
    m2s_memory *memory;
    float *probability;
    uint8_t *map;  /* 255 p */
    uint8_t *mask; /* 0 or 255 */
    int32_t width, height;
    m2s_component *components; /* of the mask, largest first, equal ones by their first pixel */
    int32_t component_count;
    bool found;
    double presence;
} m2s_segmentation;

/* INVALID_ARGUMENT, naming the field, unless the options make sense. The region is checked against the picture. */
m2snet_status m2s_postprocess_check(const m2s_postprocess_options *options, int32_t width, int32_t height,
                                    m2snet_error *error);

/* logits: src_height x src_width, the one of pixel i at logits[i * channels].
 *   p = 1 / (1 + exp(-logit)) in float; q = trunc(255 p); both resized to the region, as floats (m2s_resize_f32) and as
 *   bytes (m2s_resize_u8); 0 outside the region.
 *   mask = map >= ceil(255 threshold), inside the region only.
 *   found: that mask has an 8-connected component of at least presence_min_area_px; presence: the mean probability of
 *   the largest one, else 0.
 *   Then, where asked: holes are filled (m2s_fill_holes), components smaller than min_area_px leave the mask, then all
 *   but the largest do. The components are those of the mask that is left.
 * INVALID_ARGUMENT, with its place, when a logit is not finite. Checks the options. Phase "post". On failure *result is
 * empty. */
m2snet_status m2s_postprocess(const m2s_host *host, const float *logits, int32_t channels, int32_t src_width,
                              int32_t src_height, int32_t width, int32_t height, const m2s_postprocess_options *options,
                              m2s_control *control, m2s_segmentation *result, m2snet_error *error);
void m2s_segmentation_release(m2s_segmentation *result); /* and clears it; fine on a zeroed one */

/* Outline of component index (m2s_trace_outline); the points belong to the result. */
m2snet_status m2s_segmentation_outline(m2s_segmentation *result, int32_t index, const int32_t **points, int32_t *count,
                                       m2snet_error *error);

/* Copies rows of row_bytes to the caller's rows, dst_stride_bytes apart (any sign; 0 = row_bytes). */
void m2s_copy_rows(void *dst, ptrdiff_t dst_stride_bytes, const void *src, size_t row_bytes, int32_t rows);

#endif
