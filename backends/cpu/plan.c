/* SPDX-License-Identifier: Apache-2.0
 * Compiling a graph to steps, and running them. */
#include "backends/cpu/plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backends/cpu/plan_internal.h"
#include "graph/memory_plan.h"

typedef enum value_place {
    PLACE_NONE,  /* constant, or unused */
    PLACE_ARENA, /* blocks[value] */
    PLACE_BOUND, /* the caller's buffer */
    PLACE_STATE, /* where the root of its chain of state is */
} value_place;

struct m2s_plan {
    m2s_device *device;
    m2s_memory *memory;
    m2s_pack_cache *packs;
    m2s_step *steps;
    int32_t step_count;
    m2s_task *tasks; /* all steps' tasks, in order */
    int64_t task_count;
    int64_t first_update; /* the first task that writes state; task_count when none does */

    int32_t value_count;
    value_place *places;
    m2s_value *roots; /* of PLACE_STATE */
    size_t *value_bytes;
    m2s_block *blocks; /* a value each, then a step's scratch each */
    void **address;    /* of values, during a run */
    size_t arena_bytes;
    size_t worker_offset, worker_bytes; /* in the arena; bytes of one worker, rounded */
    size_t packed_bytes;
    unsigned char *arena; /* during a run */

    atomic_int failure; /* m2snet_status of the first step that failed in this run */
    m2snet_error failure_error;
    atomic_flag failure_taken;
};

/* ---- what candidates call ---- */

void m2s_step_fail(m2s_step *step, m2snet_status status, const char *what)
{
    m2s_plan *plan = step->plan;

    if (!atomic_flag_test_and_set(&plan->failure_taken)) {
        m2s_fail(&plan->failure_error, status, "%s: %s", step->name, what);
        atomic_store(&plan->failure, (int)status);
    }
}

void *m2s_step_worker_scratch(const m2s_step *step, int worker)
{
    const m2s_plan *plan = step->plan;

    return plan->arena + plan->worker_offset + (size_t)worker * plan->worker_bytes;
}

void m2s_step_add_task(m2s_step *step, m2s_step_run run, int64_t chunks)
{
    int32_t index = step->task_count++;

    step->tasks[index] = (m2s_step_task){ .step = step, .run = run, .index = index, .chunks = chunks };
}

void m2s_step_set_kernel(m2s_step *step, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(step->kernel, sizeof step->kernel, format, arguments);
    va_end(arguments);
}

bool m2s_lowering_has_input(const m2s_lowering *lowering, int32_t i)
{
    return i < lowering->step->node.in_count && lowering->step->node.in[i] != M2S_NONE;
}

bool m2s_lowering_is_constant(const m2s_lowering *lowering, int32_t i)
{
    return m2s_lowering_has_input(lowering, i) && lowering->request->graph->values[lowering->step->node.in[i]].constant;
}

typedef struct fill_request {
    const m2s_lowering *lowering;
    m2s_value value;
    m2s_pack_rule rule;
    void *argument;
} fill_request;

static size_t value_bytes(const m2s_graph *graph, m2s_value value)
{
    return (size_t)m2s_shape_elements(m2s_shape_of(graph, value)) * m2s_dtype_bytes(graph->values[value].dtype);
}

/* Most of a model's bytes are folded weights over F32 parameters: these are read where they lie. The reference
 * evaluation would copy each parameter first. */
