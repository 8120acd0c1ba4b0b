/* SPDX-License-Identifier: Apache-2.0 */
#include "train/validation.h"

#include <string.h>

#include "core/options.h"
#include "eval/overlap.h"
#include "image/decode.h"
#include "image/label_map.h"
#include "image/postprocess.h"
#include "run/predict.h"
#include "run/views.h"
#include "train/loader_picture.h"

#define PHASE            "validate"
#define USUAL_THRESHOLD  128
#define PICTURES_AT_ONCE 4 /* in one run of the network, as in prediction */

void m2s_validation_options_default(m2snet_validation_options *options)
{
    *options =
        (m2snet_validation_options){ .struct_size = sizeof *options, .part = M2SNET_PART_VALIDATION, .averaged = 1 };
}

typedef struct pair {
    int32_t item;
    m2s_bitmap image;
    m2s_bitmap levels; /* of the mask, one byte a pixel */
} pair;

typedef struct evaluation {
    m2snet_session *session;
    const m2snet_dataset *dataset;
    const m2snet_validation_options *options;
    m2s_control control;
    bool softmax;
    uint8_t background; /* level of masks that are not there */
    int32_t classes;
    pair pairs[PICTURES_AT_ONCE];
    int32_t pair_count;
    m2s_views views;
    double dice, iou;
    int64_t scored; /* pictures times classes */
    m2snet_validation *result;
} evaluation;

static m2snet_status check(const m2snet_validation_options *o, int32_t classes, bool softmax, m2snet_error *error)
{
    int32_t wanted = softmax ? classes - 1 : classes;

    if (o->mask_threshold < 0 || o->mask_threshold > 255) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "mask_threshold is %d: expected 0 to 255",
                        o->mask_threshold);
    }
    if (o->label_count < 0 || (o->label_count > 0 && o->labels == NULL)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "label_count is %d and labels is %s", o->label_count,
                        o->labels == NULL ? "NULL" : "not NULL");
    }
    if (o->label_count != wanted && !(o->label_count == 0 && classes == 1)) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "label_count is %d: the model has %d classes%s", o->label_count,
                        classes, softmax ? ", the background among them" : "");
    }
    return M2SNET_STATUS_OK;
}

/* ---- pictures ---- */

static void release_pairs(evaluation *e)
{
    for (int32_t i = 0; i < PICTURES_AT_ONCE; i++) {
        m2s_bitmap_release(&e->pairs[i].image);
        m2s_bitmap_release(&e->pairs[i].levels);
    }
    e->pair_count = 0;
}

static m2snet_status read_levels(evaluation *e, const char *path, pair *p, m2snet_error *error)
{
    m2s_memory *memory = &e->session->model->context->memory;
    m2s_decode_options decode = M2S_DECODE_DEFAULTS;
    m2s_bitmap file = { 0 };
    m2snet_status status;

    decode.max_pixels = e->options->max_pixels != 0 ? e->options->max_pixels : decode.max_pixels;
    M2S_TRY(m2s_bitmap_create(memory, p->image.width, p->image.height, M2SNET_PIXEL_GRAY8, &p->levels, error));
    if (path == NULL) {
        memset(p->levels.pixels, e->background, (size_t)p->image.width * (size_t)p->image.height);
        return M2SNET_STATUS_OK;
    }
    M2S_TRY(m2s_image_read(memory, path, &decode, &e->control, &file, error));
    if (file.width != p->image.width || file.height != p->image.height) {
        status = m2s_fail(error, M2SNET_STATUS_MISMATCH, "mask '%s' is %d x %d, its picture %d x %d", path, file.width,
                          file.height, p->image.width, p->image.height);
        goto fail;
    }
    m2s_mask_levels(&file, e->options->label_count > 0, p->levels.pixels);
fail:
    m2s_bitmap_release(&file);
    return status;
}

