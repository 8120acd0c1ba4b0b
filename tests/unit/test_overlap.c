/* SPDX-License-Identifier: Apache-2.0
 * lib/eval/histogram, overlap: against the definitions, pixel by pixel, and cases whose answer is known. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/overlap.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define CLOSE        1e-12 /* the order of sums */

static m2s_memory memory;

/* A pair with everything prepared under the default's rules. */
typedef struct rig {
    m2s_scratch scratch;
    m2s_levels levels;
    m2s_plane inside;
    m2s_histogram histogram;
    m2s_sweep sweep;
} rig;

static void begin(rig *r, const uint8_t *prediction, const uint8_t *mask, int32_t height, int32_t width)
{
    m2snet_image p = { .data = prediction, .width = width, .height = height, .format = M2SNET_PIXEL_GRAY8 };
    m2snet_image m = { .data = mask, .width = width, .height = height, .format = M2SNET_PIXEL_GRAY8 };
    m2s_gray_pair pair;
    bool resized;

    m2s_scratch_init(&r->scratch, &memory);
    assert_int_equal(m2s_gray_pair_read(&r->scratch, &p, &m, false, &pair, &resized, NULL), M2SNET_STATUS_OK);
    m2s_levels_default(pair.prediction_min, pair.prediction_max, &r->levels);
    assert_int_equal(
        m2s_plane_threshold(&r->scratch, M2S_SCRATCH_INSIDE, pair.mask, height, width, 129, &r->inside, NULL),
        M2SNET_STATUS_OK);
    m2s_histogram_count(pair.prediction, &r->inside, &r->histogram);
    m2s_sweep_make(&r->histogram, &r->levels, &r->sweep);
}

static void end(rig *r)
{
    m2s_scratch_release(&r->scratch);
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
}

/* ---- levels ---- */

static void test_levels(void **state)
{
    m2s_levels levels;

    (void)state;
    m2s_levels_default(0, 255, &levels);
    for (int v = 0; v < 256; v++) {
        assert_int_equal(levels.q[v], v);
        assert_true(levels.x[v] == v / 255.0);
    }
    m2s_levels_default(40, 40, &levels); /* constant: not stretched */
    assert_true(levels.constant && levels.x[40] == 40 / 255.0);
    m2s_levels_default(10, 13, &levels);
    assert_true(levels.x[10] == 0.0 && levels.x[13] == 1.0 && levels.q[13] == 255);
    assert_true(levels.x[0] == 0.0 && levels.x[255] == 1.0); /* not in the image: the nearer end */
    /* The authors' quotient is the exact one for every range. */
    for (int low = 0; low < 256; low += 5) {
        for (int high = low + 1; high < 256; high += 3) {
            m2s_levels_authors((uint8_t)low, (uint8_t)high, &levels);
            for (int v = low; v <= high; v++) {
                assert_int_equal(levels.q[v], 255 * (v - low) / (high - low));
                assert_true(levels.x[v] == (double)(v - low) / (high - low));
            }
        }
    }
}

static void test_mask_rules(void **state)
{
    (void)state;
    assert_int_equal(m2s_mask_first_inside(M2S_MASK_ABOVE_128, 255), 129);
    assert_int_equal(m2s_mask_first_inside(M2S_MASK_RELATIVE, 255), 128); /* 2 * 128 > 255 */
    assert_int_equal(m2s_mask_first_inside(M2S_MASK_RELATIVE, 254), 128);
    assert_int_equal(m2s_mask_first_inside(M2S_MASK_RELATIVE, 1), 1);
    assert_int_equal(m2s_mask_first_inside(M2S_MASK_RELATIVE, 0), 256); /* an empty mask stays empty */
}

