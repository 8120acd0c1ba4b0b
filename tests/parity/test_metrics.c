/* SPDX-License-Identifier: Apache-2.0
 * Every metric against numbers that the public tools gave for the same files: tests/data/metrics, or the folder that
 * M2SNET_METRIC_VECTORS names (the same format, more pictures). */
#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "core/file.h"
#include "core/json.h"
#include "eval/evaluator.h"

/* Our double arithmetic and the tools' differ in the order of sums: 1e-14 was seen. */
#define SPEC_TOLERANCE 1e-9
/* The authors' script computes its S-measure in float32. */
#define FLOAT32_TOLERANCE 1e-7
/* PraNet's MATLAB code holds distances in single precision. */
#define SINGLE_DISTANCE_TOLERANCE 2e-8

#define MAX_PAIRS 64

static m2s_memory memory;
static const char *vectors;

/* ---- files ---- */

static m2s_json *read_json(const char *folder, const char *id, const char *suffix)
{
    static const m2s_json_source source = { "vector", M2SNET_STATUS_FORMAT };
    char path[512];
    m2snet_error error;
    uint8_t *text;
    size_t bytes;
    m2s_json *json;

    snprintf(path, sizeof path, "%s/%s%s", folder, id, suffix);
    OK(m2s_file_read(&memory, path, 1u << 26, NULL, &text, &bytes, &error));
    OK(m2s_json_parse(&source, (const char *)text, bytes, &json, &error));
    m2s_free(&memory, text);
    return json;
}

typedef struct pair_set {
    char names[MAX_PAIRS][64];
    char predictions[MAX_PAIRS][512], masks[MAX_PAIRS][512];
    m2snet_file_pair pairs[MAX_PAIRS];
    int32_t count;
} pair_set;

static void add_pair(pair_set *set, const char *folder, const char *id)
{
    int32_t i = set->count++;

    assert_true(i < MAX_PAIRS);
    snprintf(set->names[i], sizeof set->names[i], "%s", id);
    snprintf(set->predictions[i], sizeof set->predictions[i], "%s/%s_pred.png", folder, id);
    snprintf(set->masks[i], sizeof set->masks[i], "%s/%s_mask.png", folder, id);
    set->pairs[i] = (m2snet_file_pair){ set->names[i], set->predictions[i], set->masks[i] };
}

/* All pairs of a folder whose name begins like that, sorted. */
static void find_pairs(pair_set *set, const char *folder, const char *start)
{
    char pattern[512];
    glob_t found;

    set->count = 0;
    snprintf(pattern, sizeof pattern, "%s/%s*_pred.png", folder, start);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char id[64];
        const char *name = strrchr(found.gl_pathv[i], '/') + 1;
        snprintf(id, sizeof id, "%.*s", (int)(strlen(name) - strlen("_pred.png")), name);
        add_pair(set, folder, id);
    }
    globfree(&found);
    assert_true(set->count > 0);
}

static void list_pairs(pair_set *set, const m2s_json *members)
{
    set->count = 0;
    for (size_t i = 0; i < m2s_json_count(members); i++) {
        add_pair(set, vectors, m2s_json_string(m2s_json_at(members, i), NULL));
    }
}

/* ---- comparing ---- */

static int numbers_compared;

/* Every member of expected is in actual, with the same number (or null) in the tolerance. */
static void compare(const char *where, const m2s_json *actual, const m2s_json *expected, double tolerance)
{
    m2s_json_cursor cursor = { 0 };

    while (m2s_json_next(expected, &cursor)) {
        const m2s_json *mine = m2s_json_find(actual, cursor.key);
        char path[256];
        double a, b;
        snprintf(path, sizeof path, "%s/%s", where, cursor.key);
        if (mine == NULL) {
            fail_msg("%s: missing", path);
        }
        if (m2s_json_kind_of(cursor.value) == M2S_JSON_OBJECT) {
            compare(path, mine, cursor.value, tolerance);
        } else if (m2s_json_number(cursor.value, &b)) {
            if (!m2s_json_number(mine, &a) || !(fabs(a - b) <= tolerance)) {
                fail_msg("%s: %.17g, expected %.17g", path, m2s_json_number(mine, &a) ? a : (double)NAN, b);
            }
            numbers_compared++;
        } else if (m2s_json_kind_of(cursor.value) == M2S_JSON_NULL) {
            if (m2s_json_kind_of(mine) != M2S_JSON_NULL) {
                fail_msg("%s: expected null", path);
            }
            numbers_compared++;
        }
    }
}

