/* SPDX-License-Identifier: Apache-2.0
 * The numbers of a set: means, folds, pooled counts, curves. */
#include <math.h>
#include <string.h>

#include "eval/evaluator.h"

/* Sum of the defined numbers, and how many they are. */
typedef struct average {
    double sum;
    int64_t count;
} average;

static void average_add(average *a, double value)
{
    if (!isnan(value)) {
        a->sum += value;
        a->count++;
    }
}

static double average_of(const average *a)
{
    return a->count > 0 ? a->sum / (double)a->count : NAN;
}

/* Where an item of a set is visited: the next one from *at on that counts and belongs to the fold and the subset. */
typedef struct visitor {
    int32_t at, counted;
    int32_t folds, fold;
    const bool *members; /* by index; NULL: all */
} visitor;

static const m2s_item *next_member(const m2snet_evaluator *evaluator, visitor *v)
{
    while (v->at < evaluator->count) {
        bool is_member = v->members == NULL || v->members[v->at];
        const m2s_item *item = &evaluator->items[v->at++];
        if (is_member && m2s_evaluator_counts(evaluator, item) && v->counted++ % v->folds == v->fold) {
            return item;
        }
    }
    return NULL;
}

static void average_curve(const m2snet_evaluator *evaluator, visitor v, m2snet_curve curve, double values[M2S_LEVELS])
{
    double both_empty = m2s_both_empty_value(&evaluator->settings);
    const m2s_item *item;
    int64_t count = 0;

    memset(values, 0, M2S_LEVELS * sizeof *values);
    while ((item = next_member(evaluator, &v)) != NULL) {
        m2s_curve_add(&item->pair->sweep, curve, both_empty, values);
        count++;
    }
    for (int t = 0; t < M2S_LEVELS; t++) {
        values[t] /= (double)count;
    }
}

static double set_authors_max_f(const m2snet_evaluator *evaluator, visitor v)
{
    double precision[M2S_AUTHORS_BINS] = { 0 }, recall[M2S_AUTHORS_BINS] = { 0 };
    const m2s_item *item;
    int64_t count = 0;

    while ((item = next_member(evaluator, &v)) != NULL) {
        m2s_authors_curves_add(&item->pair->authors_sweep, precision, recall);
        count++;
    }
    return m2s_authors_max_f(precision, recall, (double)count);
}

static double mean_of_field(const m2snet_evaluator *evaluator, visitor v, const m2s_score_field *field)
{
    average a = { 0 };
    const m2s_item *item;

    while ((item = next_member(evaluator, &v)) != NULL) {
        average_add(&a, *m2s_field_of(&item->pair->scores, field));
    }
    return average_of(&a);
}

static void average_surface(const m2snet_evaluator *evaluator, visitor v, int32_t spacing, m2snet_surface_scores *mean)
{
    for (int32_t f = 0; f < m2s_surface_field_count; f++) {
        average a = { 0 };
        visitor again = v;
        const m2s_item *item;
        while ((item = next_member(evaluator, &again)) != NULL) {
            average_add(&a, *m2s_field_of(&item->pair->scores.surface[spacing], &m2s_surface_fields[f]));
        }
        *m2s_field_of(mean, &m2s_surface_fields[f]) = average_of(&a);
    }
}

static int32_t add_counts(const m2snet_evaluator *evaluator, visitor v, m2snet_scores *scores)
{
    const m2s_item *item;
    int32_t members = 0;

    while ((item = next_member(evaluator, &v)) != NULL) {
        const m2snet_scores *s = &item->pair->scores;
        scores->tp += s->tp;
        scores->fp += s->fp;
        scores->fn += s->fn;
        scores->tn += s->tn;
        scores->mask_empty += s->mask_empty;
        scores->prediction_empty += s->prediction_empty;
        scores->surface_undefined += s->surface_undefined;
        members++;
    }
    return members;
}

