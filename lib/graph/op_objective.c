/* SPDX-License-Identifier: Apache-2.0
 * Objectives: scalars of predictions and masks, and what the loss network's input needs. */
#include <inttypes.h>

#include "graph/ops.h"

static const m2s_shape scalar_shape = { .d = { 1, 1, 1, 1 } };

/* A scalar of tensors of one shape. attrs.begin is 0 but for dice. */
static m2snet_status value_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;
    int64_t channels = m2s_shape_of(graph, node->in[0]).c;

    *out = scalar_shape;
    if (node->attrs.begin < 0 || node->attrs.begin >= channels) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "from channel %d on of %" PRId64 ", which leaves none",
                        node->attrs.begin, channels);
    }
    for (int32_t i = 1; i < node->in_count && status == M2SNET_STATUS_OK; i++) {
        status = m2s_expect_same_shape(graph, node->in[0], node->in[i], error);
    }
    return status;
}

/* diff, then the inputs of the objective -> the gradient in the first of these. */
static m2snet_status gradient_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    *out = m2s_shape_of(graph, node->in[1]);
    if (m2s_shape_elements(m2s_shape_of(graph, node->in[0])) != 1) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "the gradient of a scalar is no scalar");
    }
    for (int32_t i = 2; i < node->in_count && status == M2SNET_STATUS_OK; i++) {
        status = m2s_expect_same_shape(graph, node->in[1], node->in[i], error);
    }
    return status;
}

/* The gradient in the first input by `op`, which takes diff and the objective's inputs. */
static void first_input_gradient(m2s_graph *graph, const m2s_node *node, m2s_op op, const m2s_value *diff_out,
                                 const bool *wanted, m2s_value *diff_in)
{
    m2s_value in[4] = { diff_out[0] };

    for (int32_t i = 0; i < node->in_count; i++) {
        in[i + 1] = node->in[i];
    }
    if (wanted[0]) {
        diff_in[0] = m2s_graph_node(graph, op, in, node->in_count + 1, &node->attrs);
    }
}

/* An objective and its gradient. */
#define OBJECTIVE(name)                                                                                                \
    static void name##_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted, \
                                m2s_value *diff_in)                                                                    \
    {                                                                                                                  \
        first_input_gradient(graph, node, M2S_OP_##name##_grad, diff_out, wanted, diff_in);                            \
    }                                                                                                                  \
    M2S_DEFINE_OP(name, value_shape, name##_gradient, NULL);                                                           \
    M2S_DEFINE_OP(name##_grad, gradient_shape, NULL, NULL)

OBJECTIVE(weighted_bce);
OBJECTIVE(weighted_iou);
OBJECTIVE(dice);
OBJECTIVE(cross_entropy);
OBJECTIVE(feature_distance);

static m2snet_status boundary_weights_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                            m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    if (node->attrs.kernel < 1 || node->attrs.kernel % 2 == 0) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "window of %d, expected an odd number", node->attrs.kernel);
    }
    return M2SNET_STATUS_OK;
}

M2S_DEFINE_OP(boundary_weights, boundary_weights_shape, NULL, NULL);

static m2snet_status normalise_rgb_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                         m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    if (out->c != 1 && out->c != 3) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "%" PRId64 " channels, expected 1 or 3", out->c);
    }
    out->c = 3;
    return M2SNET_STATUS_OK;
}

static void normalise_rgb_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out,
                                   const bool *wanted, m2s_value *diff_in)
{
    m2s_attrs attrs = node->attrs;

    if (wanted[0]) {
        attrs.count = (int32_t)m2s_shape_of(graph, node->in[0]).c;
        diff_in[0] = m2s_graph_node(graph, M2S_OP_normalise_rgb_grad, diff_out, 1, &attrs);
    }
}

M2S_DEFINE_OP(normalise_rgb, normalise_rgb_shape, normalise_rgb_gradient, NULL);

static m2snet_status normalise_rgb_grad_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                              m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    if (out->c != 3 || (node->attrs.count != 1 && node->attrs.count != 3)) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "gradient of %" PRId64 " channels for %d", out->c,
                        node->attrs.count);
    }
    out->c = node->attrs.count;
    return M2SNET_STATUS_OK;
}

M2S_DEFINE_OP(normalise_rgb_grad, normalise_rgb_grad_shape, NULL, NULL);
