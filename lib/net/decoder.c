/* SPDX-License-Identifier: Apache-2.0 */
#include "net/decoder.h"

#include "net/layers.h"
#include "net/names.h"

static m2s_value up_and_add(m2s_graph *graph, m2s_value coarse, m2s_value fine)
{
    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    m2s_shape size = m2s_shape_of(graph, fine);
    return m2s_sum(graph, (m2s_value[]){ m2s_resize(graph, coarse, size.h, size.w), fine }, 2);
}

m2s_value m2s_decoder(m2s_graph *graph, const m2s_config *config, m2s_value deepest, const m2s_value ce[4])
{
    m2s_value x = m2s_layer_cbr(graph, deepest, M2S_NAME_DEEP_REDUCER, config->pyramid_channels);

    for (int level = 4; level >= 2; level--) {
        x = up_and_add(graph, x, ce[level - 1]);
        x = m2s_layer_cbr(graph, x, m2s_name_output(graph, level), config->pyramid_channels);
    }
    x = m2s_layer_conv(graph, up_and_add(graph, x, ce[0]), M2S_NAME_HEAD,
                       (m2s_conv_layer){ .channels = config->classes, .kernel = 3, .pad = 1, .bias = true });
    return m2s_graph_name(graph, x, M2S_NAME_HEAD_RESULT);
}
