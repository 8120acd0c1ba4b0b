/* SPDX-License-Identifier: Apache-2.0
 * lib/eval/evaluator, score, labels, report and their public functions: sets, policies, failures, misuse, memory. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "common/comma_locale.h"
#include "common/faults.h"

#define INVALID M2SNET_STATUS_INVALID_ARGUMENT
#define W       24
#define H       18
#define CLOSE   1e-12

/* ---- pictures ---- */

typedef struct pair {
    uint8_t p[W * H], m[W * H];
    m2snet_image prediction, mask;
} pair;

static m2snet_image gray(const uint8_t *bytes)
{
    return (m2snet_image){ .data = bytes, .width = W, .height = H, .format = M2SNET_PIXEL_GRAY8 };
}

/* kind 0: a disc found with soft edges, 1: an empty mask, 2: both empty, 3: nothing found, 4: a mask of 0 and 1 */
static void fill(pair *f, int kind)
{
    for (int i = 0; i < W * H; i++) {
        int dy = i / W - 8, dx = i % W - 11, r = dy * dy + dx * dx;
        f->m[i] = r < 30 && kind != 1 && kind != 2 ? (kind == 4 ? 1 : 255) : 0;
        f->p[i] = (uint8_t)(kind == 2 || kind == 3 ? 0 : 255 / (1 + r / 10));
    }
    f->prediction = gray(f->p);
    f->mask = gray(f->m);
}

static m2snet_evaluator *open_evaluator(m2snet_context *context, const m2snet_evaluator_options *options)
{
    m2snet_evaluator *evaluator;
    m2snet_error error;

    OK(m2snet_evaluator_create(context, options, &evaluator, &error));
    return evaluator;
}

static void add(m2snet_evaluator *evaluator, const char *name, int kind)
{
    m2snet_error error;
    pair f;

    fill(&f, kind);
    OK(m2snet_evaluator_add(evaluator, name, &f.prediction, &f.mask, &error));
}

static m2snet_scores set_scores(const m2snet_evaluator *evaluator)
{
    m2snet_scores scores = { .struct_size = sizeof scores };
    m2snet_error error;

    OK(m2snet_evaluator_set_scores(evaluator, &scores, &error));
    return scores;
}

static m2snet_scores image_scores(const m2snet_evaluator *evaluator, int32_t index)
{
    m2snet_scores scores = { .struct_size = sizeof scores };
    m2snet_error error;

    OK(m2snet_evaluator_image_scores(evaluator, index, &scores, &error));
    return scores;
}

static m2snet_evaluator_options with_policy(m2snet_empty policy)
{
    m2snet_evaluator_options options;

    m2snet_evaluator_options_init(&options);
    options.empty = policy;
    return options;
}

/* ---- policies ---- */

static void test_policies(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    m2snet_set_info info = { .struct_size = sizeof info };
    m2snet_error error;

    (void)state;
    for (int policy = 0; policy < 3; policy++) {
        m2snet_evaluator_options options = with_policy((m2snet_empty)policy);
        m2snet_evaluator *evaluator = open_evaluator(context, &options);
        add(evaluator, "found", 0);
        add(evaluator, "false alarm", 1);
        add(evaluator, "both empty", 2);
        m2snet_scores found = image_scores(evaluator, 0), alarm = image_scores(evaluator, 1);
        m2snet_scores both = image_scores(evaluator, 2), set = set_scores(evaluator);
        double one = policy == M2SNET_EMPTY_ONE ? 1.0 : 0.0;

        assert_true(found.dice > 0.1 && found.dice < 1.0);
        assert_true(alarm.dice == 0.0 && alarm.wfm == 0.0 && alarm.mask_empty == 1 && alarm.prediction_empty == 0);
        assert_true(both.dice == one && both.iou == one && both.precision == one && both.recall == one);
        assert_true(both.f1 == one && both.wfm == one && both.fm_adp == one && both.prediction_empty == 1);
        assert_true(fabs(both.dice_mean - one * 255 / 256) < CLOSE); /* threshold 0 takes everything */
        assert_true(isnan(both.surface[0].hd) && both.surface_undefined == 1);
        OK(m2snet_evaluator_set_info(evaluator, &info, &error));
        assert_int_equal(info.scored, 3);
        assert_int_equal(info.empty_masks, 2);
        assert_int_equal(info.empty_predictions, 1);
        assert_int_equal(info.both_empty, 1);
        assert_int_equal(info.counted, policy == M2SNET_EMPTY_SKIP ? 1 : 3);
        double dice = policy == M2SNET_EMPTY_SKIP ? found.dice : (found.dice + one) / 3;
        assert_true(fabs(set.dice - dice) < CLOSE);
        /* Distances are means of what is defined, and the rest is counted. */
        assert_true(fabs(set.surface[0].hd95 - found.surface[0].hd95) < CLOSE);
        assert_int_equal(set.surface_undefined, policy == M2SNET_EMPTY_SKIP ? 0 : 2);
        assert_int_equal(set.tp, found.tp);
        m2snet_evaluator_destroy(evaluator);
    }
    m2snet_context_destroy(context);
}

