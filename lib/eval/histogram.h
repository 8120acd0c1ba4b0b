/* SPDX-License-Identifier: Apache-2.0
 * One prediction and its mask, prepared for scoring: dense gray bytes, the mask as a plane of 0 and 1, what the gray
 * levels of the prediction mean, and how often each occurs inside and outside the mask. Most metrics need no more than
 * the two histograms. */
#ifndef M2S_EVAL_HISTOGRAM_H
#define M2S_EVAL_HISTOGRAM_H

#include "core/host.h"
#include "eval/scratch.h"

#define M2S_LEVELS 256

/* Bytes with a frame of zeros one pixel wide: at(-1..height, -1..width) may be read. */
typedef struct m2s_plane {
    uint8_t *origin; /* pixel (0, 0) */
    int32_t height, width;
    size_t stride;
} m2s_plane;

/* Two pictures of one size as gray bytes, dense rows. They lie in the scratch or in the caller's pictures. */
typedef struct m2s_gray_pair {
    const uint8_t *prediction;
    const uint8_t *mask;
    int32_t height, width;
    uint8_t prediction_min, prediction_max;
    uint8_t mask_max;
} m2s_gray_pair;

/* Reads both pictures as gray bytes (colour by Pillow's rule, (19595 R + 38470 G + 7471 B + 32768) >> 16; GRAY16 and
 * F32 through their windows). Different sizes: MISMATCH, or with resize the prediction is brought to the mask's size
 * (Pillow BILINEAR); *resized says so. */
m2snet_status m2s_gray_pair_read(m2s_scratch *scratch, const m2snet_image *prediction, const m2snet_image *mask,
                                 bool resize, m2s_gray_pair *pair, bool *resized, m2snet_error *error);

/* What the gray levels of one prediction mean. */
typedef struct m2s_levels {
    double x[M2S_LEVELS];  /* 0..1: stretched to the image's range, unless the image is constant */
    uint8_t q[M2S_LEVELS]; /* floor(255 x) */
    int32_t low;           /* exact form of x: (level - low) / range ... */
    int32_t range;         /* ... with low 0 and range 255 for a constant image */
    bool constant;
} m2s_levels;
/* Levels outside min..max get the value of the nearer end. */
void m2s_levels_default(uint8_t min, uint8_t max,
                        m2s_levels *levels); /* each operation rounded: (v/255 - mn/255) / .. */
void m2s_levels_authors(uint8_t min, uint8_t max, m2s_levels *levels); /* (v - mn) / (mx - mn), q exact */

/* Which gray values of a mask are inside. */
typedef enum m2s_mask_rule {
    M2S_MASK_ABOVE_128, /* m > 128 */
    M2S_MASK_RELATIVE   /* 2 m > the mask's maximum */
} m2s_mask_rule;
/* Smallest gray value inside; 256 = none can be. */
int32_t m2s_mask_first_inside(m2s_mask_rule rule, uint8_t mask_max);

/* plane = picture >= first, framed. slot is M2S_SCRATCH_INSIDE or _2. */
m2snet_status m2s_plane_threshold(m2s_scratch *scratch, m2s_scratch_slot slot, const uint8_t *picture, int32_t height,
                                  int32_t width, int32_t first, m2s_plane *plane, m2snet_error *error);
/* plane = (picture == value), framed. */
m2snet_status m2s_plane_equal(m2s_scratch *scratch, m2s_scratch_slot slot, const uint8_t *picture, int32_t height,
                              int32_t width, int32_t value, m2s_plane *plane, m2snet_error *error);

typedef struct m2s_histogram {
    uint32_t inside[M2S_LEVELS], outside[M2S_LEVELS]; /* of the prediction's gray levels */
    int64_t foreground, background;                   /* pixels of the mask */
} m2s_histogram;
void m2s_histogram_count(const uint8_t *prediction, const m2s_plane *inside, m2s_histogram *histogram);

#endif
