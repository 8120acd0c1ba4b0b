/* SPDX-License-Identifier: Apache-2.0
 * Attention within windows, and the joining of 2 x 2 pixels between its stages (Swin Transformers). */
#include <inttypes.h>

#include "graph/ops.h"

m2s_value m2s_window_attention(m2s_graph *graph, m2s_value qkv, m2s_value table, m2s_value pad, m2s_windows windows)
{
    m2s_attrs attrs = {
        .kernel = windows.side, .begin = windows.shift, .groups = windows.heads, .alpha = windows.scale
    };
    m2s_value in[] = { qkv, table, pad };

    return m2s_graph_node(graph, M2S_OP_window_attention, in, 3, &attrs);
}

m2s_value m2s_merge_patches(m2s_graph *graph, m2s_value src)
{
    return m2s_graph_node(graph, M2S_OP_merge_patches, &src, 1, NULL);
}

/* Inputs from `first` on are qkv, table, [pad]. */
static m2snet_status check_attention(const m2s_graph *graph, const m2s_node *node, int32_t first, m2snet_error *error)
{
    const m2s_attrs *a = &node->attrs;
    m2s_shape qkv = m2s_shape_of(graph, node->in[first]), table = m2s_shape_of(graph, node->in[first + 1]);
    bool padded = node->in_count > first + 2 && node->in[first + 2] != M2S_NONE;
    int64_t offsets = 2 * (int64_t)a->kernel - 1;

    if (a->kernel < 1 || a->kernel > M2S_MAX_ATTENTION_WINDOW || a->begin < 0 || a->begin >= a->kernel ||
        a->groups < 1) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%d heads in windows of %d moved by %d", a->groups, a->kernel,
                        a->begin);
    }
    if (qkv.c % (3 * (int64_t)a->groups) != 0) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                        "%" PRId64 " channels are no queries, keys and values of %d heads", qkv.c, a->groups);
    }
    if (table.o != offsets * offsets || table.i != a->groups || table.kh != 1 || table.kw != 1) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                        "a position table of %" PRId64 "x%" PRId64 ", expected %" PRId64 "x%d", table.o, table.i,
                        offsets * offsets, a->groups);
    }
    return padded ? m2s_expect_vector(graph, node->in[first + 2], qkv.c, "the padding", error) : M2SNET_STATUS_OK;
}

static m2snet_status window_attention_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                            m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    out->c /= 3;
    return check_attention(graph, node, 0, error);
}

static void window_attention_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out,
                                      const bool *wanted, m2s_value *diff_in)
{
    m2s_attrs attrs = node->attrs;
    m2s_value in[] = { diff_out[0], node->in[0], node->in[1], node->in_count > 2 ? node->in[2] : M2S_NONE };

    attrs.frozen = !wanted[1] && !wanted[2];
    m2s_value made = m2s_graph_node(graph, M2S_OP_window_attention_grad, in, 4, &attrs);
    for (int32_t i = 0; i < 3; i++) {
        diff_in[i] = wanted[i] ? m2s_graph_out(graph, made, i) : M2S_NONE;
    }
}

/* Two products of a window's pixels by each other, over all channels; the map is padded to whole windows. */
static uint64_t attention_cost(m2s_shape qkv, int64_t side, uint64_t products)
{
    int64_t rows = (qkv.h + side - 1) / side, columns = (qkv.w + side - 1) / side, pixels = side * side;

    return products * (uint64_t)(qkv.n * rows * columns * pixels * pixels * (qkv.c / 3));
}

static uint64_t window_attention_cost(const m2s_graph *graph, const m2s_node *node)
{
    return attention_cost(m2s_shape_of(graph, node->in[0]), node->attrs.kernel, 2);
}

M2S_DEFINE_OP(window_attention, window_attention_shape, window_attention_gradient, window_attention_cost);

static m2snet_status window_attention_grad_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                                 m2snet_error *error)
{
    m2s_shape diff = m2s_shape_of(graph, node->in[0]), qkv = m2s_shape_of(graph, node->in[1]);

    if (diff.n != qkv.n || diff.h != qkv.h || diff.w != qkv.w || 3 * diff.c != qkv.c) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL,
                        "a gradient of %" PRId64 " x %" PRId64 " is none of %" PRId64 " x %" PRId64, diff.h, diff.w,
                        qkv.h, qkv.w);
    }
    out[0] = qkv;
    if (node->attrs.frozen == 0) {
        out[1] = m2s_shape_of(graph, node->in[2]);
        out[2] = node->in_count > 3 && node->in[3] != M2S_NONE ? m2s_shape_of(graph, node->in[3]) : (m2s_shape){ 0 };
    }
    return check_attention(graph, node, 1, error);
}

/* The scores once more, then the gradients of both products' factors. */
static uint64_t window_attention_grad_cost(const m2s_graph *graph, const m2s_node *node)
{
    return attention_cost(m2s_shape_of(graph, node->in[1]), node->attrs.kernel, 5);
}

M2S_DEFINE_OP(window_attention_grad, window_attention_grad_shape, NULL, window_attention_grad_cost);

static m2snet_status merge_patches_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                         m2snet_error *error)
{
    m2s_shape src = m2s_shape_of(graph, node->in[0]);

    (void)error;
    *out = (m2s_shape){ .n = src.n, .h = (src.h + 1) / 2, .w = (src.w + 1) / 2, .c = 4 * src.c };
    return M2SNET_STATUS_OK;
}

static void merge_patches_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out,
                                   const bool *wanted, m2s_value *diff_in)
{
    m2s_shape src = m2s_shape_of(graph, node->in[0]);

    (void)wanted;
    diff_in[0] = m2s_graph_node(graph, M2S_OP_merge_patches_grad, diff_out, 1, &(m2s_attrs){ .h = src.h, .w = src.w });
}

M2S_DEFINE_OP(merge_patches, merge_patches_shape, merge_patches_gradient, NULL);

static m2snet_status merge_patches_grad_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                              m2snet_error *error)
{
    m2s_shape diff = m2s_shape_of(graph, node->in[0]);

    *out = (m2s_shape){ .n = diff.n, .h = node->attrs.h, .w = node->attrs.w, .c = diff.c / 4 };
    if (diff.c % 4 != 0 || (out->h + 1) / 2 != diff.h || (out->w + 1) / 2 != diff.w) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL,
                        "a gradient of %" PRId64 " x %" PRId64 " x %" PRId64 " is none of %" PRId64 " x %" PRId64,
                        diff.h, diff.w, diff.c, out->h, out->w);
    }
    return M2SNET_STATUS_OK;
}

M2S_DEFINE_OP(merge_patches_grad, merge_patches_grad_shape, NULL, NULL);
