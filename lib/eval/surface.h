/* SPDX-License-Identifier: Apache-2.0
 * Distances between the borders of two sets of pixels: Hausdorff, its 95th percentile, average surface distances.
 *
 * The border of a set is the set less its erosion by the cross of four neighbours (connectivity 1) or by the 3 x 3
 * square (connectivity 2); outside the picture is background. Percentiles are interpolated between the two nearest
 * ranks. All distances are exact. */
#ifndef M2S_EVAL_SURFACE_H
#define M2S_EVAL_SURFACE_H

#include "eval/histogram.h"

/* Both sets' borders, ready to be measured with any spacing: lies in the scratch. */
typedef struct m2s_borders {
    m2s_scratch *scratch;
    int32_t height, width;     /* of the box around both */
    int64_t counts[2];         /* border pixels: of the prediction, of the mask */
    const uint32_t *points[2]; /* by row: y * width + x inside the box */
    const uint16_t *vertical[2];
} m2s_borders;

/* Uses the scratch's POINTS, VERTICAL, ENVELOPE and DISTANCES. */
m2snet_status m2s_borders_make(m2s_scratch *scratch, const m2s_plane *prediction, const m2s_plane *mask,
                               int32_t connectivity, m2s_borders *borders, m2snet_error *error);

typedef struct m2s_surface {
    double hd, hd95, assd, asd_pred_to_gt, asd_gt_to_pred, hd95_maxdir;
} m2s_surface;

/* In units of the spacing (row, column). NaN, all of them, when a border is empty. */
m2snet_status m2s_surface_measure(const m2s_borders *borders, double spacing_y, double spacing_x, m2s_surface *surface,
                                  m2snet_error *error);

/* Value at position fraction * (count - 1) of the sorted values, interpolated; reorders them. count >= 1. */
double m2s_percentile(double *values, int64_t count, double fraction);

#endif