static void test_penalty(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    const double spacing[] = { 2.0, 0.5 };
    m2snet_evaluator_options options = with_policy(M2SNET_EMPTY_ZERO);

    (void)state;
    options.surface_penalty = 1;
    options.spacings_mm = spacing;
    options.spacing_count = 1;
    m2snet_evaluator *evaluator = open_evaluator(context, &options);
    add(evaluator, "one empty", 1);
    add(evaluator, "both empty", 2);
    assert_true(fabs(image_scores(evaluator, 0).surface[0].hd95 - hypot(2.0 * H, 0.5 * W)) < CLOSE);
    assert_true(image_scores(evaluator, 1).surface[0].assd == 0.0);
    assert_int_equal(set_scores(evaluator).surface_undefined, 0);
    m2snet_evaluator_destroy(evaluator);
    m2snet_context_destroy(context);
}

/* ---- sets ---- */

static void test_curves_before_maximum(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    m2snet_evaluator *evaluator = open_evaluator(context, NULL);
    double curve[256], first[256], second[256];
    m2snet_error error;

    (void)state;
    add(evaluator, "a", 0);
    add(evaluator, "b", 1);
    m2snet_scores set = set_scores(evaluator);
    for (int c = 0; c <= M2SNET_CURVE_F1; c++) {
        OK(m2snet_evaluator_curve(evaluator, -1, (m2snet_curve)c, curve, &error));
        OK(m2snet_evaluator_curve(evaluator, 0, (m2snet_curve)c, first, &error));
        OK(m2snet_evaluator_curve(evaluator, 1, (m2snet_curve)c, second, &error));
        double sum = 0.0, best = 0.0;
        for (int t = 0; t < 256; t++) {
            assert_true(fabs(curve[t] - 0.5 * (first[t] + second[t])) < CLOSE);
            sum += curve[t] / 256;
            best = fmax(best, curve[t]);
        }
        if (c == M2SNET_CURVE_E) {
            assert_true(fabs(set.em_mean - sum) < CLOSE && fabs(set.em_max - best) < CLOSE);
        }
        if (c == M2SNET_CURVE_F) {
            assert_true(fabs(set.fm_mean - sum) < CLOSE && fabs(set.fm_max - best) < CLOSE);
        }
    }
    REFUSE(m2snet_evaluator_curve(evaluator, 0, (m2snet_curve)9, curve, &error), INVALID, "curve");
    REFUSE(m2snet_evaluator_curve(evaluator, 2, M2SNET_CURVE_E, curve, &error), INVALID, "2");
    m2snet_evaluator_destroy(evaluator);
    m2snet_context_destroy(context);
}

