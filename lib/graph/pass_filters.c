/* SPDX-License-Identifier: Apache-2.0
 * The all-ones filters by their rank-one identity (MODELS.md 2.1): the same number stands in every channel, so one
 * plane is summed, boxed, and spread over the channels by the batch norm's affine. Summing over channels commutes with
 * resizing, so the plane of a resized input is summed at its small size. */
#include "graph/pass.h"

static m2s_value sum_of_channels(m2s_pass *pass, m2s_value x)
{
    if (pass->memo[x] == M2S_NONE) {
        const m2s_node *resize = m2s_pass_producer(pass, x, M2S_OP_resize);
        if (resize != NULL && resize->in[1] == M2S_NONE) {
            m2s_value small = sum_of_channels(pass, resize->in[0]);
            pass->memo[x] = m2s_graph_node(pass->dst, M2S_OP_resize, &small, 1, &resize->attrs);
        } else {
            pass->memo[x] = m2s_graph_node(pass->dst, M2S_OP_channel_sum, &pass->map[x], 1, NULL);
        }
    }
    return pass->memo[x];
}

static m2s_value rule(m2s_pass *pass, int32_t index)
{
    const m2s_node *relu = &pass->src->nodes[index];
    const m2s_node *norm, *filter;

    if (relu->op != M2S_OP_relu || (norm = m2s_pass_producer(pass, relu->in[0], M2S_OP_batch_norm)) == NULL ||
        (filter = m2s_pass_producer(pass, norm->in[0], M2S_OP_full_filter)) == NULL) {
        return M2S_NONE;
    }
    m2s_attrs epsilon = { .epsilon = norm->attrs.epsilon };
    m2s_value gamma = pass->map[norm->in[1]], beta = pass->map[norm->in[2]];
    m2s_value mean = pass->map[norm->in[3]], var = pass->map[norm->in[4]];
    m2s_value plane = sum_of_channels(pass, filter->in[0]);
    plane = m2s_graph_node(pass->dst, M2S_OP_box_filter, &plane, 1, &filter->attrs);
    m2s_value slope = m2s_graph_node(pass->dst, M2S_OP_fold_scale, (m2s_value[]){ gamma, var }, 2, &epsilon);
    m2s_value offset =
        m2s_graph_node(pass->dst, M2S_OP_fold_bias, (m2s_value[]){ M2S_NONE, gamma, beta, mean, var }, 5, &epsilon);
    return m2s_graph_node(pass->dst, M2S_OP_plane_affine_relu, (m2s_value[]){ plane, slope, offset }, 3, NULL);
}

m2snet_status m2s_pass_filters(const m2s_graph *src, m2s_graph **dst, m2snet_error *error)
{
    return m2s_pass_run(src, rule, NULL, dst, error);
}
