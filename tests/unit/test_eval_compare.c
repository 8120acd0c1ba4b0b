/* SPDX-License-Identifier: Apache-2.0
 * lib/eval/agreement and compare, through their public functions: against plain loops over the pixels and over the
 * resamples, against the normal approximation, and misuse. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "common/faults.h"
#include "core/rng.h"

#define INVALID M2SNET_STATUS_INVALID_ARGUMENT
#define W       16
#define H       12
#define CLOSE   1e-12 /* sums of at most some hundred numbers near 1 */

/* ---- pictures ---- */

/* Picture number `seed` of a system: a square of the mask, and noise around it that is worse for a larger `fault`. */
static void draw(uint64_t seed, int fault, uint8_t p[W * H], uint8_t m[W * H])
{
    for (int i = 0; i < W * H; i++) {
        int y = i / W, x = i % W, size = 3 + (int)(seed % 5);
        int inside = y >= 2 && y < 2 + size && x >= 3 && x < 3 + size;
        int noise = (int)(m2s_rng_bits(seed * 2 + (uint64_t)fault, (uint64_t)i) % 256);

        m[i] = inside ? 255 : 0;
        p[i] = (uint8_t)((m[i] * (4 - fault) + noise * fault) / 4);
    }
}

static m2snet_image gray(const uint8_t *bytes)
{
    return (m2snet_image){ .data = bytes, .width = W, .height = H, .format = M2SNET_PIXEL_GRAY8 };
}

static void add_picture(m2snet_evaluator *evaluator, uint64_t seed, int fault)
{
    uint8_t p[W * H] = { 0 }, m[W * H] = { 0 };
    m2snet_image prediction = gray(p), mask = gray(m);
    m2snet_error error;
    char name[24];

    draw(seed, fault, p, m);
    snprintf(name, sizeof name, "picture %u", (unsigned)seed);
    OK(m2snet_evaluator_add(evaluator, name, &prediction, &mask, &error));
}

static m2snet_evaluator *make_set(m2snet_context *context, uint64_t first, uint64_t count, int fault)
{
    m2snet_evaluator *evaluator;
    m2snet_error error;

    OK(m2snet_evaluator_create(context, NULL, &evaluator, &error));
    for (uint64_t i = 0; i < count; i++) {
        add_picture(evaluator, first + i, fault);
    }
    return evaluator;
}

/* ---- calibration and areas ---- */

static void test_calibration(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    m2snet_evaluator *evaluator = make_set(context, 0, 3, 3);
    static m2snet_calibration c = { .struct_size = sizeof c };
    static const int32_t counts[] = { 1, 10, 15, 64 };
    m2snet_error error;

    (void)state;
    for (size_t k = 0; k < COUNT(counts); k++) {
        double sum[64] = { 0 }, hits[64] = { 0 }, pixels[64] = { 0 }, brier = 0.0, ece = 0.0, mce = 0.0;
        int bins = counts[k];

        for (uint64_t seed = 0; seed < 3; seed++) {
            uint8_t p[W * H] = { 0 }, m[W * H] = { 0 };
            draw(seed, 3, p, m);
            for (int i = 0; i < W * H; i++) {
                double share = p[i] / 255.0;
                int bin = (int)fmin(floor(share * bins + 1e-9), bins - 1); /* edges lie on gray levels or far off */
                sum[bin] += share;
                hits[bin] += m[i] > 128;
                pixels[bin] += 1;
                brier += (share - (m[i] > 128)) * (share - (m[i] > 128)) / (3 * W * H);
            }
        }
        OK(m2snet_evaluator_calibration(evaluator, -1, bins, &c, &error));
        assert_int_equal(c.pixels, 3 * W * H);
        assert_int_equal(c.bin_count, bins);
        for (int i = 0; i < bins; i++) {
            assert_int_equal(c.bins[i].pixels, (int64_t)pixels[i]);
            if (pixels[i] == 0) {
                assert_true(isnan(c.bins[i].probability) && isnan(c.bins[i].observed));
                continue;
            }
            assert_true(fabs(c.bins[i].probability - sum[i] / pixels[i]) < CLOSE);
            assert_true(fabs(c.bins[i].observed - hits[i] / pixels[i]) < CLOSE);
            double gap = fabs(sum[i] - hits[i]) / pixels[i];
            ece += gap * pixels[i] / (3 * W * H);
            mce = fmax(mce, gap);
        }
        assert_true(fabs(c.ece - ece) < CLOSE && fabs(c.mce - mce) < CLOSE && fabs(c.brier - brier) < CLOSE);
        assert_true(c.ece > 0.01); /* noise of this kind is not calibrated */
    }
    OK(m2snet_evaluator_calibration(evaluator, 1, 10, &c, &error));
    assert_int_equal(c.pixels, W * H);
    REFUSE(m2snet_evaluator_calibration(evaluator, -1, 0, &c, &error), INVALID, "bin_count is 0");
    REFUSE(m2snet_evaluator_calibration(evaluator, -1, 65, &c, &error), INVALID, "1 to 64");
    REFUSE(m2snet_evaluator_calibration(evaluator, 3, 10, &c, &error), INVALID, "pair 3");
    REFUSE(m2snet_evaluator_calibration(NULL, -1, 10, &c, &error), INVALID, "evaluator");
    m2snet_evaluator_destroy(evaluator);
    m2snet_context_destroy(context);
}

