/* SPDX-License-Identifier: Apache-2.0 */
#include "run/predict.h"

#include <stdio.h>
#include <string.h>

#include "core/options.h"
#include "image/label_map.h"
#include "image/preprocess.h"
#include "run/receipt.h"

/* Pictures computed in one run of the network: enough to fill the threads, few enough to keep the arena small. */
#define MAX_BATCH 4

void m2s_predict_options_default(m2snet_predict_options *options)
{
    *options =
        (m2snet_predict_options){ .struct_size = sizeof *options, .threshold = -1.0, .presence_min_area_px = -1.0 };
}

typedef struct job {
    m2snet_session *session;
    const m2snet_predict_options *options;
    m2s_postprocess_options post;
    double threshold;
    m2s_control control;
    float *pixels; /* MAX_BATCH prepared pictures */
    double *wide;  /* the same and then the logits in double, for precision F64 */
    float *logits; /* of MAX_BATCH pictures */
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

static size_t input_pixels(const m2snet_session *session)
{
    return (size_t)session->options.input_width * (size_t)session->options.input_height;
}

static m2snet_status allocate(job *j, int32_t count, m2snet_error *error)
{
    m2s_memory *memory = &j->session->model->context->memory;
    size_t batch = (size_t)(count < MAX_BATCH ? count : MAX_BATCH), pixels = batch * input_pixels(j->session);
    size_t classes = (size_t)j->session->model->config.classes;
    bool wide = m2s_session_dtype(j->session) == M2SNET_DTYPE_F64;

    j->pixels = m2s_alloc_array(memory, 3 * pixels, sizeof *j->pixels);
    j->logits = m2s_alloc_array(memory, classes * pixels, sizeof *j->logits);
    j->wide = wide ? m2s_alloc_array(memory, (3 + classes) * pixels, sizeof *j->wide) : NULL;
    if (j->pixels == NULL || j->logits == NULL || (wide && j->wide == NULL)) {
        return m2s_fail_memory(error, "prepared pictures", (3 + classes) * pixels * sizeof *j->pixels);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status run_network(job *j, int32_t batch, m2snet_error *error)
{
    m2snet_session *session = j->session;
    size_t in = 3 * (size_t)batch * input_pixels(session);
    size_t out = (size_t)session->model->config.classes * (size_t)batch * input_pixels(session);
    m2s_program *program;
    m2snet_status status;

    M2S_TRY(m2s_session_plan_for(session, batch, session->options.input_height, session->options.input_width,
                                 &j->control, &program, error));
    if (j->wide == NULL) {
        return m2s_session_run_dense(session, program, j->pixels, j->logits, &j->control, error);
    }
    for (size_t i = 0; i < in; i++) {
        j->wide[i] = (double)j->pixels[i];
    }
    M2S_TRY(m2s_session_run_dense(session, program, j->wide, j->wide + in, &j->control, error));
    for (size_t i = 0; i < out; i++) {
        j->logits[i] = (float)j->wide[in + i];
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

/* Which class each pixel belongs to. */
static m2snet_status make_labels(job *j, const m2snet_image *image, const float *logits, m2snet_result *result,
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
    M2S_TRY(m2s_label_map(&context->host, logits, session->options.input_width, session->options.input_height,
                          image->width, image->height, &options, &j->control, result->labels, error));
fail:
    return status;
}

static double milliseconds_since(uint64_t start_ns)
{
    return (double)(m2s_now_ns() - start_ns) * 1e-6;
}

static m2snet_status finish(job *j, const m2snet_image *image, const float *logits, double pre_ms, double network_ms,
                            m2snet_result **finished, m2snet_error *error)
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
    M2S_TRY(m2s_postprocess(&context->host, logits + j->options->class_index, session->model->config.classes,
                            session->options.input_width, session->options.input_height, image->width, image->height,
                            &j->post, &j->control, &result->segmentation, error));
    if (j->options->label_map || j->options->labels != NULL) {
        M2S_TRY(make_labels(j, image, logits, result, error));
    }
    result->receipt.milliseconds_pre = pre_ms;
    result->receipt.milliseconds_network = network_ms;
    result->receipt.milliseconds_post = milliseconds_since(start);
    M2S_TRY(m2s_receipt_write(result, session, j->threshold, image, error));
    *finished = result;
    return M2SNET_STATUS_OK;
fail:
    m2s_result_destroy(result);
    return status;
}

static m2snet_status predict_batch(job *j, const m2snet_image *images, int32_t batch, m2snet_result **results,
                                   m2snet_error *error)
{
    m2snet_session *session = j->session;
    const m2s_config *config = &session->model->config;
    m2s_normalization normalization;
    double pre_ms[MAX_BATCH], network_ms;
    m2snet_status status = M2SNET_STATUS_OK;

    memcpy(normalization.mean, config->mean, sizeof config->mean);
    memcpy(normalization.std, config->std, sizeof config->std);
    for (int32_t i = 0; i < batch; i++) {
        uint64_t start = m2s_now_ns();
        M2S_TRY(m2s_preprocess(&session->model->context->host, &images[i], &j->post.region, &normalization,
                               session->options.input_width, session->options.input_height,
                               j->pixels + (size_t)i * 3 * input_pixels(session), &j->control, error));
        pre_ms[i] = milliseconds_since(start);
    }
    uint64_t start = m2s_now_ns();
    M2S_TRY(run_network(j, batch, error));
    network_ms = milliseconds_since(start);
    if (config->coding.softmax) {
        m2s_softmax_logits(j->logits, (size_t)batch * input_pixels(session), config->classes);
    }
    for (int32_t i = 0; i < batch; i++) {
        const float *logits = j->logits + (size_t)i * (size_t)config->classes * input_pixels(session);
        M2S_TRY(finish(j, &images[i], logits, pre_ms[i], network_ms, &results[i], error));
    }
fail:
    return status;
}

m2snet_status m2s_predict(m2snet_session *session, const m2snet_image *images, int32_t count,
                          const m2snet_predict_options *given, m2snet_result **results, m2snet_error *error)
{
    m2snet_predict_options options;
    job j = { .session = session, .options = &options };
    m2s_memory *memory = &session->model->context->memory;
    m2snet_status status;

    for (int32_t i = 0; i < count; i++) {
        results[i] = NULL;
    }
    m2s_predict_options_default(&options);
    M2S_TRY(m2s_options_import("m2snet_predict_options", given, &options, sizeof options, error));
    m2s_control_init(&j.control, &options.control);
    M2S_TRY(check_options(&j, images, count, error));
    M2S_TRY(allocate(&j, count, error));
    for (int32_t first = 0; first < count; first += MAX_BATCH) {
        int32_t batch = count - first < MAX_BATCH ? count - first : MAX_BATCH;
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
    m2s_free(memory, j.pixels);
    m2s_free(memory, j.wide);
    m2s_free(memory, j.logits);
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
    m2s_free(&model->context->memory, result);
    m2s_model_release(model);
}
