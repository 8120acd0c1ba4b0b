/* SPDX-License-Identifier: Apache-2.0
 * How predictions agree with masks beyond overlap: calibration of the probabilities, and areas. */
#ifndef M2S_EVAL_AGREEMENT_H
#define M2S_EVAL_AGREEMENT_H

#include "eval/evaluator.h"

/* index -1: of the images that count; MISMATCH when there is none. The evaluator has no labels. */
m2snet_status m2s_calibration_make(const m2snet_evaluator *evaluator, int32_t index, int32_t bin_count,
                                   m2snet_calibration *calibration, m2snet_error *error);
/* MISMATCH when no image counts. The evaluator has no labels. */
m2snet_status m2s_area_agreement_make(const m2snet_evaluator *evaluator, m2snet_area_agreement *agreement,
                                      m2snet_error *error);

#endif
