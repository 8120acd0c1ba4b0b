/* SPDX-License-Identifier: Apache-2.0
 * Parameters and multiply-adds of whole networks against counts made elsewhere: layer by layer from the definition of
 * the released networks (all-ones filters and an ImageNet classifier not counted). The paper's table 6 has 27.7 M and
 * 9.0 G, which is 256 x 256. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/network.h"
#include "run/fit.h"

static const struct {
    const char *config;
    uint64_t parameters, at_352, at_256; /* 0 = not known from elsewhere */
} networks[] = {
    { "{}", 27692585, 16844005376, 8909225984 },
    { "{\"scales\": [1]}", 27692329, 16844005376, 8909225984 },
    { "{\"scales\": [1, 3]}", 27692329 + 128, 16844005376, 8909225984 },
    { "{\"scales\": [1, 3, 7]}", 27692329 + 256, 16844005376, 8909225984 },
    { "{\"scales\": [1, 5, 9]}", 27692329 + 256, 16844005376, 8909225984 },
    { "{\"scales\": [1, 3, 5, 7]}", 27692329 + 384, 16844005376, 8909225984 },
    /* A class more is a 3x3 filter of 64 channels and a bias more. */
    { "{\"classes\": [\"a\", \"b\", \"c\"]}", 27692585 + 1154, 16844005376 + 2 * 576 * 88 * 88,
      8909225984 + 2 * 576 * 64 * 64 },
    { "{\"classes\": [\"a\", \"b\", \"c\", \"d\"]}", 27692585 + 1731, 16844005376 + 3 * 576 * 88 * 88,
      8909225984 + 3 * 576 * 64 * 64 },
    /* The pyramid's depth (paper, table 10), of MSNet. */
    { "{\"scales\": [1], \"variant\": {\"depth\": 1, \"include_ms1\": true}}", 27321769, 14417469440, 7625768960 },
    { "{\"scales\": [1], \"variant\": {\"depth\": 2}}", 27469993, 15077629952, 7974944768 },
    { "{\"scales\": [1], \"variant\": {\"depth\": 3}}", 27581161, 15719948288, 8314683392 },
    { "{\"scales\": [1], \"variant\": {\"depth\": 4}}", 27655273, 16290897920, 8616673280 },
    { "{\"scales\": [1], \"variant\": {\"depth\": 5}}", 27729385, 16861847552, 8918663168 },
    /* A reducer of level 1, 64 to 64 channels. */
    { "{\"variant\": {\"reduce_x1\": true}}", 27692585 + 37056, 16844005376 + 36864 * 88 * 88,
      8909225984 + 36864 * 64 * 64 },
    { "{\"variant\": {\"unit\": \"aspp\"}}", 29256489, 25959374848, 13730578432 },
    { "{\"variant\": {\"unit\": \"dense\"}}", 29671209, 28358156288, 14999355392 },
    { "{\"variant\": {\"unit\": \"dense_shared\"}}", 29580329, 38912794624, 20581974016 },
    { "{\"variant\": {\"recipe\": \"paper\"}}", 26586601, 16723570688, 8845524992 },
    { "{\"variant\": {\"recipe\": \"paper\", \"msu_bn\": \"shared\", \"filter1\": \"identity\"}}", 26586601 + 256,
      16723570688, 8845524992 },
    { "{\"scales\": [1], \"variant\": {\"unit\": \"addition\"}}", 27692329, 16844005376, 8909225984 },
    { "{\"scales\": [1], \"variant\": {\"levels\": 4}}", 26253097, 14702944256, 7776763904 },
    { "{\"encoder\": \"convnext_base\"}", 89965825, 43092943872, 22792962048 },
    { "{\"encoder\": \"res2net101_v1b_26w_4s\"}", 47200153, 26256837376, 13887913984 },
    { "{\"encoder\": \"pvt_v2_b0\"}", 4502497, 5438456320, 2818637824 },
    { "{\"encoder\": \"pvt_v2_b1\"}", 15049537, 9821746176, 5079171072 },
    { "{\"encoder\": \"pvt_v2_b2\"}", 26403393, 14799837184, 7611351040 },
    { "{\"encoder\": \"pvt_v2_b3\"}", 46279233, 22156017664, 11390156800 },
    { "{\"encoder\": \"pvt_v2_b4\"}", 63596609, 30410935808, 15612575744 },
    { "{\"encoder\": \"pvt_v2_b5\"}", 82996545, 34620388352, 17747542016 },
    { "{\"encoder\": \"res2net_compact\", \"pyramid_channels\": 32}", 4477955, 0, 0 }, /* the demo model's card */
};

static m2s_graph *build(m2s_memory *memory, const char *json, int64_t side)
{
    m2s_config config;
    m2s_graph *graph;
    m2snet_error error;

    m2s_memory_init(memory, NULL, 0);
    m2s_config_default(&config);
    assert_int_equal(m2s_config_parse(&config, json, strlen(json), NULL, NULL, &error), M2SNET_STATUS_OK);
    assert_int_equal(m2s_net_build(memory, &config, 1, side, side, M2SNET_DTYPE_F32, &graph, &error), M2SNET_STATUS_OK);
    return graph;
}

static void count(const char *json, int64_t side, uint64_t *parameters, uint64_t *multiply_adds)
{
    m2s_memory memory;
    m2s_graph *graph = build(&memory, json, side);

    *parameters = m2s_fit_parameters(graph);
    *multiply_adds = m2s_graph_multiply_adds(graph);
    m2s_graph_destroy(graph);
}

static void counts_are_those_of_the_definition(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++) {
        uint64_t parameters, at_352, at_256;
        print_message("%s\n", networks[i].config);
        count(networks[i].config, 352, &parameters, &at_352);
        assert_int_equal(parameters, networks[i].parameters);
        count(networks[i].config, 256, &parameters, &at_256);
        assert_int_equal(parameters, networks[i].parameters);
        if (networks[i].at_352 != 0) {
            assert_int_equal(at_352, networks[i].at_352);
            assert_int_equal(at_256, networks[i].at_256);
        }
    }
}

/* What the all-ones filters would cost as the convolutions that they are defined as. */
static uint64_t literal_filters(const m2s_graph *graph)
{
    uint64_t sum = 0;

    for (int32_t i = 0; i < graph->node_count; i++) {
        const m2s_node *node = &graph->nodes[i];
        if (node->op == M2S_OP_full_filter) {
            m2s_shape shape = m2s_shape_of(graph, node->in[0]);
            sum += (uint64_t)(m2s_shape_elements(shape) * shape.c * node->attrs.kernel * node->attrs.kernel);
        }
    }
    return sum;
}

static void filters_as_convolutions(void **state)
{
    static const struct {
        const char *config;
        uint64_t at_352, at_256;
    } cases[] = {
        { "{}", 33155719168, 17536909312 },
        { "{\"scales\": [1, 3]}", 21161811968, 11193024512 },
        { "{\"scales\": [1, 3, 7]}", 44669870080, 23627038720 },
        { "{\"scales\": [1, 5, 9]}", 67698171904, 35807297536 },
        { "{\"scales\": [1, 3, 5, 7]}", 56663777280, 29970923520 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int k = 0; k < 2; k++) {
            m2s_memory memory;
            m2s_graph *graph = build(&memory, cases[i].config, k == 0 ? 352 : 256);
            assert_int_equal(m2s_graph_multiply_adds(graph) + literal_filters(graph),
                             k == 0 ? cases[i].at_352 : cases[i].at_256);
            m2s_graph_destroy(graph);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(counts_are_those_of_the_definition),
                                        cmocka_unit_test(filters_as_convolutions) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