static void test_folds(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    m2snet_evaluator *evaluator = open_evaluator(context, NULL);
    m2snet_scores mean = { .struct_size = sizeof mean }, deviation = { .struct_size = sizeof deviation };
    m2snet_scores sample = { .struct_size = sizeof sample }, fold = { .struct_size = sizeof fold };
    m2snet_error error;

    (void)state;
    add(evaluator, "a", 0);
    REFUSE(m2snet_evaluator_folds(evaluator, 2, 0, &mean, &deviation, &error), INVALID, "folds");
    add(evaluator, "b", 3);
    add(evaluator, "c", 0);
    OK(m2snet_evaluator_folds(evaluator, 2, 0, &mean, &deviation, &error));
    OK(m2snet_evaluator_folds(evaluator, 2, 1, &mean, &sample, &error));
    double found = image_scores(evaluator, 0).dice; /* fold 0: a, c; fold 1: b, whose Dice is 0 */
    assert_true(fabs(mean.dice - found / 2) < CLOSE);
    assert_true(fabs(deviation.dice - found / 2) < CLOSE);
    assert_true(fabs(sample.dice - deviation.dice * sqrt(2.0)) < CLOSE);
    assert_true(isnan(mean.surface[0].assd)); /* undefined in fold 1: not the mean of fold 0 alone */
    OK(m2snet_evaluator_fold_scores(evaluator, 2, 0, &fold, &error));
    assert_true(fabs(fold.dice - found) < CLOSE);
    REFUSE(m2snet_evaluator_fold_scores(evaluator, 2, 2, &fold, &error), INVALID, "fold 2");
    REFUSE(m2snet_evaluator_folds(evaluator, 2, 2, &mean, &deviation, &error), INVALID, "ddof");
    REFUSE(m2snet_evaluator_folds(evaluator, 4, 0, &mean, &deviation, &error), INVALID, "folds is 4");
    m2snet_evaluator_destroy(evaluator);
    m2snet_context_destroy(context);
}

/* Some images alone have the scores of a set of their own. */
static void test_subset(void **state)
{
    static const int32_t some[3] = { 2, 0, 3 }, twice[2] = { 1, 1 };
    m2snet_context *context = open_context("cpu", 1);
    m2snet_evaluator *all = open_evaluator(context, NULL), *few = open_evaluator(context, NULL);
    m2snet_scores subset = { .struct_size = sizeof subset }, set = { .struct_size = sizeof set };
    m2snet_error error;

    (void)state;
    for (int i = 0; i < 5; i++) {
        add(all, "x", i % 4);
    }
    add(few, "x", 0);
    add(few, "x", 2);
    add(few, "x", 3);
    OK(m2snet_evaluator_subset_scores(all, some, 3, &subset, &error));
    OK(m2snet_evaluator_set_scores(few, &set, &error));
    assert_memory_equal(&subset, &set, sizeof set);
    OK(m2snet_evaluator_subset_scores(all, some, 1, &subset, &error));
    assert_true(subset.dice == image_scores(all, 2).dice);
    REFUSE(m2snet_evaluator_subset_scores(all, twice, 2, &subset, &error), INVALID, "index 1 of the subset is 1");
    REFUSE(m2snet_evaluator_subset_scores(all, &(int32_t){ 5 }, 1, &subset, &error), INVALID, "0 to 4 once");
    REFUSE(m2snet_evaluator_subset_scores(all, some, 0, &subset, &error), M2SNET_STATUS_MISMATCH, "no mean");
    m2snet_evaluator_destroy(few);
    m2snet_evaluator_destroy(all);
    m2snet_context_destroy(context);
}

static void test_nothing(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    m2snet_evaluator_options options = with_policy(M2SNET_EMPTY_SKIP);
    m2snet_evaluator *evaluator = open_evaluator(context, &options);
    m2snet_scores scores = { .struct_size = sizeof scores };
    m2snet_error error;
    const char *json;

    (void)state;
    REFUSE(m2snet_evaluator_set_scores(evaluator, &scores, &error), M2SNET_STATUS_MISMATCH, "no mean");
    add(evaluator, "skipped", 2);
    REFUSE(m2snet_evaluator_set_scores(evaluator, &scores, &error), M2SNET_STATUS_MISMATCH, "none of the 1");
    OK(m2snet_evaluator_json(evaluator, 4, &json, &error));
    assert_non_null(strstr(json, "\"dataset\": null"));
    assert_non_null(strstr(json, "\"empty_masks\": 1"));
    assert_null(strstr(json, "nan"));
    m2snet_evaluator_destroy(evaluator);
    m2snet_context_destroy(context);
}

/* ---- files ---- */

static void write_png(m2snet_context *context, const char *path, const m2snet_image *image)
{
    m2snet_error error;

    OK(m2snet_image_write_png(context, path, image, &error));
}

