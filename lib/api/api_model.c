/* SPDX-License-Identifier: Apache-2.0
 * Models and sessions. */
#include <inttypes.h>

#include "api/api.h"
#include "core/options.h"
#include "net/encoder.h"
#include "run/model.h"
#include "run/session.h"
#include "run/tensor.h"

/* ---- models ---- */

void m2snet_model_options_init(m2snet_model_options *options)
{
    if (options != NULL) {
        m2s_model_options_default(options);
    }
}

m2snet_status m2snet_model_load_file(m2snet_context *context, const char *path, const m2snet_model_options *options,
                                     m2snet_model **model, m2snet_error *error)
{
    M2S_REQUIRE(model);
    *model = NULL;
    M2S_REQUIRE(context);
    M2S_REQUIRE(path);
    return m2s_memory_explain(&context->memory, m2s_model_load_file(context, path, options, model, error), error);
}

m2snet_status m2snet_model_load_memory(m2snet_context *context, const void *data, size_t size_bytes,
                                       const m2snet_model_options *options, m2snet_model **model, m2snet_error *error)
{
    M2S_REQUIRE(model);
    *model = NULL;
    M2S_REQUIRE(context);
    M2S_REQUIRE(data);
    return m2s_memory_explain(&context->memory, m2s_model_load_memory(context, data, size_bytes, options, model, error),
                              error);
}

m2snet_status m2snet_model_create(m2snet_context *context, const char *config_json, uint64_t seed, m2snet_model **model,
                                  m2snet_error *error)
{
    M2S_REQUIRE(model);
    *model = NULL;
    M2S_REQUIRE(context);
    return m2s_memory_explain(&context->memory, m2s_model_create(context, config_json, seed, model, error), error);
}

m2snet_status m2snet_model_create_from(m2snet_context *context, const char *config_json, uint64_t seed,
                                       const char *path, int32_t *taken, m2snet_model **model, m2snet_error *error)
{
    int32_t count = 0;

    M2S_REQUIRE(model);
    *model = NULL;
    M2S_REQUIRE(context);
    M2S_REQUIRE(path);
    m2snet_status status = m2s_memory_explain(
        &context->memory, m2s_model_create_from(context, config_json, seed, path, &count, model, error), error);
    if (taken != NULL) {
        *taken = count;
    }
    return status;
}

void m2snet_model_destroy(m2snet_model *model)
{
    m2s_model_release(model);
}

void m2snet_save_options_init(m2snet_save_options *options)
{
    if (options != NULL) {
        m2s_save_options_default(options);
    }
}

m2snet_status m2snet_model_save_file(const m2snet_model *model, const char *path, const m2snet_save_options *options,
                                     m2snet_error *error)
{
    M2S_REQUIRE(model);
    M2S_REQUIRE(path);
    return m2s_memory_explain(&model->context->memory, m2s_model_save_file(model, path, options, error), error);
}

m2snet_status m2snet_model_get_info(const m2snet_model *model, m2snet_model_info *info, m2snet_error *error)
{
    M2S_REQUIRE(model);
    m2snet_model_info known = {
        .struct_size = sizeof known,
        .architecture = m2s_config_architecture(&model->config),
        .encoder = model->config.encoder,
        .pyramid_channels = model->config.pyramid_channels,
        .classes = model->config.classes,
        .input_width = model->config.input_width,
        .input_height = model->config.input_height,
        .threshold = model->config.threshold,
        .parameters = model->parameters,
        .multiply_adds = model->multiply_adds,
        .weight_bytes = model->weight_bytes,
        .sha256 = m2s_store_sha256(model->store),
        .config_json = model->config_json,
        .format = m2s_store_format(model->store),
        .softmax = model->config.coding.softmax,
    };
    return m2s_options_export("m2snet_model_info", &known, sizeof known, info, error);
}

m2snet_status m2snet_model_multiply_adds(const m2snet_model *model, int32_t width, int32_t height,
                                         uint64_t *multiply_adds, m2snet_error *error)
{
    M2S_REQUIRE(model);
    M2S_REQUIRE(multiply_adds);
    return m2s_memory_explain(&model->context->memory,
                              m2s_model_multiply_adds(model, height, width, multiply_adds, error), error);
}

m2snet_status m2snet_network_count(m2snet_context *context, const char *config_json, int32_t width, int32_t height,
                                   uint64_t *parameters, uint64_t *multiply_adds, m2snet_error *error)
{
    M2S_REQUIRE(context);
    M2S_REQUIRE(parameters);
    M2S_REQUIRE(multiply_adds);
    return m2s_memory_explain(&context->memory,
                              m2s_network_count(context, config_json, height, width, parameters, multiply_adds, error),
                              error);
}

const char *m2snet_encoder_name(int32_t index)
{
    return m2s_encoder_name(index);
}

