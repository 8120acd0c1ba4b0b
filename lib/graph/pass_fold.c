/* SPDX-License-Identifier: Apache-2.0
 * Batch norm of running statistics, folded into the weights and bias of the convolution in front of it. */
#include "graph/pass.h"

static m2s_value rule(m2s_pass *pass, int32_t index)
{
    const m2s_node *norm = &pass->src->nodes[index];
    const m2s_node *conv = norm->op == M2S_OP_batch_norm ? m2s_pass_producer(pass, norm->in[0], M2S_OP_conv2d) : NULL;

    if (conv == NULL || conv->attrs.relu || conv->in[3] != M2S_NONE || !m2s_pass_is_private(pass, norm->in[0])) {
        return M2S_NONE;
    }
    for (int32_t i = 1; i < 5; i++) { /* batch statistics of a training graph are no constants */
        if (!pass->src->values[norm->in[i]].constant) {
            return M2S_NONE;
        }
    }
    m2s_attrs epsilon = { .epsilon = norm->attrs.epsilon };
    m2s_value gamma = pass->map[norm->in[1]], beta = pass->map[norm->in[2]];
    m2s_value mean = pass->map[norm->in[3]], var = pass->map[norm->in[4]];
    m2s_value bias = conv->in[2] == M2S_NONE ? M2S_NONE : pass->map[conv->in[2]];
    m2s_value weights = m2s_graph_node(pass->dst, M2S_OP_fold_weights,
                                       (m2s_value[]){ pass->map[conv->in[1]], gamma, var }, 3, &epsilon);
    bias = m2s_graph_node(pass->dst, M2S_OP_fold_bias, (m2s_value[]){ bias, gamma, beta, mean, var }, 5, &epsilon);
    return m2s_graph_node(pass->dst, M2S_OP_conv2d, (m2s_value[]){ pass->map[conv->in[0]], weights, bias, M2S_NONE }, 4,
                          &conv->attrs);
}

m2snet_status m2s_pass_fold(const m2s_graph *src, m2s_graph **dst, m2snet_error *error)
{
    return m2s_pass_run(src, rule, NULL, dst, error);
}
