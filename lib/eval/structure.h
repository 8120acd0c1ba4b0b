/* SPDX-License-Identifier: Apache-2.0
 * Measures that look at where pixels are: the S-measure (Fan et al. 2017) and the weighted F-measure (Margolin et al.
 * 2014). */
#ifndef M2S_EVAL_STRUCTURE_H
#define M2S_EVAL_STRUCTURE_H

#include "eval/histogram.h"

typedef struct m2s_s_measure {
    double numpy_rounding;  /* centroid rounded half to even */
    double matlab_rounding; /* rounded half up: differs only where the mean is exactly between two pixels */
    double authors;         /* divisor n in variances, epsilon 1e-8, no clamp; NaN where a quadrant has less than two
                             * pixels */
} m2s_s_measure;

/* All tests for zero are made on integer sums, so the result does not hang on how a mean rounds. A quadrant without
 * pixels contributes nothing. */
m2s_s_measure m2s_s_measure_make(const uint8_t *prediction, const m2s_plane *inside, const m2s_histogram *histogram,
                                 const m2s_levels *levels);

/* The sums behind the weighted F-measure, before the tools' various epsilons. */
typedef struct m2s_weighted_sums {
    double error_inside, error_outside; /* weighted */
    int64_t foreground;                 /* 0: the measure is 0 */
} m2s_weighted_sums;

/* Dependence on the nearest mask pixel breaks ties by the smallest column, then the smallest row. */
m2snet_status m2s_weighted_sums_make(m2s_scratch *scratch, const uint8_t *prediction, const m2s_plane *inside,
                                     const m2s_levels *levels, m2s_weighted_sums *sums, m2snet_error *error);
/* beta = 1. */
double m2s_weighted_f(const m2s_weighted_sums *sums, double epsilon);

#endif