const char *m2snet_model_class_name(const m2snet_model *model, int32_t index)
{
    if (model == NULL || index < 0 || index >= model->config.classes || model->config.class_name[index][0] == '\0') {
        return NULL;
    }
    return model->config.class_name[index];
}

int32_t m2snet_model_class_label(const m2snet_model *model, int32_t index)
{
    if (model == NULL || index < -1 || index >= model->config.classes) {
        return -1;
    }
    return index < 0 ? model->config.coding.background
                     : m2s_coding_level(&model->config.coding, model->config.classes, index);
}

int32_t m2snet_model_metadata_count(const m2snet_model *model)
{
    return model != NULL ? (int32_t)m2s_store_metadata_count(model->store) : 0;
}

const char *m2snet_model_metadata_key(const m2snet_model *model, int32_t index)
{
    return model != NULL && index >= 0 ? m2s_store_metadata_key(model->store, (size_t)index) : NULL;
}

const char *m2snet_model_metadata_value(const m2snet_model *model, int32_t index)
{
    return model != NULL && index >= 0 ? m2s_store_metadata_value(model->store, (size_t)index) : NULL;
}

int32_t m2snet_model_tensor_count(const m2snet_model *model)
{
    return model != NULL ? (int32_t)m2s_store_count(model->store) : 0;
}

m2snet_status m2snet_model_tensor_info(const m2snet_model *model, int32_t index, m2snet_tensor_info *info,
                                       m2snet_error *error)
{
    M2S_REQUIRE(model);
    const m2s_weight *weight = index >= 0 ? m2s_store_at(model->store, (size_t)index) : NULL;
    if (weight == NULL) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "tensor %d: the model has %zu", index,
                        m2s_store_count(model->store));
    }
    m2snet_tensor_info known = { .struct_size = sizeof known,
                                 .name = weight->name,
                                 .dtype = weight->dtype,
                                 .rank = weight->rank,
                                 .dims = weight->dims };
    return m2s_options_export("m2snet_tensor_info", &known, sizeof known, info, error);
}

int32_t m2snet_model_feature_count(const m2snet_model *model)
{
    return model != NULL ? model->feature_count : 0;
}

m2snet_status m2snet_model_feature_info(const m2snet_model *model, int32_t index, m2snet_feature_info *info,
                                        m2snet_error *error)
{
    M2S_REQUIRE(model);
    if (index < 0 || index >= model->feature_count) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "feature %d: the network has %d", index,
                        model->feature_count);
    }
    const m2s_feature_row *row = &model->features[index];
    m2snet_feature_info known = {
        .struct_size = sizeof known, .name = row->name, .h = row->shape.h, .w = row->shape.w, .c = row->shape.c
    };
    return m2s_options_export("m2snet_feature_info", &known, sizeof known, info, error);
}

m2snet_status m2snet_model_selftest(m2snet_model *model, double *largest_difference, m2snet_error *error)
{
    M2S_REQUIRE(model);
    return m2s_memory_explain(&model->context->memory, m2s_model_selftest(model, largest_difference, error), error);
}

/* ---- sessions ---- */

void m2snet_session_options_init(m2snet_session_options *options)
{
    if (options != NULL) {
        m2s_session_options_default(options);
    }
}

m2snet_status m2snet_session_create(m2snet_model *model, const m2snet_session_options *options,
                                    m2snet_session **session, m2snet_error *error)
{
    M2S_REQUIRE(session);
    *session = NULL;
    M2S_REQUIRE(model);
    return m2s_memory_explain(&model->context->memory, m2s_session_create(model, options, session, error), error);
}

void m2snet_session_destroy(m2snet_session *session)
{
    m2s_session_destroy(session);
}

m2snet_status m2snet_session_prepare(m2snet_session *session, int64_t n, int64_t h, int64_t w,
                                     const m2snet_control *user, m2snet_error *error)
{
    m2s_program *program;
    m2s_control control;
    m2snet_status status;

    M2S_REQUIRE(session);
    M2S_TRY(m2s_session_enter(session, error));
    m2s_control_init(&control, user);
    status = m2s_session_plan_for(session, n, h, w, &control, &program, error);
    if (status == M2SNET_STATUS_OK) {
        status = m2s_session_reserve(session, program, 0, error);
    }
    status = m2s_memory_explain(&session->model->context->memory, status, error);
    m2s_session_leave(session);
fail:
    return status;
}

