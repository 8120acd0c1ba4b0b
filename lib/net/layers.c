/* SPDX-License-Identifier: Apache-2.0 */
#include "net/layers.h"

#include <stdarg.h>
#include <stdio.h>

#include "net/names.h"

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

m2s_value m2s_graph_draw(m2s_graph *graph)
{
    m2s_value known = m2s_graph_find(graph, M2S_NAME_DRAW);

    return known != M2S_NONE ? known : m2s_graph_scalar(graph, M2S_NAME_DRAW);
}

m2s_value m2s_layer_conv(m2s_graph *graph, m2s_value src, const char *prefix, m2s_conv_layer layer)
{
    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    int32_t groups = layer.groups == 0 ? 1 : layer.groups == M2S_DEPTHWISE ? layer.channels : layer.groups;
    int64_t inputs = m2s_shape_of(graph, src).c / groups;
    m2s_shape shape = { .o = layer.channels, .i = inputs, .kh = layer.kernel, .kw = layer.kernel };
    m2s_value weights = m2s_graph_param(graph, m2s_key(graph, "%s.weight", prefix), shape);
    m2s_value bias = layer.bias ? vector(graph, prefix, "bias", layer.channels) : M2S_NONE;

    return m2s_conv2d(
        graph, src, weights, bias,
        (m2s_conv){ .stride = layer.stride, .pad = layer.pad, .dilation = layer.dilation, .groups = groups });
}

m2s_value m2s_layer_linear(m2s_graph *graph, m2s_value src, const char *prefix, int32_t channels, bool bias)
{
    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    m2s_shape shape = { .o = channels, .i = m2s_shape_of(graph, src).c, .kh = 1, .kw = 1 };
    m2s_value weights = m2s_graph_param_of_rank(graph, m2s_key(graph, "%s.weight", prefix), shape, 2);

    return m2s_conv2d(graph, src, weights, bias ? vector(graph, prefix, "bias", channels) : M2S_NONE, (m2s_conv){ 0 });
}

m2s_value m2s_layer_norm_of(m2s_graph *graph, m2s_value src, const char *prefix, double epsilon)
{
    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    int64_t channels = m2s_shape_of(graph, src).c;
    m2s_value gamma = vector(graph, prefix, "weight", channels);

    return m2s_layer_norm(graph, src, gamma, vector(graph, prefix, "bias", channels), epsilon);
}

m2s_value m2s_layer_scale(m2s_graph *graph, m2s_value src, const char *name)
{
    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    m2s_shape shape = { .d = { m2s_shape_of(graph, src).c, 1, 1, 1 } };

    return m2s_scale_c(graph, src, m2s_graph_param(graph, name, shape));
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
