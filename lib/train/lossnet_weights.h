/* SPDX-License-Identifier: Apache-2.0
 * A loss network with its weights: immutable, shared by objectives and trainers, counted references. */
#ifndef M2S_TRAIN_LOSSNET_WEIGHTS_H
#define M2S_TRAIN_LOSSNET_WEIGHTS_H

#include <stdatomic.h>

#include "net/lossnet.h"
#include "run/context.h"
#include "run/pack_cache.h"
#include "weights/store.h"

struct m2snet_lossnet {
    atomic_int references;
    m2snet_context *context;
    const m2s_lossnet_family *family;
    m2s_store *store; /* the classifier's own keys, without M2S_LOSSNET_PREFIX */
    m2s_pack_cache *packs;
};

void m2s_lossnet_options_default(m2snet_lossnet_options *options);
m2snet_status m2s_lossnet_load_file(m2snet_context *context, const char *path, const m2snet_lossnet_options *options,
                                    m2snet_lossnet **lossnet, m2snet_error *error);
m2snet_status m2s_lossnet_create(m2snet_context *context, const char *family, uint64_t seed, m2snet_lossnet **lossnet,
                                 m2snet_error *error);
m2snet_lossnet *m2s_lossnet_retain(m2snet_lossnet *lossnet); /* NULL is fine */
void m2s_lossnet_release(m2snet_lossnet *lossnet);           /* NULL is fine */

#endif
