/* SPDX-License-Identifier: Apache-2.0
 * Which items train, which validate, which test. Results depend on the data set and the options alone.
 *
 * Items of one group stay together. By folds and by fractions, groups (an item without one is its own) are drawn in a
 * random order and the larger ones placed first; folds: each goes where its set, then the whole, has fewest items, so
 * folds are of nearly equal size within every set; fractions: to the part that still lacks most of what it should have.
 */
#ifndef M2S_TRAIN_SPLIT_H
#define M2S_TRAIN_SPLIT_H

#include "train/dataset.h"

void m2s_split_options_default(m2snet_split_options *options);

/* Sets part (and fold) of every item. On failure all are as before. MISMATCH: fewer groups than folds, a part that
 * should have items would have none, a group in two parts of the column; FORMAT: a word in the column that names no
 * part. options is complete. */
m2snet_status m2s_dataset_split(m2snet_dataset *dataset, const m2snet_split_options *options, m2snet_error *error);

#endif
