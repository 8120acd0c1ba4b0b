/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/overlap.h"

#include <math.h>

static double ratio(int64_t part, int64_t whole, double of_nothing)
{
    return whole != 0 ? (double)part / (double)whole : of_nothing;
}

static void add_level(const m2s_histogram *histogram, int32_t v, bool foreground, m2s_counts *c)
{
    int64_t inside = histogram->inside[v], outside = histogram->outside[v];

    c->tp += foreground ? inside : 0;
    c->fp += foreground ? outside : 0;
    c->fn += foreground ? 0 : inside;
    c->tn += foreground ? 0 : outside;
}

m2s_counts m2s_counts_at_half(const m2s_histogram *histogram, const m2s_levels *levels, bool or_equal)
{
    m2s_counts c = { 0 };

    for (int32_t v = 0; v < M2S_LEVELS; v++) {
        add_level(histogram, v, or_equal ? levels->x[v] >= 0.5 : levels->x[v] > 0.5, &c);
    }
    return c;
}

m2s_counts m2s_counts_adaptive(const m2s_histogram *histogram, const m2s_levels *levels)
{
    m2s_counts c = { 0 };
    int64_t pixels = histogram->foreground + histogram->background;
    int64_t sum = 0;

    for (int32_t v = levels->low; v < M2S_LEVELS; v++) {
        sum += (int64_t)(v - levels->low) * ((int64_t)histogram->inside[v] + histogram->outside[v]);
    }
    int64_t threshold = 2 * sum < levels->range * pixels ? 2 * sum : levels->range * pixels;
    for (int32_t v = 0; v < M2S_LEVELS; v++) {
        add_level(histogram, v, (v - levels->low) * pixels >= threshold, &c);
    }
    return c;
}

/* ---- one binary map ---- */

static bool nothing(const m2s_counts *c)
{
    return c->tp + c->fp + c->fn == 0;
}

double m2s_dice(const m2s_counts *c, double both_empty)
{
    return ratio(2 * c->tp, 2 * c->tp + c->fp + c->fn, both_empty);
}

double m2s_iou(const m2s_counts *c, double both_empty)
{
    return ratio(c->tp, c->tp + c->fp + c->fn, both_empty);
}

double m2s_precision(const m2s_counts *c, double both_empty)
{
    return ratio(c->tp, c->tp + c->fp, nothing(c) ? both_empty : 0.0);
}

double m2s_recall(const m2s_counts *c, double both_empty)
{
    return ratio(c->tp, c->tp + c->fn, nothing(c) ? both_empty : 0.0);
}

double m2s_specificity(const m2s_counts *c)
{
    return ratio(c->tn, c->tn + c->fp, 0.0);
}

double m2s_accuracy(const m2s_counts *c)
{
    return ratio(c->tp + c->tn, c->tp + c->tn + c->fp + c->fn, 0.0);
}

double m2s_iou_background(const m2s_counts *c)
{
    return ratio(c->tn, c->tn + c->fp + c->fn, 0.0);
}

double m2s_f_measure(const m2s_counts *c, double beta_square, double both_empty)
{
    double precision = m2s_precision(c, 0.0), recall = m2s_recall(c, 0.0);
    double below = beta_square * precision + recall;

    if (nothing(c)) {
        return both_empty;
    }
    return below > 0.0 ? (1.0 + beta_square) * precision * recall / below : 0.0;
}

static double aligned(int64_t count, double a, double b, double epsilon)
{
    double align = 2.0 * a * b / (a * a + b * b + epsilon);

    return (double)count * (align + 1.0) * (align + 1.0) / 4.0;
}

double m2s_e_measure(const m2s_counts *c, double epsilon)
{
    int64_t found = c->tp + c->fp, foreground = c->tp + c->fn, pixels = found + c->fn + c->tn;
    double sum;

    if (foreground == 0) {
        sum = (double)(pixels - found);
    } else if (foreground == pixels) {
        sum = (double)found;
    } else {
        double mp = (double)found / (double)pixels, mg = (double)foreground / (double)pixels;
        sum = aligned(c->tp, 1.0 - mp, 1.0 - mg, epsilon) + aligned(c->fp, 1.0 - mp, -mg, epsilon) +
              aligned(c->fn, -mp, 1.0 - mg, epsilon) + aligned(c->tn, -mp, -mg, epsilon);
    }
    return pixels == 1 ? sum : sum / ((double)pixels - 1.0 + epsilon);
}

/* ---- gray levels ---- */

double m2s_mean_error(const m2s_histogram *histogram, const m2s_levels *levels)
{
    double sum = 0.0;

    for (int32_t v = 0; v < M2S_LEVELS; v++) {
        sum += histogram->inside[v] * (1.0 - levels->x[v]) + histogram->outside[v] * levels->x[v];
    }
    return sum / (double)(histogram->foreground + histogram->background);
}

