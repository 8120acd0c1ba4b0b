/* SPDX-License-Identifier: Apache-2.0
 * m2snet-segment: what the network computed inside, as pictures for people. */
#define _GNU_SOURCE 1
#include "segment_sheet.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/canvas.h"
#include "common/paths.h"

#define LEVELS   5
#define CELL     232 /* longer side of a map, px */
#define GAP      14
#define MARGIN   20
#define LABELS   190 /* width of the column of labels */
#define CAPTION  46
#define HEADER   150
#define INK      0x202830
#define FAINT    0x687480
#define PAPER    0xfafaf8
#define LINE_TOP 16 /* from one line of a label to the next */

static const struct sheet_row {
    const char *label[3];
    const char *names[LEVELS]; /* of level 1 (the finest) to 5 */
} sheet_rows[] = {
    { { "encoder", "levels" }, { "enc1", "enc2", "enc3", "enc4", "enc5" } },
    { { "reduced to the", "pyramid" }, { "x1_dem_1", "x2_dem_1", "x3_dem_1", "x4_dem_1", "x5_dem_1" } },
    { { "subtraction", "units, order 2" }, { "x2_x1", "x3_x2", "x4_x3", "x5_x4", NULL } },
    { { "order 3" }, { "x3_x2_x1", "x4_x3_x2", "x5_x4_x3", NULL, NULL } },
    { { "order 4" }, { "x4_x3_x2_x1", "x5_x4_x3_x2", NULL, NULL, NULL } },
    { { "order 5" }, { "x5_x4_x3_x2_x1", NULL, NULL, NULL, NULL } },
    { { "sums of a", "level's units" }, { "level1", "level2", "level3", "level4", NULL } },
    { { "decoder" }, { "output1", "output2", "output3", "output4", "x5_dem_5" } },
};
#define ROWS (sizeof(sheet_rows) / sizeof(sheet_rows[0]))

/* With four levels the pyramid stands on the encoder's levels 2 to 5. */
static const char *name_at(size_t row, int level, bool four)
{
    if (four && row == 0) {
        return level + 1 < LEVELS ? sheet_rows[row].names[level + 1] : NULL;
    }
    if (four && row == ROWS - 1 && level >= 3) {
        return level == 3 ? "x4_dem_5" : NULL;
    }
    return sheet_rows[row].names[level];
}

/* Whose tensor of the deepest level is missing. */
static bool has_four_levels(const m2snet_model *model)
{
    for (int32_t i = 0; i < m2snet_model_feature_count(model); i++) {
        m2snet_feature_info info = { .struct_size = sizeof(info) };

        if (m2snet_model_feature_info(model, i, &info, NULL) == M2SNET_STATUS_OK &&
            strcmp(info.name, "x5_dem_1") == 0) {
            return false;
        }
    }
    return true;
}

int32_t sheet_names(const m2snet_model *model, const char *names[SHEET_MOST])
{
    bool four = has_four_levels(model);
    int32_t count = 0;

    for (size_t row = 0; row < ROWS; row++) {
        for (int level = 0; level < LEVELS; level++) {
            const char *name = name_at(row, level, four);

            for (int32_t i = 0; name != NULL && i < m2snet_model_feature_count(model); i++) {
                m2snet_feature_info info = { .struct_size = sizeof(info) };

                if (m2snet_model_feature_info(model, i, &info, NULL) == M2SNET_STATUS_OK &&
                    strcmp(info.name, name) == 0) {
                    names[count++] = name;
                    break;
                }
            }
        }
    }
    return count;
}