static m2snet_status set_of(const m2snet_evaluator *evaluator, visitor v, m2snet_scores *scores, m2snet_error *error)
{
    const m2s_eval_settings *settings = &evaluator->settings;
    double values[M2S_LEVELS];

    *scores = (m2snet_scores){ .struct_size = sizeof *scores,
                               .surface_count = settings->surface ? settings->spacing_count : 0 };
    if (add_counts(evaluator, v, scores) == 0) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "no mean: none of the %d pairs counts", evaluator->count);
    }
    for (int32_t i = 0; i < m2s_score_field_count; i++) {
        const m2s_score_field *field = &m2s_score_fields[i];
        if (field->kind == M2S_SCORE_MEAN) {
            *m2s_field_of(scores, field) = mean_of_field(evaluator, v, field);
        } else if (field->kind == M2S_SCORE_CURVE_MEAN) {
            average sum = { 0 };
            double best = 0.0;
            average_curve(evaluator, v, field->curve, values);
            for (int t = 0; t < M2S_LEVELS; t++) {
                average_add(&sum, values[t]);
                best = values[t] > best ? values[t] : best;
            }
            *m2s_field_of(scores, field) = average_of(&sum);
            *m2s_field_of(scores, field + 1) = best;
        }
    }
    if (settings->profile == M2SNET_PROFILE_AUTHORS) {
        scores->authors_fm_max = set_authors_max_f(evaluator, v);
    }
    for (int32_t i = 0; i < M2SNET_MAX_SPACINGS; i++) {
        average_surface(evaluator, v, i, &scores->surface[i]);
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_evaluator_set(const m2snet_evaluator *evaluator, int32_t folds, int32_t fold, m2snet_scores *scores,
                                m2snet_error *error)
{
    return set_of(evaluator, (visitor){ .folds = folds, .fold = fold }, scores, error);
}

m2snet_status m2s_evaluator_subset(const m2snet_evaluator *evaluator, const int32_t *indices, int32_t count,
                                   m2snet_scores *scores, m2snet_error *error)
{
    m2s_memory *memory = &evaluator->context->memory;
    bool *members = m2s_calloc(memory, (size_t)evaluator->count + 1, sizeof *members);
    m2snet_status status;

    if (members == NULL) {
        return m2s_fail_memory(error, "a subset", (size_t)evaluator->count + 1);
    }
    for (int32_t i = 0; i < count; i++) {
        if (indices[i] < 0 || indices[i] >= evaluator->count || members[indices[i]]) {
            status = m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                              "index %d of the subset is %d: expected each of 0 to %d once at most", i, indices[i],
                              evaluator->count - 1);
            goto fail;
        }
        members[indices[i]] = true;
    }
    M2S_TRY(set_of(evaluator, (visitor){ .folds = 1, .members = members }, scores, error));
fail:
    m2s_free(memory, members);
    return status;
}

static int32_t count_members(const m2snet_evaluator *evaluator)
{
    int32_t counted = 0;

    for (int32_t i = 0; i < evaluator->count; i++) {
        counted += m2s_evaluator_counts(evaluator, &evaluator->items[i]);
    }
    return counted;
}

/* Moments of one number over the folds; NaN in one makes both NaN. */
static void spread(const double *values, int32_t folds, int32_t ddof, double *mean, double *deviation)
{
    double sum = 0.0, squares = 0.0;

    for (int32_t i = 0; i < folds; i++) {
        sum += values[i];
    }
    *mean = sum / folds;
    for (int32_t i = 0; i < folds; i++) {
        squares += (values[i] - *mean) * (values[i] - *mean);
    }
    *deviation = sqrt(squares / (folds - ddof));
}