static m2snet_status read_pair(evaluation *e, int32_t item, m2snet_error *error)
{
    const m2s_sample *sample = &e->dataset->samples[item];
    m2s_decode_options decode = M2S_DECODE_DEFAULTS;
    pair *p = &e->pairs[e->pair_count];
    m2snet_status status;

    decode.max_pixels = e->options->max_pixels != 0 ? e->options->max_pixels : decode.max_pixels;
    p->item = item;
    M2S_TRY(m2s_image_read(&e->session->model->context->memory, sample->image_path, &decode, &e->control, &p->image,
                           error));
    M2S_TRY(read_levels(e, sample->mask_path, p, error));
    e->pair_count++;
    return M2SNET_STATUS_OK;
fail:
    m2s_bitmap_release(&p->image);
    m2s_bitmap_release(&p->levels);
    return status;
}

/* ---- scores ---- */

static void count(const m2s_segmentation *found, const pair *p, int32_t first, int32_t last, m2s_counts *c)
{
    size_t pixels = (size_t)p->image.width * (size_t)p->image.height;

    *c = (m2s_counts){ 0 };
    for (size_t i = 0; i < pixels; i++) {
        bool truth = p->levels.pixels[i] >= first && p->levels.pixels[i] <= last;
        bool guess = found->mask[i] != 0;
        c->tp += truth && guess;
        c->fp += !truth && guess;
        c->fn += truth && !guess;
        c->tn += !truth && !guess;
    }
}

/* logits: width x height, of the picture as a whole. */
static m2snet_status score_class(evaluation *e, const pair *p, const float *logits, int32_t width, int32_t height,
                                 int32_t class_index, m2snet_error *error)
{
    const m2snet_validation_options *o = e->options;
    const m2s_postprocess_options post = { .threshold = e->session->model->config.threshold,
                                           .presence_min_area_px = -1.0 };
    int32_t first = o->mask_threshold != 0 ? o->mask_threshold : USUAL_THRESHOLD, last = 255;
    m2s_segmentation found = { 0 };
    m2s_counts counts;
    m2snet_status status;

    if (o->label_count > 0) {
        first = last = o->labels[e->softmax ? class_index - 1 : class_index];
    }
    M2S_TRY(m2s_postprocess(&e->session->model->context->host, logits + class_index, e->classes, width, height,
                            p->image.width, p->image.height, &post, &e->control, &found, error));
    count(&found, p, first, last, &counts);
    e->dice += m2s_dice(&counts, 1.0);
    e->iou += m2s_iou(&counts, 1.0);
    e->scored++;
fail:
    m2s_segmentation_release(&found);
    return status;
}

static m2snet_status score_pairs(evaluation *e, m2snet_error *error)
{
    static const m2s_rect whole = { 0 };
    int32_t batch = m2s_views_batch(&e->views), width, height;
    m2snet_image images[PICTURES_AT_ONCE];
    float *logits;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; i < e->pair_count; i++) {
        images[i] = m2s_bitmap_image(&e->pairs[i].image);
    }
    for (int32_t first = 0; first < e->pair_count; first += batch) {
        int32_t count = e->pair_count - first < batch ? e->pair_count - first : batch;
        M2S_TRY(m2s_views_logits(&e->views, images + first, count, &whole, &logits, &width, &height, error));
        size_t pixels = (size_t)width * (size_t)height;
        if (e->softmax) {
            m2s_softmax_logits(logits, (size_t)count * pixels, e->classes);
        }
        for (int32_t i = 0; i < count; i++) {
            const float *own = logits + (size_t)i * (size_t)e->classes * pixels;
            for (int32_t c = e->softmax ? 1 : 0; c < e->classes; c++) {
                M2S_TRY(score_class(e, &e->pairs[first + i], own, width, height, c, error));
            }
            e->result->images++;
        }
    }
    release_pairs(e);
fail:
    return status;
}

static bool may_skip(m2snet_status status)
{
    return status == M2SNET_STATUS_IO || status == M2SNET_STATUS_FORMAT || status == M2SNET_STATUS_MISMATCH ||
           status == M2SNET_STATUS_UNSUPPORTED || status == M2SNET_STATUS_LIMIT;
}