static void test_files(void **state)
{
    m2snet_context *context = open_context("cpu", 3);
    m2snet_scores from_file, from_memory;
    m2snet_error error;
    const char *json;
    scratch files;
    pair f;
    char good[160], mask[160], small[160], text[160], coded[160];
    int32_t failed = -1;

    (void)state;
    scratch_make(&files);
    fill(&f, 0);
    snprintf(good, sizeof good, "%s", scratch_path(&files, "good.png"));
    snprintf(mask, sizeof mask, "%s", scratch_path(&files, "mask.png"));
    snprintf(small, sizeof small, "%s", scratch_path(&files, "small.png"));
    snprintf(text, sizeof text, "%s", scratch_path(&files, "text.png"));
    snprintf(coded, sizeof coded, "%s", scratch_path(&files, "coded.png"));
    write_png(context, good, &f.prediction);
    write_png(context, mask, &f.mask);
    m2snet_image part = f.prediction;
    part.width -= 1;
    part.row_stride_bytes = W;
    write_png(context, small, &part);
    write_whole(text, "no picture", 10);
    fill(&f, 4);
    write_png(context, coded, &f.mask);
    const m2snet_file_pair pairs[] = { { "good", good, mask },           { "missing", "/no/such/file.png", mask },
                                       { "damaged", text, mask },        { "other size", small, mask },
                                       { "coded 0 and 1", good, coded }, { "again", good, mask } };

    m2snet_evaluator *evaluator = open_evaluator(context, NULL);
    OK(m2snet_evaluator_add_files(evaluator, pairs, (int32_t)COUNT(pairs), NULL, &failed, &error));
    assert_int_equal(failed, 3);
    assert_int_equal(m2snet_evaluator_count(evaluator), 6);
    for (int32_t i = 0; i < 6; i++) {
        assert_string_equal(m2snet_evaluator_name(evaluator, i), pairs[i].name);
    }
    from_file.struct_size = sizeof from_file;
    REFUSE(m2snet_evaluator_image_scores(evaluator, 1, &from_file, &error), M2SNET_STATUS_IO, "/no/such/file.png");
    REFUSE(m2snet_evaluator_image_scores(evaluator, 2, &from_file, &error), M2SNET_STATUS_FORMAT, "damaged");
    REFUSE(m2snet_evaluator_image_scores(evaluator, 3, &from_file, &error), M2SNET_STATUS_MISMATCH, "23 x 18");
    assert_null(m2snet_evaluator_warning(evaluator, 0));
    assert_non_null(strstr(m2snet_evaluator_warning(evaluator, 4), "0 and 1"));
    OK(m2snet_evaluator_add_failure(evaluator, "elsewhere", M2SNET_STATUS_LIMIT, "too large", &error));
    assert_int_equal(m2snet_evaluator_count(evaluator), 7);
    REFUSE(m2snet_evaluator_image_scores(evaluator, 6, &from_file, &error), M2SNET_STATUS_LIMIT,
           "elsewhere: too large");
    m2snet_set_info info = { .struct_size = sizeof info };
    OK(m2snet_evaluator_set_info(evaluator, &info, &error));
    assert_int_equal(info.scored, 3);
    assert_int_equal(info.failed, 4);
    OK(m2snet_evaluator_json(evaluator, 0, &json, &error));
    assert_non_null(strstr(json, "too large"));
    from_file = image_scores(evaluator, 5);
    fill(&f, 0);
    from_memory.struct_size = sizeof from_memory;
    OK(m2snet_score(context, &f.prediction, &f.mask, NULL, &from_memory, &error));
    assert_memory_equal(&from_file, &from_memory, sizeof from_file);
    m2snet_evaluator_destroy(evaluator);

    /* With resize_prediction the small one is scored, and that is said. */
    m2snet_evaluator_options options = with_policy(M2SNET_EMPTY_ZERO);
    options.resize_prediction = 1;
    evaluator = open_evaluator(context, &options);
    OK(m2snet_evaluator_add_files(evaluator, &pairs[3], 1, NULL, &failed, &error));
    assert_int_equal(failed, 0);
    assert_non_null(strstr(m2snet_evaluator_warning(evaluator, 0), "resized"));
    assert_true(image_scores(evaluator, 0).dice > 0.5);
    m2snet_evaluator_destroy(evaluator);
    scratch_remove(&files);
    m2snet_context_destroy(context);
}

