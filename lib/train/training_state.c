/* SPDX-License-Identifier: Apache-2.0 */
#include "train/training_state.h"

#include <math.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "run/fit.h"
#include "train/trainer_options.h"
#include "weights/load.h"
#include "weights/safetensors.h"

#define KEY_PLACE  "m2snet.state"        /* version, counters, sums */
#define KEY_RECIPE "m2snet.state.recipe" /* m2s_trainer_options_json */
#define KEY_DATA   "m2snet.state.data"   /* of the fit; "" = none */
#define VERSION    1

#define MAX_FILE_BYTES ((uint64_t)16 << 30)
#define MAX_COUNT      ((int64_t)1 << 53)

static const m2s_json_source source = { "training state", M2SNET_STATUS_FORMAT };

/* ---- the place ---- */

typedef struct member {
    const char *key;
    size_t offset; /* in m2s_position */
    bool is_count; /* int64_t, else double */
    bool is_later; /* states of before it was there go on */
} member;

#define COUNT(name)                                                                                                    \
    {                                                                                                                  \
#name, offsetof(m2s_position, name), true, false                                                               \
    }
#define NUMBER(name)                                                                                                   \
    {                                                                                                                  \
#name, offsetof(m2s_position, name), false, false                                                              \
    }
static const member members[] = {
    COUNT(epoch),
    COUNT(batch),
    COUNT(step),
    COUNT(updates),
    COUNT(pending),
    COUNT(bad_steps),
    COUNT(validations),
    COUNT(best_epoch),
    NUMBER(best_score),
    NUMBER(sums.loss),
    NUMBER(sums.bce),
    NUMBER(sums.iou),
    NUMBER(sums.dice),
    NUMBER(sums.cross_entropy),
    NUMBER(sums.lossnet),
    COUNT(sums.finite_images),
    COUNT(sums.images),
    COUNT(sums.bad_steps),
    { "loss_scale", offsetof(m2s_position, loss_scale), false, true },
    { "sum_scale", offsetof(m2s_position, sum_scale), false, true },
    { "good_steps", offsetof(m2s_position, good_steps), true, true },
};
#define MEMBERS (sizeof members / sizeof members[0])

static m2snet_status place_text(m2s_memory *memory, const m2s_position *position, char **text, m2snet_error *error)
{
    m2s_json *json = NULL;
    m2snet_status status;

    *text = NULL;
    M2S_TRY(m2s_json_object(&json, error));
    M2S_TRY(m2s_json_put_integer(json, "version", VERSION, error));
    for (size_t i = 0; i < MEMBERS; i++) {
        const char *at = (const char *)position + members[i].offset;
        if (members[i].is_count) {
            M2S_TRY(m2s_json_put_integer(json, members[i].key, *(const int64_t *)(const void *)at, error));
        } else {
            M2S_TRY(m2s_json_put_number(json, members[i].key, *(const double *)(const void *)at, error));
        }
    }
    M2S_TRY(m2s_json_write(memory, json, M2S_JSON_COMPACT, text, NULL, error));
fail:
    m2s_json_free(json);
    return status;
}

static bool is_scale(double value, bool scaled)
{
    int exponent;

    return value >= 1.0 && value <= (scaled ? M2S_MOST_LOSS_SCALE : 1.0) && frexp(value, &exponent) == 0.5;
}