static m2snet_status score_items(evaluation *e, const int32_t *items, int32_t item_count, m2snet_error *error)
{
    const m2snet_context *context = e->session->model->context;
    m2snet_error reason;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; i < item_count; i++) {
        status = read_pair(e, items[i], &reason);
        if (status != M2SNET_STATUS_OK && may_skip(status) && e->options->unreadable == M2SNET_UNREADABLE_SKIP) {
            m2s_log_write(&context->log, M2SNET_LOG_WARNING, "validation: skipped: %s", reason.message);
            e->result->unreadable++;
            status = M2SNET_STATUS_OK;
        }
        if (status != M2SNET_STATUS_OK) {
            return m2s_fail(error, status, "%s", reason.message);
        }
        if (e->pair_count == PICTURES_AT_ONCE || (i == item_count - 1 && e->pair_count > 0)) {
            M2S_TRY(score_pairs(e, error));
        }
        if (m2s_control_report(&e->control, PHASE, (uint64_t)i + 1, (uint64_t)item_count)) {
            return m2s_fail_cancelled(error, PHASE);
        }
    }
    if (e->scored == 0) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "validation: none of %d pictures could be read", item_count);
    }
fail:
    return status;
}

static m2snet_status open_session(m2snet_trainer *trainer, const m2snet_validation_options *o, m2snet_session **session,
                                  m2snet_error *error)
{
    m2snet_session_options options;
    m2snet_model *model = NULL;
    m2snet_status status;

    m2s_session_options_default(&options);
    options.precision = trainer->options.precision;
    options.input_width = o->input_width;
    options.input_height = o->input_height;
    M2S_TRY(m2s_trainer_model(trainer, o->averaged && trainer->recipe.ema_decay > 0.0, &model, error));
    M2S_TRY(m2s_session_create(model, &options, session, error));
fail:
    m2s_model_release(model);
    return status;
}

m2snet_status m2s_trainer_evaluate(m2snet_trainer *trainer, m2snet_dataset *dataset,
                                   const m2snet_validation_options *given, m2snet_validation *result,
                                   m2snet_error *error)
{
    m2snet_validation_options options;
    m2snet_predict_options predict;
    evaluation e = { .dataset = dataset,
                     .options = &options,
                     .softmax = trainer->objective.softmax != 0,
                     .classes = trainer->model->config.classes,
                     .result = result };
    uint64_t start = m2s_now_ns();
    int32_t *items = NULL, item_count;
    bool entered = false;
    m2snet_status status;

    m2s_validation_options_default(&options);
    M2S_TRY(m2s_options_import("m2snet_validation_options", given, &options, sizeof options, error));
    if (options.labels == NULL && options.label_count == 0) { /* those that the model knows, if any */
        options.labels = trainer->config.coding.labels;
        options.label_count = trainer->config.coding.label_count;
    }
    e.background = options.label_count == 0 ? 0
                   : trainer->config.coding.label_count > 0
                       ? trainer->config.coding.background
                       : m2s_coding_background(options.labels, options.label_count, -1);
    M2S_TRY(check(&options, e.classes, e.softmax, error));
    m2s_control_init(&e.control, &options.control);
    M2S_TRY(m2s_dataset_enter(dataset, error));
    entered = true;
    M2S_TRY(m2s_dataset_part(dataset, options.part, &items, &item_count, error));
    M2S_TRY(open_session(trainer, &options, &e.session, error));
    m2s_predict_options_default(&predict);
    predict.tiles = options.tiles;
    M2S_TRY(m2s_views_open(&e.views, e.session, &predict, item_count > 0 ? item_count : 1, &e.control, error));
    M2S_TRY(score_items(&e, items, item_count, error));
    result->dice = e.dice / (double)e.scored;
    result->iou = e.iou / (double)e.scored;
    result->seconds = (double)(m2s_now_ns() - start) * 1e-9;
fail:
    if (e.session != NULL) {
        release_pairs(&e);
    }
    m2s_views_close(&e.views);
    m2s_session_destroy(e.session);
    m2s_free(&dataset->context->memory, items);
    if (entered) {
        m2s_dataset_leave(dataset);
    }
    return status;
}
