/* SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer_model.h"

#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "net/initialise.h"
#include "net/names.h"
#include "run/fit.h"

/* ---- from the model ---- */

/* The weight that a state starts as; NULL: zeros. */
static const char *source_of(const char *name)
{
    if (m2s_step_is_weight(name)) {
        return name;
    }
    return strncmp(name, M2S_STATE_AVERAGE, strlen(M2S_STATE_AVERAGE)) == 0 ? name + strlen(M2S_STATE_AVERAGE) : NULL;
}

/* Drawn as floats, so that both dtypes begin alike. */
static void draw(const m2snet_trainer *trainer, const m2s_graph *graph, const char *name, const m2s_state_entry *entry,
                 void *numbers)
{
    size_t count = (size_t)m2s_shape_elements(entry->shape);
    float *narrow = numbers;
    double *wide = numbers;

    m2s_initialise(graph, m2s_graph_find(graph, name), NULL, trainer->options.seed, narrow);
    for (size_t i = count; entry->dtype == M2SNET_DTYPE_F64 && i-- > 0;) { /* from the end: in place */
        wide[i] = (double)narrow[i];
    }
}

/* What a state that is, or follows, the weight `name` starts as. */
static m2snet_status begin_as(const m2snet_trainer *trainer, const m2s_graph *graph, const char *name,
                              const m2s_state_entry *entry, void *numbers, m2snet_error *error)
{
    size_t count = (size_t)m2s_shape_elements(entry->shape);
    const m2s_weight *weight = m2s_store_find(trainer->model->store, name);
    m2snet_status status = M2SNET_STATUS_OK;

    if (m2s_name_is_supervised(name) && (weight == NULL || weight->count != count)) {
        draw(trainer, graph, name, entry, numbers);
        return status;
    }
    if (weight == NULL || weight->count != count) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "state %s is no weight of the model", entry->name);
    }
    M2S_TRY(entry->dtype == M2SNET_DTYPE_F64 ? m2s_weight_read_double(weight, 0, count, numbers, error)
                                             : m2s_weight_read_float(weight, 0, count, numbers, error));
fail:
    return status;
}

m2snet_status m2s_trainer_fill_state(m2snet_trainer *trainer, const m2s_graph *graph, m2snet_error *error)
{
    m2s_memory *memory = &trainer->model->context->memory;
    void *numbers = NULL;
    size_t room = 0;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; i < m2s_state_count(trainer->state); i++) {
        size_t bytes = m2s_state_entry_bytes(m2s_state_at(trainer->state, i));
        room = bytes > room ? bytes : room;
    }
    numbers = m2s_alloc(memory, room);
    if (numbers == NULL) {
        return m2s_fail_memory(error, "weights", room);
    }
    for (int32_t i = 0; i < m2s_state_count(trainer->state); i++) {
        const m2s_state_entry *entry = m2s_state_at(trainer->state, i);
        const char *name = source_of(entry->name);
        if (name == NULL) {
            continue;
        }
        M2S_TRY(begin_as(trainer, graph, name, entry, numbers, error));
        M2S_TRY(m2s_state_write(trainer->state, entry, numbers, error));
    }
fail:
    m2s_free(memory, numbers);
    return status;
}

/* ---- to a model ---- */

static m2snet_status training_json(const m2snet_trainer *trainer, bool averaged, char **text, m2snet_error *error)
{
    static const m2s_json_source source = { "recipe", M2SNET_STATUS_INTERNAL };
    const m2s_position *p = &trainer->position;
    const char *parent = m2s_store_sha256(trainer->model->store);
    m2s_json *json = NULL, *part = NULL;
    m2snet_status status;

    *text = NULL;
    M2S_TRY(m2s_json_object(&json, error));
    M2S_TRY(m2s_json_put_string(json, "library", "libm2snet " M2SNET_VERSION_STRING, error));
    M2S_TRY(m2s_json_put_string(json, "started_from_sha256", parent, error));
    M2S_TRY(m2s_json_put_integer(json, "epochs_begun", p->epoch + (p->batch > 0), error));
    M2S_TRY(m2s_json_put_integer(json, "steps", p->step, error));
    M2S_TRY(m2s_json_put_integer(json, "updates", p->updates, error));
    M2S_TRY(m2s_json_put_bool(json, "averaged", averaged, error));
    M2S_TRY(m2s_json_parse(&source, trainer->recipe_json, strlen(trainer->recipe_json), &part, error));
    M2S_TRY(m2s_json_put_copy(json, "recipe", part, error));
    m2s_json_free(part);
    part = NULL;
    if (trainer->data_json != NULL) {
        M2S_TRY(m2s_json_parse(&source, trainer->data_json, strlen(trainer->data_json), &part, error));
        M2S_TRY(m2s_json_put_copy(json, "data", part, error));
    }
    M2S_TRY(m2s_json_write(&trainer->model->context->memory, json, M2S_JSON_COMPACT, text, NULL, error));
fail:
    m2s_json_free(part);
    m2s_json_free(json);
    return status;
}

