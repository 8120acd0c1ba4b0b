/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/labels.h"

#include <math.h>

/* Rows of the first and last pixel of a label in each column; top > bottom: the column has none. */
typedef struct extent {
    int32_t *top, *bottom;
} extent;

static void find_extent(const m2s_plane *plane, extent *e)
{
    for (int32_t x = 0; x < plane->width; x++) {
        e->top[x] = INT32_MAX;
        e->bottom[x] = -1;
    }
    for (int32_t y = 0; y < plane->height; y++) {
        const uint8_t *row = plane->origin + (size_t)y * plane->stride;
        for (int32_t x = 0; x < plane->width; x++) {
            if (row[x]) {
                e->top[x] = y < e->top[x] ? y : e->top[x];
                e->bottom[x] = y;
            }
        }
    }
}

static void score_boundaries(const m2s_eval_settings *settings, int32_t width, const extent *prediction,
                             const extent *mask, m2snet_label_scores *s)
{
    int64_t top = 0, bottom = 0;

    for (int32_t x = 0; x < width; x++) {
        bool in_prediction = prediction->bottom[x] >= 0, in_mask = mask->bottom[x] >= 0;
        s->columns_both += in_prediction && in_mask;
        s->columns_gt_only += in_mask && !in_prediction;
        s->columns_pred_only += in_prediction && !in_mask;
        if (in_prediction && in_mask) {
            int64_t up = (int64_t)prediction->top[x] - mask->top[x];
            int64_t down = (int64_t)prediction->bottom[x] - mask->bottom[x];
            top += up < 0 ? -up : up;
            bottom += down < 0 ? -down : down;
        }
    }
    s->boundary_undefined = s->columns_both == 0;
    for (int32_t i = 0; i < settings->spacing_count && s->columns_both > 0; i++) {
        double unit = settings->spacings[i][0] / (double)s->columns_both;
        s->spacing[i].med_top = (double)top * unit;
        s->spacing[i].med_bottom = (double)bottom * unit;
        s->spacing[i].med = 0.5 * (double)(top + bottom) * unit;
    }
}

static void score_overlap(const m2s_plane *prediction, const m2s_plane *mask, double both_empty, m2snet_label_scores *s)
{
    for (int32_t y = 0; y < mask->height; y++) {
        const uint8_t *p = prediction->origin + (size_t)y * prediction->stride;
        const uint8_t *g = mask->origin + (size_t)y * mask->stride;
        uint32_t tp = 0, n_pred = 0, n_gt = 0;
        for (int32_t x = 0; x < mask->width; x++) {
            tp += p[x] & g[x];
            n_pred += p[x];
            n_gt += g[x];
        }
        s->tp += tp;
        s->n_pred += n_pred;
        s->n_gt += n_gt;
    }
    m2s_counts c = { .tp = s->tp, .fp = s->n_pred - s->tp, .fn = s->n_gt - s->tp };
    s->dice = m2s_dice(&c, both_empty);
    s->iou = m2s_iou(&c, both_empty);
}

static m2snet_status score_label(m2s_scratch *scratch, const m2s_eval_settings *settings, const m2s_gray_pair *pair,
                                 int32_t label, m2snet_label_scores *s, m2snet_error *error)
{
    m2snet_surface_scores surfaces[M2SNET_MAX_SPACINGS];
    size_t width = (size_t)pair->width;
    m2s_plane prediction, mask;
    bool undefined;
    void *block;
    m2snet_status status;

    *s = (m2snet_label_scores){ .struct_size = sizeof *s, .surface_count = settings->spacing_count };
    for (int32_t i = 0; i < M2SNET_MAX_SPACINGS; i++) {
        s->spacing[i].med_top = s->spacing[i].med_bottom = s->spacing[i].med = NAN;
        s->spacing[i].surface = (m2snet_surface_scores){ NAN, NAN, NAN, NAN, NAN, NAN };
    }
    M2S_TRY(m2s_plane_equal(scratch, M2S_SCRATCH_INSIDE_2, pair->prediction, pair->height, pair->width, label,
                            &prediction, error));
    M2S_TRY(m2s_plane_equal(scratch, M2S_SCRATCH_INSIDE, pair->mask, pair->height, pair->width, label, &mask, error));
    M2S_TRY(m2s_scratch_get(scratch, M2S_SCRATCH_COLUMNS, 4 * width, sizeof(int32_t), &block, error));
    int32_t *columns = block;
    extent of_prediction = { columns, columns + width }, of_mask = { columns + 2 * width, columns + 3 * width };
    find_extent(&prediction, &of_prediction);
    find_extent(&mask, &of_mask);
    score_overlap(&prediction, &mask, m2s_both_empty_value(settings), s);
    score_boundaries(settings, pair->width, &of_prediction, &of_mask, s);
    s->surface_undefined = 1;
    if (settings->surface) {
        M2S_TRY(m2s_score_surfaces(scratch, settings, &prediction, &mask, surfaces, &undefined, error));
        s->surface_undefined = undefined;
        for (int32_t i = 0; i < settings->spacing_count; i++) {
            s->spacing[i].surface = surfaces[i];
        }
    }
fail:
    return status;
}

m2snet_status m2s_labels_score(m2s_scratch *scratch, const m2s_eval_settings *settings, const m2s_gray_pair *pair,
                               m2snet_label_scores *scores, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; i < settings->label_count; i++) {
        M2S_TRY(score_label(scratch, settings, pair, settings->labels[i], &scores[i], error));
    }
fail:
    return status;
}
