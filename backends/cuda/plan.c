/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cuda/plan.h"

#include <string.h>

#include "graph/memory_plan.h"

/* So many multiply-adds are some ten milliseconds of a device: as long as a cancel may take to be heard. */
#define PART_MULTIPLY_ADDS ((uint64_t)200 * 1000 * 1000 * 1000)

void m2s_cuda_plan_free(m2s_device *device, m2s_plan *plan)
{
    if (plan == NULL) {
        return;
    }
    m2s_cuda_plan_drop_graphs(plan);
    for (int32_t s = 0; plan->steps != NULL && s < plan->step_count; s++) {
        m2s_step_free(plan->memory, &plan->steps[s].step);
    }
    for (int32_t w = 0; w < plan->weight_count; w++) {
        m2s_cuda_weight_release(device, plan->weights[w]);
    }
    m2s_cuda_stream_destroy(plan->stream);
    m2s_free(plan->memory, plan->weights);
    m2s_free(plan->memory, plan->values);
    m2s_free(plan->memory, plan->steps);
    m2s_pile_destroy(plan->pile);
    m2s_free(plan->memory, plan);
}

static m2snet_status describe_values(m2s_plan *plan, const m2s_graph *graph, m2snet_error *error)
{
    bool half = plan->storage != M2SNET_DTYPE_F32;

    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        m2s_plan_value *value = &plan->values[v];
        value->elements = (size_t)m2s_shape_elements(info->shape);
        value->bound = m2s_value_is_bound(info);
        value->cast = half && value->bound && !info->constant;
        value->input = info->kind != M2S_VALUE_NODE;
        if (!m2s_mul(value->elements, m2s_dtype_bytes(info->dtype), &value->bytes)) {
            return m2s_fail_memory(error, info->name != NULL ? info->name : "a tensor", SIZE_MAX);
        }
        if (half && (info->kind == M2S_VALUE_STATE || info->kind == M2S_VALUE_SCALAR)) {
            return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "%s: training is F32 on backend cuda, not %s",
                            info->name != NULL ? info->name : "state", m2s_dtype_name(plan->storage));
        }
        if (info->replaces != M2S_NONE) {
            value->place = M2S_PLACE_STATE;
            value->root = m2s_graph_state_root(graph, v);
        } else if (!info->constant) {
            value->place = value->bound && !value->cast ? M2S_PLACE_BOUND : M2S_PLACE_ARENA;
        }
        if (value->bound) {
            value->name = m2s_pile_printf(plan->pile, "%s \"%s\"",
                                          info->output                    ? "output"
                                          : info->kind == M2S_VALUE_STATE ? "state"
                                                                          : "input",
                                          info->name != NULL ? info->name : "(nameless)");
            if (value->name == NULL) {
                return m2s_fail_memory(error, "a plan", 0);
            }
        }
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status make_step(m2s_device *device, m2s_plan *plan, const m2s_graph *graph, int32_t index,
                               m2snet_error *error)
{
    const m2s_node *node = &graph->nodes[index];
    const char *reason = m2s_cuda_missing(graph, node, plan->storage);
    const m2s_products products = { plan->storage, plan->tf32 };
    m2s_plan_step *made = &plan->steps[plan->step_count];
    char label[64];
    m2snet_status status;

    if (reason != NULL) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "%s: backend cuda cannot run %s: %s",
                        m2s_node_label(graph, index, label), m2s_op_get_info(node->op)->name, reason);
    }
    plan->step_count++;
    memcpy(made->in, node->in, sizeof made->in);
    memcpy(made->out, node->out, sizeof made->out);
    made->multiply_adds = m2s_node_multiply_adds(graph, node);
    made->name = m2s_pile_strdup(plan->pile, m2s_node_label(graph, index, label));
    if (made->name == NULL) {
        return m2s_fail_memory(error, "a plan", sizeof label);
    }
    M2S_TRY(m2s_cuda_lower(device, graph, node, &products, &made->step, error));
    if (made->step.kernel != NULL) {
        made->step.kernel_name = m2s_pile_printf(plan->pile, "own %s", m2s_op_get_info(node->op)->name);
        if (made->step.kernel_name == NULL) {
            status = m2s_fail_memory(error, "a plan", 0);
        }
    }
fail:
    if (status != M2SNET_STATUS_OK) {
        m2s_error_prefix(error, "%s", m2s_node_label(graph, index, label));
    }
    return status;
}

/* ---- constants ---- */

static m2snet_status take_weight(m2s_device *device, m2s_plan *plan, const m2s_plan_request *request, m2s_value value,
                                 m2s_layout layout, const m2s_weight_entry **taken, m2snet_error *error)
{
    m2s_weight_entry *entry;
    m2snet_status status;

    M2S_TRY(m2s_cuda_weight_acquire(device, request, value, layout, plan->storage, &entry, error));
    plan->weights[plan->weight_count++] = entry;
    plan->packed_bytes += entry->bytes;
    *taken = entry;
fail:
    return status;
}

