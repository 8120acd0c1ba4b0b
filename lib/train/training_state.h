/* SPDX-License-Identifier: Apache-2.0
 * Checkpoints of a training: a safetensors file with every array of the state under its name, exact, and in its
 * metadata the place, the counters and what the run's numbers depend on (docs/file-format.md). Its weights can be
 * loaded as a model. Written through a temporary file, fsync and rename: whatever happens, the file is the old one or
 * the new. */
#ifndef M2S_TRAIN_TRAINING_STATE_H
#define M2S_TRAIN_TRAINING_STATE_H

#include "train/trainer.h"

m2snet_status m2s_training_state_save(m2snet_trainer *trainer, const char *path, m2s_control *control,
                                      m2snet_error *error);
/* Phase "read". MISMATCH: the file is of another network, of other options, or, with data_json not NULL, of a fit on
 * other data or with other settings. On failure the trainer is as before. */
m2snet_status m2s_training_state_load(m2snet_trainer *trainer, const char *path, const char *data_json,
                                      m2s_control *control, m2snet_error *error);

#endif
