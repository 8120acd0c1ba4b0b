/* SPDX-License-Identifier: Apache-2.0
 * ResNet-50 as torchvision has it ("V1.5": a block's stride sits in its 3x3 convolution). Its batch norms never learn,
 * so they are constants of the convolutions in front of them. */
#include "net/layers.h"
#include "net/lossnet.h"

#define STAGES    4
#define EXPANSION 4 /* a block's result has that many times its inner channels */

static const int32_t blocks_of[STAGES] = { 3, 4, 6, 3 };

static m2s_value vector(m2s_graph *graph, const char *norm, const char *name, int32_t channels)
{
    return m2s_graph_param(graph, m2s_key(graph, M2S_LOSSNET_PREFIX "%s.%s", norm, name),
                           (m2s_shape){ .d = { channels, 1, 1, 1 } });
}

static m2s_value conv_norm(m2s_graph *graph, m2s_value src, const char *conv, const char *norm, m2s_conv_layer layer)
{
    const m2s_attrs epsilon = { .epsilon = M2S_BATCH_NORM_EPSILON };

    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    m2s_value weights = m2s_graph_param(
        graph, m2s_key(graph, M2S_LOSSNET_PREFIX "%s.weight", conv),
        (m2s_shape){ .o = layer.channels, .i = m2s_shape_of(graph, src).c, .kh = layer.kernel, .kw = layer.kernel });
    m2s_value gamma = vector(graph, norm, "weight", layer.channels);
    m2s_value beta = vector(graph, norm, "bias", layer.channels);
    m2s_value mean = vector(graph, norm, "running_mean", layer.channels);
    m2s_value var = vector(graph, norm, "running_var", layer.channels);
    weights = m2s_graph_node(graph, M2S_OP_fold_weights, (m2s_value[]){ weights, gamma, var }, 3, &epsilon);
    m2s_value bias =
        m2s_graph_node(graph, M2S_OP_fold_bias, (m2s_value[]){ M2S_NONE, gamma, beta, mean, var }, 5, &epsilon);
    return m2s_conv2d(graph, src, weights, bias, (m2s_conv){ .stride = layer.stride, .pad = layer.pad });
}

static m2s_value bottleneck(m2s_graph *graph, m2s_value x, const char *block, int32_t width, int32_t stride, bool first)
{
    m2s_value y =
        m2s_relu(graph, conv_norm(graph, x, m2s_key(graph, "%s.conv1", block), m2s_key(graph, "%s.bn1", block),
                                  (m2s_conv_layer){ .channels = width, .kernel = 1 }));

    y = m2s_relu(graph, conv_norm(graph, y, m2s_key(graph, "%s.conv2", block), m2s_key(graph, "%s.bn2", block),
                                  (m2s_conv_layer){ .channels = width, .kernel = 3, .stride = stride, .pad = 1 }));
    y = conv_norm(graph, y, m2s_key(graph, "%s.conv3", block), m2s_key(graph, "%s.bn3", block),
                  (m2s_conv_layer){ .channels = EXPANSION * width, .kernel = 1 });
    if (first) {
        x = conv_norm(graph, x, m2s_key(graph, "%s.downsample.0", block), m2s_key(graph, "%s.downsample.1", block),
                      (m2s_conv_layer){ .channels = EXPANSION * width, .kernel = 1, .stride = stride });
    }
    return m2s_relu(graph, m2s_sum(graph, (m2s_value[]){ y, x }, 2));
}

/* taps: of the stem, then of the stages; what comes after the last one is not built. */
static void build(m2s_graph *graph, m2s_value src, bool with_stem, m2s_value tap[M2S_LOSSNET_TAPS])
{
    m2s_value x = m2s_relu(graph, conv_norm(graph, src, "conv1", "bn1",
                                            (m2s_conv_layer){ .channels = 64, .kernel = 7, .stride = 2, .pad = 3 }));
    int taps = 0;

    if (with_stem) {
        tap[taps++] = x;
    }
    x = m2s_max_pool(graph, x, 3, 2, 1);
    for (int32_t s = 0; taps < M2S_LOSSNET_TAPS; s++) {
        for (int32_t b = 0; b < blocks_of[s]; b++) {
            const char *block = m2s_key(graph, "layer%d.%d", (int)s + 1, (int)b);
            x = bottleneck(graph, x, block, 64 << s, b == 0 && s > 0 ? 2 : 1, b == 0);
        }
        tap[taps++] = x;
    }
}

void m2s_lossnet_resnet50(m2s_graph *graph, m2s_value src, m2s_value tap[M2S_LOSSNET_TAPS])
{
    build(graph, src, false, tap);
}

void m2s_lossnet_resnet50_stem(m2s_graph *graph, m2s_value src, m2s_value tap[M2S_LOSSNET_TAPS])
{
    build(graph, src, true, tap);
}
