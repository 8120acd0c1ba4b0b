/* SPDX-License-Identifier: Apache-2.0
 * What every backend owes a plan beyond single operations: values that leave it in the middle, constants that leave
 * it, reuse of the arena, any place in a batch, timing, cancelling, refusals by name, and every allocation failing. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>

#include "ops/harness.h"
#include "ops/module.h"
#include "ops/naive.h"

typedef struct variant {
    const m2s_backend *backend;
    m2snet_dtype dtype;
    const char *name;
} variant;

static m2s_shape shape(int64_t a, int64_t b, int64_t c, int64_t d)
{
    return (m2s_shape){ .d = { a, b, c, d } };
}

/* Fills what is not filled yet of the inputs and parameters; the same numbers whatever their order. */
static void fill(harness_numbers *numbers, const m2s_graph *graph)
{
    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        if (info->kind == M2S_VALUE_NODE || numbers->of[v] != NULL) {
            continue;
        }
        unsigned long long state = 77;
        for (const char *c = info->name; *c != '\0'; c++) {
            state = state * 31u + (unsigned char)*c;
        }
        double *data = harness_numbers_of(numbers, graph, v);
        double fan_in = info->kind == M2S_VALUE_PARAM ? (double)(info->shape.i * info->shape.kh * info->shape.kw) : 1.0;
        for (size_t i = 0; i < harness_elements(graph, v); i++) {
            data[i] = (double)(float)(check_random(&state) * sqrt(3.0 / fan_in));
        }
    }
}

static bool start(harness *h, m2snet_dtype dtype, m2s_graph **graph)
{
    m2snet_error error;

    return CHECK(m2s_graph_create(&h->memory, dtype, graph, &error) == M2SNET_STATUS_OK, "%s", error.message);
}

