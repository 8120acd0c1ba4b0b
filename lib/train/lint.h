/* SPDX-License-Identifier: Apache-2.0
 * Looking for what would harm a training, before it starts. */
#ifndef M2S_TRAIN_LINT_H
#define M2S_TRAIN_LINT_H

#include "train/dataset.h"

/* Reads every file of the data set on the context's threads and fills dataset->linted: first what was noticed while
 * adding, then for each item, in order: files that cannot be read (or that appear twice), sizes that differ, the mask's
 * levels, repeated pictures. labels NULL: masks should hold 0 and 255 alone; else the labels and background. Results do
 * not depend on the number of threads. On failure (memory, cancel) the old findings are still there. Phase "lint". */
m2snet_status m2s_lint(m2snet_dataset *dataset, const uint8_t *labels, int32_t label_count, uint8_t background,
                       m2s_control *control, m2snet_error *error);

const char *m2s_finding_kind_name(m2snet_finding_kind kind);

#endif