static int stop_at_once(void *user, const m2snet_progress *progress)
{
    (void)user;
    assert_string_equal(progress->phase, "score");
    return 1;
}

static void test_cancel(void **state)
{
    m2snet_context *context = open_context("cpu", 2);
    m2snet_evaluator *evaluator = open_evaluator(context, NULL);
    m2snet_cancel *cancel;
    m2snet_error error;
    const m2snet_file_pair files = { "a", "/no/such/file.png", "/no/such/file.png" };
    m2snet_control control = { .progress = stop_at_once };

    (void)state;
    OK(m2snet_cancel_create(&cancel, &error));
    m2snet_cancel_request(cancel);
    control.cancel = cancel;
    REFUSE(m2snet_evaluator_add_files(evaluator, &files, 1, &control, NULL, &error), M2SNET_STATUS_CANCELLED, "score");
    assert_int_equal(m2snet_evaluator_count(evaluator), 0);
    m2snet_cancel_destroy(cancel);
    m2snet_evaluator_destroy(evaluator);
    m2snet_context_destroy(context);
}

/* The report of a few pairs, files among them, with that many threads; free it. */
static char *report_with(int32_t threads, const char *const *paths)
{
    m2snet_context *context = open_context("cpu", threads);
    m2snet_evaluator *evaluator = open_evaluator(context, NULL);
    m2snet_file_pair pairs[12];
    m2snet_error error;
    const char *json;

    for (int i = 0; i < 12; i++) {
        pairs[i] = (m2snet_file_pair){ "n", paths[i % 3], paths[(i + 1) % 3] };
    }
    OK(m2snet_evaluator_add_files(evaluator, pairs, 12, NULL, NULL, &error));
    OK(m2snet_evaluator_json(evaluator, 3, &json, &error));
    char *copy = strdup(json);
    m2snet_evaluator_destroy(evaluator);
    m2snet_context_destroy(context);
    return copy;
}

static void test_any_number_of_threads(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    const char *paths[3];
    scratch files;
    pair f;

    (void)state;
    scratch_make(&files);
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d.png", i);
        paths[i] = scratch_path(&files, name);
        fill(&f, i == 1 ? 3 : 0);
        f.p[i] = (uint8_t)(77 * i);
        write_png(context, paths[i], i == 2 ? &f.mask : &f.prediction);
    }
    char *one = report_with(1, paths), *four = report_with(4, paths);
    assert_string_equal(one, four);
    bool comma = comma_locale_enter();
    char *other = report_with(2, paths);
    comma_locale_leave();
    assert_string_equal(one, other);
    assert_non_null(strstr(one, "\"1.0,1.0\""));
    if (!comma) {
        print_message("no comma locale here\n");
    }
    free(one);
    free(four);
    free(other);
    scratch_remove(&files);
    m2snet_context_destroy(context);
}

/* ---- labels ---- */

