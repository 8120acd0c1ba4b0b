/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/report.h"

#include <math.h>
#include <stdio.h>

#include "core/json.h"
#include "eval/agreement.h"

static m2snet_status put_number(m2s_json *object, const char *key, double value, m2snet_error *error)
{
    return isnan(value) ? m2s_json_put_null(object, key, error) : m2s_json_put_number(object, key, value, error);
}

static m2snet_status put_object(m2s_json *into, const char *key, m2s_json **object, m2snet_error *error)
{
    return m2s_json_put_child(into, key, M2S_JSON_OBJECT, object, error);
}

static m2snet_status put_list(m2s_json *into, const char *key, m2s_json **list, m2snet_error *error)
{
    return m2s_json_put_child(into, key, M2S_JSON_ARRAY, list, error);
}

/* Numbers under the same keys: { "key": value, ... }. */
typedef struct keyed {
    const char *key;
    double value;
} keyed;

static m2snet_status put_keyed(m2s_json *object, const keyed *numbers, size_t count, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (size_t i = 0; i < count && status == M2SNET_STATUS_OK; i++) {
        status = put_number(object, numbers[i].key, numbers[i].value, error);
    }
    return status;
}

static m2snet_status put_counts(m2s_json *object, const m2snet_scores *s, m2snet_error *error)
{
    m2snet_status status;

    M2S_TRY(m2s_json_put_integer(object, "tp", s->tp, error));
    M2S_TRY(m2s_json_put_integer(object, "fp", s->fp, error));
    M2S_TRY(m2s_json_put_integer(object, "fn", s->fn, error));
    M2S_TRY(m2s_json_put_integer(object, "tn", s->tn, error));
fail:
    return status;
}

static m2snet_status put_fields(m2s_json *object, m2snet_scores *s, int32_t first, int32_t end, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = first; i < end; i++) {
        M2S_TRY(put_number(object, m2s_score_fields[i].key, *m2s_field_of(s, &m2s_score_fields[i]), error));
    }
fail:
    return status;
}

static m2snet_status put_surface(m2s_json *object, m2snet_surface_scores *s, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; i < m2s_surface_field_count; i++) {
        M2S_TRY(put_number(object, m2s_surface_fields[i].key, *m2s_field_of(s, &m2s_surface_fields[i]), error));
    }
fail:
    return status;
}

/* members 0: an image; else how many images the means are of. */
static m2snet_status put_surfaces(const m2s_eval_settings *settings, m2s_json *object, m2snet_scores *s,
                                  int32_t members, m2snet_error *error)
{
    m2s_json *surface, *spacing;
    m2snet_status status;

    M2S_TRY(put_object(object, "surface", &surface, error));
    for (int32_t i = 0; i < s->surface_count; i++) {
        M2S_TRY(put_object(surface, settings->spacing_keys[i], &spacing, error));
        M2S_TRY(put_surface(spacing, &s->surface[i], error));
        if (members > 0) {
            M2S_TRY(m2s_json_put_integer(spacing, "n_defined", members - s->surface_undefined, error));
            M2S_TRY(m2s_json_put_integer(spacing, "n_undefined", s->surface_undefined, error));
        }
    }
fail:
    return status;
}

/* What the profile adds to the default's numbers. */
static m2snet_status put_profile(const m2s_eval_settings *settings, m2s_json *object, m2snet_scores *s,
                                 m2snet_error *error)
{
    m2s_json *own;
    m2snet_status status = M2SNET_STATUS_OK;

    if (settings->profile == M2SNET_PROFILE_AUTHORS) {
        M2S_TRY(put_object(object, "authors", &own, error));
        M2S_TRY(put_fields(own, s, m2s_authors_field_first, m2s_score_field_count, error));
    } else if (settings->profile == M2SNET_PROFILE_PRANET) {
        const keyed numbers[] = {
            { "dice_mean", s->dice_mean },     { "iou_mean", s->iou_mean }, { "wfm", s->wfm },
            { "sm", s->sm_matlab_rounding },   { "em_mean", s->em_mean },   { "mae", s->mae },
            { "em_max", s->em_max },           { "dice_max", s->dice_max }, { "iou_max", s->iou_max },
            { "sen_mean", s->rec_mean },       { "sen_max", s->rec_max },   { "spe_mean", s->spec_pranet_mean },
            { "spe_max", s->spec_pranet_max },
        };
        M2S_TRY(put_object(object, "pranet", &own, error));
        M2S_TRY(put_keyed(own, numbers, sizeof numbers / sizeof numbers[0], error));
    }
fail:
    return status;
}