static m2snet_status evaluate_fold(const m2s_lowering *lowering, const m2s_node *node, const float *weights, float *dst,
                                   m2snet_error *error)
{
    const m2s_plan_request *request = lowering->request;
    m2s_memory *memory = lowering->device->host->memory;
    m2s_shape shape = m2s_shape_of(request->graph, node->out[0]);
    int64_t each = shape.i * shape.kh * shape.kw;
    float *gamma = m2s_alloc_array(memory, (size_t)shape.o, 2 * sizeof *gamma);
    m2snet_status status;

    if (gamma == NULL) {
        return m2s_fail_memory(error, "folding weights", (size_t)shape.o * 2 * sizeof *gamma);
    }
    float *var = gamma + shape.o;
    M2S_TRY(m2s_ref_constant(memory, request->graph, request->params, node->in[1], gamma, error));
    M2S_TRY(m2s_ref_constant(memory, request->graph, request->params, node->in[2], var, error));
    for (int64_t o = 0; o < shape.o; o++) {
        double scale = (double)gamma[o] / sqrt((double)var[o] + node->attrs.epsilon);
        for (int64_t i = 0; i < each; i++) {
            dst[o * each + i] = (float)((double)weights[o * each + i] * scale);
        }
    }
fail:
    m2s_free(memory, gamma);
    return status;
}

static m2snet_status evaluate(const m2s_lowering *lowering, m2s_value value, float *dst, m2snet_error *error)
{
    const m2s_plan_request *request = lowering->request;
    const m2s_graph *graph = request->graph;
    const m2s_node *node =
        graph->values[value].kind == M2S_VALUE_NODE ? &graph->nodes[graph->values[value].node] : NULL;

    if (node != NULL && node->op == M2S_OP_fold_weights && graph->values[node->in[0]].kind == M2S_VALUE_PARAM) {
        const m2s_param_view *view = &request->params[node->in[0]];
        if (view->data != NULL && view->dtype == M2SNET_DTYPE_F32 && (uintptr_t)view->data % sizeof(float) == 0) {
            return evaluate_fold(lowering, node, view->data, dst, error);
        }
    }
    if (node != NULL && node->op == M2S_OP_concat_o) {
        m2snet_status status = evaluate(lowering, node->in[0], dst, error);
        int64_t first = m2s_shape_elements(m2s_shape_of(graph, node->in[0]));
        return status != M2SNET_STATUS_OK ? status : evaluate(lowering, node->in[1], dst + first, error);
    }
    return m2s_ref_constant(lowering->device->host->memory, graph, request->params, value, dst, error);
}

static m2snet_status fill_pack(void *argument, void *data, m2snet_error *error)
{
    const fill_request *fill = argument;
    m2s_room *room = fill->lowering->room;
    m2s_memory *memory = fill->lowering->device->host->memory;
    size_t bytes = value_bytes(fill->lowering->request->graph, fill->value);
    m2snet_status status;

    if (fill->rule == NULL) {
        return evaluate(fill->lowering, fill->value, data, error);
    }
    if (room->bytes < bytes) {
        m2s_free(memory, room->data);
        room->data = m2s_alloc(memory, bytes);
        room->bytes = room->data != NULL ? bytes : 0;
        if (room->data == NULL) {
            return m2s_fail_memory(error, "packing weights", bytes);
        }
    }
    status = evaluate(fill->lowering, fill->value, room->data, error);
    return status != M2SNET_STATUS_OK ? status : fill->rule(fill->argument, room->data, data, error);
}

static m2snet_status acquire_pack(const m2s_lowering *lowering, m2s_value value, const char *layout, size_t bytes,
                                  m2s_pack_rule rule, void *argument, const void **packed, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    const m2s_plan_request *request = lowering->request;
    fill_request fill = { .lowering = lowering, .value = value, .rule = rule, .argument = argument };
    char key[M2S_PACK_KEY_BYTES];
    const m2s_pack *pack = NULL;
    m2snet_status status;

    if (step->pack_count == M2S_STEP_PACKS) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "more than %d packs in a step", M2S_STEP_PACKS);
    }
    m2s_ref_constant_key(request->graph, request->params, value, layout, key);
    status = request->packs->acquire(request->packs, key, bytes, fill_pack, &fill, &pack, error);
    if (status == M2SNET_STATUS_OK) {
        step->packs[step->pack_count++] = pack;
        *packed = pack->data;
    }
    return status;
}

m2snet_status m2s_lowering_pack(const m2s_lowering *lowering, int32_t i, const char *layout, size_t bytes,
                                m2s_pack_rule rule, void *argument, const void **packed, m2snet_error *error)
{
    m2s_value value = lowering->step->node.in[i];

    if (rule == NULL) {
        bytes = value_bytes(lowering->request->graph, value);
    }
    return acquire_pack(lowering, value, layout, bytes, rule, argument, packed, error);
}

