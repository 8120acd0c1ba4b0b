/* SPDX-License-Identifier: Apache-2.0
 * m2snet-evaluate: the page's worst and best cases as pictures. */
#define _GNU_SOURCE 1
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/html.h"
#include "evaluate.h"

/* The outlines' colours differ in blue against yellow, which nearly everybody sees, and stand out on tissue and on
 * gray. */
#define MASK_RGB       0x00e5ff
#define PREDICTION_RGB 0xffd500

enum { SHOWN_PX = 320, MASK_LINE_PX = 3, PREDICTION_LINE_PX = 2 };

/* ---- Pixels ---------------------------------------------------------------- */

/* Dense GRAY8 or RGB8 pixels in malloc memory, as an image. */
typedef struct picture {
    uint8_t *pixels;
    m2snet_image image;
} picture;

static picture new_picture(int32_t width, int32_t height, bool rgb)
{
    size_t bytes = (size_t)width * (size_t)height * (rgb ? 3 : 1);
    picture p = { .pixels = must_alloc(bytes) };

    p.image = (m2snet_image){
        .data = p.pixels, .width = width, .height = height, .format = rgb ? M2SNET_PIXEL_RGB8 : M2SNET_PIXEL_GRAY8
    };
    return p;
}

static void picture_free(picture *p)
{
    free(p->pixels);
    *p = (picture){ 0 };
}

/* The three channels of one pixel of what the library reads: RGB8, GRAY8, GRAY16. */
static void pixel_of(const m2snet_image *image, int32_t y, int32_t x, uint8_t rgb[3])
{
    size_t bytes = image->format == M2SNET_PIXEL_RGB8 ? 3 : image->format == M2SNET_PIXEL_GRAY16 ? 2 : 1;
    ptrdiff_t stride =
        image->row_stride_bytes != 0 ? image->row_stride_bytes : (ptrdiff_t)((size_t)image->width * bytes);
    const uint8_t *at = (const uint8_t *)image->data + y * stride + (ptrdiff_t)((size_t)x * bytes);
    uint16_t wide;

    if (image->format == M2SNET_PIXEL_RGB8) {
        memcpy(rgb, at, 3);
        return;
    }
    if (image->format == M2SNET_PIXEL_GRAY16) {
        memcpy(&wide, at, sizeof(wide));
        rgb[0] = (uint8_t)(wide >> 8);
    } else {
        rgb[0] = *at;
    }
    rgb[1] = rgb[2] = rgb[0];
}

static picture convert(const m2snet_image *image, bool rgb)
{
    picture p = new_picture(image->width, image->height, rgb);
    uint8_t *to = p.pixels;

    for (int32_t y = 0; y < image->height; y++) {
        for (int32_t x = 0; x < image->width; x++) {
            uint8_t channels[3];

            pixel_of(image, y, x, channels);
            if (rgb) {
                memcpy(to, channels, 3);
                to += 3;
            } else { /* the gray that is scored */
                *to++ = (uint8_t)((19595u * channels[0] + 38470u * channels[1] + 7471u * channels[2] + 32768u) >> 16);
            }
        }
    }
    return p;
}

/* Replaces p by itself at another size. */
static m2snet_status resize(m2snet_context *context, picture *p, int32_t width, int32_t height, m2snet_error *error)
{
    picture smaller;
    m2snet_status status;

    if (p->image.width == width && p->image.height == height) {
        return M2SNET_STATUS_OK;
    }
    smaller = new_picture(width, height, p->image.format == M2SNET_PIXEL_RGB8);
    status = m2snet_image_resize(context, &p->image, &smaller.image, error);
    picture_free(p);
    *p = smaller;
    return status;
}

/* 255 where the pixel is at least first. */
static void binarise(picture *p, int first)
{
    size_t pixels = (size_t)p->image.width * (size_t)p->image.height;

    for (size_t i = 0; i < pixels; i++) {
        p->pixels[i] = p->pixels[i] >= first ? 255 : 0;
    }
}

/* The smallest gray level with x > 0.5, x being stretched to the picture's range unless it is constant. */
static int first_above_half(const picture *p)
{
    size_t pixels = (size_t)p->image.width * (size_t)p->image.height;
    int low = 255;
    int high = 0;

    for (size_t i = 0; i < pixels; i++) {
        low = p->pixels[i] < low ? p->pixels[i] : low;
        high = p->pixels[i] > high ? p->pixels[i] : high;
    }
    return low == high ? 128 : (low + high) / 2 + 1;
}

/* ---- One case -------------------------------------------------------------- */

