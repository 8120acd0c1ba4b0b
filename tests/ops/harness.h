/* SPDX-License-Identifier: Apache-2.0
 * Runs a graph on a backend through the vtable alone, as the library does: open, compile, bind, run, read.
 *
 * Numbers go in and come out as doubles, one array a value. Before a run the arena and the results are filled with
 * NaNs, and every bound tensor stands between canaries, so that reading what was never written, or writing beside a
 * result, shows. */
#ifndef M2S_TESTS_OPS_HARNESS_H
#define M2S_TESTS_OPS_HARNESS_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"
#include "common/check.h"

#define HARNESS_VALUES      64
#define HARNESS_CANARY      64 /* bytes on each side; also the binding's offset */
#define HARNESS_CANARY_BYTE 0xa5

#if defined(M2S_KERNELS_ONLY) /* under emulation, where time is short: the same claims with fewer threads and runs */
#define HARNESS_POOLS 2
#define HARNESS_RUNS  2
static const int harness_threads[HARNESS_POOLS] = { 1, 3 };
#else
#define HARNESS_POOLS 4
#define HARNESS_RUNS  3
static const int harness_threads[HARNESS_POOLS] = { 1, 2, 3, 5 };
#endif

/* ---- pack cache: a list, as simple as the contract allows ---- */

typedef struct harness_pack {
    m2s_pack pack; /* first: what the backend holds points here */
    char key[256];
    int users;
    struct harness_pack *next;
} harness_pack;

typedef struct harness_packs {
    m2s_pack_cache cache; /* first */
    m2s_memory *memory;
    harness_pack *list;
    int fills;
    pthread_mutex_t mutex; /* backends pack on several threads at once */
} harness_packs;

static inline m2snet_status harness_pack_find_or_make(m2s_pack_cache *cache, const char *key, size_t bytes,
                                                      m2s_pack_fill fill, void *argument, const m2s_pack **pack,
                                                      m2snet_error *error)
{
    harness_packs *packs = (harness_packs *)(void *)cache;

    *pack = NULL;
    for (harness_pack *p = packs->list; p != NULL; p = p->next) {
        if (strcmp(p->key, key) == 0) {
            CHECK(p->pack.bytes == bytes, "key %s covers packs of %zu and of %zu bytes", key, p->pack.bytes, bytes);
            p->users++;
            *pack = &p->pack;
            return M2SNET_STATUS_OK;
        }
    }
    harness_pack *made = m2s_calloc(packs->memory, 1, sizeof *made);
    if (made == NULL || (made->pack.data = m2s_alloc(packs->memory, bytes)) == NULL) {
        m2s_free(packs->memory, made);
        return m2s_fail_memory(error, "a pack", bytes);
    }
    memset(made->pack.data, 0xff, bytes);
    m2snet_status status = fill(argument, made->pack.data, error);
    if (status != M2SNET_STATUS_OK) {
        m2s_free(packs->memory, made->pack.data);
        m2s_free(packs->memory, made);
        return status;
    }
    packs->fills++;
    made->pack.bytes = bytes;
    made->users = 1;
    snprintf(made->key, sizeof made->key, "%s", key);
    made->next = packs->list;
    packs->list = made;
    *pack = &made->pack;
    return M2SNET_STATUS_OK;
}

static inline m2snet_status harness_pack_acquire(m2s_pack_cache *cache, const char *key, size_t bytes,
                                                 m2s_pack_fill fill, void *argument, const m2s_pack **pack,
                                                 m2snet_error *error)
{
    harness_packs *packs = (harness_packs *)(void *)cache;

    pthread_mutex_lock(&packs->mutex);
    m2snet_status status = harness_pack_find_or_make(cache, key, bytes, fill, argument, pack, error);
    pthread_mutex_unlock(&packs->mutex);
    return status;
}

