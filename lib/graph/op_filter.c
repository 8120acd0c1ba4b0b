/* SPDX-License-Identifier: Apache-2.0
 * The multi-scale filters (MODELS.md 1.4, 2): as released, by parts, and fused. */
#include <inttypes.h>

#include "graph/ops.h"

#define MAX_FILTER_KERNEL 31

static m2s_value filter(m2s_graph *graph, m2s_op op, m2s_value src, m2s_filter_window window)
{
    return m2s_graph_node(graph, op, &src, 1,
                          &(m2s_attrs){ .kernel = window.kernel, .gaussian = window.gaussian, .alpha = window.sigma });
}

m2s_value m2s_full_filter(m2s_graph *graph, m2s_value src, m2s_filter_window window)
{
    return filter(graph, M2S_OP_full_filter, src, window);
}

m2s_value m2s_box_filter(m2s_graph *graph, m2s_value src, m2s_filter_window window)
{
    return filter(graph, M2S_OP_box_filter, src, window);
}

static m2snet_status expect_kernel(int32_t kernel, m2snet_error *error)
{
    if (kernel < 1 || kernel > MAX_FILTER_KERNEL || kernel % 2 == 0) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "window of %d, expected an odd number up to %d", kernel,
                        MAX_FILTER_KERNEL);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status filter_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    return expect_kernel(node->attrs.kernel, error);
}

/* Both are their own adjoints: the window is symmetric and zero padded. */
static void filter_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                            m2s_value *diff_in)
{
    (void)wanted;
    diff_in[0] = m2s_graph_node(graph, node->op, diff_out, 1, &node->attrs);
}

M2S_DEFINE_OP(full_filter, filter_shape, filter_gradient, NULL);
M2S_DEFINE_OP(box_filter, filter_shape, filter_gradient, NULL);

static m2snet_status channel_sum_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                       m2snet_error *error)
{
    (void)error;
    *out = m2s_shape_of(graph, node->in[0]);
    out->c = 1;
    return M2SNET_STATUS_OK;
}

M2S_DEFINE_OP(channel_sum, channel_sum_shape, NULL, NULL);

static m2snet_status plane_affine_relu_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                             m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    if (out->c != 1) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%" PRId64 " channels, expected one plane", out->c);
    }
    out->c = m2s_shape_of(graph, node->in[1]).o;
    m2snet_status status = m2s_expect_vector(graph, node->in[1], out->c, "slope", error);
    return status != M2SNET_STATUS_OK ? status : m2s_expect_vector(graph, node->in[2], out->c, "offset", error);
}

M2S_DEFINE_OP(plane_affine_relu, plane_affine_relu_shape, NULL, NULL);

static m2snet_status multi_scale_subtract_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                                m2snet_error *error)
{
    m2s_shape a = m2s_shape_of(graph, node->in[0]);
    m2snet_status status = M2SNET_STATUS_OK;

    *out = m2s_shape_of(graph, node->in[1]);
    if (a.n != out->n || a.c != out->c) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "coarse input of %" PRId64 " channels, fine input of %" PRId64,
                        a.c, out->c);
    }
    if (node->attrs.scales < 0 || node->attrs.scales > M2S_MAX_SCALES || node->in_count != 2 + 2 * node->attrs.scales) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%d inputs for %d scales", node->in_count, node->attrs.scales);
    }
    for (int32_t i = 0; i < node->attrs.scales; i++) {
        M2S_TRY(expect_kernel(node->attrs.scale[i], error));
        M2S_TRY(m2s_expect_vector(graph, node->in[2 + 2 * i], out->c, "slope", error));
        M2S_TRY(m2s_expect_vector(graph, node->in[3 + 2 * i], out->c, "offset", error));
    }
fail:
    return status;
}

M2S_DEFINE_OP(multi_scale_subtract, multi_scale_subtract_shape, NULL, NULL);

/* Inputs from `first` on are gamma, beta, running mean and running variance of each scale, vectors of c. */
static m2snet_status expect_norms(const m2s_graph *graph, const m2s_node *node, int32_t first, int64_t c,
                                  m2snet_error *error)
{
    static const char *const what[] = { "weight", "bias", "running_mean", "running_var" };
    m2snet_status status = M2SNET_STATUS_OK;

    if (node->attrs.scales < 1 || node->attrs.scales > M2S_MAX_SCALES ||
        node->in_count != first + 4 * node->attrs.scales) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%d inputs for %d scales", node->in_count, node->attrs.scales);
    }
    for (int32_t i = 0; i < 4 * node->attrs.scales; i++) {
        M2S_TRY(expect_kernel(node->attrs.scale[i / 4], error));
        M2S_TRY(m2s_expect_vector(graph, node->in[first + i], c, what[i % 4], error));
    }
fail:
    return status;
}

static m2snet_status subtract_train_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                          m2snet_error *error)
{
    m2s_shape a = m2s_shape_of(graph, node->in[0]);

    out[0] = m2s_shape_of(graph, node->in[1]);
    if (a.n != out[0].n || a.c != out[0].c) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "coarse input of %" PRId64 " channels, fine input of %" PRId64,
                        a.c, out[0].c);
    }
    out[1] = (m2s_shape){ .d = { 4 * node->attrs.scales, 1, 1, 1 } };
    out[2] = out[0];
    out[2].c = 2 * node->attrs.scales;
    return expect_norms(graph, node, 2, out[0].c, error);
}

static void subtract_train_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out,
                                    const bool *wanted, m2s_value *diff_in)
{
    m2s_value in[M2S_MAX_IN] = { diff_out[0], node->in[0], node->in[1], node->out[1], node->out[2] };
    int32_t scales = node->attrs.scales;

    for (int32_t i = 0; i < 4 * scales; i++) {
        in[5 + i] = node->in[2 + i];
    }
    m2s_value made = m2s_graph_node(graph, M2S_OP_multi_scale_subtract_grad, in, 5 + 4 * scales, &node->attrs);
    for (int32_t i = 0; i < 2; i++) {
        diff_in[i] = wanted[i] ? m2s_graph_out(graph, made, i) : M2S_NONE;
    }
    for (int32_t i = 0; i < 2 * scales; i++) {
        int32_t input = 2 + 4 * (i / 2) + i % 2;
        diff_in[input] = wanted[input] ? m2s_graph_out(graph, made, 2 + i) : M2S_NONE;
    }
}

M2S_DEFINE_OP(multi_scale_subtract_train, subtract_train_shape, subtract_train_gradient, NULL);

static m2snet_status subtract_grad_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                         m2snet_error *error)
{
    out[0] = m2s_shape_of(graph, node->in[1]);
    out[1] = m2s_shape_of(graph, node->in[2]);
    for (int32_t i = 0; i < 2 * node->attrs.scales && i < 2 * M2S_MAX_SCALES; i++) {
        out[2 + i] = (m2s_shape){ .d = { out[1].c, 1, 1, 1 } };
    }
    return expect_norms(graph, node, 5, out[1].c, error);
}

M2S_DEFINE_OP(multi_scale_subtract_grad, subtract_grad_shape, NULL, NULL);
