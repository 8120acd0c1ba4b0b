/* SPDX-License-Identifier: Apache-2.0
 * Variants of the pyramid: JSON and back, what is refused, what each one builds, and that a network's own keys tell it
 * again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/config.h"
#include "net/encoder.h"
#include "net/network.h"

#define TINY                                                                                                           \
    "\"encoder_shape\":{\"stem\":[4,4,8],\"blocks\":[1,1,1,1],\"width\":[3,4,4,4],\"channels\":[12,16,16,20]},"        \
    "\"pyramid_channels\":8"

static m2snet_status parse(m2s_config *config, const char *variant, m2snet_error *error)
{
    char json[512];

    snprintf(json, sizeof json, "{" TINY ",\"variant\":%s}", variant);
    m2s_config_default(config);
    return m2s_config_parse(config, json, strlen(json), NULL, NULL, error);
}

static m2s_config parsed(const char *variant)
{
    m2s_config config;
    m2snet_error error;

    if (parse(&config, variant, &error) != M2SNET_STATUS_OK) {
        fail_msg("%s: %s", variant, error.message);
    }
    return config;
}

static m2s_graph *build(m2s_memory *memory, const m2s_config *config)
{
    m2s_graph *graph;
    m2snet_error error;

    if (m2s_net_build(memory, config, 1, 64, 96, M2SNET_DTYPE_F32, &graph, &error) != M2SNET_STATUS_OK) {
        fail_msg("%s", error.message);
    }
    return graph;
}

static bool has(const m2s_graph *graph, const char *module)
{
    char key[64];

    snprintf(key, sizeof key, "%s.0.weight", module);
    return m2s_graph_find(graph, key) != M2S_NONE;
}

/* What is in the network and what is not, by modules. */
static const struct {
    const char *variant, *with, *without;
} structures[] = {
    { "{}", "x5_dem_1 x2_dem_1 x5_dem_4 x5_dem_5 x5_x4_x3_x2_x1 level3 output4", "x1_dem_1 level4" },
    { "{\"reduce_x1\":true}", "x1_dem_1 x5_dem_4", "level4" },
    { "{\"ce4_conv\":true}", "level4", "x1_dem_1" },
    { "{\"dem4\":false}", "x5_x4_x3_x2_x1 x5_dem_5", "x5_dem_4" },
    { "{\"ce5\":\"shared\"}", "x5_dem_1 x5_dem_5", "x1_dem_1" },
    { "{\"ce5\":\"reducer\"}", "x5_dem_1 x5_dem_4", "x5_dem_5" },
    { "{\"depth\":1}", "x5_dem_1 x5_dem_5 level4 level1", "x5_x4 x2_x1 x5_dem_4" },
    { "{\"depth\":2}", "x5_x4 x2_x1 level4", "x5_x4_x3 x3_x2_x1 x5_dem_4" },
    { "{\"depth\":2,\"include_ms1\":false,\"ce4_conv\":false}", "x5_x4 x2_x1 level3", "level4 x3_x2_x1" },
    { "{\"depth\":4}", "x4_x3_x2_x1 level4", "x5_x4_x3_x2_x1 x5_dem_4" },
    { "{\"levels\":4}", "x1_dem_1 x4_dem_1 x4_x3 x4_x3_x2_x1 level2 level1 output3 output2",
      "x5_dem_1 x4_dem_4 x4_dem_5 level3 output4 x5_x4" },
    { "{\"levels\":4,\"dem4\":true,\"ce5\":\"own\",\"depth\":4}", "x4_dem_4 x4_dem_5 level3", "x5_dem_5" },
    { "{\"recipe\":\"paper\"}", "x1_dem_1 level4 x5_dem_5", "x5_dem_4" },
    { "{\"recipe\":\"paper\",\"dem4\":true,\"msu_bn\":\"shared\"}", "x1_dem_1 x5_dem_4", "level5" },
    { "{\"recipe\":\"released\"}", "x5_dem_4", "x1_dem_1 level4" },
    { "{\"unit\":\"addition\"}", "x5_x4", "x5_x4_a.b.0" },
    { "{\"unit\":\"aspp\"}", "x5_x4_a.b.0 x5_x4_b.b.2 x2_x1_a.b.1", "x5_x4_a.r.0 x5_x4_ab.b.0" },
    { "{\"unit\":\"dense\"}", "x5_x4_a.b.0 x5_x4_b.r.1", "x5_x4_ab.b.0" },
    { "{\"unit\":\"dense_shared\",\"depth\":2}", "x5_x4_ab.b.2", "x5_x4_a.b.0 x5_x4_ab.r.0" },
    { "{\"msu_filter\":\"depthwise\",\"msu_bn\":\"per_unit\",\"filter1\":\"ones\"}", "x5_x4", "level4" },
    { "{\"filter1\":\"ones\"}", "x5_x4", "level4" },
    { "{\"levels\":4,\"depth\":3,\"ce4_conv\":false}", "x4_x3_x2", "x4_x3_x2_x1 level3" },
};

