/* SPDX-License-Identifier: Apache-2.0
 * Runs a plan. The first run with a set of bindings launches one by one, which lets every library load what it needs;
 * the second captures what it launches into graphs, which all further ones replay. */
#include <inttypes.h>
#include <string.h>

#include "backends/cuda/branches.h"
#include "backends/cuda/cast.h"
#include "backends/cuda/updates.h"

#define BINDING_ALIGNMENT 16 /* of the kernels' widest access */

/* A value bound twice (an input that is an output too), or a constant that leaves the plan. */
typedef struct plan_copy {
    const void *src;
    void *dst;
    size_t bytes;
} plan_copy;

typedef struct run {
    m2s_device *device;
    void *stream; /* the plan's or the caller's */
    m2s_plan *plan;
    const m2s_run_request *request;
    plan_copy *copies;
    int32_t copy_count;
} run;

void m2s_cuda_plan_drop_graphs(m2s_plan *plan)
{
    for (int32_t p = 0; p < plan->part_count; p++) {
        m2s_cuda_graph_destroy(plan->parts[p].graph);
        plan->parts[p].graph = NULL;
    }
    plan->runs_alike = 0;
}

/* ---- bindings ---- */

static m2snet_status bind_one(run *r, const m2s_binding *binding, m2snet_error *error)
{
    m2s_plan *plan = r->plan;

    if (binding->value < 0 || binding->value >= plan->value_count || !plan->values[binding->value].bound) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "a binding is of no input and no output");
    }
    m2s_plan_value *value = &plan->values[binding->value];
    size_t room = binding->buffer->bytes;
    if (binding->offset_bytes > room || value->bytes > room - binding->offset_bytes) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%s: %zu bytes at %zu are outside of a buffer of %zu",
                        value->name, value->bytes, binding->offset_bytes, room);
    }
    if (binding->offset_bytes % BINDING_ALIGNMENT != 0) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%s is bound at byte %zu, expected a multiple of %d",
                        value->name, binding->offset_bytes, BINDING_ALIGNMENT);
    }
    unsigned char *data = binding->buffer->data + binding->offset_bytes;
    if (value->leaves != NULL) {
        value->given = data;
        r->copies[r->copy_count++] = (plan_copy){ value->leaves->data, data, value->bytes };
    } else if (value->given != NULL) {
        r->copies[r->copy_count++] = (plan_copy){ value->given, data, value->bytes };
    } else {
        value->given = data;
    }
    return M2SNET_STATUS_OK;
}

/* Gives every value its place; *alike says whether all are where they were in the last run. */
static m2snet_status bind(run *r, bool *alike, m2snet_error *error)
{
    m2s_plan *plan = r->plan;
    unsigned char *arena = r->request->arena != NULL ? r->request->arena->data : NULL;
    m2snet_status status = M2SNET_STATUS_OK;

    *alike = arena == plan->arena;
    plan->arena = arena;
    for (m2s_value v = 0; v < plan->value_count; v++) {
        plan->values[v].given = NULL;
    }
    for (int32_t b = 0; b < r->request->binding_count; b++) {
        M2S_TRY(bind_one(r, &r->request->bindings[b], error));
    }
    *alike = *alike && r->copy_count == 0; /* copies are rare enough to do without graphs */
    for (m2s_value v = 0; v < plan->value_count; v++) {
        m2s_plan_value *value = &plan->values[v];
        if (value->bound && value->given == NULL && value->place != M2S_PLACE_STATE) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%s is not bound", value->name);
        }
        unsigned char *data = value->place == M2S_PLACE_ARENA   ? arena + value->offset
                              : value->place == M2S_PLACE_BOUND ? value->given
                              : value->place == M2S_PLACE_STATE ? plan->values[value->root].given
                                                                : NULL;
        *alike = *alike && data == value->data;
        value->data = data;
    }
fail:
    return status;
}

/* Outputs that are cast have a place in the arena and another with the caller, who may change it. */
static bool casts_alike(const m2s_plan *plan, unsigned char *const *last)
{
    for (m2s_value v = 0; v < plan->value_count; v++) {
        if (plan->values[v].cast && plan->values[v].given != last[v]) {
            return false;
        }
    }
    return true;
}

/* ---- launching ---- */

void m2s_cuda_plan_arguments(const m2s_plan *plan, const m2s_plan_step *step, m2s_ref_args *args)
{
    *args = step->step.args;
    for (int32_t i = 0; i < args->in_count; i++) {
        args->in[i] = step->constant[i] != NULL ? step->constant[i]->data
                      : step->in[i] != M2S_NONE ? plan->values[step->in[i]].data
                                                : NULL;
    }
    for (int32_t i = 0; i < args->out_count; i++) {
        args->out[i] = plan->values[step->out[i]].data;
    }
    args->scratch = step->step.scratch_bytes != 0 ? plan->arena + step->scratch_offset : NULL;
}