static void test_labels(void **state)
{
    static const uint8_t labels[] = { 0, 80, 160 };
    uint8_t p[5 * 4], m[5 * 4]; /* 5 rows: background, layer 0, layer 0, layer 80, background */
    m2snet_image prediction = { .data = p, .width = 4, .height = 5, .format = M2SNET_PIXEL_GRAY8 };
    m2snet_image mask = { .data = m, .width = 4, .height = 5, .format = M2SNET_PIXEL_GRAY8 };
    const double spacing[] = { 3.0, 1.0 };
    m2snet_context *context = open_context("cpu", 1);
    m2snet_evaluator_options options = with_policy(M2SNET_EMPTY_ZERO);
    m2snet_label_scores s[3];
    m2snet_scores scores = { .struct_size = sizeof scores };
    m2snet_error error;
    const char *json;

    (void)state;
    memset(p, 255, sizeof p);
    memset(m, 255, sizeof m);
    memset(m + 4, 0, 8);
    memset(m + 12, 80, 4);
    memset(p + 4, 0, 12);      /* the first layer grown by a row, at the second's expense */
    p[4] = p[8] = p[12] = 255; /* and absent from column 0 */
    options.labels = labels;
    options.label_count = 3;
    options.spacings_mm = spacing;
    options.spacing_count = 1;
    for (int i = 0; i < 3; i++) {
        s[i].struct_size = sizeof s[i];
    }
    OK(m2snet_score_labels(context, &prediction, &mask, &options, s, &error));
    assert_int_equal(s[0].tp, 6);
    assert_int_equal(s[0].n_pred, 9);
    assert_int_equal(s[0].n_gt, 8);
    assert_true(fabs(s[0].dice - 12.0 / 17.0) < CLOSE);
    assert_int_equal(s[0].columns_both, 3);
    assert_int_equal(s[0].columns_gt_only, 1);
    assert_int_equal(s[0].columns_pred_only, 0);
    assert_true(s[0].spacing[0].med_top == 0.0 && s[0].spacing[0].med_bottom == 3.0 && s[0].spacing[0].med == 1.5);
    assert_true(s[1].n_pred == 0 && s[1].dice == 0.0 && isnan(s[1].spacing[0].med) && s[1].boundary_undefined == 1);
    assert_true(s[2].n_gt == 0 && s[2].dice == 0.0 && s[2].surface_undefined == 1);

    m2snet_evaluator *evaluator = open_evaluator(context, &options);
    OK(m2snet_evaluator_add(evaluator, "scan", &prediction, &mask, &error));
    OK(m2snet_evaluator_add(evaluator, "perfect", &mask, &mask, &error));
    OK(m2snet_evaluator_set_label(evaluator, 0, &s[0], &error));
    assert_true(fabs(s[0].dice - 0.5 * (1.0 + 12.0 / 17.0)) < CLOSE);
    assert_true(s[0].spacing[0].med == 0.75);
    OK(m2snet_evaluator_set_label(evaluator, 1, &s[1], &error));
    assert_true(s[1].boundary_undefined == 1 && s[1].spacing[0].med == 0.0); /* of the one that has it */
    REFUSE(m2snet_evaluator_set_label(evaluator, 3, &s[1], &error), INVALID, "label 3");
    REFUSE(m2snet_evaluator_set_scores(evaluator, &scores, &error), M2SNET_STATUS_UNSUPPORTED, "label maps");
    OK(m2snet_evaluator_json(evaluator, 0, &json, &error));
    assert_non_null(strstr(json, "\"layers\""));
    m2snet_evaluator_destroy(evaluator);
    REFUSE(m2snet_score(context, &prediction, &mask, &options, &scores, &error), INVALID, "m2snet_score_labels");
    REFUSE(m2snet_score_labels(context, &prediction, &mask, NULL, s, &error), INVALID, "labels");
    m2snet_context_destroy(context);
}

/* ---- misuse ---- */

static void refuse_options(m2snet_context *context, const m2snet_evaluator_options *options, const char *part)
{
    m2snet_evaluator *evaluator = (m2snet_evaluator *)(uintptr_t)options;
    m2snet_error error;

    REFUSE(m2snet_evaluator_create(context, options, &evaluator, &error), INVALID, part);
    assert_null(evaluator);
}

static void test_options(void **state)
{
    static const uint8_t labels[] = { 1, 2, 1 };
    static const char *const names[] = { "a", "\xff", "c" };
    const double spacings[] = { 1.0, 1.0, 1.0, 0.0, 1.0, 1.0 };
    m2snet_context *context = open_context("cpu", 1);
    const m2snet_evaluator_options usual = with_policy(M2SNET_EMPTY_ZERO);
    m2snet_evaluator_options o = usual;

    (void)state;
    o.profile = (m2snet_profile)3;
    refuse_options(context, &o, "profile is 3");
    o = usual, o.empty = (m2snet_empty)-1;
    refuse_options(context, &o, "empty is -1");
    o = usual, o.connectivity = 4;
    refuse_options(context, &o, "connectivity is 4");
    o = usual, o.spacing_count = 9;
    refuse_options(context, &o, "spacing_count is 9");
    o = usual, o.spacing_count = 1;
    refuse_options(context, &o, "spacings_mm is NULL");
    o.spacings_mm = spacings, o.spacing_count = 2;
    refuse_options(context, &o, "spacings_mm[3]");
    const double twice[] = { 1.0, 2.0, 1.0, 2.0 };
    o.spacings_mm = twice;
    refuse_options(context, &o, "1.0,2.0 is there twice");
    o = usual, o.label_count = 65;
    refuse_options(context, &o, "label_count is 65");
    o = usual, o.label_count = 1;
    refuse_options(context, &o, "labels is NULL");
    o.labels = labels, o.label_count = 3;
    refuse_options(context, &o, "label 1");
    o.label_count = 2, o.label_names = names;
    refuse_options(context, &o, "label_names[1]");
    o.label_names = NULL, o.resize_prediction = 1;
    refuse_options(context, &o, "resize_prediction");
    o = usual, o.struct_size = 0;
    refuse_options(context, &o, "struct_size");
    m2snet_context_destroy(context);
}

