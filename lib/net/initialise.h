/* SPDX-License-Identifier: Apache-2.0
 * Freshly drawn weights (MODELS.md 4.5): convolutions of the encoder ~ N(0, 2 / (kh kw o)); those of the head uniform
 * within 1 / sqrt(i kh kw), biases likewise; norms 1 and 0, running statistics 0 and 1. */
#ifndef M2S_NET_INITIALISE_H
#define M2S_NET_INITIALISE_H

#include "graph/graph.h"

/* Fills the elements of parameter `value` of graph; the same for the same seed everywhere. */
void m2s_initialise(const m2s_graph *graph, m2s_value value, uint64_t seed, float *elements);

#endif
