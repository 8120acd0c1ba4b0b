/* SPDX-License-Identifier: Apache-2.0
 * Private to lib/graph: the rows of the op table, one in each family file, and what shape rules share. */
#ifndef M2S_GRAPH_OPS_H
#define M2S_GRAPH_OPS_H

#include "graph/graph.h"

#define M2S_OP(name, min_in, max_in, out) extern const m2s_op_info m2s_op_info_##name;
#include "graph/ops.def"
#undef M2S_OP

/* Defines m2s_op_info_NAME with the counts of ops.def. */
#define M2S_DEFINE_OP(op, shape_rule, gradient_rule, cost_rule)                                                        \
    const m2s_op_info m2s_op_info_##op = { #op,        M2S_OP_MIN_##op, M2S_OP_MAX_##op, M2S_OP_OUT_##op,              \
                                           shape_rule, gradient_rule,   cost_rule }

enum {
#define M2S_OP(name, min_in, max_in, out)                                                                              \
    M2S_OP_MIN_##name = (min_in), M2S_OP_MAX_##name = (max_in), M2S_OP_OUT_##name = (out),
#include "graph/ops.def"
#undef M2S_OP
};

/* ceil(n / stride) style output sizes of windows; 0 when the window does not fit. */
int64_t m2s_window_count(int64_t size, int64_t kernel, int64_t stride, int64_t pad, bool ceil_mode);
m2snet_status m2s_expect_same_shape(const m2s_graph *graph, m2s_value a, m2s_value b, m2snet_error *error);
/* value is a vector of `length`. what names it in the message. */
m2snet_status m2s_expect_vector(const m2s_graph *graph, m2s_value value, int64_t length, const char *what,
                                m2snet_error *error);

#endif
