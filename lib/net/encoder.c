/* SPDX-License-Identifier: Apache-2.0 */
#include "net/encoder.h"

#include <stdio.h>
#include <string.h>

#include "net/encoder_res2net.h"
#include "net/names.h"

static const m2s_encoder encoders[] = {
    { "res2net", m2s_encoder_res2net, m2s_encoder_res2net_recognise, false },
};

#define ENCODER_COUNT (sizeof encoders / sizeof encoders[0])

const m2s_encoder *m2s_encoder_of(const m2s_config *config)
{
    for (size_t i = 0; i < ENCODER_COUNT; i++) {
        if (strncmp(config->encoder, encoders[i].family, strlen(encoders[i].family)) == 0) {
            return &encoders[i];
        }
    }
    return NULL;
}

static int32_t outputs_of(m2s_key_lookup lookup, void *user, const char *key)
{
    int32_t rank;
    const int64_t *dims = lookup(user, key, &rank);

    return dims != NULL && rank > 0 && dims[0] > 0 && dims[0] <= INT32_MAX ? (int32_t)dims[0] : 0;
}

bool m2s_config_recognise(m2s_config *config, m2s_key_lookup lookup, void *user, bool keep_encoder, bool keep_scales)
{
    static const char *const deep_reducers[] = { "x5_dem_5.0.weight", "x5_dem_1.0.weight", "x4_dem_1.0.weight" };
    m2s_config found = *config;
    bool known = keep_encoder;

    for (size_t i = 0; i < ENCODER_COUNT && !known; i++) {
        known = encoders[i].recognise(&found, lookup, user);
    }
    if (!known) {
        return false;
    }
    if (!keep_scales) {
        found.scales = 1;
        found.scale[0] = 1;
        for (int32_t k = 3; k <= 31; k += 2) {
            char key[32];
            snprintf(key, sizeof key, "conv_%d.norm.weight", k);
            if (found.scales < M2S_CONFIG_SCALES && outputs_of(lookup, user, key) > 0) {
                found.scale[found.scales++] = k;
            }
        }
    }
    m2s_variant_recognise(&found.variant, lookup, user);
    int32_t pyramid = 0;
    for (size_t i = 0; i < sizeof deep_reducers / sizeof deep_reducers[0] && pyramid == 0; i++) {
        pyramid = outputs_of(lookup, user, deep_reducers[i]);
    }
    int32_t classes = outputs_of(lookup, user, M2S_NAME_HEAD ".weight");
    found.pyramid_channels = pyramid > 0 ? pyramid : found.pyramid_channels;
    found.classes = classes > 0 && classes <= M2S_MAX_CLASSES ? classes : found.classes;
    *config = found;
    return true;
}
