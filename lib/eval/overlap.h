/* SPDX-License-Identifier: Apache-2.0
 * Everything that follows from the two histograms: overlap at a fixed threshold, sweeps over 256 thresholds, the
 * E-measure, the F-measure, the mean absolute error. Division of nothing by nothing is 0 unless said otherwise. */
#ifndef M2S_EVAL_OVERLAP_H
#define M2S_EVAL_OVERLAP_H

#include "eval/histogram.h"

#define M2S_EPSILON     2.220446049250313e-16 /* 2^-52 */
#define M2S_BETA_SQUARE 0.3                   /* of the F-measure */

/* Pixels in each of the four cells of prediction against mask. */
typedef struct m2s_counts {
    int64_t tp, fp, fn, tn;
} m2s_counts;

/* Prediction is foreground where x > 0.5, or with or_equal where x >= 0.5. */
m2s_counts m2s_counts_at_half(const m2s_histogram *histogram, const m2s_levels *levels, bool or_equal);
/* Prediction is foreground from twice its mean on, at most 1; an exact comparison of integers. */
m2s_counts m2s_counts_adaptive(const m2s_histogram *histogram, const m2s_levels *levels);

/* both_empty is the value where neither side has a pixel (0 or 1). */
double m2s_dice(const m2s_counts *c, double both_empty);
double m2s_iou(const m2s_counts *c, double both_empty);
double m2s_precision(const m2s_counts *c, double both_empty);
double m2s_recall(const m2s_counts *c, double both_empty);
double m2s_specificity(const m2s_counts *c);
double m2s_accuracy(const m2s_counts *c);
double m2s_iou_background(const m2s_counts *c);
double m2s_f_measure(const m2s_counts *c, double beta_square, double both_empty);
/* The alignment measure of one binary map; epsilon is M2S_EPSILON, the authors' 1e-8. More than 1 is possible: the
 * divisor is N - 1 (1 for a single pixel). */
double m2s_e_measure(const m2s_counts *c, double epsilon);

double m2s_mean_error(const m2s_histogram *histogram, const m2s_levels *levels);
/* Mean of x over all pixels. */
double m2s_mean_level(const m2s_histogram *histogram, const m2s_levels *levels);

/* tp and fp at each threshold: the prediction is foreground where q >= t, so at t = 0 everything is. */
typedef struct m2s_sweep {
    uint32_t tp[M2S_LEVELS], fp[M2S_LEVELS];
    int64_t foreground, background;
} m2s_sweep;
void m2s_sweep_make(const m2s_histogram *histogram, const m2s_levels *levels, m2s_sweep *sweep);
m2s_counts m2s_sweep_counts(const m2s_sweep *sweep, int32_t threshold);

#define M2S_CURVES 9 /* of m2snet_curve */
/* The curve's value; both_empty as above. M2SNET_CURVE_DICE and _F1 are the same. */
double m2s_curve_at(const m2s_sweep *sweep, m2snet_curve curve, int32_t threshold, double both_empty);
/* Adds the curve's 256 values to sums. */
void m2s_curve_add(const m2s_sweep *sweep, m2snet_curve curve, double both_empty, double sums[M2S_LEVELS]);

/* ---- of the authors' script ---- */

/* Levels 254 and 255 share the last of 255 bins. */
#define M2S_AUTHORS_BINS 255
/* Adds P(k) and R(k) to the sums. */
void m2s_authors_curves_add(const m2s_sweep *sweep, double precision[M2S_AUTHORS_BINS],
                            double recall[M2S_AUTHORS_BINS]);
/* The largest F(k) of curves averaged over images. */
double m2s_authors_max_f(const double precision[M2S_AUTHORS_BINS], const double recall[M2S_AUTHORS_BINS],
                         double images);
/* (2 sum(x g) + 1e-5) / (F + sum(x) + 1e-5) */
double m2s_soft_dice(const m2s_histogram *histogram, const m2s_levels *levels);
double m2s_smoothed_iou(const m2s_counts *c);
/* NaN for an empty or a full mask. */
double m2s_authors_ber(const m2s_counts *c);

#endif
