/* SPDX-License-Identifier: Apache-2.0
 * M2SNet and MSNet at 352 x 352 and 96 x 160 against truth that was computed in float64 and stored in float32: logits
 * in full, every module's output, every application of the filters. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/network_fixture.h"

#define MAX_ENTRIES 100

/* An intermediate of the vectors and the graph's value of the same numbers. */
typedef struct entry {
    char truth[48]; /* "x5_4", "conv_3(x5_dem_1_up)" */
    char name[48];  /* "x5_x4", "x5_x4.conv_3.a" */
} entry;

/* The ten units in order of execution, with the vectors' names for their inputs. */
static const struct unit {
    const char *module, *a, *b;
} units[] = {
    { "x5_x4", "x5_dem_1_up", "x4_dem_1" },   { "x4_x3", "x4_dem_1_up", "x3_dem_1" },
    { "x3_x2", "x3_dem_1_up", "x2_dem_1" },   { "x2_x1", "x2_dem_1_up", "x1" },
    { "x5_x4_x3", "x5_4_up", "x4_3" },        { "x4_x3_x2", "x4_3_up", "x3_2" },
    { "x3_x2_x1", "x3_2_up", "x2_1" },        { "x5_x4_x3_x2", "x5_4_3_up", "x4_3_2" },
    { "x4_x3_x2_x1", "x4_3_2_up", "x3_2_1" }, { "x5_x4_x3_x2_x1", "x5_dem_4_up", "x4_3_2_1" },
};

static int add(entry *entries, int count, const char *truth, const char *name)
{
    assert_true(count < MAX_ENTRIES);
    snprintf(entries[count].truth, sizeof entries[count].truth, "%s", truth);
    snprintf(entries[count].name, sizeof entries[count].name, "%s", name);
    return count + 1;
}

static int list_entries(entry *entries, bool filters)
{
    static const char *const modules[] = { "x5_dem_1", "x4_dem_1", "x3_dem_1", "x2_dem_1", "x5_dem_4",
                                           "x5_dem_5", "level3",   "level2",   "level1",   "output4",
                                           "output3",  "output2",  "output1" };
    int count = 0;
    char truth[48], name[48];

    for (int i = 1; i <= 5; i++) {
        snprintf(truth, sizeof truth, "x%d", i);
        snprintf(name, sizeof name, "enc%d", i);
        count = add(entries, count, truth, name);
    }
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        count = add(entries, count, modules[i], modules[i]);
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t used = 0; /* "x5_x4_x3" -> "x5_4_3" */
        for (const char *p = units[i].module; *p != '\0'; p++) {
            if (*p != 'x' || p == units[i].module) {
                truth[used++] = *p;
            }
        }
        truth[used] = '\0';
        count = add(entries, count, truth, units[i].module);
        for (int k = 3; k <= 5 && filters; k += 2) {
            snprintf(truth, sizeof truth, "conv_%d(%s)", k, units[i].a);
            snprintf(name, sizeof name, "%s.conv_%d.a", units[i].module, k);
            count = add(entries, count, truth, name);
            snprintf(truth, sizeof truth, "conv_%d(%s)", k, units[i].b);
            snprintf(name, sizeof name, "%s.conv_%d.b", units[i].module, k);
            count = add(entries, count, truth, name);
        }
    }
    return count;
}

/* ---- the vectors ---- */

/* Entry `what` of a case's file; returns its number of floats. */
static int64_t load(const char *file, const char *what, float *data, int64_t room)
{
    char path[512], line[512], name[128], in[128];
    long offset, bytes;
    bool found = false;

    snprintf(path, sizeof path, "%s/parity/index.tsv", M2S_TEST_DATA);
    FILE *index = fopen(path, "r");
    assert_non_null(index);
    while (!found && fgets(line, sizeof line, index) != NULL) {
        found = sscanf(line, "%127s %127s %*s %*s %ld %ld", in, name, &offset, &bytes) == 4 && strcmp(in, file) == 0 &&
                strcmp(name, what) == 0;
    }
    fclose(index);
    if (!found) {
        fail_msg("%s has no entry %s", file, what);
    }
    int64_t count = bytes / (long)sizeof(float);
    assert_true(count <= room);
    snprintf(path, sizeof path, "%s/parity/%s", M2S_TEST_DATA, file);
    FILE *stream = fopen(path, "rb");
    assert_non_null(stream);
    assert_int_equal(fseek(stream, offset, SEEK_SET), 0);
    assert_int_equal(fread(data, sizeof(float), (size_t)count, stream), count);
    fclose(stream);
    return count;
}

