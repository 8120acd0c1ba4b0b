/* SPDX-License-Identifier: Apache-2.0
 * Deep supervision (paper, table 11; MODELS.md 3.5): heads that training alone has, on the decoder's coarser levels. */
#ifndef M2S_NET_SUPERVISION_H
#define M2S_NET_SUPERVISION_H

#include "graph/graph.h"
#include "net/config.h"

#define M2S_SUPERVISED_MAPS 3 /* at most: with five levels */

/* Appends to a graph of m2s_net_build a convolution 3x3 with bias ("ds2", "ds3", "ds4": `classes` channels) on output2,
 * output3 and, of five levels, output4, each resized to the input's size. Returns how many they are; maps[0] is the
 * finest; all have the shape of the logits. After a failure, which the graph remembers, they are M2S_NONE. */
int32_t m2s_net_supervise(m2s_graph *graph, const m2s_config *config, m2s_value maps[M2S_SUPERVISED_MAPS]);

#endif
