/* SPDX-License-Identifier: Apache-2.0 */
#include "common/network_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/lossnet.h"
#include "net/names.h"
#include "net/network.h"
#include "run/fit.h"
#include "run/pack_cache.h"
#include "run/program.h"

static uint64_t hash_of(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *name != '\0'; name++) {
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    }
    return h;
}

static double uniform_of(uint64_t hash, uint64_t i)
{
    uint64_t z = hash + (i + 1) * 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 40) / 16777216.0;
}

double network_uniform(const char *name, uint64_t i)
{
    return uniform_of(hash_of(name), i);
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

/* "conv_3.norm..." */
static int filter_kernel(const char *name)
{
    return starts_with(name, "conv_") ? atoi(name + 5) : 0;
}

/* An element is factor (offset + slope u), u in 0..1, or in -1..1 when it is balanced. */
typedef struct element_rule {
    bool balanced;
    double factor, offset, slope;
} element_rule;

static element_rule golden_rule(const char *name, m2s_shape shape)
{
    double k = filter_kernel(name);

    if (ends_with(name, "running_mean")) {
        return k > 0 ? (element_rule){ true, k * k, 5.0, 1.0 } : (element_rule){ true, 0.1, 0.0, 1.0 };
    }
    if (ends_with(name, "running_var")) {
        return k > 0 ? (element_rule){ true, 100.0 * k * k * 100.0 * k * k, 1.0, 0.3 }
                     : (element_rule){ true, 1.0, 1.0, 0.5 };
    }
    if (m2s_fit_rank(shape) > 1) {
        return (element_rule){ true, sqrt(3.0 / (double)(shape.i * shape.kh * shape.kw)), 0.0, 1.0 };
    }
    return ends_with(name, "bias") || ends_with(name, "gamma") ? (element_rule){ true, 0.1, 0.0, 1.0 }
                                                               : (element_rule){ true, 1.0, 1.0, 0.1 };
}

static double norm_gain(const char *name)
{
    static const char *const units[] = { "x5_x4.",    "x4_x3.",    "x3_x2.",       "x2_x1.",       "x5_x4_x3.",
                                         "x4_x3_x2.", "x3_x2_x1.", "x5_x4_x3_x2.", "x4_x3_x2_x1.", "x5_x4_x3_x2_x1.",
                                         "x5_dem_4.", "level3.",   "level2.",      "level1.",      "output4.",
                                         "output3.",  "output2." };

    if (ends_with(name, ".bn3.weight")) {
        return 0.25;
    }
    if (ends_with(name, ".downsample.2.weight")) {
        return 0.7;
    }
    if (starts_with(name, "resnet.bn1.")) {
        return 0.5;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (starts_with(name, units[i])) {
            return 0.5;
        }
    }
    return 1.0;
}

/* is_norm: the parameter's module has running statistics. */
static element_rule parity_rule(const char *name, m2s_shape shape, bool is_norm)
{
    int k = filter_kernel(name);

    if (ends_with(name, "running_mean")) {
        return k == 3   ? (element_rule){ false, 1.0, 20.0, 400.0 }
               : k == 5 ? (element_rule){ false, 1.0, 60.0, 1100.0 }
                        : (element_rule){ true, 0.2, 0.0, 1.0 };
    }
    if (ends_with(name, "running_var")) {
        return (element_rule){ false, k == 3 ? 4e4 : k == 5 ? 3e5 : 1.0, 0.5, 1.0 };
    }
    if (is_norm) {
        return ends_with(name, "bias") ? (element_rule){ true, 0.2, 0.0, 1.0 }
                                       : (element_rule){ false, norm_gain(name), 0.75, 0.5 };
    }
    if (ends_with(name, "bias")) {
        return (element_rule){ true, 1.0, strcmp(name, "output1.0.bias") == 0 ? 0.6 : 0.0, 0.1 };
    }
    return (element_rule){ true, 0.9 * sqrt(6.0 / (double)(shape.i * shape.kh * shape.kw)), 0.0, 1.0 };
}

/* Whether NAME's module has a running_mean. */
static bool has_statistics(const m2s_graph *graph, const char *name)
{
    char key[160];
    const char *dot = strrchr(name, '.');

    snprintf(key, sizeof key, "%.*s.running_mean", (int)(dot - name), name);
    return m2s_graph_find(graph, key) != M2S_NONE;
}

/* Truth was made with "resnet." in front of every encoder's keys. */
static void fill(const char *name, element_rule rule, float *numbers, int64_t count)
{
    char key[160];
    size_t prefix = m2s_name_encoder_prefix(name);

    snprintf(key, sizeof key, "%s%s", prefix > 0 ? "resnet." : "", name + prefix);
    uint64_t hash = hash_of(key);

    for (int64_t i = 0; i < count; i++) {
        double u = uniform_of(hash, (uint64_t)i);
        numbers[i] = (float)(rule.factor * (rule.offset + rule.slope * (rule.balanced ? 2.0 * u - 1.0 : u)));
    }
}

/* Every parameter of graph, under its name without prefix. */
static m2s_store *fill_store(m2s_memory *memory, const m2s_graph *graph, const char *prefix, network_recipe recipe)
{
    m2s_store *store = NULL;

    assert_int_equal(m2s_store_create(memory, "created", &store, NULL), M2SNET_STATUS_OK);
    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        void *data;
        if (info->kind != M2S_VALUE_PARAM) {
            continue;
        }
        const char *name = info->name + strlen(prefix);
        m2s_weight_desc desc = { .name = name,
                                 .name_bytes = strlen(name),
                                 .dtype = M2SNET_DTYPE_F32,
                                 .rank = m2s_fit_file_rank(info),
                                 .dims = info->shape.d };
        assert_int_equal(m2s_store_add(store, &desc, NULL, &data, NULL), M2SNET_STATUS_OK);
        fill(name,
             recipe == RECIPE_GOLDEN ? golden_rule(name, info->shape)
                                     : parity_rule(name, info->shape, has_statistics(graph, info->name)),
             data, m2s_shape_elements(info->shape));
    }
    return store;
}