/* ---- label maps ---- */

static m2snet_status put_label(const m2s_eval_settings *settings, m2s_json *object, const m2snet_label_scores *s,
                               m2snet_error *error)
{
    m2s_json *spacing;
    m2snet_status status;

    M2S_TRY(m2s_json_put_integer(object, "tp", s->tp, error));
    M2S_TRY(m2s_json_put_integer(object, "n_pred", s->n_pred, error));
    M2S_TRY(m2s_json_put_integer(object, "n_gt", s->n_gt, error));
    M2S_TRY(put_number(object, "dice", s->dice, error));
    M2S_TRY(put_number(object, "iou", s->iou, error));
    M2S_TRY(m2s_json_put_integer(object, "columns_both", s->columns_both, error));
    M2S_TRY(m2s_json_put_integer(object, "columns_gt_only", s->columns_gt_only, error));
    M2S_TRY(m2s_json_put_integer(object, "columns_pred_only", s->columns_pred_only, error));
    for (int32_t i = 0; i < settings->spacing_count; i++) {
        const keyed numbers[] = {
            { "med_top", s->spacing[i].med_top },
            { "med_bottom", s->spacing[i].med_bottom },
            { "med", s->spacing[i].med },
            { "surface_assd_medpy", s->spacing[i].surface.assd },
            { "surface_hd95_medpy", s->spacing[i].surface.hd95 },
        };
        M2S_TRY(put_object(object, settings->spacing_keys[i], &spacing, error));
        M2S_TRY(put_keyed(spacing, numbers, sizeof numbers / sizeof numbers[0], error));
    }
fail:
    return status;
}

/* Every label, and the plain means over the labels: undefined when one of them is. */
static m2snet_status put_labels(const m2s_eval_settings *settings, m2s_json *object, const m2snet_label_scores *labels,
                                m2snet_error *error)
{
    m2s_json *layers, *layer, *mean, *spacing;
    double dice = 0.0;
    m2snet_status status;

    M2S_TRY(put_object(object, "layers", &layers, error));
    for (int32_t i = 0; i < settings->label_count; i++) {
        M2S_TRY(put_object(layers, settings->label_names[i], &layer, error));
        M2S_TRY(put_label(settings, layer, &labels[i], error));
        dice += labels[i].dice / settings->label_count;
    }
    M2S_TRY(put_object(object, "mean", &mean, error));
    for (int32_t k = 0; k < settings->spacing_count; k++) {
        double med = 0.0;
        for (int32_t i = 0; i < settings->label_count; i++) {
            med += labels[i].spacing[k].med / settings->label_count;
        }
        M2S_TRY(put_object(mean, settings->spacing_keys[k], &spacing, error));
        M2S_TRY(put_number(spacing, "med", med, error));
    }
    M2S_TRY(put_number(mean, "dice", dice, error));
fail:
    return status;
}

static m2snet_status put_label_set(const m2snet_evaluator *evaluator, m2s_json *object, m2snet_error *error)
{
    m2s_memory *memory = &evaluator->context->memory;
    const m2s_eval_settings *settings = &evaluator->settings;
    m2snet_label_scores *labels = m2s_calloc(memory, (size_t)settings->label_count, sizeof *labels);
    m2snet_status status;

    if (labels == NULL) {
        return m2s_fail_memory(error, "scores", (size_t)settings->label_count * sizeof *labels);
    }
    for (int32_t i = 0; i < settings->label_count; i++) {
        M2S_TRY(m2s_evaluator_set_label(evaluator, i, &labels[i], error));
    }
    M2S_TRY(put_labels(settings, object, labels, error));
fail:
    m2s_free(memory, labels);
    return status;
}

/* ---- folds ---- */

