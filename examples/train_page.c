/* SPDX-License-Identifier: Apache-2.0
 * The page of m2snet-train: curves, numbers, and what the network says of pictures it does not learn from. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/chart.h"
#include "common/html.h"
#include "train.h"

#define PREDICTION_RGB 0xffd000
#define TRUTH_RGB      0x30ff60
#define PICTURE_PX     288 /* longer side of a sample on the page */

static const char page_style[] =
    ".curves{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,28rem),1fr));gap:1.5rem}"
    ".pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:1rem;align-items:end}"
    ".pictures img{width:100%;max-width:18rem;height:auto;border-radius:.3rem}"
    "figure{margin:0}figcaption{color:var(--soft);overflow-wrap:anywhere}"
    "pre{overflow:auto;max-height:24rem;background:var(--panel);padding:1rem;border-radius:.3rem}";

/* ---- curves ---- */

static double *column_of(const epoch_entry *list, size_t count, size_t offset)
{
    double *values = must_alloc((count + 1) * sizeof *values);

    for (size_t i = 0; i < count; i++) {
        values[i] = *(const double *)(const void *)((const char *)&list[i] + offset);
    }
    return values;
}

static bool has_any(const double *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (isfinite(values[i]) && values[i] != 0.0) {
            return true;
        }
    }
    return false;
}

/* Some columns of the epochs over their number (from 1); those without a number stay out. */
static void write_epochs(FILE *page, const train_log *log, const char *title, const char *label, const size_t *offsets,
                         const char *const *names, size_t count, int first_color)
{
    double *x = column_of(log->epoch_list, log->epoch_count, offsetof(epoch_entry, epoch));
    chart_series series[8] = { 0 };
    double *columns[8];
    size_t used = 0;

    for (size_t i = 0; i < log->epoch_count; i++) {
        x[i] += 1.0;
    }
    for (size_t i = 0; i < count; i++) {
        columns[i] = column_of(log->epoch_list, log->epoch_count, offsets[i]);
        if (has_any(columns[i], log->epoch_count)) {
            series[used++] = (chart_series){ .name = names[i],
                                             .mark = log->epoch_count == 1 ? CHART_POINTS : CHART_LINE,
                                             .color = first_color + (int)i,
                                             .count = log->epoch_count,
                                             .x = x,
                                             .y = columns[i] };
        }
    }
    const chart_spec chart = { .title = title,
                               .x = { .label = "epoch", .whole_labels = true },
                               .y = { .label = label },
                               .series = series,
                               .series_count = used };
    if (used > 0) {
        fputs("<figure>", page);
        chart_write(page, &chart);
        fputs("</figure>\n", page);
    }
    for (size_t i = 0; i < count; i++) {
        free(columns[i]);
    }
    free(x);
}

static void write_steps(FILE *page, const train_log *log, bool rate)
{
    double *x = must_alloc((log->step_count + 1) * sizeof *x), *y = must_alloc((log->step_count + 1) * sizeof *y);
    double *smooth = must_alloc((log->step_count + 1) * sizeof *smooth), running = NAN;

    for (size_t i = 0; i < log->step_count; i++) {
        const step_entry *entry = &log->step_list[i];
        x[i] = entry->step;
        y[i] = rate ? entry->rate : entry->loss;
        if (isfinite(y[i])) {
            running = isfinite(running) ? 0.95 * running + 0.05 * y[i] : y[i];
        }
        smooth[i] = running;
    }
    const chart_series series[2] = {
        { .name = rate ? NULL : "each step",
          .mark = CHART_LINE,
          .color = rate ? 0 : CHART_GRAY,
          .count = log->step_count,
          .x = x,
          .y = y },
        { .name = "running mean", .mark = CHART_LINE, .color = 0, .count = log->step_count, .x = x, .y = smooth }
    };
    const chart_spec chart = { .title = rate ? "Learning rate" : "Loss of the steps",
                               .x = { .label = "step", .whole_labels = true },
                               .y = { .label = rate ? "rate" : "loss" },
                               .series = series,
                               .series_count = rate ? 1 : 2 };
    if (log->step_count > 1) {
        fputs("<figure>", page);
        chart_write(page, &chart);
        fputs("</figure>\n", page);
    }
    free(x);
    free(y);
    free(smooth);
}

static void write_curves(FILE *page, const train_log *log)
{
    static const size_t scores[] = { offsetof(epoch_entry, validation_dice), offsetof(epoch_entry, validation_iou) };
    static const char *const score_names[] = { "Dice", "IoU" };
    static const size_t terms[] = { offsetof(epoch_entry, loss),          offsetof(epoch_entry, bce),
                                    offsetof(epoch_entry, iou),           offsetof(epoch_entry, dice),
                                    offsetof(epoch_entry, cross_entropy), offsetof(epoch_entry, lossnet) };
    static const char *const term_names[] = { "loss", "BCE", "IoU term", "Dice term", "cross-entropy", "loss network" };

    fputs("<div class=\"curves\">\n", page);
    write_epochs(page, log, "Validation", "mean over pictures", scores, score_names, 2, 1);
    write_epochs(page, log, "Objective, mean of each epoch", "loss", terms, term_names, 6, 0);
    write_steps(page, log, false);
    write_steps(page, log, true);
    fputs("</div>\n", page);
}

