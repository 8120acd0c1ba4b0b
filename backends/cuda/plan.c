/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cuda/plan.h"

#include <string.h>

#include "backends/cuda/branches.h"

/* So many multiply-adds are some ten milliseconds of a device: as long as a cancel may take to be heard. */
#define PART_MULTIPLY_ADDS ((uint64_t)200 * 1000 * 1000 * 1000)

/* What steps that may run side by side may cost: more is not worth it on a device that one batch fills. */
#define MOST_ARENA_GROWTH ((size_t)256 << 20)

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
    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        m2s_plan_value *value = &plan->values[v];
        value->elements = (size_t)m2s_shape_elements(info->shape);
        value->bound = m2s_value_is_bound(info);
        value->input = info->kind != M2S_VALUE_NODE;
        value->dtype = M2SNET_DTYPE_F32;
        if (!m2s_mul(value->elements, m2s_dtype_bytes(info->dtype), &value->bytes)) {
            return m2s_fail_memory(error, info->name != NULL ? info->name : "a tensor", SIZE_MAX);
        }
        if (info->replaces != M2S_NONE) {
            value->place = M2S_PLACE_STATE;
            value->root = m2s_graph_state_root(graph, v);
        } else if (!info->constant) {
            value->place = value->bound ? M2S_PLACE_BOUND : M2S_PLACE_ARENA;
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

/* ---- types: a step runs in 16 bits where it can and an input is there in 16 bits, and casts stand between ---- */

static m2snet_dtype storage_of(const m2s_plan *plan, const m2s_graph *graph, const m2s_node *node)
{
    bool half = m2s_cuda_wants_half(node->op);

    for (int32_t i = 0; i < node->in_count && !half; i++) {
        m2s_value v = node->in[i];
        if (v != M2S_NONE && m2s_cuda_input_is_stored(node->op, i)) {
            /* Pictures come in F32, but nothing is lost with them. */
            half = plan->values[v].dtype != M2SNET_DTYPE_F32 || graph->values[v].kind == M2S_VALUE_INPUT;
        }
    }
    return half && m2s_cuda_has_half(node->op) ? plan->storage : M2SNET_DTYPE_F32;
}

/* The other type's copy of a value, for this node: made before it unless it is there. */
static m2snet_status take_twin(m2s_plan *plan, const m2s_graph *graph, m2s_value value, int32_t node, m2s_value *taken,
                               m2snet_error *error)
{
    m2s_plan_value *of = &plan->values[value];
    m2snet_dtype to = of->dtype == M2SNET_DTYPE_F32 ? plan->storage : M2SNET_DTYPE_F32;
    const m2s_value_info *info = &graph->values[value];

    if (of->twin == 0) {
        m2s_plan_step *made = &plan->steps[plan->step_count];
        of->twin = plan->value_count++;
        plan->values[of->twin] =
            (m2s_plan_value){ .place = M2S_PLACE_ARENA, .dtype = to, .first_use = node, .elements = of->elements };
        made->name =
            m2s_pile_printf(plan->pile, "%s as %s", info->name != NULL ? info->name : "a value", m2s_dtype_name(to));
        if (made->name == NULL) {
            return m2s_fail_memory(error, "a plan", 0);
        }
        made->node = node;
        made->in[0] = value;
        made->out[0] = of->twin;
        m2s_cuda_lower_cast(info->shape, of->dtype, to, &made->step);
        plan->step_count++;
    }
    plan->values[of->twin].last_use = node;
    *taken = of->twin;
    return M2SNET_STATUS_OK;
}

static m2snet_status take_inputs(m2s_plan *plan, const m2s_graph *graph, m2s_plan_step *step, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; i < step->step.args.in_count; i++) {
        m2s_value v = step->in[i];
        m2snet_dtype wanted = m2s_cuda_input_is_stored(step->step.op, i) ? step->step.storage : M2SNET_DTYPE_F32;
        if (v != M2S_NONE && !graph->values[v].constant && plan->values[v].dtype != wanted) {
            M2S_TRY(take_twin(plan, graph, v, step->node, &step->in[i], error));
        }
    }
fail:
    return status;
}