static void test_misuse(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    m2snet_evaluator *evaluator = open_evaluator(context, NULL);
    m2snet_scores scores = { .struct_size = sizeof scores };
    const m2snet_file_pair hole = { "a", NULL, "b" };
    m2snet_error error;
    const char *json;
    pair f;

    (void)state;
    fill(&f, 0);
    m2snet_evaluator_options_init(NULL);
    m2snet_evaluator_destroy(NULL);
    assert_int_equal(m2snet_evaluator_count(NULL), 0);
    assert_null(m2snet_evaluator_name(NULL, 0));
    assert_null(m2snet_evaluator_name(evaluator, 0));
    assert_null(m2snet_evaluator_warning(evaluator, -1));
    REFUSE(m2snet_evaluator_add(NULL, "a", &f.prediction, &f.mask, &error), INVALID, "evaluator");
    REFUSE(m2snet_evaluator_add(evaluator, NULL, &f.prediction, &f.mask, &error), INVALID, "name");
    REFUSE(m2snet_evaluator_add(evaluator, "\xff", &f.prediction, &f.mask, &error), INVALID, "UTF-8");
    REFUSE(m2snet_evaluator_add(evaluator, "a", NULL, &f.mask, &error), INVALID, "prediction");
    m2snet_image bad = f.mask;
    bad.data = NULL;
    REFUSE(m2snet_evaluator_add(evaluator, "a", &f.prediction, &bad, &error), INVALID, "the mask");
    bad = f.mask;
    bad.height--;
    REFUSE(m2snet_evaluator_add(evaluator, "a", &f.prediction, &bad, &error), M2SNET_STATUS_MISMATCH, "24 x 17");
    REFUSE(m2snet_evaluator_add_failure(evaluator, "a", M2SNET_STATUS_OK, "", &error), INVALID, "failure is OK");
    REFUSE(m2snet_evaluator_add_failure(evaluator, "a", M2SNET_STATUS_IO, "\xff", &error), INVALID, "UTF-8");
    REFUSE(m2snet_evaluator_add_failure(evaluator, "a", M2SNET_STATUS_IO, NULL, &error), INVALID, "message");
    REFUSE(m2snet_evaluator_add_files(evaluator, &hole, 1, NULL, NULL, &error), INVALID, "pairs[0]");
    REFUSE(m2snet_evaluator_add_files(evaluator, &hole, 0, NULL, NULL, &error), INVALID, "count is 0");
    assert_int_equal(m2snet_evaluator_count(evaluator), 0);
    add(evaluator, "fine", 0);
    scores.struct_size = 0;
    REFUSE(m2snet_evaluator_image_scores(evaluator, 0, &scores, &error), INVALID, "struct_size");
    REFUSE(m2snet_evaluator_image_scores(evaluator, 1, &scores, &error), INVALID, "pair 1");
    REFUSE(m2snet_evaluator_image_label(evaluator, 0, 0, NULL, &error), M2SNET_STATUS_UNSUPPORTED, "labels");
    REFUSE(m2snet_evaluator_json(evaluator, 1, &json, &error), INVALID, "folds");
    /* An older caller's smaller struct gets what it has room for. */
    struct {
        size_t struct_size;
        int32_t height, width;
        int64_t tp;
    } old = { .struct_size = sizeof old };
    OK(m2snet_score(context, &f.prediction, &f.mask, NULL, (m2snet_scores *)(void *)&old, &error));
    assert_true(old.height == H && old.width == W && old.tp > 0);
    m2snet_evaluator_destroy(evaluator);
    m2snet_context_destroy(context);
}

