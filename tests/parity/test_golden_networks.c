/* SPDX-License-Identifier: Apache-2.0
 * Whole networks against float64 truth of twelve digits: M2SNet, MSNet, other scales, filters and units. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/network_fixture.h"

#define MAX_ROWS 64

typedef struct row {
    char tag[64];
    int64_t n, c, h, w;
    double sum, sum_sq, deviation;
    int samples;
    int64_t index[8];
    double value[8];
} row;

static int read_rows(const char *network, row *rows)
{
    char path[512], line[4096];
    int count = 0;

    snprintf(path, sizeof path, "%s/golden/%s_eval.tsv", M2S_TEST_DATA, network);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        row *r = &rows[count];
        int used = 0;
        if (sscanf(line, "eval.%63s %ldx%ldx%ldx%ld %lf %lf %lf%n", r->tag, &r->n, &r->c, &r->h, &r->w, &r->sum,
                   &r->sum_sq, &r->deviation, &used) != 8) {
            continue;
        }
        const char *p = line + used;
        for (r->samples = 0; r->samples < 8; r->samples++) {
            int more = 0;
            if (sscanf(p, " %ld:%lf%n", &r->index[r->samples], &r->value[r->samples], &more) != 2) {
                break;
            }
            p += more;
        }
        assert_true(r->samples >= 4);
        assert_true(++count < MAX_ROWS);
    }
    fclose(file);
    return count;
}

static void expect_near(const char *network, const char *tag, const char *what, double actual, double expected,
                        double scale)
{
    /* 1e-9 relative and 1e-12: float64 against float64, where only the order of sums differs. scale: the size of the
     * terms of a sum that cancels. */
    double allowed = 1e-9 * (fabs(expected) + scale) + 1e-12;

    if (!(fabs(actual - expected) <= allowed)) {
        fail_msg("%s %s %s: %.14g, expected %.14g", network, tag, what, actual, expected);
    }
}

static void compare_with_truth(const char *network, const row *r, const network_value *v)
{
    double sum = 0.0, sum_sq = 0.0;
    int64_t count = m2s_shape_elements(v->shape);

    assert_true(v->shape.n == r->n && v->shape.c == r->c && v->shape.h == r->h && v->shape.w == r->w);
    for (int64_t i = 0; i < count; i++) {
        sum += v->numbers[i];
        sum_sq += v->numbers[i] * v->numbers[i];
    }
    expect_near(network, r->tag, "sum", sum, r->sum, sqrt(r->sum_sq * (double)count));
    expect_near(network, r->tag, "sum of squares", sum_sq, r->sum_sq, 0.0);
    for (int i = 0; i < r->samples; i++) {
        expect_near(network, r->tag, "sample", v->numbers[r->index[i]], r->value[i], 0.0);
    }
}

static void check_network(const char *network, const m2s_config *config)
{
    static row rows[MAX_ROWS];
    const char *names[MAX_ROWS];
    network_run truth, run;
    int count = read_rows(network, rows);

    assert_true(count >= 30); /* every level, reducer, unit and output of the file */
    for (int i = 0; i < count; i++) {
        names[i] = rows[i].tag;
    }
    network_run_make(&truth, "ref", 2, M2SNET_DTYPE_F64, config, RECIPE_GOLDEN, 2, 128, 128, names, count);
    for (int i = 0; i < count; i++) {
        compare_with_truth(network, &rows[i], &truth.values[i]);
    }
    network_run_make(&run, "cpu", 2, M2SNET_DTYPE_F32, config, RECIPE_GOLDEN, 2, 128, 128, names, count);
    for (int i = 0; i < count; i++) {
        double distance = network_distance(&run.values[i], &truth.values[i]);
        double allowed = 10.0 * rows[i].deviation + 1e-6;
        if (!(distance <= allowed)) {
            fail_msg("%s %s on cpu: relative distance %.3g, allowed %.3g", network, rows[i].tag, distance, allowed);
        }
    }
    network_run_release(&run);
    network_run_release(&truth);
}

static const struct {
    const char *name, *json;
} networks[] = {
    { "m2snet", "{}" },
    { "msnet", "{\"scales\": [1]}" },
    { "m2snet_1357", "{\"scales\": [1, 3, 5, 7]}" },
    { "m2snet_gauss", "{\"gaussian\": true}" },
    { "m2snet_au", "{\"scales\": [1], \"variant\": {\"unit\": \"addition\"}}" },
    { "m2snet_aspp", "{\"variant\": {\"unit\": \"aspp\"}}" },
    { "m2snet_dense", "{\"variant\": {\"unit\": \"dense\"}}" },
    { "m2snet_convnext_base", "{\"encoder\": \"convnext_base\"}" },
    { "m2snet_pvt_v2_b4", "{\"encoder\": \"pvt_v2_b4\"}" },
};

static void test_networks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++) {
        m2s_config config;
        m2snet_error error;
        m2s_config_default(&config);
        if (m2s_config_parse(&config, networks[i].json, strlen(networks[i].json), NULL, NULL, &error) !=
            M2SNET_STATUS_OK) {
            fail_msg("%s: %s", networks[i].name, error.message);
        }
        print_message("%s\n", networks[i].name);
        check_network(networks[i].name, &config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_networks) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
