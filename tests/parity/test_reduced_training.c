/* SPDX-License-Identifier: Apache-2.0
 * A whole training step of the compact network in F16, BF16 and TF32 against F32 on the same backend: the one that
 * M2SNET_TEST_BACKEND names. Without it the test is skipped: built-in backends have no such precision. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/training_fixture.h"

/* A loss is a mean over all pixels of logits that are off by some ten units of the largest one (test_reduced.c), and a
 * statistic one over all pixels of a layer. Gradients are another matter: a share of the signs and ReLUs as large as
 * the unit of rounding turns over, and each of those is wrong altogether, so that the angle goes with the square root
 * of the unit, layer upon layer, with batches of 2 x 2 x 2 numbers at the deepest one. The decoder has gone through a
 * tenth of the layers. With drawn weights PyTorch's autocast is off from its own float32 by sines of 0.05 (float16) and
 * 0.12 (bfloat16) in the decoder, 0.94 and 1.0 in all. What is seen here is about half of what is allowed. */
static const struct {
    m2snet_precision precision;
    const char *name;
    double loss;         /* relative */
    double norm;         /* of all gradients together, relative */
    double decoder, all; /* sines of the angles between gradients */
    double running;      /* relative, all running means and variances together */
} cases[] = { { M2SNET_PRECISION_F16, "f16", 2e-3, 0.08, 0.1, 0.4, 5e-4 },
              { M2SNET_PRECISION_BF16, "bf16", 1e-2, 0.25, 0.25, 0.8, 4e-3 },
              { M2SNET_PRECISION_TF32, "tf32", 2e-3, 0.08, 0.1, 0.4, 5e-4 } };

static int64_t size = 48;

typedef struct sums {
    double square_a, square_b, product, difference;
} sums;

static void add(sums *s, const double *a, const double *b, int64_t count, double scale_b)
{
    for (int64_t i = 0; i < count; i++) {
        s->square_a += a[i] * a[i];
        s->square_b += b[i] * b[i] * scale_b * scale_b;
        s->product += a[i] * b[i] * scale_b;
        s->difference += (a[i] - b[i] * scale_b) * (a[i] - b[i] * scale_b);
    }
}

static double sine(const sums *s)
{
    double cosine = s->product / sqrt(s->square_a * s->square_b);

    return cosine > 0.0 ? sqrt(fmax(0.0, 1.0 - cosine * cosine)) : 1.0;
}

static void make(training_run *run, m2snet_precision precision)
{
    m2s_config config;
    m2s_recipe recipe;

    m2s_config_default(&config);
    assert_true(m2s_config_set_encoder(&config, "res2net_compact"));
    config.pyramid_channels = 32; /* as the model in examples/data has it */
    m2s_recipe_default(&recipe);
    recipe.keep_gradients = true;
    recipe.scaled = precision == M2SNET_PRECISION_F16;
    training_precision = precision;
    training_run_make(run, "cuda", 2, M2SNET_DTYPE_F32, &config, RECIPE_PARITY, &recipe, 2, size, size);
    training_precision = M2SNET_PRECISION_F32;
    training_run_step(run);
    assert_true(training_run_scalar(run, "finite") == 1.0);
}

static bool is_running(const char *name)
{
    return strstr(name, ".running_") != NULL;
}

static void compare(const training_run *exact, const training_run *reduced, size_t c)
{
    double scale = cases[c].precision == M2SNET_PRECISION_F16 ? 1.0 / TRAINING_LOSS_SCALE : 1.0;
    double loss = training_run_scalar(exact, "loss"), other = training_run_scalar(reduced, "loss");
    double norm = training_run_scalar(exact, "grad_norm"), other_norm = training_run_scalar(reduced, "grad_norm");
    sums decoder = { 0 }, all = { 0 }, running = { 0 };
    int gradients = 0;

    for (int32_t i = 0; i < m2s_state_count(exact->state); i++) {
        const char *name = m2s_state_at(exact->state, i)->name;
        char gradient[200];
        int64_t count;
        snprintf(gradient, sizeof gradient, M2S_GRADIENT "%s", name);
        bool learns = training_run_has(exact, gradient);
        if (!learns && !is_running(name)) {
            continue;
        }
        double *a = learns ? training_run_output(exact, gradient, &count) : training_run_state(exact, name, &count);
        double *b = learns ? training_run_output(reduced, gradient, &count) : training_run_state(reduced, name, &count);
        add(learns ? &all : &running, a, b, count, learns ? scale : 1.0);
        if (learns && (strncmp(name, "output", 6) == 0 || strncmp(name, "level", 5) == 0)) {
            add(&decoder, a, b, count, scale);
        }
        gradients += learns;
        free(a);
        free(b);
    }
    double off = sqrt(running.difference / running.square_a);
    print_message("%s: loss %.6g, off by %.2e of it; norm of %d gradients off by %.2e, sine of the decoder's %.2e, "
                  "of all %.2e; statistics off by %.2e\n",
                  cases[c].name, loss, fabs(other - loss) / loss, gradients, fabs(sqrt(other_norm / norm) - 1.0),
                  sine(&decoder), sine(&all), off);
    assert_true(gradients > 100 && decoder.square_a > 0.0);
    assert_true(fabs(other - loss) <= cases[c].loss * loss);
    assert_true(sine(&decoder) <= cases[c].decoder && sine(&all) <= cases[c].all);
    assert_true(fabs(sqrt(other_norm / norm) - 1.0) <= cases[c].norm);
    assert_true(off <= cases[c].running);
}

static void test_step(void **state)
{
    training_run exact, reduced;

    (void)state;
    make(&exact, M2SNET_PRECISION_F32);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        make(&reduced, cases[c].precision);
        compare(&exact, &reduced, c);
        training_run_release(&reduced);
    }
    training_run_release(&exact);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_step) };

    if (getenv("M2SNET_TEST_BACKEND") == NULL) {
        printf("skipped: M2SNET_TEST_BACKEND names no backend\n");
        return 77;
    }
    size = argc > 1 ? atoll(argv[1]) : size;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