static m2snet_status take_weights(m2s_device *device, m2s_plan *plan, const m2s_plan_request *request,
                                  m2snet_error *error)
{
    const m2s_graph *graph = request->graph;
    size_t most = (size_t)graph->value_count;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t s = 0; s < plan->step_count; s++) {
        most += (size_t)plan->steps[s].step.args.in_count;
    }
    plan->weights = m2s_alloc_array(plan->memory, most, sizeof *plan->weights);
    if (plan->weights == NULL) {
        return m2s_fail_memory(error, "a plan", most * sizeof *plan->weights);
    }
    for (int32_t s = 0; s < plan->step_count; s++) {
        m2s_plan_step *step = &plan->steps[s];
        if (m2s_control_report(request->control, "prepare", (uint64_t)s, (uint64_t)plan->step_count)) {
            return m2s_fail_cancelled(error, "prepare");
        }
        for (int32_t i = 0; i < step->step.args.in_count; i++) {
            if (step->in[i] != M2S_NONE && graph->values[step->in[i]].constant) {
                M2S_TRY(
                    take_weight(device, plan, request, step->in[i], step->step.layout[i], &step->constant[i], error));
            }
        }
    }
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (graph->values[v].constant && graph->values[v].output) {
            M2S_TRY(take_weight(device, plan, request, v, M2S_LAYOUT_F32, &plan->values[v].leaves, error));
        }
    }
    if (m2s_control_report(request->control, "prepare", (uint64_t)plan->step_count, (uint64_t)plan->step_count)) {
        status = m2s_fail_cancelled(error, "prepare");
    }
fail:
    return status;
}

/* ---- arena ---- */

/* Blocks: one a value, then one a node for its scratch. Steps of the liveness are node indices. */
static m2snet_status place_in_arena(m2s_plan *plan, const m2s_graph *graph, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;
    size_t count = (size_t)graph->value_count + (size_t)graph->node_count;
    m2s_block *blocks = m2s_calloc(plan->memory, count, sizeof *blocks);
    int32_t *last_use = m2s_alloc_array(plan->memory, (size_t)graph->value_count, sizeof *last_use);

    if (blocks == NULL || last_use == NULL) {
        status = m2s_fail_memory(error, "a plan", count * sizeof *blocks);
        goto fail;
    }
    m2s_graph_last_use(graph, last_use);
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (plan->values[v].place == M2S_PLACE_ARENA) {
            /* Inputs are cast before the first step. */
            int32_t made_by = plan->values[v].input ? 0 : graph->values[v].node;
            size_t bytes = plan->values[v].elements * m2s_dtype_bytes(plan->storage);
            blocks[v] = (m2s_block){ bytes, made_by, last_use[v] > made_by ? last_use[v] : made_by, 0 };
        }
    }
    m2s_block *scratch = blocks + graph->value_count;
    for (int32_t n = 0, s = 0; n < graph->node_count; n++) {
        bool constant = graph->values[graph->nodes[n].out[0]].constant;
        scratch[n] = (m2s_block){ constant ? 0 : plan->steps[s++].step.scratch_bytes, n, n, 0 };
    }
    M2S_TRY(m2s_memory_plan(plan->memory, blocks, (int32_t)count, &plan->arena_bytes, error));
    for (m2s_value v = 0; v < graph->value_count; v++) {
        plan->values[v].offset = blocks[v].offset;
    }
    for (int32_t n = 0, s = 0; n < graph->node_count; n++) {
        if (!graph->values[graph->nodes[n].out[0]].constant) {
            plan->steps[s++].scratch_offset = scratch[n].offset;
        }
    }
fail:
    m2s_free(plan->memory, blocks);
    m2s_free(plan->memory, last_use);
    return status;
}

/* Ends a part at the first update, and where enough work has come together. */
static void cut_parts(m2s_plan *plan)
{
    uint64_t work = 0;

    for (int32_t s = 0; s < plan->step_count; s++) {
        bool room = plan->part_count < M2S_MAX_PARTS - 2; /* the last two are for the end and the first update */
        if (s > 0 && (s == plan->first_update || (work >= PART_MULTIPLY_ADDS && room && s < plan->first_update))) {
            plan->parts[plan->part_count++].end = s;
            work = 0;
        }
        work += plan->steps[s].multiply_adds;
    }
    plan->parts[plan->part_count++].end = plan->step_count;
}

m2snet_status m2s_cuda_plan_compile(m2s_device *device, const m2s_plan_request *request, m2s_plan **compiled,
                                    m2snet_error *error)
{
    m2s_memory *memory = device->host.memory;
    const m2s_graph *graph = request->graph;
    m2s_plan *plan = m2s_calloc(memory, 1, sizeof *plan);
    int32_t first_update = 0;
    m2snet_status status = M2SNET_STATUS_OK;

    *compiled = NULL;
    if (plan == NULL) {
        return m2s_fail_memory(error, "a plan", sizeof *plan);
    }
    plan->memory = memory;
    plan->storage = request->storage != 0 ? request->storage : M2SNET_DTYPE_F32;
    plan->tf32 = request->tf32;
    plan->value_count = graph->value_count;
    plan->pile = m2s_pile_create(memory);
    plan->values = m2s_calloc(memory, (size_t)graph->value_count, sizeof *plan->values);
    plan->steps = m2s_calloc(memory, (size_t)graph->node_count, sizeof *plan->steps);
    if (plan->pile == NULL || plan->values == NULL || plan->steps == NULL) {
        status = m2s_fail_memory(error, "a plan", (size_t)graph->node_count * sizeof *plan->steps);
        goto fail;
    }
    M2S_TRY(describe_values(plan, graph, error));
    M2S_TRY(m2s_graph_first_update(graph, &first_update, error));
    for (int32_t n = 0; n < graph->node_count; n++) {
        plan->first_update = n <= first_update ? plan->step_count : plan->first_update;
        if (!graph->values[graph->nodes[n].out[0]].constant) {
            M2S_TRY(make_step(device, plan, graph, n, error));
        }
    }
    plan->first_update = first_update == graph->node_count ? plan->step_count : plan->first_update;
    M2S_TRY(place_in_arena(plan, graph, error));
    M2S_TRY(take_weights(device, plan, request, error));
    cut_parts(plan);
    M2S_TRY(m2s_cuda_fail(error, m2s_cuda_stream_create(&plan->stream), "a stream"));
    *compiled = plan;
    return M2SNET_STATUS_OK;
fail:
    m2s_cuda_plan_free(device, plan);
    return status;
}
