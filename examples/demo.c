/* SPDX-License-Identifier: Apache-2.0
 *
 * m2snet-demo: segments pictures whose truth is known, scores the masks, and makes a page to look at. */
#define _GNU_SOURCE 1
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/args.h"
#include "common/paths.h"
#include "common/progress_bar.h"
#include "common/timing.h"
#include "m2snet.h"

const char *const program_name = "m2snet-demo";

static const char help[] =
    "Usage: m2snet-demo --model FILE --images DIR --truth DIR --output DIR [OPTION...]\n"
    "Segments the pictures of a folder, compares the masks with those of the same stem in the truth folder (a\n"
    "pixel of 128 or more belongs to the truth) and writes probability maps, outlines and index.html.\n"
    "Not a medical device.\n\n"
    "  --images DIR        PNG and JPEG pictures\n"
    "  --truth DIR         their masks, of the same size\n"
    "  --output DIR        made where missing\n"
    "  --attribution FILE  text for the foot of the page; default: DATA.md in or above the picture "
    "folder\n" RUN_OPTION_HELP "  --quiet             only errors\n" COMMON_OPTION_HELP
    "Dice and IoU of a picture where neither mask has a pixel are 1.\n"
    "Exit status: 0 done, 1 something failed and the rest was done, 2 the command line makes no sense.\n";

enum { OPTION_IMAGES = 1, OPTION_TRUTH, OPTION_OUTPUT, OPTION_ATTRIBUTION, OPTION_QUIET };

static const struct option option_table[] = { { "images", required_argument, NULL, OPTION_IMAGES },
                                              { "truth", required_argument, NULL, OPTION_TRUTH },
                                              { "output", required_argument, NULL, OPTION_OUTPUT },
                                              { "attribution", required_argument, NULL, OPTION_ATTRIBUTION },
                                              { "quiet", no_argument, NULL, OPTION_QUIET },
                                              RUN_OPTION_ROWS,
                                              COMMON_OPTION_ROWS,
                                              { NULL, 0, NULL, 0 } };

typedef struct settings {
    run_options run;
    const char *images, *truth, *output, *attribution;
    bool quiet;
    m2snet_control control;
} settings;

typedef struct picture_score {
    double dice, iou;
    double presence;
    int32_t found;
    double ms; /* of the prediction */
    bool done;
} picture_score;

typedef struct engine_handles {
    m2snet_context *context;
    m2snet_model *model;
    m2snet_session *session;
} engine_handles;

#define PREDICTION_RGB 0xffe000
#define TRUTH_RGB      0x30ff60

/* ---- One picture --------------------------------------------------------- */

/* The truth as 0 or 255 at one byte a pixel: any channel of 128 or more, of 16-bit gray 128 x 256. */
static uint8_t *binary_mask(const m2snet_image *image)
{
    size_t width = (size_t)image->width;
    int channels = image->format == M2SNET_PIXEL_RGB8 ? 3 : 1;
    uint8_t *mask = must_alloc(width * (size_t)image->height);
    ptrdiff_t stride = image->row_stride_bytes;

    if (stride == 0) {
        stride = (ptrdiff_t)width * (image->format == M2SNET_PIXEL_GRAY16 ? 2 : channels);
    }
    for (int32_t y = 0; y < image->height; y++) {
        const uint8_t *row = (const uint8_t *)image->data + y * stride;

        for (size_t x = 0; x < width; x++) {
            int value = 0;

            if (image->format == M2SNET_PIXEL_GRAY16) {
                uint16_t wide;

                memcpy(&wide, row + 2 * x, sizeof(wide));
                value = wide >> 8;
            } else {
                for (int c = 0; c < channels; c++) {
                    int sample = row[(size_t)channels * x + (size_t)c];

                    value = sample > value ? sample : value;
                }
            }
            mask[(size_t)y * width + x] = value >= 128 ? 255 : 0;
        }
    }
    return mask;
}

static void compare_masks(const uint8_t *found, const uint8_t *truth, size_t pixels, picture_score *score)
{
    uint64_t both = 0;
    uint64_t found_px = 0;
    uint64_t truth_px = 0;

    for (size_t i = 0; i < pixels; i++) {
        both += found[i] != 0 && truth[i] != 0;
        found_px += found[i] != 0;
        truth_px += truth[i] != 0;
    }
    if (found_px + truth_px == 0) {
        score->dice = score->iou = 1.0;
    } else {
        score->dice = 2.0 * (double)both / (double)(found_px + truth_px);
        score->iou = (double)both / (double)(found_px + truth_px - both);
    }
}

