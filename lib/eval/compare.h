/* SPDX-License-Identifier: Apache-2.0
 * The difference between two evaluators of the same images, and how sure it is: a paired bootstrap over images. */
#ifndef M2S_EVAL_COMPARE_H
#define M2S_EVAL_COMPARE_H

#include "eval/evaluator.h"

void m2s_compare_options_default(m2snet_compare_options *options);

/* See m2snet_evaluator_compare; options are complete. Neither evaluator has labels. */
m2snet_status m2s_compare(const m2snet_evaluator *first, const m2snet_evaluator *second, const char *key,
                          const m2snet_compare_options *options, m2snet_difference *difference, m2snet_error *error);

#endif
