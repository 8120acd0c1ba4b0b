/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "run/model.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/options.h"
#include "net/initialise.h"
#include "net/network.h"
#include "run/fit.h"
#include "run/look.h"
#include "run/pack_cache.h"
#include "weights/load.h"

#define MAX_FILE_BYTES ((uint64_t)4 << 30)

void m2s_model_options_default(m2snet_model_options *options)
{
    *options = (m2snet_model_options){ .struct_size = sizeof *options };
}

/* ---- life ---- */

static m2snet_status create(m2snet_context *context, m2snet_model **created, m2snet_error *error)
{
    m2snet_model *model = m2s_calloc(&context->memory, 1, sizeof *model);
    m2snet_status status;

    *created = NULL;
    if (model == NULL) {
        return m2s_fail_memory(error, "a model", sizeof *model);
    }
    atomic_init(&model->references, 1);
    model->context = m2s_context_retain(context);
    status = m2s_pack_cache_create(&context->memory, &model->packs, error);
    if (status != M2SNET_STATUS_OK) {
        m2s_model_release(model);
        return status;
    }
    *created = model;
    return M2SNET_STATUS_OK;
}

m2snet_model *m2s_model_retain(m2snet_model *model)
{
    atomic_fetch_add(&model->references, 1);
    return model;
}

void m2s_model_release(m2snet_model *model)
{
    if (model == NULL || atomic_fetch_sub(&model->references, 1) != 1) {
        return;
    }
    m2snet_context *context = model->context;
    m2s_pack_cache_destroy(model->packs);
    m2s_store_destroy(model->store);
    m2s_free(&context->memory, model->config_json);
    m2s_free(&context->memory, model->features);
    m2s_free(&context->memory, model->feature_names);
    m2s_free(&context->memory, model);
    m2s_context_release(context);
}

/* ---- loading ---- */

/* Everything after the weights and the configuration are there: do they fit, what does the network cost. */
static m2snet_status complete(m2snet_model *model, m2s_control *control, m2snet_error *error)
{
    m2snet_context *context = model->context;
    m2s_graph *graph = NULL;
    m2snet_status status;

    M2S_TRY(m2s_net_build(&context->memory, &model->config, 1, model->config.input_height, model->config.input_width,
                          M2SNET_DTYPE_F32, &graph, error));
    M2S_TRY(m2s_fit_rename(graph, m2s_encoder_of(&model->config), model->store, error));
    M2S_TRY(m2s_fit_check(graph, model->store, &model->config, &context->log, error));
    M2S_TRY(m2s_fit_check_finite(&context->host, graph, model->store, control, error));
    M2S_TRY(m2s_look_list(model, graph, error));
    model->parameters = m2s_fit_parameters(graph);
    model->multiply_adds = m2s_graph_multiply_adds(graph);
    model->weight_bytes = m2s_store_bytes(model->store);
    model->config_json = m2s_config_dump(&model->config, &context->memory);
    if (model->config_json == NULL) {
        status = m2s_fail_memory(error, "the configuration", 1024);
    }
fail:
    m2s_graph_destroy(graph);
    return status;
}

/* Takes blob over, also on failure. */
static m2snet_status load_blob(m2snet_context *context, m2s_blob *blob, const char *override_json, m2s_control *control,
                               m2snet_model **loaded, m2snet_error *error)
{
    m2snet_model *model = NULL;
    m2snet_status status;

    M2S_TRY(create(context, &model, error));
    M2S_TRY(m2s_digest_begin(&context->memory, context->host.pool, blob->data, blob->bytes, &blob->digest, error));
    M2S_TRY(m2s_store_load(&context->memory, blob, control, &model->store, error));
    M2S_TRY(m2s_fit_config(model->store, override_json, &model->config, error));
    M2S_TRY(complete(model, control, error));
    *loaded = model;
    return M2SNET_STATUS_OK;
fail:
    m2s_blob_release(&context->memory, blob);
    m2s_model_release(model);
    return status;
}

static void unmap(void *data, size_t bytes)
{
    munmap(data, bytes);
}