static void spread_fields(m2snet_scores *sets, int32_t folds, int32_t ddof, double *values, m2snet_scores *mean,
                          m2snet_scores *deviation)
{
    for (int32_t i = 0; i < m2s_score_field_count; i++) {
        const m2s_score_field *field = &m2s_score_fields[i];
        for (int32_t k = 0; k < folds; k++) {
            values[k] = *m2s_field_of(&sets[k], field);
        }
        spread(values, folds, ddof, m2s_field_of(mean, field), m2s_field_of(deviation, field));
    }
    for (int32_t s = 0; s < M2SNET_MAX_SPACINGS; s++) {
        for (int32_t i = 0; i < m2s_surface_field_count; i++) {
            const m2s_score_field *field = &m2s_surface_fields[i];
            for (int32_t k = 0; k < folds; k++) {
                values[k] = *m2s_field_of(&sets[k].surface[s], field);
            }
            spread(values, folds, ddof, m2s_field_of(&mean->surface[s], field),
                   m2s_field_of(&deviation->surface[s], field));
        }
    }
}

m2snet_status m2s_evaluator_folds(const m2snet_evaluator *evaluator, int32_t folds, int32_t ddof, m2snet_scores *mean,
                                  m2snet_scores *deviation, m2snet_error *error)
{
    m2s_memory *memory = &evaluator->context->memory;
    int32_t surface_count = evaluator->settings.surface ? evaluator->settings.spacing_count : 0;
    m2snet_scores *sets = NULL;
    double *values = NULL;
    m2snet_status status;

    *mean = (m2snet_scores){ .struct_size = sizeof *mean, .surface_count = surface_count };
    *deviation = *mean;
    if (ddof != 0 && ddof != 1) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "ddof is %d: expected 0 or 1", ddof);
    }
    if (folds < 2 || folds > count_members(evaluator)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "folds is %d: expected 2 to the number of pairs, %d",
                        folds, count_members(evaluator));
    }
    sets = m2s_alloc_array(memory, (size_t)folds, sizeof *sets);
    values = m2s_alloc_array(memory, (size_t)folds, sizeof *values);
    if (sets == NULL || values == NULL) {
        status = m2s_fail_memory(error, "folds", (size_t)folds * sizeof *sets);
        goto fail;
    }
    for (int32_t i = 0; i < folds; i++) {
        M2S_TRY(m2s_evaluator_set(evaluator, folds, i, &sets[i], error));
    }
    spread_fields(sets, folds, ddof, values, mean, deviation);
fail:
    m2s_free(memory, values);
    m2s_free(memory, sets);
    return status;
}

m2snet_status m2s_evaluator_set_label(const m2snet_evaluator *evaluator, int32_t label, m2snet_label_scores *scores,
                                      m2snet_error *error)
{
    const m2s_eval_settings *settings = &evaluator->settings;
    average dice = { 0 }, iou = { 0 };
    average spacings[M2SNET_MAX_SPACINGS][9] = { { { 0 } } };
    int32_t scored = 0;

    *scores = (m2snet_label_scores){ .struct_size = sizeof *scores, .surface_count = settings->spacing_count };
    for (int32_t i = 0; i < evaluator->count; i++) {
        const m2s_item *item = &evaluator->items[i];
        if (item->status != M2SNET_STATUS_OK) {
            continue;
        }
        m2snet_label_scores *s = &item->labels[label];
        if (settings->empty == M2SNET_EMPTY_SKIP && s->n_gt == 0) {
            continue;
        }
        scored++;
        scores->tp += s->tp;
        scores->n_pred += s->n_pred;
        scores->n_gt += s->n_gt;
        scores->columns_both += s->columns_both;
        scores->columns_gt_only += s->columns_gt_only;
        scores->columns_pred_only += s->columns_pred_only;
        scores->boundary_undefined += s->boundary_undefined;
        scores->surface_undefined += s->surface_undefined;
        average_add(&dice, s->dice);
        average_add(&iou, s->iou);
        for (int32_t k = 0; k < M2SNET_MAX_SPACINGS; k++) {
            average_add(&spacings[k][0], s->spacing[k].med_top);
            average_add(&spacings[k][1], s->spacing[k].med_bottom);
            average_add(&spacings[k][2], s->spacing[k].med);
            for (int32_t f = 0; f < m2s_surface_field_count; f++) {
                average_add(&spacings[k][3 + f], *m2s_field_of(&s->spacing[k].surface, &m2s_surface_fields[f]));
            }
        }
    }
    if (scored == 0) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "no mean of label %s: none of the %d pairs counts",
                        settings->label_names[label], evaluator->count);
    }
    scores->dice = average_of(&dice);
    scores->iou = average_of(&iou);
    for (int32_t k = 0; k < M2SNET_MAX_SPACINGS; k++) {
        scores->spacing[k].med_top = average_of(&spacings[k][0]);
        scores->spacing[k].med_bottom = average_of(&spacings[k][1]);
        scores->spacing[k].med = average_of(&spacings[k][2]);
        for (int32_t f = 0; f < m2s_surface_field_count; f++) {
            *m2s_field_of(&scores->spacing[k].surface, &m2s_surface_fields[f]) = average_of(&spacings[k][3 + f]);
        }
    }
    return M2SNET_STATUS_OK;
}