m2s_store *network_weights(m2s_memory *memory, const m2s_config *config, network_recipe recipe)
{
    m2s_graph *graph = NULL;

    assert_int_equal(m2s_net_build(memory, config, 1, 64, 64, M2SNET_DTYPE_F32, &graph, NULL), M2SNET_STATUS_OK);
    m2s_store *store = fill_store(memory, graph, "", recipe);
    m2s_graph_destroy(graph);
    return store;
}

m2s_store *network_lossnet_weights(m2s_memory *memory, const char *family, network_recipe recipe)
{
    m2s_graph *graph = NULL;
    m2s_value tap[M2S_LOSSNET_TAPS];

    assert_int_equal(m2s_graph_create(memory, M2SNET_DTYPE_F32, &graph, NULL), M2SNET_STATUS_OK);
    m2s_value src = m2s_graph_input(graph, "x", (m2s_shape){ .d = { 1, 32, 32, 3 } });
    m2s_lossnet_family_of(family)->taps(graph, src, tap);
    assert_int_equal(m2s_graph_finish(graph, NULL), M2SNET_STATUS_OK);
    m2s_store *store = fill_store(memory, graph, M2S_LOSSNET_PREFIX, recipe);
    m2s_graph_destroy(graph);
    return store;
}

void *network_input(m2s_memory *memory, network_recipe recipe, int64_t n, int64_t h, int64_t w, m2snet_dtype dtype)
{
    int64_t plane = h * w;
    void *data = m2s_alloc_array(memory, (size_t)(3 * n * plane), m2s_dtype_bytes(dtype));

    assert_non_null(data);
    for (int64_t b = 0; b < n; b++) {
        for (int64_t c = 0; c < 3; c++) {
            for (int64_t p = 0; p < plane; p++) {
                double u = network_uniform("input", (uint64_t)((b * 3 + c) * plane + p));
                float value = (float)(recipe == RECIPE_GOLDEN ? 2.0 * u - 1.0 : 4.0 * u - 2.0);
                int64_t at = (b * plane + p) * 3 + c;
                if (dtype == M2SNET_DTYPE_F64) {
                    ((double *)data)[at] = (double)value;
                } else {
                    ((float *)data)[at] = value;
                }
            }
        }
    }
    return data;
}

static void expect_ok(m2snet_status status, const m2snet_error *error)
{
    if (status != M2SNET_STATUS_OK) {
        fail_msg("%s: %s", m2snet_status_string(status), error->message);
    }
}