static void test_reading(void **state)
{
    /* Gray through Pillow's luma rule, a window, a negative stride, sizes that differ. */
    static const uint8_t rgb[6] = { 255, 0, 0, 10, 20, 30 };
    static const float unit[2] = { 0.0f, 1.0f };
    static const uint8_t column[2] = { 7, 9 };
    m2snet_image p = { .data = rgb, .width = 2, .height = 1, .format = M2SNET_PIXEL_RGB8 };
    m2snet_image m = { .data = unit, .width = 2, .height = 1, .format = M2SNET_PIXEL_F32 };
    m2snet_image tall = { .data = column, .width = 1, .height = 2, .format = M2SNET_PIXEL_GRAY8 };
    m2snet_image flipped = { column + 1, 1, 2, -1, M2SNET_PIXEL_GRAY8, 0.0f, 0.0f, NULL };
    m2s_gray_pair pair;
    m2s_scratch scratch;
    m2snet_error error;
    bool resized;

    (void)state;
    m2s_scratch_init(&scratch, &memory);
    assert_int_equal(m2s_gray_pair_read(&scratch, &p, &m, false, &pair, &resized, NULL), M2SNET_STATUS_OK);
    assert_int_equal(pair.prediction[0], 76);
    assert_int_equal(pair.prediction[1], (19595 * 10 + 38470 * 20 + 7471 * 30 + 32768) >> 16);
    assert_int_equal(pair.mask[0], 0);
    assert_int_equal(pair.mask[1], 255);
    assert_int_equal(pair.mask_max, 255);
    assert_int_equal(m2s_gray_pair_read(&scratch, &tall, &flipped, false, &pair, &resized, NULL), M2SNET_STATUS_OK);
    assert_int_equal(pair.mask[0], 9);
    assert_int_equal(pair.mask[1], 7);
    assert_int_equal(m2s_gray_pair_read(&scratch, &tall, &m, false, &pair, &resized, &error), M2SNET_STATUS_MISMATCH);
    assert_non_null(strstr(error.message, "1 x 2"));
    assert_non_null(strstr(error.message, "2 x 1"));
    assert_int_equal(m2s_gray_pair_read(&scratch, &tall, &m, true, &pair, &resized, &error), M2SNET_STATUS_OK);
    assert_true(resized && pair.width == 2 && pair.height == 1);
    m2s_scratch_release(&scratch);
}

/* ---- against the definitions ---- */

static double e_by_pixels(const bool *found, const bool *inside, int n)
{
    double mp = 0.0, mg = 0.0, sum = 0.0;

    for (int i = 0; i < n; i++) {
        mp += found[i] / (double)n;
        mg += inside[i] / (double)n;
    }
    for (int i = 0; i < n; i++) {
        double a = found[i] - mp, b = inside[i] - mg;
        double align = 2.0 * a * b / (a * a + b * b + M2S_EPSILON);
        sum += (align + 1.0) * (align + 1.0) / 4.0;
    }
    return sum / (n - 1 + M2S_EPSILON);
}

static void test_by_pixels(void **state)
{
    enum { H = 9, W = 13, N = H * W };
    uint8_t p[N], m[N];
    bool found[N], inside[N];
    unsigned seed = 5;
    rig r;

    (void)state;
    for (int i = 0; i < N; i++) {
        seed = seed * 1103515245u + 12345u;
        p[i] = (uint8_t)(20 + (seed >> 16) % 200);
        m[i] = (seed >> 24) % 3 == 0 ? 255 : 0;
        inside[i] = m[i] > 128;
    }
    begin(&r, p, m, H, W);
    double error = 0.0, mean = 0.0;
    for (int i = 0; i < N; i++) {
        error += fabs(r.levels.x[p[i]] - inside[i]) / N;
        mean += r.levels.x[p[i]] / N;
    }
    assert_true(fabs(m2s_mean_error(&r.histogram, &r.levels) - error) < CLOSE);
    assert_true(fabs(m2s_mean_level(&r.histogram, &r.levels) - mean) < CLOSE);
    for (int t = 0; t < 256; t++) {
        double tp = 0.0, fp = 0.0, fn = 0.0, tn = 0.0;
        for (int i = 0; i < N; i++) {
            found[i] = r.levels.q[p[i]] >= t;
            tp += found[i] && inside[i];
            fp += found[i] && !inside[i];
            fn += !found[i] && inside[i];
            tn += !found[i] && !inside[i];
        }
        assert_true(fabs(m2s_curve_at(&r.sweep, M2SNET_CURVE_DICE, t, 0.0) - 2 * tp / (2 * tp + fp + fn)) < CLOSE);
        assert_true(fabs(m2s_curve_at(&r.sweep, M2SNET_CURVE_IOU, t, 0.0) - tp / (tp + fp + fn)) < CLOSE);
        assert_true(fabs(m2s_curve_at(&r.sweep, M2SNET_CURVE_SPECIFICITY, t, 0.0) - tn / (tn + fp)) < CLOSE);
        assert_true(fabs(m2s_curve_at(&r.sweep, M2SNET_CURVE_E, t, 0.0) - e_by_pixels(found, inside, N)) < CLOSE);
        double precision = tp + fp > 0 ? tp / (tp + fp) : 0.0, recall = tp / (tp + fn);
        double f = tp > 0 ? 1.3 * precision * recall / (0.3 * precision + recall) : 0.0;
        assert_true(fabs(m2s_curve_at(&r.sweep, M2SNET_CURVE_F, t, 0.0) - f) < CLOSE);
        if (tp == 0.0) {
            assert_true(m2s_curve_at(&r.sweep, M2SNET_CURVE_SPECIFICITY_PRANET, t, 0.0) == 0.0);
        }
    }
    m2s_counts adaptive = m2s_counts_adaptive(&r.histogram, &r.levels);
    int64_t tp = 0;
    for (int i = 0; i < N; i++) {
        tp += r.levels.x[p[i]] >= fmin(2.0 * mean, 1.0) && inside[i];
    }
    assert_int_equal(adaptive.tp, tp);
    end(&r);
}

