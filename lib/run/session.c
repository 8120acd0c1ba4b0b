/* SPDX-License-Identifier: Apache-2.0 */
#include "run/session.h"

#include <string.h>

#include "core/options.h"
#include "net/names.h"
#include "net/network.h"
#include "run/pack_cache.h"

void m2s_session_options_default(m2snet_session_options *options)
{
    *options = (m2snet_session_options){ .struct_size = sizeof *options, .max_plans = 4 };
}

static m2snet_status check(const m2snet_model *model, m2snet_session_options *options, m2snet_error *error)
{
    int32_t *side[2] = { &options->input_width, &options->input_height };
    int32_t usual[2] = { model->config.input_width, model->config.input_height };

    bool reduced = options->precision >= M2SNET_PRECISION_F16 && options->precision <= M2SNET_PRECISION_TF32;

    if (options->precision != M2SNET_PRECISION_F32 && options->precision != M2SNET_PRECISION_F64 && !reduced) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "precision %d is not F32, F64, F16, BF16 or TF32",
                        (int)options->precision);
    }
    if (reduced && !model->context->backend->reduced) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        "precision %s is computed by backend \"cuda\" only; this context's is \"%s\"",
                        options->precision == M2SNET_PRECISION_F16    ? "F16"
                        : options->precision == M2SNET_PRECISION_BF16 ? "BF16"
                                                                      : "TF32",
                        model->context->backend->name);
    }
    if (options->precision == M2SNET_PRECISION_F64 && !model->context->backend->literal) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        "precision F64 is computed by backend \"ref\" only; this context's is \"%s\"",
                        model->context->backend->name);
    }
    if (options->max_plans < 1 || options->max_plans > M2S_SESSION_MAX_PLANS) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "max_plans is %d: expected 1 to %d", options->max_plans,
                        M2S_SESSION_MAX_PLANS);
    }
    for (int i = 0; i < 2; i++) {
        *side[i] = *side[i] == 0 ? usual[i] : *side[i];
        if (*side[i] < M2S_MIN_INPUT_PX || *side[i] > M2S_MAX_INPUT_PX) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "%s is %d: expected %d to %d, or 0 for the model's",
                            i == 0 ? "input_width" : "input_height", *side[i], M2S_MIN_INPUT_PX, M2S_MAX_INPUT_PX);
        }
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_session_create(m2snet_model *model, const m2snet_session_options *given, m2snet_session **created,
                                 m2snet_error *error)
{
    m2snet_session_options options;
    m2snet_status status;

    *created = NULL;
    m2s_session_options_default(&options);
    M2S_TRY(m2s_options_import("m2snet_session_options", given, &options, sizeof options, error));
    M2S_TRY(check(model, &options, error));
    m2snet_session *session = m2s_calloc(&model->context->memory, 1, sizeof *session);
    if (session == NULL) {
        return m2s_fail_memory(error, "a session", sizeof *session);
    }
    session->model = m2s_model_retain(model);
    session->options = options;
    atomic_init(&session->busy, false);
    *created = session;
fail:
    return status;
}

void m2s_session_destroy(m2snet_session *session)
{
    if (session == NULL) {
        return;
    }
    m2snet_model *model = session->model;
    m2s_session_trim(session);
    m2s_free(&model->context->memory, session);
    m2s_model_release(model);
}

/* Waits for what has been enqueued: plans and arena may go then. */
static m2snet_status settle(m2snet_session *session, m2snet_error *error)
{
    m2snet_context *context = session->model->context;
    m2snet_status status = M2SNET_STATUS_OK;

    if (session->pending) {
        status = context->backend->buffer_wait(context->device, session->arena, error);
        session->pending = status != M2SNET_STATUS_OK;
    }
    return status;
}

