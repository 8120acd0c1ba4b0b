/* SPDX-License-Identifier: Apache-2.0
 * The graph's builder: shapes, names, constants, the first error kept, hash, dump, and every allocation failing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/faults.h"
#include "graph/graph.h"
#include "net/network.h"

static m2s_graph *begin(m2s_memory *memory)
{
    m2s_graph *graph;
    m2snet_error error;

    m2s_memory_init(memory, NULL, 0);
    assert_int_equal(m2s_graph_create(memory, M2SNET_DTYPE_F32, &graph, &error), M2SNET_STATUS_OK);
    return graph;
}

static void end(m2s_graph *graph, m2s_memory *memory)
{
    m2s_graph_destroy(graph);
    assert_int_equal(memory->used_bytes, 0);
}

static m2s_shape shape(int64_t a, int64_t b, int64_t c, int64_t d)
{
    return (m2s_shape){ .d = { a, b, c, d } };
}

static void assert_shape(const m2s_graph *graph, m2s_value value, int64_t n, int64_t h, int64_t w, int64_t c)
{
    m2s_shape expected = shape(n, h, w, c), actual;

    assert_int_not_equal(value, M2S_NONE);
    actual = m2s_shape_of(graph, value);
    assert_memory_equal(&actual, &expected, sizeof expected);
}

static void test_shapes(void **state)
{
    m2s_memory memory;
    m2s_graph *g = begin(&memory);

    (void)state;
    m2s_value x = m2s_graph_input(g, "x", shape(2, 17, 20, 8));
    m2s_value w = m2s_graph_param(g, "w", shape(12, 8, 3, 3));
    m2s_value b = m2s_graph_param(g, "b", shape(12, 1, 1, 1));
    m2s_value deep = m2s_graph_param(g, "deep", shape(12, 4, 5, 3));
    assert_shape(g, m2s_conv2d(g, x, w, b, (m2s_conv){ .pad = 1 }), 2, 17, 20, 12);
    assert_shape(g, m2s_conv2d(g, x, w, M2S_NONE, (m2s_conv){ .stride = 2, .pad = 1 }), 2, 9, 10, 12);
    assert_shape(g, m2s_conv2d(g, x, w, b, (m2s_conv){ .dilation = 2 }), 2, 13, 16, 12);
    assert_shape(g, m2s_conv2d(g, x, deep, b, (m2s_conv){ .groups = 2 }), 2, 13, 18, 12);
    assert_shape(g, m2s_max_pool(g, x, 3, 2, 1), 2, 9, 10, 8);
    assert_shape(g, m2s_avg_pool(g, x, 2, 2, 0, false, true), 2, 9, 10, 8); /* ceil_mode keeps the odd row */
    assert_shape(g, m2s_avg_pool(g, x, 2, 2, 0, false, false), 2, 8, 10, 8);
    assert_shape(g, m2s_resize(g, x, 5, 60), 2, 5, 60, 8);
    assert_int_equal(m2s_resize(g, x, 17, 20), x); /* nothing to do */
    assert_shape(g, m2s_slice_c(g, x, 2, 5), 2, 17, 20, 5);
    assert_shape(g, m2s_concat_c(g, (m2s_value[]){ x, x, m2s_slice_c(g, x, 0, 1) }, 3), 2, 17, 20, 17);
    assert_shape(g, m2s_sum(g, (m2s_value[]){ x, x }, 2), 2, 17, 20, 8);
    assert_shape(g, m2s_abs_diff(g, x, m2s_relu(g, x)), 2, 17, 20, 8);
    assert_shape(g, m2s_full_filter(g, x, (m2s_filter_window){ .kernel = 5 }), 2, 17, 20, 8);
    assert_int_equal(m2s_graph_finish(g, NULL), M2SNET_STATUS_OK);
    assert_int_equal(m2s_shape_elements(m2s_shape_of(g, x)), 2 * 17 * 20 * 8);
    end(g, &memory);
}

