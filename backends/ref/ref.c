/* SPDX-License-Identifier: Apache-2.0
 * The reference backend: one step a node, run by the plain-loop kernels on the pool. */
#include "backends/ref/ref.h"

#include <inttypes.h>
#include <string.h>

#include "graph/memory_plan.h"

#define PACK_LAYOUT "dense"

struct m2s_device {
    m2s_host host;
};

struct m2s_buffer {
    unsigned char *data;
    size_t bytes;
};

/* Where the numbers of a value are during a run. */
typedef enum place {
    PLACE_NONE,
    PLACE_PACK,  /* a constant */
    PLACE_ARENA, /* at offset */
    PLACE_BOUND, /* in the caller's buffer */
    PLACE_STATE  /* in place of the state at the root of its chain */
} place;

typedef struct plan_value {
    place place;
    bool wanted; /* a constant that some step reads or that leaves the plan */
    bool bound;  /* must come with the run request */
    size_t bytes, offset;
    const m2s_pack *pack;
    unsigned char *data; /* of the run under way */
    m2s_value root;      /* PLACE_STATE: what it replaces in the end */
    const char *name;    /* of what must be bound, for messages */
} plan_value;

typedef struct plan_step {
    const m2s_ref_kernel *kernel;
    m2s_ref_args args;
    m2s_attrs attrs; /* copies: the graph may go before the plan */
    m2s_value in[M2S_MAX_IN], out[M2S_MAX_OUT];
    size_t scratch_bytes, scratch_offset;
    int64_t chunks;
    const char *name, *kernel_name;
    uint64_t multiply_adds, nanoseconds;
} plan_step;

/* A value bound twice (an input that is an output too), or a constant that leaves the plan. */
typedef struct plan_copy {
    const void *src;
    void *dst;
    size_t bytes;
} plan_copy;

struct m2s_plan {
    m2s_memory *memory;
    m2s_pile *pile; /* names */
    m2s_pack_cache *packs;
    plan_value *values;
    int32_t value_count;
    plan_step *steps;
    m2s_task *tasks; /* one a step */
    int32_t step_count;
    int32_t first_update; /* the first step that writes state; step_count when none does */
    size_t arena_bytes, packed_bytes;
};

/* ---- device ---- */

static const char *description(void)
{
    return "plain loops with sums in double, F32 and F64: the oracle of the tests";
}

static int device_count(void)
{
    return 1;
}

static m2snet_status device_open(const m2s_host *host, int device, m2s_device **opened, m2snet_error *error)
{
    *opened = NULL;
    if (device != 0) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "backend ref has one device, 0; there is no %d", device);
    }
    m2s_device *made = m2s_alloc(host->memory, sizeof *made);
    if (made == NULL) {
        return m2s_fail_memory(error, "backend ref", sizeof *made);
    }
    made->host = *host;
    *opened = made;
    return M2SNET_STATUS_OK;
}

static void device_close(m2s_device *device)
{
    if (device != NULL) {
        m2s_free(device->host.memory, device);
    }
}

static void device_info(const m2s_device *device, m2s_device_info *info)
{
    (void)device;
    *info = (m2s_device_info){ .name = "reference", .instruction_set = "portable C", .gemm_provider = "none" };
}

/* ---- buffers ---- */

static m2snet_status buffer_alloc(m2s_device *device, size_t bytes, m2s_buffer **buffer, m2snet_error *error)
{
    m2s_memory *memory = device->host.memory;
    m2s_buffer *made = m2s_alloc(memory, sizeof *made);

    *buffer = NULL;
    if (made == NULL || (made->data = m2s_alloc(memory, bytes)) == NULL) {
        m2s_free(memory, made);
        return m2s_fail_memory(error, "a buffer", bytes);
    }
    made->bytes = bytes;
    *buffer = made;
    return M2SNET_STATUS_OK;
}

static void buffer_free(m2s_device *device, m2s_buffer *buffer)
{
    if (buffer != NULL) {
        m2s_free(device->host.memory, buffer->data);
        m2s_free(device->host.memory, buffer);
    }
}

static m2snet_status check_range(const m2s_buffer *buffer, size_t offset, size_t bytes, m2snet_error *error)
{
    if (offset > buffer->bytes || bytes > buffer->bytes - offset) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%zu bytes at %zu are outside of a buffer of %zu", bytes, offset,
                        buffer->bytes);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status buffer_write(m2s_device *device, m2s_buffer *buffer, size_t offset, const void *src, size_t bytes,
                                  m2snet_error *error)
{
    m2snet_status status;

    (void)device;
    M2S_TRY(check_range(buffer, offset, bytes, error));
    memcpy(buffer->data + offset, src, bytes);
fail:
    return status;
}

