/* SPDX-License-Identifier: Apache-2.0 */
#include "run/predict.h"

#include <stdio.h>

#include "core/options.h"
#include "image/label_map.h"
#include "run/inside.h"
#include "run/receipt.h"

void m2s_predict_options_default(m2snet_predict_options *options)
{
    *options = (m2snet_predict_options){
        .struct_size = sizeof *options, .threshold = -1.0, .presence_min_area_px = -1.0, .tile_step = 0.5
    };
}

typedef struct job {
    m2snet_session *session;
    const m2snet_predict_options *options;
    m2s_postprocess_options post;
    double threshold;
    m2s_control control;
    m2s_views views;
    m2s_look look; /* the options' features */
} job;

/* Rows of the caller's buffer must not overlap, nor lie beyond any memory. */
static m2snet_status check_stride(const char *name, const void *buffer, ptrdiff_t stride_bytes, size_t row_bytes,
                                  m2snet_error *error)
{
    size_t distance = stride_bytes < 0 ? (size_t)0 - (size_t)stride_bytes : (size_t)stride_bytes;

    if (buffer != NULL && stride_bytes != 0 && (distance < row_bytes || distance > PTRDIFF_MAX / M2S_MAX_SIDE_PX)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "%s_stride_bytes is %td: a row has %zu bytes", name,
                        stride_bytes, row_bytes);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status check_buffers(const m2snet_predict_options *o, size_t width, m2snet_error *error)
{
    m2snet_status status;

    M2S_TRY(check_stride("probability", o->probability, o->probability_stride_bytes, width * sizeof(float), error));
    M2S_TRY(check_stride("map", o->map, o->map_stride_bytes, width, error));
    M2S_TRY(check_stride("mask", o->mask, o->mask_stride_bytes, width, error));
    M2S_TRY(check_stride("labels", o->labels, o->labels_stride_bytes, width, error));
fail:
    return status;
}

static m2snet_status check_options(job *j, const m2snet_image *images, int32_t count, m2snet_error *error)
{
    const m2snet_predict_options *o = j->options;
    const m2snet_model *model = j->session->model;
    m2snet_status status = M2SNET_STATUS_OK;

    if (count > 1 && (o->probability != NULL || o->map != NULL || o->mask != NULL || o->labels != NULL)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "buffers of the caller hold one picture: they must be NULL for %d", count);
    }
    if (o->class_index < 0 || o->class_index >= model->config.classes) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "class_index is %d: the model has %d class%s",
                        o->class_index, model->config.classes, model->config.classes == 1 ? "" : "es");
    }
    j->threshold = o->threshold < 0.0 ? model->config.threshold : o->threshold;
    j->post = (m2s_postprocess_options){ .threshold = j->threshold,
                                         .region = { o->roi_x, o->roi_y, o->roi_width, o->roi_height },
                                         .largest_component = o->largest_component != 0,
                                         .fill_holes = o->fill_holes != 0,
                                         .min_area_px = o->min_area_px,
                                         .presence_min_area_px = o->presence_min_area_px,
                                         .spacing_y_mm = o->spacing_y_mm,
                                         .spacing_x_mm = o->spacing_x_mm };
    for (int32_t i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, count > 1 ? "image %d" : "image", (int)i);
        M2S_TRY(m2s_image_check(&images[i], name, error));
        M2S_TRY(m2s_postprocess_check(&j->post, images[i].width, images[i].height, error));
        M2S_TRY(check_buffers(o, (size_t)images[i].width, error));
    }
fail:
    return status;
}

static void fill_buffers(const m2snet_predict_options *o, const m2snet_result *result)
{
    const m2s_segmentation *s = &result->segmentation;
    size_t width = (size_t)s->width;

    if (o->probability != NULL) {
        m2s_copy_rows(o->probability, o->probability_stride_bytes, s->probability, width * sizeof(float), s->height);
    }
    if (o->map != NULL) {
        m2s_copy_rows(o->map, o->map_stride_bytes, s->map, width, s->height);
    }
    if (o->mask != NULL) {
        m2s_copy_rows(o->mask, o->mask_stride_bytes, s->mask, width, s->height);
    }
    if (o->labels != NULL) {
        m2s_copy_rows(o->labels, o->labels_stride_bytes, result->labels, width, s->height);
    }
}