/* position: what a trainer begins with. */
static m2snet_status parse_place(const char *text, const m2s_recipe *recipe, m2s_position *position,
                                 m2snet_error *error)
{
    m2s_json *json = NULL;
    int64_t version;
    m2snet_status status;

    M2S_TRY(m2s_json_parse(&source, text, strlen(text), &json, error));
    M2S_TRY(m2s_json_get_integer(&source, json, "version", M2S_JSON_REQUIRED, 1, VERSION, &version, error));
    for (size_t i = 0; i < MEMBERS; i++) {
        char *at = (char *)position + members[i].offset;
        m2s_json_need need = members[i].is_later ? M2S_JSON_OPTIONAL : M2S_JSON_REQUIRED;
        if (members[i].is_count) {
            M2S_TRY(
                m2s_json_get_integer(&source, json, members[i].key, need, -1, MAX_COUNT, (int64_t *)(void *)at, error));
        } else {
            M2S_TRY(
                m2s_json_get_number(&source, json, members[i].key, need, -1e300, 1e300, (double *)(void *)at, error));
        }
    }
    if (position->epoch < 0 || position->batch < 0 || position->step < 0 || position->updates < 0 ||
        position->pending < 0 || position->pending >= recipe->accumulate || position->good_steps < 0 ||
        position->good_steps >= M2S_SCALE_GROWS_AFTER || !is_scale(position->loss_scale, recipe->scaled) ||
        !is_scale(position->sum_scale, recipe->scaled)) {
        status = m2s_fail(error, M2SNET_STATUS_FORMAT, "training state: a counter is outside its range");
    }
fail:
    m2s_json_free(json);
    return status;
}

/* ---- saving ---- */

static m2snet_status add_entry(const m2snet_trainer *trainer, const m2s_state_entry *entry, m2s_store *store,
                               m2snet_error *error)
{
    m2s_weight_desc desc = { .name = entry->name,
                             .name_bytes = strlen(entry->name),
                             .dtype = entry->dtype,
                             .rank = m2s_fit_rank(entry->shape),
                             .dims = entry->shape.d };
    void *numbers;
    m2snet_status status;

    M2S_TRY(m2s_store_add(store, &desc, NULL, &numbers, error));
    M2S_TRY(m2s_state_read(trainer->state, entry, numbers, error));
fail:
    return status;
}

m2snet_status m2s_training_state_save(m2snet_trainer *trainer, const char *path, m2s_control *control,
                                      m2snet_error *error)
{
    m2s_memory *memory = &trainer->model->context->memory;
    size_t count = (size_t)m2s_state_count(trainer->state);
    m2s_store *store = NULL;
    m2s_safetensors_entry *entries = NULL;
    char *place = NULL;
    m2snet_status status;

    M2S_TRY(place_text(memory, &trainer->position, &place, error));
    M2S_TRY(m2s_store_create(memory, "created", &store, error));
    entries = m2s_alloc_array(memory, count, sizeof *entries);
    if (entries == NULL) {
        status = m2s_fail_memory(error, "a checkpoint", count * sizeof *entries);
        goto fail;
    }
    for (size_t i = 0; i < count; i++) {
        M2S_TRY(add_entry(trainer, m2s_state_at(trainer->state, (int32_t)i), store, error));
    }
    for (size_t i = 0; i < count; i++) {
        const m2s_weight *weight = m2s_store_at(store, i);
        entries[i] = (m2s_safetensors_entry){ weight, weight->dtype };
    }
    const m2s_safetensors_text texts[] = {
        { M2S_METADATA_CONFIG, trainer->model->config_json },
        { KEY_PLACE, place },
        { KEY_RECIPE, trainer->recipe_json },
        { KEY_DATA, trainer->data_json != NULL ? trainer->data_json : "" },
    };
    M2S_TRY(m2s_safetensors_write(memory, path, texts, sizeof texts / sizeof texts[0], entries, count, control, error));
fail:
    m2s_free(memory, entries);
    m2s_free(memory, place);
    m2s_store_destroy(store);
    return status;
}

/* ---- loading ---- */