/* Constants are what depends on parameters alone. */
static void test_constants(void **state)
{
    m2s_memory memory;
    m2s_graph *g = begin(&memory);
    m2s_attrs attrs = { .epsilon = 1e-5 };

    (void)state;
    m2s_value x = m2s_graph_input(g, "x", shape(1, 4, 4, 6));
    m2s_value w = m2s_graph_param(g, "w", shape(6, 6, 1, 1)), v = m2s_graph_param(g, "v", shape(6, 1, 1, 1));
    m2s_value folded = m2s_graph_node(g, M2S_OP_fold_weights, (m2s_value[]){ w, v, v }, 3, &attrs);
    m2s_value y = m2s_conv2d(g, x, folded, v, (m2s_conv){ 0 });
    m2s_value scalar = m2s_graph_scalar(g, "rate");
    assert_true(g->values[w].constant && g->values[folded].constant);
    assert_false(g->values[x].constant || g->values[y].constant || g->values[scalar].constant);
    assert_int_equal(g->values[scalar].dtype, M2SNET_DTYPE_F32);
    assert_int_equal(m2s_graph_param(g, "w", shape(6, 6, 1, 1)), w); /* asked for again: the same */
    assert_int_equal(m2s_graph_finish(g, NULL), M2SNET_STATUS_OK);
    end(g, &memory);
}

static void test_names(void **state)
{
    m2s_memory memory;
    m2s_graph *g = begin(&memory);
    char name[8] = "module", label[64];

    (void)state;
    m2s_value x = m2s_graph_input(g, "x", shape(1, 4, 4, 2));
    m2s_value y = m2s_relu(g, x), z = m2s_relu(g, y);
    assert_int_equal(m2s_graph_name(g, y, name), y);
    strcpy(name, "gone"); /* copied */
    m2s_graph_mark_output(g, z);
    assert_int_equal(m2s_graph_find(g, "module"), y);
    assert_int_equal(m2s_graph_find(g, "x"), x);
    assert_int_equal(m2s_graph_find(g, "gone"), M2S_NONE);
    assert_string_equal(m2s_node_label(g, g->values[y].node, label), "module");
    assert_string_equal(m2s_node_label(g, g->values[z].node, label), "relu#1");
    assert_true(g->values[z].output && !g->values[y].output);
    assert_int_equal(m2s_graph_name(g, M2S_NONE, "nobody"), M2S_NONE);
    end(g, &memory);
}

/* ---- errors ---- */

typedef m2s_value (*mistake)(m2s_graph *g, m2s_value x);

static m2s_value wrong_depth(m2s_graph *g, m2s_value x)
{
    return m2s_conv2d(g, x, m2s_graph_param(g, "w", shape(4, 7, 3, 3)), M2S_NONE, (m2s_conv){ .pad = 1 });
}

static m2s_value wrong_bias(m2s_graph *g, m2s_value x)
{
    return m2s_conv2d(g, x, m2s_graph_param(g, "w", shape(4, 8, 1, 1)), m2s_graph_param(g, "b", shape(5, 1, 1, 1)),
                      (m2s_conv){ 0 });
}

static m2s_value window_too_large(m2s_graph *g, m2s_value x)
{
    return m2s_conv2d(g, x, m2s_graph_param(g, "w", shape(4, 8, 9, 9)), M2S_NONE, (m2s_conv){ 0 });
}

static m2s_value wrong_groups(m2s_graph *g, m2s_value x)
{
    return m2s_conv2d(g, x, m2s_graph_param(g, "w", shape(4, 8, 1, 1)), M2S_NONE, (m2s_conv){ .groups = 3 });
}

static m2s_value other_shapes(m2s_graph *g, m2s_value x)
{
    return m2s_abs_diff(g, x, m2s_slice_c(g, x, 0, 4));
}

static m2s_value sum_of_others(m2s_graph *g, m2s_value x)
{
    return m2s_sum(g, (m2s_value[]){ x, m2s_resize(g, x, 3, 3) }, 2);
}

static m2s_value sum_of_one(m2s_graph *g, m2s_value x)
{
    return m2s_sum(g, &x, 1);
}

static m2s_value slice_outside(m2s_graph *g, m2s_value x)
{
    return m2s_slice_c(g, x, 6, 3);
}

static m2s_value slice_of_nothing(m2s_graph *g, m2s_value x)
{
    return m2s_slice_c(g, x, 6, 0);
}

static m2s_value concat_of_others(m2s_graph *g, m2s_value x)
{
    return m2s_concat_c(g, (m2s_value[]){ x, m2s_resize(g, x, 3, 3) }, 2);
}

