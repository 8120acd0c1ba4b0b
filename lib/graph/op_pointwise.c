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

m2s_value m2s_scale(m2s_graph *graph, m2s_value src, double alpha)
{
    return m2s_graph_node(graph, M2S_OP_scale, &src, 1, &(m2s_attrs){ .alpha = alpha });
}

m2s_value m2s_multiply(m2s_graph *graph, m2s_value a, m2s_value b)
{
    return m2s_graph_node(graph, M2S_OP_multiply, (m2s_value[]){ a, b }, 2, NULL);
}

m2s_value m2s_sigmoid(m2s_graph *graph, m2s_value src)
{
    return m2s_graph_node(graph, M2S_OP_sigmoid, &src, 1, NULL);
}

m2s_value m2s_gelu(m2s_graph *graph, m2s_value src)
{
    return m2s_graph_node(graph, M2S_OP_gelu, &src, 1, NULL);
}

m2s_value m2s_scale_c(m2s_graph *graph, m2s_value src, m2s_value gamma)
{
    return m2s_graph_node(graph, M2S_OP_scale_c, (m2s_value[]){ src, gamma }, 2, NULL);
}

m2s_value m2s_softmax_c(m2s_graph *graph, m2s_value src)
{
    return m2s_graph_node(graph, M2S_OP_softmax_c, &src, 1, NULL);
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

/* diff of node's result, through a ReLU that the result went through. */
static m2s_value through_relu(m2s_graph *graph, const m2s_node *node, m2s_value diff)
{
    return m2s_graph_node(graph, M2S_OP_relu_grad, (m2s_value[]){ diff, node->out[0] }, 2, NULL);
}

static void relu_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                          m2s_value *diff_in)
{
    (void)wanted;
    diff_in[0] = through_relu(graph, node, diff_out[0]);
}

static void add_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                         m2s_value *diff_in)
{
    m2s_value diff = node->attrs.relu != 0 ? through_relu(graph, node, diff_out[0]) : diff_out[0];

    for (int32_t i = 0; i < node->in_count; i++) {
        diff_in[i] = wanted[i] ? diff : M2S_NONE;
    }
}

static void abs_diff_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                              m2s_value *diff_in)
{
    m2s_value in[] = { diff_out[0], node->in[0], node->in[1] };
    m2s_value made = m2s_graph_node(graph, M2S_OP_abs_diff_grad, in, 3, NULL);

    for (int32_t i = 0; i < 2; i++) {
        diff_in[i] = wanted[i] ? m2s_graph_out(graph, made, i) : M2S_NONE;
    }
}

static void scale_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                           m2s_value *diff_in)
{
    (void)wanted;
    diff_in[0] = m2s_scale(graph, diff_out[0], node->attrs.alpha);
}

static void multiply_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                              m2s_value *diff_in)
{
    for (int32_t i = 0; i < 2; i++) {
        diff_in[i] = wanted[i] ? m2s_multiply(graph, diff_out[0], node->in[1 - i]) : M2S_NONE;
    }
}

static void sigmoid_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                             m2s_value *diff_in)
{
    (void)wanted;
    diff_in[0] = m2s_graph_node(graph, M2S_OP_sigmoid_grad, (m2s_value[]){ diff_out[0], node->out[0] }, 2, NULL);
}

static void gelu_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                          m2s_value *diff_in)
{
    (void)wanted;
    diff_in[0] = m2s_graph_node(graph, M2S_OP_gelu_grad, (m2s_value[]){ diff_out[0], node->in[0] }, 2, NULL);
}

static void softmax_c_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                               m2s_value *diff_in)
{
    (void)wanted;
    diff_in[0] = m2s_graph_node(graph, M2S_OP_softmax_c_grad, (m2s_value[]){ diff_out[0], node->out[0] }, 2, NULL);
}

M2S_DEFINE_OP(relu, same_shape, relu_gradient, NULL);
M2S_DEFINE_OP(relu_grad, same_shape, NULL, NULL);
M2S_DEFINE_OP(add, same_shape, add_gradient, NULL);
M2S_DEFINE_OP(abs_diff, same_shape, abs_diff_gradient, NULL);
M2S_DEFINE_OP(scale, same_shape, scale_gradient, NULL);
M2S_DEFINE_OP(multiply, same_shape, multiply_gradient, NULL);
M2S_DEFINE_OP(sigmoid, same_shape, sigmoid_gradient, NULL);
M2S_DEFINE_OP(sigmoid_grad, same_shape, NULL, NULL);
M2S_DEFINE_OP(gelu, same_shape, gelu_gradient, NULL);
M2S_DEFINE_OP(gelu_grad, same_shape, NULL, NULL);
M2S_DEFINE_OP(softmax_c, same_shape, softmax_c_gradient, NULL);
M2S_DEFINE_OP(softmax_c_grad, same_shape, NULL, NULL);

