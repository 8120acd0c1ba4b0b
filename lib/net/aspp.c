/* SPDX-License-Identifier: Apache-2.0 */
#include "net/aspp.h"

#include "net/layers.h"

static m2s_value conv_bn_relu(m2s_graph *graph, m2s_value x, const char *prefix, m2s_conv_layer layer)
{
    x = m2s_layer_conv(graph, x, m2s_key(graph, "%s.0", prefix), layer);
    return m2s_relu(graph, m2s_layer_batch_norm(graph, x, m2s_key(graph, "%s.1", prefix)));
}

void m2s_aspp(m2s_graph *graph, m2s_value x, const char *prefix, m2s_unit unit, m2s_value branch[M2S_ASPP_BRANCHES])
{
    static const m2s_conv_layer layers[M2S_ASPP_BRANCHES] = {
        { .kernel = 1 },
        { .kernel = 3, .pad = 1 },
        { .kernel = 3, .pad = 2, .dilation = 2 },
    };
    m2s_value seen[1 + M2S_ASPP_BRANCHES] = { x };

    for (int i = 0; i < M2S_ASPP_BRANCHES; i++) {
        m2s_conv_layer layer = layers[i];
        m2s_value from = x;
        if (graph->status != M2SNET_STATUS_OK) {
            branch[i] = M2S_NONE;
            continue;
        }
        layer.channels = (int32_t)m2s_shape_of(graph, x).c;
        if (unit != M2S_UNIT_ASPP && i > 0) {
            from = m2s_concat_c(graph, seen, i + 1);
        }
        if (unit == M2S_UNIT_DENSE && i > 0) {
            from = conv_bn_relu(graph, from, m2s_key(graph, "%s.r.%d", prefix, i - 1),
                                (m2s_conv_layer){ .channels = layer.channels, .kernel = 1 });
        }
        seen[i + 1] = branch[i] = conv_bn_relu(graph, from, m2s_key(graph, "%s.b.%d", prefix, i), layer);
    }
}
