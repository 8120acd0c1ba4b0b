/* SPDX-License-Identifier: Apache-2.0
 * As test_golden_training.c with frozen batch norm, for the networks that are left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/golden_gradients.h"

static const golden_network networks[] = {
    { "m2snet_gauss", "{\"gaussian\": true}", 355 },
    { "m2snet_au", "{\"scales\": [1], \"variant\": {\"unit\": \"addition\"}}", 351 },
    { "m2snet_aspp", "{\"variant\": {\"unit\": \"aspp\"}}", 531 },
    { "m2snet_dense", "{\"variant\": {\"unit\": \"dense\"}}", 651 },
    { "m2snet_pvt_v2_b4", "{\"encoder\": \"pvt_v2_b4\"}", 930 },
};

/* Bounds as in test_golden_training.c. Units of branches have some hundred thousand ReLUs and differences more, so
 * that both networks show a kink: what it does is bounded, not how often it comes. */
static const golden_bound float64_bound = { 1e-9, 0.0, 0.0 };
static const golden_bound float32_bound = { 0.0, 10.0, 5e-3 };

static void test_reference_frozen(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++) {
        assert_int_equal(golden_compare_frozen(&networks[i], "ref", M2SNET_DTYPE_F64, float64_bound), 0);
    }
}

static void test_cpu_frozen(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++) {
        golden_compare_frozen(&networks[i], "cpu", M2SNET_DTYPE_F32, float32_bound);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_frozen),
        cmocka_unit_test(test_cpu_frozen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