static bool write_outline(const engine_handles *engine, const settings *set, const char *picture, const char *suffix,
                          const m2snet_image *image, const uint8_t *mask, uint32_t rgb, m2snet_error *error)
{
    m2snet_image inside = {
        .data = mask, .width = image->width, .height = image->height, .format = M2SNET_PIXEL_GRAY8
    };
    int32_t shorter = image->width < image->height ? image->width : image->height;
    m2snet_image overlay = { 0 };
    char *path = output_path(set->output, picture, suffix);
    bool fine = m2snet_image_overlay(engine->context, image, &inside, rgb, shorter < 400 ? 2 : shorter / 150, &overlay,
                                     error) == M2SNET_STATUS_OK &&
                m2snet_image_write_png(engine->context, path, &overlay, error) == M2SNET_STATUS_OK;

    m2snet_image_release(&overlay);
    free(path);
    return fine;
}

/* The page shows the picture as it came: its bytes are copied. */
static bool copy_picture(const settings *set, const char *picture)
{
    size_t size_bytes = 0;
    const char *dot = strrchr(picture, '.');
    char *suffix = format_text("_input%s", dot != NULL ? dot : "");
    char *path = output_path(set->output, picture, suffix);
    void *bytes = read_whole_file(picture, &size_bytes);
    bool fine = bytes != NULL && write_whole_file(path, NULL, 0, bytes, size_bytes);

    free(bytes);
    free(path);
    free(suffix);
    return fine;
}

static bool write_results(const engine_handles *engine, const settings *set, const char *picture,
                          const m2snet_image *image, const m2snet_result *result, const uint8_t *truth,
                          m2snet_error *error)
{
    m2snet_image map = {
        .data = m2snet_result_map(result), .width = image->width, .height = image->height, .format = M2SNET_PIXEL_GRAY8
    };
    char *path = output_path(set->output, picture, "_probability.png");
    bool fine =
        m2snet_image_write_png(engine->context, path, &map, error) == M2SNET_STATUS_OK &&
        write_outline(engine, set, picture, "_outline.png", image, m2snet_result_mask(result), PREDICTION_RGB, error) &&
        write_outline(engine, set, picture, "_truth.png", image, truth, TRUTH_RGB, error);

    free(path);
    if (fine && !copy_picture(set, picture)) {
        *error = (m2snet_error){ .status = M2SNET_STATUS_IO, .message = "it could not be copied" };
        fine = false;
    }
    return fine;
}

static bool show_picture(const settings *set, const engine_handles *engine, const char *picture, picture_score *score,
                         m2snet_error *error)
{
    m2snet_image_read_options reading;
    m2snet_predict_options predicting;
    m2snet_image image = { 0 };
    m2snet_image truth = { 0 };
    m2snet_result *result = NULL;
    uint8_t *truth_mask = NULL;
    char *truth_path = find_same_stem(set->truth, picture);
    double start;

    *error =
        (m2snet_error){ .status = M2SNET_STATUS_IO, .message = "there is no mask of this name in the truth folder" };
    m2snet_image_read_options_init(&reading);
    m2snet_predict_options_init(&predicting);
    reading.control = predicting.control = set->control;
    if (truth_path == NULL ||
        m2snet_image_read_file(engine->context, picture, &reading, &image, error) != M2SNET_STATUS_OK ||
        m2snet_image_read_file(engine->context, truth_path, &reading, &truth, error) != M2SNET_STATUS_OK) {
        goto end;
    }
    if (image.width != truth.width || image.height != truth.height) {
        error->status = M2SNET_STATUS_MISMATCH;
        snprintf(error->message, sizeof(error->message), "the picture is %d x %d, its truth %d x %d", image.width,
                 image.height, truth.width, truth.height);
        goto end;
    }
    truth_mask = binary_mask(&truth);
    start = now_ms();
    if (m2snet_predict(engine->session, &image, &predicting, &result, error) != M2SNET_STATUS_OK) {
        goto end;
    }
    score->ms = now_ms() - start;
    score->found = m2snet_result_found(result);
    score->presence = m2snet_result_presence(result);
    compare_masks(m2snet_result_mask(result), truth_mask, (size_t)image.width * (size_t)image.height, score);
    score->done = write_results(engine, set, picture, &image, result, truth_mask, error);

end:
    m2snet_result_destroy(result);
    m2snet_image_release(&truth);
    m2snet_image_release(&image);
    free(truth_mask);
    free(truth_path);
    return score->done;
}

