/* SPDX-License-Identifier: Apache-2.0
 * What was drawn for a picture, as the plain numbers that a device applies: what m2s_augment_apply does, but for order
 * NNUNET. */
#ifndef M2S_TRAIN_AUGMENT_JOB_H
#define M2S_TRAIN_AUGMENT_JOB_H

#include "run/program.h"
#include "train/augment.h"

/* All of *job but its pointers, which become NULL. */
void m2s_augment_job_make(m2s_augment_job *job, const m2snet_augment_options *options, const m2s_unfinished *picture,
                          const m2s_mask_coding *coding, int32_t height, int32_t width);

#endif
