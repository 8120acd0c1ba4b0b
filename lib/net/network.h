/* SPDX-License-Identifier: Apache-2.0
 * The whole network: encoder, reducers, subtraction pyramid, decoder. */
#ifndef M2S_NET_NETWORK_H
#define M2S_NET_NETWORK_H

#include "graph/graph.h"
#include "net/config.h"

/* The inference graph of config for n images of h x w: input "image" (n, h, w, 3), output "logits"
 * (n, h, w, classes), intermediates named after the checkpoint's modules. */
m2snet_status m2s_net_build(m2s_memory *memory, const m2s_config *config, int64_t n, int64_t h, int64_t w,
                            m2snet_dtype dtype, m2s_graph **graph, m2snet_error *error);

#endif
