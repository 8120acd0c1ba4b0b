/* SPDX-License-Identifier: Apache-2.0
 * Evaluation. */
#include "api/api.h"
#include "core/options.h"
#include "eval/agreement.h"
#include "eval/compare.h"
#include "eval/evaluator.h"
#include "eval/report.h"

void m2snet_evaluator_options_init(m2snet_evaluator_options *options)
{
    if (options != NULL) {
        m2s_eval_options_default(options);
    }
}

/* ---- one pair ---- */

m2snet_status m2snet_score(m2snet_context *context, const m2snet_image *prediction, const m2snet_image *mask,
                           const m2snet_evaluator_options *options, m2snet_scores *scores, m2snet_error *error)
{
    m2s_pair_scores *pair = NULL;
    m2s_eval_settings settings;
    m2s_scratch scratch;
    m2snet_status status;

    M2S_REQUIRE(context);
    M2S_REQUIRE(prediction);
    M2S_REQUIRE(mask);
    M2S_REQUIRE(scores);
    m2s_scratch_init(&scratch, &context->memory);
    M2S_TRY(m2s_eval_settings_import(&context->memory, options, &settings, error));
    if (settings.label_count > 0) {
        status = m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "m2snet_score: label maps go to m2snet_score_labels");
        goto fail;
    }
    pair = m2s_alloc(&context->memory, sizeof *pair);
    if (pair == NULL) {
        status = m2s_fail_memory(error, "scores", sizeof *pair);
        goto fail;
    }
    M2S_TRY(m2s_score_pair(&scratch, &settings, prediction, mask, pair, error));
    M2S_TRY(m2s_options_export("m2snet_scores", &pair->scores, sizeof pair->scores, scores, error));
fail:
    m2s_free(&context->memory, pair);
    m2s_scratch_release(&scratch);
    m2s_eval_settings_release(&context->memory, &settings);
    return status;
}

/* The caller's array has elements of the caller's size. */
static m2snet_status export_labels(const m2snet_label_scores *known, int32_t count, m2snet_label_scores *scores,
                                   m2snet_error *error)
{
    char *at = (char *)scores;
    size_t step = scores->struct_size;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; i < count; i++) {
        M2S_TRY(m2s_options_export("m2snet_label_scores", &known[i], sizeof known[i], at, error));
        at += step;
    }
fail:
    return status;
}

m2snet_status m2snet_score_labels(m2snet_context *context, const m2snet_image *prediction, const m2snet_image *mask,
                                  const m2snet_evaluator_options *options, m2snet_label_scores *scores,
                                  m2snet_error *error)
{
    m2snet_label_scores *known = NULL;
    m2s_eval_settings settings;
    m2s_scratch scratch;
    m2snet_status status;

    M2S_REQUIRE(context);
    M2S_REQUIRE(prediction);
    M2S_REQUIRE(mask);
    M2S_REQUIRE(scores);
    m2s_scratch_init(&scratch, &context->memory);
    M2S_TRY(m2s_eval_settings_import(&context->memory, options, &settings, error));
    if (settings.label_count == 0) {
        status = m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "m2snet_score_labels: options name no labels");
        goto fail;
    }
    known = m2s_calloc(&context->memory, (size_t)settings.label_count, sizeof *known);
    if (known == NULL) {
        status = m2s_fail_memory(error, "scores", (size_t)settings.label_count * sizeof *known);
        goto fail;
    }
    M2S_TRY(m2s_score_label_maps(&scratch, &settings, prediction, mask, known, error));
    M2S_TRY(export_labels(known, settings.label_count, scores, error));
fail:
    m2s_free(&context->memory, known);
    m2s_scratch_release(&scratch);
    m2s_eval_settings_release(&context->memory, &settings);
    return status;
}

/* ---- evaluators ---- */

m2snet_status m2snet_evaluator_create(m2snet_context *context, const m2snet_evaluator_options *options,
                                      m2snet_evaluator **evaluator, m2snet_error *error)
{
    M2S_REQUIRE(evaluator);
    *evaluator = NULL;
    M2S_REQUIRE(context);
    return m2s_evaluator_create(context, options, evaluator, error);
}

void m2snet_evaluator_destroy(m2snet_evaluator *evaluator)
{
    m2s_evaluator_destroy(evaluator);
}

m2snet_status m2snet_evaluator_add(m2snet_evaluator *evaluator, const char *name, const m2snet_image *prediction,
                                   const m2snet_image *mask, m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(evaluator);
    M2S_REQUIRE(name);
    M2S_REQUIRE(prediction);
    M2S_REQUIRE(mask);
    M2S_TRY(m2s_evaluator_enter(evaluator, error));
    status = m2s_evaluator_add(evaluator, name, prediction, mask, error);
    m2s_evaluator_leave(evaluator);
fail:
    return status;
}

