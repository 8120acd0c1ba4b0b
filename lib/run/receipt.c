/* SPDX-License-Identifier: Apache-2.0 */
#include "run/receipt.h"

#include <stdio.h>

#include "core/json.h"

/* Fractions without the locale's decimal sign. */
static int put_decimal(char *text, size_t bytes, float value)
{
    long scaled = (long)((double)value * 100000.0 + (value < 0.0f ? -0.5 : 0.5));
    unsigned long size = (unsigned long)(scaled < 0 ? -scaled : scaled);

    return snprintf(text, bytes, "%s%lu.%05lu", scaled < 0 ? "-" : "", size / 100000, size % 100000);
}

static void describe_preprocessing(m2snet_result *result, const m2snet_session *session)
{
    const m2s_config *config = &session->model->config;
    char number[6][24];

    for (int i = 0; i < 3; i++) {
        put_decimal(number[i], sizeof number[i], config->mean[i]);
        put_decimal(number[3 + i], sizeof number[3 + i], config->std[i]);
    }
    snprintf(result->preprocessing, sizeof result->preprocessing, "pillow-bilinear %dx%d, mean %s,%s,%s, std %s,%s,%s",
             session->options.input_width, session->options.input_height, number[0], number[1], number[2], number[3],
             number[4], number[5]);
}

static m2snet_status put_components(m2s_json *json, const m2s_segmentation *segmentation)
{
    m2s_json *list, *entry;
    m2snet_status status;

    M2S_TRY(m2s_json_put_child(json, "components", M2S_JSON_ARRAY, &list, NULL));
    for (int32_t i = 0; i < segmentation->component_count; i++) {
        const m2snet_component *c = &segmentation->components[i].info;
        M2S_TRY(m2s_json_put_child(list, NULL, M2S_JSON_OBJECT, &entry, NULL));
        M2S_TRY(m2s_json_put_integer(entry, "area_px", c->area_px, NULL));
        if (c->area_mm2 >= 0.0) {
            M2S_TRY(m2s_json_put_number(entry, "area_mm2", c->area_mm2, NULL));
        }
        M2S_TRY(m2s_json_put_integer(entry, "x", c->x, NULL));
        M2S_TRY(m2s_json_put_integer(entry, "y", c->y, NULL));
        M2S_TRY(m2s_json_put_integer(entry, "width", c->width, NULL));
        M2S_TRY(m2s_json_put_integer(entry, "height", c->height, NULL));
        M2S_TRY(m2s_json_put_number(entry, "mean_probability", c->mean_probability, NULL));
        M2S_TRY(m2s_json_put_number(entry, "centroid_x", c->centroid_x, NULL));
        M2S_TRY(m2s_json_put_number(entry, "centroid_y", c->centroid_y, NULL));
    }
fail:
    return status;
}

static m2snet_status write_json(m2snet_result *result, m2snet_error *error)
{
    const m2snet_receipt *r = &result->receipt;
    const struct {
        const char *key, *value;
    } texts[] = { { "model_sha256", r->model_sha256 },
                  { "architecture", r->architecture },
                  { "encoder", r->encoder },
                  { "library_version", r->library_version },
                  { "dependencies", r->dependencies },
                  { "backend", r->backend },
                  { "device", r->device },
                  { "instruction_set", r->instruction_set },
                  { "precision", r->precision },
                  { "preprocessing", r->preprocessing } };
    const struct {
        const char *key;
        int64_t value;
    } integers[] = { { "threads", r->threads },
                     { "image_width", r->image_width },
                     { "image_height", r->image_height },
                     { "input_width", r->input_width },
                     { "input_height", r->input_height } };
    const struct {
        const char *key;
        double value;
    } numbers[] = { { "threshold", r->threshold },
                    { "presence", r->presence },
                    { "milliseconds_pre", r->milliseconds_pre },
                    { "milliseconds_network", r->milliseconds_network },
                    { "milliseconds_post", r->milliseconds_post } };
    m2s_json *json = NULL;
    m2snet_status status;

    M2S_TRY(m2s_json_object(&json, error));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        M2S_TRY(m2s_json_put_string(json, texts[i].key, texts[i].value, error));
    }
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        M2S_TRY(m2s_json_put_integer(json, integers[i].key, integers[i].value, error));
    }
    M2S_TRY(m2s_json_put_bool(json, "found", r->found != 0, error));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        M2S_TRY(m2s_json_put_number(json, numbers[i].key, numbers[i].value, error));
    }
    status = put_components(json, &result->segmentation);
    if (status != M2SNET_STATUS_OK) {
        m2s_fail_memory(error, "the receipt", 4096);
        goto fail;
    }
    M2S_TRY(m2s_json_write(&result->model->context->memory, json, M2S_JSON_INDENT, &result->receipt_json, NULL, error));
fail:
    m2s_json_free(json);
    return status;
}

m2snet_status m2s_receipt_write(m2snet_result *result, const m2snet_session *session, double threshold,
                                const m2snet_image *image, m2snet_error *error)
{
    static const char *const precisions[] = { "f32", "f64", "f16", "bf16", "tf32" };
    m2snet_model *model = session->model;
    m2snet_context *context = model->context;
    m2snet_receipt *r = &result->receipt;

    describe_preprocessing(result, session);
    r->struct_size = sizeof *r;
    r->model_sha256 = m2s_store_sha256(model->store);
    r->architecture = m2s_config_architecture(&model->config);
    r->encoder = model->config.encoder;
    r->library_version = M2SNET_VERSION_STRING;
    r->dependencies = m2s_context_dependencies(context);
    r->backend = context->backend->name;
    r->device = context->device_info.name;
    r->instruction_set = context->device_info.instruction_set;
    r->precision = precisions[session->options.precision];
    r->preprocessing = result->preprocessing;
    r->threads = m2s_pool_threads(context->host.pool);
    r->image_width = image->width;
    r->image_height = image->height;
    r->input_width = session->options.input_width;
    r->input_height = session->options.input_height;
    r->threshold = threshold;
    r->found = result->segmentation.found;
    r->presence = result->segmentation.presence;
    return write_json(result, error);
}