int m2s_cuda_plan_launch_step(const m2s_device *device, const m2s_plan *plan, void *stream, int32_t step, int *beside)
{
    const m2s_step *launched = &plan->steps[step].step;
    m2s_ref_args args;
    const m2s_cuda_call call = { &args, stream, launched->storage, device->properties.multiprocessors, beside };

    m2s_cuda_plan_arguments(plan, &plan->steps[step], &args);
    return launched->launch(launched, &call);
}

/* Steps [begin, end): updates of state wait for each other and go in groups, where nothing is timed. */
static int launch_steps(const run *r, void *stream, int32_t begin, int32_t end, void *const *events, int32_t *failed)
{
    const m2s_plan *plan = r->plan;
    m2s_ref_args args;
    m2s_cuda_call call = { &args, stream, M2SNET_DTYPE_F32, r->device->properties.multiprocessors, NULL };
    m2s_updates updates;
    int number = 0;

    updates.groups = 0;
    for (int32_t s = begin; s < end && number == 0; s++) {
        m2s_plan_step *step = &plan->steps[s];
        *failed = s;
        m2s_cuda_plan_arguments(plan, step, &args);
        call.storage = step->step.storage;
        if (events != NULL) {
            number = m2s_cuda_event_record(events[s], stream);
        } else if (m2s_cuda_updates_take(&updates, step->step.op, &args)) {
            continue;
        } else {
            number = m2s_cuda_updates_launch(&call, &updates);
            if (number == 0 && m2s_cuda_updates_take(&updates, step->step.op, &args)) {
                continue;
            }
        }
        number = number == 0 ? step->step.launch(&step->step, &call) : number;
    }
    return number == 0 ? m2s_cuda_updates_launch(&call, &updates) : number;
}

int m2s_cuda_plan_launch_cast(const m2s_device *device, const m2s_plan *plan, void *stream, m2s_value value)
{
    const m2s_plan_value *cast = &plan->values[value];
    const m2s_cuda_call call = { NULL, stream, plan->storage, device->properties.multiprocessors, NULL };

    return m2s_cuda_cast(&call, cast->given, M2SNET_DTYPE_F32, cast->data, cast->dtype, (int64_t)cast->elements);
}

/* Outputs that were made in 16 bits, to the caller. */
static int launch_casts(const run *r, void *stream)
{
    const m2s_plan *plan = r->plan;
    int error = 0;

    for (m2s_value v = 0; v < plan->value_count && error == 0; v++) {
        error = plan->values[v].cast ? m2s_cuda_plan_launch_cast(r->device, plan, stream, v) : 0;
    }
    return error;
}

static m2snet_status launch_part(run *r, void *stream, int32_t begin, int32_t end, void *const *events,
                                 m2snet_error *error)
{
    m2s_plan *plan = r->plan;
    int32_t failed = begin;
    int number = launch_steps(r, stream, begin, end, events, &failed);

    if (number != 0) {
        return m2s_cuda_fail(error, number, plan->steps[failed].name);
    }
    if (end == plan->step_count && number == 0) {
        number = events != NULL ? m2s_cuda_event_record(events[end], stream) : 0;
        number = number == 0 ? launch_casts(r, stream) : number;
        for (int32_t c = 0; c < r->copy_count && number == 0; c++) {
            number = m2s_cuda_copy(stream, r->copies[c].dst, r->copies[c].src, r->copies[c].bytes);
        }
    }
    return m2s_cuda_fail(error, number, "a plan");
}

/* Captures a part, on the plan's stream: as a graph of its steps where that is wanted, else in a row. */
static m2snet_status capture(run *r, m2s_plan_part *part, int32_t begin, m2snet_error *error)
{
    m2s_plan *plan = r->plan;
    bool branches = m2s_cuda_has_branches(plan);
    m2s_branches_size size = { 0 };
    m2snet_status status = m2s_cuda_fail(error, m2s_cuda_capture_begin(plan->stream), "a capture");

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    status = branches ? m2s_cuda_branches_launch(r->device, plan, &size, error)
                      : launch_part(r, plan->stream, begin, part->end, NULL, error);
    int number = m2s_cuda_capture_end(plan->stream, &part->graph);
    status = status == M2SNET_STATUS_OK ? m2s_cuda_fail(error, number, "a capture") : status;
    if (status != M2SNET_STATUS_OK) {
        m2s_cuda_graph_destroy(part->graph);
        part->graph = NULL;
    } else if (branches) {
        m2s_log_write(r->device->host.log, M2SNET_LOG_DEBUG,
                      "cuda: a graph of %d launches, at most %d of them one after the other", size.launches,
                      size.chain);
    }
    return status;
}