m2snet_status m2snet_evaluator_add_files(m2snet_evaluator *evaluator, const m2snet_file_pair *pairs, int32_t count,
                                         const m2snet_control *control, int32_t *failed, m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(evaluator);
    M2S_REQUIRE(pairs);
    if (count < 1) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "count is %d: expected 1 or more", count);
    }
    for (int32_t i = 0; i < count; i++) {
        if (pairs[i].name == NULL || pairs[i].prediction_path == NULL || pairs[i].mask_path == NULL) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "pairs[%d] has a NULL in it", i);
        }
    }
    M2S_TRY(m2s_evaluator_enter(evaluator, error));
    status = m2s_evaluator_add_files(evaluator, pairs, count, control, failed, error);
    m2s_evaluator_leave(evaluator);
fail:
    return status;
}

m2snet_status m2snet_evaluator_add_failure(m2snet_evaluator *evaluator, const char *name, m2snet_status failure,
                                           const char *message, m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(evaluator);
    M2S_REQUIRE(name);
    M2S_REQUIRE(message);
    if (failure == M2SNET_STATUS_OK) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "failure is OK: expected another status");
    }
    M2S_TRY(m2s_evaluator_enter(evaluator, error));
    status = m2s_evaluator_add_failure(evaluator, name, failure, message, error);
    m2s_evaluator_leave(evaluator);
fail:
    return status;
}

int32_t m2snet_evaluator_count(const m2snet_evaluator *evaluator)
{
    return evaluator != NULL ? evaluator->count : 0;
}

const char *m2snet_evaluator_name(const m2snet_evaluator *evaluator, int32_t index)
{
    return evaluator != NULL && index >= 0 && index < evaluator->count ? evaluator->items[index].name : NULL;
}

const char *m2snet_evaluator_warning(const m2snet_evaluator *evaluator, int32_t index)
{
    return evaluator != NULL && index >= 0 && index < evaluator->count ? evaluator->items[index].warning : NULL;
}

m2snet_status m2snet_evaluator_image_scores(const m2snet_evaluator *evaluator, int32_t index, m2snet_scores *scores,
                                            m2snet_error *error)
{
    const m2s_item *item;
    m2snet_status status;

    M2S_REQUIRE(evaluator);
    M2S_TRY(m2s_evaluator_need_labels(evaluator, false, error));
    M2S_TRY(m2s_evaluator_item(evaluator, index, &item, error));
    M2S_TRY(m2s_options_export("m2snet_scores", &item->pair->scores, sizeof item->pair->scores, scores, error));
fail:
    return status;
}

static m2snet_status check_label(const m2snet_evaluator *evaluator, int32_t label, m2snet_error *error)
{
    m2snet_status status;

    M2S_TRY(m2s_evaluator_need_labels(evaluator, true, error));
    if (label < 0 || label >= evaluator->settings.label_count) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "label %d: the evaluator has %d", label,
                        evaluator->settings.label_count);
    }
fail:
    return status;
}

m2snet_status m2snet_evaluator_image_label(const m2snet_evaluator *evaluator, int32_t index, int32_t label,
                                           m2snet_label_scores *scores, m2snet_error *error)
{
    const m2s_item *item;
    m2snet_status status;

    M2S_REQUIRE(evaluator);
    M2S_TRY(check_label(evaluator, label, error));
    M2S_TRY(m2s_evaluator_item(evaluator, index, &item, error));
    M2S_TRY(m2s_options_export("m2snet_label_scores", &item->labels[label], sizeof item->labels[label], scores, error));
fail:
    return status;
}

/* ---- sets ---- */

m2snet_status m2snet_evaluator_set_info(const m2snet_evaluator *evaluator, m2snet_set_info *info, m2snet_error *error)
{
    m2snet_set_info known;

    M2S_REQUIRE(evaluator);
    m2s_evaluator_info(evaluator, &known);
    return m2s_options_export("m2snet_set_info", &known, sizeof known, info, error);
}

m2snet_status m2snet_evaluator_set_scores(const m2snet_evaluator *evaluator, m2snet_scores *scores, m2snet_error *error)
{
    return m2snet_evaluator_fold_scores(evaluator, 1, 0, scores, error);
}

m2snet_status m2snet_evaluator_set_label(const m2snet_evaluator *evaluator, int32_t label, m2snet_label_scores *scores,
                                         m2snet_error *error)
{
    m2snet_label_scores known;
    m2snet_status status;

    M2S_REQUIRE(evaluator);
    M2S_TRY(check_label(evaluator, label, error));
    M2S_TRY(m2s_evaluator_set_label(evaluator, label, &known, error));
    M2S_TRY(m2s_options_export("m2snet_label_scores", &known, sizeof known, scores, error));
fail:
    return status;
}

m2snet_status m2snet_evaluator_fold_scores(const m2snet_evaluator *evaluator, int32_t folds, int32_t index,
                                           m2snet_scores *scores, m2snet_error *error)
{
    m2snet_scores known;
    m2snet_status status;

    M2S_REQUIRE(evaluator);
    M2S_TRY(m2s_evaluator_need_labels(evaluator, false, error));
    if (folds < 1 || index < 0 || index >= folds) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "fold %d of %d: there is none", index, folds);
    }
    M2S_TRY(m2s_evaluator_set(evaluator, folds, index, &known, error));
    M2S_TRY(m2s_options_export("m2snet_scores", &known, sizeof known, scores, error));
