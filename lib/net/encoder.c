/* SPDX-License-Identifier: Apache-2.0 */
#include "net/encoder.h"

#include <stdio.h>
#include <string.h>

#include "net/encoder_convnext.h"
#include "net/encoder_pvt.h"
#include "net/encoder_res2net.h"
#include "net/names.h"

static const m2s_encoder *const encoders[] = {
    &m2s_encoder_res2net,
    &m2s_encoder_convnext,
    &m2s_encoder_pvt,
};

#define ENCODER_COUNT (sizeof encoders / sizeof encoders[0])

const m2s_encoder *m2s_encoder_named(const char *name)
{
    for (size_t i = 0; i < ENCODER_COUNT; i++) {
        if (strncmp(name, encoders[i]->family, strlen(encoders[i]->family)) == 0) {
            return encoders[i];
        }
    }
    return NULL;
}

const m2s_encoder *m2s_encoder_of(const m2s_config *config)
{
    return m2s_encoder_named(config->encoder);
}

const char *m2s_encoder_name(int32_t index)
{
    for (size_t e = 0; index >= 0 && e < ENCODER_COUNT; e++) {
        if (index < encoders[e]->size_count) {
            return encoders[e]->sizes[index].name;
        }
        index -= encoders[e]->size_count;
    }
    return NULL;
}

const char *m2s_encoder_names(char *text, size_t size)
{
    size_t used = 0;

    for (int32_t i = 0; m2s_encoder_name(i) != NULL && used < size; i++) {
        const char *between = used == 0 ? "" : m2s_encoder_name(i + 1) == NULL ? " and " : ", ";
        int written = snprintf(text + used, size - used, "%s%s", between, m2s_encoder_name(i));
        used += written > 0 ? (size_t)written : 0;
    }
    return text;
}

bool m2s_key_number(const char **key, const char *before, int32_t *number)
{
    const size_t length = strlen(before);
    const char *at = *key + length;
    int32_t value = 0, digits = 0;

    if (strncmp(*key, before, length) != 0) {
        return false;
    }
    for (; *at >= '0' && *at <= '9' && digits < 3; at++, digits++) {
        value = 10 * value + (*at - '0');
    }
    if (digits == 0 || *at != '.') {
        return false;
    }
    *key = at + 1;
    *number = value;
    return true;
}

bool m2s_encoder_other_name(const m2s_encoder *encoder, const char *key, int32_t which,
                            char name[M2S_ENCODER_KEY_BYTES])
{
    static const char *const prefixes[] = { "", "encoder.", "resnet.", "backbone." };
    const int32_t count = (int32_t)(sizeof prefixes / sizeof prefixes[0]);
    size_t skip = strlen(encoder->prefix);
    char alias[M2S_ENCODER_KEY_BYTES];

    if (strncmp(key, encoder->prefix, skip) != 0 || key[skip] != '.') {
        return false;
    }
    snprintf(alias, sizeof alias, "%s", key + skip + 1);
    if (which >= count &&
        (encoder->alias == NULL || !encoder->alias(key + skip + 1, which / count - 1, alias, sizeof alias))) {
        return false;
    }
    snprintf(name, M2S_ENCODER_KEY_BYTES, "%s%.140s", prefixes[which % count], alias);
    return true;
}

/* A lookup that knows an encoder's other names. */
typedef struct wide_lookup {
    m2s_key_lookup lookup;
    void *user;
    const m2s_encoder *encoder;
} wide_lookup;

static const int64_t *look_widely(void *user, const char *key, int32_t *rank)
{
    const wide_lookup *wide = user;
    const int64_t *dims = wide->lookup(wide->user, key, rank);
    char name[M2S_ENCODER_KEY_BYTES];

    for (int32_t i = 0; dims == NULL && m2s_encoder_other_name(wide->encoder, key, i, name); i++) {
        dims = wide->lookup(wide->user, name, rank);
    }
    return dims;
}

static int32_t outputs_of(m2s_key_lookup lookup, void *user, const char *key)
{
    int32_t rank;
    const int64_t *dims = lookup(user, key, &rank);

    return dims != NULL && rank > 0 && dims[0] > 0 && dims[0] <= INT32_MAX ? (int32_t)dims[0] : 0;
}

/* By the batch norms behind the filters. Without these, or without filters, keys say nothing of scales. */
static void recognise_scales(m2s_config *config, m2s_key_lookup lookup, void *user)
{
    if (m2s_variant_is_aspp(&config->variant) || config->variant.msu_bn == M2S_NORM_NONE) {
        return;
    }
    config->scales = 1;
    config->scale[0] = 1;
    for (int32_t k = 3; k <= 31 && config->scales < M2S_CONFIG_SCALES; k += 2) {
        if (m2s_variant_has_filter(&config->variant, k, lookup, user)) {
            config->scale[config->scales++] = k;
        }
    }
}

bool m2s_config_recognise(m2s_config *config, m2s_key_lookup lookup, void *user, bool keep_encoder, bool keep_scales)
{
    static const char *const deep_reducers[] = { "x5_dem_5.0.weight", "x5_dem_1.0.weight", "x4_dem_1.0.weight" };
    m2s_config found = *config;
    bool known = keep_encoder;

    for (size_t i = 0; i < ENCODER_COUNT && !known; i++) {
        known = encoders[i]->recognise(&found, look_widely, &(wide_lookup){ lookup, user, encoders[i] });
    }
    if (!known) {
        return false;
    }
    m2s_variant_recognise(&found.variant, lookup, user);
    if (!keep_scales) {
        recognise_scales(&found, lookup, user);
    }
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