static bool run(harness *h, const variant *v, const m2s_graph *graph, harness_numbers *numbers)
{
    m2snet_error error;
    harness_request request = {
        .backend = v->backend, .isa = m2s_isa_detect(), .pool = h->pools[1], .graph = graph, .runs = 2
    };

    if (!CHECK(m2s_graph_finish(graph, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        return false;
    }
    fill(numbers, graph);
    return CHECK(harness_run(h, &request, numbers, &error) == M2SNET_STATUS_OK, "%s", error.message);
}

static void done(m2s_graph *graph, harness_numbers *numbers)
{
    harness_numbers_free(numbers);
    m2s_graph_destroy(graph);
}

static m2s_value conv(m2s_graph *graph, m2s_value src, const char *name, int64_t outputs, int64_t kernel,
                      int32_t stride)
{
    char bias[64];

    snprintf(bias, sizeof bias, "%s.bias", name);
    m2s_value weights = m2s_graph_param(graph, name, shape(outputs, m2s_shape_of(graph, src).c, kernel, kernel));
    return m2s_conv2d(graph, src, weights, m2s_graph_param(graph, bias, shape(outputs, 1, 1, 1)),
                      (m2s_conv){ .stride = stride, .pad = (int32_t)kernel / 2 });
}

/* ---- values that leave ---- */

/* Outputs that later nodes read, an input that is an output, a node nobody reads. */
static void test_outputs(harness *h, const variant *v)
{
    harness_numbers numbers = { 0 };
    m2s_graph *graph;

    if (!start(h, v->dtype, &graph)) {
        return;
    }
    m2s_value src = m2s_graph_input(graph, "src", shape(2, 5, 7, 13));
    m2s_value a = m2s_relu(graph, src), b = m2s_abs_diff(graph, a, src), c = m2s_abs_diff(graph, b, a);
    m2s_relu(graph, c);
    m2s_value last = m2s_sum(graph, (m2s_value[]){ a, b, c }, 3);
    m2s_graph_mark_output(graph, src);
    m2s_graph_mark_output(graph, a);
    m2s_graph_mark_output(graph, c);
    m2s_graph_mark_output(graph, last);
    fill(&numbers, graph);
    size_t count = harness_elements(graph, src);
    double *before = malloc(count * sizeof *before);
    memcpy(before, numbers.of[src], count * sizeof *before);
    if (run(h, v, graph, &numbers)) {
        for (size_t i = 0; i < count; i++) {
            double x = before[i], ra = x > 0.0 ? x : 0.0, rb = fabs(ra - x);
            bool held = CHECK(numbers.of[src][i] == x, "the input came back changed at %zu", i);
            held &= CHECK(numbers.of[a][i] == ra, "first output at %zu", i);
            held &= CHECK(numbers.of[c][i] == fabs(rb - ra), "second output at %zu", i);
            held &=
                CHECK_NEAR(numbers.of[last][i], ra + rb + fabs(rb - ra), 0.0, (double)FLT_EPSILON, "last at %zu", i);
            if (!held) {
                break;
            }
        }
    }
    free(before);
    done(graph, &numbers);
}

/* The reference backend copies what is bound twice: an input that is an output as well, a result wanted in two
 * places. */
static void test_second_bindings(harness *h, const variant *v)
{
    m2s_host host = { &h->memory, &h->log, h->pools[0], M2S_ISA_BASELINE, NULL };
    harness_packs packs = {
        { harness_pack_acquire, harness_pack_release }, &h->memory, NULL, 0, PTHREAD_MUTEX_INITIALIZER
    };
    m2s_param_view params[HARNESS_VALUES] = { 0 };
    m2s_device *device = NULL;
    m2s_plan *plan = NULL;
    m2s_buffer *buffer = NULL;
    double src[4] = { -1.0, 2.0, -3.0, 4.0 }, got[16];
    m2s_graph *graph;
    m2snet_error error;

    if (v->backend != m2s_backend_ref() || v->dtype != M2SNET_DTYPE_F64) {
        check_skip("not part of every backend's contract");
        return;
    }
    if (!start(h, v->dtype, &graph)) {
        return;
    }
    m2s_value in = m2s_graph_input(graph, "src", shape(1, 2, 2, 1)), out = m2s_relu(graph, in);
    m2s_graph_mark_output(graph, in);
    m2s_graph_mark_output(graph, out);
    m2s_plan_request request = { .graph = graph, .params = params, .packs = &packs.cache };
    if (CHECK(v->backend->open(&host, 0, &device, &error) == M2SNET_STATUS_OK, "%s", error.message) &&
        CHECK(v->backend->plan_compile(device, &request, &plan, &error) == M2SNET_STATUS_OK, "%s", error.message) &&
        CHECK(v->backend->buffer_alloc(device, sizeof got, &buffer, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        m2s_binding bindings[] = { { in, buffer, 0 }, { out, buffer, 32 }, { in, buffer, 64 }, { out, buffer, 96 } };
        m2s_run_request run_request = { .bindings = bindings, .binding_count = 4 };
        v->backend->buffer_write(device, buffer, 0, src, sizeof src, NULL);
        CHECK(v->backend->plan_run(device, plan, &run_request, &error) == M2SNET_STATUS_OK, "%s", error.message);
        v->backend->buffer_read(device, buffer, 0, got, sizeof got, NULL);
        for (int i = 0; i < 16; i++) {
            CHECK(got[i] == (i / 4 % 2 == 0 || src[i % 4] > 0.0 ? src[i % 4] : 0.0), "number %d is %g", i, got[i]);
        }
    }
    if (device != NULL) {
        v->backend->buffer_free(device, buffer);
        v->backend->plan_free(device, plan);
        v->backend->close(device);
    }
    m2s_graph_destroy(graph);
}

/* A parameter and a folded constant leave as they are; a backend without that feature says so by the value's name. */
static void test_constant_outputs(harness *h, const variant *v)
{
    harness_numbers numbers = { 0 };
    m2s_graph *graph;
    m2snet_error error;

    if (!start(h, v->dtype, &graph)) {
        return;
    }
    m2s_value src = m2s_graph_input(graph, "src", shape(1, 3, 3, 4));
    m2s_value weights = m2s_graph_param(graph, "weights", shape(4, 4, 3, 3));
    m2s_value joined = m2s_graph_node(graph, M2S_OP_concat_o, (m2s_value[]){ weights, weights }, 2, NULL);
    m2s_value result = m2s_conv2d(graph, src, weights, M2S_NONE, (m2s_conv){ .pad = 1 });
    m2s_graph_mark_output(graph, weights);
    m2s_graph_mark_output(graph, joined);
    m2s_graph_mark_output(graph, result);
    fill(&numbers, graph);
    double expected[144];
    memcpy(expected, numbers.of[weights], sizeof expected);
    harness_request request = { .backend = v->backend, .pool = h->pools[1], .graph = graph, .runs = 2 };
    m2snet_status status = harness_run(h, &request, &numbers, &error);
    if (status != M2SNET_STATUS_OK) {
        CHECK(v->backend != m2s_backend_ref() && status == M2SNET_STATUS_UNSUPPORTED &&
                  strstr(error.message, "weights") != NULL,
              "%s", error.message);
    } else {
        for (size_t i = 0; i < 144; i++) {
            if (!CHECK(numbers.of[weights][i] == expected[i] && numbers.of[joined][i] == expected[i] &&
                           numbers.of[joined][144 + i] == expected[i],
                       "weight %zu", i)) {
                break;
            }
        }
    }
    done(graph, &numbers);
}

/* ---- a small network ---- */

/* Every kind of step that needs memory of its own, long enough for the arena to be used over and over. */
static m2s_value small_network(m2s_graph *graph, int64_t n)
{
    m2s_value src = m2s_graph_input(graph, "src", shape(n, 21, 18, 3));
    m2s_value stem = m2s_max_pool(graph, m2s_relu(graph, conv(graph, src, "stem", 16, 3, 1)), 3, 2, 1);
    m2s_value fine = stem, coarse;

    for (int block = 0; block < 4; block++) {
        bool stage = block == 2;
        m2s_attrs attrs = { .stride = stage ? 2 : 1, .stage = stage };
        m2s_value in[7] = { M2S_NONE };
        char name[64];
        for (int i = 0; i < 3; i++) {
            snprintf(name, sizeof name, "block%d.%d", block, i);
            in[1 + 2 * i] = m2s_graph_param(graph, name, shape(4, 4, 3, 3));
            snprintf(name, sizeof name, "block%d.%d.bias", block, i);
            in[2 + 2 * i] = m2s_graph_param(graph, name, shape(4, 1, 1, 1));
        }
        in[0] = fine;
        m2s_value inner = m2s_graph_node(graph, M2S_OP_res2_groups, in, 7, &attrs);
        snprintf(name, sizeof name, "block%d.out", block);
        fine = conv(graph, inner, name, 16, 1, 1);
    }
    coarse = fine;
    m2s_attrs scales = { .scales = 2, .scale = { 3, 5 } };
    m2s_value in[6] = { coarse, stem };
    for (int i = 0; i < 4; i++) {
        char name[64];
        snprintf(name, sizeof name, "affine%d", i);
        in[2 + i] = m2s_graph_param(graph, name, shape(16, 1, 1, 1));
    }
    m2s_value unit = m2s_graph_node(graph, M2S_OP_multi_scale_subtract, in, 6, &scales);
    m2s_value wide = m2s_concat_c(graph, (m2s_value[]){ unit, stem, m2s_slice_c(graph, unit, 3, 5) }, 3);
    return m2s_graph_name(graph, m2s_resize(graph, conv(graph, wide, "head", 1, 3, 1), 21, 18), "logits");
}

/* Against naive.h node by node; and the arena is smaller than all values together. */
static void inspect_arena(const m2s_backend *backend, const m2s_plan *plan, void *argument)
{
    m2s_plan_info info;
    const m2s_graph *graph = argument;
    size_t all = 0;

    backend->plan_info(plan, &info);
    for (m2s_value v = 0; v < graph->value_count; v++) {
        all += graph->values[v].constant ? 0 : harness_bytes(graph, v);
    }
    /* Other backends may trade scratch for speed. */
    CHECK(backend != m2s_backend_ref() || info.arena_bytes < 4 * all / 5, "an arena of %zu bytes for values of %zu",
          info.arena_bytes, all);
    CHECK(info.packed_bytes > 0, "no packed bytes");
    CHECK(info.steps > 0 && info.steps <= graph->node_count, "%" PRId32 " steps for %" PRId32 " nodes", info.steps,
          graph->node_count);
}

static void test_network(harness *h, const variant *v)
{
    harness_numbers numbers = { 0 };
    naive values[HARNESS_VALUES] = { { { .n = 0 }, NULL } };
    m2s_graph *graph;
    m2snet_error error;

    if (!start(h, v->dtype, &graph)) {
        return;
    }
    m2s_value logits = small_network(graph, 2);
    m2s_graph_mark_output(graph, logits);
    if (CHECK(m2s_graph_finish(graph, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        harness_request request = { .backend = v->backend,
                                    .isa = m2s_isa_detect(),
                                    .pool = h->pools[HARNESS_POOLS - 1],
                                    .graph = graph,
                                    .runs = 2,
                                    .inspect = inspect_arena,
                                    .argument = graph };
        double largest = 0.0;
        fill(&numbers, graph);
        CHECK(harness_run(h, &request, &numbers, &error) == M2SNET_STATUS_OK, "%s", error.message);
        for (m2s_value x = 0; x < graph->value_count; x++) {
            if (graph->values[x].kind != M2S_VALUE_NODE) {
                values[x] = (naive){ m2s_shape_of(graph, x), numbers.of[x] };
            }
        }
        for (int32_t n = 0; n < graph->node_count; n++) {
            const m2s_node *node = &graph->nodes[n];
            naive in[M2S_MAX_IN] = { { { .n = 0 }, NULL } };
            for (int32_t i = 0; i < node->in_count; i++) {
                in[i] = node->in[i] != M2S_NONE ? values[node->in[i]] : in[i];
            }
            values[node->out[0]] = naive_op(node->op, in, node->in_count, &node->attrs);
        }
        size_t count = harness_elements(graph, logits);
        for (size_t i = 0; i < count; i++) {
            largest = fmax(largest, fabs(values[logits].data[i]));
        }
        /* Some twenty layers, each adding rounding of its own of the size in test_ops_table.c. */
        double limit = largest * (v->dtype == M2SNET_DTYPE_F64 ? 1e-13 : 1e-4);
        if (numbers.of[logits] != NULL) {
            CHECK_NEAR_F64(numbers.of[logits], values[logits].data, count, limit, 0.0, "logits");
        }
        for (m2s_value x = 0; x < graph->value_count; x++) {
            if (graph->values[x].kind == M2S_VALUE_NODE) {
                naive_free(&values[x]);
            }
        }
    }
    done(graph, &numbers);
}

/* The same image alone, and at the first and last place of three: the same bits. */
static void test_places_in_batch(harness *h, const variant *v)
{
    harness_numbers alone = { 0 }, batch = { 0 };
    m2s_graph *one, *three;

    if (!start(h, v->dtype, &one)) {
        return;
    }
    if (!start(h, v->dtype, &three)) {
        m2s_graph_destroy(one);
        return;
    }
    m2s_value out_one = small_network(one, 1), out_three = small_network(three, 3);
    m2s_graph_mark_output(one, out_one);
    m2s_graph_mark_output(three, out_three);
    fill(&alone, one);
    m2s_value src_one = m2s_graph_find(one, "src"), src_three = m2s_graph_find(three, "src");
    size_t image = harness_elements(one, src_one);
    double *src = harness_numbers_of(&batch, three, src_three);
    for (size_t i = 0; i < image; i++) {
        src[i] = src[2 * image + i] = alone.of[src_one][i];
        src[image + i] = -0.5 * alone.of[src_one][i];
    }
    if (run(h, v, one, &alone) && run(h, v, three, &batch)) {
        size_t bytes = harness_bytes(one, out_one);
        CHECK_BYTES(batch.raw[out_three], alone.raw[out_one], bytes, "first of three");
        CHECK_BYTES(batch.raw[out_three] + 2 * bytes, alone.raw[out_one], bytes, "last of three");
        CHECK(memcmp(batch.raw[out_three] + bytes, alone.raw[out_one], bytes) != 0, "another image, the same result");
    }
    done(one, &alone);
    done(three, &batch);
}

/* ---- timing ---- */

static void inspect_steps(const m2s_backend *backend, const m2s_plan *plan, void *argument)
{
    const m2s_graph *graph = argument;
    uint64_t multiply_adds = 0, nanoseconds = 0;
    m2s_plan_info info;
    m2s_step_info step;

    backend->plan_info(plan, &info);
    for (int32_t s = 0; s < info.steps; s++) {
        if (CHECK(backend->plan_step(plan, s, &step), "step %" PRId32 " of %" PRId32, s, info.steps)) {
            CHECK(step.name != NULL && step.name[0] != '\0' && step.kernel != NULL, "step %" PRId32, s);
            multiply_adds += step.multiply_adds;
            nanoseconds += step.nanoseconds;
        }
    }
    CHECK(multiply_adds == m2s_graph_multiply_adds(graph), "%" PRIu64 " multiply-adds, expected %" PRIu64,
          multiply_adds, m2s_graph_multiply_adds(graph));
    CHECK(nanoseconds > 0, "no time was taken");
    CHECK(!backend->plan_step(plan, info.steps, &step) && !backend->plan_step(plan, -1, &step), "too many steps");
}

static void test_timing(harness *h, const variant *v)
{
    harness_numbers numbers = { 0 };
    m2s_graph *graph;
    m2snet_error error;

    if (!start(h, v->dtype, &graph)) {
        return;
    }
    m2s_graph_mark_output(graph, small_network(graph, 1));
    fill(&numbers, graph);
    harness_request request = { .backend = v->backend,
                                .isa = m2s_isa_detect(),
                                .pool = h->pools[1],
                                .graph = graph,
                                .runs = 1,
                                .time_steps = true,
                                .inspect = inspect_steps,
                                .argument = graph };
    CHECK(harness_run(h, &request, &numbers, &error) == M2SNET_STATUS_OK, "%s", error.message);
    done(graph, &numbers);
}

/* ---- cancelling ---- */

static int stop_in_phase(void *user, const m2snet_progress *progress)
{
    return strcmp(progress->phase, user) == 0;
}

static void test_cancel(harness *h, const variant *v)
{
    static char prepare[] = "prepare", network[] = "network";
    char *const phases[] = { prepare, network };
    harness_numbers numbers = { 0 };
    m2s_graph *graph;
    m2snet_error error;

    if (!start(h, v->dtype, &graph)) {
        return;
    }
    m2s_graph_mark_output(graph, small_network(graph, 1));
    fill(&numbers, graph);
    for (int i = 0; i < 2; i++) {
        m2snet_control user = { .progress = stop_in_phase, .progress_user = phases[i] };
        m2s_control control;
        m2s_control_init(&control, &user);
        harness_request request = { .backend = v->backend,
                                    .isa = m2s_isa_detect(),
                                    .pool = h->pools[1],
                                    .graph = graph,
                                    .runs = 1,
                                    .control = &control };
        m2snet_status status = harness_run(h, &request, &numbers, &error);
        CHECK(status == M2SNET_STATUS_CANCELLED, "stopped in %s: status %d", phases[i], (int)status);
        CHECK(strstr(error.message, phases[i]) != NULL, "%s", error.message);
    }
    run(h, v, graph, &numbers);
    done(graph, &numbers);
}

/* ---- refusals ---- */

static void test_refusals(harness *h, const variant *v)
{
    harness_numbers numbers = { 0 };
    m2s_graph *graph;
    m2snet_error error;
    char why[128] = "";

    /* A precision without kernels: the node or the precision is named. */
    if (!start(h, M2SNET_DTYPE_BF16, &graph)) {
        return;
    }
    m2s_value src = m2s_graph_input(graph, "src", shape(1, 4, 4, 2));
    m2s_graph_mark_output(graph, m2s_graph_name(graph, m2s_relu(graph, src), "layer1.0.relu"));
    m2s_host host = { &h->memory, &h->log, h->pools[0], m2s_isa_detect(), NULL };
    m2s_device *device = NULL;
    harness_packs packs = {
        { harness_pack_acquire, harness_pack_release }, &h->memory, NULL, 0, PTHREAD_MUTEX_INITIALIZER
    };
    m2s_param_view params[HARNESS_VALUES] = { 0 };
    m2s_plan *plan = NULL;
    CHECK(v->backend->open(&host, v->backend->device_count(), &device, &error) != M2SNET_STATUS_OK && device == NULL,
          "a device that is not there opened");
    if (!CHECK(v->backend->open(&host, 0, &device, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        return;
    }
    CHECK(!v->backend->supports(device, graph, &graph->nodes[0], why) && why[0] != '\0', "BF16 is supported");
    m2s_plan_request request = { .graph = graph, .params = params, .packs = &packs.cache };
    CHECK(v->backend->plan_compile(device, &request, &plan, &error) == M2SNET_STATUS_UNSUPPORTED && plan == NULL,
          "BF16 compiles");
    CHECK(strstr(error.message, "layer1.0.relu") != NULL || strstr(error.message, "BF16") != NULL, "%s", error.message);
    m2s_graph_destroy(graph);

    /* A parameter without numbers: it is named. */
    if (start(h, v->dtype, &graph)) {
        src = m2s_graph_input(graph, "src", shape(1, 4, 4, 2));
        m2s_graph_mark_output(graph, conv(graph, src, "layer1.0.conv1.weight", 3, 3, 1));
        request.graph = graph;
        CHECK(v->backend->supports(device, graph, &graph->nodes[0], NULL), "no convolutions");
        CHECK(v->backend->plan_compile(device, &request, &plan, &error) == M2SNET_STATUS_MISMATCH && plan == NULL,
              "compiles without weights");
        CHECK(strstr(error.message, "layer1.0.conv1") != NULL, "%s", error.message);
        m2s_graph_destroy(graph);
    }

    /* A run without its tensors. */
    if (start(h, v->dtype, &graph)) {
        src = m2s_graph_input(graph, "src", shape(1, 4, 4, 2));
        m2s_value result = m2s_relu(graph, src);
        m2s_graph_mark_output(graph, result);
        request.graph = graph;
        m2s_buffer *buffer = NULL;
        if (CHECK(v->backend->plan_compile(device, &request, &plan, &error) == M2SNET_STATUS_OK, "%s", error.message) &&
            CHECK(v->backend->buffer_alloc(device, 512, &buffer, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
            m2s_plan_info info;
            v->backend->plan_info(plan, &info);
            m2s_buffer *arena = NULL;
            CHECK(v->backend->buffer_alloc(device, info.arena_bytes, &arena, &error) == M2SNET_STATUS_OK, "%s",
                  error.message);
            m2s_binding bindings[] = { { src, buffer, 0 }, { result, buffer, 256 } };
            m2s_run_request run_request = { .arena = arena, .bindings = bindings, .binding_count = 1 };
            CHECK(v->backend->plan_run(device, plan, &run_request, &error) != M2SNET_STATUS_OK, "an output is missing");
            run_request.binding_count = 2;
            bindings[1].offset_bytes = 448;
            CHECK(v->backend->plan_run(device, plan, &run_request, &error) != M2SNET_STATUS_OK, "beyond the buffer");
            bindings[1].offset_bytes = 256;
            CHECK(v->backend->plan_run(device, plan, &run_request, &error) == M2SNET_STATUS_OK, "%s", error.message);
            run_request.arena = NULL;
            CHECK(info.arena_bytes == 0 || v->backend->plan_run(device, plan, &run_request, &error) != M2SNET_STATUS_OK,
                  "no arena");
            char byte = 0;
            CHECK(v->backend->buffer_write(device, buffer, 512, &byte, 1, &error) != M2SNET_STATUS_OK,
                  "a write beyond");
            CHECK(v->backend->buffer_read(device, buffer, SIZE_MAX, &byte, 1, &error) != M2SNET_STATUS_OK,
                  "a read beyond");
            v->backend->buffer_free(device, arena);
        }
        v->backend->buffer_free(device, buffer);
        v->backend->plan_free(device, plan);
        m2s_graph_destroy(graph);
    }
    v->backend->close(device);
    v->backend->close(NULL);
    harness_numbers_free(&numbers);
}

/* ---- memory ---- */

typedef struct failing {
    atomic_long left; /* allocations that succeed; then one fails, or all that follow */
    bool once;
} failing;

static void *failing_alloc(void *user, size_t bytes, size_t alignment)
{
    failing *f = user;

    long left = atomic_fetch_sub(&f->left, 1);
    if (left <= 0 && (!f->once || left == 0)) {
        return NULL;
    }
    return aligned_alloc(alignment, bytes);
}

static void failing_free(void *user, void *pointer, size_t bytes)
{
    (void)user;
    (void)bytes;
    free(pointer);
}

/* Each allocation of compile and run fails in its turn, alone and with all after it. */
static void test_memory(harness *h, const variant *v)
{
    m2s_graph *graph;

    if (!start(h, v->dtype, &graph)) {
        return;
    }
    m2s_graph_mark_output(graph, small_network(graph, 1));
    for (int once = 0; once <= 1; once++) {
        for (long allowed = 0;; allowed++) {
            failing f = { allowed, once != 0 };
            harness tight = *h;
            harness_numbers numbers = { 0 };
            m2snet_error error;
            m2snet_allocator allocator = { failing_alloc, failing_free, &f };
            m2s_memory_init(&tight.memory, &allocator, 0);
            fill(&numbers, graph);
            harness_request request = {
                .backend = v->backend, .isa = m2s_isa_detect(), .pool = h->pools[1], .graph = graph, .runs = 1
            };
            m2snet_status status = harness_run(&tight, &request, &numbers, &error);
            harness_numbers_free(&numbers);
            bool held = CHECK(atomic_load(&tight.memory.used_bytes) == 0, "a leak when allocation %ld fails", allowed);
            held &= CHECK(status == M2SNET_STATUS_OK || status == M2SNET_STATUS_OUT_OF_MEMORY,
                          "allocation %ld fails: status %d, %s", allowed, (int)status, error.message);
            if (!held || f.left >= 0 || allowed > 20000) {
                CHECK(status == M2SNET_STATUS_OK && allowed < 20000, "never enough memory");
                break;
            }
        }
    }
    m2s_graph_destroy(graph);
}

int main(int argc, char **argv)
{
    const m2s_backend *module = module_option(&argc, &argv);
    const variant only = { module, M2SNET_DTYPE_F32, "module F32" };
    const variant variants[] = { { m2s_backend_ref(), M2SNET_DTYPE_F64, "ref F64" },
                                 { m2s_backend_ref(), M2SNET_DTYPE_F32, "ref F32" },
                                 { m2s_backend_cpu(), M2SNET_DTYPE_F32, "cpu F32" } };
    const struct {
        const char *name;
        void (*run)(harness *h, const variant *v);
    } tests[] = { { "outputs that are read on, and an input that leaves", test_outputs },
                  { "second bindings", test_second_bindings },
                  { "constants that leave", test_constant_outputs },
                  { "a small network", test_network },
                  { "places in a batch", test_places_in_batch },
                  { "timing of steps", test_timing },
                  { "cancelling", test_cancel },
                  { "refusals", test_refusals },
                  { "every allocation fails", test_memory } };
    harness h;

    check_start(argc, argv);
    if (!harness_open(&h)) {
        return check_finish();
    }
    for (size_t v = 0; v < (module != NULL ? 1 : sizeof variants / sizeof *variants); v++) {
        const variant *under = module != NULL ? &only : &variants[v];
        for (size_t t = 0; t < sizeof tests / sizeof *tests; t++) {
            if (check_case("%s: %s", under->name, tests[t].name)) {
                tests[t].run(&h, under);
            }
        }
    }
    check_case("nothing leaks");
    harness_close(&h);
    return check_finish();
}