static m2snet_status buffer_read(m2s_device *device, const m2s_buffer *buffer, size_t offset, void *dst, size_t bytes,
                                 m2snet_error *error)
{
    m2snet_status status;

    (void)device;
    M2S_TRY(check_range(buffer, offset, bytes, error));
    memcpy(dst, buffer->data + offset, bytes);
fail:
    return status;
}

/* ---- compile ---- */

/* NULL, or what is missing: F32 and F64 alone have kernels, and a node does not mix them. */
static const char *missing(const m2s_graph *graph, const m2s_node *node)
{
    m2snet_dtype dtype = graph->values[node->out[0]].dtype;

    if (dtype != M2SNET_DTYPE_F32 && dtype != M2SNET_DTYPE_F64) {
        return "only F32 and F64 have reference kernels";
    }
    for (int32_t i = 0; i < node->in_count; i++) {
        if (node->in[i] != M2S_NONE && graph->values[node->in[i]].dtype != dtype) {
            return "its inputs and its result differ in precision";
        }
    }
    return m2s_ref_get_kernel(node->op, dtype) != NULL ? NULL : "the operation has no reference kernel";
}

static bool supports(const m2s_device *device, const m2s_graph *graph, const m2s_node *node, char *why)
{
    const char *reason = missing(graph, node);

    (void)device;
    if (reason != NULL && why != NULL) {
        strncpy(why, reason, 127);
        why[127] = '\0';
    }
    return reason == NULL;
}

static void plan_free(m2s_device *device, m2s_plan *plan)
{
    (void)device;
    if (plan == NULL) {
        return;
    }
    for (int32_t v = 0; plan->values != NULL && v < plan->value_count; v++) {
        if (plan->values[v].pack != NULL) {
            plan->packs->release(plan->packs, plan->values[v].pack);
        }
    }
    m2s_free(plan->memory, plan->values);
    m2s_free(plan->memory, plan->steps);
    m2s_free(plan->memory, plan->tasks);
    m2s_pile_destroy(plan->pile);
    m2s_free(plan->memory, plan);
}

static void run_chunk(void *argument, int64_t chunk, int worker)
{
    plan_step *step = argument;

    (void)worker;
    step->kernel->run(&step->args, chunk);
}

static m2snet_status make_step(m2s_plan *plan, const m2s_graph *graph, int32_t index, m2snet_error *error)
{
    const m2s_node *node = &graph->nodes[index];
    const char *reason = missing(graph, node);
    plan_step *step = &plan->steps[plan->step_count];
    char label[64];

    if (reason != NULL) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "%s: backend ref cannot run %s: %s",
                        m2s_node_label(graph, index, label), m2s_op_get_info(node->op)->name, reason);
    }
    *step = (plan_step){ .kernel = m2s_ref_get_kernel(node->op, graph->values[node->out[0]].dtype),
                         .attrs = node->attrs,
                         .kernel_name = m2s_op_get_info(node->op)->name,
                         .multiply_adds = m2s_node_multiply_adds(graph, node) };
    step->name = m2s_pile_strdup(plan->pile, m2s_node_label(graph, index, label));
    if (step->name == NULL) {
        return m2s_fail_memory(error, "a plan", sizeof label);
    }
    memcpy(step->in, node->in, sizeof step->in);
    memcpy(step->out, node->out, sizeof step->out);
    m2s_ref_args_init(&step->args, graph, node);
    step->args.attrs = &step->attrs;
    step->chunks = step->kernel->chunks != NULL ? step->kernel->chunks(&step->args) : 1;
    step->scratch_bytes = step->kernel->scratch_bytes != NULL ? step->kernel->scratch_bytes(&step->args) : 0;
    for (int32_t i = 0; i < node->in_count; i++) {
        if (node->in[i] != M2S_NONE && graph->values[node->in[i]].constant) {
            plan->values[node->in[i]].wanted = true;
        }
    }
    plan->tasks[plan->step_count] = (m2s_task){ .run = run_chunk, .argument = step, .chunks = step->chunks };
    plan->step_count++;
    return M2SNET_STATUS_OK;
}

typedef struct constant_request {
    m2s_memory *memory;
    const m2s_plan_request *plan;
    m2s_value value;
} constant_request;

static m2snet_status fill_pack(void *argument, void *data, m2snet_error *error)
{
    const constant_request *request = argument;

    return m2s_ref_constant(request->memory, request->plan->graph, request->plan->params, request->value, data, error);
}

