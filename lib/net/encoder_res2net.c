/* SPDX-License-Identifier: Apache-2.0 */
#include "net/encoder_res2net.h"

#include <math.h>
#include <stdio.h>

#include "net/layers.h"

#define PREFIX "resnet"

static m2s_value conv_bn(m2s_graph *graph, m2s_value src, const char *conv, const char *norm, m2s_conv_layer layer)
{
    return m2s_layer_batch_norm(graph, m2s_layer_conv(graph, src, conv, layer), norm);
}

static m2s_value conv_bn_relu(m2s_graph *graph, m2s_value src, const char *conv, const char *norm, m2s_conv_layer layer)
{
    return m2s_relu(graph, conv_bn(graph, src, conv, norm, layer));
}

static m2s_value shortcut(m2s_graph *graph, m2s_value x, const char *block, int32_t channels, int32_t stride)
{
    if (stride > 1) {
        x = m2s_avg_pool(graph, x, stride, stride, 0, false, true);
    }
    return conv_bn(graph, x, m2s_key(graph, "%s.downsample.1", block), m2s_key(graph, "%s.downsample.2", block),
                   (m2s_conv_layer){ .channels = channels, .kernel = 1 });
}

/* Bottle2neck. The first block of a stage has no additions between its groups and pools the last one. */
static m2s_value bottle2neck(m2s_graph *graph, m2s_value x, const char *block, const m2s_encoder_stage *stage,
                             int32_t stride, bool first)
{
    int32_t width = stage->width;
    m2s_value group[4];
    m2s_value y = conv_bn_relu(graph, x, m2s_key(graph, "%s.conv1", block), m2s_key(graph, "%s.bn1", block),
                               (m2s_conv_layer){ .channels = 4 * width, .kernel = 1 });

    for (int i = 0; i < 4; i++) {
        group[i] = m2s_slice_c(graph, y, i * width, width);
        if (i < 3) {
            if (!first && i > 0) {
                group[i] = m2s_sum(graph, (m2s_value[]){ group[i - 1], group[i] }, 2);
            }
            group[i] = conv_bn_relu(graph, group[i], m2s_key(graph, "%s.convs.%d", block, i),
                                    m2s_key(graph, "%s.bns.%d", block, i),
                                    (m2s_conv_layer){ .channels = width, .kernel = 3, .stride = stride, .pad = 1 });
        } else if (first) {
            group[i] = m2s_avg_pool(graph, group[i], 3, stride, 1, true, false);
        }
    }
    y = conv_bn(graph, m2s_concat_c(graph, group, 4), m2s_key(graph, "%s.conv3", block),
                m2s_key(graph, "%s.bn3", block), (m2s_conv_layer){ .channels = stage->channels, .kernel = 1 });
    x = first ? shortcut(graph, x, block, stage->channels, stride) : x;
    return m2s_graph_name(graph, m2s_relu(graph, m2s_sum(graph, (m2s_value[]){ y, x }, 2)), block);
}

static void build(m2s_graph *graph, const m2s_config *config, m2s_value image, m2s_value level[5])
{
    static const char root[] = PREFIX;
    m2s_conv_layer conv = { .kernel = 3, .stride = 2, .pad = 1 };
    m2s_value x;

    conv.channels = config->stem[0];
    x = conv_bn_relu(graph, image, m2s_key(graph, "%s.conv1.0", root), m2s_key(graph, "%s.conv1.1", root), conv);
    conv.stride = 1;
    conv.channels = config->stem[1];
    x = conv_bn_relu(graph, x, m2s_key(graph, "%s.conv1.3", root), m2s_key(graph, "%s.conv1.4", root), conv);
    conv.channels = config->stem[2];
    x = conv_bn_relu(graph, x, m2s_key(graph, "%s.conv1.6", root), m2s_key(graph, "%s.bn1", root), conv);
    x = m2s_max_pool(graph, x, 3, 2, 1);
    level[0] = m2s_graph_name(graph, x, "enc1");

    for (int s = 0; s < 4; s++) {
        for (int32_t b = 0; b < config->stage[s].blocks; b++) {
            const char *block = m2s_key(graph, "%s.layer%d.%d", root, s + 1, b);
            x = bottle2neck(graph, x, block, &config->stage[s], b == 0 && s > 0 ? 2 : 1, b == 0);
        }
        level[s + 1] = m2s_graph_name(graph, x, m2s_key(graph, "enc%d", s + 2));
    }
}