/* ---- The page ------------------------------------------------------------ */

static void write_escaped_character(FILE *page, char character)
{
    switch (character) {
    case '<':
        fputs("&lt;", page);
        break;
    case '>':
        fputs("&gt;", page);
        break;
    case '&':
        fputs("&amp;", page);
        break;
    case '"':
        fputs("&quot;", page);
        break;
    default:
        fputc(character, page);
    }
}

static void write_escaped(FILE *page, const char *text)
{
    for (; *text != '\0'; text++) {
        write_escaped_character(page, *text);
    }
}

/* One line, with Markdown's bold and code; neither reaches beyond the line. */
static void write_line(FILE *page, const char *line, size_t length)
{
    bool bold = false;
    bool code = false;

    for (size_t i = 0; i < length; i++) {
        if (!code && i + 1 < length && line[i] == '*' && line[i + 1] == '*') {
            bold = !bold;
            fputs(bold ? "<b>" : "</b>", page);
            i++;
        } else if (line[i] == '`') {
            code = !code;
            fputs(code ? "<code>" : "</code>", page);
        } else {
            write_escaped_character(page, line[i]);
        }
    }
    fprintf(page, "%s%s\n", code ? "</code>" : "", bold ? "</b>" : "");
}

/* As much of Markdown as an attribution uses: headings, paragraphs, lists of one level. */
static void write_markdown(FILE *page, const char *text)
{
    const char *open = NULL; /* the block that lines are being added to */

    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        size_t mark = *text == '#' ? strspn(text, "# ") : strncmp(text, "- ", 2) == 0 ? 2 : 0;

        if (open != NULL && (mark != 0 || length == 0)) {
            fprintf(page, "</%s>\n", open);
            open = NULL;
        }
        if (open == NULL && length != 0) {
            open = *text == '#' ? "h3" : "p";
            fprintf(page, "<%s>%s", open, *text == '-' ? "&bull; " : "");
        }
        if (length != 0) {
            write_line(page, text + mark, length - mark);
        }
        text += length + (text[length] == '\n');
    }
    if (open != NULL) {
        fprintf(page, "</%s>\n", open);
    }
}

/* A file beside the page, as an address: everything that is not plainly safe is percent-encoded. */
static void write_figure(FILE *page, const char *picture, const char *suffix, const char *caption)
{
    char *path = output_path("", picture, suffix);

    fputs("<figure><img src=\"", page);
    for (const char *at = file_name(path); *at != '\0'; at++) {
        bool plain = (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                     *at == '.' || *at == '_' || *at == '-';

        fprintf(page, plain ? "%c" : "%%%02X", (unsigned char)*at);
    }
    fprintf(page, "\" alt=\"%s\"><figcaption>%s</figcaption></figure>\n", caption, caption);
    free(path);
}

static const char page_head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>m2snet demo</title>\n<style>\n"
    "body { margin: 2rem auto; max-width: 90rem; padding: 0 1rem; background: #14161a; color: #e8e8e8;\n"
    "       font: 16px/1.5 system-ui, sans-serif; }\n"
    "h1 { font-size: 1.6rem; margin-bottom: 0; }\n"
    "h2 { font-size: 1rem; margin: 2rem 0 .5rem; font-weight: 600; overflow-wrap: anywhere; }\n"
    "h2 span { font-weight: 400; color: #a8b0bc; }\n"
    ".warning { border-left: 4px solid #ffb000; padding: .5rem 1rem; background: #2a2416; }\n"
    ".row { display: grid; grid-template-columns: repeat(4, 1fr); gap: .6rem; }\n"
    "@media (max-width: 50rem) { .row { grid-template-columns: repeat(2, 1fr); } }\n"
    "figure { margin: 0; }\nimg { width: 100%; display: block; border-radius: 4px; background: #000; }\n"
    "figcaption { color: #a8b0bc; font-size: .85rem; }\n"
    "footer { margin-top: 3rem; border-top: 1px solid #3a3f48; color: #a8b0bc; font-size: .85rem; }\n"
    "</style>\n</head>\n<body>\n";

static void write_rows(FILE *page, const path_list *pictures, const picture_score *scores)
{
    for (size_t i = 0; i < pictures->count; i++) {
        const char *picture = pictures->items[i];
        const char *dot = strrchr(picture, '.');
        char *input = format_text("_input%s", dot != NULL ? dot : "");

        if (scores[i].done) {
            fputs("<h2>", page);
            write_escaped(page, file_name(picture));
            fprintf(page, " <span>&middot; Dice %.3f &middot; IoU %.3f &middot; %s, presence %.2f</span></h2>\n",
                    scores[i].dice, scores[i].iou, scores[i].found ? "found" : "nothing found", scores[i].presence);
            fputs("<div class=\"row\">\n", page);
            write_figure(page, picture, input, "Input");
            write_figure(page, picture, "_probability.png", "Probability");
            write_figure(page, picture, "_outline.png", "Outline of the mask found");
            write_figure(page, picture, "_truth.png", "Truth: outline of the mask drawn by people");
            fputs("</div>\n", page);
        }
        free(input);
    }
}

/* The text at --attribution, or the DATA.md that lies with the pictures; NULL when there is none. */
static char *read_attribution(const settings *set)
{
    static const char *const places[] = { "DATA.md", "../DATA.md", "../../DATA.md" };
    size_t size_bytes;

    if (set->attribution != NULL) {
        return read_whole_file(set->attribution, &size_bytes);
    }
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        char *path = format_text("%s/%s", set->images, places[i]);
        FILE *file = fopen(path, "rb");
        char *text = NULL;

        if (file != NULL) {
            fclose(file);
            text = read_whole_file(path, &size_bytes);
        }
        free(path);
        if (text != NULL) {
            return text;
        }
    }
    return NULL;
}

