/* SPDX-License-Identifier: Apache-2.0
 * Small encoders at an odd size against float64 truth of twelve digits (tests/data/encoders), on ref and cpu: every
 * option that the large networks of golden/ do not have, and sizes that no stride divides. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/network_fixture.h"

#define LEVELS  5
#define SAMPLES 5

static const struct {
    const char *name, *config;
} networks[] = {
    { "convnext", "{\"encoder\":\"convnext\",\"encoder_shape\":{\"blocks\":[2,1,3,1],\"channels\":[8,12,20,33]},"
                  "\"pyramid_channels\":8}" },
    { "convnext_norms", "{\"encoder\":\"convnext\",\"encoder_shape\":{\"blocks\":[2,1,3,1],\"channels\":[8,12,20,33],"
                        "\"norms\":1},\"pyramid_channels\":8}" },
};

typedef struct level {
    long n, c, h, w;
    double sum, sum_sq, deviation;
    long index[SAMPLES];
    double value[SAMPLES];
} level;

static void read_levels(const char *network, level levels[LEVELS])
{
    char path[512], line[2048];
    int found = 0;

    snprintf(path, sizeof path, "%s/encoders/encoders.tsv", M2S_TEST_DATA);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        char name[64];
        int number, used = 0;
        level l;
        if (sscanf(line, "%63s enc%d %ldx%ldx%ldx%ld %lf %lf %lf%n", name, &number, &l.n, &l.c, &l.h, &l.w, &l.sum,
                   &l.sum_sq, &l.deviation, &used) != 9 ||
            strcmp(name, network) != 0) {
            continue;
        }
        const char *p = line + used;
        for (int s = 0, more = 0; s < SAMPLES; s++, p += more) {
            assert_int_equal(sscanf(p, " %ld:%lf%n", &l.index[s], &l.value[s], &more), 2);
        }
        assert_true(number >= 1 && number <= LEVELS);
        levels[number - 1] = l;
        found++;
    }
    fclose(file);
    assert_int_equal(found, LEVELS);
}

static void compare(const char *network, int number, const level *l, const network_value *v)
{
    double sum = 0.0, sum_sq = 0.0;
    int64_t count = m2s_shape_elements(v->shape);

    assert_true(v->shape.n == l->n && v->shape.c == l->c && v->shape.h == l->h && v->shape.w == l->w);
    for (int64_t i = 0; i < count; i++) {
        sum += v->numbers[i];
        sum_sq += v->numbers[i] * v->numbers[i];
    }
    /* float64 against float64, where only the order of sums differs; the sum may cancel */
    bool near =
        fabs(sum - l->sum) <= 1e-9 * sqrt(l->sum_sq * (double)count) && fabs(sum_sq - l->sum_sq) <= 1e-9 * l->sum_sq;
    for (int s = 0; s < SAMPLES; s++) {
        near = near && fabs(v->numbers[l->index[s]] - l->value[s]) <= 1e-9 * fabs(l->value[s]) + 1e-12;
    }
    if (!near) {
        fail_msg("%s enc%d: sum %.12g, expected %.12g", network, number, sum, l->sum);
    }
}

static void test_levels(void **state)
{
    static const char *const names[LEVELS] = { "enc1", "enc2", "enc3", "enc4", "enc5" };

    (void)state;
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++) {
        level levels[LEVELS];
        network_run truth, run;
        m2s_config config;
        read_levels(networks[i].name, levels);
        m2s_config_default(&config);
        assert_int_equal(m2s_config_parse(&config, networks[i].config, strlen(networks[i].config), NULL, NULL, NULL),
                         M2SNET_STATUS_OK);
        network_run_make(&truth, "ref", 2, M2SNET_DTYPE_F64, &config, RECIPE_GOLDEN, 2, 45, 70, names, LEVELS);
        network_run_make(&run, "cpu", 2, M2SNET_DTYPE_F32, &config, RECIPE_GOLDEN, 2, 45, 70, names, LEVELS);
        for (int k = 0; k < LEVELS; k++) {
            compare(networks[i].name, k + 1, &levels[k], &truth.values[k]);
            /* ten times what PyTorch loses in float32 */
            double distance = network_distance(&run.values[k], &truth.values[k]);
            if (!(distance <= 10.0 * levels[k].deviation + 1e-6)) {
                fail_msg("%s enc%d on cpu: relative distance %.3g", networks[i].name, k + 1, distance);
            }
        }
        network_run_release(&run);
        network_run_release(&truth);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_levels) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