static m2snet_status abs_diff_grad_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                         m2snet_error *error)
{
    m2snet_status status = same_shape(graph, node, out, error);

    out[1] = out[0];
    return status;
}

M2S_DEFINE_OP(abs_diff_grad, abs_diff_grad_shape, NULL, NULL);

static m2snet_status scale_c_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    return m2s_expect_vector(graph, node->in[1], out->c, "gamma", error);
}

static void scale_c_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                             m2s_value *diff_in)
{
    if (!wanted[1]) {
        diff_in[0] = m2s_scale_c(graph, diff_out[0], node->in[1]);
        return;
    }
    m2s_value in[] = { diff_out[0], node->in[0], node->in[1] };
    m2s_value made = m2s_graph_node(graph, M2S_OP_scale_c_grad, in, 3, NULL);
    for (int32_t i = 0; i < 2; i++) {
        diff_in[i] = wanted[i] ? m2s_graph_out(graph, made, i) : M2S_NONE;
    }
}

M2S_DEFINE_OP(scale_c, scale_c_shape, scale_c_gradient, NULL);

static m2snet_status scale_c_grad_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                        m2snet_error *error)
{
    m2snet_status status;

    out[0] = m2s_shape_of(graph, node->in[1]);
    out[1] = (m2s_shape){ .d = { out[0].c, 1, 1, 1 } };
    M2S_TRY(m2s_expect_same_shape(graph, node->in[0], node->in[1], error));
    M2S_TRY(m2s_expect_vector(graph, node->in[2], out[0].c, "gamma", error));
fail:
    return status;
}

M2S_DEFINE_OP(scale_c_grad, scale_c_grad_shape, NULL, NULL);

m2s_value m2s_drop_path(m2s_graph *graph, m2s_value src, m2s_value draw, double probability, int32_t layer)
{
    return m2s_graph_node(graph, M2S_OP_drop_path, (m2s_value[]){ src, draw }, 2,
                          &(m2s_attrs){ .alpha = probability, .begin = layer });
}

static m2snet_status drop_path_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    if (!(node->attrs.alpha >= 0.0 && node->attrs.alpha < 1.0)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "a branch is dropped with probability %g, not in [0, 1)",
                        node->attrs.alpha);
    }
    return m2s_expect_vector(graph, node->in[1], 1, "draw", error);
}

static void drop_path_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                               m2s_value *diff_in)
{
    (void)wanted;
    diff_in[0] = m2s_drop_path(graph, diff_out[0], node->in[1], node->attrs.alpha, node->attrs.begin);
}

M2S_DEFINE_OP(drop_path, drop_path_shape, drop_path_gradient, NULL);

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

static void slice_c_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                             m2s_value *diff_in)
{
    (void)wanted;
    m2s_attrs attrs = { .begin = node->attrs.begin, .count = (int32_t)m2s_shape_of(graph, node->in[0]).c };
    diff_in[0] = m2s_graph_node(graph, M2S_OP_pad_c, diff_out, 1, &attrs);
}

M2S_DEFINE_OP(slice_c, slice_c_shape, slice_c_gradient, NULL);

static m2snet_status pad_c_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    if (node->attrs.begin < 0 || node->attrs.begin + out->c > node->attrs.count) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%" PRId64 " channels at %d of %d", out->c, node->attrs.begin,
                        node->attrs.count);
    }
    out->c = node->attrs.count;
    return M2SNET_STATUS_OK;
}

static void pad_c_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                           m2s_value *diff_in)
{
    (void)wanted;
    diff_in[0] = m2s_slice_c(graph, diff_out[0], node->attrs.begin, m2s_shape_of(graph, node->in[0]).c);
}

M2S_DEFINE_OP(pad_c, pad_c_shape, pad_c_gradient, NULL);

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

static void concat_c_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                              m2s_value *diff_in)
{
    int64_t begin = 0;

    for (int32_t i = 0; i < node->in_count; i++) {
        int64_t count = m2s_shape_of(graph, node->in[i]).c;
        diff_in[i] = wanted[i] ? m2s_slice_c(graph, diff_out[0], begin, count) : M2S_NONE;
        begin += count;
    }
}

M2S_DEFINE_OP(concat_c, concat_c_shape, concat_c_gradient, NULL);