/* One number under a key of each; keys may differ. expected null or absent is not compared. */
static void compare_one(const char *id, const m2s_json *actual, const char *key, const m2s_json *expected,
                        const char *expected_key, double tolerance)
{
    const m2s_json *mine = m2s_json_find(actual, key);
    double a = NAN, b;

    assert_non_null(mine);
    if (m2s_json_number(m2s_json_find(expected, expected_key), &b)) {
        if (!m2s_json_number(mine, &a) || !(fabs(a - b) <= tolerance)) {
            fail_msg("%s/%s: %.17g, expected %.17g", id, key, a, b);
        }
        numbers_compared++;
    }
}

/* ---- running ---- */

static const double spacings[] = { 1.0, 1.0, 0.5, 2.0 };

static m2snet_evaluator_options usual_options(void)
{
    m2snet_evaluator_options options;

    m2snet_evaluator_options_init(&options);
    options.spacings_mm = spacings;
    options.spacing_count = 2;
    return options;
}

/* Scores the pairs with that many threads; the evaluator's report is parsed into *report. */
static m2snet_evaluator *score(const pair_set *set, const m2snet_evaluator_options *options, int32_t threads,
                               m2s_json **report)
{
    static const m2s_json_source source = { "report", M2SNET_STATUS_FORMAT };
    m2snet_context *context = open_context("cpu", threads);
    m2snet_evaluator *evaluator;
    m2snet_error error;
    const char *json;
    int32_t failed = -1;

    OK(m2snet_evaluator_create(context, options, &evaluator, &error));
    OK(m2snet_evaluator_add_files(evaluator, set->pairs, set->count, NULL, &failed, &error));
    assert_int_equal(failed, 0);
    assert_int_equal(m2snet_evaluator_count(evaluator), set->count);
    OK(m2snet_evaluator_json(evaluator, 4, &json, &error));
    OK(m2s_json_parse(&source, json, strlen(json), report, &error));
    m2snet_context_destroy(context); /* the evaluator keeps it alive */
    return evaluator;
}

static const m2s_json *image_at(const m2s_json *report, int32_t i, const char *name)
{
    const m2s_json *image = m2s_json_at(m2s_json_find(report, "images"), (size_t)i);

    assert_string_equal(m2s_json_string(m2s_json_find(image, "name"), NULL), name);
    return image;
}

/* ---- tests ---- */

static void test_every_pair(void **state)
{
    m2snet_evaluator_options options = usual_options();
    static pair_set set;
    m2s_json *report;

    (void)state;
    find_pairs(&set, vectors, "v[0-9]");
    m2snet_evaluator *evaluator = score(&set, &options, 2, &report);
    numbers_compared = 0;
    for (int32_t i = 0; i < set.count; i++) {
        m2s_json *vector = read_json(vectors, set.names[i], ".json");
        compare(set.names[i], image_at(report, i, set.names[i]), m2s_json_find(vector, "spec"), SPEC_TOLERANCE);
        m2s_json_free(vector);
    }
    assert_true(numbers_compared >= 33 * 50);
    m2s_json_free(report);
    m2snet_evaluator_destroy(evaluator);
}

