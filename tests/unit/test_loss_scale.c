/* SPDX-License-Identifier: Apache-2.0
 * Steps whose gradients are made times a power of two and used divided by it: in float32, whose range has room for
 * both, every number is the same bit for bit, however gradients are clipped, summed over runs and used, and also when
 * the scale changes between two runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/training_fixture.h"

#define RUNS 4

/* Two to three channels a group: every kind of node, no work to speak of. */
static const char tiny[] = "{\"encoder\":\"res2net\",\"encoder_shape\":{\"stem\":[4,4,8],\"blocks\":[2,1,1,1],"
                           "\"width\":[3,4,4,4],\"channels\":[16,16,16,16]},\"pyramid_channels\":8}";

static void set(const training_run *run, const char *name, double value)
{
    float number = (float)value;
    m2snet_error error;

    if (m2s_graph_find(m2s_program_graph(run->program), name) != M2S_NONE &&
        m2s_program_write(run->program, name, &number, &error) != M2SNET_STATUS_OK) {
        fail_msg("%s", error.message);
    }
}

/* Runs with scale[i], or with 1 where scale is NULL; norms[i] is what each says of its gradients. */
static void run_steps(training_run *run, const m2s_recipe *given, const double *scale, double *norms)
{
    m2s_recipe recipe = *given;
    m2s_config config;
    m2snet_error error;

    m2s_config_default(&config);
    if (m2s_config_parse(&config, tiny, sizeof tiny - 1, NULL, NULL, &error) != M2SNET_STATUS_OK) {
        fail_msg("%s", error.message);
    }
    recipe.scaled = scale != NULL;
    training_run_make(run, "cpu", 1, M2SNET_DTYPE_F32, &config, RECIPE_PARITY, &recipe, 2, 64, 64);
    assert_true((m2s_graph_find(m2s_program_graph(run->program), M2S_NAME_UNSCALE) != M2S_NONE) == recipe.scaled);
    for (int i = 0; i < RUNS; i++) {
        bool goes_on = i % recipe.accumulate != 0;
        if (scale != NULL) {
            set(run, M2S_NAME_LOSS_SCALE, scale[i]);
            set(run, M2S_NAME_UNSCALE, 1.0 / scale[i]);
        }
        set(run, M2S_NAME_BOUNDARY, (i + 1) % recipe.accumulate == 0);
        set(run, M2S_NAME_KEEP, !goes_on ? 0.0 : scale != NULL ? scale[i] / scale[i - 1] : 1.0);
        training_run_step(run);
        assert_true(training_run_scalar(run, M2S_NAME_FINITE) == 1.0);
        norms[i] = training_run_scalar(run, M2S_NAME_GRAD_NORM);
        assert_true(norms[i] > 0.0);
    }
}

static void check(const m2s_recipe *recipe)
{
    static const double scale[RUNS] = { 65536.0, 32768.0, 1.0, 1024.0 };
    double norms[2][RUNS];
    training_run plain, scaled;
    int compared = 0;

    run_steps(&plain, recipe, NULL, norms[0]);
    run_steps(&scaled, recipe, scale, norms[1]);
    for (int i = 0; i < RUNS; i++) {
        assert_true(norms[0][i] == norms[1][i]);
    }
    assert_int_equal(m2s_state_count(plain.state), m2s_state_count(scaled.state));
    for (int32_t i = 0; i < m2s_state_count(plain.state); i++) {
        const char *name = m2s_state_at(plain.state, i)->name;
        int64_t count, other_count;
        double *a = training_run_state(&plain, name, &count), *b = training_run_state(&scaled, name, &other_count);
        bool sum = strncmp(name, M2S_STATE_SUM, strlen(M2S_STATE_SUM)) == 0;
        assert_int_equal(count, other_count);
        for (int64_t k = 0; k < count; k++) {
            if (a[k] != (sum ? b[k] / scale[RUNS - 1] : b[k])) {
                fail_msg("%s[%d] is %.9g, unscaled %.9g", name, (int)k, b[k], a[k]);
            }
        }
        compared++;
        free(a);
        free(b);
    }
    assert_true(compared > 100);
    training_run_release(&plain);
    training_run_release(&scaled);
}

static void test_sgd(void **state)
{
    m2s_recipe recipe;

    (void)state;
    m2s_recipe_default(&recipe);
    check(&recipe);
    recipe.clip_norm = 0.01;
    recipe.ema_decay = 0.9;
    check(&recipe);
}

static void test_adamw(void **state)
{
    m2s_recipe recipe;

    (void)state;
    m2s_recipe_default(&recipe);
    recipe.optimiser = M2S_OPTIMISER_ADAMW;
    check(&recipe);
}

static void test_accumulated(void **state)
{
    m2s_recipe recipe;

    (void)state;
    m2s_recipe_default(&recipe);
    recipe.accumulate = 2;
    check(&recipe);
    recipe.clip_norm = 0.01;
    check(&recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sgd),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_accumulated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
