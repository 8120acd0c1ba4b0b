/* SPDX-License-Identifier: Apache-2.0 */
#include "net/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "net/encoder.h"

#define MAX_CHANNELS 16384
#define MAX_KERNEL   31

bool m2s_config_set_encoder(m2s_config *config, const char *name)
{
    const m2s_encoder *family = m2s_encoder_named(name);

    for (int32_t i = 0; family != NULL && i < family->size_count; i++) {
        const m2s_encoder_size *size = &family->sizes[i];
        if (strcmp(name, size->name) == 0) {
            memcpy(config->stem, size->stem, sizeof config->stem);
            memcpy(config->stage, size->stage, sizeof config->stage);
            snprintf(config->encoder, sizeof config->encoder, "%s", name);
            return true;
        }
    }
    return false;
}

void m2s_config_name_encoder(m2s_config *config)
{
    const m2s_encoder *family = m2s_encoder_of(config);
    const char *name = family->family;

    for (int32_t i = 0; i < family->size_count; i++) {
        const m2s_encoder_size *size = &family->sizes[i];
        if (memcmp(config->stem, size->stem, sizeof config->stem) == 0 &&
            memcmp(config->stage, size->stage, sizeof config->stage) == 0) {
            name = size->name;
        }
    }
    snprintf(config->encoder, sizeof config->encoder, "%s", name);
}

void m2s_config_default(m2s_config *config)
{
    static const float mean[3] = { 0.485f, 0.456f, 0.406f }, std[3] = { 0.229f, 0.224f, 0.225f };

    memset(config, 0, sizeof *config);
    m2s_config_set_encoder(config, "res2net50_v1b_26w_4s");
    config->pyramid_channels = 64;
    config->scales = 3;
    config->scale[0] = 1;
    config->scale[1] = 3;
    config->scale[2] = 5;
    m2s_variant_default(&config->variant);
    config->classes = 1;
    config->input_width = config->input_height = 352;
    memcpy(config->mean, mean, sizeof mean);
    memcpy(config->std, std, sizeof std);
    config->threshold = 0.5;
}

const char *m2s_config_architecture(const m2s_config *config)
{
    return config->scales == 1 ? "msnet" : "m2snet";
}

/* ---- reading ---- */

static const m2s_json_source source = { "configuration", M2SNET_STATUS_FORMAT };

/* Older files wrote the version as a string. */
static m2snet_status check_version(const m2s_json *json, m2snet_error *error)
{
    const m2s_json *entry = m2s_json_find(json, "format_version");
    const char *text = entry != NULL ? m2s_json_string(entry, NULL) : NULL;
    int64_t version = 0;

    if (entry == NULL) {
        return M2SNET_STATUS_OK;
    }
    if (text != NULL) {
        version = strtoll(text, NULL, 10);
    } else if (!m2s_json_integer(entry, &version)) {
        version = 0;
    }
    if (version < 1) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "configuration key \"format_version\": expected 1 or more");
    }
    if (version > M2SNET_FORMAT_VERSION) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        "the model file is of format version %" PRId64 ", this library (version %s) reads up to %d",
                        version, M2SNET_VERSION_STRING, M2SNET_FORMAT_VERSION);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status refuse_required(const m2s_json *json, m2snet_error *error)
{
    m2s_json_cursor cursor = { 0 };

    while (m2s_json_next(json, &cursor)) {
        if (strncmp(cursor.key, "required_", 9) == 0) {
            return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                            "configuration key \"%s\" must be understood to run this model, and this library "
                            "(version %s) does not know it",
                            cursor.key, M2SNET_VERSION_STRING);
        }
    }
    return M2SNET_STATUS_OK;
}

/* Where number i of a shape's key stands. */
static int32_t *shape_number(const m2s_config *config, const m2s_shape_key *key, int32_t i)
{
    const unsigned char *base = (const unsigned char *)config + key->offset + (size_t)i * key->step;

    return (int32_t *)(uintptr_t)base;
}