static m2snet_status put_fold(m2s_json *object, const m2snet_scores *s, m2snet_error *error)
{
    const keyed numbers[] = {
        { "dice", s->dice },
        { "iou", s->iou },
        { "precision", s->precision },
        { "recall", s->recall },
        { "specificity", s->specificity },
        { "assd", s->surface_count > 0 ? s->surface[0].assd : NAN },
        { "hd95", s->surface_count > 0 ? s->surface[0].hd95 : NAN },
        { "mae", s->mae },
        { "sm", s->sm },
        { "wfm", s->wfm },
        { "em_mean", s->em_mean },
        { "em_max", s->em_max },
        { "dice_mean", s->dice_mean },
        { "iou_mean", s->iou_mean },
    };

    return put_keyed(object, numbers, sizeof numbers / sizeof numbers[0], error);
}

static m2snet_status put_assignment(const m2snet_evaluator *evaluator, int32_t folds, m2s_json *object,
                                    m2snet_error *error)
{
    m2s_json *lists, *list;
    m2snet_status status;

    M2S_TRY(put_list(object, "assignment", &lists, error));
    for (int32_t fold = 0; fold < folds; fold++) {
        int32_t counted = 0;
        M2S_TRY(put_list(lists, NULL, &list, error));
        for (int32_t i = 0; i < evaluator->count; i++) {
            const m2s_item *item = &evaluator->items[i];
            if (m2s_evaluator_counts(evaluator, item) && counted++ % folds == fold) {
                M2S_TRY(m2s_json_put_string(list, NULL, item->name, error));
            }
        }
    }
fail:
    return status;
}

static m2snet_status put_folds(const m2snet_evaluator *evaluator, int32_t folds, m2s_json *object, m2snet_error *error)
{
    m2s_json *cv, *list, *child;
    m2snet_scores mean, deviation;
    m2snet_status status;

    M2S_TRY(put_object(object, folds == 4 ? "four_fold_cv" : "k_fold_cv", &cv, error));
    M2S_TRY(put_assignment(evaluator, folds, cv, error));
    M2S_TRY(put_list(cv, "per_fold", &list, error));
    for (int32_t i = 0; i < folds; i++) {
        M2S_TRY(m2s_evaluator_set(evaluator, folds, i, &mean, error));
        M2S_TRY(put_object(list, NULL, &child, error));
        M2S_TRY(put_fold(child, &mean, error));
    }
    for (int32_t ddof = 0; ddof < 2; ddof++) {
        M2S_TRY(m2s_evaluator_folds(evaluator, folds, ddof, &mean, &deviation, error));
        if (ddof == 0) {
            M2S_TRY(put_object(cv, "mean", &child, error));
            M2S_TRY(put_fold(child, &mean, error));
        }
        M2S_TRY(put_object(cv, ddof == 0 ? "std_ddof0" : "std_ddof1", &child, error));
        M2S_TRY(put_fold(child, &deviation, error));
    }
fail:
    return status;
}

/* ---- the whole ---- */

static m2snet_status put_images(const m2snet_evaluator *evaluator, m2s_json *root, m2snet_error *error)
{
    const m2s_eval_settings *settings = &evaluator->settings;
    m2s_json *list, *image;
    m2snet_status status;

    M2S_TRY(put_list(root, "images", &list, error));
    for (int32_t i = 0; i < evaluator->count; i++) {
        const m2s_item *item = &evaluator->items[i];
        if (item->status != M2SNET_STATUS_OK) {
            continue;
        }
        M2S_TRY(put_object(list, NULL, &image, error));
        M2S_TRY(m2s_json_put_string(image, "name", item->name, error));
        if (item->pair == NULL) {
            M2S_TRY(put_labels(settings, image, item->labels, error));
            continue;
        }
        m2snet_scores *s = &item->pair->scores;
        M2S_TRY(put_fields(image, s, 0, m2s_authors_field_first, error));
        M2S_TRY(put_counts(image, s, error));
        M2S_TRY(put_surfaces(settings, image, s, 0, error));
        M2S_TRY(put_profile(settings, image, s, error));
    }
fail:
    return status;
}

static m2snet_status put_members(const m2snet_evaluator *evaluator, m2s_json *object, m2snet_error *error)
{
    static const char *const policies[] = { "zero", "skip", "one" };
    m2s_json *list;
    m2snet_status status;

    M2S_TRY(put_list(object, "members", &list, error));
    for (int32_t i = 0; i < evaluator->count; i++) {
        if (m2s_evaluator_counts(evaluator, &evaluator->items[i])) {
            M2S_TRY(m2s_json_put_string(list, NULL, evaluator->items[i].name, error));
        }
    }
    M2S_TRY(m2s_json_put_string(object, "policy", policies[evaluator->settings.empty], error));
fail:
    return status;
}

