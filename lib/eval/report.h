/* SPDX-License-Identifier: Apache-2.0
 * An evaluator's scores as JSON. */
#ifndef M2S_EVAL_REPORT_H
#define M2S_EVAL_REPORT_H

#include "eval/evaluator.h"

/* docs/metrics.md says what is in it. folds 0, or 2 and more: with cross-validation where as many pairs count. Free
 * *text with m2s_free. */
m2snet_status m2s_report_write(const m2snet_evaluator *evaluator, int32_t folds, char **text, m2snet_error *error);

#endif
