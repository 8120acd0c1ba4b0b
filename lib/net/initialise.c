/* SPDX-License-Identifier: Apache-2.0 */
#include "net/initialise.h"

#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "net/names.h"

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

/* The parameter's module has a convolution: its weights, or the bias beside them. NULL for norms. */
static const m2s_value_info *conv_weights(const m2s_graph *graph, const m2s_value_info *info)
{
    char key[160];

    if (info->shape.i > 1 || info->shape.kh > 1) {
        return info;
    }
    size_t stem = strlen(info->name);
    if (!ends_with(info->name, ".bias") || stem + sizeof "weight" > sizeof key) {
        return NULL;
    }
    stem -= strlen("bias");
    memcpy(key, info->name, stem);
    memcpy(key + stem, "weight", sizeof "weight");
    m2s_value weights = m2s_graph_find(graph, key);
    return weights != M2S_NONE && graph->values[weights].shape.kh > 1 ? &graph->values[weights] : NULL;
}

/* Layer scale begins as next to nothing: at first a block is the identity (ConvNeXt). */
#define LAYER_SCALE 1e-6f

static float constant_of(const char *name)
{
    return ends_with(name, ".weight") || ends_with(name, ".running_var") ? 1.0f
           : ends_with(name, ".gamma")                                   ? LAYER_SCALE
                                                                         : 0.0f;
}

void m2s_initialise(const m2s_graph *graph, m2s_value value, const m2s_encoder *encoder, uint64_t seed, float *elements)
{
    const m2s_value_info *info = &graph->values[value];
    const m2s_value_info *conv = conv_weights(graph, info);
    bool encodes = encoder != NULL && m2s_name_encoder_prefix(info->name) > 0;
    uint64_t stream = m2s_rng_stream(seed, info->name);
    int64_t count = m2s_shape_elements(info->shape);

    if (conv == NULL || (encodes && conv != info)) { /* an encoder's biases are zeros */
        for (int64_t i = 0; i < count; i++) {
            elements[i] = constant_of(info->name);
        }
        return;
    }
    double deviation = encodes ? encoder->deviation(info) : 0.0;
    double bound = 1.0 / sqrt((double)(conv->shape.kh * conv->shape.kw * conv->shape.i));
    for (int64_t i = 0; i < count; i++) {
        double drawn = encodes ? deviation * m2s_rng_normal(stream, (uint64_t)i)
                               : bound * (2.0 * m2s_rng_uniform(stream, (uint64_t)i) - 1.0);
        elements[i] = (float)drawn;
    }
}
