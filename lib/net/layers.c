/* SPDX-License-Identifier: Apache-2.0 */
#include "net/layers.h"

#include <stdarg.h>
#include <stdio.h>

const char *m2s_key(m2s_graph *graph, const char *format, ...)
{
    char text[160];
    va_list arguments;

    if (graph->status != M2SNET_STATUS_OK) {
        return NULL;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const char *key = m2s_pile_strdup(graph->pile, text);
    if (key == NULL) {
        graph->status = m2s_fail_memory(&graph->error, "a graph", sizeof text);
    }
    return key;
}

static m2s_value vector(m2s_graph *graph, const char *prefix, const char *name, int64_t length)
{
    return m2s_graph_param(graph, m2s_key(graph, "%s.%s", prefix, name), (m2s_shape){ .d = { length, 1, 1, 1 } });
}

m2s_value m2s_layer_conv(m2s_graph *graph, m2s_value src, const char *prefix, m2s_conv_layer layer)
{
    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    m2s_shape shape = { .o = layer.channels, .i = m2s_shape_of(graph, src).c, .kh = layer.kernel, .kw = layer.kernel };
    m2s_value weights = m2s_graph_param(graph, m2s_key(graph, "%s.weight", prefix), shape);
    m2s_value bias = layer.bias ? vector(graph, prefix, "bias", layer.channels) : M2S_NONE;

    return m2s_conv2d(graph, src, weights, bias, (m2s_conv){ .stride = layer.stride, .pad = layer.pad });
}

m2s_value m2s_layer_batch_norm(m2s_graph *graph, m2s_value src, const char *prefix)
{
    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    int64_t channels = m2s_shape_of(graph, src).c;
    m2s_value gamma = vector(graph, prefix, "weight", channels);
    m2s_value beta = vector(graph, prefix, "bias", channels);
    m2s_value mean = vector(graph, prefix, "running_mean", channels);
    m2s_value var = vector(graph, prefix, "running_var", channels);

    return m2s_batch_norm(graph, src, gamma, beta, mean, var, M2S_BATCH_NORM_EPSILON);
}

m2s_value m2s_layer_cbr(m2s_graph *graph, m2s_value src, const char *prefix, int32_t channels)
{
    m2s_conv_layer conv = { .channels = channels, .kernel = 3, .pad = 1, .bias = true };
    m2s_value y = m2s_layer_conv(graph, src, m2s_key(graph, "%s.0", prefix), conv);

    y = m2s_layer_batch_norm(graph, y, m2s_key(graph, "%s.1", prefix));
    return m2s_graph_name(graph, m2s_relu(graph, y), prefix);
}
