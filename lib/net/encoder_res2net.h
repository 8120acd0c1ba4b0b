/* SPDX-License-Identifier: Apache-2.0
 * Res2Net v1b: four groups a block, general in stem, widths, channels and blocks (MODELS.md 1.2). */
#ifndef M2S_NET_ENCODER_RES2NET_H
#define M2S_NET_ENCODER_RES2NET_H

#include "graph/graph.h"
#include "net/encoder.h"

/* level[0] = stem at a quarter of the size ... level[4] = deepest, a 32nd. Named enc1 ... enc5. */
void m2s_encoder_res2net(m2s_graph *graph, const m2s_config *config, m2s_value image, m2s_value level[5]);
/* From stem, blocks and shapes of the keys resnet.*. */
bool m2s_encoder_res2net_recognise(m2s_config *config, m2s_key_lookup lookup, void *user);

#endif