/* What stands in a row, at the size it is shown at. */
typedef struct case_pictures {
    picture input; /* RGB8; pixels NULL: there is none */
    picture mask;
    picture map[MAX_SETS]; /* pixels NULL: the set has no such image */
    picture found[MAX_SETS];
} case_pictures;

static void case_free(case_pictures *c)
{
    picture_free(&c->input);
    picture_free(&c->mask);
    for (int s = 0; s < MAX_SETS; s++) {
        picture_free(&c->map[s]);
        picture_free(&c->found[s]);
    }
}

/* Index of the pair of that name, or the count. */
static size_t find_pair(const pair_list *list, const char *name)
{
    size_t i = 0;

    while (i < list->names.count && strcmp(list->names.items[i], name) != 0) {
        i++;
    }
    return i;
}

static int32_t find_scored(const m2snet_evaluator *evaluator, const char *name)
{
    int32_t count = m2snet_evaluator_count(evaluator);
    int32_t i = 0;

    while (i < count && strcmp(m2snet_evaluator_name(evaluator, i), name) != 0) {
        i++;
    }
    return i;
}

static m2snet_status read_as(const evaluation *all, const char *path, bool rgb, bool as_stored, picture *p,
                             m2snet_error *error)
{
    m2snet_image_read_options reading;
    m2snet_image image = { 0 };
    m2snet_status status;

    m2snet_image_read_options_init(&reading);
    reading.apply_exif = !as_stored;
    status = m2snet_image_read_file(all->context, path, &reading, &image, error);
    if (status == M2SNET_STATUS_OK) {
        *p = convert(&image, rgb);
    }
    m2snet_image_release(&image);
    return status;
}

/* The picture of the mask's stem, or what the model saw; one that is not there, cannot be read or has another size is
 * not shown. */
static void read_input(const evaluation *all, const pair_list *list, size_t pair, int32_t width, int32_t height,
                       picture *input)
{
    char *path = all->set->images != NULL ? find_same_stem(all->set->images, list->masks.items[pair])
                 : all->session != NULL   ? format_text("%s", list->predictions.items[pair])
                                          : NULL;
    m2snet_error error;

    if (path == NULL) {
        return;
    }
    if (read_as(all, path, true, all->session == NULL, input, &error) != M2SNET_STATUS_OK) {
        complain("warning: %s", error.message);
    } else if (input->image.width != width || input->image.height != height) {
        complain("warning: %s: %d x %d pixels, its mask %d x %d; not shown", path, input->image.width,
                 input->image.height, width, height);
        picture_free(input);
    }
    free(path);
}

static m2snet_status read_map(const evaluation *all, int s, const char *name, int32_t width, int32_t height,
                              case_pictures *c, m2snet_error *error)
{
    const pair_list *list = &all->sets[s].pairs;
    size_t pair = find_pair(list, name);
    m2snet_image prediction = { 0 };
    m2snet_result *result = NULL;
    m2snet_status status;

    if (pair == list->names.count) {
        return M2SNET_STATUS_OK;
    }
    status = load_prediction(all, list->predictions.items[pair], &prediction, &result, error);
    if (status == M2SNET_STATUS_OK) {
        c->map[s] = convert(&prediction, false);
        status = resize(all->context, &c->map[s], width, height, error); /* --resize */
    }
    if (status == M2SNET_STATUS_OK) {
        c->found[s] = convert(&c->map[s].image, false);
        binarise(&c->found[s], first_above_half(&c->map[s]));
    }
    m2snet_image_release(&prediction);
    m2snet_result_destroy(result);
    return status;
}

/* Lines are drawn at the size that is shown, so that they stay sharp. */
static m2snet_status shrink(const evaluation *all, case_pictures *c, m2snet_error *error)
{
    int32_t width = c->mask.image.width;
    int32_t height = c->mask.image.height;
    int32_t longest = width > height ? width : height;
    picture *pictures[2 + 2 * MAX_SETS] = { &c->input, &c->mask };
    m2snet_status status = M2SNET_STATUS_OK;

    for (int s = 0; s < MAX_SETS; s++) {
        pictures[2 + s] = &c->map[s];
        pictures[2 + MAX_SETS + s] = &c->found[s];
    }
    if (longest > SHOWN_PX) {
        width = width * SHOWN_PX / longest > 0 ? (int32_t)((int64_t)width * SHOWN_PX / longest) : 1;
        height = height * SHOWN_PX / longest > 0 ? (int32_t)((int64_t)height * SHOWN_PX / longest) : 1;
    }
    for (int i = 0; status == M2SNET_STATUS_OK && i < 2 + 2 * MAX_SETS; i++) {
        bool binary = pictures[i] == &c->mask || i >= 2 + MAX_SETS;

        if (pictures[i]->pixels != NULL) {
            status = resize(all->context, pictures[i], width, height, error);
        }
        if (status == M2SNET_STATUS_OK && binary && pictures[i]->pixels != NULL) {
            binarise(pictures[i], 128);
        }
    }
    return status;
}