static inline void harness_pack_drop(m2s_pack_cache *cache, const m2s_pack *pack)
{
    harness_packs *packs = (harness_packs *)(void *)cache;

    for (harness_pack **at = &packs->list; *at != NULL; at = &(*at)->next) {
        harness_pack *p = *at;
        if (&p->pack == pack) {
            if (--p->users == 0) {
                *at = p->next;
                m2s_free(packs->memory, p->pack.data);
                m2s_free(packs->memory, p);
            }
            return;
        }
    }
    CHECK(false, "a pack is released that was not acquired");
}

static inline void harness_pack_release(m2s_pack_cache *cache, const m2s_pack *pack)
{
    harness_packs *packs = (harness_packs *)(void *)cache;

    pthread_mutex_lock(&packs->mutex);
    harness_pack_drop(cache, pack);
    pthread_mutex_unlock(&packs->mutex);
}

/* ---- the harness ---- */

typedef struct harness {
    m2s_memory memory;
    m2s_log log;
    m2s_pool *pools[HARNESS_POOLS]; /* of harness_threads */
} harness;

/* What a graph's inputs, parameters and state hold before a run, and what its outputs and its state held after it. Each
 * run begins with the same state. */
typedef struct harness_numbers {
    double *of[HARNESS_VALUES];
    double *after[HARNESS_VALUES];      /* of state */
    unsigned char *raw[HARNESS_VALUES]; /* outputs and state as the backend wrote them */
} harness_numbers;

static inline bool harness_open(harness *h)
{
    m2snet_error error;

    memset(h, 0, sizeof *h);
    m2s_memory_init(&h->memory, NULL, 0);
    for (int i = 0; i < HARNESS_POOLS; i++) {
        if (!CHECK(m2s_pool_create(&h->memory, harness_threads[i], &h->pools[i], &error) == M2SNET_STATUS_OK, "%s",
                   error.message)) {
            return false;
        }
    }
    return true;
}

static inline void harness_close(harness *h)
{
    for (int i = 0; i < HARNESS_POOLS; i++) {
        m2s_pool_destroy(h->pools[i]);
    }
    CHECK(atomic_load(&h->memory.used_bytes) == 0, "%llu bytes have leaked",
          (unsigned long long)atomic_load(&h->memory.used_bytes));
}

static inline size_t harness_elements(const m2s_graph *graph, m2s_value value)
{
    return (size_t)m2s_shape_elements(m2s_shape_of(graph, value));
}

static inline size_t harness_bytes(const m2s_graph *graph, m2s_value value)
{
    return harness_elements(graph, value) * m2s_dtype_bytes(graph->values[value].dtype);
}

static inline void harness_numbers_free(harness_numbers *numbers)
{
    for (int v = 0; v < HARNESS_VALUES; v++) {
        free(numbers->of[v]);
        free(numbers->after[v]);
        free(numbers->raw[v]);
    }
    memset(numbers, 0, sizeof *numbers);
}

/* Room for a value's numbers; the caller fills it. */
static inline double *harness_numbers_of(harness_numbers *numbers, const m2s_graph *graph, m2s_value value)
{
    if (numbers->of[value] == NULL) {
        numbers->of[value] = calloc(harness_elements(graph, value), sizeof(double));
    }
    return numbers->of[value];
}

static inline void harness_convert(void *dst, m2snet_dtype dtype, const double *src, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (dtype == M2SNET_DTYPE_F32) {
            ((float *)dst)[i] = (float)src[i];
        } else {
            ((double *)dst)[i] = src[i];
        }
    }
}

typedef struct harness_request {
    const m2s_backend *backend;
    m2s_isa isa;
    m2s_pool *pool;
    const m2s_graph *graph;
    m2snet_dtype stored;  /* F32 or F64: how the parameters are handed over; 0 = F32 */
    m2snet_dtype storage; /* of activations in the plan; 0 = the graph's */
    int runs;             /* of the one plan; 0 = compile only */
    m2s_control *control; /* may be NULL */
    bool time_steps;
    /* Called before the plan goes, when not NULL. */
    void (*inspect)(const m2s_backend *backend, const m2s_plan *plan, void *argument);
    void *argument;
} harness_request;