/* A shape that is not understood as a whole is another network. */
static m2snet_status check_shape_keys(const m2s_encoder *family, const m2s_json *shape, m2snet_error *error)
{
    m2s_json_cursor cursor = { 0 };

    while (m2s_json_next(shape, &cursor)) {
        bool known = false;
        for (int32_t k = 0; k < family->key_count && !known; k++) {
            known = strcmp(cursor.key, family->keys[k].name) == 0;
        }
        if (!known) {
            return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                            "configuration key \"encoder_shape\": \"%.60s\" is not known of %s to this library "
                            "(version %s)",
                            cursor.key, family->family, M2SNET_VERSION_STRING);
        }
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status parse_shape(m2s_config *config, const m2s_encoder *family, const m2s_json *shape,
                                 m2snet_error *error)
{
    int64_t numbers[M2S_SHAPE_NUMBERS];
    m2snet_status status;

    M2S_TRY(check_shape_keys(family, shape, error));
    memset(config->stem, 0, sizeof config->stem);
    memset(config->stage, 0, sizeof config->stage);
    for (int32_t k = 0; k < family->key_count; k++) {
        const m2s_shape_key *key = &family->keys[k];
        size_t count = (size_t)key->count, got = 0;
        m2s_json_need need = key->optional ? M2S_JSON_OPTIONAL : M2S_JSON_REQUIRED;
        if (key->count == 1) {
            M2S_TRY(m2s_json_get_integer(&source, shape, key->name, need, 1, key->most, numbers, error));
        } else {
            M2S_TRY(m2s_json_get_integers(&source, shape, key->name, need, count, count, 1, key->most, numbers, &got,
                                          error));
        }
        for (int32_t i = 0; i < key->count && m2s_json_find(shape, key->name) != NULL; i++) {
            *shape_number(config, key, i) = (int32_t)numbers[i];
        }
    }
    m2s_config_name_encoder(config);
fail:
    return status;
}

/* The name of a size, which *sized then says, or of a family, which a shape must make a size, or the weights. */
static m2snet_status parse_encoder_name(m2s_config *config, const char *name, bool shaped, bool *sized,
                                        m2snet_error *error)
{
    const m2s_encoder *family = m2s_encoder_named(name);
    char known[512] = "";

    *sized = m2s_config_set_encoder(config, name);
    if (!*sized && family != NULL && shaped) {
        snprintf(config->encoder, sizeof config->encoder, "%s", family->family);
    } else if (!*sized && (family != m2s_encoder_of(config) || strcmp(name, family->family) != 0)) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        "configuration key \"encoder\": \"%s\" is not known; known are %s, and families with "
                        "\"encoder_shape\"",
                        name, m2s_encoder_names(known, sizeof known));
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status parse_encoder(m2s_config *config, const m2s_json *json, bool *sets, m2snet_error *error)
{
    const char *name = NULL;
    m2s_json *shape = NULL;
    bool sized = false;
    m2snet_status status;

    M2S_TRY(m2s_json_get_string(&source, json, "encoder", M2S_JSON_OPTIONAL, &name, error));
    M2S_TRY(m2s_json_get_child(&source, json, "encoder_shape", M2S_JSON_OPTIONAL, M2S_JSON_OBJECT, &shape, error));
    if (name != NULL) {
        M2S_TRY(parse_encoder_name(config, name, shape != NULL, &sized, error));
    }
    if (shape != NULL) {
        M2S_TRY(parse_shape(config, m2s_encoder_of(config), shape, error));
    }
    *sets = shape != NULL || sized;
fail:
    return status;
}

static m2snet_status parse_scales(m2s_config *config, const m2s_json *json, bool *sets, m2snet_error *error)
{
    int64_t scale[M2S_CONFIG_SCALES];
    size_t count = 0;
    const char *architecture = NULL;
    bool gaussian = config->gaussian;
    m2snet_status status;

    M2S_TRY(m2s_json_get_integers(&source, json, "scales", M2S_JSON_OPTIONAL, 1, M2S_CONFIG_SCALES, 1, MAX_KERNEL,
                                  scale, &count, error));
    *sets = m2s_json_find(json, "scales") != NULL;
    if (*sets) {
        for (size_t i = 0; i < count; i++) {
            if (scale[i] % 2 == 0 || (i == 0 ? scale[i] != 1 : scale[i] <= scale[i - 1])) {
                return m2s_fail(error, M2SNET_STATUS_FORMAT,
                                "configuration key \"scales\": expected odd numbers in ascending order from 1, as "
                                "[1, 3, 5]");
            }
            config->scale[i] = (int32_t)scale[i];
        }
        config->scales = (int32_t)count;
    }
    M2S_TRY(m2s_json_get_string(&source, json, "architecture", M2S_JSON_OPTIONAL, &architecture, error));
    if (architecture != NULL) {
        bool msnet = strcmp(architecture, "msnet") == 0;
        if (!msnet && strcmp(architecture, "m2snet") != 0) {
            return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                            "configuration key \"architecture\": \"%s\" is not known; known are m2snet and msnet",
                            architecture);
        }
        if (*sets && msnet != (config->scales == 1)) {
            return m2s_fail(error, M2SNET_STATUS_FORMAT,
                            "configuration: architecture \"%s\" does not go with %d scales (msnet has one)",
                            architecture, config->scales);
        }
        if (msnet) {
            config->scales = 1;
            *sets = true;
        }
    }
    M2S_TRY(m2s_json_get_bool(&source, json, "gaussian", M2S_JSON_OPTIONAL, &gaussian, error));
    config->gaussian = gaussian;
fail:
    return status;
}

