/* SPDX-License-Identifier: Apache-2.0
 * m2snet-evaluate: scores pairs of files, or a model's predictions. */
#define _GNU_SOURCE 1
#include <stdlib.h>
#include <string.h>

#include "common/progress_bar.h"
#include "evaluate.h"

static int on_progress(void *user, const m2snet_progress *progress)
{
    progress_bar *bar = user;

    while (bar->done < progress->done && bar->done < bar->total) {
        progress_bar_step(bar);
    }
    return 0;
}

static m2snet_status score_files(const evaluation *all, score_set *scored, m2snet_error *error)
{
    const pair_list *list = &scored->pairs;
    size_t count = list->names.count;
    m2snet_file_pair *pairs = must_alloc(count * sizeof(*pairs));
    progress_bar bar;
    m2snet_control control = { .progress = on_progress, .progress_user = &bar, .cancel = all->cancel };
    m2snet_status status;

    for (size_t i = 0; i < count; i++) {
        pairs[i] = (m2snet_file_pair){ list->names.items[i], list->predictions.items[i], list->masks.items[i] };
    }
    progress_bar_start(&bar, all->set->quiet, count);
    status = m2snet_evaluator_add_files(scored->evaluator, pairs, (int32_t)count, &control, &scored->failed, error);
    progress_bar_clear(&bar);
    free(pairs);
    return status;
}

/* ---- A model instead of predictions --------------------------------------- */

static m2snet_status predict(const evaluation *all, const char *picture_path, m2snet_result **result,
                             m2snet_error *error)
{
    m2snet_image_read_options reading;
    m2snet_image picture = { 0 };
    m2snet_status status;

    m2snet_image_read_options_init(&reading);
    reading.control.cancel = all->cancel;
    status = m2snet_image_read_file(all->context, picture_path, &reading, &picture, error);
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_predict(all->session, &picture, &all->predict, result, error);
    }
    m2snet_image_release(&picture);
    return status;
}

/* What is scored: the probability map, or the label map where that was asked for. */
static m2snet_image map_of(const m2snet_result *result)
{
    const uint8_t *labels = m2snet_result_labels(result);

    return (m2snet_image){ .data = labels != NULL ? labels : m2snet_result_map(result),
                           .width = m2snet_result_width(result),
                           .height = m2snet_result_height(result),
                           .format = M2SNET_PIXEL_GRAY8 };
}

m2snet_status load_prediction(const evaluation *all, const char *path, m2snet_image *prediction, m2snet_result **result,
                              m2snet_error *error)
{
    m2snet_image_read_options reading;
    m2snet_status status;

    *result = NULL;
    if (all->session != NULL) {
        status = predict(all, path, result, error);
        if (status == M2SNET_STATUS_OK) {
            *prediction = map_of(*result);
        }
        return status;
    }
    m2snet_image_read_options_init(&reading);
    reading.apply_exif = 0; /* an array of pixels, as it is scored */
    return m2snet_image_read_file(all->context, path, &reading, prediction, error);
}

static m2snet_status score_picture(const evaluation *all, const score_set *scored, size_t index, m2snet_error *error)
{
    m2snet_image mask = { 0 };
    m2snet_image prediction = { 0 };
    m2snet_result *result = NULL;
    m2snet_status status = m2snet_image_read_file(all->context, scored->pairs.masks.items[index], NULL, &mask, error);

    if (status == M2SNET_STATUS_OK) {
        status = load_prediction(all, scored->pairs.predictions.items[index], &prediction, &result, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_evaluator_add(scored->evaluator, scored->pairs.names.items[index], &prediction, &mask, error);
    }
    m2snet_result_destroy(result);
    m2snet_image_release(&mask);
    return status;
}

static m2snet_status open_model(evaluation *all, m2snet_error *error)
{
    m2snet_model_options options;
    m2snet_model_info info = { .struct_size = sizeof(info) };
    m2snet_model *model = NULL;
    const char *subject;
    m2snet_status status;

    m2snet_model_options_init(&options);
    options.control.cancel = all->cancel;
    status = m2snet_model_load_file(all->context, all->set->run.model, &options, &model, error);
    if (status == M2SNET_STATUS_OK) {
        status = open_session(&all->set->run, model, &all->session, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_model_get_info(model, &info, error);
    }
    if (status == M2SNET_STATUS_OK) {
        m2snet_predict_options_init(&all->predict);
        all->predict.class_index = first_class(&info);
        all->predict.control.cancel = all->cancel;
        all->predict.label_map = all->set->options.label_count > 0;
        all->views = all->set->views;
        status = open_views(&all->views, &all->set->run, all->context, &info, &all->predict, &subject, error);
    }
    m2snet_model_destroy(model); /* the session keeps it */
    return status;
}

/* Pictures that fail are counted; OUT_OF_MEMORY and CANCELLED end it. */
static m2snet_status score_pictures(evaluation *all, score_set *scored, m2snet_error *error)
{
    progress_bar bar;
    m2snet_status status = open_model(all, error);

    progress_bar_start(&bar, all->set->quiet, scored->pairs.names.count);
    for (size_t i = 0; status == M2SNET_STATUS_OK && i < scored->pairs.names.count; i++) {
        status = score_picture(all, scored, i, error);
        if (status != M2SNET_STATUS_OK && status != M2SNET_STATUS_OUT_OF_MEMORY && status != M2SNET_STATUS_CANCELLED) {
            m2snet_error why = *error;

            status = m2snet_evaluator_add_failure(scored->evaluator, scored->pairs.names.items[i], status, why.message,
                                                  error);
            scored->failed++;
        }
        progress_bar_step(&bar);
    }
    progress_bar_clear(&bar);
    return status;
}

static m2snet_status add_unmatched(score_set *scored, m2snet_error *error)
{
    const pair_list *list = &scored->pairs;
    m2snet_status status = M2SNET_STATUS_OK;

    for (size_t i = 0; status == M2SNET_STATUS_OK && i < list->unmatched.count; i++) {
        status = m2snet_evaluator_add_failure(scored->evaluator, list->unmatched.items[i], M2SNET_STATUS_MISMATCH,
                                              list->reasons.items[i], error);
    }
    return status;
}

m2snet_status score_sets(evaluation *all, m2snet_error *error)
{
    m2snet_status status = open_context(&all->set->run, &all->context, error);

    for (int i = 0; status == M2SNET_STATUS_OK && i < all->count; i++) {
        score_set *scored = &all->sets[i];

        status = m2snet_evaluator_create(all->context, &all->set->options, &scored->evaluator, error);
        if (status == M2SNET_STATUS_OK) {
            status = all->set->run.model != NULL ? score_pictures(all, scored, error) : score_files(all, scored, error);
        }
        if (status == M2SNET_STATUS_OK) {
            status = add_unmatched(scored, error);
        }
    }
    return status;
}
