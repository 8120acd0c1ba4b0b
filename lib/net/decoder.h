/* SPDX-License-Identifier: Apache-2.0
 * The decoder: deepest to finest, one addition and one CBR a level (MODELS.md 1.3). */
#ifndef M2S_NET_DECODER_H
#define M2S_NET_DECODER_H

#include "graph/graph.h"
#include "net/config.h"

/* deepest: the encoder's deepest level, unreduced; reduced: as the pyramid has it; ce: of m2s_subtraction_pyramid.
 * Returns the map of `classes` channels at level 1's size. */
m2s_value m2s_decoder(m2s_graph *graph, const m2s_config *config, m2s_value deepest, m2s_value reduced,
                      const m2s_value *ce);

#endif