/* Output channels of a convolution's weights; 0 when the key is not there or is no such thing. */
static int32_t conv_outputs(m2s_key_lookup lookup, void *user, const char *key)
{
    int32_t rank;
    const int64_t *dims = lookup(user, key, &rank);

    return dims != NULL && rank == 4 && dims[0] > 0 && dims[0] <= M2S_ENCODER_MAX_CHANNELS ? (int32_t)dims[0] : 0;
}

static int32_t block_outputs(m2s_key_lookup lookup, void *user, int stage, int32_t block, const char *conv)
{
    char key[96];

    snprintf(key, sizeof key, "%s.layer%d.%d.%s.weight", PREFIX, stage, (int)block, conv);
    return conv_outputs(lookup, user, key);
}

static bool recognise(m2s_config *config, m2s_key_lookup lookup, void *user)
{
    static const int stem[3] = { 0, 3, 6 };
    m2s_config found = *config;

    for (int i = 0; i < 3; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s.conv1.%d.weight", PREFIX, stem[i]);
        found.stem[i] = conv_outputs(lookup, user, key);
        if (found.stem[i] == 0) {
            return false;
        }
    }
    for (int s = 0; s < 4; s++) {
        m2s_encoder_stage *stage = &found.stage[s];
        stage->blocks = 0;
        while (stage->blocks < M2S_ENCODER_MAX_BLOCKS &&
               block_outputs(lookup, user, s + 1, stage->blocks, "conv1") > 0) {
            stage->blocks++;
        }
        stage->width = block_outputs(lookup, user, s + 1, 0, "convs.0");
        stage->channels = block_outputs(lookup, user, s + 1, 0, "conv3");
        if (stage->blocks == 0 || stage->width == 0 || stage->channels == 0) {
            return false;
        }
    }
    snprintf(found.encoder, sizeof found.encoder, "res2net");
    m2s_config_name_encoder(&found);
    *config = found;
    return true;
}

/* He's, by outputs. */
static double deviation(const m2s_value_info *weights)
{
    return sqrt(2.0 / (double)(weights->shape.kh * weights->shape.kw * weights->shape.o));
}

static const m2s_encoder_size sizes[] = {
    { "res2net50_v1b_26w_4s", { 32, 32, 64 }, { { 3, 26, 256 }, { 4, 52, 512 }, { 6, 104, 1024 }, { 3, 208, 2048 } } },
    { "res2net101_v1b_26w_4s",
      { 32, 32, 64 },
      { { 3, 26, 256 }, { 4, 52, 512 }, { 23, 104, 1024 }, { 3, 208, 2048 } } },
    { "res2net_compact", { 16, 16, 32 }, { { 2, 13, 128 }, { 2, 26, 256 }, { 2, 52, 512 }, { 2, 104, 1024 } } },
};

static const m2s_shape_key keys[] = {
    { "stem", 3, offsetof(m2s_config, stem), sizeof(int32_t), M2S_ENCODER_MAX_CHANNELS, false },
    M2S_STAGE_KEY("blocks", blocks, M2S_ENCODER_MAX_BLOCKS),
    M2S_STAGE_KEY("width", width, M2S_ENCODER_MAX_CHANNELS / 4),
    M2S_STAGE_KEY("channels", channels, M2S_ENCODER_MAX_CHANNELS),
};

const m2s_encoder m2s_encoder_res2net = {
    .family = "res2net",
    .prefix = PREFIX,
    .sizes = sizes,
    .size_count = (int32_t)(sizeof sizes / sizeof sizes[0]),
    .keys = keys,
    .key_count = (int32_t)(sizeof keys / sizeof keys[0]),
    .build = build,
    .recognise = recognise,
    .deviation = deviation,
};