static m2snet_status map_file(const char *path, m2s_blob *blob, m2snet_error *error)
{
    struct stat info;
    m2snet_status status = M2SNET_STATUS_OK;
    int file = open(path, O_RDONLY | O_CLOEXEC);

    if (file < 0 || fstat(file, &info) != 0) {
        status = m2s_fail_errno(error, errno, "%s", path);
    } else if (!S_ISREG(info.st_mode) || info.st_size <= 0) {
        status = m2s_fail(error, M2SNET_STATUS_IO, "%s: only a regular file that is not empty can be mapped", path);
    } else {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (data == MAP_FAILED) {
            status = m2s_fail_errno(error, errno, "%s", path);
        } else {
            *blob = (m2s_blob){ .data = data, .bytes = (size_t)info.st_size, .release = unmap };
        }
    }
    if (file >= 0) {
        close(file);
    }
    return status;
}

m2snet_status m2s_model_load_file(m2snet_context *context, const char *path, const m2snet_model_options *given,
                                  m2snet_model **model, m2snet_error *error)
{
    m2snet_model_options options;
    m2s_control control;
    m2s_blob blob = { 0 };
    m2snet_status status;

    *model = NULL;
    m2s_model_options_default(&options);
    M2S_TRY(m2s_options_import("m2snet_model_options", given, &options, sizeof options, error));
    m2s_control_init(&control, &options.control);
    if (options.memory_map) {
        M2S_TRY(map_file(path, &blob, error));
    } else {
        uint8_t *data;
        M2S_TRY(m2s_file_read_wide(&context->memory, context->host.pool, path, MAX_FILE_BYTES, &control, &data,
                                   &blob.bytes, error));
        blob.data = data;
        blob.writable = true;
    }
    status = load_blob(context, &blob, options.config_json, &control, model, error);
    if (status != M2SNET_STATUS_OK) {
        m2s_error_prefix(error, "%s", path);
    }
fail:
    return status;
}

m2snet_status m2s_model_load_memory(m2snet_context *context, const void *data, size_t bytes,
                                    const m2snet_model_options *given, m2snet_model **model, m2snet_error *error)
{
    m2snet_model_options options;
    m2s_control control;
    m2s_blob blob = { 0 };
    m2snet_status status;

    *model = NULL;
    m2s_model_options_default(&options);
    M2S_TRY(m2s_options_import("m2snet_model_options", given, &options, sizeof options, error));
    m2s_control_init(&control, &options.control);
    blob.data = m2s_alloc(&context->memory, bytes);
    if (blob.data == NULL) {
        return m2s_fail_memory(error, "the model's bytes", bytes);
    }
    memcpy(blob.data, data, bytes);
    blob.bytes = bytes;
    blob.writable = true;
    status = load_blob(context, &blob, options.config_json, &control, model, error);
fail:
    return status;
}

/* One tensor of a new network: from another's weights (nullable) where they fit, else drawn. */
static m2snet_status add_tensor(m2snet_model *model, const m2s_graph *graph, m2s_value value, uint64_t seed,
                                const m2s_store *from, int32_t *taken, m2snet_error *error)
{
    const m2s_value_info *info = &graph->values[value];
    const m2s_encoder *encoder = m2s_encoder_of(&model->config);
    const m2s_weight *weight = from != NULL ? m2s_fit_find(from, encoder, info) : NULL;
    m2s_weight_desc desc = { .name = info->name,
                             .name_bytes = strlen(info->name),
                             .dtype = M2SNET_DTYPE_F32,
                             .rank = m2s_fit_file_rank(info),
                             .dims = info->shape.d };
    void *elements;
    m2snet_status status;

    M2S_TRY(m2s_store_add(model->store, &desc, NULL, &elements, error));
    if (weight == NULL) {
        m2s_initialise(graph, value, encoder, seed, elements);
        return status;
    }
    M2S_TRY(m2s_weight_read_float(weight, 0, weight->count, elements, error));
    ++*taken;
fail:
    return status;
}

