/* SPDX-License-Identifier: Apache-2.0 */
#include "net/encoder_convnext.h"

#include <stdio.h>
#include <string.h>

#include "net/layers.h"
#include "net/names.h"

#define PREFIX    M2S_NAME_ENCODER
#define EPSILON   1e-6
#define WIDENING  4 /* channels between a block's two linear layers */
#define DEVIATION 0.02

/* In config->stem[0]: 1 = levels 2 to 5 go through layer norms. */
static bool has_norms(const m2s_config *config)
{
    return config->stem[0] == 1;
}

static int32_t all_blocks(const m2s_config *config)
{
    return config->stage[0].blocks + config->stage[1].blocks + config->stage[2].blocks + config->stage[3].blocks;
}

/* Branches are dropped the more often the deeper they are, the first one never, the last one with config->drop_path. */
static m2s_value drop(m2s_graph *graph, const m2s_config *config, m2s_value branch, int32_t index)
{
    if (config->drop_path <= 0.0 || index == 0) {
        return branch;
    }
    double probability = config->drop_path * (double)index / (double)(all_blocks(config) - 1);
    return m2s_drop_path(graph, branch, m2s_graph_draw(graph), probability, index);
}

static m2s_value block(m2s_graph *graph, const m2s_config *config, m2s_value x, const char *name, int32_t channels,
                       int32_t index)
{
    m2s_value y = m2s_layer_conv(
        graph, x, m2s_key(graph, "%s.dwconv", name),
        (m2s_conv_layer){ .channels = channels, .kernel = 7, .pad = 3, .groups = M2S_DEPTHWISE, .bias = true });

    y = m2s_layer_norm_of(graph, y, m2s_key(graph, "%s.norm", name), EPSILON);
    y = m2s_gelu(graph, m2s_layer_linear(graph, y, m2s_key(graph, "%s.pwconv1", name), WIDENING * channels, true));
    y = m2s_layer_linear(graph, y, m2s_key(graph, "%s.pwconv2", name), channels, true);
    y = drop(graph, config, m2s_layer_scale(graph, y, m2s_key(graph, "%s.gamma", name)), index);
    return m2s_graph_name(graph, m2s_sum(graph, (m2s_value[]){ x, y }, 2), name);
}

static m2s_value patches(m2s_graph *graph, m2s_value x, const char *prefix, int32_t channels, int32_t side)
{
    return m2s_layer_conv(graph, x, prefix,
                          (m2s_conv_layer){ .channels = channels, .kernel = side, .stride = side, .bias = true });
}

static void build(m2s_graph *graph, const m2s_config *config, m2s_value image, m2s_value level[5])
{
    m2s_value x = patches(graph, image, PREFIX ".downsample_layers.0.0", config->stage[0].channels, 4);
    int32_t index = 0;

    x = m2s_layer_norm_of(graph, x, PREFIX ".downsample_layers.0.1", EPSILON);
    level[0] = m2s_graph_name(graph, x, "enc1");
    for (int s = 0; s < 4; s++) {
        int32_t channels = config->stage[s].channels;
        if (s > 0) {
            x = m2s_layer_norm_of(graph, x, m2s_key(graph, PREFIX ".downsample_layers.%d.0", s), EPSILON);
            x = patches(graph, x, m2s_key(graph, PREFIX ".downsample_layers.%d.1", s), channels, 2);
        }
        for (int32_t b = 0; b < config->stage[s].blocks; b++) {
            x = block(graph, config, x, m2s_key(graph, PREFIX ".stages.%d.%d", s, b), channels, index++);
        }
        level[s + 1] =
            has_norms(config) ? m2s_layer_norm_of(graph, x, m2s_key(graph, PREFIX ".norm%d", s), EPSILON) : x;
        level[s + 1] = m2s_graph_name(graph, level[s + 1], m2s_key(graph, "enc%d", s + 2));
    }
}

/* ---- from a file ---- */

/* Channels of a block's depthwise convolution; 0: the block is not there. */
static int32_t block_channels(m2s_key_lookup lookup, void *user, int stage, int32_t index)
{
    char key[96];
    int32_t rank;

    snprintf(key, sizeof key, PREFIX ".stages.%d.%d.dwconv.weight", stage, (int)index);
    const int64_t *dims = lookup(user, key, &rank);
    return dims != NULL && rank == 4 && dims[0] > 0 && dims[0] <= M2S_ENCODER_MAX_CHANNELS ? (int32_t)dims[0] : 0;
}