static m2snet_status acquire_packs(m2s_plan *plan, const m2s_plan_request *request, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (m2s_value v = 0; v < plan->value_count; v++) {
        plan_value *value = &plan->values[v];
        constant_request argument = { plan->memory, request, v };
        char key[M2S_PACK_KEY_BYTES];
        if (m2s_control_report(request->control, "prepare", (uint64_t)v, (uint64_t)plan->value_count)) {
            return m2s_fail_cancelled(error, "prepare");
        }
        if (!value->wanted) {
            continue;
        }
        m2s_ref_constant_key(request->graph, request->params, v, PACK_LAYOUT, key);
        M2S_TRY(plan->packs->acquire(plan->packs, key, value->bytes, fill_pack, &argument, &value->pack, error));
        value->place = PLACE_PACK;
        value->data = value->pack->data;
        plan->packed_bytes += value->bytes;
    }
fail:
    return status;
}

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
        if (plan->values[v].place == PLACE_ARENA) {
            int32_t made_by = graph->values[v].node;
            blocks[v] = (m2s_block){ plan->values[v].bytes, made_by, last_use[v] > made_by ? last_use[v] : made_by, 0 };
        }
    }
    m2s_block *scratch = blocks + graph->value_count;
    for (int32_t n = 0, s = 0; n < graph->node_count; n++) {
        size_t bytes = graph->values[graph->nodes[n].out[0]].constant ? 0 : plan->steps[s++].scratch_bytes;
        scratch[n] = (m2s_block){ bytes, n, n, 0 };
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

static m2snet_status describe_values(m2s_plan *plan, const m2s_graph *graph, m2snet_error *error)
{
    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        plan_value *value = &plan->values[v];
        if (!m2s_mul((size_t)m2s_shape_elements(info->shape), m2s_dtype_bytes(info->dtype), &value->bytes)) {
            return m2s_fail_memory(error, info->name != NULL ? info->name : "a tensor", SIZE_MAX);
        }
        value->bound = m2s_value_is_bound(info);
        value->wanted = info->constant && info->output;
        if (info->replaces != M2S_NONE) {
            value->place = PLACE_STATE;
            value->root = m2s_graph_state_root(graph, v);
        } else if (!info->constant) {
            value->place = value->bound ? PLACE_BOUND : PLACE_ARENA;
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

static m2snet_status plan_compile(m2s_device *device, const m2s_plan_request *request, m2s_plan **compiled,
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
    plan->packs = request->packs;
    plan->value_count = graph->value_count;
    plan->pile = m2s_pile_create(memory);
    plan->values = m2s_calloc(memory, (size_t)graph->value_count, sizeof *plan->values);
    plan->steps = m2s_calloc(memory, (size_t)graph->node_count, sizeof *plan->steps);
    plan->tasks = m2s_calloc(memory, (size_t)graph->node_count, sizeof *plan->tasks);
    if (plan->pile == NULL || plan->values == NULL || plan->steps == NULL || plan->tasks == NULL) {
        status = m2s_fail_memory(error, "a plan", (size_t)graph->node_count * sizeof *plan->steps);
        goto fail;
    }
    M2S_TRY(describe_values(plan, graph, error));
    M2S_TRY(m2s_graph_first_update(graph, &first_update, error));
    for (int32_t n = 0; n < graph->node_count; n++) {
        plan->first_update = n <= first_update ? plan->step_count : plan->first_update;
        if (!graph->values[graph->nodes[n].out[0]].constant) {
            M2S_TRY(make_step(plan, graph, n, error));
        }
    }
    plan->first_update = first_update == graph->node_count ? plan->step_count : plan->first_update;
    M2S_TRY(place_in_arena(plan, graph, error));
    M2S_TRY(acquire_packs(plan, request, error));
    *compiled = plan;
    return M2SNET_STATUS_OK;
fail:
    plan_free(device, plan);
    return status;
}

static void plan_info(const m2s_plan *plan, m2s_plan_info *info)
{
    *info = (m2s_plan_info){ plan->arena_bytes, plan->packed_bytes, plan->step_count };
}

static bool plan_step_info(const m2s_plan *plan, int32_t index, m2s_step_info *info)
{
    if (index < 0 || index >= plan->step_count) {
        return false;
    }
    const plan_step *step = &plan->steps[index];
    *info = (m2s_step_info){ step->name, step->kernel_name, step->multiply_adds, step->nanoseconds };
    return true;
}

/* ---- run ---- */

static void run_copy(void *argument, int64_t chunk, int worker)
{
    const plan_copy *copy = argument;

    (void)chunk;
    (void)worker;
    memmove(copy->dst, copy->src, copy->bytes);
}

/* Gives every bound value its place. A value's first binding is where the steps read and write it; further ones, and
 * all of a constant's, get copies at the end. */
static m2snet_status bind(m2s_plan *plan, const m2s_run_request *request, plan_copy *copies, int32_t *copy_count,
                          m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    *copy_count = 0;
    for (m2s_value v = 0; v < plan->value_count; v++) {
        if (plan->values[v].place == PLACE_BOUND) {
            plan->values[v].data = NULL;
        }
    }
    for (int32_t b = 0; b < request->binding_count; b++) {
        const m2s_binding *binding = &request->bindings[b];
        if (binding->value < 0 || binding->value >= plan->value_count || !plan->values[binding->value].bound) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL, "binding %" PRId32 " is of no input and no output", b);
        }
        plan_value *value = &plan->values[binding->value];
        M2S_TRY(check_range(binding->buffer, binding->offset_bytes, value->bytes, error));
        if (binding->offset_bytes % sizeof(double) != 0) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%s is bound at byte %zu, expected a multiple of %zu",
                            value->name, binding->offset_bytes, sizeof(double));
        }
        unsigned char *data = binding->buffer->data + binding->offset_bytes;
        if (value->data != NULL) {
            copies[(*copy_count)++] = (plan_copy){ value->data, data, value->bytes };
        } else {
            value->data = data;
        }
    }
    for (m2s_value v = 0; v < plan->value_count; v++) {
        if (plan->values[v].place == PLACE_BOUND && plan->values[v].data == NULL) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%s is not bound", plan->values[v].name);
        }
    }