m2snet_status m2s_lowering_plain_constants(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; i < step->node.in_count && status == M2SNET_STATUS_OK; i++) {
        if (m2s_lowering_is_constant(lowering, i)) {
            const void *data = NULL;
            status = m2s_lowering_pack(lowering, i, "plain", 0, NULL, NULL, &data, error);
            step->args.in[i] = data;
        }
    }
    return status;
}

/* ---- cutting work ---- */

int64_t m2s_cut_count(int64_t units, int64_t each, int64_t target)
{
    int64_t chunks = (units * each + target - 1) / target;

    chunks = chunks > 1 ? (chunks + 1) / 2 * 2 : 1;
    return chunks < units ? chunks : units;
}

m2s_cut m2s_cut_part(int64_t units, int64_t chunks, int64_t chunk)
{
    return (m2s_cut){ chunk * units / chunks, (chunk + 1) * units / chunks };
}

/* ---- generic candidates ---- */

static void run_reference(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    (void)task;
    (void)worker;
    m2s_ref_get_kernel(step->node.op, M2SNET_DTYPE_F32)->run(&step->args, chunk);
}

m2snet_status m2s_lower_reference(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    const m2s_ref_kernel *kernel = m2s_ref_get_kernel(step->node.op, M2SNET_DTYPE_F32);
    m2snet_status status;

    if (kernel == NULL) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "no kernel for %s in F32",
                        m2s_op_get_info(step->node.op)->name);
    }
    M2S_TRY(m2s_lowering_plain_constants(lowering, error));
    step->scratch_bytes = kernel->scratch_bytes != NULL ? kernel->scratch_bytes(&step->args) : 0;
    m2s_step_set_kernel(step, "ref");
    m2s_step_add_task(step, run_reference, kernel->chunks != NULL ? kernel->chunks(&step->args) : 1);
fail:
    return status;
}

/* A constant that is a result of the plan: copied out of its pack on each run. */
static void run_copy_constant(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    size_t bytes = (size_t)m2s_shape_elements(step->args.out_shape[0]) * sizeof(float);

    (void)task;
    (void)chunk;
    (void)worker;
    memcpy(step->args.out[0], step->args.in[0], bytes);
}

static m2snet_status lower_constant_output(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_value value = step->node.out[0];
    const void *data = NULL;
    m2snet_status status =
        acquire_pack(lowering, value, "plain", value_bytes(lowering->request->graph, value), NULL, NULL, &data, error);

    if (status == M2SNET_STATUS_OK) {
        step->args.in[0] = data;
        m2s_step_set_kernel(step, "copy");
        m2s_step_add_task(step, run_copy_constant, 1);
    }
    return status;
}

/* ---- compiling ---- */

static void clear_step(const m2s_plan *plan, m2s_step *step)
{
    for (int32_t i = 0; i < step->pack_count; i++) {
        plan->packs->release(plan->packs, step->packs[i]);
    }
    if (step->free_detail != NULL) {
        step->free_detail(plan->memory, step->detail);
    }
    step->pack_count = step->task_count = 0;
    step->detail = NULL;
    step->free_detail = NULL;
    step->scratch_bytes = step->worker_bytes = 0;
    for (int32_t i = 0; i < M2S_MAX_IN; i++) {
        step->args.in[i] = NULL;
    }
}

static bool makes_constant(const m2s_graph *graph, const m2s_node *node)
{
    return graph->values[node->out[0]].constant;
}