m2snet_status m2snet_session_plan_info(m2snet_session *session, int64_t n, int64_t h, int64_t w, m2snet_plan_info *info,
                                       m2snet_error *error)
{
    m2snet_plan_info known = { .struct_size = sizeof known };
    m2s_program *program;
    m2s_plan_info plan;
    m2snet_status status;

    M2S_REQUIRE(session);
    M2S_TRY(m2s_session_enter(session, error));
    for (int32_t i = 0; i < session->plan_count; i++) {
        const m2s_session_plan *known_plan = &session->plans[i];
        known.compiled |= known_plan->look == NULL && known_plan->n == n && known_plan->h == h && known_plan->w == w;
    }
    status = m2s_session_plan_for(session, n, h, w, NULL, &program, error);
    if (status == M2SNET_STATUS_OK) {
        m2s_program_info(program, &plan);
        known.arena_bytes = plan.arena_bytes;
        known.packed_weight_bytes = plan.packed_bytes;
        known.steps = plan.steps;
        known.multiply_adds = m2s_graph_multiply_adds(m2s_program_graph(program));
        status = m2s_options_export("m2snet_plan_info", &known, sizeof known, info, error);
    }
    status = m2s_memory_explain(&session->model->context->memory, status, error);
    m2s_session_leave(session);
fail:
    return status;
}

m2snet_status m2snet_session_trim(m2snet_session *session, m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(session);
    M2S_TRY(m2s_session_enter(session, error));
    m2s_session_trim(session);
    m2s_session_leave(session);
fail:
    return status;
}

static m2snet_status check_tensors(const m2snet_session *session, const m2snet_tensor *src, const m2snet_tensor *dst,
                                   m2snet_error *error)
{
    const m2snet_tensor_desc *s = &src->desc, *d = &dst->desc;
    int32_t classes = session->model->config.classes;

    if (s->c != 3) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "src has %" PRId64 " channels, the network takes 3 (RGB)", s->c);
    }
    if (d->n != s->n || d->h != s->h || d->w != s->w || d->c != classes) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                        "dst is %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 " (n, h, w, c), expected %" PRId64
                        "x%" PRId64 "x%" PRId64 "x%d for this src and model",
                        d->n, d->h, d->w, d->c, s->n, s->h, s->w, classes);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status run_tensors(m2snet_session *session, const m2snet_tensor *src, m2snet_tensor *dst,
                                 m2s_control *control, m2snet_error *error)
{
    m2s_memory *memory = &session->model->context->memory;
    m2snet_dtype dtype = m2s_session_dtype(session);
    size_t pixels = (size_t)(src->desc.n * src->desc.h * src->desc.w);
    size_t bytes = m2s_dtype_bytes(dtype);
    m2s_program *program;
    char *image = NULL, *logits = NULL;
    m2snet_status status;

    M2S_TRY(check_tensors(session, src, dst, error));
    M2S_TRY(m2s_session_plan_for(session, src->desc.n, src->desc.h, src->desc.w, control, &program, error));
    image = m2s_alloc_array(memory, 3 * pixels, bytes);
    logits = m2s_alloc_array(memory, (size_t)dst->desc.c * pixels, bytes);
    if (image == NULL || logits == NULL) {
        status = m2s_fail_memory(error, "the image and its logits", (3 + (size_t)dst->desc.c) * pixels * bytes);
        goto fail;
    }
    m2s_tensor_gather(src, dtype, image);
    M2S_TRY(m2s_session_run_dense(session, program, image, logits, control, error));
    m2s_tensor_scatter(dst, dtype, logits);
fail:
    m2s_free(memory, image);
    m2s_free(memory, logits);
    return status;
}

m2snet_status m2snet_session_run(m2snet_session *session, const m2snet_tensor *src, m2snet_tensor *dst,
                                 const m2snet_control *user, m2snet_error *error)
{
    m2s_control control;
    m2snet_status status;

    M2S_REQUIRE(session);
    M2S_REQUIRE(src);
    M2S_REQUIRE(dst);
    M2S_TRY(m2s_session_enter(session, error));
    m2s_control_init(&control, user);
    status = run_tensors(session, src, dst, &control, error);
    status = m2s_memory_explain(&session->model->context->memory, status, error);
    m2s_session_leave(session);
fail:
    return status;
}

m2snet_status m2snet_session_time_steps(m2snet_session *session, int32_t enable, m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(session);
    M2S_TRY(m2s_session_enter(session, error));
    session->time_steps = enable != 0;
    m2s_session_leave(session);
fail:
    return status;
}

int32_t m2snet_session_step_count(const m2snet_session *session)
{
    m2s_plan_info info = { 0 };

    if (session != NULL && session->last != NULL) {
        m2s_program_info(session->last, &info);
    }
    return info.steps;
}

m2snet_status m2snet_session_step_info(const m2snet_session *session, int32_t index, m2snet_step_info *info,
                                       m2snet_error *error)
{
    m2s_step_info step;

    M2S_REQUIRE(session);
    if (session->last == NULL || index < 0 || !m2s_program_step(session->last, index, &step)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "step %d: the plan that ran last has %d", index,
                        m2snet_session_step_count(session));
    }
    m2snet_step_info known = { .struct_size = sizeof known,
                               .name = step.name,
                               .kernel = step.kernel,
                               .multiply_adds = step.multiply_adds,
                               .milliseconds = (double)step.nanoseconds * 1e-6 };
    return m2s_options_export("m2snet_step_info", &known, sizeof known, info, error);
}
