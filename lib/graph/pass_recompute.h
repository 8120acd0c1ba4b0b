/* SPDX-License-Identifier: Apache-2.0
 * Memory for time in a training step: results that are cheap to make are not kept from the forward to the backward
 * half, but made again there, just before they are first read. */
#ifndef M2S_GRAPH_PASS_RECOMPUTE_H
#define M2S_GRAPH_PASS_RECOMPUTE_H

#include "graph/graph.h"

/* *dst = src with such nodes added. backward: index of src's first node that is not forward.
 *
 * What is made again are results of batch norms, sums, ReLU, pools, resizing and channels moved about: never a
 * convolution, never what leaves the graph or writes state. A batch norm in train mode is made again from its
 * statistics, as batch_norm. Results are equal bit for bit on every backend whose batch_norm and batch_norm_train
 * agree. Deterministic: what is chosen follows from shapes alone. */
m2snet_status m2s_pass_recompute(const m2s_graph *src, int32_t backward, m2s_graph **dst, m2snet_error *error);

#endif