static bool write_page(const settings *set, const engine_handles *engine, const path_list *pictures,
                       const picture_score *scores, const picture_score *mean)
{
    m2snet_model_info model = { .struct_size = sizeof(model) };
    m2snet_context_info context = { .struct_size = sizeof(context) };
    char *attribution = read_attribution(set);
    char *text = NULL;
    size_t size_bytes = 0;
    FILE *page = open_memstream(&text, &size_bytes);
    char *path = format_text("%s/index.html", set->output);
    bool fine = page != NULL && m2snet_model_get_info(engine->model, &model, NULL) == M2SNET_STATUS_OK &&
                m2snet_context_get_info(engine->context, &context, NULL) == M2SNET_STATUS_OK;

    if (fine) {
        fputs(page_head, page);
        fprintf(page, "<h1>libm2snet %s</h1>\n<p>Mean Dice %.3f, mean IoU %.3f. Model ", m2snet_version_string(),
                mean->dice, mean->iou);
        write_escaped(page, file_name(set->run.model));
        fprintf(page, " (SHA-256 %.16s&hellip;), backend %s (%s), %d threads.</p>\n", model.sha256, context.backend,
                context.instruction_set, context.threads);
        fputs("<p class=\"warning\">This is a demonstration of software, not a medical device. It must not be used "
              "for diagnosis or for decisions about treatment.</p>\n",
              page);
        write_rows(page, pictures, scores);
        fputs("<footer>\n", page);
        if (attribution != NULL) {
            write_markdown(page, attribution);
        }
        fputs("</footer>\n</body>\n</html>\n", page);
    }
    if (page != NULL) {
        fine = fclose(page) == 0 && fine;
    }
    fine = fine && write_whole_file(path, NULL, 0, text, size_bytes);
    free(text);
    free(path);
    free(attribution);
    return fine;
}

/* ---- All of them --------------------------------------------------------- */

static bool outputs_are_safe(const settings *set, const path_list *pictures)
{
    static const char *const suffixes[] = { "_probability.png", "_outline.png", "_truth.png" };
    path_list inputs = { 0 };
    output_list outputs = { 0 };
    bool safe;

    for (size_t i = 0; i < pictures->count; i++) {
        const char *picture = pictures->items[i];
        const char *dot = strrchr(picture, '.');
        char *truth = find_same_stem(set->truth, picture);
        char *input = format_text("_input%s", dot != NULL ? dot : "");

        path_list_add(&inputs, format_text("%s", picture));
        output_list_add(&outputs, output_path(set->output, picture, input), inputs.count - 1);
        for (size_t k = 0; k < sizeof(suffixes) / sizeof(suffixes[0]); k++) {
            output_list_add(&outputs, output_path(set->output, picture, suffixes[k]), inputs.count - 1);
        }
        if (truth != NULL) {
            path_list_add(&inputs, truth);
        }
        free(input);
    }
    path_list_add(&inputs, format_text("%s", set->run.model));
    output_list_add(&outputs, format_text("%s/index.html", set->output), inputs.count - 1);
    safe = check_outputs(&inputs, &outputs);
    path_list_free(&inputs);
    output_list_free(&outputs);
    return safe;
}

