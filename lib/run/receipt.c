/* SPDX-License-Identifier: Apache-2.0 */
#include "run/receipt.h"

#include <stdio.h>
#include <string.h>

#include "core/json.h"

/* Fractions without the locale's decimal sign. */
static int put_decimal(char *text, size_t bytes, float value)
{
    long scaled = (long)((double)value * 100000.0 + (value < 0.0f ? -0.5 : 0.5));
    unsigned long size = (unsigned long)(scaled < 0 ? -scaled : scaled);

    return snprintf(text, bytes, "%s%lu.%05lu", scaled < 0 ? "-" : "", size / 100000, size % 100000);
}

static void describe_preprocessing(m2snet_result *result, const m2s_views *views)
{
    const m2s_config *config = &views->session[0]->model->config;
    char number[6][24];

    for (int i = 0; i < 3; i++) {
        put_decimal(number[i], sizeof number[i], config->mean[i]);
        put_decimal(number[3 + i], sizeof number[3 + i], config->std[i]);
    }
    snprintf(result->preprocessing, sizeof result->preprocessing, "%s %dx%d, mean %s,%s,%s, std %s,%s,%s",
             views->tiles ? "windows" : "pillow-bilinear", views->width, views->height, number[0], number[1], number[2],
             number[3], number[4], number[5]);
}

static void describe_views(m2snet_result *result, const m2s_views *views)
{
    static const char *const mirrors[] = { "", ", mirrored horizontally", ", mirrored vertically",
                                           ", mirrored both ways" };
    char models[32] = "", seen[80] = "whole picture";

    if (views->tiles) {
        int step = (int)(100.0 * views->step + 0.5);
        snprintf(seen, sizeof seen, "%d window%s, step %d.%02d, Gaussian weights", (int)views->window_count,
                 views->window_count == 1 ? "" : "s", step / 100, step % 100);
    }
    if (views->sessions > 1) {
        snprintf(models, sizeof models, ", %d models", (int)views->sessions);
    }
    snprintf(result->views, sizeof result->views, "%s%s%s", seen, mirrors[views->mirror], models);
}

/* The other models need not outlive the result: their checksums are copied. */
static m2snet_status list_ensemble(m2snet_result *result, const m2s_views *views, m2snet_error *error)
{
    size_t bytes = 1, used = 0;

    for (int32_t i = 1; i < views->sessions; i++) {
        bytes += strlen(m2s_store_sha256(views->session[i]->model->store)) + 1;
    }
    result->ensemble = m2s_calloc(&result->model->context->memory, bytes, 1);
    if (result->ensemble == NULL) {
        return m2s_fail_memory(error, "the receipt", bytes);
    }
    for (int32_t i = 1; i < views->sessions; i++) {
        used += (size_t)snprintf(result->ensemble + used, bytes - used, "%s%s", i > 1 ? "\n" : "",
                                 m2s_store_sha256(views->session[i]->model->store));
    }
    return M2SNET_STATUS_OK;
}

/* "ensemble": the checksums, one a line, as a list. */
static m2snet_status put_ensemble(m2s_json *json, const char *lines)
{
    m2s_json *list;
    char sha256[80];
    m2snet_status status;

    M2S_TRY(m2s_json_put_child(json, "ensemble", M2S_JSON_ARRAY, &list, NULL));
    while (*lines != '\0') {
        size_t length = strcspn(lines, "\n");
        snprintf(sha256, sizeof sha256, "%.*s", (int)length, lines);
        M2S_TRY(m2s_json_put_string(list, NULL, sha256, NULL));
        lines += length + (lines[length] == '\n');
    }
fail:
    return status;
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

/* Stands in the JSON until somebody asks for the receipt: a mask need not wait for the digest of the weights. */
#define DIGEST_LATER "0000000000000000000000000000000000000000000000000000000000000000"

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
                  { "preprocessing", r->preprocessing },
                  { "views", r->views } };
    const struct {
        const char *key;
        int64_t value;
    } integers[] = { { "threads", r->threads },
                     { "image_width", r->image_width },
                     { "image_height", r->image_height },
                     { "input_width", r->input_width },
                     { "input_height", r->input_height },
                     { "windows", r->windows },
                     { "models", r->models } };
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
    status = put_ensemble(json, r->ensemble);
    if (status == M2SNET_STATUS_OK) {
        status = put_components(json, &result->segmentation);
    }
    if (status != M2SNET_STATUS_OK) {
        m2s_fail_memory(error, "the receipt", 4096);
        goto fail;
    }
    M2S_TRY(m2s_json_write(&result->model->context->memory, json, M2S_JSON_INDENT, &result->receipt_json, NULL, error));
fail:
    m2s_json_free(json);
    return status;
}

m2snet_status m2s_receipt_write(m2snet_result *result, const m2s_views *views, double threshold,
                                const m2snet_image *image, m2snet_error *error)
{
    static const char *const precisions[] = { "f32", "f64", "f16", "bf16", "tf32" };
    m2snet_model *model = views->session[0]->model;
    m2snet_context *context = model->context;
    m2snet_receipt *r = &result->receipt;
    m2snet_status status;

    describe_preprocessing(result, views);
    describe_views(result, views);
    M2S_TRY(list_ensemble(result, views, error));
    r->struct_size = sizeof *r;
    result->digest_later = m2s_store_hashes_later(model->store);
    r->model_sha256 = result->digest_later ? DIGEST_LATER : m2s_store_sha256(model->store);
    r->architecture = m2s_config_architecture(&model->config);
    r->encoder = model->config.encoder;
    r->library_version = M2SNET_VERSION_STRING;
    r->dependencies = m2s_context_dependencies(context);
    r->backend = context->backend->name;
    r->device = context->device_info.name;
    r->instruction_set = context->device_info.instruction_set;
    r->precision = precisions[views->session[0]->options.precision];
    r->preprocessing = result->preprocessing;
    r->threads = m2s_pool_threads(context->host.pool);
    r->image_width = image->width;
    r->image_height = image->height;
    r->input_width = views->width;
    r->input_height = views->height;
    r->threshold = threshold;
    r->found = result->segmentation.found;
    r->presence = result->segmentation.presence;
    r->views = result->views;
    r->windows = views->window_count;
    r->models = views->sessions;
    r->ensemble = result->ensemble;
    status = write_json(result, error);
fail:
    return status;
}

void m2s_receipt_complete(m2snet_result *result)
{
    if (!result->digest_later) {
        return;
    }
    const char *hex = m2s_store_sha256(result->model->store);
    size_t digits = strlen(hex);
    char *place = strstr(result->receipt_json, DIGEST_LATER); /* its first key */
    for (size_t i = 0; i < digits; i++) {
        place[i] = hex[i];
    }
    memmove(place + digits, place + sizeof DIGEST_LATER - 1, strlen(place + sizeof DIGEST_LATER - 1) + 1);
    result->receipt.model_sha256 = hex;
    result->digest_later = false;
}