static m2snet_status lower_step(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    const m2s_candidate *candidates = m2s_cpu_candidates(step->node.op);
    m2snet_status status;

    if (makes_constant(lowering->request->graph, &step->node)) {
        return lower_constant_output(lowering, error);
    }
    for (int32_t i = 0; candidates != NULL && candidates[i] != NULL; i++) {
        status = candidates[i](lowering, error);
        if (status == M2SNET_STATUS_OK) {
            return status;
        }
        clear_step(step->plan, step);
        if (status != M2SNET_STATUS_UNSUPPORTED) {
            return status;
        }
        if (error->message[0] != '\0') { /* refusals that are worth a word */
            m2s_log_write(lowering->device->host->log, M2SNET_LOG_DEBUG, "cpu: %s: %s", step->name, error->message);
            error->message[0] = '\0';
        }
    }
    status = m2s_lower_reference(lowering, error);
    if (status != M2SNET_STATUS_OK) {
        clear_step(step->plan, step);
        m2s_error_prefix(error, "%s", step->name);
    }
    return status;
}

typedef struct compilation {
    m2s_plan *plan;
    const m2s_plan_request *request;
    const int32_t *order; /* dearest node first, so that the workers end together */
    m2s_room *rooms;      /* of the workers */
} compilation;

static void lower_chunk(void *argument, int64_t chunk, int worker)
{
    const compilation *work = argument;
    m2s_step *step = &work->plan->steps[work->order[chunk]];
    m2s_lowering lowering = {
        .device = work->plan->device, .request = work->request, .step = step, .room = &work->rooms[worker]
    };

    step->status = lower_step(&lowering, step->error);
}

static bool wants_step(const m2s_graph *graph, const m2s_node *node)
{
    if (!makes_constant(graph, node)) {
        return true;
    }
    return graph->values[node->out[0]].output;
}

static m2snet_status check_graph(const m2s_graph *graph, m2snet_error *error)
{
    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        if (info->dtype != M2SNET_DTYPE_F32) {
            return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "the cpu backend computes in F32; use backend ref for %s",
                            m2s_dtype_name(info->dtype));
        }
        if (info->output && info->kind == M2S_VALUE_PARAM) {
            return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "%s: a parameter cannot be a result", info->name);
        }
    }
    return M2SNET_STATUS_OK;
}

static size_t packed_size(const m2s_plan *plan)
{
    size_t bytes = 0;

    for (int32_t s = 0; s < plan->step_count; s++) {
        for (int32_t i = 0; i < plan->steps[s].pack_count; i++) {
            const m2s_pack *pack = plan->steps[s].packs[i];
            bool counted = false;
            for (int32_t t = 0; t <= s && !counted; t++) {
                int32_t end = t < s ? plan->steps[t].pack_count : i;
                for (int32_t k = 0; k < end && !counted; k++) {
                    counted = plan->steps[t].packs[k] == pack;
                }
            }
            bytes += counted ? 0 : pack->bytes;
        }
    }
    return bytes;
}

/* Steps are counted apart from nodes: step_of[node], or -1. */
static m2snet_status place_values(m2s_plan *plan, const m2s_graph *graph, const int32_t *step_of, int32_t *last_use,
                                  m2snet_error *error)
{
    size_t threads = (size_t)m2s_pool_threads(plan->device->host->pool);
    size_t bytes = 0;
    m2snet_status status = M2SNET_STATUS_OK;

    m2s_graph_last_use(graph, last_use);
    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        plan->value_bytes[v] = value_bytes(graph, v);
        if (info->replaces != M2S_NONE) {
            plan->places[v] = PLACE_STATE;
            plan->roots[v] = m2s_graph_state_root(graph, v);
        } else if (m2s_value_is_bound(info)) {
            plan->places[v] = PLACE_BOUND;
        } else if (info->kind == M2S_VALUE_NODE && !info->constant) {
            int32_t first = step_of[info->node];
            int32_t last = last_use[v] >= 0 ? step_of[last_use[v]] : first;
            plan->places[v] = PLACE_ARENA;
            plan->blocks[v] = (m2s_block){ .bytes = plan->value_bytes[v], .first = first, .last = last };
        }
    }
    for (int32_t s = 0; s < plan->step_count; s++) {
        m2s_step *step = &plan->steps[s];
        step->scratch_block = graph->value_count + s;
        plan->blocks[step->scratch_block] = (m2s_block){ .bytes = step->scratch_bytes, .first = s, .last = s };
        plan->worker_bytes = step->worker_bytes > plan->worker_bytes ? step->worker_bytes : plan->worker_bytes;
    }
    M2S_TRY(
        m2s_memory_plan(plan->memory, plan->blocks, graph->value_count + plan->step_count, &plan->arena_bytes, error));
    /* An odd number of lines, so that the workers' scratch does not share cache sets. */
    plan->worker_bytes = (plan->worker_bytes + M2S_ALIGNMENT - 1) / M2S_ALIGNMENT * M2S_ALIGNMENT;
    plan->worker_bytes += plan->worker_bytes / M2S_ALIGNMENT % 2 == 0 && plan->worker_bytes > 0 ? M2S_ALIGNMENT : 0;
    plan->worker_offset = (plan->arena_bytes + M2S_ALIGNMENT - 1) / M2S_ALIGNMENT * M2S_ALIGNMENT;
    if (!m2s_mul(plan->worker_bytes, threads, &bytes) || !m2s_add(bytes, plan->worker_offset, &plan->arena_bytes)) {
        status = m2s_fail_memory(error, "the arena", plan->worker_bytes);
    }
