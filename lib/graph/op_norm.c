/* SPDX-License-Identifier: Apache-2.0
 * Batch normalisation in its inference form, and the constants that folding it makes. */
#include "graph/ops.h"

m2s_value m2s_batch_norm(m2s_graph *graph, m2s_value src, m2s_value gamma, m2s_value beta, m2s_value mean,
                         m2s_value var, double epsilon)
{
    m2s_value in[] = { src, gamma, beta, mean, var };

    return m2s_graph_node(graph, M2S_OP_batch_norm, in, 5, &(m2s_attrs){ .epsilon = epsilon });
}

static m2snet_status batch_norm_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    *out = m2s_shape_of(graph, node->in[0]);
    for (int i = 1; i < 5; i++) {
        static const char *const what[] = { "", "weight", "bias", "running_mean", "running_var" };
        M2S_TRY(m2s_expect_vector(graph, node->in[i], out->c, what[i], error));
    }
fail:
    return status;
}

M2S_DEFINE_OP(batch_norm, batch_norm_shape, NULL, NULL);

static m2snet_status fold_weights_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                        m2snet_error *error)
{
    m2snet_status status;

    *out = m2s_shape_of(graph, node->in[0]);
    M2S_TRY(m2s_expect_vector(graph, node->in[1], out->o, "weight", error));
    M2S_TRY(m2s_expect_vector(graph, node->in[2], out->o, "running_var", error));
fail:
    return status;
}

M2S_DEFINE_OP(fold_weights, fold_weights_shape, NULL, NULL);

static m2snet_status fold_bias_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    *out = m2s_shape_of(graph, node->in[1]);
    for (int i = 0; i < 5; i++) {
        static const char *const what[] = { "bias", "weight", "norm bias", "running_mean", "running_var" };
        if (node->in[i] != M2S_NONE) {
            M2S_TRY(m2s_expect_vector(graph, node->in[i], out->o, what[i], error));
        }
    }
fail:
    return status;
}

M2S_DEFINE_OP(fold_bias, fold_bias_shape, NULL, NULL);

static m2snet_status fold_scale_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    *out = m2s_shape_of(graph, node->in[0]);
    return m2s_expect_vector(graph, node->in[1], out->o, "running_var", error);
}

M2S_DEFINE_OP(fold_scale, fold_scale_shape, NULL, NULL);

static m2snet_status concat_o_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    m2s_shape a = m2s_shape_of(graph, node->in[0]);
    m2s_shape b = m2s_shape_of(graph, node->in[1]);

    if (a.i != b.i || a.kh != b.kh || a.kw != b.kw) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "the parts differ in more than their outputs");
    }
    *out = a;
    out->o += b.o;
    return M2SNET_STATUS_OK;
}

M2S_DEFINE_OP(concat_o, concat_o_shape, NULL, NULL);