/* "input_size": 352, or [width, height]. */
static m2snet_status parse_input_size(m2s_config *config, const m2s_json *json, m2snet_error *error)
{
    const m2s_json *entry = m2s_json_find(json, "input_size");
    int64_t size[2] = { config->input_width, config->input_height };
    size_t count;
    m2snet_status status = M2SNET_STATUS_OK;

    if (entry != NULL && m2s_json_kind_of(entry) == M2S_JSON_ARRAY) {
        M2S_TRY(m2s_json_get_integers(&source, json, "input_size", M2S_JSON_REQUIRED, 2, 2, M2S_MIN_INPUT_PX,
                                      M2S_MAX_INPUT_PX, size, &count, error));
    } else if (entry != NULL) {
        M2S_TRY(m2s_json_get_integer(&source, json, "input_size", M2S_JSON_REQUIRED, M2S_MIN_INPUT_PX, M2S_MAX_INPUT_PX,
                                     &size[0], error));
        size[1] = size[0];
    }
    config->input_width = (int32_t)size[0];
    config->input_height = (int32_t)size[1];
fail:
    return status;
}

static m2snet_status parse_classes(m2s_config *config, const m2s_json *json, m2snet_error *error)
{
    m2s_json *names = NULL;
    m2snet_status status;

    M2S_TRY(m2s_json_get_child(&source, json, "classes", M2S_JSON_OPTIONAL, M2S_JSON_ARRAY, &names, error));
    if (names == NULL) {
        return M2SNET_STATUS_OK;
    }
    size_t count = m2s_json_count(names);
    if (count < 1 || count > M2S_MAX_CLASSES) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "configuration key \"classes\": expected 1 to %d names, got %zu",
                        M2S_MAX_CLASSES, count);
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = m2s_json_string(m2s_json_at(names, i), NULL);
        if (name == NULL || strlen(name) >= sizeof config->class_name[0]) {
            return m2s_fail(error, M2SNET_STATUS_FORMAT,
                            "configuration key \"classes\": name %zu is not a string of fewer than %zu bytes", i,
                            sizeof config->class_name[0]);
        }
        snprintf(config->class_name[i], sizeof config->class_name[i], "%s", name);
    }
    config->classes = (int32_t)count;
