/* SPDX-License-Identifier: Apache-2.0
 * A training step whose cheap results are made again: the same numbers bit for bit, in a smaller arena. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/network_fixture.h"
#include "graph/autodiff.h"
#include "graph/pass_recompute.h"
#include "net/names.h"
#include "run/program.h"
#include "run/state.h"
#include "train/step.h"

static void expect_ok(m2snet_status status, const m2snet_error *error)
{
    if (status != M2SNET_STATUS_OK) {
        fail_msg("%s: %s", m2snet_status_string(status), error->message);
    }
}

/* ---- a whole step ---- */

#define IMAGES 2

typedef struct step_run {
    m2snet_context *context;
    m2s_state *state;
    m2s_program *program;
    m2s_buffer *arena;
    size_t arena_bytes;
} step_run;

/* Numbers of a stream in [low, high), in the dtype, as bytes. */
static void *draw(const char *name, size_t count, double low, double high, m2snet_dtype dtype)
{
    void *data = malloc(count * m2s_dtype_bytes(dtype));

    assert_non_null(data);
    for (size_t i = 0; i < count; i++) {
        double number = low + (high - low) * network_uniform(name, i);
        if (dtype == M2SNET_DTYPE_F64) {
            ((double *)data)[i] = number;
        } else {
            ((float *)data)[i] = (float)number;
        }
    }
    return data;
}

static void write_input(const step_run *run, m2s_value value, double low, double high)
{
    const m2s_graph *graph = m2s_program_graph(run->program);
    const m2s_value_info *info = &graph->values[value];
    void *data = draw(info->name, (size_t)m2s_shape_elements(info->shape), low, high, info->dtype);
    m2snet_error error;

    expect_ok(m2s_program_write(run->program, info->name, data, &error), &error);
    free(data);
}

static void run_make(step_run *run, const char *backend, const m2s_graph *graph)
{
    m2snet_context_options options;
    m2s_plan_info info;
    m2snet_error error;

    m2s_context_options_default(&options);
    options.backend = backend;
    options.threads = 2;
    expect_ok(m2s_context_create(&options, &run->context, &error), &error);
    expect_ok(m2s_state_create(run->context, graph, &run->state, &error), &error);
    expect_ok(m2s_program_create_step(run->context, graph, M2SNET_PRECISION_F32, NULL, "", NULL, run->state, NULL,
                                      &run->program, &error),
              &error);
    m2s_program_info(run->program, &info);
    run->arena_bytes = info.arena_bytes;
    expect_ok(run->context->backend->buffer_alloc(run->context->device, info.arena_bytes, &run->arena, &error), &error);
    for (int32_t i = 0; i < m2s_state_count(run->state); i++) {
        const m2s_state_entry *entry = m2s_state_at(run->state, i);
        bool matrix = entry->shape.i > 1 || entry->shape.kh > 1;
        double wide = matrix ? 1.5 / (double)(entry->shape.i * entry->shape.kh) : 0.5;
        if (strchr(entry->name, '/') == NULL) {
            void *data = draw(entry->name, (size_t)m2s_shape_elements(entry->shape), matrix ? -wide : 0.5,
                              matrix ? wide : 1.5, entry->dtype);
            expect_ok(m2s_state_write(run->state, entry, data, &error), &error);
            free(data);
        }
    }
    const m2s_graph *compiled = m2s_program_graph(run->program);
    for (m2s_value v = 0; v < compiled->value_count; v++) {
        if (compiled->values[v].kind == M2S_VALUE_INPUT || compiled->values[v].kind == M2S_VALUE_SCALAR) {
            bool mask = strcmp(compiled->values[v].name, M2S_NAME_MASK) == 0;
            bool image = compiled->values[v].kind == M2S_VALUE_INPUT;
            write_input(run, v, image ? mask ? 0.0 : -2.0 : 1.0, image ? mask ? 1.0 : 2.0 : 1.0);
        }
    }
    expect_ok(m2s_program_run(run->program, run->arena, false, NULL, &error), &error);
}

static void run_release(step_run *run)
{
    run->context->backend->buffer_free(run->context->device, run->arena);
    m2s_program_destroy(run->program);
    m2s_state_destroy(run->state);
    m2s_context_release(run->context);
}

