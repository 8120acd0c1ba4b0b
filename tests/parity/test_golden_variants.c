/* SPDX-License-Identifier: Apache-2.0
 * Every variant of the pyramid behind a small Res2Net, against PyTorch in float64 (tests/data/golden/make_variants.py):
 * maps, losses and gradients with frozen batch norm and with the batch's statistics, running statistics after a step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/golden_gradients.h"

#define MOST_MAPS 16

/* In front of all: an encoder of some hundred parameters, a pyramid of 8 channels. */
#define SMALL                                                                                                          \
    "\"encoder_shape\": {\"stem\": [4, 4, 8], \"blocks\": [1, 1, 1, 1], \"width\": [3, 4, 4, 4], "                     \
    "\"channels\": [12, 16, 16, 20]}, \"pyramid_channels\": 8"
#define VARIANT(text) "{" SMALL ", \"variant\": {" text "}}"

static const struct variant {
    golden_network network;
    int maps, trained, statistics; /* rows of each kind in the file */
} variants[] = {
    { { "variant_paper", VARIANT("\"recipe\": \"paper\""), 25 }, 11, 25, 0 },
    { { "variant_structure",
        VARIANT("\"reduce_x1\": true, \"include_ms1\": true, \"ce4_conv\": true, \"ce5\": \"shared\", \"dem4\": false"),
        29 },
      11,
      29,
      4 },
    { { "variant_reducer", VARIANT("\"ce5\": \"reducer\", \"dem4\": false"), 26 }, 11, 26, 4 },
    { { "variant_depth1", VARIANT("\"depth\": 1"), 13 }, 1, 13, 0 },
    { { "variant_depth3", VARIANT("\"depth\": 3"), 25 }, 8, 25, 4 },
    { { "variant_levels4", VARIANT("\"levels\": 4"), 20 }, 7, 20, 4 },
    { { "variant_depthwise", VARIANT("\"msu_filter\": \"depthwise\""), 28 }, 11, 28, 4 },
    { { "variant_per_unit", VARIANT("\"msu_bn\": \"per_unit\""), 64 }, 11, 64, 40 },
    { { "variant_bare", VARIANT("\"msu_bn\": \"none\""), 24 }, 11, 24, 0 },
    { { "variant_ones", VARIANT("\"filter1\": \"ones\""), 30 }, 11, 30, 6 },
    { { "variant_sigma", "{" SMALL ", \"gaussian\": true, \"variant\": {\"sigma\": 1.5}}", 28 }, 11, 28, 4 },
    { { "variant_addition", VARIANT("\"unit\": \"addition\""), 28 }, 11, 28, 4 },
    { { "variant_dense_shared", VARIANT("\"unit\": \"dense_shared\""), 54 }, 11, 54, 0 },
};

#define VARIANT_COUNT (sizeof variants / sizeof variants[0])

/* 1e-9: float64 on both sides, only the order of sums differs; times ten in train mode, where batch norm over 32
 * numbers a channel magnifies rounding. float32: ten times what PyTorch loses, or, where a number falls on the other
 * side of a kink, what that was seen to do: least to frozen gradients, more where the batch's statistics carry it on.
 */
static const golden_bound float64_bound = { 1e-9, 0.0, 0.0 }, float64_trained = { 1e-8, 0.0, 0.0 };
static const golden_bound float32_bound = { 0.0, 10.0, 0.0 }, float32_frozen = { 0.0, 10.0, 5e-3 };
/* Statistics are sums of some 10^5 numbers, in another order than PyTorch's. */
static const golden_bound float32_trained = { 0.0, 10.0, 5e-2 }, float32_statistics = { 0.0, 20.0, 0.0 };

/* A map of the file: "eval." and no gradient or loss. */
static const char *map_of(const golden_row *r)
{
    const char *name = r->tag + strlen("eval.");

    return strncmp(r->tag, "eval.", strlen("eval.")) == 0 && strncmp(name, "grad.", 5) != 0 &&
                   strncmp(name, "structure_loss", strlen("structure_loss")) != 0
               ? name
               : NULL;
}

static void compare_maps(const struct variant *v, const char *backend, m2snet_dtype dtype, golden_bound b)
{
    const golden_row *row, *rows[MOST_MAPS];
    const char *names[MOST_MAPS];
    int32_t count = 0;
    double worst = 0.0;
    m2s_config config;
    network_run run;

    golden_read(v->network.name);
    golden_configure(&config, &v->network);
    for (int i = 0; (row = golden_row_at(i)) != NULL; i++) {
        if (map_of(row) != NULL) {
            assert_true(count < MOST_MAPS);
            rows[count] = row;
            names[count++] = map_of(row);
        }
    }
    assert_int_equal(count, v->maps);
    network_run_make(&run, backend, 2, dtype, &config, RECIPE_GOLDEN, 2, 128, 128, names, count);
    for (int32_t i = 0; i < count; i++) {
        int64_t numbers = m2s_shape_elements(run.values[i].shape);
        assert_true(golden_expect(v->network.name, rows[i], run.values[i].numbers, numbers, b, &worst));
    }
    network_run_release(&run);
}

static void test_maps(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        compare_maps(&variants[i], "ref", M2SNET_DTYPE_F64, float64_bound);
        compare_maps(&variants[i], "cpu", M2SNET_DTYPE_F32, float32_bound);
    }
}

static void test_frozen(void **state)
{
    int kinked = 0;

    (void)state;
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        assert_int_equal(golden_compare_frozen(&variants[i].network, "ref", M2SNET_DTYPE_F64, float64_bound), 0);
        kinked += golden_compare_frozen(&variants[i].network, "cpu", M2SNET_DTYPE_F32, float32_frozen) > 0 ? 1 : 0;
    }
    assert_true(kinked <= 3); /* networks of 13 */
}

/* Returns how many gradients show a kink. */
static int compare_trained(const struct variant *v, const char *backend, m2snet_dtype dtype, golden_bound b,
                           golden_bound statistics)
{
    const golden_row *row;
    m2s_config config;
    training_run run;
    int kinked = 0, compared = 0;
    double worst = 0.0;

    golden_read(v->network.name);
    golden_configure(&config, &v->network);
    golden_start(&run, backend, dtype, &config, false, false);
    golden_compare_scalar(v->network.name, &run, "loss", "train.structure_loss.fixed", statistics);
    assert_int_equal(golden_compare(v->network.name, "resnet", &run, "train", b, &kinked), v->trained);
    for (int i = 0; (row = golden_row_at(i)) != NULL; i++) {
        const char *name = row->tag + strlen("after_train.");
        if (strncmp(row->tag, "after_train.", strlen("after_train.")) == 0) {
            int64_t count;
            double *numbers = training_run_state(&run, name, &count);
            assert_true(golden_expect(v->network.name, row, numbers, count, statistics, &worst));
            free(numbers);
            compared++;
        }
    }
    assert_int_equal(compared, v->statistics);
    training_run_release(&run);
    return kinked;
}

static void test_trained(void **state)
{
    int kinked = 0, rows = 0;

    (void)state;
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        const struct variant *v = &variants[i];
        assert_int_equal(compare_trained(v, "ref", M2SNET_DTYPE_F64, float64_trained, float64_bound), 0);
        kinked += compare_trained(v, "cpu", M2SNET_DTYPE_F32, float32_trained, float32_statistics);
        rows += v->trained;
    }
    assert_true(kinked * 4 <= rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_trained),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