/* A picture's logits, width x height of all classes, and what they took. */
typedef struct outcome {
    float *logits;
    int32_t width, height;
    double prepare_ms, network_ms;
} outcome;

/* Which class each pixel belongs to. */
static m2snet_status make_labels(job *j, const m2snet_image *image, const outcome *made, m2snet_result *result,
                                 m2snet_error *error)
{
    m2snet_session *session = j->session;
    const m2s_config *config = &session->model->config;
    m2snet_context *context = session->model->context;
    size_t pixels = (size_t)image->width * (size_t)image->height;
    uint8_t levels[M2S_MAX_CLASSES];
    const m2s_label_options options = { .classes = config->classes,
                                        .levels = levels,
                                        .background = config->coding.background,
                                        .always = config->coding.softmax,
                                        .threshold = j->threshold,
                                        .region = j->post.region };
    m2snet_status status;

    for (int32_t c = 0; c < config->classes; c++) {
        levels[c] = m2s_coding_level(&config->coding, config->classes, c);
    }
    result->labels = m2s_alloc(&context->memory, pixels);
    if (result->labels == NULL) {
        return m2s_fail_memory(error, "a label map", pixels);
    }
    M2S_TRY(m2s_label_map(&context->host, made->logits, made->width, made->height, image->width, image->height,
                          &options, &j->control, result->labels, error));
fail:
    return status;
}

/* Names are checked before anything runs. */
static m2snet_status check_look(const job *j, m2snet_error *error)
{
    const m2snet_predict_options *o = j->options;
    const m2snet_status bad = M2SNET_STATUS_INVALID_ARGUMENT;

    if (o->feature_count < 0 || (o->feature_count > 0 && o->features == NULL)) {
        return m2s_fail(error, bad, "feature_count is %d%s", o->feature_count,
                        o->feature_count > 0 ? " and features NULL" : ": expected 0 or more");
    }
    if (o->feature_count == 0 && o->gradcam == NULL) {
        return M2SNET_STATUS_OK;
    }
    if (o->tiles || o->mirror != M2SNET_MIRROR_NONE || o->ensemble_count != 0) {
        return m2s_fail(error, bad,
                        "features and gradcam look into one run of one network: expected no tiles, mirror or ensemble");
    }
    for (int32_t i = 0; i < o->feature_count + (o->gradcam != NULL); i++) {
        const char *name = i < o->feature_count ? o->features[i] : o->gradcam;
        if (name == NULL || m2s_look_find(j->session->model, name) < 0) {
            return m2s_fail(error, bad,
                            "the network has no tensor \"%.100s\": m2snet_model_feature_info lists those it has",
                            name != NULL ? name : "(NULL)");
        }
    }
    return M2SNET_STATUS_OK;
}

static double milliseconds_since(uint64_t start_ns)
{
    return (double)(m2s_now_ns() - start_ns) * 1e-6;
}

static m2snet_status finish(job *j, const m2snet_image *image, const outcome *made, m2snet_result **finished,
                            m2snet_error *error)
{
    m2snet_session *session = j->session;
    m2snet_context *context = session->model->context;
    uint64_t start = m2s_now_ns();
    m2snet_result *result = m2s_calloc(&context->memory, 1, sizeof *result);
    m2snet_status status;

    if (result == NULL) {
        return m2s_fail_memory(error, "a result", sizeof *result);
    }
    result->model = m2s_model_retain(session->model);
    M2S_TRY(m2s_postprocess(&context->host, made->logits + j->options->class_index, session->model->config.classes,
                            made->width, made->height, image->width, image->height, &j->post, &j->control,
                            &result->segmentation, error));
    if (j->options->label_map || j->options->labels != NULL) {
        M2S_TRY(make_labels(j, image, made, result, error));
    }
    if (j->look.count > 0) {
        M2S_TRY(m2s_inside_features(result, session, &j->look, error));
    }
    if (j->options->gradcam != NULL) {
        M2S_TRY(m2s_inside_gradcam(result, &j->views, j->options->gradcam, j->options->class_index, j->threshold,
                                   &j->post.region, error));
    }
    result->receipt.milliseconds_pre = made->prepare_ms;
    result->receipt.milliseconds_network = made->network_ms;
    result->receipt.milliseconds_post = milliseconds_since(start);
    M2S_TRY(m2s_receipt_write(result, &j->views, j->threshold, image, error));
    *finished = result;
    return M2SNET_STATUS_OK;
fail:
    m2s_result_destroy(result);
    return status;
}