fail:
    return status;
}

static void run_task(void *argument, int64_t chunk, int worker)
{
    const m2s_step_task *task = argument;

    task->run(task->step, task->index, chunk, worker);
}

/* updates_from: the first step that writes state. */
static m2snet_status collect_tasks(m2s_plan *plan, int32_t updates_from, m2snet_error *error)
{
    int64_t count = 0;

    for (int32_t s = 0; s < plan->step_count; s++) {
        count += plan->steps[s].task_count;
    }
    plan->tasks = m2s_alloc_array(plan->memory, (size_t)count + 1, sizeof *plan->tasks);
    if (plan->tasks == NULL) {
        return m2s_fail_memory(error, "a plan", (size_t)count * sizeof *plan->tasks);
    }
    for (int32_t s = 0; s < plan->step_count; s++) {
        plan->first_update = s <= updates_from ? plan->task_count : plan->first_update;
        for (int32_t i = 0; i < plan->steps[s].task_count; i++) {
            m2s_step_task *task = &plan->steps[s].tasks[i];
            plan->tasks[plan->task_count++] = (m2s_task){ .run = run_task, .argument = task, .chunks = task->chunks };
        }
    }
    plan->first_update = updates_from >= plan->step_count ? plan->task_count : plan->first_update;
    return M2SNET_STATUS_OK;
}

static void dump(const m2s_plan *plan)
{
    const m2s_log *log = plan->device->host->log;

    if (!m2s_log_wants(log, M2SNET_LOG_DEBUG)) {
        return;
    }
    m2s_log_write(log, M2SNET_LOG_DEBUG, "cpu plan: %d steps, %" PRId64 " tasks, arena %zu bytes, packed %zu bytes",
                  plan->step_count, plan->task_count, plan->arena_bytes, plan->packed_bytes);
    for (int32_t s = 0; s < plan->step_count; s++) {
        const m2s_step *step = &plan->steps[s];
        int64_t chunks = 0;
        for (int32_t i = 0; i < step->task_count; i++) {
            chunks += step->tasks[i].chunks;
        }
        m2s_log_write(log, M2SNET_LOG_DEBUG,
                      "%4d %s: %s, %s, %d tasks, %" PRId64 " chunks, %" PRIu64
                      " multiply-adds, scratch %zu + %zu a worker",
                      s, step->name, m2s_op_get_info(step->node.op)->name, step->kernel, step->task_count, chunks,
                      step->multiply_adds, step->scratch_bytes, step->worker_bytes);
    }
}

/* Rough cost of lowering: the constants' bytes dominate. */
static int64_t lowering_cost(const m2s_graph *graph, const m2s_node *node)
{
    int64_t cost = 1;

    for (int32_t i = 0; i < node->in_count; i++) {
        if (node->in[i] != M2S_NONE && graph->values[node->in[i]].constant) {
            cost += m2s_shape_elements(m2s_shape_of(graph, node->in[i]));
        }
    }
    return cost;
}