static void type_results(m2s_plan *plan, const m2s_plan_step *step)
{
    for (int32_t o = 0; o < step->step.args.out_count; o++) {
        m2s_plan_value *value = &plan->values[step->out[o]];
        if (step->step.storage != M2SNET_DTYPE_F32 && m2s_cuda_result_is_stored(step->step.op, o)) {
            value->dtype = step->step.storage;
            value->cast = value->bound;
            value->place = M2S_PLACE_ARENA;
        }
    }
}

/* ---- steps ---- */

static m2snet_status make_step(m2s_device *device, m2s_plan *plan, const m2s_graph *graph, int32_t index,
                               m2snet_error *error)
{
    const m2s_node *node = &graph->nodes[index];
    const char *reason = m2s_cuda_missing(graph, node), *op = m2s_op_get_info(node->op)->name;
    m2s_plan_step made = { .node = index };
    char label[64];
    m2snet_status status = M2SNET_STATUS_OK;

    if (reason != NULL) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "%s: backend cuda cannot run %s: %s",
                        m2s_node_label(graph, index, label), op, reason);
    }
    const m2s_products products = { storage_of(plan, graph, node), plan->tf32 };
    memcpy(made.in, node->in, sizeof made.in);
    memcpy(made.out, node->out, sizeof made.out);
    made.multiply_adds = m2s_node_multiply_adds(graph, node);
    made.name = m2s_pile_strdup(plan->pile, m2s_node_label(graph, index, label));
    if (made.name == NULL) {
        return m2s_fail_memory(error, "a plan", sizeof label);
    }
    M2S_TRY(m2s_cuda_lower(device, graph, node, &products, &made.step, error));
    if (made.step.kernel != NULL) {
        made.step.kernel_name = m2s_pile_printf(plan->pile, "own %s", op);
        if (made.step.kernel_name == NULL) {
            status = m2s_fail_memory(error, "a plan", 0);
            goto fail;
        }
    }
    M2S_TRY(take_inputs(plan, graph, &made, error));
    type_results(plan, &made);
    m2s_plan_step *kept = &plan->steps[plan->step_count++];
    *kept = made;
    kept->step.args.attrs = &kept->step.attrs;
    return status;
fail:
    m2s_error_prefix(error, "%s", m2s_node_label(graph, index, label));
    m2s_step_free(plan->memory, &made.step);
    return status;
}

/* ---- constants ---- */

static m2snet_status take_weight(m2s_device *device, m2s_plan *plan, const m2s_plan_request *request, m2s_value value,
                                 m2s_layout layout, m2snet_dtype storage, const m2s_weight_entry **taken,
                                 m2snet_error *error)
{
    m2s_weight_entry *entry;
    m2snet_status status;

    M2S_TRY(m2s_cuda_weight_acquire(device, request, value, layout, storage, &entry, error));
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
            bool own = step->in[i] != M2S_NONE && step->in[i] < graph->value_count;
            if (own && graph->values[step->in[i]].constant) {
                M2S_TRY(take_weight(device, plan, request, step->in[i], step->step.layout[i], step->step.storage,
                                    &step->constant[i], error));
            }
        }
    }
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (graph->values[v].constant && graph->values[v].output) {
            M2S_TRY(take_weight(device, plan, request, v, M2S_LAYOUT_F32, M2SNET_DTYPE_F32, &plan->values[v].leaves,
                                error));
        }
    }
    if (m2s_control_report(request->control, "prepare", (uint64_t)plan->step_count, (uint64_t)plan->step_count)) {
        status = m2s_fail_cancelled(error, "prepare");
    }
fail:
    return status;
}

/* ---- arena ---- */

static m2s_block block_of(const m2s_plan *plan, const m2s_graph *graph, const int32_t *last_use, m2s_value v)
{
    const m2s_plan_value *value = &plan->values[v];
    bool twin = v >= graph->value_count;
    int32_t begin = twin ? value->first_use : graph->values[v].node, end = twin ? value->last_use : last_use[v];

    return (m2s_block){ value->elements * m2s_dtype_bytes(value->dtype), begin, end > begin ? end : begin, 0 };
}