fail:
    return status;
}

m2snet_status m2snet_evaluator_subset_scores(const m2snet_evaluator *evaluator, const int32_t *indices, int32_t count,
                                             m2snet_scores *scores, m2snet_error *error)
{
    m2snet_scores known;
    m2snet_status status;

    M2S_REQUIRE(evaluator);
    M2S_REQUIRE(indices);
    M2S_TRY(m2s_evaluator_need_labels(evaluator, false, error));
    M2S_TRY(m2s_evaluator_subset(evaluator, indices, count, &known, error));
    M2S_TRY(m2s_options_export("m2snet_scores", &known, sizeof known, scores, error));
fail:
    return m2s_memory_explain(&evaluator->context->memory, status, error);
}

m2snet_status m2snet_evaluator_folds(const m2snet_evaluator *evaluator, int32_t folds, int32_t ddof,
                                     m2snet_scores *mean, m2snet_scores *deviation, m2snet_error *error)
{
    m2snet_scores known_mean, known_deviation;
    m2snet_status status;

    M2S_REQUIRE(evaluator);
    M2S_TRY(m2s_evaluator_need_labels(evaluator, false, error));
    M2S_TRY(m2s_evaluator_folds(evaluator, folds, ddof, &known_mean, &known_deviation, error));
    M2S_TRY(m2s_options_export("m2snet_scores", &known_mean, sizeof known_mean, mean, error));
    M2S_TRY(m2s_options_export("m2snet_scores", &known_deviation, sizeof known_deviation, deviation, error));
fail:
    return status;
}

m2snet_status m2snet_evaluator_curve(const m2snet_evaluator *evaluator, int32_t index, m2snet_curve curve,
                                     double values[256], m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(evaluator);
    M2S_REQUIRE(values);
    M2S_TRY(m2s_evaluator_need_labels(evaluator, false, error));
    M2S_TRY(m2s_evaluator_curve(evaluator, index, curve, values, error));
fail:
    return status;
}

m2snet_status m2snet_evaluator_calibration(const m2snet_evaluator *evaluator, int32_t index, int32_t bin_count,
                                           m2snet_calibration *calibration, m2snet_error *error)
{
    m2snet_calibration known;
    m2snet_status status;

    M2S_REQUIRE(evaluator);
    M2S_TRY(m2s_evaluator_need_labels(evaluator, false, error));
    M2S_TRY(m2s_calibration_make(evaluator, index, bin_count, &known, error));
    M2S_TRY(m2s_options_export("m2snet_calibration", &known, sizeof known, calibration, error));
fail:
    return status;
}

m2snet_status m2snet_evaluator_area_agreement(const m2snet_evaluator *evaluator, m2snet_area_agreement *agreement,
                                              m2snet_error *error)
{
    m2snet_area_agreement known;
    m2snet_status status;

    M2S_REQUIRE(evaluator);
    M2S_TRY(m2s_evaluator_need_labels(evaluator, false, error));
    M2S_TRY(m2s_area_agreement_make(evaluator, &known, error));
    M2S_TRY(m2s_options_export("m2snet_area_agreement", &known, sizeof known, agreement, error));
fail:
    return status;
}

/* ---- two sets ---- */

void m2snet_compare_options_init(m2snet_compare_options *options)
{
    if (options != NULL) {
        m2s_compare_options_default(options);
    }
}

m2snet_status m2snet_evaluator_compare(const m2snet_evaluator *first, const m2snet_evaluator *second, const char *key,
                                       const m2snet_compare_options *options, m2snet_difference *difference,
                                       m2snet_error *error)
{
    m2snet_compare_options settings;
    m2snet_difference known;
    m2snet_status status;

    M2S_REQUIRE(first);
    M2S_REQUIRE(second);
    M2S_REQUIRE(key);
    M2S_TRY(m2s_evaluator_need_labels(first, false, error));
    M2S_TRY(m2s_evaluator_need_labels(second, false, error));
    m2s_compare_options_default(&settings);
    M2S_TRY(m2s_options_import("m2snet_compare_options", options, &settings, sizeof settings, error));
    M2S_TRY(m2s_compare(first, second, key, &settings, &known, error));
    M2S_TRY(m2s_options_export("m2snet_difference", &known, sizeof known, difference, error));
fail:
    return status;
}

/* ---- everything ---- */

m2snet_status m2snet_evaluator_json(m2snet_evaluator *evaluator, int32_t folds, const char **json, m2snet_error *error)
{
    char *text;
    m2snet_status status;

    M2S_REQUIRE(json);
    *json = NULL;
    M2S_REQUIRE(evaluator);
    if (folds < 0 || folds == 1) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "folds is %d: expected 0, or 2 and more", folds);
    }
    M2S_TRY(m2s_evaluator_enter(evaluator, error));
    status = m2s_report_write(evaluator, folds, &text, error);
    if (status == M2SNET_STATUS_OK) {
        m2s_free(&evaluator->context->memory, evaluator->json);
        evaluator->json = text;
        *json = text;
    }
    m2s_evaluator_leave(evaluator);
fail:
    return status;
}