static void order_by_cost(const m2s_plan *plan, const m2s_graph *graph, int32_t *order)
{
    for (int32_t s = 0; s < plan->step_count; s++) {
        int64_t cost = lowering_cost(graph, &plan->steps[s].node);
        int32_t at = s;
        while (at > 0 && lowering_cost(graph, &plan->steps[order[at - 1]].node) < cost) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = s;
    }
}

static void name_step(m2s_step *step, const m2s_graph *graph, int32_t node)
{
    char buffer[64];
    const char *label = m2s_node_label(graph, node, buffer);
    size_t length = strlen(label);

    /* A long module path keeps its end, which tells more. */
    snprintf(step->name, sizeof step->name, "%s",
             length < sizeof step->name ? label : label + length + 1 - sizeof step->name);
}

m2snet_status m2s_cpu_plan_compile(m2s_device *device, const m2s_plan_request *request, m2s_plan **compiled,
                                   m2snet_error *error)
{
    const m2s_graph *graph = request->graph;
    m2s_memory *memory = device->host->memory;
    size_t nodes = (size_t)graph->node_count, values = (size_t)graph->value_count;
    int32_t *step_of = NULL, *last_use = NULL, *order = NULL;
    int32_t first_update = 0, updates_from = 0;
    int threads = m2s_pool_threads(device->host->pool);
    m2snet_error *errors = NULL;
    m2s_room *rooms = NULL;
    m2s_plan *plan = NULL;
    m2snet_status status;

    *compiled = NULL;
    M2S_TRY(check_graph(graph, error));
    M2S_TRY(m2s_graph_first_update(graph, &first_update, error));
    plan = m2s_calloc(memory, 1, sizeof *plan);
    if (plan == NULL) {
        goto no_memory;
    }
    *plan = (m2s_plan){ .device = device, .memory = memory, .packs = request->packs };
    atomic_flag_clear(&plan->failure_taken);
    plan->value_count = graph->value_count;
    plan->steps = m2s_calloc(memory, nodes + 1, sizeof *plan->steps);
    plan->places = m2s_calloc(memory, values + 1, sizeof *plan->places);
    plan->roots = m2s_calloc(memory, values + 1, sizeof *plan->roots);
    plan->value_bytes = m2s_calloc(memory, values + 1, sizeof *plan->value_bytes);
    plan->address = m2s_calloc(memory, values + 1, sizeof *plan->address);
    plan->blocks = m2s_calloc(memory, values + nodes + 1, sizeof *plan->blocks);
    step_of = m2s_alloc_array(memory, nodes + 1, sizeof *step_of);
    last_use = m2s_alloc_array(memory, values + 1, sizeof *last_use);
    order = m2s_alloc_array(memory, nodes + 1, sizeof *order);
    if (plan->steps == NULL || plan->places == NULL || plan->roots == NULL || plan->value_bytes == NULL ||
        plan->address == NULL || plan->blocks == NULL || step_of == NULL || last_use == NULL || order == NULL) {
        goto no_memory;
    }
    for (int32_t n = 0; n < graph->node_count; n++) {
        step_of[n] = -1;
        updates_from = n <= first_update ? plan->step_count : updates_from;
        if (wants_step(graph, &graph->nodes[n])) {
            m2s_step *step = &plan->steps[plan->step_count];
            step_of[n] = plan->step_count++;
            step->plan = plan;
            step->kernels = device->kernels;
            step->node = graph->nodes[n];
            step->multiply_adds = makes_constant(graph, &step->node) ? 0 : m2s_node_multiply_adds(graph, &step->node);
            m2s_ref_args_init(&step->args, graph, &step->node);
            name_step(step, graph, n);
        }
    }
    step_of[graph->node_count] = plan->step_count; /* where results are last used */
    updates_from = first_update == graph->node_count ? plan->step_count : updates_from;
    errors = m2s_calloc(memory, (size_t)plan->step_count + 1, sizeof *errors);
    rooms = m2s_calloc(memory, (size_t)threads, sizeof *rooms);
    if (errors == NULL || rooms == NULL) {
        goto no_memory;
    }
    order_by_cost(plan, graph, order);
    for (int32_t s = 0; s < plan->step_count; s++) {
        plan->steps[s].error = &errors[s];
        plan->steps[s].status = M2SNET_STATUS_OK;
    }
    compilation work = { .plan = plan, .request = request, .order = order, .rooms = rooms };
    m2s_task task = { .run = lower_chunk, .argument = &work, .chunks = plan->step_count };
    M2S_TRY(m2s_pool_run(device->host->pool, &task, 1, request->control, "prepare", error));
    for (int32_t s = 0; s < plan->step_count; s++) {
        if (plan->steps[s].status != M2SNET_STATUS_OK) {
            status = m2s_fail(error, plan->steps[s].status, "%s", errors[s].message);
            goto fail;
        }
        plan->steps[s].error = NULL;
    }
    M2S_TRY(place_values(plan, graph, step_of, last_use, error));
    M2S_TRY(collect_tasks(plan, updates_from, error));
    plan->packed_bytes = packed_size(plan);
    dump(plan);
    *compiled = plan;
    plan = NULL;
    goto fail; /* nothing failed: only the helpers go */
no_memory:
    status = m2s_fail_memory(error, "a plan", (values + nodes) * sizeof(m2s_step));
fail:
    m2s_free(memory, step_of);
    m2s_free(memory, last_use);
    m2s_free(memory, order);
    m2s_free(memory, errors);
    for (int i = 0; rooms != NULL && i < threads; i++) {
        m2s_free(memory, rooms[i].data);
    }
    m2s_free(memory, rooms);
    m2s_cpu_plan_free(device, plan);
    return status;
}