static void test_sweep_counts(void **state)
{
    m2snet_evaluator_options options = usual_options();
    static pair_set set;
    m2s_json *report;
    int curves = 0;

    (void)state;
    find_pairs(&set, M2S_TEST_DATA "/metrics", "v[0-9]");
    m2snet_evaluator *evaluator = score(&set, &options, 1, &report);
    for (int32_t i = 0; i < set.count; i++) {
        m2s_json *vector = read_json(M2S_TEST_DATA "/metrics", set.names[i], ".json");
        const m2s_json *tp = m2s_json_find(vector, "tp"), *fp = m2s_json_find(vector, "fp");
        for (size_t t = 0; t < m2s_json_count(tp); t++) {
            int64_t want_tp, want_fp;
            assert_true(m2s_json_integer(m2s_json_at(tp, t), &want_tp));
            assert_true(m2s_json_integer(m2s_json_at(fp, t), &want_fp));
            assert_int_equal(evaluator->items[i].pair->sweep.tp[t], want_tp);
            assert_int_equal(evaluator->items[i].pair->sweep.fp[t], want_fp);
        }
        curves += tp != NULL;
        m2s_json_free(vector);
    }
    assert_true(curves >= 4);
    m2s_json_free(report);
    m2snet_evaluator_destroy(evaluator);
}

static void test_eight_neighbours(void **state)
{
    static const char *const keys[] = { "hd", "hd95", "assd", "asd_pred_to_gt", "asd_gt_to_pred", "hd95_maxdir" };
    static const char *const spacing_keys[] = { "1.0,1.0", "0.5,2.0" };
    m2snet_evaluator_options options = usual_options();
    static pair_set set;
    m2s_json *report;

    (void)state;
    options.connectivity = 2;
    find_pairs(&set, vectors, "v[0-9]");
    m2snet_evaluator *evaluator = score(&set, &options, 2, &report);
    numbers_compared = 0;
    for (int32_t i = 0; i < set.count; i++) {
        m2s_json *vector = read_json(vectors, set.names[i], ".json");
        const m2s_json *medpy = m2s_json_find(m2s_json_find(vector, "tools"), "medpy");
        const m2s_json *surface = m2s_json_find(image_at(report, i, set.names[i]), "surface");
        for (int s = 0; s < 2; s++) {
            for (size_t k = 0; k < COUNT(keys); k++) {
                char key[64];
                snprintf(key, sizeof key, "%s_conn2", keys[k]);
                compare_one(set.names[i], m2s_json_find(surface, spacing_keys[s]), keys[k],
                            m2s_json_find(medpy, spacing_keys[s]), key, SPEC_TOLERANCE);
            }
        }
        m2s_json_free(vector);
    }
    assert_true(numbers_compared >= 28 * 12);
    m2s_json_free(report);
    m2snet_evaluator_destroy(evaluator);
}

/* Where rounding in the script, not arithmetic, decides whether a constant quadrant scores 0 or 1. */
static bool rounding_decides(const char *id)
{
    return strcmp(id, "v35_const_quadrant") == 0;
}

static void test_authors(void **state)
{
    static const char *const keys[] = { "mae", "fm_max", "fm_adp", "em", "wfm", "dice_soft", "iou", "ber", "acc" };
    m2snet_evaluator_options options = usual_options();
    static pair_set set;
    m2s_json *report;

    (void)state;
    options.profile = M2SNET_PROFILE_AUTHORS;
    find_pairs(&set, vectors, "v[0-9]");
    m2snet_evaluator *evaluator = score(&set, &options, 2, &report);
    numbers_compared = 0;
    for (int32_t i = 0; i < set.count; i++) {
        const char *id = set.names[i];
        m2s_json *vector = read_json(vectors, id, ".json");
        const m2s_json *tool = m2s_json_find(m2s_json_find(vector, "tools"), "m2snet_authors");
        const m2s_json *mine = m2s_json_find(image_at(report, i, id), "authors");
        for (size_t k = 0; k < COUNT(keys); k++) {
            compare_one(id, mine, keys[k], tool, keys[k], SPEC_TOLERANCE);
        }
        if (!rounding_decides(id)) {
            compare_one(id, mine, "sm", tool, "sm", FLOAT32_TOLERANCE);
        }
        /* The default's numbers are there as ever. */
        compare(id, image_at(report, i, id), m2s_json_find(vector, "spec"), SPEC_TOLERANCE);
        m2s_json_free(vector);
    }
    assert_true(numbers_compared >= 33 * 55);
    m2s_json_free(report);
    m2snet_evaluator_destroy(evaluator);
}