/* Everything of one execution, so that one label can free it. */
typedef struct harness_state {
    const m2s_backend *backend;
    m2s_device *device;
    m2s_plan *plan;
    m2s_buffer *arena;
    m2s_buffer *buffers[HARNESS_VALUES];
    m2s_binding bindings[HARNESS_VALUES];
    int32_t binding_count;
    m2s_param_view params[HARNESS_VALUES];
    void *param_data[HARNESS_VALUES];
    unsigned char *room; /* for one tensor with its canaries, or the arena */
} harness_state;

static inline bool harness_is_bound(const m2s_value_info *info)
{
    return m2s_value_is_bound(info);
}

static inline m2snet_status harness_fill(harness_state *s, const harness_request *request,
                                         const harness_numbers *numbers, m2snet_error *error)
{
    const m2s_graph *graph = request->graph;
    m2s_plan_info info;
    m2snet_status status = M2SNET_STATUS_OK;

    s->backend->plan_info(s->plan, &info);
    free(s->room);
    s->room = malloc(info.arena_bytes + 1);
    memset(s->room, 0xff, info.arena_bytes);
    M2S_TRY(s->backend->buffer_write(s->device, s->arena, 0, s->room, info.arena_bytes, error));
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (s->buffers[v] == NULL) {
            continue;
        }
        size_t bytes = harness_bytes(graph, v);
        free(s->room);
        s->room = malloc(bytes + 2 * HARNESS_CANARY);
        memset(s->room, HARNESS_CANARY_BYTE, bytes + 2 * HARNESS_CANARY);
        if (graph->values[v].kind != M2S_VALUE_NODE && m2s_value_is_bound(&graph->values[v])) {
            harness_convert(s->room + HARNESS_CANARY, graph->values[v].dtype, numbers->of[v],
                            harness_elements(graph, v));
        } else {
            memset(s->room + HARNESS_CANARY, 0xff, bytes);
        }
        M2S_TRY(s->backend->buffer_write(s->device, s->buffers[v], 0, s->room, bytes + 2 * HARNESS_CANARY, error));
    }
fail:
    return status;
}

static inline m2snet_status harness_read(harness_state *s, const harness_request *request, harness_numbers *numbers,
                                         bool first, m2snet_error *error)
{
    const m2s_graph *graph = request->graph;
    m2snet_status status = M2SNET_STATUS_OK;

    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (s->buffers[v] == NULL) {
            continue;
        }
        size_t bytes = harness_bytes(graph, v), count = harness_elements(graph, v);
        free(s->room);
        s->room = malloc(bytes + 2 * HARNESS_CANARY);
        M2S_TRY(s->backend->buffer_read(s->device, s->buffers[v], 0, s->room, bytes + 2 * HARNESS_CANARY, error));
        for (size_t i = 0; i < HARNESS_CANARY; i++) {
            if (!CHECK(s->room[i] == HARNESS_CANARY_BYTE && s->room[HARNESS_CANARY + bytes + i] == HARNESS_CANARY_BYTE,
                       "value %d: %s wrote beside its tensor, %zu bytes away", v, s->backend->name, i)) {
                break;
            }
        }
        unsigned char *data = s->room + HARNESS_CANARY;
        bool state = graph->values[v].kind == M2S_VALUE_STATE;
        if (!graph->values[v].output && !state) {
            continue;
        }
        if (first) {
            free(numbers->raw[v]);
            numbers->raw[v] = malloc(bytes);
            memcpy(numbers->raw[v], data, bytes);
            if (state) {
                free(numbers->after[v]);
                numbers->after[v] = calloc(count, sizeof(double));
            }
            double *out = state ? numbers->after[v] : harness_numbers_of(numbers, graph, v);
            for (size_t i = 0; i < count; i++) {
                out[i] = graph->values[v].dtype == M2SNET_DTYPE_F32 ? (double)((float *)(void *)data)[i]
                                                                    : ((double *)(void *)data)[i];
            }
        } else {
            CHECK(memcmp(numbers->raw[v], data, bytes) == 0, "value %d: a second run of %s gave other bits", v,
                  s->backend->name);
        }
    }