/* Instead, where that costs little memory. What shares memory although it need not come one after the other does then.
 */
static m2snet_status place_branches(m2s_plan *plan, m2s_block *blocks, size_t count, m2snet_error *error)
{
    size_t bytes = 0;
    m2s_block *apart = m2s_alloc_array(plan->memory, count, sizeof *apart);
    m2snet_status status;

    if (apart == NULL) {
        return m2s_fail_memory(error, "a plan", count * sizeof *apart);
    }
    memcpy(apart, blocks, count * sizeof *apart);
    M2S_TRY(m2s_cuda_branches_place(plan, apart, &bytes, error));
    if (bytes <= plan->arena_bytes + MOST_ARENA_GROWTH) {
        memcpy(blocks, apart, count * sizeof *apart);
        plan->arena_bytes = bytes;
    }
fail:
    m2s_free(plan->memory, apart);
    return status;
}

/* Blocks: one a value, then one a step for its scratch. Steps of the liveness are node indices; those of casts are the
 * nodes that they are made for. */
static m2snet_status place_in_arena(m2s_plan *plan, const m2s_graph *graph, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;
    size_t count = (size_t)plan->value_count + (size_t)plan->step_count;
    m2s_block *blocks = m2s_calloc(plan->memory, count, sizeof *blocks);
    int32_t *last_use = m2s_alloc_array(plan->memory, (size_t)graph->value_count, sizeof *last_use);

    if (blocks == NULL || last_use == NULL) {
        status = m2s_fail_memory(error, "a plan", count * sizeof *blocks);
        goto fail;
    }
    m2s_graph_last_use(graph, last_use);
    for (m2s_value v = 0; v < plan->value_count; v++) {
        if (plan->values[v].place == M2S_PLACE_ARENA) {
            blocks[v] = block_of(plan, graph, last_use, v);
        }
    }
    m2s_block *scratch = blocks + plan->value_count;
    for (int32_t s = 0; s < plan->step_count; s++) {
        const m2s_plan_step *step = &plan->steps[s];
        scratch[s] = (m2s_block){ step->step.scratch_bytes, step->node, step->node, 0 };
    }
    M2S_TRY(m2s_memory_plan(plan->memory, blocks, (int32_t)count, &plan->arena_bytes, error));
    if (m2s_cuda_has_branches(plan)) {
        M2S_TRY(place_branches(plan, blocks, count, error));
    }
    for (m2s_value v = 0; v < plan->value_count; v++) {
        plan->values[v].offset = blocks[v].offset;
    }
    for (int32_t s = 0; s < plan->step_count; s++) {
        plan->steps[s].scratch_offset = scratch[s].offset;
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
    plan->in_a_row = device->host.cuda != NULL && device->host.cuda->in_a_row != 0;
    plan->value_count = graph->value_count;
    plan->pile = m2s_pile_create(memory);
    /* At most one twin a value, each with a step that makes it. */
    size_t twins = plan->storage != M2SNET_DTYPE_F32 ? (size_t)graph->value_count : 0;
    plan->values = m2s_calloc(memory, (size_t)graph->value_count + twins, sizeof *plan->values);
    plan->steps = m2s_calloc(memory, (size_t)graph->node_count + twins, sizeof *plan->steps);
    if (plan->pile == NULL || plan->values == NULL || plan->steps == NULL) {
        status = m2s_fail_memory(error, "a plan", ((size_t)graph->node_count + twins) * sizeof *plan->steps);
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
    cut_parts(plan);
    M2S_TRY(place_in_arena(plan, graph, error));
    M2S_TRY(take_weights(device, plan, request, error));
    M2S_TRY(m2s_cuda_fail(error, m2s_cuda_stream_create(&plan->stream), "a stream"));
    *compiled = plan;
    return M2SNET_STATUS_OK;
fail:
    m2s_cuda_plan_free(device, plan);
    return status;
}
