/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/score.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "core/options.h"
#include "core/quote.h"
#include "eval/labels.h"
#include "eval/structure.h"

/* ---- names ---- */

#define FIELD(name)                                                                                                    \
    {                                                                                                                  \
#name, offsetof(m2snet_scores, name), M2S_SCORE_MEAN, M2SNET_CURVE_E                                           \
    }
#define AUTHORS(name)                                                                                                  \
    {                                                                                                                  \
#name, offsetof(m2snet_scores, authors_##name), M2S_SCORE_MEAN, M2SNET_CURVE_E                                 \
    }
#define CURVE(name, curve)                                                                                             \
    { #name "_mean", offsetof(m2snet_scores, name##_mean), M2S_SCORE_CURVE_MEAN, M2SNET_CURVE_##curve },               \
    {                                                                                                                  \
#name "_max", offsetof(m2snet_scores, name##_max), M2S_SCORE_CURVE_MAX, M2SNET_CURVE_##curve                   \
    }

const m2s_score_field m2s_score_fields[] = {
    FIELD(mae),
    FIELD(sm),
    FIELD(wfm),
    CURVE(em, E),
    CURVE(pre, PRECISION),
    CURVE(rec, RECALL),
    CURVE(spec, SPECIFICITY),
    CURVE(spec_pranet, SPECIFICITY_PRANET),
    CURVE(dice, DICE),
    CURVE(iou, IOU),
    CURVE(fm, F),
    CURVE(f1, F1),
    FIELD(em_adp),
    FIELD(fm_adp),
    FIELD(dice),
    FIELD(iou),
    FIELD(precision),
    FIELD(recall),
    FIELD(specificity),
    FIELD(accuracy),
    FIELD(iou_bg),
    FIELD(f1),
    FIELD(miou),
    FIELD(ber),
    FIELD(sm_matlab_rounding),
    AUTHORS(mae),
    AUTHORS(fm_max),
    AUTHORS(fm_adp),
    AUTHORS(sm),
    AUTHORS(em),
    AUTHORS(wfm),
    AUTHORS(dice_soft),
    AUTHORS(iou),
    AUTHORS(ber),
    AUTHORS(acc),
};
const int32_t m2s_score_field_count = (int32_t)(sizeof m2s_score_fields / sizeof m2s_score_fields[0]);
const int32_t m2s_authors_field_first = (int32_t)(sizeof m2s_score_fields / sizeof m2s_score_fields[0]) - 10;

#define SURFACE(name)                                                                                                  \
    {                                                                                                                  \
#name, offsetof(m2snet_surface_scores, name), M2S_SCORE_MEAN, M2SNET_CURVE_E                                   \
    }
const m2s_score_field m2s_surface_fields[] = {
    SURFACE(hd), SURFACE(hd95), SURFACE(assd), SURFACE(asd_pred_to_gt), SURFACE(asd_gt_to_pred), SURFACE(hd95_maxdir)
};
const int32_t m2s_surface_field_count = (int32_t)(sizeof m2s_surface_fields / sizeof m2s_surface_fields[0]);

double *m2s_field_of(void *structure, const m2s_score_field *field)
{
    return (double *)(void *)((char *)structure + field->offset);
}

/* ---- settings ---- */

void m2s_eval_options_default(m2snet_evaluator_options *options)
{
    *options = (m2snet_evaluator_options){ .struct_size = sizeof *options, .connectivity = 1 };
}

static m2snet_status fail_option(m2snet_error *error, const char *name, int value, const char *expected)
{
    return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "%s is %d: expected %s", name, value, expected);
}

