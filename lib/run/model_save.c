/* SPDX-License-Identifier: Apache-2.0
 * Writing a model file, and the self test that may travel in it. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/json.h"
#include "core/options.h"
#include "core/rng.h"
#include "run/fit.h"
#include "run/model.h"
#include "run/session.h"
#include "weights/load.h"
#include "weights/safetensors.h"

#define SELFTEST_SIDE_PX 64
#define DRAFT_ENDING     ".selftest"
/* A healthy run differs from the float64 result by some 1e-6 of the largest logit, a half-precision one by 1e-2. */
#define SELFTEST_TOLERANCE 1e-4

void m2s_save_options_default(m2snet_save_options *options)
{
    *options = (m2snet_save_options){ .struct_size = sizeof *options, .dtype = M2SNET_DTYPE_F32 };
}

/* ---- metadata ---- */

static const m2s_json_source metadata_source = { "metadata_json", M2SNET_STATUS_INVALID_ARGUMENT };

/* The model's own entries, the configuration, then the caller's; empty values remove. Strings stay owned by model and
 * json. */
static m2snet_status collect_metadata(const m2snet_model *model, const m2s_json *json, m2s_safetensors_text **list,
                                      size_t *count, m2snet_error *error)
{
    size_t kept = m2s_store_metadata_count(model->store);
    size_t room = kept + 1 + (json != NULL ? m2s_json_count(json) : 0);
    m2s_safetensors_text *texts = m2s_alloc_array(&model->context->memory, room, sizeof *texts);
    size_t used = 0;
    m2s_json_cursor cursor = { 0 };

    *list = texts;
    *count = 0;
    if (texts == NULL) {
        return m2s_fail_memory(error, "metadata", room * sizeof *texts);
    }
    texts[used++] = (m2s_safetensors_text){ M2S_METADATA_CONFIG, model->config_json };
    for (size_t i = 0; i < kept; i++) {
        const char *key = m2s_store_metadata_key(model->store, i);
        if (strcmp(key, M2S_METADATA_CONFIG) != 0 && (json == NULL || m2s_json_find(json, key) == NULL)) {
            texts[used++] = (m2s_safetensors_text){ key, m2s_store_metadata_value(model->store, i) };
        }
    }
    while (json != NULL && m2s_json_next(json, &cursor)) {
        const char *value = m2s_json_string(cursor.value, NULL);
        if (value == NULL || strcmp(cursor.key, M2S_METADATA_CONFIG) == 0) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                            "metadata_json key \"%s\": expected a string, under any key but " M2S_METADATA_CONFIG,
                            cursor.key);
        }
        if (value[0] != '\0') {
            texts[used++] = (m2s_safetensors_text){ cursor.key, value };
        }
    }
    *count = used;
    return M2SNET_STATUS_OK;
}

/* ---- weights ---- */

static bool is_selftest(const char *name)
{
    return strcmp(name, M2S_SELFTEST_INPUT) == 0 || strcmp(name, M2S_SELFTEST_LOGITS) == 0;
}

/* All weights but an old self test, convolutions in the wanted dtype; room for two more. */
static m2snet_status collect_entries(const m2snet_model *model, m2snet_dtype dtype, m2s_safetensors_entry **list,
                                     size_t *count, m2snet_error *error)
{
    size_t room = m2s_store_count(model->store) + 2;
    m2s_safetensors_entry *entries = m2s_alloc_array(&model->context->memory, room, sizeof *entries);

    *list = entries;
    *count = 0;
    if (entries == NULL) {
        return m2s_fail_memory(error, "a list of weights", room * sizeof *entries);
    }
    for (size_t i = 0; i < m2s_store_count(model->store); i++) {
        const m2s_weight *weight = m2s_store_at(model->store, i);
        bool is_float = weight->dtype == M2SNET_DTYPE_F64 || weight->dtype == M2SNET_DTYPE_F32 ||
                        weight->dtype == M2SNET_DTYPE_F16 || weight->dtype == M2SNET_DTYPE_BF16;
        if (!is_selftest(weight->name)) {
            m2snet_dtype target = !is_float ? weight->dtype : weight->rank >= 2 ? dtype : M2SNET_DTYPE_F32;
            entries[(*count)++] = (m2s_safetensors_entry){ weight, target };
        }
    }
    return M2SNET_STATUS_OK;
}