/* A failure is no failure of the run: it goes on in a row, and then without graphs. */
static void capture_part(run *r, m2s_plan_part *part, int32_t begin)
{
    m2s_plan *plan = r->plan;
    m2snet_error error;
    m2snet_status status = capture(r, part, begin, &error);

    if (status != M2SNET_STATUS_OK && m2s_cuda_has_branches(plan)) {
        m2s_log_write(r->device->host.log, M2SNET_LOG_WARNING, "cuda: steps go in a row (%s)", error.message);
        plan->in_a_row = true;
        status = capture(r, part, begin, &error);
    }
    if (status != M2SNET_STATUS_OK) {
        plan->no_graphs = true;
        m2s_log_write(r->device->host.log, M2SNET_LOG_WARNING, "cuda: no graph (%s): launches go one by one",
                      error.message);
    }
}

static m2snet_status run_part(run *r, m2s_plan_part *part, int32_t begin, m2snet_error *error)
{
    m2s_plan *plan = r->plan;
    m2snet_status status;

    if (part->graph == NULL) {
        /* The convolution library has one stream at a time. */
        pthread_mutex_lock(&r->device->launching);
        if (plan->runs_alike > 0 && !plan->no_graphs) {
            capture_part(r, part, begin);
        }
        status = part->graph == NULL ? launch_part(r, r->stream, begin, part->end, NULL, error) : M2SNET_STATUS_OK;
        pthread_mutex_unlock(&r->device->launching);
        M2S_TRY(status);
    }
    status = part->graph != NULL
                 ? m2s_cuda_fail(error, m2s_cuda_graph_launch(r->stream, part->graph), "the plan's graph")
                 : M2SNET_STATUS_OK;
fail:
    return status;
}

static m2snet_status wait(run *r, m2snet_error *error)
{
    return m2s_cuda_fail(error, m2s_cuda_synchronize(r->stream), "the network");
}

/* Polls at the beginning, between parts until the first update, and when all before it is done. */
static m2snet_status run_parts(run *r, m2snet_error *error)
{
    m2s_plan *plan = r->plan;
    m2s_control *control = r->request->control;
    uint64_t total = (uint64_t)plan->first_update;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t p = 0, begin = 0; p < plan->part_count; begin = plan->parts[p++].end) {
        if (begin <= plan->first_update && begin < plan->step_count) {
            if (control != NULL && begin > 0) {
                M2S_TRY(wait(r, error));
            }
            if (m2s_control_report(control, "network", (uint64_t)begin, total)) {
                status = m2s_fail_cancelled(error, "network");
                goto fail;
            }
        }
        M2S_TRY(run_part(r, &plan->parts[p], begin, error));
    }
    M2S_TRY(wait(r, error));
    if (plan->first_update == plan->step_count && total > 0 && m2s_control_report(control, "network", total, total)) {
        status = m2s_fail_cancelled(error, "network");
    }
fail:
    return status;
}

/* ---- on the caller's stream ---- */

/* Copies between the caller's memory and the bound buffers, which stay where they are: so do the graphs. */
static m2snet_status copy_external(const run *r, bool inputs, m2snet_error *error)
{
    const m2s_queue *queue = r->request->queue;
    int number = 0;

    for (int32_t e = 0; e < queue->external_count && number == 0; e++) {
        const m2s_external *external = &queue->external[e];
        if (external->value < 0 || external->value >= r->plan->value_count || !r->plan->values[external->value].bound) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL, "memory of the caller is of no input and no output");
        }
        const m2s_plan_value *value = &r->plan->values[external->value];
        if (value->input == inputs) {
            number = m2s_cuda_copy(r->stream, inputs ? value->given : external->data,
                                   inputs ? external->data : value->given, value->bytes);
        }
    }
    return m2s_cuda_fail(error, number, inputs ? "a copy of the input" : "a copy of the output");
}

static m2snet_status check_stream(const run *r, m2snet_error *error)
{
    bool captured = false;
    m2snet_status status;

    M2S_TRY(m2s_cuda_fail(error, m2s_cuda_is_captured(r->stream, &captured), "the stream"));
    if (captured) {
        status = m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                          "the stream is being captured: a run is a CUDA graph of its own");
    }
fail:
    return status;
}