static m2snet_status predict_batch(job *j, const m2snet_image *images, int32_t batch, m2snet_result **results,
                                   m2snet_error *error)
{
    outcome made;
    m2snet_status status;

    M2S_TRY(
        m2s_views_logits(&j->views, images, batch, &j->post.region, &made.logits, &made.width, &made.height, error));
    made.network_ms = j->views.network_ms;
    if (j->session->model->config.coding.softmax) {
        m2s_softmax_logits(made.logits, (size_t)batch * (size_t)made.width * (size_t)made.height, j->views.classes);
    }
    for (int32_t i = 0; i < batch; i++) {
        made.prepare_ms = j->views.prepare_ms[i];
        M2S_TRY(finish(j, &images[i], &made, &results[i], error));
        made.logits += (size_t)made.width * (size_t)made.height * (size_t)j->views.classes;
    }
fail:
    return status;
}

m2snet_status m2s_predict(m2snet_session *session, const m2snet_image *images, int32_t count,
                          const m2snet_predict_options *given, m2snet_result **results, m2snet_error *error)
{
    m2snet_predict_options options;
    job j = { .session = session, .options = &options };
    m2snet_status status;

    for (int32_t i = 0; i < count; i++) {
        results[i] = NULL;
    }
    m2s_predict_options_default(&options);
    M2S_TRY(m2s_options_import("m2snet_predict_options", given, &options, sizeof options, error));
    m2s_control_init(&j.control, &options.control);
    M2S_TRY(check_options(&j, images, count, error));
    M2S_TRY(check_look(&j, error));
    M2S_TRY(m2s_views_open(&j.views, session, &options, count, &j.control, error));
    j.look = (m2s_look){ .names = options.features, .count = options.feature_count };
    j.views.look = j.look.count > 0 ? &j.look : NULL;
    j.views.one_by_one = j.look.count > 0 || options.gradcam != NULL;
    int32_t most = m2s_views_batch(&j.views);
    for (int32_t first = 0; first < count; first += most) {
        int32_t batch = count - first < most ? count - first : most;
        M2S_TRY(predict_batch(&j, &images[first], batch, &results[first], error));
    }
    if (m2s_control_stopped(&j.control)) { /* asked at the last report: a cancelled call gives nothing */
        status = m2s_fail_cancelled(error, "post");
        goto fail;
    }
    if (count == 1) {
        fill_buffers(&options, results[0]);
    }
fail:
    m2s_views_close(&j.views);
    for (int32_t i = 0; i < count && status != M2SNET_STATUS_OK; i++) {
        m2s_result_destroy(results[i]);
        results[i] = NULL;
    }
    return status;
}

void m2s_result_destroy(m2snet_result *result)
{
    if (result == NULL) {
        return;
    }
    m2snet_model *model = result->model;
    m2s_segmentation_release(&result->segmentation);
    m2s_free(&model->context->memory, result->labels);
    m2s_free(&model->context->memory, result->receipt_json);
    m2s_free(&model->context->memory, result->ensemble);
    for (int32_t i = 0; i < result->feature_count; i++) {
        m2s_free(&model->context->memory, result->features[i].numbers);
    }
    m2s_free(&model->context->memory, result->features);
    m2s_free(&model->context->memory, result->gradcam);
    m2s_free(&model->context->memory, result);
    m2s_model_release(model);
}
