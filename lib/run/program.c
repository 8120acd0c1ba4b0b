/* SPDX-License-Identifier: Apache-2.0 */
#include "run/program.h"

#include <inttypes.h>

#include "graph/pass.h"
#include "net/names.h"
#include "run/fit.h"

struct m2s_program {
    m2snet_context *context; /* borrowed from the session */
    m2s_graph *graph;
    m2s_plan *plan;
    m2s_binding *bindings; /* own buffers first, then state */
    int32_t binding_count, own_count;
};

static size_t value_bytes(const m2s_graph *graph, m2s_value value)
{
    const m2s_value_info *info = &graph->values[value];

    return (size_t)m2s_shape_elements(info->shape) * m2s_dtype_bytes(info->dtype);
}

static m2snet_status bind_state(m2s_program *program, const m2s_state *state, m2snet_error *error)
{
    const m2s_graph *graph = program->graph;

    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        if (info->kind != M2S_VALUE_STATE) {
            continue;
        }
        const m2s_state_entry *entry = state != NULL ? m2s_state_find(state, info->name) : NULL;
        if (entry == NULL || entry->dtype != info->dtype ||
            m2s_shape_elements(entry->shape) != m2s_shape_elements(info->shape)) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL, "state %s is missing or does not fit", info->name);
        }
        program->bindings[program->binding_count++] = (m2s_binding){ .value = v, .buffer = entry->buffer };
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status make_buffers(m2s_program *program, const m2s_state *state, m2snet_error *error)
{
    const m2s_graph *graph = program->graph;
    m2snet_context *context = program->context;
    int32_t count = 0;
    m2snet_status status = M2SNET_STATUS_OK;

    for (m2s_value v = 0; v < graph->value_count; v++) {
        count += m2s_value_is_bound(&graph->values[v]);
    }
    program->bindings = m2s_calloc(&context->memory, (size_t)count, sizeof *program->bindings);
    if (program->bindings == NULL) {
        return m2s_fail_memory(error, "a plan's bindings", (size_t)count * sizeof *program->bindings);
    }
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (m2s_value_is_bound(&graph->values[v]) && graph->values[v].kind != M2S_VALUE_STATE) {
            m2s_binding *binding = &program->bindings[program->binding_count];
            M2S_TRY(context->backend->buffer_alloc(context->device, value_bytes(graph, v), &binding->buffer, error));
            binding->value = v;
            program->own_count = ++program->binding_count;
        }
    }
    M2S_TRY(bind_state(program, state, error));
fail:
    return status;
}

/* One line a step, at DEBUG level. */
static void dump_plan(const m2s_program *program)
{
    const m2s_log *log = &program->context->log;
    m2s_plan_info info;
    m2s_step_info step;

    if (!m2s_log_wants(log, M2SNET_LOG_DEBUG)) {
        return;
    }
    m2s_program_info(program, &info);
    m2s_log_write(log, M2SNET_LOG_DEBUG, "plan: %" PRId32 " steps, %zu bytes of arena, %zu bytes of packed weights",
                  info.steps, info.arena_bytes, info.packed_bytes);
    for (int32_t i = 0; m2s_program_step(program, i, &step); i++) {
        m2s_log_write(log, M2SNET_LOG_DEBUG, "%4" PRId32 "  %s: %s, %" PRIu64 " multiply-adds", i, step.name,
                      step.kernel, step.multiply_adds);
    }
}

/* Where a program's constants and state come from. */
typedef struct sources {
    const m2s_store *store;
    const char *prefix;
    m2s_pack_cache *packs;
    const m2s_state *state;
    m2snet_precision precision;
} sources;

/* 0: the graph's own. */
static m2snet_dtype storage_of(m2snet_precision precision)
{
    return precision == M2SNET_PRECISION_F16    ? M2SNET_DTYPE_F16
           : precision == M2SNET_PRECISION_BF16 ? M2SNET_DTYPE_BF16
                                                : (m2snet_dtype)0;
}

/* Takes graph over, also when it fails. */
static m2snet_status compile(m2snet_context *context, m2s_graph *graph, const sources *from, m2s_control *control,
                             m2s_program **created, m2snet_error *error)
{
    m2s_program *program = m2s_calloc(&context->memory, 1, sizeof *program);
    m2s_param_view *params = NULL;
    m2snet_status status;

    if (program == NULL) {
        m2s_graph_destroy(graph);
        return m2s_fail_memory(error, "a plan", sizeof *program);
    }
    program->context = context;
    program->graph = graph;
    M2S_TRY(m2s_fit_views(&context->memory, graph, from->store, from->prefix, &params, error));
    m2s_plan_request request = { .graph = graph,
                                 .params = params,
                                 .packs = from->packs,
                                 .control = control,
                                 .storage = storage_of(from->precision),
                                 .tf32 = from->precision == M2SNET_PRECISION_TF32 };
    M2S_TRY(context->backend->plan_compile(context->device, &request, &program->plan, error));
    dump_plan(program);
    M2S_TRY(make_buffers(program, from->state, error));
    *created = program;
    program = NULL;
fail:
    m2s_free(&context->memory, params);
    m2s_program_destroy(program);
    return status;
}