m2snet_status m2s_session_enter_pending(m2snet_session *session, m2snet_error *error)
{
    if (atomic_exchange(&session->busy, true)) {
        return m2s_fail(error, M2SNET_STATUS_BUSY,
                        "the session is in use on another thread: one session serves one thread at a time");
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_session_enter(m2snet_session *session, m2snet_error *error)
{
    m2snet_status status;

    M2S_TRY(m2s_session_enter_pending(session, error));
    status = settle(session, error);
    if (status != M2SNET_STATUS_OK) {
        m2s_session_leave(session);
    }
fail:
    return status;
}

void m2s_session_leave(m2snet_session *session)
{
    atomic_store(&session->busy, false);
}

m2snet_dtype m2s_session_dtype(const m2snet_session *session)
{
    return session->options.precision == M2SNET_PRECISION_F64 ? M2SNET_DTYPE_F64 : M2SNET_DTYPE_F32;
}

static void drop_arena(m2snet_session *session)
{
    m2snet_context *context = session->model->context;

    if (session->arena != NULL) {
        context->backend->buffer_free(context->device, session->arena);
    }
    session->arena = NULL;
    session->arena_bytes = 0;
    session->pending = false;
}

static void drop_plan(m2snet_session *session, int32_t index)
{
    if (session->last == session->plans[index].program) {
        session->last = NULL;
    }
    m2s_program_destroy(session->plans[index].program);
    m2s_free(&session->model->context->memory, session->plans[index].look);
    session->plans[index] = session->plans[--session->plan_count];
}

void m2s_session_trim(m2snet_session *session)
{
    drop_arena(session); /* which waits for what has been enqueued, with the plans */
    while (session->plan_count > 0) {
        drop_plan(session, session->plan_count - 1);
    }
    m2s_pack_cache_trim(session->model->packs);
}

static m2snet_status compile(m2snet_session *session, int64_t n, int64_t h, int64_t w, const m2s_look *look,
                             m2s_control *control, m2s_program **program, m2snet_error *error)
{
    m2snet_model *model = session->model;
    m2s_graph *graph = NULL;
    m2snet_status status;

    if (look != NULL) {
        return m2s_look_compile(model, look, n, h, w, m2s_session_dtype(session), session->options.precision, control,
                                program, error);
    }

    M2S_TRY(m2s_net_build(&model->context->memory, &model->config, n, h, w, m2s_session_dtype(session), &graph, error));
    M2S_TRY(m2s_program_create(model->context, graph, session->options.precision, model->store, model->packs, control,
                               program, error));
fail:
    m2s_graph_destroy(graph);
    return status;
}

static bool same_look(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

m2snet_status m2s_session_plan_for(m2snet_session *session, int64_t n, int64_t h, int64_t w, m2s_control *control,
                                   m2s_program **program, m2snet_error *error)
{
    return m2s_session_look_plan_for(session, n, h, w, NULL, control, program, error);
}

m2snet_status m2s_session_look_plan_for(m2snet_session *session, int64_t n, int64_t h, int64_t w, const m2s_look *look,
                                        m2s_control *control, m2s_program **program, m2snet_error *error)
{
    m2s_memory *memory = &session->model->context->memory;
    char *key = look != NULL ? m2s_look_key(look, memory) : NULL;
    m2snet_status status = M2SNET_STATUS_OK;

    *program = NULL;
    if (look != NULL && key == NULL) {
        return m2s_fail_memory(error, "a plan", 0);
    }
    session->uses++;
    for (int32_t i = 0; i < session->plan_count; i++) {
        m2s_session_plan *plan = &session->plans[i];
        if (plan->n == n && plan->h == h && plan->w == w && same_look(plan->look, key)) {
            plan->last_use = session->uses;
            *program = plan->program;
            goto fail;
        }
    }
    M2S_TRY(settle(session, error)); /* a plan may have to go */
    M2S_TRY(compile(session, n, h, w, look, control, program, error));
    if (session->plan_count == session->options.max_plans) {
        int32_t oldest = 0;
        for (int32_t i = 1; i < session->plan_count; i++) {
            oldest = session->plans[i].last_use < session->plans[oldest].last_use ? i : oldest;
        }
        drop_plan(session, oldest);
    }
    session->plans[session->plan_count++] =
        (m2s_session_plan){ .n = n, .h = h, .w = w, .look = key, .program = *program, .last_use = session->uses };
    key = NULL;
fail:
    m2s_free(memory, key);
    return status;
}

m2snet_status m2s_session_reserve(m2snet_session *session, const m2s_program *program, size_t between_bytes,
                                  m2snet_error *error)
{
    m2snet_context *context = session->model->context;
    uint64_t limit = session->options.memory_limit_bytes;
    m2s_plan_info info;
    m2snet_status status = M2SNET_STATUS_OK;

    m2s_program_info(program, &info);
    size_t bytes = info.arena_bytes > between_bytes ? info.arena_bytes : between_bytes;
    if (limit != 0 && bytes > limit) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT,
                        "this run needs %zu bytes of scratch memory, the session's memory_limit_bytes is %llu", bytes,
                        (unsigned long long)limit);
    }
    if (bytes > session->arena_bytes) {
        M2S_TRY(settle(session, error));
        drop_arena(session); /* before the larger one: the two never exist together */
        M2S_TRY(context->backend->buffer_alloc(context->device, bytes, &session->arena, error));
        session->arena_bytes = bytes;
    }
fail:
    return status;
}

m2snet_status m2s_session_run_dense(m2snet_session *session, m2s_program *program, const void *image, void *logits,
                                    m2s_control *control, m2snet_error *error)
{
    m2snet_status status;

    M2S_TRY(m2s_session_reserve(session, program, 0, error));
    if (image != NULL) {
        M2S_TRY(m2s_program_write(program, M2S_NAME_IMAGE, image, error));
    }
    M2S_TRY(m2s_program_run(program, session->arena, session->time_steps, control, error));
    M2S_TRY(m2s_program_read(program, M2S_NAME_LOGITS, logits, error));
    session->last = program;
fail:
    return status;
}

/* What the caller's device memory must be like. */
static m2snet_status check_run(const m2snet_session *session, const m2snet_cuda_run *run, m2snet_error *error)
{
    const struct {
        const char *name;
        const void *data;
    } side[] = { { "src", run->src }, { "dst", run->dst } };

    if (session->model->context->backend->buffer_wait == NULL) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        "runs are enqueued by backend \"cuda\" only; this context's is \"%s\"",
                        session->model->context->backend->name);
    }
    for (int i = 0; i < 2; i++) {
        if (side[i].data == NULL || (uintptr_t)side[i].data % 16 != 0) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                            "%s is %s: expected device memory aligned to 16 bytes", side[i].name,
                            side[i].data == NULL ? "NULL" : "not aligned");
        }
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_session_enqueue(m2snet_session *session, const m2snet_cuda_run *given, m2snet_error *error)
{
    m2snet_cuda_run run = { .struct_size = sizeof run };
    m2s_program *program;
    m2snet_status status;

    M2S_TRY(m2s_options_import("m2snet_cuda_run", given, &run, sizeof run, error));
    M2S_TRY(check_run(session, &run, error));
    M2S_TRY(m2s_session_plan_for(session, run.n, run.h, run.w, NULL, &program, error));
    M2S_TRY(m2s_session_reserve(session, program, 0, error));
    M2S_TRY(m2s_program_enqueue(program, session->arena, run.stream, run.src, run.dst, error));
    session->pending = true;
    session->last = program;
fail:
    return status;
}
