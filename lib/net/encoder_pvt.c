/* SPDX-License-Identifier: Apache-2.0 */
#include "net/encoder_pvt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "net/layers.h"
#include "net/names.h"

#define PREFIX        M2S_NAME_ENCODER
#define EPSILON       1e-6 /* of norms between layers */
#define PATCH_EPSILON 1e-5 /* of those of patches, and of reduced keys and values */
#define MOST_WIDENING 16
#define DEVIATION     0.02 /* of linear layers */

static const int32_t heads[4] = { 1, 2, 5, 8 }, reduction[4] = { 8, 4, 2, 1 };

/* In config->stage[].width: channels between the two linear layers of a block, in channels of the stage. */
static int32_t widening(const m2s_config *config, int stage)
{
    return config->stage[stage].width;
}

/* Both branches of a block are dropped with one probability, which grows with depth from 0 to config->drop_path, but
 * not together. */
static m2s_value add_branch(m2s_graph *graph, const m2s_config *config, m2s_value x, m2s_value branch, int32_t index,
                            int32_t which)
{
    int32_t blocks = 0;

    for (int s = 0; s < 4; s++) {
        blocks += config->stage[s].blocks;
    }
    if (config->drop_path > 0.0 && index > 0) {
        double probability = config->drop_path * (double)index / (double)(blocks - 1);
        branch = m2s_drop_path(graph, branch, m2s_graph_draw(graph), probability, 2 * index + which);
    }
    return m2s_sum(graph, (m2s_value[]){ x, branch }, 2);
}

static m2s_value attention(m2s_graph *graph, m2s_value x, const char *name, int stage, int32_t channels)
{
    m2s_value query = m2s_layer_linear(graph, x, m2s_key(graph, "%s.q", name), channels, true);
    double scale = sqrt((double)heads[stage] / (double)channels);

    if (reduction[stage] > 1) {
        m2s_conv_layer reducer = {
            .channels = channels, .kernel = reduction[stage], .stride = reduction[stage], .bias = true
        };
        x = m2s_layer_conv(graph, x, m2s_key(graph, "%s.sr", name), reducer);
        x = m2s_layer_norm_of(graph, x, m2s_key(graph, "%s.norm", name), PATCH_EPSILON);
    }
    x = m2s_layer_linear(graph, x, m2s_key(graph, "%s.kv", name), 2 * channels, true);
    x = m2s_graph_name(graph, m2s_attention(graph, query, x, heads[stage], scale), name);
    return m2s_layer_linear(graph, x, m2s_key(graph, "%s.proj", name), channels, true);
}

static m2s_value feed_forward(m2s_graph *graph, m2s_value x, const char *name, int32_t channels, int32_t wide)
{
    m2s_conv_layer depthwise = { .channels = wide, .kernel = 3, .pad = 1, .groups = M2S_DEPTHWISE, .bias = true };

    x = m2s_layer_linear(graph, x, m2s_key(graph, "%s.fc1", name), wide, true);
    x = m2s_gelu(graph, m2s_layer_conv(graph, x, m2s_key(graph, "%s.dwconv.dwconv", name), depthwise));
    return m2s_layer_linear(graph, x, m2s_key(graph, "%s.fc2", name), channels, true);
}

static m2s_value block(m2s_graph *graph, const m2s_config *config, m2s_value x, const char *name, int stage,
                       int32_t index)
{
    int32_t channels = config->stage[stage].channels;
    m2s_value y = m2s_layer_norm_of(graph, x, m2s_key(graph, "%s.norm1", name), EPSILON);

    y = attention(graph, y, m2s_key(graph, "%s.attn", name), stage, channels);
    x = add_branch(graph, config, x, y, index, 0);
    y = m2s_layer_norm_of(graph, x, m2s_key(graph, "%s.norm2", name), EPSILON);
    y = feed_forward(graph, y, m2s_key(graph, "%s.mlp", name), channels, widening(config, stage) * channels);
    return m2s_graph_name(graph, add_branch(graph, config, x, y, index, 1), name);
}

static m2s_value patches(m2s_graph *graph, m2s_value x, int stage, int32_t channels)
{
    m2s_conv_layer layer = { .channels = channels,
                             .kernel = stage == 0 ? 7 : 3,
                             .stride = stage == 0 ? 4 : 2,
                             .pad = stage == 0 ? 3 : 1,
                             .bias = true };

    x = m2s_layer_conv(graph, x, m2s_key(graph, PREFIX ".patch_embed%d.proj", stage + 1), layer);
    return m2s_layer_norm_of(graph, x, m2s_key(graph, PREFIX ".patch_embed%d.norm", stage + 1), PATCH_EPSILON);
}

static void build(m2s_graph *graph, const m2s_config *config, m2s_value image, m2s_value level[5])
{
    m2s_value x = image;
    int32_t index = 0;

    for (int s = 0; s < 4; s++) {
        x = patches(graph, x, s, config->stage[s].channels);
        if (s == 0) {
            level[0] = m2s_graph_name(graph, x, "enc1");
        }
        for (int32_t b = 0; b < config->stage[s].blocks; b++) {
            x = block(graph, config, x, m2s_key(graph, PREFIX ".block%d.%d", s + 1, b), s, index++);
        }
        x = m2s_layer_norm_of(graph, x, m2s_key(graph, PREFIX ".norm%d", s + 1), EPSILON);
        level[s + 1] = m2s_graph_name(graph, x, m2s_key(graph, "enc%d", s + 2));
    }
}