void m2s_evaluator_info(const m2snet_evaluator *evaluator, m2snet_set_info *info)
{
    m2s_counts pooled = { 0 };
    average em = { 0 };

    *info = (m2snet_set_info){ .struct_size = sizeof *info };
    for (int32_t i = 0; i < evaluator->count; i++) {
        const m2s_item *item = &evaluator->items[i];
        bool scored = item->status == M2SNET_STATUS_OK;
        info->scored += scored;
        info->failed += !scored;
        info->warned += item->warning != NULL;
        info->counted += m2s_evaluator_counts(evaluator, item);
        if (item->pair == NULL) {
            continue;
        }
        const m2snet_scores *s = &item->pair->scores;
        info->empty_masks += s->mask_empty;
        info->empty_predictions += s->prediction_empty;
        info->both_empty += s->mask_empty && s->prediction_empty;
        if (m2s_evaluator_counts(evaluator, item)) {
            pooled.tp += s->tp;
            pooled.fp += s->fp;
            pooled.fn += s->fn;
            pooled.tn += s->tn;
            average_add(&em, s->em_max);
        }
    }
    double both_empty = m2s_both_empty_value(&evaluator->settings);
    info->pooled_dice = m2s_dice(&pooled, both_empty);
    info->pooled_iou = m2s_iou(&pooled, both_empty);
    info->pooled_precision = m2s_precision(&pooled, both_empty);
    info->pooled_recall = m2s_recall(&pooled, both_empty);
    info->pooled_specificity = m2s_specificity(&pooled);
    info->mean_of_image_em_max = average_of(&em);
}

m2snet_status m2s_evaluator_curve(const m2snet_evaluator *evaluator, int32_t index, m2snet_curve curve,
                                  double values[M2S_LEVELS], m2snet_error *error)
{
    const m2s_item *item = NULL;
    m2snet_status status = M2SNET_STATUS_OK;

    if ((int)curve < 0 || (int)curve >= M2S_CURVES) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "curve is %d: expected 0 to %d", (int)curve,
                        M2S_CURVES - 1);
    }
    if (index == -1) {
        if (count_members(evaluator) == 0) {
            return m2s_fail(error, M2SNET_STATUS_MISMATCH, "no mean: none of the %d pairs counts", evaluator->count);
        }
        average_curve(evaluator, (visitor){ .folds = 1 }, curve, values);
        return status;
    }
    M2S_TRY(m2s_evaluator_item(evaluator, index, &item, error));
    memset(values, 0, M2S_LEVELS * sizeof *values);
    m2s_curve_add(&item->pair->sweep, curve, m2s_both_empty_value(&evaluator->settings), values);
fail:
    return status;
}
