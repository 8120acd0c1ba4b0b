/* SPDX-License-Identifier: Apache-2.0
 * One training step of the whole M2SNet with the VGG-16 loss network, 2 x 96 x 96, against truth that was computed in
 * float64 and stored in float32 (tests/data/parity): each term, every gradient, running statistics, every parameter
 * after the step; with the paper's weighted BCE and with the plain one of the released code.
 *
 *     test_training_step [--backend NAME]   that one alone, in F32 (cuda: M2SNET_BACKEND_PATH) */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/training_fixture.h"

#define CASE      "train_m2snet_2x3x96x96.bin"
#define MOST_NAME 128

typedef struct entry {
    char name[MOST_NAME];
    long offset, bytes;
} entry;

static entry *entries;
static int entry_count;
static float *truth; /* of the whole file */

static void load_truth(void)
{
    char line[512], file[MOST_NAME], path[512];
    int room = 4096;

    entries = malloc((size_t)room * sizeof *entries);
    assert_non_null(entries);
    FILE *index = fopen(M2S_TEST_DATA "/parity/index_training.tsv", "r");
    assert_non_null(index);
    while (fgets(line, sizeof line, index) != NULL) {
        entry *e = &entries[entry_count];
        if (sscanf(line, "%127s %127s %*s %*s %ld %ld", file, e->name, &e->offset, &e->bytes) == 4 &&
            strcmp(file, CASE) == 0) {
            assert_true(++entry_count < room);
        }
    }
    fclose(index);
    snprintf(path, sizeof path, "%s/parity/%s", M2S_TEST_DATA, CASE);
    FILE *stream = fopen(path, "rb");
    assert_non_null(stream);
    assert_int_equal(fseek(stream, 0, SEEK_END), 0);
    long bytes = ftell(stream);
    rewind(stream);
    truth = malloc((size_t)bytes);
    assert_non_null(truth);
    assert_int_equal(fread(truth, 1, (size_t)bytes, stream), bytes);
    fclose(stream);
}

static const float *find(const char *name, int64_t *count)
{
    for (int i = 0; i < entry_count; i++) {
        if (strcmp(entries[i].name, name) == 0) {
            *count = entries[i].bytes / (long)sizeof(float);
            return truth + entries[i].offset / (long)sizeof(float);
        }
    }
    fail_msg("the vectors have no entry %s", name);
    return NULL;
}

static double norm_of(const double *numbers, int64_t count)
{
    double sum = 0.0;

    for (int64_t i = 0; i < count; i++) {
        sum += numbers[i] * numbers[i];
    }
    return sqrt(sum);
}

/* What a backend and precision must hold. The vectors are float32, so that float64 is compared within 2e-7; FIXTURES'
 * section on tolerances derives the others: batches of 2 x 3 x 3 numbers and thousands of kinks make any float32 run
 * differ by about one per cent in the encoder's gradients. */
typedef struct bounds {
    double logits;        /* largest difference */
    double loss;          /* relative */
    double gradient;      /* relative L2 of the decoder's gradients */
    double deep_gradient; /* of all others */
    double zero;          /* gradients whose true value is zero: biases in front of a batch norm */
    double statistics;    /* relative: running statistics after the step */
    double few;           /* so many times that for a gradient's first eight numbers */
} bounds;

/* 1e-6: the sampled numbers are float32 and a gradient's samples can be small beside its norm. */
static const bounds float64_bounds = { 5e-7, 1e-6, 1e-6, 1e-6, 1e-13, 1e-6, 1.0 };
static const bounds float32_bounds = { 5e-4, 1e-5, 3e-3, 5e-2, 1e-6, 1e-5, 1.0 };
/* Convolutions of other backends may add up thousands of products one after the other in float: twice the rounding of
 * the logits, and ten times what a statistic of few numbers at the end of it shows. On an H200 one gradient's first
 * eight numbers were off by 1.3e-1, its norm within 5e-2; why was not found. The stand-in for a device holds 5e-2 for
 * all. */
static const bounds other_bounds = { 5e-4, 1e-4, 3e-3, 5e-2, 1e-6, 1e-4, 4.0 };

#define STEP (0.05 * (1.0 + 0.9)) /* how far the first step goes along a gradient: rate, Nesterov momentum */

static bool is_decoder(const char *name)
{
    return strncmp(name, "output", 6) == 0 || strncmp(name, "level", 5) == 0 || strncmp(name, "x5_dem_5", 8) == 0;
}

static void expect_scalar(const char *what, double actual, double bound)
{
    int64_t count;
    double expected = (double)find(what, &count)[0];

    if (!(fabs(actual - expected) <= bound * fabs(expected))) {
        fail_msg("%s is %.9g, expected %.9g within %.1e of it", what, actual, expected, bound);
    }
}