double m2s_mean_level(const m2s_histogram *histogram, const m2s_levels *levels)
{
    double sum = 0.0;

    for (int32_t v = 0; v < M2S_LEVELS; v++) {
        sum += ((double)histogram->inside[v] + histogram->outside[v]) * levels->x[v];
    }
    return sum / (double)(histogram->foreground + histogram->background);
}

/* ---- sweeps ---- */

void m2s_sweep_make(const m2s_histogram *histogram, const m2s_levels *levels, m2s_sweep *sweep)
{
    *sweep = (m2s_sweep){ .foreground = histogram->foreground, .background = histogram->background };
    for (int32_t v = 0; v < M2S_LEVELS; v++) {
        sweep->tp[levels->q[v]] += histogram->inside[v];
        sweep->fp[levels->q[v]] += histogram->outside[v];
    }
    for (int32_t t = M2S_LEVELS - 2; t >= 0; t--) {
        sweep->tp[t] += sweep->tp[t + 1];
        sweep->fp[t] += sweep->fp[t + 1];
    }
}

m2s_counts m2s_sweep_counts(const m2s_sweep *sweep, int32_t threshold)
{
    int64_t tp = sweep->tp[threshold], fp = sweep->fp[threshold];

    return (m2s_counts){ .tp = tp, .fp = fp, .fn = sweep->foreground - tp, .tn = sweep->background - fp };
}

double m2s_curve_at(const m2s_sweep *sweep, m2snet_curve curve, int32_t threshold, double both_empty)
{
    m2s_counts c = m2s_sweep_counts(sweep, threshold);

    switch (curve) {
    case M2SNET_CURVE_E:
        return m2s_e_measure(&c, M2S_EPSILON);
    case M2SNET_CURVE_PRECISION:
        return m2s_precision(&c, both_empty);
    case M2SNET_CURVE_RECALL:
        return m2s_recall(&c, both_empty);
    case M2SNET_CURVE_SPECIFICITY:
        return m2s_specificity(&c);
    case M2SNET_CURVE_SPECIFICITY_PRANET:
        return c.tp == 0 ? 0.0 : m2s_specificity(&c);
    case M2SNET_CURVE_IOU:
        return m2s_iou(&c, both_empty);
    case M2SNET_CURVE_F:
        return m2s_f_measure(&c, M2S_BETA_SQUARE, both_empty);
    case M2SNET_CURVE_DICE:
    case M2SNET_CURVE_F1:
        break;
    }
    return m2s_dice(&c, both_empty);
}

void m2s_curve_add(const m2s_sweep *sweep, m2snet_curve curve, double both_empty, double sums[M2S_LEVELS])
{
    for (int32_t t = 0; t < M2S_LEVELS; t++) {
        sums[t] += m2s_curve_at(sweep, curve, t, both_empty);
    }
}

/* ---- the authors' ---- */

void m2s_authors_curves_add(const m2s_sweep *sweep, double precision[M2S_AUTHORS_BINS], double recall[M2S_AUTHORS_BINS])
{
    if (sweep->foreground == 0) {
        return; /* a row of zeros, which still counts as an image */
    }
    for (int32_t k = 0; k < M2S_AUTHORS_BINS; k++) {
        double tp = sweep->tp[k], fp = sweep->fp[k];
        precision[k] += tp / (tp + fp + 1e-8);
        recall[k] += tp / (double)sweep->foreground;
    }
}

double m2s_authors_max_f(const double precision[M2S_AUTHORS_BINS], const double recall[M2S_AUTHORS_BINS], double images)
{
    double best = 0.0;

    for (int32_t k = 0; k < M2S_AUTHORS_BINS; k++) {
        double p = precision[k] / images, r = recall[k] / images;
        double f = (1.0 + M2S_BETA_SQUARE) * p * r / (M2S_BETA_SQUARE * p + r + 1e-8);
        best = f > best ? f : best;
    }
    return best;
}

double m2s_soft_dice(const m2s_histogram *histogram, const m2s_levels *levels)
{
    double common = 0.0, sum = 0.0;

    for (int32_t v = 0; v < M2S_LEVELS; v++) {
        common += histogram->inside[v] * levels->x[v];
        sum += ((double)histogram->inside[v] + histogram->outside[v]) * levels->x[v];
    }
    return (2.0 * common + 1e-5) / ((double)histogram->foreground + sum + 1e-5);
}

double m2s_smoothed_iou(const m2s_counts *c)
{
    return ((double)c->tp + 1e-5) / ((double)(c->tp + c->fp + c->fn) + 1e-5);
}

double m2s_authors_ber(const m2s_counts *c)
{
    if (c->tp + c->fn == 0 || c->tn + c->fp == 0) {
        return NAN;
    }
    return 1.0 - 0.5 * (m2s_recall(c, 0.0) + m2s_specificity(c));
}
