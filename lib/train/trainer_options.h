/* SPDX-License-Identifier: Apache-2.0
 * A trainer's options: checked, as a step graph's recipe, and as the JSON that a checkpoint must agree with. */
#ifndef M2S_TRAIN_TRAINER_OPTIONS_H
#define M2S_TRAIN_TRAINER_OPTIONS_H

#include "core/json.h"
#include "train/trainer.h"

#define M2S_MAX_RATE 1e6

/* Sets options, objective (its lossnet retained) and recipe of trainer. */
m2snet_status m2s_trainer_options_import(const m2snet_model *model, const m2snet_trainer_options *given,
                                         m2snet_trainer *trainer, m2snet_error *error);

/* Everything of the options that the numbers of a run depend on, as a compact JSON object; m2s_free it. */
m2snet_status m2s_trainer_options_json(const m2snet_trainer *trainer, char **text, m2snet_error *error);

/* OK when two flat JSON objects agree; else MISMATCH, naming a key and both values. what: "the checkpoint's data". */
m2snet_status m2s_recipe_compare(m2s_memory *memory, const char *what, const char *stored, const char *wanted,
                                 m2snet_error *error);

#endif
