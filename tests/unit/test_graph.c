/* SPDX-License-Identifier: Apache-2.0
 * The graph's builder: shape rules, the first failure, names, constants, hash, dump. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/faults.h"
#include "graph/graph.h"
#include "net/m2snet.h"

static m2s_memory memory;

static int setup(void **state)
{
    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    return 0;
}

static m2s_graph *new_graph(void)
{
    m2s_graph *graph;

    assert_int_equal(m2s_graph_create(&memory, M2SNET_DTYPE_F32, &graph, NULL), M2SNET_STATUS_OK);
    return graph;
}

static m2s_value image(m2s_graph *graph, int64_t h, int64_t w, int64_t c)
{
    return m2s_graph_input(graph, "image", (m2s_shape){ .n = 1, .h = h, .w = w, .c = c });
}

static void test_shapes(void **state)
{
    m2s_graph *g = new_graph();
    m2s_value x = image(g, 353, 75, 8);
    m2s_value w = m2s_graph_param(g, "w", (m2s_shape){ .o = 5, .i = 8, .kh = 3, .kw = 3 });
    m2s_value y = m2s_conv2d(g, x, w, M2S_NONE, (m2s_conv){ .stride = 2, .pad = 1 });

    (void)state;
    assert_int_equal(m2s_shape_of(g, y).h, 177);
    assert_int_equal(m2s_shape_of(g, y).w, 38);
    assert_int_equal(m2s_shape_of(g, y).c, 5);
    assert_int_equal(m2s_graph_multiply_adds(g), 177 * 38 * 5 * 8 * 9);
    m2s_value p = m2s_max_pool(g, y, 3, 2, 1);
    assert_int_equal(m2s_shape_of(g, p).h, 89);
    m2s_value a = m2s_avg_pool(g, p, 2, 2, 0, false, true); /* ceil: a partial window at the end counts */
    assert_int_equal(m2s_shape_of(g, a).h, 45);
    assert_int_equal(m2s_resize(g, a, 45, m2s_shape_of(g, a).w), a); /* nothing to do */
    m2s_value parts[2] = { m2s_slice_c(g, a, 0, 2), m2s_slice_c(g, a, 2, 3) };
    assert_int_equal(m2s_shape_of(g, m2s_concat_c(g, parts, 2)).c, 5);
    assert_int_equal(m2s_graph_finish(g, NULL), M2SNET_STATUS_OK);
    m2s_graph_destroy(g);
    assert_int_equal(memory.used_bytes, 0);
}

static void test_first_failure_stays(void **state)
{
    m2s_graph *g = new_graph();
    m2s_value x = image(g, 8, 8, 52);
    m2s_value w = m2s_graph_param(g, "w", (m2s_shape){ .o = 5, .i = 26, .kh = 3, .kw = 3 });
    m2snet_error error;

    (void)state;
    m2s_value y = m2s_conv2d(g, x, w, M2S_NONE, (m2s_conv){ .pad = 1 });
    assert_int_equal(y, M2S_NONE);
    y = m2s_relu(g, y);
    assert_int_equal(m2s_sum(g, (m2s_value[]){ y, x }, 2), M2S_NONE);
    assert_int_equal(m2s_graph_finish(g, &error), M2SNET_STATUS_MISMATCH);
    assert_string_equal(error.message, "conv2d: 52 input channels, weights expect 26");
    m2s_graph_destroy(g);
}