static bool find_feature(const m2snet_result *result, const char *name, m2snet_feature *feature)
{
    for (int32_t i = 0; name != NULL && i < m2snet_result_feature_count(result); i++) {
        feature->struct_size = sizeof(*feature);
        if (m2snet_result_feature(result, i, feature, NULL) == M2SNET_STATUS_OK && strcmp(feature->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static double largest(const float *values, size_t count)
{
    double most = 0.0;

    for (size_t i = 0; i < count; i++) {
        most = (double)values[i] > most ? (double)values[i] : most;
    }
    return most;
}

/* ---- Cells ---------------------------------------------------------------- */

/* A sheet while it is drawn: all cells have the shape of the network's input. */
typedef struct sheet {
    m2snet_context *context;
    canvas c;
    int32_t cell_width, cell_height;
} sheet;

static int32_t cell_x(const sheet *s, int column)
{
    return MARGIN + LABELS + column * (s->cell_width + GAP);
}

/* Smaller where a narrow place would cut it. */
static void draw_line(sheet *s, int32_t x, int32_t y, uint32_t rgb, int32_t most_px, const char *text)
{
    canvas_text(&s->c, x, y, canvas_text_scale(text, 2, most_px), rgb, most_px, text);
}

static void draw_caption(sheet *s, int32_t x, int32_t y, const char *name, const char *facts)
{
    draw_line(s, x, y + s->cell_height + 5, INK, s->cell_width, name);
    draw_line(s, x, y + s->cell_height + 26, FAINT, s->cell_width, facts);
}

static void draw_feature(sheet *s, int column, int32_t y, const m2snet_feature *feature)
{
    size_t pixels = (size_t)(feature->h * feature->w), channels = (size_t)feature->c;
    float *mean = must_alloc(pixels * sizeof(*mean));
    char facts[96];

    for (size_t i = 0; i < pixels; i++) {
        double sum = 0.0;

        for (size_t c = 0; c < channels; c++) {
            sum += fabs((double)feature->data[i * channels + c]);
        }
        mean[i] = (float)(sum / (double)channels);
    }
    double most = largest(mean, pixels);
    snprintf(facts, sizeof(facts), "%lldx%lldx%lld max %.2g", (long long)feature->w, (long long)feature->h,
             (long long)feature->c, most);
    canvas_heat(&s->c, cell_x(s, column), y, s->cell_width, s->cell_height, mean, (int32_t)feature->w,
                (int32_t)feature->h, most);
    draw_caption(s, cell_x(s, column), y, feature->name, facts);
    free(mean);
}

/* A dense RGB8 picture brought to the cell's shape, as the network's input is. */
static m2snet_status draw_picture(sheet *s, int column, int32_t y, const m2snet_image *picture, const char *name,
                                  const char *facts, m2snet_error *error)
{
    size_t bytes = 3 * (size_t)s->cell_width * (size_t)s->cell_height;
    uint8_t *pixels = must_alloc(bytes);
    m2snet_image small = {
        .data = pixels, .width = s->cell_width, .height = s->cell_height, .format = M2SNET_PIXEL_RGB8
    };
    m2snet_status status = m2snet_image_resize(s->context, picture, &small, error);

    if (status == M2SNET_STATUS_OK) {
        canvas_picture(&s->c, cell_x(s, column), y, &small);
        draw_caption(s, cell_x(s, column), y, name, facts);
    }
    free(pixels);
    return status;
}

/* ---- Pictures ------------------------------------------------------------- */

/* The picture as RGB8, with the mask's outline or, for a mask of zeros, without. */
static m2snet_status as_rgb(m2snet_context *context, const m2snet_image *image, const uint8_t *mask, m2snet_image *rgb,
                            m2snet_error *error)
{
    m2snet_image outline = {
        .data = mask, .width = image->width, .height = image->height, .format = M2SNET_PIXEL_GRAY8
    };
    int32_t shorter = image->width < image->height ? image->width : image->height;

    return m2snet_image_overlay(context, image, &outline, 0xffe000, shorter < 100 ? 1 : shorter / 100, rgb, error);
}

static m2snet_status plain_rgb(m2snet_context *context, const m2snet_image *image, m2snet_image *rgb,
                               m2snet_error *error)
{
    size_t pixels = (size_t)image->width * (size_t)image->height;
    uint8_t *nothing = must_alloc(pixels);
    m2snet_status status;

    memset(nothing, 0, pixels);
    status = as_rgb(context, image, nothing, rgb, error);
    free(nothing);
    return status;
}

/* The picture, each pixel half its own and half the map's colour. */
static m2snet_status under_heat(m2snet_context *context, const m2snet_image *image, const m2snet_result *result,
                                m2snet_image *rgb, m2snet_error *error)
{
    size_t count = (size_t)image->width * (size_t)image->height;
    const float *map = m2snet_result_gradcam(result);
    double most = largest(map, count);
    m2snet_status status = plain_rgb(context, image, rgb, error);

    if (status == M2SNET_STATUS_OK) {
        uint8_t *pixel = (uint8_t *)(uintptr_t)rgb->data; /* dense, and ours until it is released */

        for (size_t i = 0; i < count; i++, pixel += 3) {
            uint8_t colour[3];

            heat_colour(most > 0.0 ? (double)map[i] / most : 0.0, colour);
            for (int k = 0; k < 3; k++) {
                pixel[k] = (uint8_t)((pixel[k] + colour[k]) / 2);
            }
        }
    }
    return status;
}

m2snet_status write_gradcam(m2snet_context *context, const char *path, const m2snet_image *image,
                            const m2snet_result *result, m2snet_error *error)
{
    m2snet_image rgb = { 0 };
    m2snet_status status = under_heat(context, image, result, &rgb, error);

    if (status == M2SNET_STATUS_OK) {
        status = m2snet_image_write_png(context, path, &rgb, error);
    }
    m2snet_image_release(&rgb);
    return status;
}

/* ---- The sheet ------------------------------------------------------------ */

static bool row_shows(const m2snet_result *result, size_t row, bool four)
{
    m2snet_feature feature;

    for (int level = 0; level < LEVELS; level++) {
        if (find_feature(result, name_at(row, level, four), &feature)) {
            return true;
        }
    }
    return false;
}

static void draw_label(sheet *s, int32_t y, const char *const *lines)
{
    for (int i = 0; i < 3 && lines[i] != NULL; i++) {
        canvas_text(&s->c, MARGIN, y + 4 + i * (LINE_TOP + 4), 2, INK, LABELS - GAP, lines[i]);
    }
}

static m2snet_status draw_outcome(sheet *s, int32_t y, const m2snet_image *image, const m2snet_result *result,
                                  const char *gradcam, m2snet_error *error)
{
    static const char *const label[3] = { "picture and", "outcome" };
    m2snet_image plain = { 0 }, outlined = { 0 }, seen = { 0 };
    char facts[96];
    m2snet_status status = plain_rgb(s->context, image, &plain, error);

    draw_label(s, y, label);
    snprintf(facts, sizeof(facts), "%dx%d", (int)image->width, (int)image->height);
    if (status == M2SNET_STATUS_OK) {
        status = draw_picture(s, 0, y, &plain, "picture", facts, error);
    }
    if (status == M2SNET_STATUS_OK) {
        canvas_heat(&s->c, cell_x(s, 1), y, s->cell_width, s->cell_height, m2snet_result_probability(result),
                    image->width, image->height, 1.0);
        draw_caption(s, cell_x(s, 1), y, "probability", "from 0 to 1");
        status = as_rgb(s->context, image, m2snet_result_mask(result), &outlined, error);
    }
    if (status == M2SNET_STATUS_OK) {
        if (m2snet_result_found(result)) {
            snprintf(facts, sizeof(facts), "presence %.3f", m2snet_result_presence(result));
        } else {
            snprintf(facts, sizeof(facts), "nothing found");
        }
        status = draw_picture(s, 2, y, &outlined, "mask", facts, error);
    }
    if (status == M2SNET_STATUS_OK && gradcam != NULL) {
        status = under_heat(s->context, image, result, &seen, error);
        if (status == M2SNET_STATUS_OK) {
            snprintf(facts, sizeof(facts), "of %s", gradcam);
            status = draw_picture(s, 3, y, &seen, "Grad-CAM", facts, error);
        }
    }
    m2snet_image_release(&plain);
    m2snet_image_release(&outlined);
    m2snet_image_release(&seen);
    return status;
}

static void draw_header(sheet *s, const char *title, const m2snet_model_info *model)
{
    int32_t most = s->c.width - 2 * MARGIN;
    char *line = format_text("%s, encoder %s, model %.12s", model->architecture, model->encoder, model->sha256);

    static const char *const facts[2] = {
        "maps: mean over channels of the absolute value, dark = 0, bright = the map's own maximum (max);",
        "below each: columns x rows x channels"
    };

    canvas_text(&s->c, MARGIN, MARGIN, 3, INK, most, title);
    draw_line(s, MARGIN, MARGIN + 32, FAINT, most, line);
    draw_line(s, MARGIN, MARGIN + 54, FAINT, most, facts[0]);
    draw_line(s, MARGIN, MARGIN + 76, FAINT, most, facts[1]);
    free(line);
    for (int level = 0; level < LEVELS; level++) {
        char text[32];

        snprintf(text, sizeof(text), "level %d%s", level + 1, level == 0 ? " (finest)" : "");
        draw_line(s, cell_x(s, level), HEADER + s->cell_height + CAPTION + GAP, INK, s->cell_width, text);
    }
    canvas_fill(&s->c, MARGIN, HEADER + s->cell_height + CAPTION + GAP + 20, most, 2, 0xd0d4d8);
}

m2snet_status write_sheet(m2snet_context *context, const char *path, const char *title, const m2snet_model_info *model,
                          const m2snet_image *image, const m2snet_result *result, const char *gradcam,
                          m2snet_error *error)
{
    m2snet_receipt receipt = { .struct_size = sizeof(receipt) };
    sheet s = { .context = context, .cell_width = CELL, .cell_height = CELL };
    m2snet_feature feature;
    int32_t shown = 0;
    m2snet_status status = m2snet_result_receipt(result, &receipt, error);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    bool four = !find_feature(result, "x5_dem_1", &feature);
    if (receipt.input_width > receipt.input_height) {
        s.cell_height = CELL * receipt.input_height / receipt.input_width + 1;
    } else {
        s.cell_width = CELL * receipt.input_width / receipt.input_height;
        s.cell_width = s.cell_width < CELL / 2 ? CELL / 2 : s.cell_width; /* captions need their place */
    }
    for (size_t row = 0; row < ROWS; row++) {
        shown += row_shows(result, row, four);
    }
    int32_t pitch = s.cell_height + CAPTION + GAP, y = HEADER + pitch + 34;
    canvas_make(&s.c, 2 * MARGIN + LABELS + LEVELS * s.cell_width + (LEVELS - 1) * GAP, y + shown * pitch + MARGIN,
                PAPER);
    draw_header(&s, title, model);
    status = draw_outcome(&s, HEADER, image, result, gradcam, error);
    for (size_t row = 0; row < ROWS; row++) {
        if (!row_shows(result, row, four)) {
            continue;
        }
        draw_label(&s, y, sheet_rows[row].label);
        for (int level = 0; level < LEVELS; level++) {
            if (find_feature(result, name_at(row, level, four), &feature)) {
                draw_feature(&s, level, y, &feature);
            }
        }
        y += pitch;
    }
    m2snet_image drawn = { .data = s.c.pixels, .width = s.c.width, .height = s.c.height, .format = M2SNET_PIXEL_RGB8 };
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_image_write_png(context, path, &drawn, error);
    }
    canvas_free(&s.c);
    return status;
}
