/* SPDX-License-Identifier: Apache-2.0
 * Connected regions of a mask, found run by run, and their outlines. */
#ifndef M2S_IMAGE_COMPONENTS_H
#define M2S_IMAGE_COMPONENTS_H

#include "core/control.h"
#include "core/memory.h"

/* Pixels begin .. end-1 of a row. */
typedef struct m2s_mask_run {
    int32_t begin, end;
    int32_t label;
} m2s_mask_run;

/* Row y has runs first[y] .. first[y + 1] - 1, left to right. Labels 0 .. count-1 are numbered by their first pixel,
 * top row first, left to right. */
typedef struct m2s_labels {
    m2s_memory *memory;
    m2s_mask_run *runs;
    uint32_t *first; /* height + 1 */
    int32_t width, height;
    int32_t count;
} m2s_labels;

typedef enum m2s_region_kind {
    M2S_REGION_FOREGROUND = 0, /* pixels that are not 0, 8-connected */
    M2S_REGION_BACKGROUND = 1  /* pixels that are 0, 4-connected: what an 8-connected outline keeps apart */
} m2s_region_kind;

/* Labels a dense width x height mask in time linear in its pixels. Polls control (nullable); phase "post". */
m2snet_status m2s_label_mask(m2s_memory *memory, const uint8_t *mask, int32_t width, int32_t height,
                             m2s_region_kind kind, m2s_control *control, m2s_labels *labels, m2snet_error *error);
void m2s_labels_release(m2s_labels *labels);

/* Sets to 255 all background that no 4-connected path of background joins to the picture's border. */
m2snet_status m2s_fill_holes(m2s_memory *memory, uint8_t *mask, int32_t width, int32_t height, m2s_control *control,
                             m2snet_error *error);

/* The outer outline of the 8-connected foreground whose first pixel (topmost row, then leftmost) is (x, y): a closed
 * polygon along pixel edges, clockwise on the screen, beginning at the pixel's top left corner (x, y), corner points
 * only, the first not repeated. It may touch itself where pixels meet at a corner. points = x0, y0, x1, y1, ... in a
 * block for m2s_free; count is the number of points. */
m2snet_status m2s_trace_outline(m2s_memory *memory, const uint8_t *mask, int32_t width, int32_t height, int32_t x,
                                int32_t y, int32_t **points, int32_t *count, m2snet_error *error);

#endif