static m2s_value short_norm(m2s_graph *g, m2s_value x)
{
    m2s_value v = m2s_graph_param(g, "v", shape(7, 1, 1, 1));

    return m2s_batch_norm(g, x, v, v, v, v, 1e-5);
}

static m2s_value even_filter(m2s_graph *g, m2s_value x)
{
    return m2s_full_filter(g, x, (m2s_filter_window){ .kernel = 4 });
}

static m2s_value resize_to_nothing(m2s_graph *g, m2s_value x)
{
    return m2s_resize(g, x, 0, 5);
}

static m2s_value pool_without_step(m2s_graph *g, m2s_value x)
{
    return m2s_max_pool(g, x, 3, 0, 1);
}

static m2s_value two_shapes(m2s_graph *g, m2s_value x)
{
    (void)x;
    m2s_graph_param(g, "w", shape(1, 1, 1, 1));
    return m2s_graph_param(g, "w", shape(2, 1, 1, 1));
}

static m2s_value name_of_an_input(m2s_graph *g, m2s_value x)
{
    (void)x;
    return m2s_graph_param(g, "x", shape(1, 8, 8, 8));
}

static m2s_value empty_input(m2s_graph *g, m2s_value x)
{
    (void)x;
    return m2s_graph_input(g, "y", shape(1, 0, 8, 8));
}

static m2s_value endless_input(m2s_graph *g, m2s_value x)
{
    (void)x;
    return m2s_graph_input(g, "y", shape(INT64_MAX, INT64_MAX, 8, 8));
}