static bool full_range(const m2s_json *vector)
{
    const m2s_json *input = m2s_json_find(vector, "input");
    int64_t low = -1, high = -1;

    m2s_json_integer(m2s_json_find(input, "pred_min"), &low);
    m2s_json_integer(m2s_json_find(input, "pred_max"), &high);
    return low == 0 && high == 255;
}

static void test_pranet(void **state)
{
    static const char *const keys[] = { "em_mean", "em_max",   "iou_mean", "iou_max",   "sen_mean",
                                        "sen_max", "spe_mean", "spe_max",  "dice_mean", "dice_max" };
    m2snet_evaluator_options options = usual_options();
    static pair_set set;
    m2s_json *report;

    (void)state;
    options.profile = M2SNET_PROFILE_PRANET;
    find_pairs(&set, vectors, "v[0-9]");
    m2snet_evaluator *evaluator = score(&set, &options, 2, &report);
    numbers_compared = 0;
    for (int32_t i = 0; i < set.count; i++) {
        const char *id = set.names[i];
        m2s_json *vector = read_json(vectors, id, ".json");
        const m2s_json *tools = m2s_json_find(vector, "tools");
        const m2s_json *own = m2s_json_find(tools, "pranet_matlab_octave");
        const m2s_json *exact = m2s_json_find(tools, "pranet_matlab_octave_k255");
        const m2s_json *mine = m2s_json_find(image_at(report, i, id), "pranet");
        compare_one(id, mine, "mae", own, "mae", SPEC_TOLERANCE);
        compare_one(id, mine, "wfm", own, "wfm_exact_bwdist", SINGLE_DISTANCE_TOLERANCE);
        if (!rounding_decides(id)) {
            compare_one(id, mine, "sm", own, "sm", SPEC_TOLERANCE);
        }
        for (size_t k = 0; full_range(vector) && k < COUNT(keys); k++) {
            compare_one(id, mine, keys[k], exact, keys[k], SPEC_TOLERANCE);
        }
        m2s_json_free(vector);
    }
    assert_true(numbers_compared >= 200);
    m2s_json_free(report);
    m2snet_evaluator_destroy(evaluator);
}

static void compare_set(const char *name, const m2s_json *expected)
{
    m2snet_evaluator_options options = usual_options();
    const m2s_json *folds = m2s_json_find(expected, "four_fold_cv");
    static pair_set set;
    m2s_json *report;

    options.empty = strstr(name, "skip") != NULL ? M2SNET_EMPTY_SKIP : M2SNET_EMPTY_ZERO;
    list_pairs(&set, m2s_json_find(expected, "members"));
    m2snet_evaluator *evaluator = score(&set, &options, 2, &report);
    const m2s_json *dataset = m2s_json_find(report, "dataset");
    compare(name, dataset, m2s_json_find(expected, "spec"), SPEC_TOLERANCE);
    assert_int_equal(m2s_json_count(m2s_json_find(dataset, "members")), set.count);
    if (folds != NULL) {
        const m2s_json *mine = m2s_json_find(dataset, "four_fold_cv");
        compare(name, mine, folds, SPEC_TOLERANCE); /* mean, std_ddof0, std_ddof1 */
        for (size_t i = 0; i < 4; i++) {
            compare(name, m2s_json_at(m2s_json_find(mine, "per_fold"), i),
                    m2s_json_at(m2s_json_find(folds, "per_fold"), i), SPEC_TOLERANCE);
            const m2s_json *got = m2s_json_at(m2s_json_find(mine, "assignment"), i);
            const m2s_json *want = m2s_json_at(m2s_json_find(folds, "assignment"), i);
            assert_int_equal(m2s_json_count(got), m2s_json_count(want));
            for (size_t k = 0; k < m2s_json_count(want); k++) {
                assert_string_equal(m2s_json_string(m2s_json_at(got, k), NULL),
                                    m2s_json_string(m2s_json_at(want, k), NULL));
            }
        }
    }
    m2s_json_free(report);
    m2snet_evaluator_destroy(evaluator);
}