/* ---- samples ---- */

/* What masks say: gray levels of classes, or one class from a level on. */
typedef struct coding {
    uint8_t labels[M2SNET_MAX_LABELS];
    int32_t label_count; /* 0: one class */
    int32_t threshold;
} coding;

/* 255 where the mask has class `which` of the coding, else 0, at one byte a pixel; the result's data is malloc memory.
 */
static m2snet_image inside(const m2snet_image *mask, const coding *code, int32_t which)
{
    ptrdiff_t width = mask->width, stride = mask->row_stride_bytes;
    int channels = mask->format == M2SNET_PIXEL_RGB8 ? 3 : mask->format == M2SNET_PIXEL_GRAY16 ? 2 : 1;
    uint8_t *pixels = must_alloc((size_t)width * (size_t)mask->height);
    bool is_label = code->label_count > 0;

    stride = stride == 0 ? width * channels : stride;
    for (ptrdiff_t y = 0; y < mask->height; y++) {
        const uint8_t *row = (const uint8_t *)mask->data + y * stride;
        for (ptrdiff_t x = 0; x < width; x++) { /* of 16 bits the high byte, of labels the low one */
            uint8_t value = row[x * channels + (channels == 2 && !is_label)];
            bool is_inside = is_label ? value == code->labels[which] : value >= code->threshold;
            pixels[y * width + x] = is_inside ? 255 : 0;
        }
    }
    return (m2snet_image){ .data = pixels, .width = mask->width, .height = mask->height, .format = M2SNET_PIXEL_GRAY8 };
}

/* Outlines of all classes, drawn into *picture. */
static m2snet_status outline(m2snet_context *context, m2snet_image *picture, const m2snet_image *mask,
                             const coding *code, uint32_t rgb, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; status == M2SNET_STATUS_OK && (i == 0 || i < code->label_count); i++) {
        m2snet_image drawn = { 0 }, of_class = inside(mask, code, i);
        status = m2snet_image_overlay(context, picture, &of_class, rgb, picture->width / 160 + 1, &drawn, error);
        free((void *)(uintptr_t)of_class.data);
        if (status == M2SNET_STATUS_OK) {
            m2snet_image_release(picture);
            *picture = drawn;
        }
    }
    return status;
}

/* Small enough for a page; data in malloc memory. */
static m2snet_status shrink(m2snet_context *context, const m2snet_image *image, m2snet_image *small,
                            m2snet_error *error)
{
    int32_t longer = image->width > image->height ? image->width : image->height;
    double scale = longer > PICTURE_PX ? (double)PICTURE_PX / longer : 1.0;

    *small = (m2snet_image){ .width = (int32_t)lround(scale * image->width),
                             .height = (int32_t)lround(scale * image->height),
                             .format = M2SNET_PIXEL_RGB8 };
    small->width = small->width < 1 ? 1 : small->width;
    small->height = small->height < 1 ? 1 : small->height;
    small->data = must_alloc(3 * (size_t)small->width * (size_t)small->height);
    return m2snet_image_resize(context, image, small, error);
}