static m2snet_status check_options(const m2snet_evaluator_options *o, m2snet_error *error)
{
    if (o->profile < M2SNET_PROFILE_DEFAULT || o->profile > M2SNET_PROFILE_PRANET) {
        return fail_option(error, "profile", (int)o->profile, "DEFAULT, AUTHORS or PRANET");
    }
    if (o->empty < M2SNET_EMPTY_ZERO || o->empty > M2SNET_EMPTY_ONE) {
        return fail_option(error, "empty", (int)o->empty, "ZERO, SKIP or ONE");
    }
    if (o->spacing_count < 0 || o->spacing_count > M2SNET_MAX_SPACINGS) {
        return fail_option(error, "spacing_count", o->spacing_count, "0 to 8");
    }
    if (o->spacing_count > 0 && o->spacings_mm == NULL) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "spacings_mm is NULL: expected %d pairs",
                        o->spacing_count);
    }
    if (o->connectivity != 1 && o->connectivity != 2) {
        return fail_option(error, "connectivity", o->connectivity, "1 or 2");
    }
    if (o->label_count < 0 || o->label_count > M2SNET_MAX_LABELS) {
        return fail_option(error, "label_count", o->label_count, "0 to 64");
    }
    if ((o->labels == NULL) != (o->label_count == 0)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "label_count is %d and labels is %s", o->label_count,
                        o->labels == NULL ? "NULL" : "not NULL");
    }
    return M2SNET_STATUS_OK;
}

/* "0.5,2.0": numbers as JSON writes them, which does not depend on the locale. */
static m2snet_status make_spacing_key(m2s_memory *memory, const double spacing[2], char *key, m2snet_error *error)
{
    m2s_json *pair = NULL;
    char *text = NULL;
    size_t bytes;
    m2snet_status status;

    M2S_TRY(m2s_json_array(&pair, error));
    M2S_TRY(m2s_json_put_number(pair, NULL, spacing[0], error));
    M2S_TRY(m2s_json_put_number(pair, NULL, spacing[1], error));
    M2S_TRY(m2s_json_write(memory, pair, M2S_JSON_COMPACT, &text, &bytes, error));
    bytes = bytes - 2 < M2S_SPACING_KEY_BYTES - 1 ? bytes - 2 : M2S_SPACING_KEY_BYTES - 1;
    memcpy(key, text + 1, bytes);
    key[bytes] = '\0';
fail:
    m2s_free(memory, text);
    m2s_json_free(pair);
    return status;
}

static m2snet_status import_spacings(m2s_memory *memory, const m2snet_evaluator_options *options,
                                     m2s_eval_settings *settings, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    settings->spacing_count = options->spacing_count == 0 ? 1 : options->spacing_count;
    for (int32_t i = 0; i < settings->spacing_count; i++) {
        for (int k = 0; k < 2; k++) {
            double mm = options->spacing_count == 0 ? 1.0 : options->spacings_mm[2 * i + k];
            if (!(mm >= 1e-9 && mm <= 1e9)) {
                return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "spacings_mm[%d]: expected 1e-9 to 1e9 mm",
                                2 * i + k);
            }
            settings->spacings[i][k] = mm;
        }
        M2S_TRY(make_spacing_key(memory, settings->spacings[i], settings->spacing_keys[i], error));
        for (int32_t k = 0; k < i; k++) {
            if (strcmp(settings->spacing_keys[k], settings->spacing_keys[i]) == 0) {
                return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "spacing %s is there twice",
                                settings->spacing_keys[i]);
            }
        }
    }
    if (!settings->surface) {
        settings->spacing_count = settings->label_count > 0 ? settings->spacing_count : 0;
    }
fail:
    return status;
}

static m2snet_status import_labels(m2s_memory *memory, const m2snet_evaluator_options *options,
                                   m2s_eval_settings *settings, m2snet_error *error)
{
    settings->label_count = options->label_count;
    for (int32_t i = 0; i < options->label_count; i++) {
        char number[8];
        const char *name = options->label_names != NULL ? options->label_names[i] : number;
        snprintf(number, sizeof number, "%u", options->labels[i]);
        if (name == NULL || !m2s_is_utf8(name, strlen(name))) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "label_names[%d]: expected UTF-8", i);
        }
        settings->labels[i] = options->labels[i];
        settings->label_names[i] = m2s_strdup(memory, name);
        if (settings->label_names[i] == NULL) {
            return m2s_fail_memory(error, "a label's name", strlen(name) + 1);
        }
        for (int32_t k = 0; k < i; k++) {
            if (settings->labels[k] == settings->labels[i] || strcmp(settings->label_names[k], name) == 0) {
                return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "label %u (%s) is there twice",
                                settings->labels[i], m2s_quote(name, strlen(name)).text);
            }
        }
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_eval_settings_import(m2s_memory *memory, const m2snet_evaluator_options *given,
                                       m2s_eval_settings *settings, m2snet_error *error)
{
    m2snet_evaluator_options options;
    m2snet_status status;

    *settings = (m2s_eval_settings){ .spacing_count = 0 };
    m2s_eval_options_default(&options);
    M2S_TRY(m2s_options_import("m2snet_evaluator_options", given, &options, sizeof options, error));
    M2S_TRY(check_options(&options, error));
    settings->profile = options.profile;
    settings->empty = options.empty;
    settings->connectivity = options.connectivity;
    settings->surface = options.without_surface == 0;
    settings->penalty = options.surface_penalty != 0;
    settings->resize = options.resize_prediction != 0;
    M2S_TRY(import_labels(memory, &options, settings, error));
    M2S_TRY(import_spacings(memory, &options, settings, error));
    if (settings->label_count > 0 && settings->resize) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "resize_prediction: label maps cannot be resized, their values are names");
    }