/* NAME/l2 and NAME/first8 of the vectors against numbers; returns the relative error. */
static double expect_array(const char *prefix, const char *name, const double *numbers, int64_t count, double bound,
                           const bounds *b)
{
    char what[2 * MOST_NAME];
    int64_t n;

    snprintf(what, sizeof what, "%s/%s/l2", prefix, name);
    double l2 = (double)find(what, &n)[0], actual = norm_of(numbers, count);
    if (l2 < 1e-9) { /* zero, but for rounding */
        if (!(actual <= b->zero * sqrt((double)count))) {
            fail_msg("%s %s has norm %.3g, expected 0", prefix, name, actual);
        }
        return 0.0;
    }
    snprintf(what, sizeof what, "%s/%s/first8", prefix, name);
    const float *first = find(what, &n);
    double difference = 0.0, rms = l2 / sqrt((double)count);
    for (int64_t i = 0; i < n && i < count; i++) {
        difference += (numbers[i] - (double)first[i]) * (numbers[i] - (double)first[i]);
    }
    /* Against what as many numbers of average size would have, since a handful may happen to be tiny. */
    double few = sqrt(difference / (double)n) / rms, whole = fabs(actual - l2) / l2;
    double error = few > whole ? few : whole;
    if (!(whole <= bound && few <= b->few * bound)) {
        fail_msg("%s %s: relative error %.2e (norm %.2e, first numbers %.2e), allowed %.1e", prefix, name, error, whole,
                 few, bound);
    }
    return error;
}

static int compare_gradients(const training_run *run, const char *variant, const bounds *b)
{
    char prefix[MOST_NAME], output[2 * MOST_NAME];
    double worst = 0.0;
    int compared = 0;

    snprintf(prefix, sizeof prefix, "%s/grad", variant);
    for (int i = 0; i < entry_count; i++) {
        size_t skip = strlen(prefix) + 1, length = strlen(entries[i].name);
        if (strncmp(entries[i].name, prefix, skip - 1) != 0 || strcmp(entries[i].name + length - 3, "/l2") != 0) {
            continue;
        }
        char name[MOST_NAME];
        int64_t count;
        snprintf(name, sizeof name, "%.*s", (int)(length - skip - 3), entries[i].name + skip);
        snprintf(output, sizeof output, M2S_GRADIENT "%s", name);
        double *gradient = training_run_output(run, output, &count);
        double error =
            expect_array(prefix, name, gradient, count, is_decoder(name) ? b->gradient : b->deep_gradient, b);
        worst = error > worst ? error : worst;
        free(gradient);
        compared++;
    }
    printf("    %s: %d gradients, worst relative error %.2e\n", variant, compared, worst);
    return compared;
}

/* A parameter after the step is off by as much as its gradient, a step's length along it; and 1e-6 for the float32 of
 * the vectors. */
static double parameter_bound(const char *variant, const char *name, double l2, const bounds *b)
{
    char what[2 * MOST_NAME];
    int64_t n;

    snprintf(what, sizeof what, "%s/grad/%s/l2", variant, name);
    double gradient = is_decoder(name) ? b->gradient : b->deep_gradient;
    return 1e-6 + STEP * gradient * (double)find(what, &n)[0] / l2;
}

/* The states that the vectors have under prefix: "running", or "VARIANT/step". */
static int compare_state(const training_run *run, const char *variant, const char *prefix, const bounds *b)
{
    int compared = 0;

    for (int i = 0; i < entry_count; i++) {
        size_t skip = strlen(prefix) + 1, length = strlen(entries[i].name);
        if (strncmp(entries[i].name, prefix, skip - 1) != 0 || strcmp(entries[i].name + length - 3, "/l2") != 0) {
            continue;
        }
        char name[MOST_NAME], first[2 * MOST_NAME];
        int64_t count, n;
        snprintf(name, sizeof name, "%.*s", (int)(length - skip - 3), entries[i].name + skip);
        double *state = training_run_state(run, name, &count);
        snprintf(first, sizeof first, "%s/%s/first8", prefix, name);
        bool has_first = false;
        for (int k = 0; k < entry_count && !has_first; k++) {
            has_first = strcmp(entries[k].name, first) == 0;
        }
        if (has_first) {
            double l2 = (double)find(entries[i].name, &n)[0];
            expect_array(prefix, name, state, count, parameter_bound(variant, name, l2, b), b);
        } else {
            double l2 = (double)find(entries[i].name, &n)[0];
            if (!(fabs(norm_of(state, count) - l2) <= b->statistics * l2)) {
                fail_msg("%s: norm %.9g, expected %.9g", entries[i].name, norm_of(state, count), l2);
            }
        }
        free(state);
        compared++;
    }
    return compared;
}