static void test_refusals(void **state)
{
    m2s_graph *g;

    (void)state;
    g = new_graph();
    m2s_graph_input(g, "empty", (m2s_shape){ .n = 1, .h = 0, .w = 4, .c = 4 });
    assert_int_equal(m2s_graph_finish(g, NULL), M2SNET_STATUS_LIMIT);
    m2s_graph_destroy(g);
    g = new_graph();
    m2s_graph_input(g, "huge", (m2s_shape){ .n = 1 << 20, .h = 1 << 20, .w = 1 << 20, .c = 1 << 20 });
    assert_int_equal(m2s_graph_finish(g, NULL), M2SNET_STATUS_LIMIT);
    m2s_graph_destroy(g);
    g = new_graph();
    m2s_graph_param(g, "w", (m2s_shape){ .d = { 4, 1, 1, 1 } });
    m2s_graph_param(g, "w", (m2s_shape){ .d = { 5, 1, 1, 1 } });
    assert_int_equal(m2s_graph_finish(g, NULL), M2SNET_STATUS_INTERNAL);
    m2s_graph_destroy(g);
    g = new_graph();
    m2s_full_filter(g, image(g, 8, 8, 4), 4, false); /* even */
    assert_int_not_equal(m2s_graph_finish(g, NULL), M2SNET_STATUS_OK);
    m2s_graph_destroy(g);
}

static void test_constants(void **state)
{
    m2s_graph *g = new_graph();
    m2s_shape vector = { .d = { 4, 1, 1, 1 } };
    m2s_value in[] = { m2s_graph_param(g, "gamma", vector), m2s_graph_param(g, "var", vector) };
    m2s_value scale = m2s_graph_node(g, M2S_OP_fold_scale, in, 2, &(m2s_attrs){ .epsilon = 1e-5 });

    (void)state;
    assert_true(g->values[in[0]].constant);
    assert_true(g->values[scale].constant);
    assert_false(g->values[m2s_relu(g, image(g, 2, 2, 4))].constant);
    assert_int_equal(m2s_graph_param(g, "gamma", vector), in[0]);
    m2s_graph_destroy(g);
}

static void count_lines(void *user, m2snet_log_level level, const char *line)
{
    int *lines = user;

    assert_int_equal(level, M2SNET_LOG_DEBUG);
    assert_true(strlen(line) > 0);
    ++*lines;
}

static void test_hash_and_dump(void **state)
{
    m2s_config config;
    m2s_graph *a, *b, *c;
    int lines = 0;
    m2s_log log = { count_lines, &lines, M2SNET_LOG_DEBUG };

    (void)state;
    m2s_config_default(&config);
    assert_int_equal(m2s_net_build(&memory, &config, 1, 64, 64, M2SNET_DTYPE_F32, &a, NULL), 0);
    assert_int_equal(m2s_net_build(&memory, &config, 1, 64, 64, M2SNET_DTYPE_F32, &b, NULL), 0);
    assert_int_equal(m2s_net_build(&memory, &config, 1, 64, 96, M2SNET_DTYPE_F32, &c, NULL), 0);
    assert_true(m2s_graph_hash(a) == m2s_graph_hash(b));
    assert_true(m2s_graph_hash(a) != m2s_graph_hash(c));
    m2s_graph_dump(a, &log, "test");
    assert_int_equal(lines, a->node_count + 1);
    log.level = M2SNET_LOG_INFO;
    m2s_graph_dump(a, &log, "test");
    assert_int_equal(lines, a->node_count + 1);
    m2s_graph_destroy(a);
    m2s_graph_destroy(b);
    m2s_graph_destroy(c);
}

static void test_every_allocation_fails_once(void **state)
{
    m2s_config config;

    (void)state;
    m2s_config_default(&config);
    for (size_t n = 1;; n++) {
        faults f = { .fail_at = n };
        m2snet_allocator allocator = faults_allocator(&f);
        m2s_memory failing;
        m2s_graph *graph;
        m2s_memory_init(&failing, &allocator, 0);
        m2snet_status status = m2s_net_build(&failing, &config, 1, 64, 64, M2SNET_DTYPE_F32, &graph, NULL);
        m2s_graph_destroy(graph);
        assert_int_equal(f.live, 0);
        if (f.calls < n) {
            assert_int_equal(status, M2SNET_STATUS_OK);
            assert_true(n > 5);
            break;
        }
        assert_int_equal(status, M2SNET_STATUS_OUT_OF_MEMORY);
        assert_null(graph);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),        cmocka_unit_test(test_first_failure_stays),
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_constants),
        cmocka_unit_test(test_hash_and_dump), cmocka_unit_test(test_every_allocation_fails_once),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