fail:
    return status;
}

void m2s_eval_settings_release(m2s_memory *memory, m2s_eval_settings *settings)
{
    for (int32_t i = 0; i < M2SNET_MAX_LABELS; i++) {
        m2s_free(memory, settings->label_names[i]);
        settings->label_names[i] = NULL;
    }
}

double m2s_both_empty_value(const m2s_eval_settings *settings)
{
    return settings->empty == M2SNET_EMPTY_ONE ? 1.0 : 0.0;
}

/* ---- surfaces ---- */

static bool any_pixel(const m2s_plane *plane)
{
    for (int32_t y = 0; y < plane->height; y++) {
        if (memchr(plane->origin + (size_t)y * plane->stride, 1, (size_t)plane->width) != NULL) {
            return true;
        }
    }
    return false;
}

m2snet_status m2s_score_surfaces(m2s_scratch *scratch, const m2s_eval_settings *settings, const m2s_plane *prediction,
                                 const m2s_plane *mask, m2snet_surface_scores *surfaces, bool *undefined,
                                 m2snet_error *error)
{
    m2s_borders borders;
    m2s_surface s;
    m2snet_status status;

    M2S_TRY(m2s_borders_make(scratch, prediction, mask, settings->connectivity, &borders, error));
    bool empty = borders.counts[0] == 0 || borders.counts[1] == 0;
    *undefined = empty && !settings->penalty;
    for (int32_t i = 0; i < settings->spacing_count; i++) {
        const double *spacing = settings->spacings[i];
        if (empty && settings->penalty) {
            bool one = any_pixel(prediction) || any_pixel(mask);
            double far = one ? hypot(mask->height * spacing[0], mask->width * spacing[1]) : 0.0;
            s = (m2s_surface){ far, far, far, far, far, far };
        } else {
            M2S_TRY(m2s_surface_measure(&borders, spacing[0], spacing[1], &s, error));
        }
        surfaces[i] =
            (m2snet_surface_scores){ s.hd, s.hd95, s.assd, s.asd_pred_to_gt, s.asd_gt_to_pred, s.hd95_maxdir };
    }
fail:
    return status;
}

/* ---- one pair ---- */

static void set_fixed(const m2s_counts *c, double both_empty, m2snet_scores *s)
{
    s->tp = c->tp;
    s->fp = c->fp;
    s->fn = c->fn;
    s->tn = c->tn;
    s->dice = m2s_dice(c, both_empty);
    s->f1 = s->dice;
    s->iou = m2s_iou(c, both_empty);
    s->precision = m2s_precision(c, both_empty);
    s->recall = m2s_recall(c, both_empty);
    s->specificity = m2s_specificity(c);
    s->accuracy = m2s_accuracy(c);
    s->iou_bg = m2s_iou_background(c);
    s->miou = 0.5 * (s->iou + s->iou_bg);
    s->ber = 1.0 - 0.5 * (s->recall + s->specificity);
}

static void set_curves(const m2s_sweep *sweep, double both_empty, m2snet_scores *s)
{
    for (int32_t i = 0; i < m2s_score_field_count; i++) {
        const m2s_score_field *field = &m2s_score_fields[i];
        double values[M2S_LEVELS] = { 0 };
        double sum = 0.0, best = 0.0;
        if (field->kind != M2S_SCORE_CURVE_MEAN) {
            continue; /* the maximum is the next field, of the same curve */
        }
        m2s_curve_add(sweep, field->curve, both_empty, values);
        for (int32_t t = 0; t < M2S_LEVELS; t++) {
            sum += values[t];
            best = values[t] > best ? values[t] : best;
        }
        *m2s_field_of(s, field) = sum / M2S_LEVELS;
        *m2s_field_of(s, field + 1) = best;
    }
}

