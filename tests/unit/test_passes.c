/* SPDX-License-Identifier: Apache-2.0
 * The inference passes: what they leave of a network, and that they leave its numbers alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/network_fixture.h"
#include "graph/pass.h"
#include "net/m2snet.h"
#include "run/fit.h"
#include "run/pack_cache.h"
#include "run/program.h"

static m2s_memory memory;

static int setup(void **state)
{
    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    return 0;
}

static int count_ops(const m2s_graph *graph, m2s_op op, bool constants)
{
    int count = 0;

    for (int32_t i = 0; i < graph->node_count; i++) {
        count += graph->nodes[i].op == op && (constants || !graph->values[graph->nodes[i].out[0]].constant);
    }
    return count;
}

static m2s_graph *build(const m2s_config *config, int64_t side)
{
    m2s_graph *graph;

    assert_int_equal(m2s_net_build(&memory, config, 1, side, side, M2SNET_DTYPE_F64, &graph, NULL), M2SNET_STATUS_OK);
    return graph;
}

static m2s_graph *optimise(const m2s_graph *graph)
{
    m2s_graph *optimised;
    m2snet_error error;

    if (m2s_pass_inference(graph, &optimised, &error) != M2SNET_STATUS_OK) {
        fail_msg("%s", error.message);
    }
    return optimised;
}

static void test_full_network(void **state)
{
    m2s_config config;

    (void)state;
    m2s_config_default(&config);
    m2s_graph *literal = build(&config, 352);
    m2s_graph *graph = optimise(literal);
    int blocks = 0;
    for (int i = 0; i < 4; i++) {
        blocks += config.stage[i].blocks;
    }
    assert_int_equal(count_ops(graph, M2S_OP_batch_norm, true), 0);
    assert_int_equal(count_ops(graph, M2S_OP_relu, true), 0);
    assert_int_equal(count_ops(graph, M2S_OP_full_filter, true), 0);
    assert_int_equal(count_ops(graph, M2S_OP_channel_sum, true), 0);
    assert_int_equal(count_ops(graph, M2S_OP_box_filter, true), 0);
    assert_int_equal(count_ops(graph, M2S_OP_abs_diff, true), 0);
    assert_int_equal(count_ops(graph, M2S_OP_concat_c, true), 0);
    assert_int_equal(count_ops(graph, M2S_OP_res2_groups, true), blocks);
    assert_int_equal(count_ops(graph, M2S_OP_multi_scale_subtract, true), 10);
    /* Stem 3, blocks 2 each and a shortcut for each stage, reducers 4 + 1 of which two are joined, units 10, x5_dem_4,
     * levels 3, outputs 4. */
    assert_int_equal(count_ops(graph, M2S_OP_conv2d, true), 3 + 2 * blocks + 4 + 4 + 10 + 1 + 3 + 4);
    assert_int_equal(count_ops(graph, M2S_OP_slice_c, true), 2);
    /* up-and-add of outputs 4, 3 and 2, and the logits; the finest addition has nothing to resize */
    assert_int_equal(count_ops(graph, M2S_OP_resize, true), 4);
    /* MODELS.md section 6: 16.844 GMAC at 352 x 352, before and after */
    assert_int_equal(m2s_graph_multiply_adds(literal) / 1000000, 16844);
    assert_true(m2s_graph_multiply_adds(graph) == m2s_graph_multiply_adds(literal));
    assert_int_equal(m2s_fit_parameters(literal), 27692585);
    m2s_graph_destroy(graph);
    m2s_graph_destroy(literal);
}

static void test_msnet_has_units_without_filters(void **state)
{
    m2s_config config;

    (void)state;
    m2s_config_default(&config);
    config.scales = 1;
    m2s_graph *literal = build(&config, 64);
    m2s_graph *graph = optimise(literal);
    assert_int_equal(count_ops(graph, M2S_OP_multi_scale_subtract, true), 10);
    assert_int_equal(count_ops(graph, M2S_OP_abs_diff, true), 0);
    assert_int_equal(m2s_fit_parameters(literal), 27692329);
    m2s_graph_destroy(graph);
    m2s_graph_destroy(literal);
}