static int show_pictures(const settings *set, const engine_handles *engine, const path_list *pictures)
{
    picture_score *scores = must_alloc(pictures->count * sizeof(*scores));
    picture_score mean = { 0 };
    size_t done = 0;
    progress_bar bar;
    char *place;
    bool fine;

    memset(scores, 0, pictures->count * sizeof(*scores));
    progress_bar_start(&bar, set->quiet, pictures->count);
    for (size_t i = 0; i < pictures->count; i++) {
        m2snet_error error;

        if (show_picture(set, engine, pictures->items[i], &scores[i], &error)) {
            progress_bar_line(&bar, "%s: Dice %.3f, IoU %.3f, %s, presence %.3f, %.0f ms",
                              file_name(pictures->items[i]), scores[i].dice, scores[i].iou,
                              scores[i].found ? "found" : "nothing found", scores[i].presence, scores[i].ms);
            mean.dice += scores[i].dice;
            mean.iou += scores[i].iou;
            done++;
        } else {
            progress_bar_clear(&bar);
            library_error(pictures->items[i], &error);
            if (error.status == M2SNET_STATUS_CANCELLED) {
                break;
            }
        }
        progress_bar_step(&bar);
    }
    progress_bar_clear(&bar);
    if (done == 0) {
        free(scores);
        return EXIT_FAILED;
    }
    mean.dice /= (double)done;
    mean.iou /= (double)done;
    fine = write_page(set, engine, pictures, scores, &mean);
    place = realpath(set->output, NULL);
    if (fine && !set->quiet) {
        printf("mean Dice %.3f, mean IoU %.3f over %zu pictures\n%s/index.html\n", mean.dice, mean.iou, done,
               place != NULL ? place : set->output);
    }
    free(place);
    free(scores);
    return fine && done == pictures->count ? EXIT_DONE : EXIT_FAILED;
}

static int run_demo(const settings *set)
{
    path_list pictures = { 0 };
    engine_handles engine = { 0 };
    m2snet_model_options loading;
    m2snet_error error;
    int code = EXIT_FAILED;

    m2snet_model_options_init(&loading);
    loading.control = set->control;
    if (!collect_pictures(set->images, &pictures)) {
        goto end;
    }
    if (!outputs_are_safe(set, &pictures)) {
        code = EXIT_USAGE;
    } else if (open_context(&set->run, &engine.context, &error) != M2SNET_STATUS_OK ||
               m2snet_model_load_file(engine.context, set->run.model, &loading, &engine.model, &error) !=
                   M2SNET_STATUS_OK ||
               open_session(&set->run, engine.model, &engine.session, &error) != M2SNET_STATUS_OK) {
        code = library_error(engine.context != NULL ? set->run.model : NULL, &error);
    } else if (make_folder(set->output)) {
        code = show_pictures(set, &engine, &pictures);
    }

end:
    m2snet_session_destroy(engine.session);
    m2snet_model_destroy(engine.model);
    m2snet_context_destroy(engine.context);
    path_list_free(&pictures);
    return code;
}

static bool parse_option(int option, settings *set)
{
    switch (option) {
    case OPTION_IMAGES:
        set->images = optarg;
        return true;
    case OPTION_TRUTH:
        set->truth = optarg;
        return true;
    case OPTION_OUTPUT:
        set->output = optarg;
        return true;
    case OPTION_ATTRIBUTION:
        set->attribution = optarg;
        return true;
    case OPTION_QUIET:
        return set->quiet = true;
    default:
        return parse_run_option(option, optarg, &set->run);
    }
}

int main(int argc, char **argv)
{
    settings set = { 0 };
    int option;
    int code;

    while ((option = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
        if (option == OPTION_HELP) {
            fputs(help, stdout);
            return finish(EXIT_DONE);
        }
        if (option == OPTION_VERSION) {
            print_version();
            return finish(EXIT_DONE);
        }
        if (!parse_option(option, &set)) {
            return usage_hint();
        }
    }
    if (set.run.model == NULL || set.images == NULL || set.truth == NULL || set.output == NULL) {
        return usage_error("--model, --images, --truth and --output are all needed");
    }
    if (optind < argc) {
        return usage_error("%s: unexpected", argv[optind]);
    }
    set.control.cancel = interrupt_install();
    code = run_demo(&set);
    interrupt_remove(set.control.cancel);
    return finish(code);
}