/* ---- self test ---- */

/* Logits of the float64 reference for `image`, computed from the weights as the file at path has them. */
static m2snet_status reference_logits(const m2snet_model *model, const char *path, const float *image, float *logits,
                                      m2s_control *control, m2snet_error *error)
{
    m2snet_context *context = NULL;
    m2snet_model *saved = NULL;
    m2snet_session *session = NULL;
    m2snet_session_options options;
    m2s_program *program;
    size_t pixels = (size_t)SELFTEST_SIDE_PX * SELFTEST_SIDE_PX, classes = (size_t)model->config.classes;
    double *numbers = NULL;
    m2snet_status status;

    M2S_TRY(m2s_context_create_reference(model->context, &context, error));
    numbers = m2s_alloc_array(&context->memory, pixels * (3 + classes), sizeof *numbers);
    if (numbers == NULL) {
        status = m2s_fail_memory(error, "the self test", pixels * (3 + classes) * sizeof *numbers);
        goto fail;
    }
    M2S_TRY(m2s_model_load_file(context, path, NULL, &saved, error));
    m2s_session_options_default(&options);
    options.precision = M2SNET_PRECISION_F64;
    M2S_TRY(m2s_session_create(saved, &options, &session, error));
    M2S_TRY(m2s_session_plan_for(session, 1, SELFTEST_SIDE_PX, SELFTEST_SIDE_PX, control, &program, error));
    for (size_t i = 0; i < 3 * pixels; i++) {
        numbers[i] = (double)image[i];
    }
    double *result = numbers + 3 * pixels;
    M2S_TRY(m2s_session_run_dense(session, program, numbers, result, control, error));
    for (size_t i = 0; i < classes * pixels; i++) {
        logits[i] = (float)result[i];
    }
fail:
    m2s_session_destroy(session);
    m2s_model_release(saved);
    if (context != NULL) {
        m2s_free(&context->memory, numbers);
        status = m2s_memory_explain(&context->memory, status, error);
    }
    m2s_context_release(context);
    return status;
}

/* Between (c, h, w), as files have it, and (h, w, c). */
static void to_planes(const float *pixels, size_t channels, size_t count, float *planes)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t c = 0; c < channels; c++) {
            planes[c * count + i] = pixels[i * channels + c];
        }
    }
}

static m2snet_status add_tensor(m2s_store *store, const char *name, int64_t channels, const float *pixels,
                                m2snet_error *error)
{
    const int64_t dims[4] = { 1, channels, SELFTEST_SIDE_PX, SELFTEST_SIDE_PX };
    m2s_weight_desc desc = {
        .name = name, .name_bytes = strlen(name), .dtype = M2SNET_DTYPE_F32, .rank = 4, .dims = dims
    };
    void *planes;
    m2snet_status status = m2s_store_add(store, &desc, NULL, &planes, error);

    if (status == M2SNET_STATUS_OK) {
        to_planes(pixels, (size_t)channels, (size_t)SELFTEST_SIDE_PX * SELFTEST_SIDE_PX, planes);
    }
    return status;
}