static void test_areas(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    const double spacing[] = { 0.5, 3.0 };
    m2snet_evaluator_options options;
    m2snet_evaluator *evaluator;
    m2snet_area_agreement a = { .struct_size = sizeof a };
    m2snet_error error;
    double sum = 0.0, squares = 0.0;

    (void)state;
    m2snet_evaluator_options_init(&options);
    options.spacings_mm = spacing;
    options.spacing_count = 1;
    OK(m2snet_evaluator_create(context, &options, &evaluator, &error));
    REFUSE(m2snet_evaluator_area_agreement(evaluator, &a, &error), M2SNET_STATUS_MISMATCH, "none of the 0");
    for (uint64_t i = 0; i < 4; i++) {
        m2snet_scores s = { .struct_size = sizeof s };
        add_picture(evaluator, i, 3);
        OK(m2snet_evaluator_image_scores(evaluator, (int32_t)i, &s, &error));
        double off = 1.5 * (double)((s.tp + s.fp) - (s.tp + s.fn));
        sum += off;
        squares += off * off;
        OK(m2snet_evaluator_area_agreement(evaluator, &a, &error));
        assert_int_equal(a.count, i + 1);
        assert_true(isnan(a.deviation) == (i == 0) && isnan(a.lower) == (i == 0));
    }
    double mean = sum / 4, deviation = sqrt((squares - 4 * mean * mean) / 3);
    assert_true(deviation > 1.0);
    assert_true(fabs(a.bias - mean) < 1e-9 && fabs(a.deviation - deviation) < 1e-9);
    assert_true(fabs(a.upper - (mean + 1.96 * deviation)) < 1e-9 && fabs(a.lower + a.upper - 2 * mean) < 1e-9);
    m2snet_evaluator_destroy(evaluator);
    m2snet_context_destroy(context);
}

/* ---- bootstrap ---- */

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return a < b ? -1 : a > b;
}

static double percentile(const double *sorted, int count, double fraction)
{
    double position = fraction * (count - 1);
    int rank = (int)position;

    return rank + 1 >= count ? sorted[rank] : sorted[rank] + (position - rank) * (sorted[rank + 1] - sorted[rank]);
}

/* The set's number over the images drawn, from what the public functions say of each image. */
static double set_of_draw(const m2snet_evaluator *evaluator, const int *images, int count, bool maximum)
{
    static double sums[256], curve[256];
    m2snet_error error;
    double sum = 0.0, best = 0.0;

    memset(sums, 0, sizeof sums);
    for (int k = 0; k < count; k++) {
        m2snet_scores s = { .struct_size = sizeof s };
        OK(m2snet_evaluator_image_scores(evaluator, images[k], &s, &error));
        sum += s.dice;
        if (maximum) {
            OK(m2snet_evaluator_curve(evaluator, images[k], M2SNET_CURVE_E, curve, &error));
            for (int t = 0; t < 256; t++) {
                sums[t] += curve[t] / count;
            }
        }
    }
    for (int t = 0; t < 256; t++) {
        best = fmax(best, sums[t]);
    }
    return maximum ? best : sum / count;
}