fail:
    return status;
}

static m2snet_status parse_normalisation(m2s_config *config, const m2s_json *json, m2snet_error *error)
{
    double mean[3], std[3];
    size_t means = 0, stds = 0;
    m2snet_status status;

    M2S_TRY(m2s_json_get_numbers(&source, json, "mean", M2S_JSON_OPTIONAL, 3, 3, -1e3, 1e3, mean, &means, error));
    M2S_TRY(m2s_json_get_numbers(&source, json, "std", M2S_JSON_OPTIONAL, 3, 3, 1e-6, 1e3, std, &stds, error));
    for (int i = 0; i < 3; i++) {
        config->mean[i] = m2s_json_find(json, "mean") != NULL ? (float)mean[i] : config->mean[i];
        config->std[i] = m2s_json_find(json, "std") != NULL ? (float)std[i] : config->std[i];
    }
fail:
    return status;
}

m2snet_status m2s_config_parse(m2s_config *config, const char *text, size_t length, bool *sets_encoder,
                               bool *sets_scales, m2snet_error *error)
{
    m2s_config parsed = *config;
    m2s_json *json = NULL;
    bool encoder = false, scales = false;
    int64_t pyramid = config->pyramid_channels;
    m2snet_status status;

    M2S_TRY(m2s_json_parse(&source, text, length, &json, error));
    if (m2s_json_kind_of(json) != M2S_JSON_OBJECT) {
        status = m2s_fail(error, M2SNET_STATUS_FORMAT, "configuration: expected an object, got %s",
                          m2s_json_kind_name(m2s_json_kind_of(json)));
        goto fail;
    }
    M2S_TRY(check_version(json, error));
    M2S_TRY(refuse_required(json, error));
    M2S_TRY(parse_encoder(&parsed, json, &encoder, error));
    M2S_TRY(parse_scales(&parsed, json, &scales, error));
    M2S_TRY(m2s_variant_parse(&parsed.variant, &source, json, error));
    M2S_TRY(m2s_variant_check(&parsed.variant, &source, parsed.scale, parsed.scales, parsed.gaussian, error));
    M2S_TRY(
        m2s_json_get_integer(&source, json, "pyramid_channels", M2S_JSON_OPTIONAL, 1, MAX_CHANNELS, &pyramid, error));
    parsed.pyramid_channels = (int32_t)pyramid;
    M2S_TRY(parse_input_size(&parsed, json, error));
    M2S_TRY(parse_classes(&parsed, json, error));
    M2S_TRY(parse_normalisation(&parsed, json, error));
    M2S_TRY(m2s_json_get_number(&source, json, "threshold", M2S_JSON_OPTIONAL, 0.0, 1.0, &parsed.threshold, error));
    M2S_TRY(m2s_coding_parse(&parsed.coding, json, error));
    if (parsed.classes != 0) { /* else a file's weights will say */
        M2S_TRY(m2s_coding_check(&parsed.coding, parsed.classes, error));
    }
    *config = parsed;
    if (sets_encoder != NULL) {
        *sets_encoder = encoder;
    }
    if (sets_scales != NULL) {
        *sets_scales = scales;
    }
fail:
    m2s_json_free(json);
    return status;
}

m2snet_status m2s_config_check(const m2s_config *config, m2snet_error *error)
{
    m2snet_status status;

    M2S_TRY(m2s_variant_check(&config->variant, &source, config->scale, config->scales, config->gaussian, error));
    M2S_TRY(m2s_coding_check(&config->coding, config->classes, error));
fail:
    return status;
}

/* ---- writing ---- */

