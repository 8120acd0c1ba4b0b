/* SPDX-License-Identifier: Apache-2.0
 * Freshly drawn weights (MODELS.md 4.5): an encoder's convolutions and linear layers normal, with the deviation that
 * the encoder says, and biases 0; the head's convolutions uniform within 1 / sqrt(i kh kw), biases likewise; norms 1
 * and 0, layer scale 1e-6, running statistics 0 and 1. */
#ifndef M2S_NET_INITIALISE_H
#define M2S_NET_INITIALISE_H

#include "net/encoder.h"

/* Fills the elements of parameter `value` of graph; the same for the same seed everywhere. encoder: the graph's, or
 * NULL when it has none. */
void m2s_initialise(const m2s_graph *graph, m2s_value value, const m2s_encoder *encoder, uint64_t seed,
                    float *elements);

#endif