static m2snet_status write_sample(FILE *page, m2snet_context *context, m2snet_session *session,
                                  const m2snet_dataset_item *item, const coding *code,
                                  const m2snet_predict_options *predict, m2snet_error *error)
{
    static const coding binary = { .threshold = 1 };
    m2snet_image picture = { 0 }, mask = { 0 }, small = { 0 };
    m2snet_result *result = NULL;
    m2snet_status status = m2snet_image_read_file(context, item->image_path, NULL, &picture, error);

    if (status == M2SNET_STATUS_OK) {
        status = m2snet_predict(session, &picture, predict, &result, error);
    }
    if (status == M2SNET_STATUS_OK && item->mask_path != NULL) {
        status = m2snet_image_read_file(context, item->mask_path, NULL, &mask, error);
    }
    if (status == M2SNET_STATUS_OK && mask.data != NULL) {
        status = outline(context, &picture, &mask, code, TRUTH_RGB, error);
    }
    if (status == M2SNET_STATUS_OK) {
        bool maps = code->label_count > 0;
        const m2snet_image found = { .data = maps ? m2snet_result_labels(result) : m2snet_result_mask(result),
                                     .width = picture.width,
                                     .height = picture.height,
                                     .format = M2SNET_PIXEL_GRAY8 };
        status = outline(context, &picture, &found, maps ? code : &binary, PREDICTION_RGB, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = shrink(context, &picture, &small, error);
    }
    if (status == M2SNET_STATUS_OK) {
        fputs("<figure>", page);
        status = html_picture(page, context, &small, item->name, error);
        fputs("<figcaption>", page);
        html_text(page, item->name);
        fputs("</figcaption></figure>\n", page);
    }
    free((void *)(uintptr_t)small.data);
    m2snet_image_release(&mask);
    m2snet_image_release(&picture);
    m2snet_result_destroy(result);
    return status;
}

/* A few pictures of the validation, evenly spread over it. */
static m2snet_status write_samples(FILE *page, const settings *set, m2snet_context *context, m2snet_trainer *trainer,
                                   const m2snet_dataset *data, m2snet_error *error)
{
    int32_t total = m2snet_dataset_part_count(data, M2SNET_PART_VALIDATION), seen = 0, written = 0;
    coding code = { .threshold = set->fit.mask_threshold != 0 ? set->fit.mask_threshold : 128 };
    m2snet_predict_options predict;
    m2snet_session_options options;
    m2snet_model *model = NULL;
    m2snet_session *session = NULL;
    m2snet_status status =
        m2snet_trainer_model(trainer, set->trainer.ema_decay > 0.0 && set->fit.validate_averaged, &model, error);

    m2snet_session_options_init(&options);
    options.input_width = options.input_height = set->fit.validation_width;
    options.precision = set->trainer.precision;
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_session_create(model, &options, &session, error);
        code.label_count = model_labels(model, code.labels);
    }
    m2snet_predict_options_init(&predict); /* as the validation does */
    predict.label_map = code.label_count > 0;
    predict.tiles = set->fit.patches;
    fputs("<h2>Pictures of the validation</h2>\n<p>Green: the mask. Yellow: what the network finds.</p>\n"
          "<div class=\"pictures\">\n",
          page);
    for (int32_t i = 0; status == M2SNET_STATUS_OK && i < m2snet_dataset_count(data) && written < set->samples; i++) {
        m2snet_dataset_item item = { .struct_size = sizeof item };
        status = m2snet_dataset_get_item(data, i, &item, error);
        if (status == M2SNET_STATUS_OK && item.part == M2SNET_PART_VALIDATION) {
            if ((int64_t)seen * set->samples >= (int64_t)written * total) {
                status = write_sample(page, context, session, &item, &code, &predict, error);
                written++;
            }
            seen++;
        }
    }
    fputs("</div>\n", page);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    return status;
}

/* ---- the page ---- */

static void write_summary(FILE *page, const m2snet_dataset *data, const m2snet_epoch_row *row)
{
    char time[32];

    duration_text(row->seconds, time, sizeof time);
    fprintf(page,
            "<p>Epoch %" PRId64 " of %" PRId64 ", %" PRId64
            " steps; %d pictures train, %d validate; the last epoch took "
            "%s.",
            row->epoch + 1, row->epochs, row->step, (int)m2snet_dataset_part_count(data, M2SNET_PART_TRAIN),
            (int)m2snet_dataset_part_count(data, M2SNET_PART_VALIDATION), time);
    if (row->validated) {
        fprintf(page, " Validation Dice %.4f, IoU %.4f.", row->validation_dice, row->validation_iou);
    }
    if (row->best_epoch >= 0) {
        fprintf(page, " The best score, %.4f, is that of epoch %" PRId64 ".", row->best_score, row->best_epoch + 1);
    }
    fputs("</p>\n", page);
}

void page_write(const settings *set, const train_log *log, m2snet_context *context, m2snet_trainer *trainer,
                const m2snet_dataset *data, const m2snet_epoch_row *row)
{
    char *text = NULL, *path = format_text("%s/index.html", set->output), *recipe = settings_json(set);
    char *style = format_text("%s%s", chart_style, page_style), *title = format_text("Training: %s", set->output);
    size_t bytes;
    FILE *page = open_memstream(&text, &bytes);
    m2snet_error error;

    if (page != NULL) {
        html_begin(page, title, style);
        write_summary(page, data, row);
        write_curves(page, log);
        if (set->samples > 0 && m2snet_dataset_part_count(data, M2SNET_PART_VALIDATION) > 0 &&
            write_samples(page, set, context, trainer, data, &error) != M2SNET_STATUS_OK) {
            progress_bar_clear(log->bar);
            complain("the page has not all pictures: %s", error.message);
        }
        fputs("<h2>Recipe</h2>\n<pre>", page);
        html_text(page, recipe);
        fputs("</pre>\n<p>Not a medical device.</p>\n", page);
        html_end(page);
        if (fclose(page) == 0) {
            write_whole_file(path, NULL, 0, text, bytes);
        }
    }
    free(title);
    free(style);
    free(recipe);
    free(path);
    free(text);
}