/* Relative L2 distance of the entry's 32 sampled elements and of its norm. */
static void compare_entry(const char *file, const entry *e, const network_value *v, double relative, double absolute)
{
    float expected[32], statistics[3];
    int64_t count = m2s_shape_elements(v->shape);
    char what[96];
    double difference = 0.0, norm = 0.0, sum_sq = 0.0;

    snprintf(what, sizeof what, "%s/first16", e->truth);
    assert_int_equal(load(file, what, expected, 16), 16);
    snprintf(what, sizeof what, "%s/samp16", e->truth);
    assert_int_equal(load(file, what, expected + 16, 16), 16);
    snprintf(what, sizeof what, "%s/mean_std_l2", e->truth);
    assert_int_equal(load(file, what, statistics, 3), 3);
    for (int64_t k = 0; k < 32; k++) {
        int64_t i = k < 16 ? k : (k - 16) * count / 16 + count / 32;
        double d = v->numbers[i] - (double)expected[k];
        difference += d * d;
        norm += (double)expected[k] * (double)expected[k];
    }
    for (int64_t i = 0; i < count; i++) {
        sum_sq += v->numbers[i] * v->numbers[i];
    }
    /* Samples may all be small: then the tensor's own size per element is the yardstick. */
    double size = sqrt(32.0 / (double)count) * (double)statistics[2];
    size = sqrt(norm) > size ? sqrt(norm) : size;
    if (!(sqrt(difference) <= relative * size + absolute * sqrt(32.0))) {
        fail_msg("%s %s: samples differ by %.3g of %.3g", file, e->truth, sqrt(difference), size);
    }
    double l2 = (double)statistics[2];
    if (!(fabs(sqrt(sum_sq) - l2) <= (relative + 2e-7) * l2 + absolute)) {
        fail_msg("%s %s: norm %.9g, expected %.9g", file, e->truth, sqrt(sum_sq), l2);
    }
}

typedef struct tolerance {
    double relative, absolute; /* of intermediates */
    double logits;             /* largest absolute difference; 0 = relative L2 instead */
} tolerance;

static void compare_logits(const char *file, const network_value *v, tolerance t)
{
    int64_t count = m2s_shape_elements(v->shape);
    float *truth = malloc((size_t)count * sizeof *truth);
    double largest = 0.0, difference = 0.0, norm = 0.0;

    assert_non_null(truth);
    assert_int_equal(load(file, "logits", truth, count), count);
    for (int64_t i = 0; i < count; i++) {
        double d = fabs(v->numbers[i] - (double)truth[i]);
        largest = d > largest || isnan(d) ? d : largest;
        difference += d * d;
        norm += (double)truth[i] * (double)truth[i];
    }
    free(truth);
    if (t.logits > 0.0) {
        print_message("%s: largest difference of a logit %.3g\n", file, largest);
        if (!(largest <= t.logits)) {
            fail_msg("%s: a logit differs by %.3g, allowed %.3g", file, largest, t.logits);
        }
    } else if (!(sqrt(difference) <= t.relative * sqrt(norm) + t.absolute)) {
        fail_msg("%s: logits differ by %.3g of %.3g", file, sqrt(difference), sqrt(norm));
    }
}

static void check_case(const char *file, const char *backend, m2snet_dtype dtype, bool filters, int64_t n, int64_t h,
                       int64_t w, tolerance t)
{
    static entry entries[MAX_ENTRIES];
    const char *names[MAX_ENTRIES + 1];
    m2s_config config;
    network_run run;
    int count = list_entries(entries, filters);

    m2s_config_default(&config);
    config.scales = filters ? 3 : 1;
    for (int i = 0; i < count; i++) {
        names[i] = entries[i].name;
    }
    names[count] = "logits";
    network_run_make(&run, backend, 2, dtype, &config, RECIPE_PARITY, n, h, w, names, count + 1);
    for (int i = 0; i < count; i++) {
        compare_entry(file, &entries[i], &run.values[i], t.relative, t.absolute);
    }
    compare_logits(file, &run.values[count], t);
    network_run_release(&run);
}

