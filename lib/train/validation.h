/* SPDX-License-Identifier: Apache-2.0
 * Dice and IoU of a trainer's weights on a data set, at the pictures' own size, by the masks that prediction gives. */
#ifndef M2S_TRAIN_VALIDATION_H
#define M2S_TRAIN_VALIDATION_H

#include "train/dataset.h"
#include "train/trainer.h"

void m2s_validation_options_default(m2snet_validation_options *options);

/* See m2snet_trainer_evaluate. The trainer must be entered; its state is only read. Phase "validate", unit pictures. */
m2snet_status m2s_trainer_evaluate(m2snet_trainer *trainer, m2snet_dataset *dataset,
                                   const m2snet_validation_options *options, m2snet_validation *result,
                                   m2snet_error *error);

#endif
