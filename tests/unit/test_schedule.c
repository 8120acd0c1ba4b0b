/* SPDX-License-Identifier: Apache-2.0
 * The learning rate's course: the triangle's published values, ends, joins and bounds of the others. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "train/schedule.h"

#define NEAR(value, expected, tolerance) assert_true(fabs((value) - (expected)) <= (tolerance))

/* MODELS.md 4.2 gives rates for 50 epochs and 0.05 with four digits: half a unit of the last one. */
static void test_triangle(void **state)
{
    const m2s_schedule s = { .kind = M2SNET_SCHEDULE_TRIANGLE, .power = 1.0, .epochs = 50, .steps_per_epoch = 91 };
    const m2s_schedule odd = { .kind = M2SNET_SCHEDULE_TRIANGLE, .power = 1.0, .epochs = 51, .steps_per_epoch = 1 };

    (void)state;
    NEAR(0.05 * m2s_schedule_factor(&s, 0, 0), 0.001961, 5e-7);
    NEAR(0.05 * m2s_schedule_factor(&s, 24, 0), 0.04902, 5e-6);
    NEAR(0.05 * m2s_schedule_factor(&s, 25, 0), 0.04902, 5e-6);
    NEAR(0.05 * m2s_schedule_factor(&s, 49, 0), 0.001961, 5e-7);
    assert_true(m2s_schedule_factor(&s, 7, 0) == m2s_schedule_factor(&s, 7, 90)); /* constant within an epoch */
    assert_true(m2s_schedule_factor(&odd, 25, 0) == 1.0);                         /* reached for odd numbers only */
    assert_true(m2s_schedule_factor(&s, 50, 3) == m2s_schedule_factor(&s, 49, 0));
    for (int64_t e = 0; e < 50; e++) {
        double factor = m2s_schedule_factor(&s, e, 0);
        assert_true(factor > 0.0 && factor < 1.0);
        assert_true(e == 0 || (m2s_schedule_factor(&s, e - 1, 0) <= factor) == (e <= 25));
        NEAR(factor, m2s_schedule_factor(&s, 49 - e, 0), 1e-15); /* symmetric */
    }
}

static double at(const m2s_schedule *s, int64_t step)
{
    return m2s_schedule_factor(s, step / s->steps_per_epoch, step % s->steps_per_epoch);
}

static void test_others(void **state)
{
    static const m2snet_schedule kinds[] = { M2SNET_SCHEDULE_WARMUP_LINEAR, M2SNET_SCHEDULE_POLY,
                                             M2SNET_SCHEDULE_COSINE, M2SNET_SCHEDULE_CONSTANT };

    (void)state;
    for (size_t k = 0; k < 4; k++) {
        m2s_schedule s = { .kind = kinds[k], .warmup = 0.1, .power = 0.9, .epochs = 10, .steps_per_epoch = 20 };
        NEAR(at(&s, 0), 1.0 / 20.0, 1e-15); /* the first of 20 steps of warm-up */
        NEAR(at(&s, 9), 10.0 / 20.0, 1e-15);
        NEAR(at(&s, 19), 1.0, 1e-15);
        for (int64_t step = 0; step < 200; step++) {
            assert_true(at(&s, step) > 0.0 && at(&s, step) <= 1.0);
            assert_true(step == 0 || step >= 20 || at(&s, step) > at(&s, step - 1));
            assert_true(step < 21 || at(&s, step) <= at(&s, step - 1));
        }
        assert_true(at(&s, 200) == (kinds[k] == M2SNET_SCHEDULE_CONSTANT ? 1.0 : 0.0));
    }
    const m2s_schedule linear = {
        .kind = M2SNET_SCHEDULE_WARMUP_LINEAR, .warmup = 0.1, .power = 1.0, .epochs = 10, .steps_per_epoch = 20
    };
    NEAR(at(&linear, 20), 1.0, 1e-15);
    NEAR(at(&linear, 110), 0.5, 1e-15);
    NEAR(at(&linear, 199), 1.0 / 180.0, 1e-15);
    const m2s_schedule poly = { .kind = M2SNET_SCHEDULE_POLY, .power = 0.9, .epochs = 1000, .steps_per_epoch = 250 };
    NEAR(m2s_schedule_factor(&poly, 0, 0), 1.0, 0.0);
    NEAR(m2s_schedule_factor(&poly, 500, 0), pow(0.5, 0.9), 1e-15);
    const m2s_schedule cosine = { .kind = M2SNET_SCHEDULE_COSINE, .power = 1.0, .epochs = 4, .steps_per_epoch = 100 };
    NEAR(m2s_schedule_factor(&cosine, 2, 0), 0.5, 1e-15);
    NEAR(m2s_schedule_factor(&cosine, 1, 0), 0.5 + 0.5 * sqrt(0.5), 1e-15);
    /* Nothing but warm-up, and none at all. */
    const m2s_schedule whole = {
        .kind = M2SNET_SCHEDULE_WARMUP_LINEAR, .warmup = 1.0, .power = 1.0, .epochs = 2, .steps_per_epoch = 5
    };
    assert_true(at(&whole, 9) == 1.0 && at(&whole, 10) == 0.0);
    const m2s_schedule none = { .kind = M2SNET_SCHEDULE_CONSTANT, .power = 1.0, .epochs = 1, .steps_per_epoch = 1 };
    assert_true(at(&none, 0) == 1.0);
}

static void test_checks(void **state)
{
    const m2s_schedule good = { .kind = M2SNET_SCHEDULE_POLY, .power = 0.9, .epochs = 1, .steps_per_epoch = 1 };
    static const char *const names[] = { "schedule", "warmup", "warmup", "power", "epochs", "steps_per_epoch" };
    m2snet_error error;

    (void)state;
    assert_int_equal(m2s_schedule_check(&good, &error), M2SNET_STATUS_OK);
    for (int i = 0; i < 6; i++) {
        m2s_schedule bad = good;
        bad.kind = i == 0 ? (m2snet_schedule)5 : bad.kind;
        bad.warmup = i == 1 ? 1.5 : i == 2 ? (double)NAN : bad.warmup;
        bad.power = i == 3 ? 0.0 : bad.power;
        bad.epochs = i == 4 ? 0 : bad.epochs;
        bad.steps_per_epoch = i == 5 ? 0 : bad.steps_per_epoch;
        assert_int_equal(m2s_schedule_check(&bad, &error), M2SNET_STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, names[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_triangle),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_checks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
