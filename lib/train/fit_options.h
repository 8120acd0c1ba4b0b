/* SPDX-License-Identifier: Apache-2.0
 * Options of m2snet_trainer_fit: checked, as a loader's options, and as the JSON that a checkpoint must agree with. */
#ifndef M2S_TRAIN_FIT_OPTIONS_H
#define M2S_TRAIN_FIT_OPTIONS_H

#include "train/loader.h"
#include "train/trainer.h"

void m2s_fit_options_default(m2snet_fit_options *options);

/* Fills known (complete) from the caller's options and the loader's options from known. */
m2snet_status m2s_fit_options_import(const m2snet_trainer *trainer, const m2snet_fit_options *given,
                                     m2snet_fit_options *known, m2s_loader_options *loader, m2snet_error *error);

/* Patches without given sizes leave the loader with none: all of this one. */
void m2s_fit_options_set_patch(m2s_loader_options *loader, int32_t height, int32_t width);

/* What the run's numbers depend on beside the trainer's options: batches, changes, and which pictures. m2s_free it. */
m2snet_status m2s_fit_options_json(m2s_memory *memory, const m2snet_fit_options *known,
                                   const m2s_loader_options *loader, const m2snet_dataset *dataset,
                                   const int32_t *items, int32_t item_count, char **text, m2snet_error *error);

#endif
