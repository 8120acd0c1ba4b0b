/* SPDX-License-Identifier: Apache-2.0
 * Subtraction units and their pyramid (MMSM): the paper's section 3, as released (MODELS.md 1.3, 1.4). */
#ifndef M2S_NET_SUBTRACTION_H
#define M2S_NET_SUBTRACTION_H

#include "graph/graph.h"
#include "net/config.h"

/* T of the multi-scale subtraction unit: |A' - B| + sum over k of |F_k(A') - F_k(B)|, A' = A at B's size, or of the
 * variant's unit in its place; named NAME.sum_in. a is the coarse, b the fine input. */
m2s_value m2s_subtraction(m2s_graph *graph, const m2s_config *config, const char *name, m2s_value a, m2s_value b);

/* feature[i] = level i + 1 of the encoder, reduced to the pyramid's channels, for i < config->variant.levels.
 * ce[i] = complementary features of level i + 1 (CE^(i+1)), for all levels but the deepest: inputs of the decoder. */
void m2s_subtraction_pyramid(m2s_graph *graph, const m2s_config *config, const m2s_value *feature, m2s_value *ce);

#endif