m2snet_status m2s_program_create(m2snet_context *context, const m2s_graph *graph, m2snet_precision precision,
                                 const m2s_store *store, m2s_pack_cache *packs, m2s_control *control,
                                 m2s_program **created, m2snet_error *error)
{
    const sources from = { .store = store, .prefix = "", .packs = packs, .precision = precision };
    m2s_graph *rewritten = NULL;
    m2snet_status status;

    *created = NULL;
    m2s_graph_dump(graph, &context->log, "as built");
    if (context->backend->literal) {
        M2S_TRY(m2s_pass_copy(graph, &rewritten, error));
    } else {
        M2S_TRY(m2s_pass_inference(graph, &rewritten, error));
        m2s_graph_dump(rewritten, &context->log, "for inference");
    }
    M2S_TRY(compile(context, rewritten, &from, control, created, error));
fail:
    return status;
}

m2snet_status m2s_program_create_step(m2snet_context *context, const m2s_graph *graph, m2snet_precision precision,
                                      const m2s_store *store, const char *prefix, m2s_pack_cache *packs,
                                      m2s_state *state, m2s_control *control, m2s_program **created,
                                      m2snet_error *error)
{
    const sources from = { store, prefix, packs, state, precision };
    m2s_graph *copy = NULL;
    m2snet_status status;

    *created = NULL;
    m2s_graph_dump(graph, &context->log, "step");
    M2S_TRY(m2s_pass_copy(graph, &copy, error));
    M2S_TRY(compile(context, copy, &from, control, created, error));
fail:
    return status;
}

void m2s_program_destroy(m2s_program *program)
{
    if (program == NULL) {
        return;
    }
    m2snet_context *context = program->context;
    for (int32_t i = 0; i < program->own_count; i++) {
        context->backend->buffer_free(context->device, program->bindings[i].buffer);
    }
    if (program->plan != NULL) {
        context->backend->plan_free(context->device, program->plan);
    }
    m2s_free(&context->memory, program->bindings);
    m2s_graph_destroy(program->graph);
    m2s_free(&context->memory, program);
}

void m2s_program_info(const m2s_program *program, m2s_plan_info *info)
{
    program->context->backend->plan_info(program->plan, info);
}

bool m2s_program_step(const m2s_program *program, int32_t index, m2s_step_info *info)
{
    return program->context->backend->plan_step(program->plan, index, info);
}

const m2s_graph *m2s_program_graph(const m2s_program *program)
{
    return program->graph;
}

static m2snet_status find_binding(const m2s_program *program, const char *name, m2s_binding **found,
                                  m2snet_error *error)
{
    m2s_value value = m2s_graph_find(program->graph, name);

    for (int32_t i = 0; i < program->binding_count && value != M2S_NONE; i++) {
        if (program->bindings[i].value == value) {
            *found = &program->bindings[i];
            return M2SNET_STATUS_OK;
        }
    }
    return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "\"%s\" is no input or output of the plan", name);
}

m2snet_status m2s_program_write(m2s_program *program, const char *name, const void *data, m2snet_error *error)
{
    m2s_binding *binding = NULL;
    m2snet_status status;

    M2S_TRY(find_binding(program, name, &binding, error));
    M2S_TRY(program->context->backend->buffer_write(program->context->device, binding->buffer, 0, data,
                                                    value_bytes(program->graph, binding->value), error));
fail:
    return status;
}

m2snet_status m2s_program_prepare(m2s_program *program, const char *name, const m2s_prepare_request *request,
                                  m2s_buffer *scratch, m2snet_error *error)
{
    m2s_binding *binding = NULL;
    m2snet_status status;

    M2S_TRY(find_binding(program, name, &binding, error));
    M2S_TRY(
        program->context->backend->buffer_prepare(program->context->device, binding->buffer, request, scratch, error));
fail:
    return status;
}

m2snet_status m2s_program_augment(m2s_program *program, const char *images, const char *masks,
                                  const m2s_augment_request *request, m2s_buffer *scratch, m2snet_error *error)
{
    m2s_binding *image = NULL, *mask = NULL;
    m2snet_status status;

    M2S_TRY(find_binding(program, images, &image, error));
    M2S_TRY(find_binding(program, masks, &mask, error));
    M2S_TRY(program->context->backend->buffer_augment(program->context->device, image->buffer, mask->buffer, request,
                                                      scratch, error));
fail:
    return status;
}

m2snet_status m2s_program_read(const m2s_program *program, const char *name, void *data, m2snet_error *error)
{
    m2s_binding *binding = NULL;
    m2snet_status status;

    M2S_TRY(find_binding(program, name, &binding, error));
    M2S_TRY(program->context->backend->buffer_read(program->context->device, binding->buffer, 0, data,
                                                   value_bytes(program->graph, binding->value), error));
fail:
    return status;
}

m2snet_status m2s_program_run(m2s_program *program, m2s_buffer *arena, bool time_steps, m2s_control *control,
                              m2snet_error *error)
{
    m2s_run_request request = { .arena = arena,
                                .bindings = program->bindings,
                                .binding_count = program->binding_count,
                                .time_steps = time_steps,
                                .control = control };

    return program->context->backend->plan_run(program->context->device, program->plan, &request, error);
}

m2snet_status m2s_program_enqueue(m2s_program *program, m2s_buffer *arena, void *stream, const void *image,
                                  void *logits, m2snet_error *error)
{
    const m2s_external external[] = { { m2s_graph_find(program->graph, M2S_NAME_IMAGE), (void *)(uintptr_t)image },
                                      { m2s_graph_find(program->graph, M2S_NAME_LOGITS), logits } };
    const m2s_queue queue = { stream, external, 2 };
    m2s_run_request request = {
        .arena = arena, .bindings = program->bindings, .binding_count = program->binding_count, .queue = &queue
    };

    return program->context->backend->plan_run(program->context->device, program->plan, &request, error);
}