static m2snet_status create_network(m2snet_context *context, const char *config_json, uint64_t seed,
                                    const m2s_store *from, int32_t *taken, m2snet_model **created, m2snet_error *error)
{
    m2snet_model *model = NULL;
    m2s_graph *graph = NULL;
    m2snet_status status;

    *created = NULL;
    *taken = 0;
    M2S_TRY(create(context, &model, error));
    m2s_config_default(&model->config);
    if (config_json != NULL) {
        M2S_TRY(m2s_config_parse(&model->config, config_json, strlen(config_json), NULL, NULL, error));
    }
    M2S_TRY(m2s_store_create(&context->memory, "created", &model->store, error));
    M2S_TRY(m2s_net_build(&context->memory, &model->config, 1, M2S_MIN_INPUT_PX, M2S_MIN_INPUT_PX, M2SNET_DTYPE_F32,
                          &graph, error));
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind == M2S_VALUE_PARAM) {
            M2S_TRY(add_tensor(model, graph, v, seed, from, taken, error));
        }
    }
    M2S_TRY(complete(model, NULL, error));
    *created = model;
    model = NULL;
fail:
    m2s_graph_destroy(graph);
    m2s_model_release(model);
    return status;
}

m2snet_status m2s_model_create(m2snet_context *context, const char *config_json, uint64_t seed, m2snet_model **created,
                               m2snet_error *error)
{
    int32_t taken;

    return create_network(context, config_json, seed, NULL, &taken, created, error);
}

m2snet_status m2s_model_create_from(m2snet_context *context, const char *config_json, uint64_t seed, const char *path,
                                    int32_t *taken, m2snet_model **created, m2snet_error *error)
{
    m2s_blob blob = { 0 };
    m2s_store *from = NULL;
    uint8_t *data;
    m2snet_status status;

    *created = NULL;
    M2S_TRY(m2s_file_read_wide(&context->memory, context->host.pool, path, MAX_FILE_BYTES, NULL, &data, &blob.bytes,
                               error));
    blob.data = data;
    blob.writable = true;
    status = m2s_store_load(&context->memory, &blob, NULL, &from, error);
    if (status != M2SNET_STATUS_OK) {
        m2s_error_prefix(error, "%s", path);
        goto fail;
    }
    M2S_TRY(create_network(context, config_json, seed, from, taken, created, error));
    if (*taken == 0) {
        m2s_model_release(*created);
        *created = NULL;
        status =
            m2s_fail(error, M2SNET_STATUS_MISMATCH, "%s: none of its %zu tensors has a key and a shape of this network",
                     path, m2s_store_count(from));
    }
fail:
    m2s_store_destroy(from);
    return status;
}

m2snet_status m2s_model_derive(const m2snet_model *like, const m2s_config *config, m2s_store *store,
                               m2snet_model **derived, m2snet_error *error)
{
    m2snet_model *model = NULL;
    m2snet_status status;

    *derived = NULL;
    status = create(like->context, &model, error);
    if (status != M2SNET_STATUS_OK) {
        m2s_store_destroy(store);
        return status;
    }
    model->store = store;
    model->config = *config;
    M2S_TRY(complete(model, NULL, error));
    *derived = model;
    model = NULL;
fail:
    m2s_model_release(model);
    return status;
}

m2snet_status m2s_network_count(m2snet_context *context, const char *config_json, int64_t h, int64_t w,
                                uint64_t *parameters, uint64_t *multiply_adds, m2snet_error *error)
{
    m2s_graph *graph = NULL;
    m2s_config config;
    m2snet_status status;

    m2s_config_default(&config);
    if (config_json != NULL) {
        M2S_TRY(m2s_config_parse(&config, config_json, strlen(config_json), NULL, NULL, error));
    }
    M2S_TRY(m2s_net_build(&context->memory, &config, 1, h, w, M2SNET_DTYPE_F32, &graph, error));
    *parameters = m2s_fit_parameters(graph);
    *multiply_adds = m2s_graph_multiply_adds(graph);
fail:
    m2s_graph_destroy(graph);
    return status;
}

m2snet_status m2s_model_multiply_adds(const m2snet_model *model, int64_t h, int64_t w, uint64_t *multiply_adds,
                                      m2snet_error *error)
{
    m2s_graph *graph = NULL;
    m2snet_status status;

    M2S_TRY(m2s_net_build(&model->context->memory, &model->config, 1, h, w, M2SNET_DTYPE_F32, &graph, error));
    *multiply_adds = m2s_graph_multiply_adds(graph);
fail:
    m2s_graph_destroy(graph);
    return status;
}