/* Details may hold objects of foreign libraries, which only pool threads touch. */
static void clear_chunk(void *argument, int64_t chunk, int worker)
{
    m2s_plan *plan = argument;

    (void)worker;
    (void)chunk;
    for (int32_t s = 0; s < plan->step_count; s++) {
        clear_step(plan, &plan->steps[s]);
    }
}

void m2s_cpu_plan_free(m2s_device *device, m2s_plan *plan)
{
    if (plan == NULL) {
        return;
    }
    m2s_memory *memory = plan->memory;
    if (plan->steps != NULL) {
        m2s_task task = { .run = clear_chunk, .argument = plan, .chunks = 1 };
        m2s_pool_run(device->host->pool, &task, 1, NULL, "free", NULL);
    }
    m2s_free(memory, plan->steps);
    m2s_free(memory, plan->tasks);
    m2s_free(memory, plan->places);
    m2s_free(memory, plan->roots);
    m2s_free(memory, plan->value_bytes);
    m2s_free(memory, plan->blocks);
    m2s_free(memory, plan->address);
    m2s_free(memory, plan);
}

void m2s_cpu_plan_info(const m2s_plan *plan, m2s_plan_info *info)
{
    *info = (m2s_plan_info){ .arena_bytes = plan->arena_bytes,
                             .packed_bytes = plan->packed_bytes,
                             .steps = plan->step_count };
}

bool m2s_cpu_plan_step(const m2s_plan *plan, int32_t index, m2s_step_info *info)
{
    if (index < 0 || index >= plan->step_count) {
        return false;
    }
    const m2s_step *step = &plan->steps[index];
    *info = (m2s_step_info){ .name = step->name, .kernel = step->kernel, .multiply_adds = step->multiply_adds };
    for (int32_t i = 0; i < step->task_count; i++) {
        info->nanoseconds += step->tasks[i].nanoseconds;
    }
    return true;
}

/* ---- running ---- */