static m2snet_status load_case(const evaluation *all, const char *name, case_pictures *c, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (int s = 0; status == M2SNET_STATUS_OK && s < all->count; s++) {
        const pair_list *list = &all->sets[s].pairs;
        size_t pair = find_pair(list, name);

        if (pair == list->names.count || c->mask.pixels != NULL) {
            continue;
        }
        status = read_as(all, list->masks.items[pair], false, all->session == NULL, &c->mask, error);
        if (status == M2SNET_STATUS_OK) {
            binarise(&c->mask, 129);
            read_input(all, list, pair, c->mask.image.width, c->mask.image.height, &c->input);
        }
    }
    for (int s = 0; status == M2SNET_STATUS_OK && s < all->count; s++) {
        m2snet_scores scores = { .struct_size = sizeof(scores) };
        const m2snet_evaluator *evaluator = all->sets[s].evaluator;

        if (m2snet_evaluator_image_scores(evaluator, find_scored(evaluator, name), &scores, NULL) == M2SNET_STATUS_OK) {
            status = read_map(all, s, name, c->mask.image.width, c->mask.image.height, c, error);
        }
    }
    return status == M2SNET_STATUS_OK ? shrink(all, c, error) : status;
}

/* ---- Tiles ----------------------------------------------------------------- */

static m2snet_status write_tile(FILE *page, const evaluation *all, const m2snet_image *image, const char *caption,
                                const char *set, m2snet_error *error)
{
    char *text = set == NULL ? format_text("%s", caption) : format_text("%s: %s", set, caption);
    m2snet_status status;

    fputs("<figure>", page);
    status = html_picture(page, all->context, image, text, error);
    fputs("<figcaption>", page);
    html_text(page, text);
    fputs("</figcaption></figure>\n", page);
    free(text);
    return status;
}

/* Both outlines on the picture, or on the darkened map where there is none. */
static m2snet_status write_outlines(FILE *page, const evaluation *all, const case_pictures *c, int s, const char *set,
                                    m2snet_error *error)
{
    picture ground = convert(c->input.pixels != NULL ? &c->input.image : &c->map[s].image, true);
    size_t bytes = 3 * (size_t)ground.image.width * (size_t)ground.image.height;
    m2snet_image once = { 0 };
    m2snet_image both = { 0 };
    m2snet_status status;

    for (size_t i = 0; c->input.pixels == NULL && i < bytes; i++) {
        ground.pixels[i] /= 2;
    }
    status = m2snet_image_overlay(all->context, &ground.image, &c->mask.image, MASK_RGB, MASK_LINE_PX, &once, error);
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_image_overlay(all->context, &once, &c->found[s].image, PREDICTION_RGB, PREDICTION_LINE_PX,
                                      &both, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = write_tile(page, all, &both, "outlines", set, error);
    }
    m2snet_image_release(&both);
    m2snet_image_release(&once);
    picture_free(&ground);
    return status;
}

