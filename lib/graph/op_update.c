/* SPDX-License-Identifier: Apache-2.0
 * What ends a training step: norms of gradients, and the updates that write over state. */
#include <inttypes.h>

#include "graph/ops.h"

static m2snet_status expect_scalar(const m2s_graph *graph, m2s_value value, const char *what, m2snet_error *error)
{
    if (m2s_shape_elements(m2s_shape_of(graph, value)) != 1) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%s is no scalar", what);
    }
    return M2SNET_STATUS_OK;
}

static const m2s_shape scalar_shape = { .d = { 1, 1, 1, 1 } };

static m2snet_status sum_squares_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                       m2snet_error *error)
{
    (void)graph;
    (void)node;
    (void)error;
    *out = scalar_shape;
    return M2SNET_STATUS_OK;
}

M2S_DEFINE_OP(sum_squares, sum_squares_shape, NULL, NULL);

/* All inputs and the result are scalars. */
static m2snet_status scalars_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    *out = scalar_shape;
    for (int32_t i = 0; i < node->in_count && status == M2SNET_STATUS_OK; i++) {
        status = expect_scalar(graph, node->in[i], "an input", error);
    }
    return status;
}

M2S_DEFINE_OP(all_finite, scalars_shape, NULL, NULL);
M2S_DEFINE_OP(clip_factor, scalars_shape, NULL, NULL);

static m2snet_status running_average_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                           m2snet_error *error)
{
    int64_t elements = m2s_shape_elements(m2s_shape_of(graph, node->in[1]));
    m2snet_status status;

    *out = m2s_shape_of(graph, node->in[0]);
    if (node->attrs.count == 1 ? node->attrs.begin < 0 || node->attrs.begin >= elements
                               : elements != m2s_shape_elements(*out)) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%" PRId64 " new numbers for %" PRId64 " old ones", elements,
                        m2s_shape_elements(*out));
    }
    M2S_TRY(expect_scalar(graph, node->in[2], "commit", error));
fail:
    return status;
}

M2S_DEFINE_OP(running_average, running_average_shape, NULL, NULL);

/* The first `arrays` inputs have one shape, the rest are scalars; arrays - 1 results, the gradient having none. */
static m2snet_status update_shape(const m2s_graph *graph, const m2s_node *node, int32_t arrays, m2s_shape *out,
                                  m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 1; i < arrays; i++) {
        M2S_TRY(m2s_expect_same_shape(graph, node->in[0], node->in[i], error));
        out[i - 1] = m2s_shape_of(graph, node->in[0]);
    }
    for (int32_t i = arrays; i < node->in_count; i++) {
        if (node->in[i] != M2S_NONE) {
            M2S_TRY(expect_scalar(graph, node->in[i], "an input", error));
        }
    }
fail:
    return status;
}

static m2snet_status accumulate_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    return update_shape(graph, node, 2, out, error);
}

M2S_DEFINE_OP(accumulate, accumulate_shape, NULL, NULL);

static m2snet_status sgd_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    return update_shape(graph, node, 3, out, error);
}

M2S_DEFINE_OP(sgd, sgd_shape, NULL, NULL);

static m2snet_status adamw_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    return update_shape(graph, node, 4, out, error);
}

M2S_DEFINE_OP(adamw, adamw_shape, NULL, NULL);