static void compare_logits(const training_run *run, const bounds *b)
{
    int64_t count, expected_count;
    double *logits = training_run_output(run, "logits", &count);
    const float *expected = find("logits", &expected_count);
    double worst = 0.0;

    assert_int_equal(count, expected_count);
    for (int64_t i = 0; i < count; i++) {
        worst = fmax(worst, fabs(logits[i] - (double)expected[i]));
    }
    printf("    logits: largest difference %.2e\n", worst);
    assert_true(worst <= b->logits);
    free(logits);
}

static void compare_filter_statistics(const training_run *run, const bounds *b)
{
    static const char *const names[] = { "conv_3.norm.running_mean", "conv_3.norm.running_var",
                                         "conv_5.norm.running_mean", "conv_5.norm.running_var" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char what[MOST_NAME];
        int64_t count, n;
        snprintf(what, sizeof what, "running/%s/full", names[i]);
        const float *expected = find(what, &n);
        double *state = training_run_state(run, names[i], &count);
        assert_int_equal(count, n);
        for (int64_t k = 0; k < n; k++) {
            if (!(fabs(state[k] - (double)expected[k]) <= b->statistics * fabs((double)expected[k]))) {
                fail_msg("%s[%d] is %.9g, expected %.9g", names[i], (int)k, state[k], (double)expected[k]);
            }
        }
        free(state);
    }
}

static void compare_step(const char *backend, m2snet_dtype dtype, bool plain_bce, const bounds *b)
{
    const char *variant = plain_bce ? "legacy" : "weighted";
    char what[MOST_NAME];
    training_run run;
    m2s_config config;
    m2s_recipe recipe;

    m2s_config_default(&config);
    m2s_recipe_default(&recipe);
    recipe.objective.plain_bce = plain_bce;
    recipe.objective.lossnet = m2s_lossnet_family_of("vgg16");
    recipe.objective.weight[M2S_TERM_LOSSNET] = 0.1;
    recipe.encoder_rate = 1.0; /* as released: one group */
    recipe.keep_gradients = true;
    training_run_make(&run, backend, 2, dtype, &config, RECIPE_PARITY, &recipe, 2, 96, 96);
    training_run_step(&run);
    bounds of_this = *b;
    if (strstr(run.context->device_info.name, "simulated") != NULL) {
        of_this.few = 1.0;
    }
    b = &of_this;

    compare_logits(&run, b);
    expect_scalar(plain_bce ? "loss/wbce_legacy" : "loss/wbce", training_run_scalar(&run, "loss.bce"), b->loss);
    expect_scalar("loss/wiou", training_run_scalar(&run, "loss.iou"), b->loss);
    expect_scalar("loss/lossnet", training_run_scalar(&run, "loss.lossnet"), b->loss);
    snprintf(what, sizeof what, "%s/loss_total", variant);
    expect_scalar(what, training_run_scalar(&run, "loss"), b->loss);
    assert_true(training_run_scalar(&run, "finite") == 1.0);
    assert_int_equal(compare_gradients(&run, variant, b), 355);
    snprintf(what, sizeof what, "%s/step", variant);
    assert_int_equal(compare_state(&run, variant, what, b), 355);
    assert_int_equal(compare_state(&run, variant, "running", b), 222);
    compare_filter_statistics(&run, b);
    training_run_release(&run);
}

static void test_reference_weighted(void **state)
{
    (void)state;
    compare_step("ref", M2SNET_DTYPE_F64, false, &float64_bounds);
}

static void test_cpu_weighted(void **state)
{
    (void)state;
    compare_step("cpu", M2SNET_DTYPE_F32, false, &float32_bounds);
}

static void test_cpu_plain(void **state)
{
    (void)state;
    compare_step("cpu", M2SNET_DTYPE_F32, true, &float32_bounds);
}

static const char *other;

static void test_other_weighted(void **state)
{
    (void)state;
    compare_step(other, M2SNET_DTYPE_F32, false, &other_bounds);
}

static void test_other_plain(void **state)
{
    (void)state;
    compare_step(other, M2SNET_DTYPE_F32, true, &other_bounds);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_weighted),
        cmocka_unit_test(test_cpu_weighted),
        cmocka_unit_test(test_cpu_plain),
    };
    const struct CMUnitTest others[] = {
        cmocka_unit_test(test_other_weighted),
        cmocka_unit_test(test_other_plain),
    };

    load_truth();
    other = argc > 2 && strcmp(argv[1], "--backend") == 0 ? argv[2] : NULL;
    int failed = other != NULL ? cmocka_run_group_tests(others, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
    free(truth);
    free(entries);
    return failed;
}