/* ---- memory ---- */

static m2snet_status work(m2snet_context *context, const char *path)
{
    static const uint8_t labels[] = { 0, 255 };
    m2snet_evaluator_options options = with_policy(M2SNET_EMPTY_ZERO);
    m2snet_file_pair pairs[2] = { { "a", path, path }, { "b", "/no/such/file.png", path } };
    m2snet_evaluator *evaluator = NULL;
    m2snet_label_scores label = { .struct_size = sizeof label };
    m2snet_scores mean = { .struct_size = sizeof mean }, deviation = mean;
    const char *json;
    m2snet_status status = M2SNET_STATUS_OK;
    pair f;

    fill(&f, 4);
    options.profile = M2SNET_PROFILE_AUTHORS;
    for (int i = 0; i < 2 && status == M2SNET_STATUS_OK; i++) {
        options.labels = i == 1 ? labels : NULL;
        options.label_count = i == 1 ? 2 : 0;
        options.resize_prediction = i == 0;
        status = m2snet_evaluator_create(context, &options, &evaluator, NULL);
        status = status ? status : m2snet_evaluator_add(evaluator, "m", &f.prediction, &f.mask, NULL);
        status = status ? status : m2snet_evaluator_add_files(evaluator, pairs, 2, NULL, NULL, NULL);
        status = status ? status : m2snet_evaluator_add_failure(evaluator, "f", M2SNET_STATUS_IO, "gone", NULL);
        status = status ? status : m2snet_evaluator_json(evaluator, 2, &json, NULL);
        if (i == 0) {
            m2snet_image part = f.prediction;
            part.height--;
            status = status ? status : m2snet_evaluator_add(evaluator, "r", &part, &f.mask, NULL);
            status = status ? status : m2snet_evaluator_folds(evaluator, 2, 0, &mean, &deviation, NULL);
            status = status ? status : m2snet_score(context, &f.prediction, &f.mask, &options, &mean, NULL);
        } else {
            status = status ? status : m2snet_evaluator_set_label(evaluator, 0, &label, NULL);
        }
        m2snet_evaluator_destroy(evaluator);
        evaluator = NULL;
    }
    return status;
}

static void test_failed_allocations(void **state)
{
    m2snet_context *plain = open_context("cpu", 1);
    scratch files;
    pair f;
    int failures = 0;

    (void)state;
    scratch_make(&files);
    fill(&f, 0);
    const char *path = scratch_path(&files, "a.png");
    write_png(plain, path, &f.prediction);
    m2snet_context_destroy(plain);
    for (size_t n = 1;; n++) {
        faults f_alloc = { .fail_at = 0 };
        m2snet_allocator allocator = faults_allocator(&f_alloc);
        m2snet_context_options options;
        m2snet_context *context;
        m2snet_error error;
        m2snet_context_options_init(&options);
        options.allocator = &allocator;
        options.threads = 1;
        options.backend = "ref";
        OK(m2snet_context_create(&options, &context, &error));
        size_t before = atomic_load(&f_alloc.calls), live = atomic_load(&f_alloc.live);
        f_alloc.fail_at = before + n;
        m2snet_status status = work(context, path);
        assert_true(status == M2SNET_STATUS_OK || status == M2SNET_STATUS_OUT_OF_MEMORY);
        failures += status == M2SNET_STATUS_OUT_OF_MEMORY;
        assert_int_equal(atomic_load(&f_alloc.live), live);
        bool all = atomic_load(&f_alloc.calls) < before + n;
        m2snet_context_destroy(context);
        assert_int_equal(atomic_load(&f_alloc.live), 0);
        if (all) {
            assert_int_equal(status, M2SNET_STATUS_OK);
            break;
        }
    }
    assert_true(failures > 60);
    scratch_remove(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_penalty),
        cmocka_unit_test(test_curves_before_maximum),
        cmocka_unit_test(test_folds),
        cmocka_unit_test(test_subset),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_any_number_of_threads),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_failed_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
