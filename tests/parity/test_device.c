/* SPDX-License-Identifier: Apache-2.0
 * Small networks with the encoders and the loss network that are made of layer norms, depthwise convolutions and
 * attention, on a device against ref in F64: every level and the logits, 16-bit precisions against F32, and each
 * gradient of a training step with branches dropped at random.
 *
 *     test_device BACKEND   (cuda: M2SNET_BACKEND_PATH); without it the test is skipped */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/training_fixture.h"

static const struct {
    const char *name, *config, *lossnet;
} networks[] = {
    { "convnext",
      "{\"encoder\":\"convnext\",\"encoder_shape\":{\"blocks\":[1,1,2,1],\"channels\":[8,12,20,33],\"norms\":1},"
      "\"pyramid_channels\":8}",
      "swin_t" },
    { "pvt_v2",
      "{\"encoder\":\"pvt_v2\",\"encoder_shape\":{\"blocks\":[2,1,1,1],\"channels\":[8,18,20,32],"
      "\"widening\":[2,2,3,2]},\"pyramid_channels\":8}",
      NULL },
};
#define NETWORKS (sizeof networks / sizeof networks[0])

static const char *backend;

static void configure(m2s_config *config, size_t network)
{
    m2s_config_default(config);
    assert_int_equal(
        m2s_config_parse(config, networks[network].config, strlen(networks[network].config), NULL, NULL, NULL),
        M2SNET_STATUS_OK);
}

/* Of the norm: what float32 loses in a few dozen layers, a hundred times what is seen; a wrong channel loses all. */
#define F32_BOUND 1e-4

static void test_levels(void **state)
{
    static const char *const names[] = { "enc1", "enc2", "enc3", "enc4", "enc5", "logits" };
    enum { COUNT = sizeof names / sizeof names[0] };

    (void)state;
    for (size_t i = 0; i < NETWORKS; i++) {
        network_run truth, run;
        m2s_config config;
        double worst = 0.0;
        configure(&config, i);
        network_run_make(&truth, "ref", 2, M2SNET_DTYPE_F64, &config, RECIPE_GOLDEN, 2, 45, 70, names, COUNT);
        network_run_make(&run, backend, 2, M2SNET_DTYPE_F32, &config, RECIPE_GOLDEN, 2, 45, 70, names, COUNT);
        for (int k = 0; k < COUNT; k++) {
            double distance = network_distance(&run.values[k], &truth.values[k]);
            worst = distance > worst || isnan(distance) ? distance : worst;
            if (!(distance <= F32_BOUND)) {
                fail_msg("%s %s: relative distance %.3g", networks[i].name, names[k], distance);
            }
        }
        print_message("%s: relative distance at most %.2e\n", networks[i].name, worst);
        network_run_release(&run);
        network_run_release(&truth);
    }
}

/* Of the norm of the logits, as 11 and 8 bits of fraction lose it (test_reduced.c has the bounds of one logit). */
static const struct {
    m2snet_precision precision;
    const char *name;
    double bound;
} precisions[] = { { M2SNET_PRECISION_F16, "f16", 5e-3 }, { M2SNET_PRECISION_BF16, "bf16", 4e-2 } };

static void test_precisions(void **state)
{
    static const char *const names[] = { "logits" };

    (void)state;
    for (size_t i = 0; i < NETWORKS; i++) {
        network_run exact, reduced;
        m2s_config config;
        configure(&config, i);
        network_run_make(&exact, backend, 2, M2SNET_DTYPE_F32, &config, RECIPE_GOLDEN, 1, 64, 64, names, 1);
        for (size_t p = 0; p < sizeof precisions / sizeof precisions[0]; p++) {
            network_precision = precisions[p].precision;
            network_run_make(&reduced, backend, 2, M2SNET_DTYPE_F32, &config, RECIPE_GOLDEN, 1, 64, 64, names, 1);
            network_precision = M2SNET_PRECISION_F32;
            double distance = network_distance(&reduced.values[0], &exact.values[0]);
            print_message("%s %s: relative distance %.2e\n", networks[i].name, precisions[p].name, distance);
            if (!(distance <= precisions[p].bound)) {
                fail_msg("%s %s: relative distance %.3g", networks[i].name, precisions[p].name, distance);
            }
            network_run_release(&reduced);
        }
        network_run_release(&exact);
    }
}

/* ---- a training step ---- */

/* Of a gradient's norm. Batch norm is frozen, so that float32 is not magnified by batches of few numbers; what remains
 * are kinks, and gradients that are small differences. */
#define GRADIENT_BOUND 2e-3

static void make_step(training_run *run, size_t network, const char *on, m2snet_dtype dtype)
{
    m2s_config config;
    m2s_recipe recipe;

    configure(&config, network);
    m2s_recipe_default(&recipe);
    recipe.freeze_batch_norm = true;
    recipe.keep_gradients = true;
    recipe.drop_path = 0.5;
    if (networks[network].lossnet != NULL) {
        recipe.objective.lossnet = m2s_lossnet_family_of(networks[network].lossnet);
        recipe.objective.weight[M2S_TERM_LOSSNET] = 0.1;
        recipe.objective.lossnet_size_px = 32; /* 8 x 8 pixels of its first stage: windows are padded and rolled */
    }
    training_run_make(run, on, 2, dtype, &config, RECIPE_GOLDEN, &recipe, 2, 33, 36);
    training_run_step(run);
}

static void compare_gradient(const char *network, const training_run *truth, const training_run *run, const char *name,
                             double *worst)
{
    int64_t count, same;
    double *expected = training_run_output(truth, name, &count), *actual = training_run_output(run, name, &same);
    double difference = 0.0, norm = 0.0;

    assert_int_equal(count, same);
    for (int64_t i = 0; i < count; i++) {
        difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    free(expected);
    free(actual);
    /* Dropped branches and biases in front of a norm have none. */
    double distance = sqrt(difference) / (sqrt(norm) + 1e-5 * sqrt((double)count));
    *worst = distance > *worst || isnan(distance) ? distance : *worst;
    if (!(distance <= GRADIENT_BOUND)) {
        fail_msg("%s %s: relative distance %.3g, norm %.3g", network, name, distance, sqrt(norm));
    }
}

static void test_step(void **state)
{
    (void)state;
    for (size_t i = 0; i < NETWORKS; i++) {
        training_run truth, run;
        double worst = 0.0;
        int compared = 0;
        make_step(&truth, i, "ref", M2SNET_DTYPE_F64);
        make_step(&run, i, backend, M2SNET_DTYPE_F32);
        double expected = training_run_scalar(&truth, "loss"), loss = training_run_scalar(&run, "loss");
        if (!(fabs(loss - expected) <= 1e-5 * fabs(expected))) {
            fail_msg("%s: the loss is %.9g, expected %.9g", networks[i].name, loss, expected);
        }
        for (int32_t s = 0; s < m2s_state_count(truth.state); s++) {
            char name[160];
            snprintf(name, sizeof name, M2S_GRADIENT "%s", m2s_state_at(truth.state, s)->name);
            if (training_run_has(&truth, name)) {
                compare_gradient(networks[i].name, &truth, &run, name, &worst);
                compared++;
            }
        }
        print_message("%s: %d gradients, relative distance at most %.2e\n", networks[i].name, compared, worst);
        assert_true(compared > 100);
        training_run_release(&run);
        training_run_release(&truth);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_precisions),
        cmocka_unit_test(test_step),
    };

    if (argc < 2) {
        printf("skipped: no backend is named\n");
        return 77;
    }
    backend = argv[1];
    unsetenv("M2SNET_TEST_BACKEND"); /* ref is ref here */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
