/* SPDX-License-Identifier: Apache-2.0
 * Swin-T as torchvision has it, up to its last stage: a map's windows attend to themselves, every other time rolled by
 * half a window; between the stages 2 x 2 pixels become one. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "net/encoder.h"
#include "net/layers.h"
#include "net/lossnet.h"

#define EPSILON  1e-5
#define WINDOW   7
#define OFFSETS  (2 * WINDOW - 1)
#define DEPTH    32 /* channels of a head */
#define CHANNELS 96 /* of the first stage; each has twice those before it */

static const int32_t blocks_of[M2S_LOSSNET_TAPS] = { 2, 2, 6, 2 };

static m2s_value attention(m2s_graph *graph, m2s_value x, const char *key, int32_t channels, int32_t shift)
{
    m2s_windows windows = { .side = WINDOW, .shift = shift, .heads = channels / DEPTH, .scale = 1.0 / sqrt(DEPTH) };
    m2s_value qkv = m2s_layer_linear(graph, x, m2s_key(graph, "%s.qkv", key), 3 * channels, true);
    /* Padding comes before this layer and is zero there. */
    m2s_value padding =
        m2s_graph_param(graph, m2s_key(graph, "%s.qkv.bias", key), (m2s_shape){ .d = { 3 * channels, 1, 1, 1 } });
    m2s_value table = m2s_graph_param_of_rank(graph, m2s_key(graph, "%s.relative_position_bias_table", key),
                                              (m2s_shape){ .d = { OFFSETS * OFFSETS, windows.heads, 1, 1 } }, 2);

    x = m2s_window_attention(graph, qkv, table, padding, windows);
    return m2s_layer_linear(graph, x, m2s_key(graph, "%s.proj", key), channels, true);
}

static m2s_value block(m2s_graph *graph, m2s_value x, const char *key, int32_t channels, int32_t shift)
{
    m2s_value y = m2s_layer_norm_of(graph, x, m2s_key(graph, "%s.norm1", key), EPSILON);

    y = attention(graph, y, m2s_key(graph, "%s.attn", key), channels, shift);
    x = m2s_sum(graph, (m2s_value[]){ x, y }, 2);
    y = m2s_layer_norm_of(graph, x, m2s_key(graph, "%s.norm2", key), EPSILON);
    y = m2s_gelu(graph, m2s_layer_linear(graph, y, m2s_key(graph, "%s.mlp.0", key), 4 * channels, true));
    y = m2s_layer_linear(graph, y, m2s_key(graph, "%s.mlp.3", key), channels, true);
    return m2s_sum(graph, (m2s_value[]){ x, y }, 2);
}

void m2s_lossnet_swin_t(m2s_graph *graph, m2s_value src, m2s_value tap[M2S_LOSSNET_TAPS])
{
    static const char root[] = M2S_LOSSNET_PREFIX "features";
    m2s_conv_layer patches = { .channels = CHANNELS, .kernel = 4, .stride = 4, .bias = true };
    m2s_value x = m2s_layer_conv(graph, src, m2s_key(graph, "%s.0.0", root), patches);

    x = m2s_layer_norm_of(graph, x, m2s_key(graph, "%s.0.2", root), EPSILON);
    for (int32_t s = 0; s < M2S_LOSSNET_TAPS; s++) {
        int32_t channels = CHANNELS << s;
        if (s > 0) {
            x = m2s_merge_patches(graph, x);
            x = m2s_layer_norm_of(graph, x, m2s_key(graph, "%s.%d.norm", root, 2 * (int)s), EPSILON);
            x = m2s_layer_linear(graph, x, m2s_key(graph, "%s.%d.reduction", root, 2 * (int)s), channels, false);
        }
        for (int32_t b = 0; b < blocks_of[s]; b++) {
            x = block(graph, x, m2s_key(graph, "%s.%d.%d", root, 2 * (int)s + 1, (int)b), channels,
                      b % 2 != 0 ? WINDOW / 2 : 0);
        }
        tap[s] = x;
    }
}

/* The same parameter's name in a file of the authors (which 0) or of timm (1). These differ in where a merging of
 * patches is counted, so "layers.1.downsample" is of stage 2 in one and of stage 1 in the other: names are taken stage
 * by stage, and one that is taken is not there any more. */
bool m2s_lossnet_swin_t_alias(const char *key, int32_t which, char *name, size_t size)
{
    int32_t part, index;

    if (which > 1 || !m2s_key_number(&key, "features.", &part)) {
        return false;
    }
    if (part > 0 && part % 2 == 0) {
        return snprintf(name, size, "layers.%d.downsample.%s", (int)part / 2 - (which == 0 ? 1 : 0), key) > 0;
    }
    if (which > 0 || !m2s_key_number(&key, "", &index)) {
        return false;
    }
    if (part == 0) {
        return snprintf(name, size, "patch_embed.%s.%s", index == 0 ? "proj" : "norm", key) > 0;
    }
    bool first = strncmp(key, "mlp.0.", 6) == 0, second = strncmp(key, "mlp.3.", 6) == 0;
    return snprintf(name, size, "layers.%d.blocks.%d.%s%s", (int)part / 2, (int)index,
                    first ? "mlp.fc1." : (second ? "mlp.fc2." : ""), first || second ? key + 6 : key) > 0;
}