static m2snet_status put_floats(m2s_json *json, const char *key, const float *values, int count)
{
    m2s_json *list;
    m2snet_status status = m2s_json_put_child(json, key, M2S_JSON_ARRAY, &list, NULL);

    for (int i = 0; i < count && status == M2SNET_STATUS_OK; i++) {
        /* The shortest decimal that reads back as this float, rather than the double next to it. */
        char digits[32];
        snprintf(digits, sizeof digits, "%.9g", (double)values[i]);
        for (int precision = 1; precision <= 9; precision++) {
            snprintf(digits, sizeof digits, "%.*g", precision, (double)values[i]);
            if ((float)strtod(digits, NULL) == values[i]) {
                break;
            }
        }
        status = m2s_json_put_number(list, NULL, strtod(digits, NULL), NULL);
    }
    return status;
}

static m2snet_status put_int32s(m2s_json *json, const char *key, const int32_t *values, int count, size_t stride)
{
    m2s_json *list;
    m2snet_status status = m2s_json_put_child(json, key, M2S_JSON_ARRAY, &list, NULL);

    for (int i = 0; i < count && status == M2SNET_STATUS_OK; i++) {
        status = m2s_json_put_integer(list, NULL, values[(size_t)i * stride], NULL);
    }
    return status;
}

static m2snet_status put_encoder(m2s_json *json, const m2s_config *config)
{
    const m2s_encoder *family = m2s_encoder_of(config);
    m2s_json *shape;
    m2snet_status status;

    M2S_TRY(m2s_json_put_string(json, "encoder", config->encoder, NULL));
    if (strcmp(config->encoder, family->family) == 0) {
        M2S_TRY(m2s_json_put_child(json, "encoder_shape", M2S_JSON_OBJECT, &shape, NULL));
        for (int32_t k = 0; k < family->key_count; k++) {
            const m2s_shape_key *key = &family->keys[k];
            const int32_t *first = shape_number(config, key, 0);
            if (key->optional && *first == 0) {
                continue;
            }
            if (key->count == 1) {
                M2S_TRY(m2s_json_put_integer(shape, key->name, *first, NULL));
            } else {
                M2S_TRY(put_int32s(shape, key->name, first, key->count, key->step / sizeof *first));
            }
        }
    }
fail:
    return status;
}

char *m2s_config_dump(const m2s_config *config, m2s_memory *memory)
{
    const int32_t size[2] = { config->input_width, config->input_height };
    m2s_json *json = NULL, *names;
    char *text = NULL;
    m2snet_status status;

    M2S_TRY(m2s_json_object(&json, NULL));
    M2S_TRY(m2s_json_put_integer(json, "format_version", M2SNET_FORMAT_VERSION, NULL));
    M2S_TRY(m2s_json_put_string(json, "architecture", m2s_config_architecture(config), NULL));
    M2S_TRY(put_encoder(json, config));
    M2S_TRY(m2s_json_put_integer(json, "pyramid_channels", config->pyramid_channels, NULL));
    M2S_TRY(put_int32s(json, "scales", config->scale, config->scales, 1));
    if (config->gaussian) {
        M2S_TRY(m2s_json_put_bool(json, "gaussian", true, NULL));
    }
    M2S_TRY(m2s_variant_put(&config->variant, json));
    M2S_TRY(size[0] == size[1] ? m2s_json_put_integer(json, "input_size", size[0], NULL)
                               : put_int32s(json, "input_size", size, 2, 1));
    M2S_TRY(put_floats(json, "mean", config->mean, 3));
    M2S_TRY(put_floats(json, "std", config->std, 3));
    M2S_TRY(m2s_json_put_number(json, "threshold", config->threshold, NULL));
    M2S_TRY(m2s_json_put_child(json, "classes", M2S_JSON_ARRAY, &names, NULL));
    for (int32_t i = 0; i < config->classes; i++) {
        M2S_TRY(m2s_json_put_string(names, NULL, config->class_name[i], NULL));
    }
    M2S_TRY(m2s_coding_put(&config->coding, json, NULL));
    M2S_TRY(m2s_json_write(memory, json, M2S_JSON_COMPACT, &text, NULL, NULL));
fail:
    m2s_json_free(json);
    return text;
}