static void set_authors(const m2s_histogram *histogram, const m2s_levels *levels, const m2s_weighted_sums *weighted,
                        double s_measure, m2s_pair_scores *result)
{
    m2snet_scores *s = &result->scores;
    m2s_counts above = m2s_counts_at_half(histogram, levels, false);
    m2s_counts from = m2s_counts_at_half(histogram, levels, true);
    m2s_counts adaptive = m2s_counts_adaptive(histogram, levels);
    double precision[M2S_AUTHORS_BINS] = { 0 }, recall[M2S_AUTHORS_BINS] = { 0 };

    m2s_sweep_make(histogram, levels, &result->authors_sweep);
    m2s_authors_curves_add(&result->authors_sweep, precision, recall);
    s->authors_mae = m2s_mean_error(histogram, levels);
    s->authors_fm_max = m2s_authors_max_f(precision, recall, 1.0);
    s->authors_fm_adp = m2s_f_measure(&adaptive, M2S_BETA_SQUARE, 0.0);
    s->authors_sm = s_measure;
    s->authors_em = m2s_e_measure(&adaptive, 1e-8);
    s->authors_wfm = m2s_weighted_f(weighted, 1e-6);
    s->authors_dice_soft = m2s_soft_dice(histogram, levels);
    s->authors_iou = m2s_smoothed_iou(&above);
    s->authors_ber = m2s_authors_ber(&from);
    s->authors_acc = m2s_accuracy(&from);
}

static bool same_mask(const m2s_gray_pair *pair, int32_t first, int32_t other)
{
    size_t pixels = (size_t)pair->height * (size_t)pair->width;
    int32_t low = first < other ? first : other, high = first < other ? other : first;

    for (size_t i = 0; i < pixels; i++) {
        if (pair->mask[i] >= low && pair->mask[i] < high) {
            return false;
        }
    }
    return true;
}

static m2snet_status score_authors(m2s_scratch *scratch, const m2s_gray_pair *pair, const m2s_histogram *histogram,
                                   const m2s_weighted_sums *weighted, double s_measure, m2s_pair_scores *result,
                                   m2snet_error *error)
{
    int32_t first = m2s_mask_first_inside(M2S_MASK_RELATIVE, pair->mask_max);
    m2s_histogram own_histogram;
    m2s_weighted_sums own_weighted;
    m2s_levels levels;
    m2s_plane inside;
    m2snet_status status = M2SNET_STATUS_OK;

    m2s_levels_authors(pair->prediction_min, pair->prediction_max, &levels);
    if (same_mask(pair, first, m2s_mask_first_inside(M2S_MASK_ABOVE_128, pair->mask_max))) {
        set_authors(histogram, &levels, weighted, s_measure, result);
        return status;
    }
    M2S_TRY(
        m2s_plane_threshold(scratch, M2S_SCRATCH_INSIDE, pair->mask, pair->height, pair->width, first, &inside, error));
    m2s_histogram_count(pair->prediction, &inside, &own_histogram);
    M2S_TRY(m2s_weighted_sums_make(scratch, pair->prediction, &inside, &levels, &own_weighted, error));
    s_measure = m2s_s_measure_make(pair->prediction, &inside, &own_histogram, &levels).authors;
    set_authors(&own_histogram, &levels, &own_weighted, s_measure, result);
fail:
    return status;
}

static uint32_t find_warnings(const m2s_gray_pair *pair, bool resized)
{
    int32_t range = pair->prediction_max - pair->prediction_min;
    uint32_t warnings = resized ? M2S_WARN_RESIZED : 0;

    warnings |= pair->mask_max > 0 && pair->mask_max <= 128 ? M2S_WARN_MASK_CODE : 0;
    warnings |= range > 0 && pair->prediction_max < 26 ? M2S_WARN_STRETCHED : 0;
    return warnings;
}

static int32_t first_above_half(const m2s_levels *levels)
{
    int32_t v = 0;

    while (v < M2S_LEVELS && !(levels->x[v] > 0.5)) {
        v++;
    }
    return v;
}

