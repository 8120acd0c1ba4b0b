/* SPDX-License-Identifier: Apache-2.0
 * Pools and resizing: what changes h and w without weights. Also the helpers of all shape rules. */
#include <inttypes.h>

#include "graph/ops.h"

int64_t m2s_window_count(int64_t size, int64_t kernel, int64_t stride, int64_t pad, bool ceil_mode)
{
    int64_t room = size + 2 * pad - kernel;

    if (room < 0) {
        return ceil_mode && room + stride > 0 ? 1 : 0;
    }
    int64_t count = (ceil_mode ? room + stride - 1 : room) / stride + 1;
    if (ceil_mode && (count - 1) * stride >= size + pad) {
        count--; /* PyTorch: a window must start inside the input or its left padding */
    }
    return count;
}

m2snet_status m2s_expect_same_shape(const m2s_graph *graph, m2s_value a, m2s_value b, m2snet_error *error)
{
    m2s_shape p = m2s_shape_of(graph, a), q = m2s_shape_of(graph, b);

    for (int i = 0; i < 4; i++) {
        if (p.d[i] != q.d[i]) {
            return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                            "inputs of %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 " and %" PRId64 "x%" PRId64
                            "x%" PRId64 "x%" PRId64 " (n, h, w, c) must be of one shape",
                            p.d[0], p.d[1], p.d[2], p.d[3], q.d[0], q.d[1], q.d[2], q.d[3]);
        }
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_expect_vector(const m2s_graph *graph, m2s_value value, int64_t length, const char *what,
                                m2snet_error *error)
{
    m2s_shape shape = m2s_shape_of(graph, value);

    if (shape.o != length || shape.i != 1 || shape.kh != 1 || shape.kw != 1) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "%s has %" PRId64 " elements, expected %" PRId64, what,
                        m2s_shape_elements(shape), length);
    }
    return M2SNET_STATUS_OK;
}

m2s_value m2s_max_pool(m2s_graph *graph, m2s_value src, int32_t kernel, int32_t stride, int32_t pad)
{
    return m2s_graph_node(graph, M2S_OP_max_pool, &src, 1,
                          &(m2s_attrs){ .kernel = kernel, .stride = stride, .pad = pad });
}

m2s_value m2s_avg_pool(m2s_graph *graph, m2s_value src, int32_t kernel, int32_t stride, int32_t pad,
                       bool count_include_pad, bool ceil_mode)
{
    return m2s_graph_node(graph, M2S_OP_avg_pool, &src, 1,
                          &(m2s_attrs){ .kernel = kernel,
                                        .stride = stride,
                                        .pad = pad,
                                        .count_include_pad = count_include_pad,
                                        .ceil_mode = ceil_mode });
}

m2s_value m2s_resize(m2s_graph *graph, m2s_value src, int64_t h, int64_t w)
{
    if (graph->status == M2SNET_STATUS_OK && m2s_shape_of(graph, src).h == h && m2s_shape_of(graph, src).w == w) {
        return src;
    }
    return m2s_graph_node(graph, M2S_OP_resize, &src, 1, &(m2s_attrs){ .h = h, .w = w });
}

static m2snet_status pool_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    const m2s_attrs *a = &node->attrs;
    m2s_shape src = m2s_shape_of(graph, node->in[0]);

    if (a->kernel < 1 || a->stride < 1 || a->pad < 0 || 2 * a->pad > a->kernel) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "window %d, stride %d, pad %d make no pool", a->kernel,
                        a->stride, a->pad);
    }
    *out = src;
    out->h = m2s_window_count(src.h, a->kernel, a->stride, a->pad, a->ceil_mode != 0);
    out->w = m2s_window_count(src.w, a->kernel, a->stride, a->pad, a->ceil_mode != 0);
    if (out->h < 1 || out->w < 1) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "input of %" PRId64 " x %" PRId64 " is smaller than the window",
                        src.h, src.w);
    }
    return M2SNET_STATUS_OK;
}