#define STRUCTURE_COUNT (sizeof structures / sizeof structures[0])

static void check_modules(const m2s_graph *graph, const char *modules, bool expected)
{
    char list[256], *rest = NULL;

    snprintf(list, sizeof list, "%s", modules);
    for (char *module = strtok_r(list, " ", &rest); module != NULL; module = strtok_r(NULL, " ", &rest)) {
        if (has(graph, module) != expected) {
            fail_msg("%s is %s", module, expected ? "missing" : "there");
        }
    }
}

static void test_structures(void **state)
{
    m2s_memory memory;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    for (size_t i = 0; i < STRUCTURE_COUNT; i++) {
        print_message("%s\n", structures[i].variant);
        m2s_config config = parsed(structures[i].variant);
        m2s_graph *graph = build(&memory, &config);
        check_modules(graph, structures[i].with, true);
        check_modules(graph, structures[i].without, false);
        m2s_shape logits = m2s_shape_of(graph, m2s_graph_find(graph, "logits"));
        assert_true(logits.h == 64 && logits.w == 96 && logits.c == 1);
        m2s_graph_destroy(graph);
    }
    assert_int_equal(memory.used_bytes, 0);
}

static void test_round_trip(void **state)
{
    m2s_memory memory;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    for (size_t i = 0; i < STRUCTURE_COUNT; i++) {
        m2s_config config = parsed(structures[i].variant), again;
        char *text = m2s_config_dump(&config, &memory);
        assert_non_null(text);
        m2s_config_default(&again);
        assert_int_equal(m2s_config_parse(&again, text, strlen(text), NULL, NULL, NULL), M2SNET_STATUS_OK);
        assert_memory_equal(&config, &again, sizeof config);
        m2s_free(&memory, text);
    }
}

typedef struct keys {
    const m2s_graph *graph;
    int64_t dims[4];
} keys;

static const int64_t *lookup(void *user, const char *key, int32_t *rank)
{
    keys *k = user;
    m2s_value value = m2s_graph_find(k->graph, key);

    if (value == M2S_NONE || k->graph->values[value].kind != M2S_VALUE_PARAM) {
        return NULL;
    }
    const m2s_shape shape = m2s_shape_of(k->graph, value);
    memcpy(k->dims, shape.d, sizeof k->dims);
    *rank = shape.i > 1 ? 4 : 1;
    return k->dims;
}

/* Everything but what leaves no trace is read off the keys of the network that the variant makes. */
static void test_recognition(void **state)
{
    m2s_memory memory;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    for (size_t i = 0; i < STRUCTURE_COUNT; i++) {
        print_message("%s\n", structures[i].variant);
        m2s_config config = parsed(structures[i].variant), found;
        m2s_graph *graph = build(&memory, &config);
        m2s_config_default(&found);
        keys k = { .graph = graph };
        assert_true(m2s_config_recognise(&found, lookup, &k, false, false));
        const m2s_variant *want = &config.variant, *got = &found.variant;
        assert_int_equal(got->levels, want->levels);
        assert_int_equal(m2s_variant_orders(got), m2s_variant_orders(want));
        assert_int_equal(got->reduce_x1, want->reduce_x1);
        assert_int_equal(got->ce4_conv, want->ce4_conv);
        assert_int_equal(got->ce5, want->ce5);
        if (want->msu_bn != M2S_NORM_NONE) { /* which leaves no trace */
            assert_int_equal(got->msu_bn, want->msu_bn);
            assert_int_equal(got->filter1, want->filter1);
        }
        assert_true(got->unit == want->unit || want->unit == M2S_UNIT_ADDITION);
        if (want->msu_bn != M2S_NORM_NONE && m2s_variant_orders(want) > 1) {
            assert_int_equal(found.scales, 3);
        }
        if (m2s_variant_orders(want) == want->levels) {
            assert_int_equal(got->dem4, want->dem4);
        }
        assert_int_equal(found.pyramid_channels, 8);
        m2s_graph_destroy(graph);

        /* What was said stays. */
        found = parsed("{\"levels\":5,\"depth\":5,\"recipe\":\"released\",\"unit\":\"subtraction\"}");
        const m2s_variant said = found.variant;
        graph = build(&memory, &config);
        k.graph = graph;
        assert_true(m2s_config_recognise(&found, lookup, &k, false, false));
        assert_memory_equal(&found.variant, &said, sizeof said);
        m2s_graph_destroy(graph);
    }
    assert_int_equal(memory.used_bytes, 0);
}

