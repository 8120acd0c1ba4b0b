/* SPDX-License-Identifier: Apache-2.0
 * Pictures of a data set that look alike. */
#ifndef M2S_TRAIN_DATASET_NEAR_H
#define M2S_TRAIN_DATASET_NEAR_H

#include "train/dataset.h"

/* Fills dataset->near_pairs with all pairs of items whose hashes (phash.h) differ in at most `distance` bits, nearest
 * first, then in order of items. Unreadable pictures are passed over. On failure (memory, cancel; LIMIT: more than 2^24
 * pairs) the old ones are still there. Phase "hash". */
m2snet_status m2s_dataset_find_near(m2snet_dataset *dataset, int32_t distance, m2s_control *control,
                                    m2snet_error *error);

/* Whether the two are in different parts, and neither is left out. */
bool m2s_near_pair_is_across(const m2snet_dataset *dataset, const m2s_near_pair *pair);

#endif