static m2snet_status put_pooled(const m2snet_scores *s, const m2snet_set_info *info, m2s_json *object,
                                m2snet_error *error)
{
    const keyed numbers[] = {
        { "dice", info->pooled_dice },
        { "iou", info->pooled_iou },
        { "precision", info->pooled_precision },
        { "recall", info->pooled_recall },
        { "specificity", info->pooled_specificity },
    };
    m2s_json *pooled;
    m2snet_status status;

    M2S_TRY(put_object(object, "pooled", &pooled, error));
    M2S_TRY(put_counts(pooled, s, error));
    M2S_TRY(put_keyed(pooled, numbers, sizeof numbers / sizeof numbers[0], error));
fail:
    return status;
}

static m2snet_status put_dataset(const m2snet_evaluator *evaluator, const m2snet_set_info *info, int32_t folds,
                                 m2s_json *root, m2snet_error *error)
{
    const m2s_eval_settings *settings = &evaluator->settings;
    m2snet_scores s;
    m2s_json *dataset;
    m2snet_status status;

    if (info->counted == 0) {
        return m2s_json_put_null(root, "dataset", error);
    }
    M2S_TRY(put_object(root, "dataset", &dataset, error));
    M2S_TRY(put_members(evaluator, dataset, error));
    if (settings->label_count > 0) {
        M2S_TRY(put_label_set(evaluator, dataset, error));
        return status;
    }
    M2S_TRY(m2s_evaluator_set(evaluator, 1, 0, &s, error));
    M2S_TRY(put_fields(dataset, &s, 0, m2s_authors_field_first, error));
    M2S_TRY(put_number(dataset, "mean_of_per_image_em_max_NOT_the_dataset_value", info->mean_of_image_em_max, error));
    M2S_TRY(put_pooled(&s, info, dataset, error));
    M2S_TRY(put_surfaces(settings, dataset, &s, info->counted, error));
    M2S_TRY(put_profile(settings, dataset, &s, error));
    if (folds >= 2 && folds <= info->counted) {
        M2S_TRY(put_folds(evaluator, folds, dataset, error));
    }
fail:
    return status;
}

#define REPORT_BINS 10 /* of the calibration */

static m2snet_status put_calibration(const m2snet_evaluator *evaluator, m2s_json *root, m2snet_error *error)
{
    m2snet_calibration c;
    m2s_json *object, *bins, *bin;
    m2snet_status status;

    M2S_TRY(m2s_calibration_make(evaluator, -1, REPORT_BINS, &c, error));
    const keyed numbers[] = { { "ece", c.ece }, { "mce", c.mce }, { "brier", c.brier } };
    M2S_TRY(put_object(root, "calibration", &object, error));
    M2S_TRY(m2s_json_put_integer(object, "pixels", c.pixels, error));
    M2S_TRY(put_keyed(object, numbers, sizeof numbers / sizeof numbers[0], error));
    M2S_TRY(put_list(object, "bins", &bins, error));
    for (int32_t i = 0; i < c.bin_count; i++) {
        M2S_TRY(put_object(bins, NULL, &bin, error));
        M2S_TRY(m2s_json_put_integer(bin, "pixels", c.bins[i].pixels, error));
        M2S_TRY(put_number(bin, "probability", c.bins[i].probability, error));
        M2S_TRY(put_number(bin, "observed", c.bins[i].observed, error));
    }
fail:
    return status;
}

static m2snet_status put_areas(const m2snet_evaluator *evaluator, m2s_json *root, m2snet_error *error)
{
    m2snet_area_agreement a;
    m2s_json *object;
    m2snet_status status;

    M2S_TRY(m2s_area_agreement_make(evaluator, &a, error));
    const keyed numbers[] = {
        { "bias", a.bias }, { "deviation", a.deviation }, { "lower", a.lower }, { "upper", a.upper }
    };
    M2S_TRY(put_object(root, "area_agreement", &object, error));
    M2S_TRY(m2s_json_put_string(object, "spacing", evaluator->settings.spacing_keys[0], error));
    M2S_TRY(put_keyed(object, numbers, sizeof numbers / sizeof numbers[0], error));
fail:
    return status;
}

