/* SPDX-License-Identifier: Apache-2.0
 * Whole networks in F16, BF16 and TF32 against F32 on the same backend: the one that M2SNET_TEST_BACKEND names. Without
 * it the test is skipped: built-in backends have no such precision. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/network_fixture.h"

/* Of the largest logit. 11, 8 and 11 bits of fraction lose that over some hundred layers; a wrong channel loses all. */
static const struct {
    m2snet_precision precision;
    const char *name;
    double bound;
} cases[] = { { M2SNET_PRECISION_F16, "f16", 5e-3 },
              { M2SNET_PRECISION_BF16, "bf16", 3e-2 },
              { M2SNET_PRECISION_TF32, "tf32", 5e-3 } };

static int64_t size = 96;

static void make(network_run *run, m2snet_precision precision, int scales)
{
    static const char *const names[] = { "logits" };
    m2s_config config;

    m2s_config_default(&config);
    config.scales = scales;
    network_precision = precision;
    network_run_make(run, "cpu", 2, M2SNET_DTYPE_F32, &config, RECIPE_PARITY, 1, size, size, names, 1);
    network_precision = M2SNET_PRECISION_F32;
}

static void test_reduced(void **state)
{
    network_run exact, reduced;

    (void)state;
    make(&exact, M2SNET_PRECISION_F32, 3);
    const network_value *truth = &exact.values[0];
    int64_t count = m2s_shape_elements(truth->shape);
    double largest = 0.0;
    for (int64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(truth->numbers[i]));
    }
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        double worst = 0.0;
        make(&reduced, cases[c].precision, 3);
        for (int64_t i = 0; i < count; i++) {
            double d = fabs(reduced.values[0].numbers[i] - truth->numbers[i]);
            worst = d > worst || isnan(d) ? d : worst;
        }
        print_message("%s: a logit off by %.2e of the largest, %.3g\n", cases[c].name, worst / largest, largest);
        if (!(worst <= cases[c].bound * largest)) {
            fail_msg("%s: a logit is off by %.3g, allowed %.3g", cases[c].name, worst, cases[c].bound * largest);
        }
        network_run_release(&reduced);
    }
    network_run_release(&exact);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_reduced) };

    if (getenv("M2SNET_TEST_BACKEND") == NULL) {
        printf("skipped: M2SNET_TEST_BACKEND names no backend\n");
        return 77;
    }
    size = argc > 1 ? atoll(argv[1]) : size;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