static m2snet_status write_tiles(FILE *page, const evaluation *all, const case_pictures *c, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    if (c->input.pixels != NULL) {
        status = write_tile(page, all, &c->input.image, "input", NULL, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = write_tile(page, all, &c->mask.image, "mask", NULL, error);
    }
    for (int s = 0; status == M2SNET_STATUS_OK && s < all->count; s++) {
        const char *set = all->count > 1 ? all->sets[s].name : NULL;

        if (c->map[s].pixels == NULL) {
            continue;
        }
        status = write_tile(page, all, &c->map[s].image, "prediction", set, error);
        if (status == M2SNET_STATUS_OK) {
            status = write_outlines(page, all, c, s, set, error);
        }
    }
    return status;
}

/* ---- Which ones ------------------------------------------------------------ */

typedef struct ranked {
    const char *name;
    double dice; /* at x > 0.5, mean over the sets that have the image */
    int sets;
} ranked;

static int compare_ranked(const void *left, const void *right)
{
    const ranked *a = left;
    const ranked *b = right;

    return a->dice < b->dice ? -1 : a->dice > b->dice ? 1 : strcmp(a->name, b->name);
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(((const ranked *)left)->name, ((const ranked *)right)->name);
}

/* Every image that counts in a set, worst first. */
static ranked *rank_images(const evaluation *all, size_t *count)
{
    size_t room = 0;
    size_t rows = 0;
    ranked *list;

    for (int s = 0; s < all->count; s++) {
        room += (size_t)m2snet_evaluator_count(all->sets[s].evaluator);
    }
    list = must_alloc(room * sizeof(*list));
    for (int s = 0; s < all->count; s++) {
        for (int32_t i = 0; i < m2snet_evaluator_count(all->sets[s].evaluator); i++) {
            m2snet_scores scores = { .struct_size = sizeof(scores) };

            if (m2snet_evaluator_image_scores(all->sets[s].evaluator, i, &scores, NULL) == M2SNET_STATUS_OK &&
                (all->set->options.empty != M2SNET_EMPTY_SKIP || !scores.mask_empty)) {
                list[rows++] = (ranked){ m2snet_evaluator_name(all->sets[s].evaluator, i), scores.dice, 1 };
            }
        }
    }
    qsort(list, rows, sizeof(*list), compare_names);
    *count = 0;
    for (size_t i = 0; i < rows; i++) {
        ranked *last = *count > 0 ? &list[*count - 1] : NULL;

        if (last != NULL && strcmp(last->name, list[i].name) == 0) {
            last->dice += list[i].dice;
            last->sets++;
        } else {
            list[(*count)++] = list[i];
        }
    }
    for (size_t i = 0; i < *count; i++) {
        list[i].dice /= list[i].sets;
    }
    qsort(list, *count, sizeof(*list), compare_ranked);
    return list;
}

static void write_case_head(FILE *page, const evaluation *all, const char *name)
{
    fputs("<div class=\"case\"><h3>", page);
    html_text(page, name);
    fputs(" <span>", page);
    for (int s = 0; s < all->count; s++) {
        const m2snet_evaluator *evaluator = all->sets[s].evaluator;
        m2snet_scores scores = { .struct_size = sizeof(scores) };

        if (m2snet_evaluator_image_scores(evaluator, find_scored(evaluator, name), &scores, NULL) != M2SNET_STATUS_OK) {
            continue;
        }
        fputs(" &middot; ", page);
        if (all->count > 1) {
            html_text(page, all->sets[s].name);
            fputs(": ", page);
        }
        fprintf(page, "Dice %.3f, IoU %.3f", scores.dice, scores.iou);
        if (scores.surface_count > 0 && !isnan(scores.surface[0].hd95)) {
            fprintf(page, ", HD95 %.1f", scores.surface[0].hd95);
        }
    }
    fputs("</span></h3>\n<div class=\"tiles\">\n", page);
}

static m2snet_status write_case(FILE *page, const evaluation *all, const char *name, m2snet_error *error)
{
    case_pictures c = { 0 };
    m2snet_status status;

    write_case_head(page, all, name);
    status = load_case(all, name, &c, error);
    if (status == M2SNET_STATUS_OK) {
        status = write_tiles(page, all, &c, error);
    }
    fputs("</div></div>\n", page);
    case_free(&c);
    return status;
}

m2snet_status page_cases(FILE *page, const evaluation *all, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;
    size_t count;
    ranked *list = rank_images(all, &count);
    size_t most = (size_t)all->set->cases;
    size_t worst = count > 2 * most ? most : (count + 1) / 2; /* none twice */
    size_t best = count > 2 * most ? most : count - worst;

    if (worst + best > 0) {
        fprintf(page,
                "<h2>Cases</h2>\n<p class=\"soft\">By Dice at x &gt; 0.5%s. Outlines: "
                "<span class=\"key\" style=\"background:#%06x\"></span> mask, "
                "<span class=\"key\" style=\"background:#%06x\"></span> prediction.</p>\n",
                all->count > 1 ? ", mean over the sets" : "", MASK_RGB, PREDICTION_RGB);
    }
    for (size_t i = 0; status == M2SNET_STATUS_OK && i < worst; i++) {
        fputs(i == 0 && best > 0 ? "<h3>Worst first</h3>\n" : "", page);
        status = write_case(page, all, list[i].name, error);
    }
    for (size_t i = 0; status == M2SNET_STATUS_OK && i < best; i++) {
        fputs(i == 0 ? "<h3>Best first</h3>\n" : "", page);
        status = write_case(page, all, list[count - 1 - i].name, error);
    }
    free(list);
    return status;
}