static void assert_equal_bits(const step_run *a, const step_run *b)
{
    m2snet_error error;
    int32_t changed = 0;

    assert_int_equal(m2s_state_count(a->state), m2s_state_count(b->state));
    for (int32_t i = 0; i < m2s_state_count(a->state); i++) {
        const m2s_state_entry *entry = m2s_state_at(a->state, i);
        const m2s_state_entry *other = m2s_state_find(b->state, entry->name);
        assert_non_null(other);
        size_t bytes = m2s_state_entry_bytes(entry);
        unsigned char *left = malloc(bytes), *right = malloc(bytes);
        expect_ok(m2s_state_read(a->state, entry, left, &error), &error);
        expect_ok(m2s_state_read(b->state, other, right, &error), &error);
        if (memcmp(left, right, bytes) != 0) {
            fail_msg("%s differs", entry->name);
        }
        if (strncmp(entry->name, M2S_STATE_MOMENTUM, strlen(M2S_STATE_MOMENTUM)) == 0) { /* zeros before the step */
            unsigned char any = 0;
            for (size_t k = 0; k < bytes; k++) {
                any |= left[k];
            }
            changed += any != 0;
        }
        free(left);
        free(right);
    }
    assert_true(changed > 100); /* it was a step, with gradients */
}

static int32_t count_op(const m2s_graph *graph, m2s_op op)
{
    int32_t count = 0;

    for (int32_t i = 0; i < graph->node_count; i++) {
        count += graph->nodes[i].op == op;
    }
    return count;
}

/* most: of the plain arena. Of what a convolution, its norm and its ReLU keep, the second half goes; gradients of
 * weights stay, which are most of the arena of a small picture. */
static void check_step(const char *backend, int64_t size, m2snet_dtype dtype, double most)
{
    static const m2s_op never[] = { M2S_OP_conv2d,
                                    M2S_OP_conv2d_grad_src,
                                    M2S_OP_conv2d_grad_weights,
                                    M2S_OP_batch_norm_train,
                                    M2S_OP_batch_norm_grad,
                                    M2S_OP_multi_scale_subtract_train,
                                    M2S_OP_running_average,
                                    M2S_OP_sgd };
    m2s_memory memory;
    m2s_config config;
    m2s_recipe recipe;
    m2s_graph *graph, *again, *twice;
    m2snet_error error;
    step_run plain, saving;

    m2s_memory_init(&memory, NULL, 0);
    m2s_config_default(&config);
    assert_true(m2s_config_set_encoder(&config, "res2net_compact"));
    config.pyramid_channels = 32;
    m2s_recipe_default(&recipe);
    recipe.objective.weight[M2S_TERM_LOSSNET] = 0.0;
    expect_ok(m2s_step_build(&memory, &config, &recipe, IMAGES, size, size, dtype, false, &graph, &error), &error);
    int32_t backward = graph->values[m2s_graph_find(graph, M2S_NAME_LOSS)].node + 1;
    expect_ok(m2s_pass_recompute(graph, backward, &again, &error), &error);
    expect_ok(m2s_pass_recompute(graph, backward, &twice, &error), &error);
    assert_true(m2s_graph_hash(again) == m2s_graph_hash(twice));
    m2s_graph_destroy(twice);

    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++) {
        assert_int_equal(count_op(again, never[i]), count_op(graph, never[i]));
    }
    assert_true(count_op(again, M2S_OP_batch_norm) > 20);
    run_make(&plain, backend, graph);
    run_make(&saving, backend, again);
    assert_equal_bits(&plain, &saving);
    if ((double)saving.arena_bytes > most * (double)plain.arena_bytes) {
        fail_msg("an arena of %zu bytes instead of %zu", saving.arena_bytes, plain.arena_bytes);
    }
    run_release(&plain);
    run_release(&saving);
    m2s_graph_destroy(graph);
    m2s_graph_destroy(again);
}

static void test_step_cpu(void **state)
{
    (void)state;
    check_step("cpu", 192, M2SNET_DTYPE_F32, 0.8);
}

static void test_step_ref(void **state)
{
    (void)state;
    check_step("ref", 64, M2SNET_DTYPE_F64, 0.99);
}

/* ---- what is chosen ---- */

#define LINKS 9