/* The vectors are rounded to float32, some 6e-8 a number. */
static const tolerance ref64 = { 2e-7, 1e-7, 0.0 };
/* A plain float32 run in PyTorch is within 3e-6 of the logits' truth and 2e-6 of the intermediates'. */
static const tolerance f32 = { 1e-5, 1e-7, 2e-5 };

static void test_ref_m2snet_96x160(void **state)
{
    (void)state;
    check_case("eval_m2snet_2x3x96x160.bin", "ref", M2SNET_DTYPE_F64, true, 2, 96, 160, ref64);
}

static void test_ref_msnet_96x160(void **state)
{
    (void)state;
    check_case("eval_msnet_2x3x96x160.bin", "ref", M2SNET_DTYPE_F64, false, 2, 96, 160, ref64);
}

static void test_ref_m2snet_352x352(void **state)
{
    (void)state;
    check_case("eval_m2snet_1x3x352x352.bin", "ref", M2SNET_DTYPE_F64, true, 1, 352, 352, ref64);
}

static void test_ref_msnet_352x352(void **state)
{
    (void)state;
    check_case("eval_msnet_1x3x352x352.bin", "ref", M2SNET_DTYPE_F64, false, 1, 352, 352, ref64);
}

static void test_cpu_m2snet_96x160(void **state)
{
    (void)state;
    check_case("eval_m2snet_2x3x96x160.bin", "cpu", M2SNET_DTYPE_F32, true, 2, 96, 160, f32);
}

static void test_cpu_msnet_96x160(void **state)
{
    (void)state;
    check_case("eval_msnet_2x3x96x160.bin", "cpu", M2SNET_DTYPE_F32, false, 2, 96, 160, f32);
}

static void test_cpu_m2snet_352x352(void **state)
{
    (void)state;
    check_case("eval_m2snet_1x3x352x352.bin", "cpu", M2SNET_DTYPE_F32, true, 1, 352, 352, f32);
}

static void test_cpu_msnet_352x352(void **state)
{
    (void)state;
    check_case("eval_msnet_1x3x352x352.bin", "cpu", M2SNET_DTYPE_F32, false, 1, 352, 352, f32);
}

/* Odd sizes, whose logits are stored in full in float64. */
static void check_odd_size(int64_t h, int64_t w)
{
    static const char *const names[] = { "logits" };
    size_t count = (size_t)(h * w);
    double *truth = malloc(count * sizeof *truth);
    char path[512];
    m2s_config config;

    assert_non_null(truth);
    snprintf(path, sizeof path, "%s/parity/logits_m2snet_1x3x%dx%d.f64", M2S_TEST_DATA, (int)h, (int)w);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(truth, sizeof *truth, count, file), count);
    fclose(file);
    m2s_config_default(&config);
    for (int k = 0; k < 2; k++) {
        const char *backend = k == 0 ? "ref" : "cpu";
        double allowed = k == 0 ? 1e-11 : f32.logits; /* float64: the order of some ten thousand sums */
        double largest = 0.0;
        network_run run;
        network_run_make(&run, backend, 2, k == 0 ? M2SNET_DTYPE_F64 : M2SNET_DTYPE_F32, &config, RECIPE_PARITY, 1, h,
                         w, names, 1);
        for (size_t i = 0; i < count; i++) {
            double d = fabs(run.values[0].numbers[i] - truth[i]);
            largest = d > largest || isnan(d) ? d : largest;
        }
        print_message("%dx%d on %s: largest difference of a logit %.3g\n", (int)h, (int)w, backend, largest);
        assert_true(largest <= allowed);
        network_run_release(&run);
    }
    free(truth);
}

static void test_75x113(void **state)
{
    (void)state;
    check_odd_size(75, 113);
}

static void test_33x353(void **state)
{
    (void)state;
    check_odd_size(33, 353);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref_m2snet_96x160),
        cmocka_unit_test(test_ref_msnet_96x160),
        cmocka_unit_test(test_ref_m2snet_352x352),
        cmocka_unit_test(test_ref_msnet_352x352),
        cmocka_unit_test(test_cpu_m2snet_96x160),
        cmocka_unit_test(test_cpu_msnet_96x160),
        cmocka_unit_test(test_cpu_m2snet_352x352),
        cmocka_unit_test(test_cpu_msnet_352x352),
        cmocka_unit_test(test_75x113),
        cmocka_unit_test(test_33x353),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