/* Draws the resamples as the header says: number k of resample r is number r n + k of the stream "bootstrap". */
static void check_against_loops(const m2snet_evaluator *first, const m2snet_evaluator *second, const char *key,
                                bool maximum)
{
    enum { IMAGES = 7, RESAMPLES = 300 };
    m2snet_compare_options options;
    m2snet_difference d = { .struct_size = sizeof d };
    double differences[RESAMPLES], above = 0.0;
    m2snet_error error;
    int all[IMAGES];

    m2snet_compare_options_init(&options);
    assert_int_equal(options.resamples, 10000);
    options.resamples = RESAMPLES;
    options.level = 0.9;
    options.seed = 5;
    OK(m2snet_evaluator_compare(first, second, key, &options, &d, &error));
    for (int r = 0; r < RESAMPLES; r++) {
        int drawn[IMAGES];
        for (int k = 0; k < IMAGES; k++) {
            uint64_t bits = m2s_rng_bits(m2s_rng_stream(5, "bootstrap"), (uint64_t)(r * IMAGES + k));
            drawn[k] = (int)((bits >> 32) * IMAGES >> 32);
            all[k] = k;
        }
        differences[r] = set_of_draw(second, drawn, IMAGES, maximum) - set_of_draw(first, drawn, IMAGES, maximum);
        above += differences[r] > 0.0;
    }
    qsort(differences, RESAMPLES, sizeof(double), compare_doubles);
    assert_int_equal(d.pairs, IMAGES);
    assert_true(fabs(d.first - set_of_draw(first, all, IMAGES, maximum)) < CLOSE);
    assert_true(fabs(d.second - set_of_draw(second, all, IMAGES, maximum)) < CLOSE);
    assert_true(fabs(d.difference - (d.second - d.first)) < CLOSE);
    assert_true(fabs(d.low - percentile(differences, RESAMPLES, 0.05)) < CLOSE);
    assert_true(fabs(d.high - percentile(differences, RESAMPLES, 0.95)) < CLOSE);
    assert_true(fabs(d.share_above - above / RESAMPLES) < CLOSE);
    assert_true(d.low < d.high && d.difference < 0.0); /* the second is the noisier one */
}

static void test_against_loops(void **state)
{
    m2snet_context *context = open_context("cpu", 2);
    m2snet_evaluator *good = make_set(context, 0, 7, 2), *bad = make_set(context, 0, 7, 3);

    (void)state;
    check_against_loops(good, bad, "dice", false);
    check_against_loops(good, bad, "em_max", true);
    m2snet_evaluator_destroy(good);
    m2snet_evaluator_destroy(bad);
    m2snet_context_destroy(context);
}

/* Of many images the percentile interval is close to mean -+ 1.96 deviation / sqrt(n). 10000 resamples leave about 2 %
 * of the interval's width as noise, skewness a little more: 8 % is allowed. */
static void test_against_normal(void **state)
{
    enum { IMAGES = 300 };
    m2snet_context *context = open_context("cpu", 2);
    m2snet_evaluator *good = make_set(context, 0, IMAGES, 2), *bad = make_set(context, 0, IMAGES, 3);
    m2snet_difference d = { .struct_size = sizeof d };
    m2snet_error error;
    double sum = 0.0, squares = 0.0;

    (void)state;
    OK(m2snet_evaluator_compare(good, bad, "mae", NULL, &d, &error));
    for (int32_t i = 0; i < IMAGES; i++) {
        m2snet_scores a = { .struct_size = sizeof a }, b = { .struct_size = sizeof b };
        OK(m2snet_evaluator_image_scores(good, i, &a, &error));
        OK(m2snet_evaluator_image_scores(bad, i, &b, &error));
        sum += b.mae - a.mae;
        squares += (b.mae - a.mae) * (b.mae - a.mae);
    }
    double mean = sum / IMAGES, half = 1.96 * sqrt((squares / IMAGES - mean * mean) / IMAGES);
    assert_true(fabs(d.difference - mean) < CLOSE);
    assert_true(half > 0.0 && fabs((d.high - d.low) / (2 * half) - 1.0) < 0.08);
    assert_true(fabs((d.high + d.low) / 2 - mean) < 0.08 * half);
    m2snet_evaluator_destroy(good);
    m2snet_evaluator_destroy(bad);
    m2snet_context_destroy(context);
}

static void test_any_number_of_threads(void **state)
{
    static const char *const keys[] = { "dice", "em_max", "hd95", "wfm" };
    m2snet_difference d[2][COUNT(keys)];
    m2snet_error error;

    (void)state;
    for (int i = 0; i < 2; i++) {
        m2snet_context *context = open_context("cpu", i == 0 ? 1 : 4);
        m2snet_evaluator *good = make_set(context, 0, 9, 2), *bad = make_set(context, 0, 9, 3);
        for (size_t k = 0; k < COUNT(keys); k++) {
            memset(&d[i][k], 0, sizeof d[i][k]);
            d[i][k].struct_size = sizeof d[i][k];
            OK(m2snet_evaluator_compare(good, bad, keys[k], NULL, &d[i][k], &error));
        }
        m2snet_evaluator_destroy(good);
        m2snet_evaluator_destroy(bad);
        m2snet_context_destroy(context);
    }
    assert_memory_equal(d[0], d[1], sizeof d[0]);
}

