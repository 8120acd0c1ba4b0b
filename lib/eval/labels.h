/* SPDX-License-Identifier: Apache-2.0
 * Label maps: overlap of each class, surface distances, and the boundary error of OCT layers along columns. */
#ifndef M2S_EVAL_LABELS_H
#define M2S_EVAL_LABELS_H

#include "eval/score.h"

/* Scores every label of the settings into scores[0..label_count). Uses INSIDE, INSIDE_2 and what surface.h uses. */
m2snet_status m2s_labels_score(m2s_scratch *scratch, const m2s_eval_settings *settings, const m2s_gray_pair *pair,
                               m2snet_label_scores *scores, m2snet_error *error);

#endif