static m2snet_status add_metadata(const m2snet_trainer *trainer, bool averaged, m2s_store *store, m2snet_error *error)
{
    const m2s_store *old = trainer->model->store;
    char *training = NULL;
    m2snet_status status;

    for (size_t i = 0; i < m2s_store_metadata_count(old); i++) {
        M2S_TRY(m2s_store_set_metadata(store, m2s_store_metadata_key(old, i), m2s_store_metadata_value(old, i), error));
    }
    M2S_TRY(training_json(trainer, averaged, &training, error));
    M2S_TRY(m2s_store_set_metadata(store, M2S_METADATA_TRAINING, training, error));
fail:
    m2s_free(&trainer->model->context->memory, training);
    return status;
}

/* The state that replaces a weight of the model; NULL: the weight stays as it is. */
static const m2s_state_entry *entry_of(const m2snet_trainer *trainer, const char *name, bool averaged)
{
    char key[M2S_STORE_MAX_NAME_BYTES + sizeof M2S_STATE_AVERAGE];
    const m2s_state_entry *entry = NULL;

    if (averaged) {
        snprintf(key, sizeof key, M2S_STATE_AVERAGE "%s", name);
        entry = m2s_state_find(trainer->state, key);
    }
    return entry != NULL ? entry : m2s_state_find(trainer->state, name);
}

static m2snet_status add_weight(const m2snet_trainer *trainer, const m2s_weight *weight, bool averaged,
                                m2s_store *store, m2snet_error *error)
{
    const m2s_state_entry *entry = entry_of(trainer, weight->name, averaged);
    m2s_weight_desc desc = { .name = weight->name,
                             .name_bytes = strlen(weight->name),
                             .dtype = entry != NULL ? entry->dtype : weight->dtype,
                             .dtype_name = weight->dtype_name,
                             .bytes = weight->bytes,
                             .rank = weight->rank,
                             .dims = weight->dims };
    void *numbers;
    m2snet_status status;

    if (entry == NULL) {
        return m2s_store_add(store, &desc, weight->data, NULL, error);
    }
    M2S_TRY(m2s_store_add(store, &desc, NULL, &numbers, error));
    M2S_TRY(m2s_state_read(trainer->state, entry, numbers, error));
fail:
    return status;
}

m2snet_status m2s_trainer_model(m2snet_trainer *trainer, bool averaged, m2snet_model **model, m2snet_error *error)
{
    const m2s_store *old = trainer->model->store;
    m2s_store *store = NULL;
    m2snet_status status;

    *model = NULL;
    if (averaged && trainer->recipe.ema_decay == 0.0) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        "there are no averaged weights: the trainer's ema_decay is 0");
    }
    M2S_TRY(m2s_store_create(&trainer->model->context->memory, "created", &store, error));
    for (size_t i = 0; i < m2s_store_count(old); i++) {
        const m2s_weight *weight = m2s_store_at(old, i);
        if (strcmp(weight->name, M2S_SELFTEST_INPUT) != 0 && strcmp(weight->name, M2S_SELFTEST_LOGITS) != 0) {
            M2S_TRY(add_weight(trainer, weight, averaged, store, error));
        }
    }
    M2S_TRY(add_metadata(trainer, averaged, store, error));
    status = m2s_model_derive(trainer->model, &trainer->config, store, model, error);
    store = NULL;
    if (status == M2SNET_STATUS_FORMAT) { /* its check found a number that is not finite: a running statistic's */
        m2s_error_prefix(error, "training diverged");
        status = M2SNET_STATUS_DIVERGED;
        if (error != NULL) {
            error->status = status;
        }
    }
fail:
    m2s_store_destroy(store);
    return status;
}
