/* SPDX-License-Identifier: Apache-2.0
 * Batch normalisation by running or by the batch's own statistics, and the constants that folding it makes; layer
 * normalisation. */
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

/* Inputs 0 to 4 are src, gamma, beta, mean, var, of the node or of its statistics. */
static void norm_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value statistics[2], int32_t frozen,
                          m2s_value diff, m2s_value *diff_in)
{
    m2s_attrs attrs = node->attrs;
    m2s_value in[] = { diff, node->in[0], node->in[1], node->in[2], statistics[0], statistics[1] };

    attrs.frozen = frozen;
    m2s_value made = m2s_graph_node(graph, M2S_OP_batch_norm_grad, in, 6, &attrs);
    for (int32_t i = 0; i < 3; i++) {
        diff_in[i] = m2s_graph_out(graph, made, i);
    }
}

static void batch_norm_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                                m2s_value *diff_in)
{
    (void)wanted;
    norm_gradient(graph, node, (const m2s_value[2]){ node->in[3], node->in[4] }, 1, diff_out[0], diff_in);
}

M2S_DEFINE_OP(batch_norm, batch_norm_shape, batch_norm_gradient, NULL);

static m2snet_status batch_norm_train_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                            m2snet_error *error)
{
    m2snet_status status = batch_norm_shape(graph, node, out, error);

    out[1] = out[2] = (m2s_shape){ .d = { out[0].c, 1, 1, 1 } };
    return status;
}

static void batch_norm_train_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out,
                                      const bool *wanted, m2s_value *diff_in)
{
    (void)wanted;
    norm_gradient(graph, node, (const m2s_value[2]){ node->out[1], node->out[2] }, 0, diff_out[0], diff_in);
}

M2S_DEFINE_OP(batch_norm_train, batch_norm_train_shape, batch_norm_train_gradient, NULL);

static m2snet_status batch_norm_grad_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                           m2snet_error *error)
{
    m2snet_status status;

    out[0] = m2s_shape_of(graph, node->in[1]);
    out[1] = out[2] = (m2s_shape){ .d = { out[0].c, 1, 1, 1 } };
    M2S_TRY(m2s_expect_same_shape(graph, node->in[0], node->in[1], error));
    for (int i = 2; i < 6; i++) {
        M2S_TRY(m2s_expect_vector(graph, node->in[i], out[0].c, "a statistic", error));
    }
fail:
    return status;
}

M2S_DEFINE_OP(batch_norm_grad, batch_norm_grad_shape, NULL, NULL);

m2s_value m2s_layer_norm(m2s_graph *graph, m2s_value src, m2s_value gamma, m2s_value beta, double epsilon)
{
    m2s_value in[] = { src, gamma, beta };

    return m2s_graph_node(graph, M2S_OP_layer_norm, in, 3, &(m2s_attrs){ .epsilon = epsilon });
}

static m2snet_status layer_norm_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    m2snet_status status;

    *out = m2s_shape_of(graph, node->in[0]);
    M2S_TRY(m2s_expect_vector(graph, node->in[1], out->c, "weight", error));
    M2S_TRY(m2s_expect_vector(graph, node->in[2], out->c, "bias", error));
fail:
    return status;
}

static void layer_norm_gradient(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                                m2s_value *diff_in)
{
    m2s_value in[] = { diff_out[0], node->in[0], node->in[1] };
    m2s_value made = m2s_graph_node(graph, M2S_OP_layer_norm_grad, in, 3, &node->attrs);

    (void)wanted;
    for (int32_t i = 0; i < 3; i++) {
        diff_in[i] = m2s_graph_out(graph, made, i);
    }
}

M2S_DEFINE_OP(layer_norm, layer_norm_shape, layer_norm_gradient, NULL);

static m2snet_status layer_norm_grad_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                           m2snet_error *error)
{
    m2snet_status status;

    out[0] = m2s_shape_of(graph, node->in[1]);
    out[1] = out[2] = (m2s_shape){ .d = { out[0].c, 1, 1, 1 } };
    M2S_TRY(m2s_expect_same_shape(graph, node->in[0], node->in[1], error));
    M2S_TRY(m2s_expect_vector(graph, node->in[2], out[0].c, "weight", error));
fail:
    return status;
}

M2S_DEFINE_OP(layer_norm_grad, layer_norm_grad_shape, NULL, NULL);

static m2snet_status sum_pixels_shape(const m2s_graph *graph, const m2s_node *node, m2s_shape *out, m2snet_error *error)
{
    (void)error;
    *out = (m2s_shape){ .d = { m2s_shape_of(graph, node->in[0]).c, 1, 1, 1 } };
    return M2SNET_STATUS_OK;
}

M2S_DEFINE_OP(sum_pixels, sum_pixels_shape, NULL, NULL);

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
