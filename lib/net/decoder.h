/* SPDX-License-Identifier: Apache-2.0
 * The decoder: deepest to finest, one addition and one CBR a level (MODELS.md 1.3). */
#ifndef M2S_NET_DECODER_H
#define M2S_NET_DECODER_H

#include "graph/graph.h"
#include "net/config.h"

/* deepest: level 5 of the encoder, unreduced. Returns the map of `classes` channels at level 1's size. */
m2s_value m2s_decoder(m2s_graph *graph, const m2s_config *config, m2s_value deepest, const m2s_value ce[4]);

#endif
