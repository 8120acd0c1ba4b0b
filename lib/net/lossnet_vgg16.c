/* SPDX-License-Identifier: Apache-2.0 */
#include "net/layers.h"
#include "net/lossnet.h"

typedef struct vgg_conv {
    int32_t index, channels; /* torchvision's features.<index> */
    bool tap, pool;          /* its ReLU is a tap; a 2x2 pool follows */
} vgg_conv;

static const vgg_conv convs[] = {
    { 0, 64, false, false },   { 2, 64, true, true },     { 5, 128, false, false }, { 7, 128, true, true },
    { 10, 256, false, false }, { 12, 256, false, false }, { 14, 256, true, true },  { 17, 512, false, false },
    { 19, 512, false, false }, { 21, 512, true, false },
};

void m2s_lossnet_vgg16(m2s_graph *graph, m2s_value src, m2s_value tap[M2S_LOSSNET_TAPS])
{
    m2s_value x = src;
    int taps = 0;

    for (size_t i = 0; i < sizeof convs / sizeof convs[0]; i++) {
        const vgg_conv *conv = &convs[i];
        m2s_conv_layer layer = { .channels = conv->channels, .kernel = 3, .pad = 1, .bias = true };
        x = m2s_relu(
            graph, m2s_layer_conv(graph, x, m2s_key(graph, M2S_LOSSNET_PREFIX "features.%d", (int)conv->index), layer));
        if (conv->tap) {
            tap[taps++] = x;
        }
        if (conv->pool) {
            x = m2s_max_pool(graph, x, 2, 2, 0);
        }
    }
}
