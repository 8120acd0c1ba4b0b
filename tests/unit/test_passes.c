/* SPDX-License-Identifier: Apache-2.0
 * The inference passes: what they leave of a network, and that it computes the same, in float64 on the reference. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/faults.h"
#include "common/network_fixture.h"
#include "graph/pass.h"
#include "net/network.h"
#include "run/pack_cache.h"
#include "run/program.h"

static void expect_ok(m2snet_status status, const m2snet_error *error)
{
    if (status != M2SNET_STATUS_OK) {
        fail_msg("%s: %s", m2snet_status_string(status), error->message);
    }
}

static m2s_config compact(void)
{
    m2s_config config;

    m2s_config_default(&config);
    assert_true(m2s_config_set_encoder(&config, "res2net_compact"));
    config.pyramid_channels = 32;
    return config;
}

static m2s_graph *build(m2s_memory *memory, const m2s_config *config, int64_t n, int64_t h, int64_t w,
                        m2snet_dtype dtype)
{
    m2s_graph *graph;
    m2snet_error error;

    expect_ok(m2s_net_build(memory, config, n, h, w, dtype, &graph, &error), &error);
    return graph;
}

/* ---- structure ---- */

typedef struct tally {
    int32_t of[M2S_OP_COUNT];
    int32_t relu; /* attrs.relu set */
} tally;

static tally count(const m2s_graph *graph)
{
    tally t = { 0 };

    for (int32_t i = 0; i < graph->node_count; i++) {
        t.of[graph->nodes[i].op]++;
        t.relu += graph->nodes[i].attrs.relu != 0;
    }
    return t;
}

/* Nodes stand in the order in which they can run, values know their nodes, and nothing is there that nobody needs. */
static void assert_well_formed(const m2s_graph *graph)
{
    int32_t *uses = calloc((size_t)graph->value_count + 1, sizeof *uses);

    assert_non_null(uses);
    for (int32_t i = 0; i < graph->node_count; i++) {
        const m2s_node *node = &graph->nodes[i];
        for (int32_t k = 0; k < node->in_count; k++) {
            if (node->in[k] != M2S_NONE) {
                const m2s_value_info *in = &graph->values[node->in[k]];
                assert_true(in->kind != M2S_VALUE_NODE || in->node < i);
                uses[node->in[k]]++;
            }
        }
        for (int32_t k = 0; k < node->out_count; k++) {
            assert_int_equal(graph->values[node->out[k]].node, i);
        }
    }
    for (m2s_value v = 0; v < graph->value_count; v++) {
        assert_true(uses[v] > 0 || graph->values[v].output);
    }
    free(uses);
}

static void check_structure(const m2s_config *config, int32_t blocks, bool joined)
{
    m2s_memory memory;
    m2s_graph *graph, *rewritten;
    m2snet_error error;

    m2s_memory_init(&memory, NULL, 0);
    graph = build(&memory, config, 1, 96, 64, M2SNET_DTYPE_F32);
    uint64_t hash = m2s_graph_hash(graph);
    tally before = count(graph);
    assert_int_equal(before.of[M2S_OP_full_filter], 20 * (config->scales - 1));
    assert_int_equal(before.of[M2S_OP_abs_diff], 10 * config->scales);
    expect_ok(m2s_pass_inference(graph, &rewritten, &error), &error);
    assert_true(m2s_graph_hash(graph) == hash); /* the source is read only */

    assert_well_formed(rewritten);
    tally after = count(rewritten);
    static const m2s_op gone[] = { M2S_OP_batch_norm,  M2S_OP_relu,       M2S_OP_full_filter,       M2S_OP_abs_diff,
                                   M2S_OP_channel_sum, M2S_OP_box_filter, M2S_OP_plane_affine_relu, M2S_OP_concat_c };
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++) {
        if (after.of[gone[i]] != 0) {
            fail_msg("%d nodes of %s are left", (int)after.of[gone[i]], m2s_op_get_info(gone[i])->name);
        }
    }
    assert_int_equal(after.of[M2S_OP_res2_groups], blocks);
    assert_int_equal(after.of[M2S_OP_multi_scale_subtract], 10);
    assert_int_equal(after.of[M2S_OP_slice_c], joined ? 2 : 0);
    assert_int_equal(after.of[M2S_OP_concat_o], joined ? 2 : 0);
    assert_int_equal(after.of[M2S_OP_max_pool], 1);
    /* Three convolutions of each block went into its groups. */
    assert_int_equal(after.of[M2S_OP_conv2d], before.of[M2S_OP_conv2d] - 3 * blocks - (joined ? 1 : 0));
    m2s_value logits = m2s_graph_find(rewritten, "logits"), image = m2s_graph_find(rewritten, "image");
    assert_true(logits != M2S_NONE && rewritten->values[logits].output);
    assert_true(image != M2S_NONE && rewritten->values[image].kind == M2S_VALUE_INPUT);
    assert_int_equal(m2s_graph_multiply_adds(rewritten), m2s_graph_multiply_adds(graph));
    /* A second time there is nothing left to do. */
    m2s_graph *twice;
    expect_ok(m2s_pass_inference(rewritten, &twice, &error), &error);
    assert_int_equal(twice->node_count, rewritten->node_count);
    m2s_graph_destroy(twice);
    m2s_graph_destroy(graph);
    m2s_graph_destroy(rewritten);
    assert_int_equal(memory.used_bytes, 0);
}