/* A sum of LINKS links, normed convolutions, each sum of which the next one's gradient needs. */
static m2s_graph *chain(m2s_memory *memory, int32_t *backward)
{
    m2snet_error error;
    m2s_graph *graph;
    m2s_value weights[LINKS], diff[LINKS];

    expect_ok(m2s_graph_create(memory, M2SNET_DTYPE_F32, &graph, &error), &error);
    m2s_value sum = m2s_graph_input(graph, "image", (m2s_shape){ .d = { 1, 32, 32, 8 } });
    for (int i = 0; i < LINKS; i++) {
        char name[16] = { 'w', (char)('0' + i), '\0' };
        m2s_value in[5];
        weights[i] = m2s_graph_state(graph, name, (m2s_shape){ .d = { 8, 8, 1, 1 } });
        m2s_value branch = m2s_conv2d(graph, sum, weights[i], M2S_NONE, (m2s_conv){ 0 });
        in[0] = branch;
        for (int k = 1; k < 5; k++) {
            char vector[16] = { "xgbmv"[k], (char)('0' + i), '\0' };
            in[k] = m2s_graph_state(graph, vector, (m2s_shape){ .d = { 8, 1, 1, 1 } });
        }
        branch = m2s_graph_node(graph, M2S_OP_batch_norm_train, in, 5, &(m2s_attrs){ .epsilon = 1e-5 });
        sum = m2s_relu(graph, m2s_sum(graph, (m2s_value[]){ sum, branch }, 2));
    }
    m2s_value target = m2s_graph_input(graph, "target", m2s_shape_of(graph, sum));
    m2s_value loss = m2s_graph_node(graph, M2S_OP_feature_distance, (m2s_value[]){ sum, target }, 2, NULL);
    m2s_graph_mark_output(graph, m2s_graph_name(graph, loss, "loss"));
    *backward = graph->node_count;
    m2s_value one = m2s_graph_scalar(graph, "one");
    expect_ok(m2s_autodiff(graph, loss, one, weights, LINKS, diff, &error), &error);
    for (int i = 0; i < LINKS; i++) {
        m2s_graph_mark_output(graph, diff[i]);
    }
    return graph;
}

/* Every node after `backward` that makes forward results again, and those in a row. */
static void test_rows_are_short(void **state)
{
    m2s_memory memory;
    m2s_graph *graph, *again;
    m2snet_error error;
    int32_t backward, longest = 0, depth[256] = { 0 };

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    graph = chain(&memory, &backward);
    expect_ok(m2s_pass_recompute(graph, backward, &again, &error), &error);
    assert_true(again->node_count <= 256);
    assert_int_equal(count_op(again, M2S_OP_conv2d), count_op(graph, M2S_OP_conv2d));
    assert_true(count_op(again, M2S_OP_add) > count_op(graph, M2S_OP_add));
    for (int32_t i = backward; i < again->node_count; i++) {
        const m2s_node *node = &again->nodes[i];
        if (node->op != M2S_OP_add && node->op != M2S_OP_relu && node->op != M2S_OP_batch_norm) {
            continue;
        }
        bool forward = true; /* a sum of gradients is none of what is made again */
        for (int32_t k = 0; k < node->in_count; k++) {
            int32_t made = node->in[k] == M2S_NONE ? -1 : again->values[node->in[k]].node;
            bool again_too = made >= backward && depth[made] > 0;
            forward = forward && (made < backward || again_too);
            depth[i] = again_too && depth[made] > depth[i] ? depth[made] : depth[i];
        }
        depth[i] = forward ? depth[i] + 1 : 0;
        longest = depth[i] > longest ? depth[i] : longest;
    }
    assert_in_range(longest, 1, 4);
    m2s_graph_destroy(graph);
    m2s_graph_destroy(again);
}

/* Nothing is backward: a copy. */
static void test_nothing_to_do(void **state)
{
    m2s_memory memory;
    m2s_graph *graph, *copy;
    m2snet_error error;
    int32_t backward;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    graph = chain(&memory, &backward);
    expect_ok(m2s_pass_recompute(graph, graph->node_count, &copy, &error), &error);
    assert_int_equal(copy->node_count, graph->node_count);
    m2s_graph_destroy(graph);
    m2s_graph_destroy(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_cpu),
        cmocka_unit_test(test_step_ref),
        cmocka_unit_test(test_rows_are_short),
        cmocka_unit_test(test_nothing_to_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