fail:
    return status;
}

static void point_step(const m2s_plan *plan, plan_step *step, unsigned char *arena)
{
    for (int32_t i = 0; i < step->args.in_count; i++) {
        step->args.in[i] = step->in[i] != M2S_NONE ? plan->values[step->in[i]].data : NULL;
    }
    for (int32_t i = 0; i < step->args.out_count; i++) {
        step->args.out[i] = plan->values[step->out[i]].data;
    }
    step->args.scratch = step->scratch_bytes != 0 ? arena + step->scratch_offset : NULL;
}

static m2snet_status plan_run(m2s_device *device, m2s_plan *plan, const m2s_run_request *request, m2snet_error *error)
{
    m2s_memory *memory = device->host.memory;
    size_t binding_count = (size_t)request->binding_count;
    unsigned char *arena = request->arena != NULL ? request->arena->data : NULL;
    plan_copy *copies = m2s_alloc_array(memory, binding_count, sizeof *copies);
    m2s_task *tasks = m2s_alloc_array(memory, (size_t)plan->step_count + binding_count, sizeof *tasks);
    int32_t copy_count = 0;
    m2snet_status status = M2SNET_STATUS_OK;

    if (copies == NULL || tasks == NULL) {
        status = m2s_fail_memory(error, "a run", binding_count * sizeof *copies);
        goto fail;
    }
    if (plan->arena_bytes > (request->arena != NULL ? request->arena->bytes : 0)) {
        status = m2s_fail(error, M2SNET_STATUS_INTERNAL, "the plan needs an arena of %zu bytes", plan->arena_bytes);
        goto fail;
    }
    M2S_TRY(bind(plan, request, copies, &copy_count, error));
    for (m2s_value v = 0; v < plan->value_count; v++) {
        if (plan->values[v].place == PLACE_ARENA) {
            plan->values[v].data = arena + plan->values[v].offset;
        } else if (plan->values[v].place == PLACE_STATE) {
            plan->values[v].data = plan->values[plan->values[v].root].data;
        }
    }
    for (int32_t s = 0; s < plan->step_count; s++) {
        point_step(plan, &plan->steps[s], arena);
        tasks[s] = plan->tasks[s];
        tasks[s].nanoseconds = request->time_steps ? &plan->steps[s].nanoseconds : NULL;
    }
    for (int32_t c = 0; c < copy_count; c++) {
        tasks[plan->step_count + c] = (m2s_task){ .run = run_copy, .argument = &copies[c], .chunks = 1 };
    }
    int64_t task_count = (int64_t)plan->step_count + copy_count;
    M2S_TRY(m2s_pool_run(device->host.pool, tasks, plan->first_update, request->control, "network", error));
    if (task_count > plan->first_update) { /* updates, copies: short, and never cancelled */
        M2S_TRY(m2s_pool_run(device->host.pool, tasks + plan->first_update, task_count - plan->first_update, NULL,
                             "network", error));
    }
fail:
    m2s_free(memory, copies);
    m2s_free(memory, tasks);
    return status;
}

const m2s_backend *m2s_backend_ref(void)
{
    static const m2s_backend backend = {
        .abi = M2S_BACKEND_ABI,
        .name = "ref",
        .literal = true,
        .description = description,
        .device_count = device_count,
        .open = device_open,
        .close = device_close,
        .device_info = device_info,
        .buffer_alloc = buffer_alloc,
        .buffer_free = buffer_free,
        .buffer_write = buffer_write,
        .buffer_read = buffer_read,
        .supports = supports,
        .plan_compile = plan_compile,
        .plan_info = plan_info,
        .plan_step = plan_step_info,
        .plan_run = plan_run,
        .plan_free = plan_free,
    };

    return &backend;
}