/* A transformer's sums go into the convolutions in front of them. */
static void test_sums(void **state)
{
    static const char text[] =
        "{\"encoder\":\"pvt_v2\",\"encoder_shape\":{\"blocks\":[2,1,2,1],\"channels\":[8,12,20,16],"
        "\"widening\":[2,3,2,1]},\"pyramid_channels\":8}";
    m2s_memory memory;
    m2s_config config;
    m2s_graph *graph, *rewritten;
    int32_t residuals = 0;
    m2snet_error error;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    m2s_config_default(&config);
    expect_ok(m2s_config_parse(&config, text, sizeof text - 1, NULL, NULL, &error), &error);
    graph = build(&memory, &config, 1, 64, 64, M2SNET_DTYPE_F32);
    expect_ok(m2s_pass_inference(graph, &rewritten, &error), &error);
    assert_well_formed(rewritten);
    for (int32_t i = 0; i < rewritten->node_count; i++) {
        residuals += rewritten->nodes[i].op == M2S_OP_conv2d && rewritten->nodes[i].in[3] != M2S_NONE;
    }
    assert_int_equal(residuals, 2 * 6); /* two branches in each of six blocks */
    assert_int_equal(m2s_graph_multiply_adds(rewritten), m2s_graph_multiply_adds(graph));
    m2s_graph_destroy(graph);
    m2s_graph_destroy(rewritten);
    assert_int_equal(memory.used_bytes, 0);
}

static void test_structure(void **state)
{
    m2s_config config;

    (void)state;
    m2s_config_default(&config);
    check_structure(&config, 16, true);
    config.scales = 1; /* MSNet */
    check_structure(&config, 16, true);
    config = compact();
    check_structure(&config, 8, true);
    config.gaussian = true;
    check_structure(&config, 8, true);
    config = compact();
    config.stage[3].channels = 511; /* too shallow to gain by joining */
    check_structure(&config, 8, false);
    config.stage[3].channels = 512;
    check_structure(&config, 8, true);
}

/* Outputs in the middle of what would be fused stay where they are, under their names. */
static void test_outputs_are_kept(void **state)
{
    static const char *const names[] = { "enc3", "x5_x4.conv_3.a", "x3_x2.sum_in", "x5_dem_1", "level2" };
    m2s_config config = compact();
    m2s_memory memory;
    m2s_graph *rewritten;
    m2snet_error error;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    m2s_graph *graph = build(&memory, &config, 1, 64, 64, M2SNET_DTYPE_F32);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        m2s_value value = m2s_graph_find(graph, names[i]);
        assert_int_not_equal(value, M2S_NONE);
        m2s_graph_mark_output(graph, value);
    }
    expect_ok(m2s_pass_inference(graph, &rewritten, &error), &error);
    assert_well_formed(rewritten);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        m2s_value value = m2s_graph_find(rewritten, names[i]);
        assert_true(value != M2S_NONE && rewritten->values[value].output);
        m2s_shape was = m2s_shape_of(graph, m2s_graph_find(graph, names[i])), is = m2s_shape_of(rewritten, value);
        assert_memory_equal(&was, &is, sizeof is);
    }
    m2s_graph_destroy(graph);
    m2s_graph_destroy(rewritten);
    assert_int_equal(memory.used_bytes, 0);
}

/* ---- numbers ---- */

/* Runs a graph as it is on the reference in float64 and gives the named values. */
static void run(m2snet_context *context, const m2s_graph *graph, const m2s_store *store, const void *image,
                const char *const *names, int32_t name_count, double **numbers)
{
    m2s_pack_cache *packs;
    m2s_program *program;
    m2s_plan_info info;
    m2s_buffer *arena;
    m2snet_error error;

    expect_ok(m2s_pack_cache_create(&context->memory, &packs, &error), &error);
    expect_ok(m2s_program_create(context, graph, M2SNET_PRECISION_F32, store, packs, NULL, &program, &error), &error);
    m2s_program_info(program, &info);
    expect_ok(context->backend->buffer_alloc(context->device, info.arena_bytes, &arena, &error), &error);
    expect_ok(m2s_program_write(program, "image", image, &error), &error);
    expect_ok(m2s_program_run(program, arena, false, NULL, &error), &error);
    for (int32_t i = 0; i < name_count; i++) {
        m2s_shape shape = m2s_shape_of(graph, m2s_graph_find(graph, names[i]));
        numbers[i] = malloc((size_t)m2s_shape_elements(shape) * sizeof(double));
        assert_non_null(numbers[i]);
        expect_ok(m2s_program_read(program, names[i], numbers[i], &error), &error);
    }
    context->backend->buffer_free(context->device, arena);
    m2s_program_destroy(program);
    m2s_pack_cache_destroy(packs);
}