static m2snet_status bind_values(m2s_plan *plan, const m2s_run_request *request, m2snet_error *error)
{
    for (int32_t v = 0; v < plan->value_count; v++) {
        plan->address[v] = plan->places[v] == PLACE_ARENA ? plan->arena + plan->blocks[v].offset : NULL;
    }
    for (int32_t i = 0; i < request->binding_count; i++) {
        const m2s_binding *binding = &request->bindings[i];
        size_t end = 0;
        if (binding->value < 0 || binding->value >= plan->value_count || plan->places[binding->value] != PLACE_BOUND) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL, "binding %d: value %d is no input and no result", i,
                            binding->value);
        }
        if (binding->buffer == NULL || !m2s_add(binding->offset_bytes, plan->value_bytes[binding->value], &end) ||
            end > binding->buffer->bytes) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL,
                            "binding %d: the buffer is too small: %zu bytes needed at %zu", i,
                            plan->value_bytes[binding->value], binding->offset_bytes);
        }
        plan->address[binding->value] = (unsigned char *)binding->buffer->data + binding->offset_bytes;
    }
    for (int32_t v = 0; v < plan->value_count; v++) {
        if (plan->places[v] == PLACE_BOUND && plan->address[v] == NULL) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL, "value %d is an input or a result and has no buffer", v);
        }
    }
    for (int32_t v = 0; v < plan->value_count; v++) {
        if (plan->places[v] == PLACE_STATE) {
            plan->address[v] = plan->address[plan->roots[v]];
        }
    }
    return M2SNET_STATUS_OK;
}

static void set_addresses(m2s_plan *plan)
{
    for (int32_t s = 0; s < plan->step_count; s++) {
        m2s_step *step = &plan->steps[s];
        for (int32_t i = 0; i < step->node.in_count; i++) {
            m2s_value value = step->node.in[i];
            if (value != M2S_NONE && plan->places[value] != PLACE_NONE) {
                step->args.in[i] = plan->address[value];
            }
        }
        for (int32_t i = 0; i < step->node.out_count; i++) {
            step->args.out[i] = plan->address[step->node.out[i]];
        }
        step->args.scratch = step->scratch_bytes > 0 ? plan->arena + plan->blocks[step->scratch_block].offset : NULL;
    }
}

static void set_timing(m2s_plan *plan, bool on)
{
    int64_t task = 0;

    for (int32_t s = 0; s < plan->step_count; s++) {
        m2s_step *step = &plan->steps[s];
        for (int32_t i = 0; i < step->task_count; i++) {
            step->tasks[i].nanoseconds = 0;
            plan->tasks[task++].nanoseconds = on ? &step->tasks[i].nanoseconds : NULL;
        }
    }
}

static m2snet_status run_tasks(m2s_plan *plan, int64_t begin, int64_t end, m2s_control *control, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    if (end > begin) {
        status = m2s_pool_run(plan->device->host->pool, plan->tasks + begin, end - begin, control, "network", error);
    }
    if (status == M2SNET_STATUS_OK && atomic_load(&plan->failure) != M2SNET_STATUS_OK) {
        status = m2s_fail(error, (m2snet_status)atomic_load(&plan->failure), "%s", plan->failure_error.message);
    }
    return status;
}

m2snet_status m2s_cpu_plan_run(m2s_device *device, m2s_plan *plan, const m2s_run_request *request, m2snet_error *error)
{
    m2snet_status status;

    (void)device;
    if (plan->arena_bytes > 0 && (request->arena == NULL || request->arena->bytes < plan->arena_bytes)) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "the arena is smaller than the %zu bytes of the plan",
                        plan->arena_bytes);
    }
    plan->arena = plan->arena_bytes > 0 ? request->arena->data : NULL;
    M2S_TRY(bind_values(plan, request, error));
    set_addresses(plan);
    set_timing(plan, request->time_steps);
    atomic_store(&plan->failure, M2SNET_STATUS_OK);
    atomic_flag_clear(&plan->failure_taken);
    M2S_TRY(run_tasks(plan, 0, plan->first_update, request->control, error));
    M2S_TRY(run_tasks(plan, plan->first_update, plan->task_count, NULL, error));
fail:
    return status;
}