/* Runs the file at path on a drawn input and gives a store with both tensors. */
static m2snet_status make_selftest(const m2snet_model *model, const char *path, m2s_control *control, m2s_store **made,
                                   m2snet_error *error)
{
    m2s_memory *memory = &model->context->memory;
    size_t pixels = (size_t)SELFTEST_SIDE_PX * SELFTEST_SIDE_PX, classes = (size_t)model->config.classes;
    uint64_t stream = m2s_rng_stream(0, M2S_SELFTEST_INPUT);
    float *numbers = m2s_alloc_array(memory, pixels * (3 + classes), sizeof *numbers);
    m2s_store *store = NULL;
    m2snet_status status;

    if (numbers == NULL) {
        return m2s_fail_memory(error, "the self test", pixels * (3 + classes) * sizeof *numbers);
    }
    for (size_t i = 0; i < 3 * pixels; i++) {
        numbers[i] = (float)(4.0 * m2s_rng_uniform(stream, i) - 2.0); /* about the range of normalised pictures */
    }
    M2S_TRY(reference_logits(model, path, numbers, numbers + 3 * pixels, control, error));
    M2S_TRY(m2s_store_create(memory, "created", &store, error));
    M2S_TRY(add_tensor(store, M2S_SELFTEST_INPUT, 3, numbers, error));
    M2S_TRY(add_tensor(store, M2S_SELFTEST_LOGITS, (int64_t)classes, numbers + 3 * pixels, error));
    *made = store;
    store = NULL;
fail:
    m2s_store_destroy(store);
    m2s_free(memory, numbers);
    return status;
}

m2snet_status m2s_model_save_file(const m2snet_model *model, const char *path, const m2snet_save_options *given,
                                  m2snet_error *error)
{
    m2s_memory *memory = &model->context->memory;
    m2snet_save_options options;
    m2s_control control;
    m2s_json *json = NULL;
    m2s_safetensors_text *texts = NULL;
    m2s_safetensors_entry *entries = NULL;
    m2s_store *selftest = NULL;
    char *draft = NULL;
    size_t text_count, entry_count;
    m2snet_status status;

    m2s_save_options_default(&options);
    M2S_TRY(m2s_options_import("m2snet_save_options", given, &options, sizeof options, error));
    if (options.dtype != M2SNET_DTYPE_F32 && options.dtype != M2SNET_DTYPE_F16 && options.dtype != M2SNET_DTYPE_BF16) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "weights are saved as F32, F16 or BF16, not dtype %d",
                        (int)options.dtype);
    }
    m2s_control_init(&control, &options.control);
    if (options.metadata_json != NULL) {
        M2S_TRY(m2s_json_parse(&metadata_source, options.metadata_json, strlen(options.metadata_json), &json, error));
        if (m2s_json_kind_of(json) != M2S_JSON_OBJECT) {
            status = m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "metadata_json: expected an object, got %s",
                              m2s_json_kind_name(m2s_json_kind_of(json)));
            goto fail;
        }
    }
    M2S_TRY(collect_metadata(model, json, &texts, &text_count, error));
    M2S_TRY(collect_entries(model, options.dtype, &entries, &entry_count, error));
    if (options.with_selftest) {
        /* The result must be that of the weights as the file will have them, rounded and all. */
        size_t draft_bytes = strlen(path) + sizeof DRAFT_ENDING;
        draft = m2s_alloc(memory, draft_bytes);
        if (draft == NULL) {
            status = m2s_fail_memory(error, "a file name", draft_bytes);
            goto fail;
        }
        snprintf(draft, draft_bytes, "%s%s", path, DRAFT_ENDING);
        if (access(draft, F_OK) == 0) {
            status = m2s_fail(error, M2SNET_STATUS_IO,
                              "%s: the file is there already, and the self test needs its place", draft);
            goto fail;
        }
        M2S_TRY(m2s_safetensors_write(memory, draft, texts, text_count, entries, entry_count, &control, error));
        status = make_selftest(model, draft, &control, &selftest, error);
        unlink(draft);
        M2S_TRY(status);
        for (size_t i = 0; i < m2s_store_count(selftest); i++) {
            entries[entry_count++] = (m2s_safetensors_entry){ m2s_store_at(selftest, i), M2SNET_DTYPE_F32 };
        }
    }
    M2S_TRY(m2s_safetensors_write(memory, path, texts, text_count, entries, entry_count, &control, error));
