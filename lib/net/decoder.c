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

m2s_value m2s_decoder(m2s_graph *graph, const m2s_config *config, m2s_value deepest, m2s_value reduced,
                      const m2s_value *ce)
{
    const m2s_variant *variant = &config->variant;
    m2s_value x = variant->ce5 == M2S_DEEP_OWN ? deepest : reduced;

    if (variant->ce5 != M2S_DEEP_REDUCER) {
        x = m2s_layer_cbr(graph, x, m2s_name_deep_reducer(graph, variant->levels), config->pyramid_channels);
    }
    for (int level = variant->levels - 1; level >= 2; level--) {
        x = up_and_add(graph, x, ce[level - 1]);
        x = m2s_layer_cbr(graph, x, m2s_name_output(graph, level), config->pyramid_channels);
    }
    x = m2s_layer_conv(graph, up_and_add(graph, x, ce[0]), M2S_NAME_HEAD,
                       (m2s_conv_layer){ .channels = config->classes, .kernel = 3, .pad = 1, .bias = true });
    return m2s_graph_name(graph, x, M2S_NAME_HEAD_RESULT);
}