static void test_errors(void **state)
{
    static const struct {
        mistake make;
        const char *part;
    } cases[] = {
        { wrong_depth, "8" },
        { wrong_bias, "conv2d" },
        { window_too_large, "conv2d" },
        { wrong_groups, "conv2d" },
        { other_shapes, "abs_diff" },
        { sum_of_others, "add" },
        { sum_of_one, "add" },
        { slice_outside, "slice_c" },
        { slice_of_nothing, "slice_c" },
        { concat_of_others, "concat_c" },
        { short_norm, "batch_norm" },
        { even_filter, "full_filter" },
        { resize_to_nothing, "resize" },
        { pool_without_step, "max_pool" },
        { two_shapes, "two shapes" },
        { name_of_an_input, "another value" },
        { empty_input, "y:" },
        { endless_input, "y:" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        m2s_memory memory;
        m2s_graph *g = begin(&memory);
        m2snet_error error = { 0 }, later = { 0 };
        m2s_value x = m2s_graph_input(g, "x", shape(1, 8, 8, 8));
        assert_int_equal(cases[i].make(g, x), M2S_NONE);
        m2snet_status status = m2s_graph_finish(g, &error);
        assert_int_not_equal(status, M2SNET_STATUS_OK);
        assert_int_equal(error.status, status);
        if (strstr(error.message, cases[i].part) == NULL) {
            fail_msg("case %zu: %s", i, error.message);
        }
        /* The first error is the one that is told; what follows does nothing. */
        int32_t nodes = g->node_count, values = g->value_count;
        assert_int_equal(m2s_relu(g, x), M2S_NONE);
        assert_int_equal(m2s_conv2d(g, M2S_NONE, M2S_NONE, M2S_NONE, (m2s_conv){ 0 }), M2S_NONE);
        assert_int_equal(m2s_resize(g, M2S_NONE, 3, 3), M2S_NONE);
        assert_int_equal(m2s_graph_input(g, "late", shape(1, 1, 1, 1)), M2S_NONE);
        m2s_graph_mark_output(g, M2S_NONE);
        assert_true(g->node_count == nodes && g->value_count == values);
        assert_int_equal(m2s_graph_finish(g, &later), status);
        assert_string_equal(later.message, error.message);
        end(g, &memory);
    }
}

/* ---- cost, hash, dump ---- */

static void test_cost(void **state)
{
    m2s_memory memory;
    m2s_graph *g = begin(&memory);

    (void)state;
    m2s_value x = m2s_graph_input(g, "x", shape(2, 10, 12, 8));
    m2s_value w = m2s_graph_param(g, "w", shape(6, 8, 3, 3)), half = m2s_graph_param(g, "half", shape(6, 4, 1, 1));
    m2s_conv2d(g, x, w, M2S_NONE, (m2s_conv){ .stride = 2, .pad = 1 });
    m2s_relu(g, x);
    m2s_conv2d(g, x, half, M2S_NONE, (m2s_conv){ .groups = 2 });
    assert_int_equal(m2s_node_multiply_adds(g, &g->nodes[0]), 2 * 5 * 6 * 6 * 8 * 9);
    assert_int_equal(m2s_node_multiply_adds(g, &g->nodes[1]), 0);
    assert_int_equal(m2s_node_multiply_adds(g, &g->nodes[2]), 2 * 10 * 12 * 6 * 4);
    assert_int_equal(m2s_graph_multiply_adds(g), 2 * 5 * 6 * 6 * 8 * 9 + 2 * 10 * 12 * 6 * 4);
    end(g, &memory);
}

static uint64_t hash_of(int64_t side, int32_t stride, const char *parameter, bool output)
{
    m2s_memory memory;
    m2s_graph *g = begin(&memory);

    m2s_value x = m2s_graph_input(g, "x", shape(1, side, side, 4));
    m2s_value y = m2s_conv2d(g, x, m2s_graph_param(g, parameter, shape(4, 4, 3, 3)), M2S_NONE,
                             (m2s_conv){ .stride = stride, .pad = 1 });
    if (output) {
        m2s_graph_mark_output(g, y);
    }
    uint64_t hash = m2s_graph_hash(g);
    end(g, &memory);
    return hash;
}

static void test_hash(void **state)
{
    uint64_t hash = hash_of(8, 1, "w", true);

    (void)state;
    assert_true(hash == hash_of(8, 1, "w", true));
    assert_true(hash != hash_of(9, 1, "w", true));
    assert_true(hash != hash_of(8, 2, "w", true));
    assert_true(hash != hash_of(8, 1, "v", true));
    assert_true(hash != hash_of(8, 1, "w", false));
}

typedef struct lines {
    int count;
    char first[256], last[256];
} lines;

static void take_line(void *user, m2snet_log_level level, const char *message)
{
    lines *l = user;

    assert_int_equal(level, M2SNET_LOG_DEBUG);
    snprintf(l->count == 0 ? l->first : l->last, sizeof l->first, "%s", message);
    l->count++;
}

static void test_dump(void **state)
{
    m2s_memory memory;
    m2s_graph *g = begin(&memory);
    lines l = { 0 };
    m2s_log log = { take_line, &l, M2SNET_LOG_DEBUG };

    (void)state;
    m2s_value x = m2s_graph_input(g, "image", shape(1, 8, 8, 3));
    m2s_value y = m2s_conv2d(g, x, m2s_graph_param(g, "w", shape(5, 3, 3, 3)), M2S_NONE, (m2s_conv){ .pad = 1 });
    m2s_graph_mark_output(g, m2s_graph_name(g, m2s_relu(g, y), "logits"));
    m2s_graph_dump(g, &log, "as drawn");
    assert_int_equal(l.count, 3);
    assert_non_null(strstr(l.first, "graph as drawn: 2 nodes, 4 values, 8640 multiply-adds"));
    assert_non_null(strstr(l.last, "logits = relu("));
    assert_non_null(strstr(l.last, "1x8x8x5"));
    assert_non_null(strstr(l.last, "output"));
    log.level = M2SNET_LOG_INFO;
    m2s_graph_dump(g, &log, "unwanted");
    m2s_graph_dump(g, NULL, "unheard");
    assert_int_equal(l.count, 3);
    end(g, &memory);
}

/* ---- memory ---- */

static void test_out_of_memory(void **state)
{
    m2s_config config;

    (void)state;
    m2s_config_default(&config);
    for (size_t k = 1;; k++) {
        faults f = { .fail_at = k };
        m2snet_allocator allocator = faults_allocator(&f);
        m2s_memory memory;
        m2s_graph *graph;
        m2snet_error error = { 0 };
        m2s_memory_init(&memory, &allocator, 0);
        m2snet_status status = m2s_net_build(&memory, &config, 1, 64, 64, M2SNET_DTYPE_F32, &graph, &error);
        if (f.calls < k) {
            assert_int_equal(status, M2SNET_STATUS_OK);
            assert_true(k > 10);
            m2s_graph_destroy(graph);
            assert_int_equal(f.live, 0);
            break;
        }
        assert_int_equal(status, M2SNET_STATUS_OUT_OF_MEMORY);
        assert_int_equal(error.status, status);
        assert_null(graph);
        assert_int_equal(f.live, 0);
    }
}

/* State: the chain of what replaces it, where updates begin, and what may not read it. */
static void test_state(void **state)
{
    m2s_memory memory;
    m2s_graph *g = begin(&memory);
    m2s_attrs attrs = { .alpha = 0.1, .beta = 1.0 };
    m2snet_error error;
    int32_t first = -1;

    (void)state;
    m2s_value s = m2s_graph_state(g, "mean", shape(4, 1, 1, 1));
    assert_int_equal(m2s_graph_state(g, "mean", shape(4, 1, 1, 1)), s);
    m2s_value x = m2s_graph_input(g, "x", shape(4, 1, 1, 1)), commit = m2s_graph_scalar(g, "commit");
    m2s_value y = m2s_sum(g, (m2s_value[]){ x, s }, 2); /* node 0: reads the state before */
    assert_false(g->values[y].constant);
    assert_int_equal(m2s_graph_first_update(g, &first, &error), M2SNET_STATUS_OK);
    assert_int_equal(first, 1); /* none */

    m2s_value once = m2s_graph_node(g, M2S_OP_running_average, (m2s_value[]){ s, y, commit }, 3, &attrs);
    m2s_value twice = m2s_graph_node(g, M2S_OP_running_average, (m2s_value[]){ once, y, commit }, 3, &attrs);
    m2s_graph_replace(g, once, s);
    m2s_graph_replace(g, twice, once);
    assert_int_equal(m2s_graph_state_root(g, twice), s);
    assert_int_equal(m2s_graph_state_root(g, y), M2S_NONE);
    assert_int_equal(m2s_graph_first_update(g, &first, &error), M2SNET_STATUS_OK);
    assert_int_equal(first, 1);

    m2s_graph_name(g, m2s_relu(g, twice), "newest"); /* may be read, as nothing writes over it */
    assert_int_equal(m2s_graph_first_update(g, &first, &error), M2SNET_STATUS_OK);
    m2s_graph_name(g, m2s_relu(g, once), "late");
    assert_int_equal(m2s_graph_first_update(g, &first, &error), M2SNET_STATUS_INTERNAL);
    assert_non_null(strstr(error.message, "late reads what"));
    end(g, &memory);
}

static void test_state_refusals(void **state)
{
    m2s_memory memory;
    m2snet_error error;
    int32_t first;

    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        static const char *const parts[] = { "state cannot be a result", "state cannot be a result",
                                             "replaces what is no state", "must be of one shape", "reads what" };
        m2s_graph *g = begin(&memory);
        m2s_value s = m2s_graph_state(g, "s", shape(1, 2, 2, 4)), x = m2s_graph_input(g, "x", shape(1, 2, 2, 4));
        m2s_value keep = m2s_graph_scalar(g, "keep");
        m2s_value new_s = m2s_graph_node(g, M2S_OP_accumulate, (m2s_value[]){ s, x, keep, keep }, 4, NULL);
        m2s_graph_replace(g, new_s, kind == 2 ? x : s);
        if (kind < 2) {
            m2s_graph_mark_output(g, kind == 0 ? s : new_s);
        } else if (kind == 3) {
            m2s_graph_replace(g, m2s_slice_c(g, x, 0, 2), s);
        } else if (kind == 4) { /* two that write over the same: the second reads too late */
            m2s_graph_replace(g, m2s_graph_node(g, M2S_OP_accumulate, (m2s_value[]){ s, x, keep, keep }, 4, NULL), s);
        }
        m2snet_status status = m2s_graph_finish(g, &error);
        status = status != M2SNET_STATUS_OK ? status : m2s_graph_first_update(g, &first, &error);
        assert_int_not_equal(status, M2SNET_STATUS_OK);
        if (strstr(error.message, parts[kind]) == NULL) {
            fail_msg("%d: \"%s\" says nothing of \"%s\"", kind, error.message, parts[kind]);
        }
        end(g, &memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),         cmocka_unit_test(test_constants), cmocka_unit_test(test_state),
        cmocka_unit_test(test_state_refusals), cmocka_unit_test(test_names),     cmocka_unit_test(test_errors),
        cmocka_unit_test(test_cost),           cmocka_unit_test(test_hash),      cmocka_unit_test(test_dump),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