/* Only images of both sides count, whatever their order; the same set differs from itself by nothing. */
static void test_pairing(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    m2snet_evaluator *first = make_set(context, 0, 6, 2), *all = make_set(context, 2, 4, 3);
    m2snet_evaluator *second, *alone = make_set(context, 2, 1, 3), *stranger = make_set(context, 50, 2, 2);
    m2snet_difference d = { .struct_size = sizeof d }, e = { .struct_size = sizeof e };
    m2snet_error error;

    (void)state;
    OK(m2snet_evaluator_create(context, NULL, &second, &error));
    for (int i = 9; i >= 2; i--) { /* backwards, and some that the first has not */
        add_picture(second, (uint64_t)i, 3);
    }
    OK(m2snet_evaluator_compare(first, second, "iou", NULL, &d, &error));
    assert_int_equal(d.pairs, 4);
    OK(m2snet_evaluator_compare(first, all, "iou", NULL, &e, &error));
    assert_memory_equal(&d, &e, sizeof d);
    OK(m2snet_evaluator_compare(second, first, "iou", NULL, &e, &error));
    assert_true(e.low == -d.high && e.high == -d.low && e.difference == -d.difference);
    OK(m2snet_evaluator_compare(first, first, "em_max", NULL, &d, &error));
    assert_true(d.difference == 0.0 && d.low == 0.0 && d.high == 0.0 && d.share_above == 0.5);
    OK(m2snet_evaluator_compare(first, alone, "dice", NULL, &d, &error));
    assert_true(d.pairs == 1 && isnan(d.low) && isnan(d.high) && d.difference != 0.0);
    REFUSE(m2snet_evaluator_compare(first, stranger, "dice", NULL, &d, &error), M2SNET_STATUS_MISMATCH, "no image");
    m2snet_evaluator_destroy(first);
    m2snet_evaluator_destroy(second);
    m2snet_evaluator_destroy(all);
    m2snet_evaluator_destroy(alone);
    m2snet_evaluator_destroy(stranger);
    m2snet_context_destroy(context);
}

/* A distance that is undefined on one side leaves the image out. */
static void test_undefined(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    m2snet_evaluator *first = make_set(context, 0, 3, 2), *second = make_set(context, 0, 2, 2);
    uint8_t p[W * H] = { 0 }, m[W * H] = { 0 };
    m2snet_image prediction = gray(p), mask = gray(m);
    m2snet_difference d = { .struct_size = sizeof d };
    m2snet_error error;

    (void)state;
    draw(2, 2, p, m);
    memset(p, 0, sizeof p);
    OK(m2snet_evaluator_add(second, "picture 2", &prediction, &mask, &error));
    OK(m2snet_evaluator_compare(first, second, "dice", NULL, &d, &error));
    assert_int_equal(d.pairs, 3);
    OK(m2snet_evaluator_compare(first, second, "assd", NULL, &d, &error));
    assert_int_equal(d.pairs, 2);
    m2snet_evaluator_destroy(first);
    m2snet_evaluator_destroy(second);
    m2snet_context_destroy(context);
}

static int stop_at_once(void *user, const m2snet_progress *progress)
{
    (void)user;
    assert_string_equal(progress->phase, "bootstrap");
    return 1;
}

