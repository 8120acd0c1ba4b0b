/* SPDX-License-Identifier: Apache-2.0
 * The run of a training over a data set: epochs of batches, validation, checkpoints, model files.
 *
 * A run that is stopped anywhere (a cancel, a kill, an error) and goes on from its checkpoint gives the same numbers,
 * bit for bit, as one that was not. So the checkpoint is written last: after a validation's model files, before the
 * callback. What was done after the last checkpoint is done again, with the same result. */
#ifndef M2S_TRAIN_EPOCH_LOOP_H
#define M2S_TRAIN_EPOCH_LOOP_H

#include "train/fit_options.h"

/* See m2snet_trainer_fit. The trainer must be entered. validation may be NULL. */
m2snet_status m2s_trainer_fit(m2snet_trainer *trainer, m2snet_dataset *train, m2snet_dataset *validation,
                              const m2snet_fit_options *options, m2snet_fit_end *end, m2snet_error *error);

#endif