static void test_outputs_survive(void **state)
{
    static const char *const names[] = { "x5_x4.sum_in", "x4_x3.conv_3.a", "enc3", "x5_dem_5", "resnet.layer1.0" };
    m2s_config config;

    (void)state;
    m2s_config_default(&config);
    m2s_config_set_encoder(&config, "res2net_compact");
    config.pyramid_channels = 32;
    m2s_graph *literal = build(&config, 64);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_not_equal(m2s_graph_find(literal, names[i]), M2S_NONE);
        m2s_graph_mark_output(literal, m2s_graph_find(literal, names[i]));
    }
    m2s_graph *graph = optimise(literal);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        m2s_value value = m2s_graph_find(graph, names[i]);
        assert_int_not_equal(value, M2S_NONE);
        assert_true(graph->values[value].output);
    }
    m2s_graph_destroy(graph);
    m2s_graph_destroy(literal);
}

/* One value of a graph as backend ref computes it in float64, with the passes or without. */
static double *run_graph(m2snet_context *context, const m2s_graph *graph, const m2s_store *store, const char *name,
                         int64_t *count)
{
    m2s_pack_cache *packs;
    m2s_program *program;
    m2s_plan_info info;
    m2s_buffer *arena;
    m2snet_error error;

    assert_int_equal(m2s_pack_cache_create(&memory, &packs, NULL), M2SNET_STATUS_OK);
    if (m2s_program_create(context, graph, store, packs, NULL, &program, &error) != M2SNET_STATUS_OK) {
        fail_msg("%s", error.message);
    }
    m2s_program_info(program, &info);
    assert_int_equal(context->backend->buffer_alloc(context->device, info.arena_bytes, &arena, NULL), 0);
    const m2s_graph *compiled = m2s_program_graph(program);
    m2s_shape image = m2s_shape_of(compiled, m2s_graph_find(compiled, "image"));
    void *pixels = network_input(&memory, RECIPE_PARITY, image.n, image.h, image.w, M2SNET_DTYPE_F64);
    assert_int_equal(m2s_program_write(program, "image", pixels, NULL), M2SNET_STATUS_OK);
    assert_int_equal(m2s_program_run(program, arena, false, NULL, NULL), M2SNET_STATUS_OK);
    *count = m2s_shape_elements(m2s_shape_of(compiled, m2s_graph_find(compiled, name)));
    double *numbers = m2s_alloc_array(&memory, (size_t)*count, sizeof *numbers);
    assert_non_null(numbers);
    assert_int_equal(m2s_program_read(program, name, numbers, NULL), M2SNET_STATUS_OK);
    m2s_free(&memory, pixels);
    context->backend->buffer_free(context->device, arena);
    m2s_program_destroy(program);
    m2s_pack_cache_destroy(packs);
    return numbers;
}

static void test_same_numbers(void **state)
{
    static const char *const names[] = { "logits", "enc5", "x5_x4_x3.sum_in", "x4_x3_x2_x1", "x5_dem_5" };
    m2snet_context_options options;
    m2snet_context *context;
    m2s_config config;

    (void)state;
    m2s_config_default(&config);
    m2s_config_set_encoder(&config, "res2net_compact");
    config.pyramid_channels = 32;
    m2s_context_options_default(&options);
    options.backend = "ref";
    options.threads = 2;
    assert_int_equal(m2s_context_create(&options, &context, NULL), M2SNET_STATUS_OK);
    m2s_store *store = network_weights(&memory, &config, RECIPE_PARITY);
    m2s_graph *literal = build(&config, 75);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        m2s_graph_mark_output(literal, m2s_graph_find(literal, names[i]));
    }
    m2s_graph *graph = optimise(literal);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int64_t count, same;
        double *expected = run_graph(context, literal, store, names[i], &count);
        double *actual = run_graph(context, graph, store, names[i], &same);
        double difference = 0.0, norm = 0.0;
        assert_int_equal(count, same);
        for (int64_t k = 0; k < count; k++) {
            difference += (actual[k] - expected[k]) * (actual[k] - expected[k]);
            norm += expected[k] * expected[k];
        }
        /* Folding and the rank-one identity reorder sums of some thousand terms: a few hundred roundings of 1e-16. */
        assert_true(norm > 0.0);
        assert_true(sqrt(difference) <= 1e-12 * sqrt(norm));
        m2s_free(&memory, expected);
        m2s_free(&memory, actual);
    }
    m2s_graph_destroy(graph);
    m2s_graph_destroy(literal);
    m2s_store_destroy(store);
    m2s_context_release(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_network),
        cmocka_unit_test(test_msnet_has_units_without_filters),
        cmocka_unit_test(test_outputs_survive),
        cmocka_unit_test(test_same_numbers),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
