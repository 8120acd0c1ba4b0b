/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/agreement.h"

#include <math.h>

/* ---- calibration ---- */

/* Pixels of each gray level, inside the mask and in all. */
typedef struct level_counts {
    int64_t inside[M2S_LEVELS], all[M2S_LEVELS];
} level_counts;

static void add_levels(const m2s_histogram *histogram, level_counts *counts)
{
    for (int v = 0; v < M2S_LEVELS; v++) {
        counts->inside[v] += histogram->inside[v];
        counts->all[v] += (int64_t)histogram->inside[v] + histogram->outside[v];
    }
}

static m2snet_status gather_levels(const m2snet_evaluator *evaluator, int32_t index, level_counts *counts,
                                   m2snet_error *error)
{
    const m2s_item *item;
    int32_t counted = 0;
    m2snet_status status = M2SNET_STATUS_OK;

    *counts = (level_counts){ 0 };
    if (index != -1) {
        M2S_TRY(m2s_evaluator_item(evaluator, index, &item, error));
        add_levels(&item->pair->gray, counts);
        return status;
    }
    for (int32_t i = 0; i < evaluator->count; i++) {
        if (m2s_evaluator_counts(evaluator, &evaluator->items[i])) {
            add_levels(&evaluator->items[i].pair->gray, counts);
            counted++;
        }
    }
    if (counted == 0) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "no calibration: none of the %d pairs counts", evaluator->count);
    }
fail:
    return status;
}

m2snet_status m2s_calibration_make(const m2snet_evaluator *evaluator, int32_t index, int32_t bin_count,
                                   m2snet_calibration *calibration, m2snet_error *error)
{
    int64_t grays[M2SNET_MAX_CALIBRATION_BINS] = { 0 }, inside[M2SNET_MAX_CALIBRATION_BINS] = { 0 };
    level_counts counts;
    double squares = 0.0;
    m2snet_status status;

    *calibration = (m2snet_calibration){ .struct_size = sizeof *calibration, .bin_count = bin_count };
    if (bin_count < 1 || bin_count > M2SNET_MAX_CALIBRATION_BINS) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "bin_count is %d: expected 1 to %d", bin_count,
                        M2SNET_MAX_CALIBRATION_BINS);
    }
    M2S_TRY(gather_levels(evaluator, index, &counts, error));
    for (int v = 0; v < M2S_LEVELS; v++) {
        int bin = v == 255 ? bin_count - 1 : v * bin_count / 255; /* whole numbers: no edge depends on rounding */
        double p = v / 255.0;

        calibration->pixels += counts.all[v];
        calibration->bins[bin].pixels += counts.all[v];
        grays[bin] += counts.all[v] * v;
        inside[bin] += counts.inside[v];
        squares +=
            (double)counts.inside[v] * (1.0 - p) * (1.0 - p) + (double)(counts.all[v] - counts.inside[v]) * p * p;
    }
    for (int i = 0; i < M2SNET_MAX_CALIBRATION_BINS; i++) {
        double pixels = (double)calibration->bins[i].pixels;
        double gap;

        calibration->bins[i].probability = pixels > 0.0 ? (double)grays[i] / (255.0 * pixels) : NAN;
        calibration->bins[i].observed = pixels > 0.0 ? (double)inside[i] / pixels : NAN;
        if (pixels > 0.0) {
            gap = fabs(calibration->bins[i].probability - calibration->bins[i].observed);
            calibration->ece += gap * pixels / (double)calibration->pixels;
            calibration->mce = gap > calibration->mce ? gap : calibration->mce;
        }
    }
    calibration->brier = squares / (double)calibration->pixels;
fail:
    return status;
}

/* ---- areas ---- */

/* Prediction less mask, in pixels: the pixels both share fall out. */
static double area_difference(const m2s_item *item)
{
    return (double)(item->pair->scores.fp - item->pair->scores.fn);
}

m2snet_status m2s_area_agreement_make(const m2snet_evaluator *evaluator, m2snet_area_agreement *agreement,
                                      m2snet_error *error)
{
    const double *spacing = evaluator->settings.spacings[0];
    double pixel_mm2 = spacing[0] * spacing[1];
    double sum = 0.0, squares = 0.0;
    int32_t count = 0;

    for (int32_t i = 0; i < evaluator->count; i++) {
        if (m2s_evaluator_counts(evaluator, &evaluator->items[i])) {
            sum += area_difference(&evaluator->items[i]);
            count++;
        }
    }
    if (count == 0) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "no areas: none of the %d pairs counts", evaluator->count);
    }
    double mean = sum / count;
    for (int32_t i = 0; i < evaluator->count; i++) {
        if (m2s_evaluator_counts(evaluator, &evaluator->items[i])) {
            double off = area_difference(&evaluator->items[i]) - mean;
            squares += off * off;
        }
    }
    *agreement = (m2snet_area_agreement){ .struct_size = sizeof *agreement, .count = count };
    agreement->bias = mean * pixel_mm2;
    agreement->deviation = count > 1 ? sqrt(squares / (count - 1)) * pixel_mm2 : NAN;
    agreement->lower = agreement->bias - 1.96 * agreement->deviation;
    agreement->upper = agreement->bias + 1.96 * agreement->deviation;
    return M2SNET_STATUS_OK;
}