static m2snet_status check_arrays(const m2snet_trainer *trainer, const m2s_store *store, m2snet_error *error)
{
    for (int32_t i = 0; i < m2s_state_count(trainer->state); i++) {
        const m2s_state_entry *entry = m2s_state_at(trainer->state, i);
        const m2s_weight *weight = m2s_store_find(store, entry->name);
        int32_t rank = m2s_fit_rank(entry->shape);
        if (weight == NULL) {
            return m2s_fail(error, M2SNET_STATUS_MISMATCH, "%s %s is missing", entry->name,
                            m2s_dims_text(rank, entry->shape.d).text);
        }
        if (weight->dtype != entry->dtype || weight->bytes != m2s_state_entry_bytes(entry) || weight->rank != rank ||
            memcmp(weight->dims, entry->shape.d, (size_t)rank * sizeof weight->dims[0]) != 0) {
            return m2s_fail(error, M2SNET_STATUS_MISMATCH, "%s is %s %s, expected %s %s", entry->name,
                            weight->dtype_name, m2s_dims_text(weight->rank, weight->dims).text,
                            m2s_dtype_name(entry->dtype), m2s_dims_text(rank, entry->shape.d).text);
        }
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status text_of(const m2s_store *store, const char *key, const char **text, m2snet_error *error)
{
    *text = m2s_store_metadata(store, key);
    if (*text == NULL) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "no training state: the file's metadata has no \"%s\"", key);
    }
    return M2SNET_STATUS_OK;
}

/* Checks everything, then takes it. */
static m2snet_status take(m2snet_trainer *trainer, const m2s_store *store, const char *data_json, m2snet_error *error)
{
    m2s_memory *memory = &trainer->model->context->memory;
    double scale = trainer->recipe.scaled ? M2S_FIRST_LOSS_SCALE : 1.0;
    m2s_position position = { .loss_scale = scale, .sum_scale = scale };
    const char *place, *recipe, *data, *config;
    char *data_copy = NULL;
    m2snet_status status;

    M2S_TRY(text_of(store, KEY_PLACE, &place, error));
    M2S_TRY(text_of(store, KEY_RECIPE, &recipe, error));
    M2S_TRY(text_of(store, KEY_DATA, &data, error));
    M2S_TRY(text_of(store, M2S_METADATA_CONFIG, &config, error));
    M2S_TRY(m2s_recipe_compare(memory, "the checkpoint's network", config, trainer->model->config_json, error));
    M2S_TRY(m2s_recipe_compare(memory, "the checkpoint's training", recipe, trainer->recipe_json, error));
    if (data_json != NULL && data[0] != '\0') {
        M2S_TRY(m2s_recipe_compare(memory, "the checkpoint's data", data, data_json, error));
    }
    M2S_TRY(parse_place(place, &trainer->recipe, &position, error));
    M2S_TRY(check_arrays(trainer, store, error));
    if (data[0] != '\0') {
        data_copy = m2s_strdup(memory, data);
        if (data_copy == NULL) {
            status = m2s_fail_memory(error, "a checkpoint", strlen(data));
            goto fail;
        }
    }
    for (int32_t i = 0; i < m2s_state_count(trainer->state); i++) {
        const m2s_state_entry *entry = m2s_state_at(trainer->state, i);
        M2S_TRY(m2s_state_write(trainer->state, entry, m2s_store_find(store, entry->name)->data, error));
    }
    trainer->position = position;
    m2s_free(memory, trainer->data_json);
    trainer->data_json = data_copy;
    data_copy = NULL;
fail:
    m2s_free(memory, data_copy);
    return status;
}

m2snet_status m2s_training_state_load(m2snet_trainer *trainer, const char *path, const char *data_json,
                                      m2s_control *control, m2snet_error *error)
{
    m2s_memory *memory = &trainer->model->context->memory;
    m2s_blob blob = { 0 };
    m2s_store *store = NULL;
    uint8_t *bytes;
    m2snet_status status;

    M2S_TRY(m2s_file_read(memory, path, MAX_FILE_BYTES, control, &bytes, &blob.bytes, error));
    blob.data = bytes;
    blob.writable = true;
    status = m2s_store_load(memory, &blob, control, &store, error);
    if (status == M2SNET_STATUS_OK) {
        status = take(trainer, store, data_json, error);
    }
    if (status != M2SNET_STATUS_OK) {
        m2s_error_prefix(error, "%s", path);
    }
fail:
    m2s_store_destroy(store);
    return status;
}