/* ---- cases with a known answer ---- */

static void test_half_is_strict(void **state)
{
    static const uint8_t p[] = { 0, 50, 100, 51 }, m[] = { 0, 255, 255, 255 };
    rig r;

    (void)state;
    begin(&r, p, m, 2, 2); /* 50 of 0..100 is exactly 0.5 */
    m2s_counts above = m2s_counts_at_half(&r.histogram, &r.levels, false);
    m2s_counts from = m2s_counts_at_half(&r.histogram, &r.levels, true);
    assert_int_equal(above.tp, 2);
    assert_int_equal(above.fn, 1);
    assert_int_equal(from.tp, 3);
    assert_int_equal(from.fn, 0);
    end(&r);
}

static void test_threshold_zero_takes_all(void **state)
{
    static const uint8_t p[] = { 255, 0, 0, 0 }, m[] = { 255, 0, 0, 0 };
    double sum = 0.0;
    rig r;

    (void)state;
    begin(&r, p, m, 2, 2);
    for (int t = 0; t < 256; t++) {
        sum += m2s_curve_at(&r.sweep, M2SNET_CURVE_DICE, t, 0.0);
    }
    assert_true(fabs(sum / 256.0 - (255.0 + 2.0 / 5.0) / 256.0) < CLOSE); /* perfect, yet less than 1 */
    end(&r);
}

static void test_adaptive_of_constants(void **state)
{
    static const uint8_t values[] = { 0, 1, 128, 254, 255 };
    static const bool everything[] = { true, false, false, false, true };
    uint8_t p[6], m[6] = { 255, 0, 0, 255, 0, 0 };
    rig r;

    (void)state;
    for (size_t i = 0; i < COUNT(values); i++) {
        memset(p, values[i], sizeof p);
        begin(&r, p, m, 2, 3);
        m2s_counts c = m2s_counts_adaptive(&r.histogram, &r.levels);
        assert_int_equal(c.tp + c.fp, everything[i] ? 6 : 0);
        end(&r);
    }
}

static void test_nothing_by_nothing(void **state)
{
    m2s_counts none = { .tn = 12 }, missed = { .fn = 3, .tn = 9 }, one = { .tp = 1 };

    (void)state;
    assert_true(m2s_dice(&none, 0.0) == 0.0 && m2s_dice(&none, 1.0) == 1.0);
    assert_true(m2s_iou(&none, 1.0) == 1.0 && m2s_precision(&none, 1.0) == 1.0 && m2s_recall(&none, 1.0) == 1.0);
    assert_true(m2s_f_measure(&none, 0.3, 1.0) == 1.0 && m2s_f_measure(&none, 0.3, 0.0) == 0.0);
    assert_true(m2s_precision(&missed, 1.0) == 0.0); /* the mask is not empty: no gift */
    assert_true(m2s_specificity(&one) == 0.0 && m2s_accuracy(&one) == 1.0);
    assert_true(m2s_e_measure(&one, M2S_EPSILON) == 1.0); /* one pixel: divisor 1 */
    assert_true(fabs(m2s_e_measure(&none, M2S_EPSILON) - 12.0 / 11.0) < CLOSE);
    assert_true(m2s_smoothed_iou(&none) == 1.0);
    assert_true(isnan(m2s_authors_ber(&none)) && isnan(m2s_authors_ber(&one)));
}

static void test_authors_last_bin(void **state)
{
    static const uint8_t p[] = { 0, 254, 255, 254 }, m[] = { 0, 0, 255, 255 };
    double precision[M2S_AUTHORS_BINS] = { 0 }, recall[M2S_AUTHORS_BINS] = { 0 };
    rig r;

    (void)state;
    begin(&r, p, m, 2, 2);
    m2s_authors_curves_add(&r.sweep, precision, recall);
    assert_true(fabs(precision[254] - 2.0 / (3.0 + 1e-8)) < CLOSE); /* level 255 has no bin of its own */
    assert_true(recall[254] == 1.0);
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_mask_rules),
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_by_pixels),
        cmocka_unit_test(test_half_is_strict),
        cmocka_unit_test(test_threshold_zero_takes_all),
        cmocka_unit_test(test_adaptive_of_constants),
        cmocka_unit_test(test_nothing_by_nothing),
        cmocka_unit_test(test_authors_last_bin),
    };

    m2s_memory_init(&memory, NULL, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