/* Keys beside "variant" that it must go with. */
static void test_beside(void **state)
{
    static const struct {
        const char *json;
        bool fine;
    } cases[] = {
        { "{\"gaussian\":true,\"variant\":{\"sigma\":1.5}}", true },
        { "{\"scales\":[1,3],\"variant\":{\"unit\":\"aspp\"}}", false },
        { "{\"architecture\":\"msnet\",\"variant\":{\"unit\":\"aspp\"}}", false },
        { "{\"scales\":[1,3,5],\"variant\":{\"unit\":\"aspp\"}}", true },
        { "{\"gaussian\":true,\"variant\":{\"unit\":\"dense\"}}", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        m2s_config config, again;
        m2s_memory memory;
        m2s_config_default(&config);
        m2snet_status status = m2s_config_parse(&config, cases[i].json, strlen(cases[i].json), NULL, NULL, NULL);
        assert_int_equal(status, cases[i].fine ? M2SNET_STATUS_OK : M2SNET_STATUS_FORMAT);
        m2s_memory_init(&memory, NULL, 0);
        char *text = m2s_config_dump(&config, &memory);
        assert_non_null(text);
        m2s_config_default(&again);
        assert_int_equal(m2s_config_parse(&again, text, strlen(text), NULL, NULL, NULL), M2SNET_STATUS_OK);
        assert_memory_equal(&config, &again, sizeof config);
        m2s_free(&memory, text);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        const char *variant, *part;
        m2snet_status status;
    } cases[] = {
        { "{\"recipe\":\"mine\"}", "recipe", M2SNET_STATUS_FORMAT },
        { "{\"unit\":\"product\"}", "unit", M2SNET_STATUS_FORMAT },
        { "{\"unit\":\"aspp\",\"msu_bn\":\"none\"}", "thus no msu_bn", M2SNET_STATUS_FORMAT },
        { "{\"unit\":\"dense\",\"filter1\":\"identity\"}", "thus no filter1", M2SNET_STATUS_FORMAT },
        { "{\"sigma\":1}", "sigma", M2SNET_STATUS_FORMAT },
        { "{\"sigma\":0}", "sigma", M2SNET_STATUS_FORMAT },
        { "{\"msu_bn\":true}", "msu_bn", M2SNET_STATUS_FORMAT },
        { "5", "variant", M2SNET_STATUS_FORMAT },
        { "{\"dept\":3}", "\"dept\" is not known", M2SNET_STATUS_UNSUPPORTED },
        { "{\"levels\":3}", "levels", M2SNET_STATUS_FORMAT },
        { "{\"levels\":6}", "levels", M2SNET_STATUS_FORMAT },
        { "{\"depth\":0}", "depth", M2SNET_STATUS_FORMAT },
        { "{\"depth\":6}", "depth", M2SNET_STATUS_FORMAT },
        { "{\"depth\":1,\"include_ms1\":false}", "include_ms1", M2SNET_STATUS_FORMAT },
        { "{\"reduce_x1\":1}", "reduce_x1", M2SNET_STATUS_FORMAT },
        { "{\"ce5\":\"mine\"}", "ce5", M2SNET_STATUS_FORMAT },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        m2s_config config;
        m2snet_error error = { 0 };
        m2snet_status status = parse(&config, cases[i].variant, &error);
        if (status != cases[i].status || strstr(error.message, cases[i].part) == NULL) {
            fail_msg("%s: %s: %s", cases[i].variant, m2snet_status_string(status), error.message);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structures), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_recognition),
        cmocka_unit_test(test_beside),     cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