static bool recognise(m2s_config *config, m2s_key_lookup lookup, void *user)
{
    m2s_config found = *config;
    int32_t rank;

    memset(found.stem, 0, sizeof found.stem);
    memset(found.stage, 0, sizeof found.stage);
    for (int s = 0; s < 4; s++) {
        m2s_encoder_stage *stage = &found.stage[s];
        stage->channels = block_channels(lookup, user, s, 0);
        while (stage->blocks < M2S_ENCODER_MAX_BLOCKS && block_channels(lookup, user, s, stage->blocks) > 0) {
            stage->blocks++;
        }
        if (stage->blocks == 0) {
            return false;
        }
    }
    found.stem[0] = lookup(user, PREFIX ".norm0.weight", &rank) != NULL ? 1 : 0;
    snprintf(found.encoder, sizeof found.encoder, "convnext");
    m2s_config_name_encoder(&found);
    *config = found;
    return true;
}

/* ---- other names: 0 = timm's, 1 = torchvision's ---- */

static const struct {
    const char *official, *other[2];
} parts[] = {
    { "dwconv.weight", { "conv_dw.weight", "block.0.weight" } },
    { "dwconv.bias", { "conv_dw.bias", "block.0.bias" } },
    { "norm.weight", { "norm.weight", "block.2.weight" } },
    { "norm.bias", { "norm.bias", "block.2.bias" } },
    { "pwconv1.weight", { "mlp.fc1.weight", "block.3.weight" } },
    { "pwconv1.bias", { "mlp.fc1.bias", "block.3.bias" } },
    { "pwconv2.weight", { "mlp.fc2.weight", "block.5.weight" } },
    { "pwconv2.bias", { "mlp.fc2.bias", "block.5.bias" } },
    { "gamma", { "gamma", "layer_scale" } },
};

static bool alias(const char *key, int32_t which, char *name, size_t size)
{
    int32_t stage, index;

    if (which > 1) {
        return false;
    }
    if (m2s_key_number(&key, "stages.", &stage) && m2s_key_number(&key, "", &index)) {
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            if (strcmp(key, parts[i].official) == 0) {
                const char *other = parts[i].other[which];
                snprintf(name, size, which == 0 ? "stages.%d.blocks.%d.%s" : "features.%d.%d.%s",
                         which == 0 ? stage : 2 * stage + 1, index, other);
                return true;
            }
        }
        return false;
    }
    if (m2s_key_number(&key, "downsample_layers.", &stage)) {
        if (which == 1) {
            snprintf(name, size, "features.%d.%s", 2 * stage, key);
        } else if (stage == 0) {
            snprintf(name, size, "stem.%s", key);
        } else {
            snprintf(name, size, "stages.%d.downsample.%s", stage, key);
        }
        return true;
    }
    return false;
}

static double deviation(const m2s_value_info *weights)
{
    (void)weights;
    return DEVIATION;
}

static const m2s_encoder_size sizes[] = {
    { "convnext_tiny", { 0 }, { { 3, 0, 96 }, { 3, 0, 192 }, { 9, 0, 384 }, { 3, 0, 768 } } },
    { "convnext_small", { 0 }, { { 3, 0, 96 }, { 3, 0, 192 }, { 27, 0, 384 }, { 3, 0, 768 } } },
    { "convnext_base", { 0 }, { { 3, 0, 128 }, { 3, 0, 256 }, { 27, 0, 512 }, { 3, 0, 1024 } } },
    { "convnext_large", { 0 }, { { 3, 0, 192 }, { 3, 0, 384 }, { 27, 0, 768 }, { 3, 0, 1536 } } },
};

static const m2s_shape_key keys[] = {
    M2S_STAGE_KEY("blocks", blocks, M2S_ENCODER_MAX_BLOCKS),
    M2S_STAGE_KEY("channels", channels, M2S_ENCODER_MAX_CHANNELS / WIDENING),
    { "norms", 1, offsetof(m2s_config, stem), sizeof(int32_t), 1, true },
};

const m2s_encoder m2s_encoder_convnext = {
    .family = "convnext",
    .prefix = PREFIX,
    .sizes = sizes,
    .size_count = (int32_t)(sizeof sizes / sizeof sizes[0]),
    .keys = keys,
    .key_count = (int32_t)(sizeof keys / sizeof keys[0]),
    .build = build,
    .recognise = recognise,
    .alias = alias,
    .deviation = deviation,
    .open_stem = true,
    .drops_branches = true,
};