static void start_scores(const m2s_gray_pair *pair, m2s_pair_scores *result)
{
    m2snet_scores *s = &result->scores;

    *result = (m2s_pair_scores){ .scores = { .struct_size = sizeof *s, .height = pair->height, .width = pair->width } };
    for (int32_t i = m2s_authors_field_first; i < m2s_score_field_count; i++) {
        *m2s_field_of(s, &m2s_score_fields[i]) = NAN;
    }
    for (int i = 0; i < M2SNET_MAX_SPACINGS; i++) {
        s->surface[i] = (m2snet_surface_scores){ NAN, NAN, NAN, NAN, NAN, NAN };
    }
}

m2snet_status m2s_score_pair(m2s_scratch *scratch, const m2s_eval_settings *settings, const m2snet_image *prediction,
                             const m2snet_image *mask, m2s_pair_scores *result, m2snet_error *error)
{
    double both_empty = m2s_both_empty_value(settings);
    m2snet_scores *s = &result->scores;
    m2s_gray_pair pair;
    m2s_levels levels;
    m2s_plane inside, found;
    m2s_histogram histogram;
    m2s_weighted_sums weighted;
    bool resized, undefined;
    m2snet_status status;

    M2S_TRY(m2s_gray_pair_read(scratch, prediction, mask, settings->resize, &pair, &resized, error));
    start_scores(&pair, result);
    result->warnings = find_warnings(&pair, resized);
    m2s_levels_default(pair.prediction_min, pair.prediction_max, &levels);
    M2S_TRY(m2s_plane_threshold(scratch, M2S_SCRATCH_INSIDE, pair.mask, pair.height, pair.width,
                                m2s_mask_first_inside(M2S_MASK_ABOVE_128, pair.mask_max), &inside, error));
    m2s_histogram_count(pair.prediction, &inside, &histogram);
    result->gray = histogram;
    m2s_sweep_make(&histogram, &levels, &result->sweep);

    m2s_counts fixed = m2s_counts_at_half(&histogram, &levels, false);
    m2s_counts adaptive = m2s_counts_adaptive(&histogram, &levels);
    set_fixed(&fixed, both_empty, s);
    set_curves(&result->sweep, both_empty, s);
    s->mask_empty = histogram.foreground == 0;
    s->prediction_empty = fixed.tp + fixed.fp == 0;
    s->mae = m2s_mean_error(&histogram, &levels);
    s->em_adp = m2s_e_measure(&adaptive, M2S_EPSILON);
    s->fm_adp = m2s_f_measure(&adaptive, M2S_BETA_SQUARE, both_empty);

    m2s_s_measure structure = m2s_s_measure_make(pair.prediction, &inside, &histogram, &levels);
    s->sm = structure.numpy_rounding;
    s->sm_matlab_rounding = structure.matlab_rounding;
    M2S_TRY(m2s_weighted_sums_make(scratch, pair.prediction, &inside, &levels, &weighted, error));
    s->wfm = m2s_weighted_f(&weighted, M2S_EPSILON);
    if (s->mask_empty && s->prediction_empty) {
        s->wfm = both_empty;
        s->fm_adp = both_empty;
    }

    if (settings->surface) {
        M2S_TRY(m2s_plane_threshold(scratch, M2S_SCRATCH_INSIDE_2, pair.prediction, pair.height, pair.width,
                                    first_above_half(&levels), &found, error));
        M2S_TRY(m2s_score_surfaces(scratch, settings, &found, &inside, s->surface, &undefined, error));
        s->surface_count = settings->spacing_count;
        s->surface_undefined = undefined;
    }
    if (settings->profile == M2SNET_PROFILE_AUTHORS) {
        M2S_TRY(score_authors(scratch, &pair, &histogram, &weighted, structure.authors, result, error));
    }
fail:
    return status;
}

m2snet_status m2s_score_label_maps(m2s_scratch *scratch, const m2s_eval_settings *settings,
                                   const m2snet_image *prediction, const m2snet_image *mask,
                                   m2snet_label_scores *scores, m2snet_error *error)
{
    m2s_gray_pair pair;
    bool resized;
    m2snet_status status;

    M2S_TRY(m2s_gray_pair_read(scratch, prediction, mask, false, &pair, &resized, error));
    M2S_TRY(m2s_labels_score(scratch, settings, &pair, scores, error));
fail:
    return status;
}
