/* SPDX-License-Identifier: Apache-2.0
 * Branches of the ASPP and DenseASPP units (paper, figure 7 and table 14; MODELS.md 3.4). */
#ifndef M2S_NET_ASPP_H
#define M2S_NET_ASPP_H

#include "graph/graph.h"
#include "net/variant.h"

#define M2S_ASPP_BRANCHES 3

/* branch[i] of x: 1x1, 3x3 and 3x3 of dilation 2, which see 1, 3 and 5 pixels; each a convolution without bias, batch
 * norm and ReLU, with x's channels. unit says how they follow on each other:
 *   ASPP          each on x
 *   DENSE         each on x and all before it, through a 1x1 convolution of its own
 *   DENSE_SHARED  each on x and all before it
 * Keys: PREFIX.b.0.0.weight, PREFIX.b.0.1.*, ...; of the 1x1 convolutions PREFIX.r.0.0.weight, ... */
void m2s_aspp(m2s_graph *graph, m2s_value x, const char *prefix, m2s_unit unit, m2s_value branch[M2S_ASPP_BRANCHES]);

#endif