/* The arena and the bound buffers are one run's at a time: the device sees to it. */
static m2snet_status enqueue_parts(run *r, m2snet_error *error)
{
    m2s_plan *plan = r->plan;
    m2s_buffer *arena = r->request->arena;
    m2snet_status status;

    if (arena->used == NULL) {
        M2S_TRY(m2s_cuda_fail(error, m2s_cuda_event_create(&arena->used), "an event"));
    }
    if (arena->busy) {
        M2S_TRY(m2s_cuda_fail(error, m2s_cuda_event_wait(r->stream, arena->used), "the run before"));
    }
    M2S_TRY(copy_external(r, true, error));
    for (int32_t p = 0, begin = 0; p < plan->part_count; begin = plan->parts[p++].end) {
        M2S_TRY(run_part(r, &plan->parts[p], begin, error));
    }
    M2S_TRY(copy_external(r, false, error));
    M2S_TRY(m2s_cuda_fail(error, m2s_cuda_event_record(arena->used, r->stream), "an event"));
    arena->busy = true;
fail:
    return status;
}

/* ---- timing ---- */

static m2snet_status run_timed(run *r, m2snet_error *error)
{
    m2s_plan *plan = r->plan;
    size_t count = (size_t)plan->step_count + 1;
    void **events = m2s_calloc(plan->memory, count, sizeof *events);
    m2snet_status status = M2SNET_STATUS_OK;

    if (events == NULL) {
        return m2s_fail_memory(error, "a run", count * sizeof *events);
    }
    for (size_t e = 0; e < count; e++) {
        M2S_TRY(m2s_cuda_fail(error, m2s_cuda_event_create(&events[e]), "an event"));
    }
    pthread_mutex_lock(&r->device->launching);
    status = launch_part(r, r->stream, 0, plan->step_count, events, error);
    pthread_mutex_unlock(&r->device->launching);
    M2S_TRY(status);
    M2S_TRY(wait(r, error));
    for (int32_t s = 0; s < plan->step_count; s++) {
        float milliseconds = 0.0f;
        M2S_TRY(m2s_cuda_fail(error, m2s_cuda_event_milliseconds(events[s], events[s + 1], &milliseconds),
                              plan->steps[s].name));
        plan->steps[s].nanoseconds = (uint64_t)(milliseconds * 1e6f);
    }
fail:
    for (size_t e = 0; e < count; e++) {
        m2s_cuda_event_destroy(events[e]);
    }
    m2s_free(plan->memory, events);
    return status;
}

m2snet_status m2s_cuda_plan_run(m2s_device *device, m2s_plan *plan, const m2s_run_request *request, m2snet_error *error)
{
    const m2s_queue *queue = request->queue;
    run r = {
        .device = device, .stream = queue != NULL ? queue->stream : plan->stream, .plan = plan, .request = request
    };
    unsigned char **last = NULL;
    bool alike = false;
    m2snet_status status = M2SNET_STATUS_OK;

    r.copies = m2s_alloc_array(plan->memory, (size_t)request->binding_count, sizeof *r.copies);
    last = m2s_alloc_array(plan->memory, (size_t)plan->value_count, sizeof *last);
    if (r.copies == NULL || last == NULL) {
        status = m2s_fail_memory(error, "a run", (size_t)request->binding_count * sizeof *r.copies);
        goto fail;
    }
    if (plan->arena_bytes > (request->arena != NULL ? request->arena->bytes : 0)) {
        status = m2s_fail(error, M2SNET_STATUS_INTERNAL, "the plan needs an arena of %zu bytes", plan->arena_bytes);
        goto fail;
    }
    if (queue != NULL) {
        M2S_TRY(check_stream(&r, error));
    } else if (request->arena != NULL) {
        M2S_TRY(m2s_cuda_buffer_settle(request->arena, error));
    }
    for (m2s_value v = 0; v < plan->value_count; v++) {
        last[v] = plan->values[v].given;
    }
    status = bind(&r, &alike, error);
    if (status != M2SNET_STATUS_OK || !alike || !casts_alike(plan, last)) {
        m2s_cuda_plan_drop_graphs(plan);
    }
    M2S_TRY(status);
    if (queue == NULL && request->time_steps) {
        M2S_TRY(run_timed(&r, error));
    } else {
        M2S_TRY(queue != NULL ? enqueue_parts(&r, error) : run_parts(&r, error));
        plan->runs_alike += r.copy_count == 0;
    }
fail:
    if (status != M2SNET_STATUS_OK) {
        (void)m2s_cuda_synchronize(r.stream); /* what is under way must not outlive the caller's buffers */
    }
    m2s_free(plan->memory, r.copies);
    m2s_free(plan->memory, last);
    return status;
}
