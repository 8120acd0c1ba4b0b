/* SPDX-License-Identifier: Apache-2.0 */
#include "net/supervision.h"

#include "net/layers.h"
#include "net/names.h"

#define FINEST_LEVEL 2

int32_t m2s_net_supervise(m2s_graph *graph, const m2s_config *config, m2s_value maps[M2S_SUPERVISED_MAPS])
{
    const int32_t count = config->variant.levels - FINEST_LEVEL;

    for (int i = 0; i < count; i++) {
        const char *output = m2s_name_output(graph, FINEST_LEVEL + i),
                   *head = m2s_name_supervised(graph, FINEST_LEVEL + i);
        maps[i] = M2S_NONE;
        if (graph->status != M2SNET_STATUS_OK) {
            continue;
        }
        m2s_shape size = m2s_shape_of(graph, m2s_graph_find(graph, M2S_NAME_LOGITS));
        m2s_value map =
            m2s_layer_conv(graph, m2s_graph_find(graph, output), head,
                           (m2s_conv_layer){ .channels = config->classes, .kernel = 3, .pad = 1, .bias = true });
        maps[i] = m2s_resize(graph, map, size.h, size.w);
    }
    return count;
}
