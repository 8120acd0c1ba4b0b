/* SPDX-License-Identifier: Apache-2.0
 * Element by element, and along channels. */
#include <inttypes.h>

#include "graph/ops.h"

m2s_value m2s_relu(m2s_graph *graph, m2s_value src)
{
    return m2s_graph_node(graph, M2S_OP_relu, &src, 1, NULL);
}

m2s_value m2s_sum(m2s_graph *graph, const m2s_value *src, int32_t count)
{
    return m2s_graph_node(graph, M2S_OP_add, src, count, NULL);
}

m2s_value m2s_abs_diff(m2s_graph *graph, m2s_value a, m2s_value b)
{
    return m2s_graph_node(graph, M2S_OP_abs_diff, (m2s_value[]){ a, b }, 2, NULL);
}

m2s_value m2s_slice_c(m2s_graph *graph, m2s_value src, int64_t begin, int64_t count)
{
    return m2s_graph_node(graph, M2S_OP_slice_c, &src, 1,
                          &(m2s_attrs){ .begin = (int32_t)begin, .count = (int32_t)count });
}

m2s_value m2s_concat_c(m2s_graph *graph, const m2s_value *src, int32_t count)
{
    return m2s_graph_node(graph, M2S_OP_concat_c, src, count, NULL);
}

/* All inputs of one shape, which is the result's. */
static m2snet_status same_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    *out = m2s_shape_of(graph, node->in[0]);
    for (int32_t i = 1; i < node->in_count; i++) {
        M2S_TRY(m2s_expect_same_shape(graph, node->in[0], node->in[i], error));
    }
fail:
    return status;
}

M2S_DEFINE_OP(relu, same_shape, NULL, NULL);
M2S_DEFINE_OP(add, same_shape, NULL, NULL);
M2S_DEFINE_OP(abs_diff, same_shape, NULL, NULL);

static m2snet_status slice_c_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    if (node->attrs.begin < 0 || node->attrs.count < 1 || (int64_t)node->attrs.begin + node->attrs.count > out->c) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "channels %d to %d of %" PRId64, node->attrs.begin,
                        node->attrs.begin + node->attrs.count, out->c);
    }
    out->c = node->attrs.count;
    return M2SNET_STATUS_OK;
}

M2S_DEFINE_OP(slice_c, slice_c_shape, NULL, NULL);

static m2snet_status concat_c_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    for (int32_t i = 1; i < node->in_count; i++) {
        m2s_shape part = m2s_shape_of(graph, node->in[i]);
        if (part.n != out->n || part.h != out->h || part.w != out->w) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL,
                            "part %d is %" PRId64 " x %" PRId64 ", the first %" PRId64 " x %" PRId64, i, part.h, part.w,
                            out->h, out->w);
        }
        out->c += part.c;
    }
    return M2SNET_STATUS_OK;
}

M2S_DEFINE_OP(concat_c, concat_c_shape, NULL, NULL);