fail:
    return status;
}

/* Compiles and runs; the second and later runs must repeat the first bit for bit. */
static inline m2snet_status harness_run(harness *h, const harness_request *request, harness_numbers *numbers,
                                        m2snet_error *error)
{
    const m2s_graph *graph = request->graph;
    const m2s_backend *backend = request->backend;
    m2s_host host = { &h->memory, &h->log, request->pool, request->isa, NULL };
    harness_packs packs = {
        { harness_pack_acquire, harness_pack_release }, &h->memory, NULL, 0, PTHREAD_MUTEX_INITIALIZER
    };
    harness_state s = { .backend = backend };
    m2s_plan_info info;
    m2snet_status status;

    memset(error, 0, sizeof *error);
    if (graph->value_count > HARNESS_VALUES) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "the test's graph has more than %d values", HARNESS_VALUES);
    }
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind == M2S_VALUE_PARAM && numbers->of[v] != NULL) {
            m2snet_dtype stored = (int)request->stored == 0 ? M2SNET_DTYPE_F32 : request->stored;
            s.param_data[v] = malloc(harness_elements(graph, v) * m2s_dtype_bytes(stored));
            harness_convert(s.param_data[v], stored, numbers->of[v], harness_elements(graph, v));
            s.params[v] = (m2s_param_view){ s.param_data[v], stored, 1 };
        }
    }
    M2S_TRY(backend->open(&host, 0, &s.device, error));
    M2S_TRY(backend->plan_compile(s.device,
                                  &(m2s_plan_request){ .graph = graph,
                                                       .params = s.params,
                                                       .packs = &packs.cache,
                                                       .control = request->control,
                                                       .storage = request->storage },
                                  &s.plan, error));
    backend->plan_info(s.plan, &info);
    M2S_TRY(backend->buffer_alloc(s.device, info.arena_bytes, &s.arena, error));
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (harness_is_bound(&graph->values[v])) {
            M2S_TRY(
                backend->buffer_alloc(s.device, harness_bytes(graph, v) + 2 * HARNESS_CANARY, &s.buffers[v], error));
            s.bindings[s.binding_count++] = (m2s_binding){ v, s.buffers[v], HARNESS_CANARY };
        }
    }
    for (int run = 0; run < request->runs; run++) {
        M2S_TRY(harness_fill(&s, request, numbers, error));
        M2S_TRY(backend->plan_run(s.device, s.plan,
                                  &(m2s_run_request){ .arena = s.arena,
                                                      .bindings = s.bindings,
                                                      .binding_count = s.binding_count,
                                                      .time_steps = request->time_steps,
                                                      .control = request->control },
                                  error));
        M2S_TRY(harness_read(&s, request, numbers, run == 0, error));
    }
    if (request->inspect != NULL) {
        request->inspect(backend, s.plan, request->argument);
    }
fail:
    if (s.device != NULL) {
        for (int v = 0; v < HARNESS_VALUES; v++) {
            backend->buffer_free(s.device, s.buffers[v]);
        }
        backend->buffer_free(s.device, s.arena);
        backend->plan_free(s.device, s.plan);
        backend->close(s.device);
    }
    for (int v = 0; v < HARNESS_VALUES; v++) {
        free(s.param_data[v]);
    }
    free(s.room);
    CHECK(packs.list == NULL, "%s did not release a pack", backend->name);
    return status;
}

#endif