/* [ { "name": ..., "message": ... }, ... ] of the failures or of the warnings. */
static m2snet_status put_messages(const m2snet_evaluator *evaluator, bool failures, m2s_json *root, m2snet_error *error)
{
    m2s_json *list, *entry;
    m2snet_status status;

    M2S_TRY(put_list(root, failures ? "failures" : "warnings", &list, error));
    for (int32_t i = 0; i < evaluator->count; i++) {
        const m2s_item *item = &evaluator->items[i];
        const char *message = failures ? item->message : item->warning;
        if (message != NULL) {
            M2S_TRY(put_object(list, NULL, &entry, error));
            M2S_TRY(m2s_json_put_string(entry, "name", item->name, error));
            M2S_TRY(m2s_json_put_string(entry, "message", message, error));
        }
    }
fail:
    return status;
}

static m2snet_status put_empty_masks(const m2snet_evaluator *evaluator, m2s_json *root, m2snet_error *error)
{
    m2s_json *list;
    m2snet_status status;

    M2S_TRY(put_list(root, "empty_masks", &list, error));
    for (int32_t i = 0; i < evaluator->count; i++) {
        const m2s_item *item = &evaluator->items[i];
        if (item->pair != NULL && item->pair->scores.mask_empty) {
            M2S_TRY(m2s_json_put_string(list, NULL, item->name, error));
        }
    }
fail:
    return status;
}

static m2snet_status put_head(const m2snet_evaluator *evaluator, const m2snet_set_info *info, m2s_json *root,
                              m2snet_error *error)
{
    static const char *const profiles[] = { "default", "authors", "pranet" };
    m2s_json *counts;
    m2snet_status status;

    M2S_TRY(m2s_json_put_integer(root, "format", 1, error));
    M2S_TRY(m2s_json_put_string(root, "library", "libm2snet " M2SNET_VERSION_STRING, error));
    M2S_TRY(m2s_json_put_string(root, "profile", profiles[evaluator->settings.profile], error));
    M2S_TRY(m2s_json_put_integer(root, "connectivity", evaluator->settings.connectivity, error));
    M2S_TRY(put_object(root, "counts", &counts, error));
    M2S_TRY(m2s_json_put_integer(counts, "scored", info->scored, error));
    M2S_TRY(m2s_json_put_integer(counts, "failed", info->failed, error));
    M2S_TRY(m2s_json_put_integer(counts, "in_means", info->counted, error));
    M2S_TRY(m2s_json_put_integer(counts, "empty_masks", info->empty_masks, error));
    M2S_TRY(m2s_json_put_integer(counts, "empty_predictions", info->empty_predictions, error));
    M2S_TRY(m2s_json_put_integer(counts, "both_empty", info->both_empty, error));
    M2S_TRY(m2s_json_put_integer(counts, "warned", info->warned, error));
fail:
    return status;
}

m2snet_status m2s_report_write(const m2snet_evaluator *evaluator, int32_t folds, char **text, m2snet_error *error)
{
    m2s_json *root = NULL;
    m2snet_set_info info;
    m2snet_status status;

    *text = NULL;
    m2s_evaluator_info(evaluator, &info);
    M2S_TRY(m2s_json_object(&root, error));
    M2S_TRY(put_head(evaluator, &info, root, error));
    M2S_TRY(put_images(evaluator, root, error));
    M2S_TRY(put_dataset(evaluator, &info, folds, root, error));
    if (info.counted > 0 && evaluator->settings.label_count == 0) {
        M2S_TRY(put_calibration(evaluator, root, error));
        M2S_TRY(put_areas(evaluator, root, error));
    }
    M2S_TRY(put_empty_masks(evaluator, root, error));
    M2S_TRY(put_messages(evaluator, true, root, error));
    M2S_TRY(put_messages(evaluator, false, root, error));
    M2S_TRY(m2s_json_write(&evaluator->context->memory, root, M2S_JSON_INDENT, text, NULL, error));
fail:
    m2s_json_free(root);
    return status;
}
