/* SPDX-License-Identifier: Apache-2.0 */
#include "common/training_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/names.h"
#include "run/pack_cache.h"

static void expect_ok(m2snet_status status, const m2snet_error *error)
{
    if (status != M2SNET_STATUS_OK) {
        fail_msg("%s: %s", m2snet_status_string(status), error->message);
    }
}

void training_mask(network_recipe recipe, int64_t n, int64_t h, int64_t w, double *mask)
{
    for (int64_t b = 0; b < n; b++) {
        double q[4];
        for (uint64_t k = 0; k < 4; k++) {
            q[k] = network_uniform("mask", 4 * (uint64_t)b + k);
        }
        for (int64_t y = 0; y < h; y++) {
            for (int64_t x = 0; x < w; x++) {
                double distance;
                if (recipe == RECIPE_GOLDEN) {
                    double dx = (double)(x - 40 - 16 * b), dy = (double)(y - 60);
                    distance = (dx * dx + dy * dy) / (28.0 * 28.0);
                    mask[(b * h + y) * w + x] = distance < 1.0 ? 1.0 : 0.0;
                } else {
                    double dy =
                        ((double)y + 0.5 - (double)h * (0.35 + 0.3 * q[0])) / ((double)h * (0.15 + 0.15 * q[2]));
                    double dx =
                        ((double)x + 0.5 - (double)w * (0.35 + 0.3 * q[1])) / ((double)w * (0.15 + 0.15 * q[3]));
                    distance = dx * dx + dy * dy;
                    mask[(b * h + y) * w + x] = distance <= 1.0 ? 1.0 : 0.0;
                }
            }
        }
    }
}

/* count doubles in the run's dtype; free(). */
static void *as_dtype(const training_run *run, const double *numbers, size_t count)
{
    void *data = malloc(count * m2s_dtype_bytes(run->dtype) + 1);

    assert_non_null(data);
    for (size_t i = 0; i < count; i++) {
        if (run->dtype == M2SNET_DTYPE_F64) {
            ((double *)data)[i] = numbers[i];
        } else {
            ((float *)data)[i] = (float)numbers[i];
        }
    }
    return data;
}

static void write_numbers(const training_run *run, const char *name, const double *numbers, size_t count)
{
    m2snet_error error;
    void *data = as_dtype(run, numbers, count);

    expect_ok(m2s_program_write(run->program, name, data, &error), &error);
    free(data);
}

static void fill_state(training_run *run)
{
    for (int32_t i = 0; i < m2s_state_count(run->state); i++) {
        const m2s_state_entry *entry = m2s_state_at(run->state, i);
        const char *slash = strchr(entry->name, '/');
        bool averaged = strncmp(entry->name, M2S_STATE_AVERAGE, strlen(M2S_STATE_AVERAGE)) == 0;
        if (slash != NULL && !averaged) {
            continue; /* zeros */
        }
        const char *name = averaged ? slash + 1 : entry->name;
        const m2s_weight *weight = m2s_store_find(run->weights, name);
        size_t count = (size_t)m2s_shape_elements(entry->shape);
        m2snet_error error;
        double *numbers = malloc(count * sizeof *numbers);
        assert_non_null(numbers);
        if (m2s_name_is_supervised(name)) { /* no network's */
            for (size_t k = 0; k < count; k++) {
                numbers[k] = 0.2 * network_uniform(name, k) - 0.1;
            }
        } else {
            assert_non_null(weight);
            assert_int_equal(weight->count, count);
            expect_ok(m2s_weight_read_double(weight, 0, count, numbers, &error), &error);
        }
        void *data = as_dtype(run, numbers, count);
        expect_ok(m2s_state_write(run->state, entry, data, &error), &error);
        free(data);
        free(numbers);
    }
}

static void set_scalar(const training_run *run, const char *name, double value)
{
    if (m2s_graph_find(m2s_program_graph(run->program), name) != M2S_NONE) {
        write_numbers(run, name, &value, 1);
    }
}

m2snet_precision training_precision = M2SNET_PRECISION_F32;