static void compare(const m2s_config *config, int64_t n, int64_t h, int64_t w, const char *const *names,
                    int32_t name_count)
{
    m2snet_context_options options;
    m2snet_context *context;
    m2s_graph *rewritten;
    double *literal[32], *fused[32];
    m2snet_error error;

    m2s_context_options_default(&options);
    options.backend = "ref";
    options.threads = 2;
    expect_ok(m2s_context_create(&options, &context, &error), &error);
    m2s_graph *graph = build(&context->memory, config, n, h, w, M2SNET_DTYPE_F64);
    for (int32_t i = 0; i < name_count; i++) {
        m2s_value value = m2s_graph_find(graph, names[i]);
        if (value == M2S_NONE) {
            fail_msg("the graph has no value \"%s\"", names[i]);
        }
        m2s_graph_mark_output(graph, value);
    }
    m2s_store *store = network_weights(&context->memory, config, RECIPE_PARITY);
    void *image = network_input(&context->memory, RECIPE_PARITY, n, h, w, M2SNET_DTYPE_F64);
    expect_ok(m2s_pass_inference(graph, &rewritten, &error), &error);
    run(context, graph, store, image, names, name_count, literal);
    run(context, rewritten, store, image, names, name_count, fused);
    for (int32_t i = 0; i < name_count; i++) {
        int64_t elements = m2s_shape_elements(m2s_shape_of(graph, m2s_graph_find(graph, names[i])));
        double scale = 0.0, worst = 0.0;
        for (int64_t k = 0; k < elements; k++) {
            double difference = fabs(literal[i][k] - fused[i][k]);
            scale = fabs(literal[i][k]) > scale ? fabs(literal[i][k]) : scale;
            worst = !(difference <= worst) ? difference : worst;
        }
        /* Rounding of float64 through 100 layers; a wrong rewrite is off by more than 1e-3. */
        if (!(worst <= 1e-12 * scale) || scale == 0.0) {
            fail_msg("%s: differs by %g of %g", names[i], worst, scale);
        }
        free(literal[i]);
        free(fused[i]);
    }
    m2s_free(&context->memory, image);
    m2s_store_destroy(store);
    m2s_graph_destroy(graph);
    m2s_graph_destroy(rewritten);
    m2s_context_release(context);
}

static void test_numbers(void **state)
{
    static const char *const logits[] = { "logits" };
    static const char *const all[] = { "enc1",     "enc2",        "enc3",        "enc4",     "enc5",
                                       "x5_dem_1", "x4_dem_1",    "x3_dem_1",    "x2_dem_1", "x5_x4",
                                       "x4_x3",    "x3_x2",       "x2_x1",       "x5_x4_x3", "x4_x3_x2",
                                       "x3_x2_x1", "x5_x4_x3_x2", "x4_x3_x2_x1", "x5_dem_4", "x5_x4_x3_x2_x1",
                                       "level3",   "level2",      "level1",      "x5_dem_5", "output4",
                                       "output3",  "output2",     "output1",     "logits" };
    m2s_config config = compact();

    (void)state;
    compare(&config, 1, 64, 64, logits, 1); /* fused as far as it goes */
    compare(&config, 1, 64, 64, all, (int32_t)(sizeof all / sizeof all[0]));
    compare(&config, 2, 39, 53, all, (int32_t)(sizeof all / sizeof all[0]));
    config.scales = 1;
    compare(&config, 1, 40, 40, logits, 1);
    config = compact();
    config.gaussian = true;
    compare(&config, 1, 40, 40, logits, 1);
    config = compact();
    config.scales = 4;
    config.scale[3] = 9;
    compare(&config, 1, 40, 40, logits, 1);
}

/* ---- memory ---- */

static void test_out_of_memory(void **state)
{
    m2s_config config = compact();
    m2s_memory plain;

    (void)state;
    m2s_memory_init(&plain, NULL, 0);
    m2s_graph *graph = build(&plain, &config, 1, 64, 64, M2SNET_DTYPE_F32);
    for (size_t k = 1;; k++) {
        faults f = { .fail_at = k };
        m2snet_allocator allocator = faults_allocator(&f);
        m2s_memory memory;
        m2s_graph *rewritten;
        m2snet_error error = { 0 };
        m2s_memory_init(&memory, &allocator, 0);
        graph->memory = &memory; /* passes allocate where their source did */
        m2snet_status status = m2s_pass_inference(graph, &rewritten, &error);
        graph->memory = &plain;
        if (f.calls < k) {
            assert_int_equal(status, M2SNET_STATUS_OK);
            m2s_graph_destroy(rewritten);
            assert_int_equal(f.live, 0);
            break;
        }
        assert_int_equal(status, M2SNET_STATUS_OUT_OF_MEMORY);
        assert_null(rewritten);
        assert_int_equal(f.live, 0);
    }
    m2s_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structure), cmocka_unit_test(test_sums),          cmocka_unit_test(test_outputs_are_kept),
        cmocka_unit_test(test_numbers),   cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
