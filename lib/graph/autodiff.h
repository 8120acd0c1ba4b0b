/* SPDX-License-Identifier: Apache-2.0
 * Reverse-mode differentiation as graph building: gradients are nodes like any others. The rule of each op stands
 * beside its shape rule. */
#ifndef M2S_GRAPH_AUTODIFF_H
#define M2S_GRAPH_AUTODIFF_H

#include "graph/graph.h"

/* Appends the gradients of `objective` with respect to wanted[0..count), any values of the graph; diff[i] is M2S_NONE
 * where it does not depend on wanted[i]. seed is the gradient of objective itself, of its shape (a loss scale).
 * UNSUPPORTED names a node on the way whose op has no rule. Contributions are summed in an order that follows from the
 * graph alone. */
m2snet_status m2s_autodiff(m2s_graph *graph, m2s_value objective, m2s_value seed, const m2s_value *wanted,
                           int32_t count, m2s_value *diff, m2snet_error *error);

#endif
