/* SPDX-License-Identifier: Apache-2.0
 * Convolutions: conv2d and the fused inner part of a Res2Net block. */
#include <inttypes.h>

#include "graph/ops.h"

m2s_value m2s_conv2d(m2s_graph *graph, m2s_value src, m2s_value weights, m2s_value bias, m2s_conv conv)
{
    m2s_attrs attrs = { .stride = conv.stride == 0 ? 1 : conv.stride,
                        .pad = conv.pad,
                        .dilation = conv.dilation == 0 ? 1 : conv.dilation,
                        .groups = conv.groups == 0 ? 1 : conv.groups };
    m2s_value in[] = { src, weights, bias, M2S_NONE };

    return m2s_graph_node(graph, M2S_OP_conv2d, in, 4, &attrs);
}

static m2snet_status conv2d_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    const m2s_attrs *a = &node->attrs;
    m2s_shape src = m2s_shape_of(graph, node->in[0]);
    m2s_shape weights = m2s_shape_of(graph, node->in[1]);
    m2snet_status status = M2SNET_STATUS_OK;

    if (a->stride < 1 || a->pad < 0 || a->dilation < 1 || a->groups < 1 || weights.o % a->groups != 0) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL,
                        "stride %d, pad %d, dilation %d, groups %d with %" PRId64 " outputs make no convolution",
                        a->stride, a->pad, a->dilation, a->groups, weights.o);
    }
    if (src.c != weights.i * a->groups) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "%" PRId64 " input channels, weights expect %" PRId64, src.c,
                        weights.i * a->groups);
    }
    *out = (m2s_shape){ .n = src.n,
                        .h = m2s_window_count(src.h, a->dilation * (weights.kh - 1) + 1, a->stride, a->pad, false),
                        .w = m2s_window_count(src.w, a->dilation * (weights.kw - 1) + 1, a->stride, a->pad, false),
                        .c = weights.o };
    if (out->h < 1 || out->w < 1) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "input of %" PRId64 " x %" PRId64 " is smaller than the window",
                        src.h, src.w);
    }
    if (node->in[2] != M2S_NONE) {
        M2S_TRY(m2s_expect_vector(graph, node->in[2], weights.o, "bias", error));
    }
    if (node->in[3] != M2S_NONE) {
        m2s_shape residual = m2s_shape_of(graph, node->in[3]);
        for (int i = 0; i < 4; i++) {
            if (residual.d[i] != out->d[i]) {
                return m2s_fail(error, M2SNET_STATUS_INTERNAL, "residual differs from the result in axis %d", i);
            }
        }
    }
fail:
    return status;
}

static uint64_t conv2d_cost(const m2s_graph *graph, const m2s_node *node)
{
    m2s_shape weights = m2s_shape_of(graph, node->in[1]);
    m2s_shape out = m2s_shape_of(graph, node->out[0]);

    return (uint64_t)(out.n * out.h * out.w * m2s_shape_elements(weights));
}

/* ---- gradients ---- */

static m2s_value grad_src(m2s_graph *graph, const m2s_node *node, m2s_value diff)
{
    m2s_attrs attrs = node->attrs;
    m2s_shape weights = m2s_shape_of(graph, node->in[1]);
    int64_t pad = attrs.dilation * (weights.kh - 1) - attrs.pad;

    attrs.relu = attrs.form = 0;
    if (attrs.stride == 1 && attrs.groups == 1 && weights.kh == weights.kw && pad >= 0) {
        m2s_value turned = m2s_graph_node(graph, M2S_OP_transpose_weights, &node->in[1], 1, NULL);
        return m2s_conv2d(graph, diff, turned, M2S_NONE,
                          (m2s_conv){ .stride = 1, .pad = (int32_t)pad, .dilation = attrs.dilation });
    }
    attrs.h = m2s_shape_of(graph, node->in[0]).h;
    attrs.w = m2s_shape_of(graph, node->in[0]).w;
    return m2s_graph_node(graph, M2S_OP_conv2d_grad_src, (m2s_value[]){ diff, node->in[1] }, 2, &attrs);
}

static void conv2d_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                            m2s_value *diff_in)
{
    m2s_attrs attrs = node->attrs;
    m2s_value diff = diff_out[0];

    if (attrs.relu != 0) {
        diff = m2s_graph_node(graph, M2S_OP_relu_grad, (m2s_value[]){ diff, node->out[0] }, 2, NULL);
    }
    if (wanted[0]) {
        diff_in[0] = grad_src(graph, node, diff);
    }
    if (wanted[1]) {
        attrs.relu = attrs.form = 0;
        attrs.kernel = (int32_t)m2s_shape_of(graph, node->in[1]).kh;
        diff_in[1] = m2s_graph_node(graph, M2S_OP_conv2d_grad_weights, (m2s_value[]){ node->in[0], diff }, 2, &attrs);
    }
    if (wanted[2]) {
        diff_in[2] = m2s_graph_node(graph, M2S_OP_sum_pixels, &diff, 1, NULL);
    }
    if (wanted[3]) {
        diff_in[3] = diff;
    }
}

M2S_DEFINE_OP(conv2d, conv2d_shape, conv2d_gradient, conv2d_cost);