void training_run_make(training_run *run, const char *backend, int threads, m2snet_dtype dtype,
                       const m2s_config *config, network_recipe weights, const m2s_recipe *recipe, int64_t n, int64_t h,
                       int64_t w)
{
    m2snet_context_options options;
    m2snet_error error;
    m2s_graph *graph;
    m2s_plan_info info;

    *run = (training_run){ .dtype = dtype };
    m2s_context_options_default(&options);
    options.backend = network_backend(backend);
    options.threads = threads;
    expect_ok(m2s_context_create(&options, &run->context, &error), &error);
    m2s_memory *memory = &run->context->memory;
    run->weights = network_weights(memory, config, weights);
    if (recipe->objective.weight[M2S_TERM_LOSSNET] != 0.0) {
        run->lossnet = network_lossnet_weights(memory, recipe->objective.lossnet->name, weights);
    }
    expect_ok(m2s_step_build(memory, config, recipe, n, h, w, dtype, run->context->backend->literal, &graph, &error),
              &error);
    expect_ok(m2s_pack_cache_create(memory, &run->packs, &error), &error);
    expect_ok(m2s_state_create(run->context, graph, &run->state, &error), &error);
    expect_ok(m2s_program_create_step(run->context, graph, training_precision, run->lossnet, M2S_LOSSNET_PREFIX,
                                      run->packs, run->state, NULL, &run->program, &error),
              &error);
    m2s_graph_destroy(graph);
    m2s_program_info(run->program, &info);
    expect_ok(run->context->backend->buffer_alloc(run->context->device, info.arena_bytes, &run->arena, &error), &error);

    fill_state(run);
    void *image = network_input(memory, weights, n, h, w, dtype);
    expect_ok(m2s_program_write(run->program, M2S_NAME_IMAGE, image, &error), &error);
    m2s_free(memory, image);
    double *mask = malloc((size_t)(n * h * w) * sizeof *mask);
    assert_non_null(mask);
    assert_int_equal(config->classes, 1);
    training_mask(weights, n, h, w, mask);
    write_numbers(run, M2S_NAME_MASK, mask, (size_t)(n * h * w));
    free(mask);
    set_scalar(run, M2S_NAME_LOSS_SCALE, recipe->scaled ? TRAINING_LOSS_SCALE : 1.0);
    set_scalar(run, M2S_NAME_UNSCALE, 1.0 / TRAINING_LOSS_SCALE);
    set_scalar(run, M2S_NAME_RATE, 0.05);
    set_scalar(run, M2S_NAME_BOUNDARY, 1.0);
    set_scalar(run, M2S_NAME_KEEP, 0.0);
    set_scalar(run, M2S_NAME_DRAW, 77.0);
    set_scalar(run, M2S_NAME_CORRECTION1, 1.0 - recipe->momentum);
    set_scalar(run, M2S_NAME_CORRECTION2, 1.0 - recipe->beta2);
}

void training_run_release(training_run *run)
{
    if (run->context == NULL) {
        return;
    }
    run->context->backend->buffer_free(run->context->device, run->arena);
    m2s_program_destroy(run->program);
    m2s_state_destroy(run->state);
    m2s_pack_cache_destroy(run->packs);
    m2s_store_destroy(run->lossnet);
    m2s_store_destroy(run->weights);
    m2s_context_release(run->context);
    *run = (training_run){ 0 };
}

void training_run_step(training_run *run)
{
    m2snet_error error;

    expect_ok(m2s_program_run(run->program, run->arena, false, NULL, &error), &error);
}

static double at(const void *data, m2snet_dtype dtype, int64_t i)
{
    return dtype == M2SNET_DTYPE_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

bool training_run_has(const training_run *run, const char *name)
{
    const m2s_graph *graph = m2s_program_graph(run->program);
    m2s_value value = m2s_graph_find(graph, name);

    return value != M2S_NONE && graph->values[value].output;
}

double *training_run_output(const training_run *run, const char *name, int64_t *count)
{
    const m2s_graph *graph = m2s_program_graph(run->program);
    m2s_value value = m2s_graph_find(graph, name);
    m2snet_error error;

    if (value == M2S_NONE) {
        fail_msg("the step has no output \"%s\"", name);
    }
    m2s_shape s = m2s_shape_of(graph, value);
    bool is_parameter = strchr(name, '/') != NULL;
    *count = m2s_shape_elements(s);
    double *numbers = malloc((size_t)*count * sizeof *numbers);
    void *raw = malloc((size_t)*count * sizeof(double));
    assert_non_null(numbers);
    assert_non_null(raw);
    expect_ok(m2s_program_read(run->program, name, raw, &error), &error);
    for (int64_t i = 0; i < *count; i++) {
        int64_t c = i % s.c, p = i / s.c % (s.h * s.w), b = i / (s.c * s.h * s.w);
        int64_t to = is_parameter ? i : (b * s.c + c) * s.h * s.w + p;
        numbers[to] = at(raw, run->dtype, i);
    }
    free(raw);
    return numbers;
}

double training_run_scalar(const training_run *run, const char *name)
{
    int64_t count;
    double *numbers = training_run_output(run, name, &count), value = numbers[0];

    assert_int_equal(count, 1);
    free(numbers);
    return value;
}

double *training_run_state(const training_run *run, const char *name, int64_t *count)
{
    const m2s_state_entry *entry = m2s_state_find(run->state, name);
    m2snet_error error;

    if (entry == NULL) {
        fail_msg("there is no state \"%s\"", name);
    }
    *count = m2s_shape_elements(entry->shape);
    double *numbers = malloc((size_t)*count * sizeof *numbers);
    void *raw = malloc((size_t)*count * sizeof(double));
    assert_non_null(numbers);
    assert_non_null(raw);
    expect_ok(m2s_state_read(run->state, entry, raw, &error), &error);
    for (int64_t i = 0; i < *count; i++) {
        numbers[i] = at(raw, run->dtype, i);
    }
    free(raw);
    return numbers;
}