static void test_sets(void **state)
{
    m2s_json *file = read_json(vectors, "datasets", ".json");
    m2s_json_cursor cursor = { 0 };

    (void)state;
    numbers_compared = 0;
    while (m2s_json_next(m2s_json_find(file, "datasets"), &cursor)) {
        compare_set(cursor.key, cursor.value);
    }
    assert_true(numbers_compared >= 3 * 55);
    m2s_json_free(file);
}

/* Skipping an image is the same as not giving it, and how many there were is said. */
static void test_skip_all_pairs(void **state)
{
    m2s_json *file = read_json(vectors, "datasets", ".json");
    const m2s_json *all = m2s_json_find(m2s_json_find(file, "datasets"), "all_policy_zero");
    const m2s_json *skipped = m2s_json_find(m2s_json_find(file, "datasets"), "all_policy_skip");
    m2snet_evaluator_options options = usual_options();
    m2snet_set_info info = { .struct_size = sizeof info };
    m2snet_error error;
    static pair_set set;
    m2s_json *report;

    (void)state;
    options.empty = M2SNET_EMPTY_SKIP;
    list_pairs(&set, m2s_json_find(all, "members"));
    m2snet_evaluator *evaluator = score(&set, &options, 2, &report);
    compare("skip", m2s_json_find(report, "dataset"), m2s_json_find(skipped, "spec"), SPEC_TOLERANCE);
    OK(m2snet_evaluator_set_info(evaluator, &info, &error));
    assert_int_equal(info.scored, set.count);
    assert_int_equal(info.counted, m2s_json_count(m2s_json_find(skipped, "members")));
    assert_int_equal(info.empty_masks, info.scored - info.counted);
    assert_int_equal(info.warned, 1); /* v24: coded 0 and 1 */
    m2s_json_free(report);
    m2snet_evaluator_destroy(evaluator);
    m2s_json_free(file);
}

static void test_layers(void **state)
{
    static const uint8_t labels[] = { 0, 80, 160 };
    static const char *const names[] = { "rnfl", "gcipl", "choroid" };
    m2snet_evaluator_options options = usual_options();
    static pair_set set;
    m2s_json *report;

    (void)state;
    options.labels = labels;
    options.label_names = names;
    options.label_count = 3;
    find_pairs(&set, M2S_TEST_DATA "/metrics", "voct");
    m2snet_evaluator *evaluator = score(&set, &options, 2, &report);
    numbers_compared = 0;
    for (int32_t i = 0; i < set.count; i++) {
        m2s_json *vector = read_json(M2S_TEST_DATA "/metrics", set.names[i], ".json");
        const m2s_json *mine = image_at(report, i, set.names[i]);
        compare(set.names[i], m2s_json_find(mine, "layers"), m2s_json_find(vector, "layers"), SPEC_TOLERANCE);
        compare(set.names[i], m2s_json_find(mine, "mean"), m2s_json_find(vector, "mean"), SPEC_TOLERANCE);
        m2s_json_free(vector);
    }
    assert_true(numbers_compared >= 3 * 50);
    m2s_json_free(report);
    m2snet_evaluator_destroy(evaluator);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pair),       cmocka_unit_test(test_sweep_counts),
        cmocka_unit_test(test_eight_neighbours), cmocka_unit_test(test_authors),
        cmocka_unit_test(test_pranet),           cmocka_unit_test(test_sets),
        cmocka_unit_test(test_skip_all_pairs),   cmocka_unit_test(test_layers),
    };

    m2s_memory_init(&memory, NULL, 0);
    vectors = getenv("M2SNET_METRIC_VECTORS");
    vectors = vectors != NULL ? vectors : M2S_TEST_DATA "/metrics";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