static m2snet_status conv2d_grad_src_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                           m2snet_error *error)
{
    const m2s_attrs *a = &node->attrs;
    m2s_shape diff = m2s_shape_of(graph, node->in[0]);
    m2s_shape weights = m2s_shape_of(graph, node->in[1]);

    *out = (m2s_shape){ .n = diff.n, .h = a->h, .w = a->w, .c = weights.i * a->groups };
    if (a->stride < 1 || a->dilation < 1 || a->groups < 1 || diff.c != weights.o ||
        m2s_window_count(a->h, a->dilation * (weights.kh - 1) + 1, a->stride, a->pad, false) != diff.h ||
        m2s_window_count(a->w, a->dilation * (weights.kw - 1) + 1, a->stride, a->pad, false) != diff.w) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL,
                        "a gradient of %" PRId64 " x %" PRId64 " x %" PRId64 " is none of a convolution of %" PRId64
                        " x %" PRId64,
                        diff.h, diff.w, diff.c, a->h, a->w);
    }
    return M2SNET_STATUS_OK;
}

static uint64_t conv2d_grad_src_cost(const m2s_graph *graph, const m2s_node *node)
{
    m2s_shape diff = m2s_shape_of(graph, node->in[0]);

    return (uint64_t)(diff.n * diff.h * diff.w * m2s_shape_elements(m2s_shape_of(graph, node->in[1])));
}

M2S_DEFINE_OP(conv2d_grad_src, conv2d_grad_src_shape, NULL, conv2d_grad_src_cost);

static m2snet_status conv2d_grad_weights_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                               m2snet_error *error)
{
    const m2s_attrs *a = &node->attrs;
    m2s_shape src = m2s_shape_of(graph, node->in[0]);
    m2s_shape diff = m2s_shape_of(graph, node->in[1]);
    int64_t reach = a->dilation * (a->kernel - 1) + 1;

    if (a->stride < 1 || a->dilation < 1 || a->groups < 1 || a->kernel < 1 || src.c % a->groups != 0 ||
        src.n != diff.n || m2s_window_count(src.h, reach, a->stride, a->pad, false) != diff.h ||
        m2s_window_count(src.w, reach, a->stride, a->pad, false) != diff.w) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL,
                        "a gradient of %" PRId64 " x %" PRId64 " is none of a convolution of %" PRId64 " x %" PRId64,
                        diff.h, diff.w, src.h, src.w);
    }
    *out = (m2s_shape){ .o = diff.c, .i = src.c / a->groups, .kh = a->kernel, .kw = a->kernel };
    return M2SNET_STATUS_OK;
}

static uint64_t conv2d_grad_weights_cost(const m2s_graph *graph, const m2s_node *node)
{
    m2s_shape diff = m2s_shape_of(graph, node->in[1]);

    return (uint64_t)(diff.n * diff.h * diff.w * m2s_shape_elements(m2s_shape_of(graph, node->out[0])));
}

M2S_DEFINE_OP(conv2d_grad_weights, conv2d_grad_weights_shape, NULL, conv2d_grad_weights_cost);

static m2snet_status transpose_weights_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                             m2snet_error *error)
{
    m2s_shape weights = m2s_shape_of(graph, node->in[0]);

    (void)error;
    *out = (m2s_shape){ .o = weights.i, .i = weights.o, .kh = weights.kh, .kw = weights.kw };
    return M2SNET_STATUS_OK;
}

M2S_DEFINE_OP(transpose_weights, transpose_weights_shape, NULL, NULL);

static m2snet_status res2_groups_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                       m2snet_error *error)
{
    m2s_shape src = m2s_shape_of(graph, node->in[0]);
    int64_t width = src.c / 4;
    int64_t stride = node->attrs.stride;
    m2snet_status status = M2SNET_STATUS_OK;

    if (src.c % 4 != 0 || stride < 1 || (stride > 1 && !node->attrs.stage)) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%" PRId64 " channels with stride %" PRId64, src.c, stride);
    }
    for (int i = 0; i < 3; i++) {
        m2s_shape weights = m2s_shape_of(graph, node->in[1 + 2 * i]);
        if (weights.o != width || weights.i != width || weights.kh != 3 || weights.kw != 3) {
            return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                            "weights %d are %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 ", expected %" PRId64
                            "x%" PRId64 "x3x3",
                            i, weights.o, weights.i, weights.kh, weights.kw, width, width);
        }
        M2S_TRY(m2s_expect_vector(graph, node->in[2 + 2 * i], width, "bias", error));
    }
    *out = (m2s_shape){ .n = src.n,
                        .h = m2s_window_count(src.h, 3, stride, 1, false),
                        .w = m2s_window_count(src.w, 3, stride, 1, false),
                        .c = src.c };
fail:
    return status;
}

static uint64_t res2_groups_cost(const m2s_graph *graph, const m2s_node *node)
{
    m2s_shape out = m2s_shape_of(graph, node->out[0]);

    return (uint64_t)(3 * out.n * out.h * out.w * m2s_shape_elements(m2s_shape_of(graph, node->in[1])));
}

M2S_DEFINE_OP(res2_groups, res2_groups_shape, NULL, res2_groups_cost);