static void max_pool_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                              m2s_value *diff_in)
{
    (void)wanted;
    diff_in[0] =
        m2s_graph_node(graph, M2S_OP_max_pool_grad, (m2s_value[]){ diff_out[0], node->in[0] }, 2, &node->attrs);
}

/* By op, which is told the size of the source. */
static m2s_value sized_gradient(m2s_graph *graph, const m2s_node *node, m2s_op op, m2s_value diff)
{
    m2s_attrs attrs = node->attrs;

    attrs.h = m2s_shape_of(graph, node->in[0]).h;
    attrs.w = m2s_shape_of(graph, node->in[0]).w;
    return m2s_graph_node(graph, op, &diff, 1, &attrs);
}

static void avg_pool_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                              m2s_value *diff_in)
{
    (void)wanted;
    diff_in[0] = sized_gradient(graph, node, M2S_OP_avg_pool_grad, diff_out[0]);
}

M2S_DEFINE_OP(max_pool, pool_shape, max_pool_gradient, NULL);
M2S_DEFINE_OP(avg_pool, pool_shape, avg_pool_gradient, NULL);

/* diff is what a pool makes of a source of h x w. */
static m2snet_status expect_pool_of(const m2s_attrs *a, m2s_shape diff, int64_t h, int64_t w, m2snet_error *error)
{
    if (a->kernel < 1 || a->stride < 1 ||
        m2s_window_count(h, a->kernel, a->stride, a->pad, a->ceil_mode != 0) != diff.h ||
        m2s_window_count(w, a->kernel, a->stride, a->pad, a->ceil_mode != 0) != diff.w) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL,
                        "a gradient of %" PRId64 " x %" PRId64 " is none of a pool of %" PRId64 " x %" PRId64, diff.h,
                        diff.w, h, w);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status max_pool_grad_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                         m2snet_error *error)
{
    m2s_shape diff = m2s_shape_of(graph, node->in[0]);

    *out = m2s_shape_of(graph, node->in[1]);
    if (diff.n != out->n || diff.c != out->c) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "the gradient differs from the source in n or c");
    }
    return expect_pool_of(&node->attrs, diff, out->h, out->w, error);
}

static m2snet_status avg_pool_grad_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                         m2snet_error *error)
{
    m2s_shape diff = m2s_shape_of(graph, node->in[0]);

    *out = diff;
    out->h = node->attrs.h;
    out->w = node->attrs.w;
    return expect_pool_of(&node->attrs, diff, out->h, out->w, error);
}

M2S_DEFINE_OP(max_pool_grad, max_pool_grad_shape, NULL, NULL);
M2S_DEFINE_OP(avg_pool_grad, avg_pool_grad_shape, NULL, NULL);

static m2snet_status resize_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    out->h = node->attrs.h;
    out->w = node->attrs.w;
    if (out->h < 1 || out->w < 1) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "result of %" PRId64 " x %" PRId64, out->h, out->w);
    }
    if (node->in[1] != M2S_NONE) {
        m2s_shape addend = m2s_shape_of(graph, node->in[1]);
        if (addend.n != out->n || addend.h != out->h || addend.w != out->w || addend.c != out->c) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL, "the addend differs from the result");
        }
    }
    return M2SNET_STATUS_OK;
}

static void resize_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                            m2s_value *diff_in)
{
    if (wanted[0]) {
        diff_in[0] = sized_gradient(graph, node, M2S_OP_resize_grad, diff_out[0]);
    }
    if (wanted[1]) {
        diff_in[1] = diff_out[0];
    }
}

M2S_DEFINE_OP(resize, resize_shape, resize_gradient, NULL);

static m2snet_status resize_grad_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                       m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    out->h = node->attrs.h;
    out->w = node->attrs.w;
    if (out->h < 1 || out->w < 1) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "source of %" PRId64 " x %" PRId64, out->h, out->w);
    }
    return M2SNET_STATUS_OK;
}

M2S_DEFINE_OP(resize_grad, resize_grad_shape, NULL, NULL);
