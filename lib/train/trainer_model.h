/* SPDX-License-Identifier: Apache-2.0
 * Between a model's weights and a trainer's state. */
#ifndef M2S_TRAIN_TRAINER_MODEL_H
#define M2S_TRAIN_TRAINER_MODEL_H

#include "train/trainer.h"

#define M2S_METADATA_TRAINING "m2snet.training" /* how the weights came about, JSON */

/* Weights and averages from the trainer's model; heads of deep supervision that it does not have are drawn from the
 * seed; zeros in everything else. graph: a step's. */
m2snet_status m2s_trainer_fill_state(m2snet_trainer *trainer, const m2s_graph *graph, m2snet_error *error);

#endif