fail:
    m2s_free(memory, draft);
    m2s_store_destroy(selftest);
    m2s_free(memory, entries);
    m2s_free(memory, texts);
    m2s_json_free(json);
    return status;
}

/* ---- running it ---- */

static m2snet_status find_vector(const m2snet_model *model, const char *name, int64_t channels,
                                 const m2s_weight **found, m2snet_error *error)
{
    const m2s_weight *weight = m2s_store_find(model->store, name);

    if (weight == NULL) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "the model file has no self test (%s)", name);
    }
    if (weight->rank != 4 || weight->dims[0] != 1 || weight->dims[1] != channels ||
        weight->dims[2] < M2S_MIN_INPUT_PX || weight->dims[3] < M2S_MIN_INPUT_PX || weight->dims[2] > 1024 ||
        weight->dims[3] > 1024) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "%s is %s: expected 1 x channels x h x w with sides of %d to 1024",
                        name, m2s_dims_text(weight->rank, weight->dims).text, M2S_MIN_INPUT_PX);
    }
    *found = weight;
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_model_selftest(m2snet_model *model, double *largest_difference, m2snet_error *error)
{
    m2s_memory *memory = &model->context->memory;
    const m2s_weight *input, *expected;
    m2snet_session *session = NULL;
    m2s_program *program;
    float *planes = NULL, *image = NULL, *logits = NULL;
    size_t classes = (size_t)model->config.classes;
    m2snet_status status;

    M2S_TRY(find_vector(model, M2S_SELFTEST_INPUT, 3, &input, error));
    M2S_TRY(find_vector(model, M2S_SELFTEST_LOGITS, model->config.classes, &expected, error));
    if (memcmp(&input->dims[2], &expected->dims[2], 2 * sizeof input->dims[0]) != 0) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "the self test's input and result differ in size");
    }
    size_t pixels = (size_t)(input->dims[2] * input->dims[3]);
    size_t most = pixels * (classes > 3 ? classes : 3);
    planes = m2s_alloc_array(memory, most, sizeof *planes);
    image = m2s_alloc_array(memory, pixels * 3, sizeof *image);
    logits = m2s_alloc_array(memory, pixels * classes, sizeof *logits);
    if (planes == NULL || image == NULL || logits == NULL) {
        status = m2s_fail_memory(error, "the self test", most * sizeof *planes);
        goto fail;
    }
    M2S_TRY(m2s_weight_read_float(input, 0, 3 * pixels, planes, error));
    for (size_t i = 0; i < pixels; i++) {
        for (size_t c = 0; c < 3; c++) {
            image[3 * i + c] = planes[c * pixels + i];
        }
    }
    M2S_TRY(m2s_session_create(model, NULL, &session, error));
    M2S_TRY(m2s_session_plan_for(session, 1, input->dims[2], input->dims[3], NULL, &program, error));
    M2S_TRY(m2s_session_run_dense(session, program, image, logits, NULL, error));
    M2S_TRY(m2s_weight_read_float(expected, 0, classes * pixels, planes, error));

    double largest = 0.0, scale = 1.0;
    for (size_t i = 0; i < pixels; i++) {
        for (size_t c = 0; c < classes; c++) {
            double truth = (double)planes[c * pixels + i];
            double difference = fabs((double)logits[i * classes + c] - truth);
            if (!isnan(largest) && !(difference <= largest)) {
                largest = difference; /* NaN counts, and stays */
            }
            scale = fabs(truth) > scale ? fabs(truth) : scale;
        }
    }
    if (largest_difference != NULL) {
        *largest_difference = largest;
    }
    if (!(largest <= SELFTEST_TOLERANCE * scale)) {
        status = m2s_fail(error, M2SNET_STATUS_MISMATCH,
                          "self test failed: a logit differs by %g from the stored result, %g is allowed", largest,
                          SELFTEST_TOLERANCE * scale);
    }
fail:
    m2s_session_destroy(session);
    m2s_free(memory, planes);
    m2s_free(memory, image);
    m2s_free(memory, logits);
    return status;
}