/* ---- from a file ---- */

/* Dims of a weight of block `index` of a stage; NULL: it is not there. */
static const int64_t *block_dims(m2s_key_lookup lookup, void *user, int stage, int32_t index, const char *part,
                                 int32_t *rank)
{
    char key[96];

    snprintf(key, sizeof key, PREFIX ".block%d.%d.%s.weight", stage + 1, (int)index, part);
    return lookup(user, key, rank);
}

static bool recognise_stage(m2s_encoder_stage *stage, m2s_key_lookup lookup, void *user, int s)
{
    int32_t rank;
    const int64_t *query = block_dims(lookup, user, s, 0, "attn.q", &rank);

    if (query == NULL || rank < 2 || query[0] < 1 || query[0] > M2S_ENCODER_MAX_CHANNELS) {
        return false;
    }
    stage->channels = (int32_t)query[0];
    const int64_t *wide = block_dims(lookup, user, s, 0, "mlp.fc1", &rank);
    if (wide == NULL || rank < 2 || wide[0] % stage->channels != 0 || wide[0] / stage->channels < 1 ||
        wide[0] / stage->channels > MOST_WIDENING) {
        return false;
    }
    stage->width = (int32_t)(wide[0] / stage->channels);
    while (stage->blocks < M2S_ENCODER_MAX_BLOCKS &&
           block_dims(lookup, user, s, stage->blocks, "attn.q", &rank) != NULL) {
        stage->blocks++;
    }
    return true;
}

static bool recognise(m2s_config *config, m2s_key_lookup lookup, void *user)
{
    m2s_config found = *config;

    memset(found.stem, 0, sizeof found.stem);
    memset(found.stage, 0, sizeof found.stage);
    for (int s = 0; s < 4; s++) {
        if (!recognise_stage(&found.stage[s], lookup, user, s)) {
            return false;
        }
    }
    snprintf(found.encoder, sizeof found.encoder, "pvt_v2");
    m2s_config_name_encoder(&found);
    *config = found;
    return true;
}

/* ---- timm's names ---- */

static bool alias(const char *key, int32_t which, char *name, size_t size)
{
    static const char wide_name[] = "mlp.dwconv.dwconv.";
    int32_t stage, index;

    if (which > 0) {
        return false;
    }
    if (m2s_key_number(&key, "block", &stage) && m2s_key_number(&key, "", &index)) {
        bool wide = strncmp(key, wide_name, sizeof wide_name - 1) == 0;
        snprintf(name, size, "stages.%d.blocks.%d.%s%s", (int)stage - 1, (int)index, wide ? "mlp.dwconv." : "",
                 wide ? key + sizeof wide_name - 1 : key);
        return true;
    }
    if (m2s_key_number(&key, "patch_embed", &stage)) {
        if (stage == 1) {
            snprintf(name, size, "patch_embed.%s", key);
        } else {
            snprintf(name, size, "stages.%d.downsample.%s", (int)stage - 1, key);
        }
        return true;
    }
    if (m2s_key_number(&key, "norm", &stage)) {
        snprintf(name, size, "stages.%d.norm.%s", (int)stage - 1, key);
        return true;
    }
    return false;
}

/* Of convolutions by their outputs, as in the official code; a window over a single channel is depthwise. */
static double deviation(const m2s_value_info *weights)
{
    m2s_shape shape = weights->shape;

    if (weights->rank == 2) {
        return DEVIATION;
    }
    return sqrt(2.0 / (double)(shape.kh * shape.kw * (shape.i == 1 ? 1 : shape.o)));
}

static const m2s_encoder_size sizes[] = {
    { "pvt_v2_b0", { 0 }, { { 2, 8, 32 }, { 2, 8, 64 }, { 2, 4, 160 }, { 2, 4, 256 } } },
    { "pvt_v2_b1", { 0 }, { { 2, 8, 64 }, { 2, 8, 128 }, { 2, 4, 320 }, { 2, 4, 512 } } },
    { "pvt_v2_b2", { 0 }, { { 3, 8, 64 }, { 4, 8, 128 }, { 6, 4, 320 }, { 3, 4, 512 } } },
    { "pvt_v2_b3", { 0 }, { { 3, 8, 64 }, { 4, 8, 128 }, { 18, 4, 320 }, { 3, 4, 512 } } },
    { "pvt_v2_b4", { 0 }, { { 3, 8, 64 }, { 8, 8, 128 }, { 27, 4, 320 }, { 3, 4, 512 } } },
    { "pvt_v2_b5", { 0 }, { { 3, 4, 64 }, { 6, 4, 128 }, { 40, 4, 320 }, { 3, 4, 512 } } },
};

static const m2s_shape_key keys[] = {
    M2S_STAGE_KEY("blocks", blocks, M2S_ENCODER_MAX_BLOCKS),
    M2S_STAGE_KEY("channels", channels, M2S_ENCODER_MAX_CHANNELS / MOST_WIDENING),
    M2S_STAGE_KEY("widening", width, MOST_WIDENING),
};

const m2s_encoder m2s_encoder_pvt = {
    .family = "pvt_v2",
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