static void test_misuse(void **state)
{
    m2snet_context *context = open_context("cpu", 2);
    m2snet_evaluator *first = make_set(context, 0, 3, 2), *second;
    m2snet_evaluator_options scoring;
    m2snet_compare_options options;
    m2snet_difference d = { .struct_size = sizeof d };
    static const uint8_t labels[] = { 0 };
    m2snet_error error;

    (void)state;
    REFUSE(m2snet_evaluator_compare(first, first, "nonsense", NULL, &d, &error), INVALID, "\"nonsense\"");
    REFUSE(m2snet_evaluator_compare(first, first, "authors_fm_max", NULL, &d, &error), INVALID, "authors_fm_max");
    REFUSE(m2snet_evaluator_compare(first, first, "authors_sm", NULL, &d, &error), M2SNET_STATUS_MISMATCH, "sm");
    REFUSE(m2snet_evaluator_compare(first, NULL, "dice", NULL, &d, &error), INVALID, "second");
    REFUSE(m2snet_evaluator_compare(first, first, NULL, NULL, &d, &error), INVALID, "key");
    m2snet_compare_options_init(NULL);
    m2snet_compare_options_init(&options);
    options.resamples = 99;
    REFUSE(m2snet_evaluator_compare(first, first, "dice", &options, &d, &error), INVALID, "resamples is 99");
    options.resamples = 1000001;
    REFUSE(m2snet_evaluator_compare(first, first, "dice", &options, &d, &error), INVALID, "1000000");
    m2snet_compare_options_init(&options);
    options.level = NAN;
    REFUSE(m2snet_evaluator_compare(first, first, "dice", &options, &d, &error), INVALID, "level");
    m2snet_compare_options_init(&options);
    options.control.progress = stop_at_once;
    REFUSE(m2snet_evaluator_compare(first, first, "dice", &options, &d, &error), M2SNET_STATUS_CANCELLED, "bootstrap");
    for (int i = 0; i < 3; i++) {
        m2snet_evaluator_options_init(&scoring);
        scoring.empty = i == 0 ? M2SNET_EMPTY_SKIP : M2SNET_EMPTY_ZERO;
        scoring.connectivity = i == 1 ? 2 : 1;
        scoring.surface_penalty = i == 2;
        OK(m2snet_evaluator_create(context, &scoring, &second, &error));
        REFUSE(m2snet_evaluator_compare(first, second, "dice", NULL, &d, &error), M2SNET_STATUS_MISMATCH, "different");
        m2snet_evaluator_destroy(second);
    }
    m2snet_evaluator_options_init(&scoring);
    scoring.without_surface = 1;
    OK(m2snet_evaluator_create(context, &scoring, &second, &error));
    REFUSE(m2snet_evaluator_compare(first, second, "hd", NULL, &d, &error), M2SNET_STATUS_UNSUPPORTED, "hd");
    m2snet_evaluator_destroy(second);
    m2snet_evaluator_options_init(&scoring);
    scoring.labels = labels;
    scoring.label_count = 1;
    OK(m2snet_evaluator_create(context, &scoring, &second, &error));
    REFUSE(m2snet_evaluator_compare(first, second, "dice", NULL, &d, &error), M2SNET_STATUS_UNSUPPORTED, "label");
    m2snet_evaluator_destroy(second);
    m2snet_evaluator_destroy(first);
    m2snet_context_destroy(context);
}

/* Each allocation of a comparison fails once: a status, no leak, and the next call works. */
static void test_memory(void **state)
{
    size_t failures = 0;

    (void)state;
    for (size_t n = 0;; n++) {
        faults f = { 0 };
        m2snet_allocator allocator = faults_allocator(&f);
        m2snet_context_options options;
        m2snet_compare_options comparing;
        m2snet_context *context;
        m2snet_difference d = { .struct_size = sizeof d };
        m2snet_error error;

        m2snet_context_options_init(&options);
        options.allocator = &allocator;
        options.threads = 1;
        OK(m2snet_context_create(&options, &context, &error));
        m2snet_evaluator *evaluator = make_set(context, 0, 3, 2);
        m2snet_compare_options_init(&comparing);
        comparing.resamples = 100;
        size_t live = f.live;
        f.fail_at = n == 0 ? 0 : f.calls + n;
        size_t before = f.calls;
        m2snet_status status = m2snet_evaluator_compare(evaluator, evaluator, "em_max", &comparing, &d, &error);
        bool done = n > 0 && f.calls - before < n;
        assert_int_equal(f.live, live);
        assert_int_equal(status, n == 0 || done ? M2SNET_STATUS_OK : M2SNET_STATUS_OUT_OF_MEMORY);
        failures += status != M2SNET_STATUS_OK;
        f.fail_at = 0;
        OK(m2snet_evaluator_compare(evaluator, evaluator, "em_max", &comparing, &d, &error));
        m2snet_evaluator_destroy(evaluator);
        m2snet_context_destroy(context);
        assert_int_equal(f.live, 0);
        if (done) {
            break;
        }
    }
    assert_true(failures >= 6); /* two lists, two tables of curves, draws, resamples */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calibration),
        cmocka_unit_test(test_areas),
        cmocka_unit_test(test_against_loops),
        cmocka_unit_test(test_against_normal),
        cmocka_unit_test(test_any_number_of_threads),
        cmocka_unit_test(test_pairing),
        cmocka_unit_test(test_undefined),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