/* (n, h, w, c) numbers of dtype as (n, c, h, w) doubles. */
static void fetch(m2s_program *program, const char *name, m2snet_dtype dtype, m2s_memory *memory, network_value *value)
{
    m2snet_error error;
    m2s_shape s = m2s_shape_of(m2s_program_graph(program), m2s_graph_find(m2s_program_graph(program), name));
    size_t count = (size_t)m2s_shape_elements(s);
    void *raw = m2s_alloc_array(memory, count, m2s_dtype_bytes(dtype));

    value->shape = s;
    value->numbers = m2s_alloc_array(memory, count, sizeof(double));
    assert_non_null(raw);
    assert_non_null(value->numbers);
    expect_ok(m2s_program_read(program, name, raw, &error), &error);
    for (int64_t b = 0; b < s.n; b++) {
        for (int64_t p = 0; p < s.h * s.w; p++) {
            for (int64_t c = 0; c < s.c; c++) {
                int64_t from = (b * s.h * s.w + p) * s.c + c, to = (b * s.c + c) * s.h * s.w + p;
                value->numbers[to] = dtype == M2SNET_DTYPE_F64 ? ((double *)raw)[from] : (double)((float *)raw)[from];
            }
        }
    }
    m2s_free(memory, raw);
}

m2snet_precision network_precision = M2SNET_PRECISION_F32;

const char *network_backend(const char *backend)
{
    const char *other = getenv("M2SNET_TEST_BACKEND");

    if (other == NULL || other[0] == '\0') {
        return backend;
    }
    if (strcmp(backend, "ref") == 0) {
        skip();
    }
    return strcmp(backend, "cpu") == 0 ? other : backend;
}

void network_run_make(network_run *run, const char *backend, int threads, m2snet_dtype dtype, const m2s_config *config,
                      network_recipe recipe, int64_t n, int64_t h, int64_t w, const char *const *names, int32_t count)
{
    m2snet_context_options options;
    m2snet_error error;
    m2s_graph *graph;
    m2s_program *program;
    m2s_pack_cache *packs;
    m2s_plan_info info;
    m2s_buffer *arena;

    m2s_context_options_default(&options);
    options.backend = network_backend(backend);
    options.threads = threads;
    expect_ok(m2s_context_create(&options, &run->context, &error), &error);
    m2s_memory *memory = &run->context->memory;
    m2s_store *store = network_weights(memory, config, recipe);
    expect_ok(m2s_net_build(memory, config, n, h, w, dtype, &graph, &error), &error);
    for (int32_t i = 0; i < count; i++) {
        m2s_value value = m2s_graph_find(graph, names[i]);
        if (value == M2S_NONE) {
            fail_msg("the graph has no value \"%s\"", names[i]);
        }
        m2s_graph_mark_output(graph, value);
    }
    expect_ok(m2s_pack_cache_create(memory, &packs, &error), &error);
    expect_ok(m2s_program_create(run->context, graph, network_precision, store, packs, NULL, &program, &error), &error);
    m2s_graph_destroy(graph);
    m2s_program_info(program, &info);
    expect_ok(run->context->backend->buffer_alloc(run->context->device, info.arena_bytes, &arena, &error), &error);
    void *image = network_input(memory, recipe, n, h, w, dtype);
    expect_ok(m2s_program_write(program, "image", image, &error), &error);
    m2s_free(memory, image);
    expect_ok(m2s_program_run(program, arena, false, NULL, &error), &error);

    run->count = count;
    run->values = m2s_calloc(memory, (size_t)count, sizeof *run->values);
    assert_non_null(run->values);
    for (int32_t i = 0; i < count; i++) {
        fetch(program, names[i], dtype, memory, &run->values[i]);
    }
    run->context->backend->buffer_free(run->context->device, arena);
    m2s_program_destroy(program);
    m2s_pack_cache_destroy(packs);
    m2s_store_destroy(store);
}

void network_run_release(network_run *run)
{
    m2s_memory *memory = &run->context->memory;

    for (int32_t i = 0; i < run->count; i++) {
        m2s_free(memory, run->values[i].numbers);
    }
    m2s_free(memory, run->values);
    m2s_context_release(run->context);
    *run = (network_run){ 0 };
}

double network_distance(const network_value *a, const network_value *b)
{
    double difference = 0.0, norm = 0.0;

    assert_memory_equal(&a->shape, &b->shape, sizeof a->shape);
    for (int64_t i = 0; i < m2s_shape_elements(a->shape); i++) {
        difference += (a->numbers[i] - b->numbers[i]) * (a->numbers[i] - b->numbers[i]);
        norm += b->numbers[i] * b->numbers[i];
    }
    return sqrt(difference) / (sqrt(norm) + 1e-300);
}
