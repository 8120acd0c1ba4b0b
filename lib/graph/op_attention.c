/* SPDX-License-Identifier: Apache-2.0
 * Attention of pixels to pixels of a smaller map, by heads. */
#include <inttypes.h>

#include "graph/ops.h"

m2s_value m2s_attention(m2s_graph *graph, m2s_value query, m2s_value keys_values, int32_t heads, double alpha)
{
    return m2s_graph_node(graph, M2S_OP_attention, (m2s_value[]){ query, keys_values }, 2,
                          &(m2s_attrs){ .groups = heads, .alpha = alpha });
}

static m2snet_status check_operands(const m2s_graph *graph, const m2s_node *node, m2s_shape query,
                                    m2s_value keys_values, m2snet_error *error)
{
    m2s_shape other = m2s_shape_of(graph, keys_values);

    if (node->attrs.groups < 1 || query.c % node->attrs.groups != 0) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "%" PRId64 " channels cannot be cut into %d heads", query.c,
                        node->attrs.groups);
    }
    if (!(node->attrs.alpha > 0.0)) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "scores times %g, expected a positive factor",
                        node->attrs.alpha);
    }
    if (other.n != query.n || other.c != 2 * query.c) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                        "keys and values of %" PRId64 " images have %" PRId64 " channels, expected %" PRId64
                        " images and twice the query's %" PRId64,
                        other.n, other.c, query.n, query.c);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status attention_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    return check_operands(graph, node, *out, node->in[1], error);
}

static void attention_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                               m2s_value *diff_in)
{
    m2s_value in[] = { diff_out[0], node->in[0], node->in[1] };
    m2s_value made = m2s_graph_node(graph, M2S_OP_attention_grad, in, 3, &node->attrs);

    for (int32_t i = 0; i < 2; i++) {
        diff_in[i] = wanted[i] ? m2s_graph_out(graph, made, i) : M2S_NONE;
    }
}

/* Of one product between queries and keys or scores and values. */
static uint64_t product_cost(m2s_shape query, m2s_shape other)
{
    return (uint64_t)(m2s_shape_elements(query) * other.h * other.w);
}

static uint64_t attention_cost(const m2s_graph *graph, const m2s_node *node)
{
    return 2 * product_cost(m2s_shape_of(graph, node->in[0]), m2s_shape_of(graph, node->in[1]));
}

M2S_DEFINE_OP(attention, attention_shape, attention_gradient, attention_cost);

static m2snet_status attention_grad_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                          m2snet_error *error)
{
    m2snet_status status;

    out[0] = m2s_shape_of(graph, node->in[1]);
    out[1] = m2s_shape_of(graph, node->in[2]);
    M2S_TRY(m2s_expect_same_shape(graph, node->in[0], node->in[1], error));
    M2S_TRY(check_operands(graph, node, out[0], node->in[2], error));
fail:
    return status;
}

/* The scores again, their gradient, and the gradients of the three operands. */
static uint64_t attention_grad_cost(const m2s_graph *graph, const m2s_node *node)
{
    return 5 * product_cost(m2s_shape_of(graph, node->in[1]), m2s_shape_of(graph, node->in[2]));
}

M2S_DEFINE_OP(attention_grad, attention_grad_shape, NULL, attention_grad_cost);
