/* SPDX-License-Identifier: Apache-2.0
 * For the tests of training: batches with something to learn, trainers of the tiny network, and its weights as bytes.
 * Knows nothing but m2snet.h. */
#ifndef M2S_TESTS_COMMON_TRAIN_FIXTURE_H
#define M2S_TESTS_COMMON_TRAIN_FIXTURE_H

#include "common/api_fixture.h"

/* Noise with a bright disc, and the disc as the mask. Other numbers for another index; the same for the same. */
typedef struct train_batch {
    m2snet_tensor *images, *masks;
} train_batch;
train_batch make_batch(m2snet_context *context, int64_t n, int64_t h, int64_t w, int64_t classes, unsigned index);
void free_batch(train_batch *batch);

/* Options for the tiny network: SGD 0.02, one rate for all, constant. */
void tiny_trainer_options(m2snet_trainer_options *options);
m2snet_trainer *tiny_trainer(m2snet_context *context, const m2snet_trainer_options *options);

/* The trainer's weights as a model file in malloc memory: equal weights give equal bytes, but for the metadata, which
 * is left out. */
unsigned char *trainer_weights(m2snet_trainer *trainer, int32_t averaged, size_t *bytes);
/* Both trainers have the same weights, bit for bit. */
void assert_same_weights(m2snet_trainer *a, m2snet_trainer *b);

/* count pictures of side x side px with masks, PNG, under folder/images and folder/masks. */
void write_pictures(m2snet_context *context, const char *folder, int count, int32_t side, unsigned first);
void remove_pictures(const char *folder);

#endif
