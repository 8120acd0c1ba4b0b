/* SPDX-License-Identifier: Apache-2.0
 *
 * m2snet-segment: pictures in, probability maps out. The second half of the file is the other way in: arrays of
 * normalised pixels to arrays of logits, for comparing with other implementations of the network. */
#define _GNU_SOURCE 1
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/args.h"
#include "common/npy.h"
#include "common/paths.h"
#include "common/progress_bar.h"
#include "common/timing.h"
#include "common/views.h"
#include "m2snet.h"
#include "segment_sheet.h"

const char *const program_name = "m2snet-segment";

static const char help[] =
    "Usage: m2snet-segment --model FILE --output DIR [OPTION...] FILE|DIR...\n"
    "       m2snet-segment --model FILE --input-npy FILE --logits-npy FILE [OPTION...]\n"
    "Finds what the model was trained for in PNG and JPEG pictures (of a folder: all of them, by name).\n"
    "Not a medical device.\n\n"
    "Writes DIR/STEM.png for each picture: its 8-bit probability map, also when nothing is found.\n"
    "  --output DIR        made where missing; never a place where an output would replace an input\n"
    "  --mask              also STEM_mask.png, 0 or 255\n"
    "  --labels            also STEM_labels.png, all classes in one map of gray levels, as the model codes them\n"
    "  --overlay           also STEM_overlay.png, the picture with the mask's outline\n"
    "  --receipt           also STEM.json, what was run on what, and the components\n"
    "  --features DIR      also DIR/STEM_features.png, one sheet of what the network computed inside\n"
    "  --gradcam NAME      also STEM_gradcam.png: where tensor NAME of the network speaks for the mask (Grad-CAM);\n"
    "                      m2snet-info --features lists the names\n" RUN_OPTION_HELP VIEW_OPTION_HELP
    "  --threshold T       probability from which on a pixel belongs to the mask; default: the model's\n"
    "  --class N           channel of a model with several classes; default 0, or 1 where 0 is the background\n"
    "  --largest           keep only the largest component of the mask\n"
    "  --fill-holes        fill background that the mask encloses\n"
    "  --min-area N        drop components of fewer than N pixels\n"
    "  --spacing Y,X       pixel spacing in mm, for areas in mm2\n"
    "Arrays instead of pictures:\n"
    "  --input-npy FILE    (n, 3, h, w) float32 or float64, normalised; the network runs at that size\n"
    "  --logits-npy FILE   (n, classes, h, w) written: float32, or float64 with --precision f64\n"
    "  --quiet             only errors\n" COMMON_OPTION_HELP
    "Exit status: 0 done, 1 something failed and the rest was done, 2 the command line makes no sense.\n";

enum {
    OPTION_OUTPUT = 1,
    OPTION_MASK,
    OPTION_LABELS,
    OPTION_OVERLAY,
    OPTION_RECEIPT,
    OPTION_FEATURES,
    OPTION_GRADCAM,
    OPTION_THRESHOLD,
    OPTION_CLASS,
    OPTION_LARGEST,
    OPTION_FILL_HOLES,
    OPTION_MIN_AREA,
    OPTION_SPACING,
    OPTION_INPUT_NPY,
    OPTION_LOGITS_NPY,
    OPTION_QUIET
};

static const struct option option_table[] = { { "output", required_argument, NULL, OPTION_OUTPUT },
                                              { "mask", no_argument, NULL, OPTION_MASK },
                                              { "labels", no_argument, NULL, OPTION_LABELS },
                                              { "overlay", no_argument, NULL, OPTION_OVERLAY },
                                              { "receipt", no_argument, NULL, OPTION_RECEIPT },
                                              { "features", required_argument, NULL, OPTION_FEATURES },
                                              { "gradcam", required_argument, NULL, OPTION_GRADCAM },
                                              { "threshold", required_argument, NULL, OPTION_THRESHOLD },
                                              { "class", required_argument, NULL, OPTION_CLASS },
                                              { "largest", no_argument, NULL, OPTION_LARGEST },
                                              { "fill-holes", no_argument, NULL, OPTION_FILL_HOLES },
                                              { "min-area", required_argument, NULL, OPTION_MIN_AREA },
                                              { "spacing", required_argument, NULL, OPTION_SPACING },
                                              { "input-npy", required_argument, NULL, OPTION_INPUT_NPY },
                                              { "logits-npy", required_argument, NULL, OPTION_LOGITS_NPY },
                                              { "quiet", no_argument, NULL, OPTION_QUIET },
                                              RUN_OPTION_ROWS,
                                              VIEW_OPTION_ROWS,
                                              COMMON_OPTION_ROWS,
                                              { NULL, 0, NULL, 0 } };

typedef struct settings {
    run_options run;
    view_options views;
    m2snet_predict_options predict;
    const char *output;
    const char *features; /* folder of the sheets, or NULL */
    const char *feature_names[SHEET_MOST];
    bool mask, labels, overlay, receipt;
    bool class_given;
    bool picture_option; /* one was given that means nothing for arrays */
    const char *input_npy, *logits_npy;
    bool quiet;
} settings;

typedef struct engine_handles {
    m2snet_context *context;
    m2snet_model *model;
    m2snet_session *session;
    m2snet_model_info info;
} engine_handles;

static bool has_feature(const m2snet_model *model, const char *name)
{
    m2snet_feature_info info = { .struct_size = sizeof(info) };

    for (int32_t i = 0; i < m2snet_model_feature_count(model); i++) {
        if (m2snet_model_feature_info(model, i, &info, NULL) == M2SNET_STATUS_OK && strcmp(info.name, name) == 0) {
            return true;
        }
    }
    return false;
}

static int open_engine(settings *set, m2snet_cancel *cancel, engine_handles *engine)
{
    m2snet_model_options options;
    const char *subject = NULL;
    m2snet_error error;

    engine->info.struct_size = sizeof(engine->info);
    m2snet_model_options_init(&options);
    options.control.cancel = cancel;
    if (open_context(&set->run, &engine->context, &error) != M2SNET_STATUS_OK) {
        return library_error(NULL, &error);
    }
    if (m2snet_model_load_file(engine->context, set->run.model, &options, &engine->model, &error) != M2SNET_STATUS_OK) {
        return library_error(set->run.model, &error);
    }
    if (open_session(&set->run, engine->model, &engine->session, &error) != M2SNET_STATUS_OK) {
        return library_error(NULL, &error);
    }
    if (m2snet_model_get_info(engine->model, &engine->info, &error) != M2SNET_STATUS_OK) {
        return library_error(set->run.model, &error);
    }
    if (open_views(&set->views, &set->run, engine->context, &engine->info, &set->predict, &subject, &error) !=
        M2SNET_STATUS_OK) {
        return library_error(subject, &error);
    }
    if (set->features != NULL) {
        set->predict.features = set->feature_names;
        set->predict.feature_count = sheet_names(engine->model, set->feature_names);
    }
    if (set->predict.gradcam != NULL && !has_feature(engine->model, set->predict.gradcam)) {
        return usage_error("--gradcam %s: the network has no such tensor; m2snet-info --features %s lists them",
                           set->predict.gradcam, set->run.model);
    }
    if (!set->class_given) {
        set->predict.class_index = first_class(&engine->info);
    }
    if (set->predict.class_index >= engine->info.classes) {
        return usage_error("--class %d: %s has classes 0 to %d", set->predict.class_index, set->run.model,
                           engine->info.classes - 1);
    }
    return EXIT_DONE;
}

static void close_engine(engine_handles *engine)
{
    m2snet_session_destroy(engine->session);
    m2snet_model_destroy(engine->model);
    m2snet_context_destroy(engine->context);
}

/* ---- Pictures ------------------------------------------------------------ */

static m2snet_status write_gray(m2snet_context *context, const char *folder, const char *picture, const char *suffix,
                                const m2snet_result *result, const uint8_t *pixels, m2snet_error *error)
{
    m2snet_image image = { .data = pixels,
                           .width = m2snet_result_width(result),
                           .height = m2snet_result_height(result),
                           .format = M2SNET_PIXEL_GRAY8 };
    char *path = output_path(folder, picture, suffix);
    m2snet_status status = m2snet_image_write_png(context, path, &image, error);

    free(path);
    return status;
}

static m2snet_status write_overlay(m2snet_context *context, const char *folder, const char *picture,
                                   const m2snet_result *result, const m2snet_image *image, m2snet_error *error)
{
    m2snet_image mask = {
        .data = m2snet_result_mask(result), .width = image->width, .height = image->height, .format = M2SNET_PIXEL_GRAY8
    };
    int32_t shorter = image->width < image->height ? image->width : image->height;
    m2snet_image overlay = { 0 };
    char *path = output_path(folder, picture, "_overlay.png");
    m2snet_status status =
        m2snet_image_overlay(context, image, &mask, 0xffe000, shorter < 400 ? 1 : shorter / 200, &overlay, error);

    if (status == M2SNET_STATUS_OK) {
        status = m2snet_image_write_png(context, path, &overlay, error);
    }
    m2snet_image_release(&overlay);
    free(path);
    return status;
}

static m2snet_status write_receipt(const char *folder, const char *picture, const m2snet_result *result,
                                   m2snet_error *error)
{
    const char *json = m2snet_result_receipt_json(result);
    char *path = output_path(folder, picture, ".json");
    bool written = write_whole_file(path, NULL, 0, json, strlen(json));

    if (!written) {
        *error = (m2snet_error){ .status = M2SNET_STATUS_IO, .message = "its receipt could not be written" };
    }
    free(path);
    return written ? M2SNET_STATUS_OK : M2SNET_STATUS_IO;
}

static m2snet_status write_inside(const settings *set, const engine_handles *engine, const char *picture,
                                  const m2snet_image *image, const m2snet_result *result, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    if (set->predict.gradcam != NULL) {
        char *path = output_path(set->output, picture, "_gradcam.png");

        status = write_gradcam(engine->context, path, image, result, error);
        free(path);
    }
    if (status == M2SNET_STATUS_OK && set->features != NULL) {
        char *path = output_path(set->features, picture, "_features.png");

        status = write_sheet(engine->context, path, file_name(picture), &engine->info, image, result,
                             set->predict.gradcam, error);
        free(path);
    }
    return status;
}

/* "class polyp " where the model has several: what is said of a picture is of that one. */
static const char *class_words(const settings *set, const engine_handles *engine, char text[96])
{
    const char *name = m2snet_model_class_name(engine->model, set->predict.class_index);

    text[0] = '\0';
    if (engine->info.classes > 1 && name != NULL) {
        snprintf(text, 96, "class %.80s ", name);
    } else if (engine->info.classes > 1) {
        snprintf(text, 96, "class %d ", (int)set->predict.class_index);
    }
    return text;
}

static void print_line(const progress_bar *bar, const char *picture, const char *of_class, const m2snet_result *result,
                       double ms)
{
    m2snet_component component = { .struct_size = sizeof(component) };
    int64_t area_px = 0;
    double area_mm2 = 0.0;
    char in_mm2[48] = "";

    for (int32_t i = 0; i < m2snet_result_component_count(result); i++) {
        if (m2snet_result_component(result, i, &component, NULL) == M2SNET_STATUS_OK) {
            area_px += component.area_px;
            area_mm2 += component.area_mm2;
        }
    }
    if (area_px > 0 && component.area_mm2 >= 0.0) {
        snprintf(in_mm2, sizeof(in_mm2), " (%.2f mm2)", area_mm2);
    }
    progress_bar_line(bar, "%s: %s%s, presence %.3f, area %lld px%s, %.0f ms", file_name(picture), of_class,
                      m2snet_result_found(result) ? "found"
                      : of_class[0] != '\0'       ? "not found"
                                                  : "nothing found",
                      m2snet_result_presence(result), (long long)area_px, in_mm2, ms);
}

static m2snet_status segment_picture(const settings *set, const engine_handles *engine, const char *picture,
                                     const progress_bar *bar, int32_t *found, m2snet_error *error)
{
    m2snet_image_read_options reading;
    m2snet_image image = { 0 };
    m2snet_result *result = NULL;
    double start = now_ms();
    char of_class[96];
    m2snet_status status;

    m2snet_image_read_options_init(&reading);
    reading.control = set->predict.control;
    status = m2snet_image_read_file(engine->context, picture, &reading, &image, error);
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_predict(engine->session, &image, &set->predict, &result, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = write_gray(engine->context, set->output, picture, ".png", result, m2snet_result_map(result), error);
    }
    if (status == M2SNET_STATUS_OK && set->mask) {
        status =
            write_gray(engine->context, set->output, picture, "_mask.png", result, m2snet_result_mask(result), error);
    }
    if (status == M2SNET_STATUS_OK && set->labels) {
        status = write_gray(engine->context, set->output, picture, "_labels.png", result, m2snet_result_labels(result),
                            error);
    }
    if (status == M2SNET_STATUS_OK && set->overlay) {
        status = write_overlay(engine->context, set->output, picture, result, &image, error);
    }
    if (status == M2SNET_STATUS_OK && set->receipt) {
        status = write_receipt(set->output, picture, result, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = write_inside(set, engine, picture, &image, result, error);
    }
    if (status == M2SNET_STATUS_OK) {
        *found = m2snet_result_found(result);
        print_line(bar, picture, class_words(set, engine, of_class), result, now_ms() - start);
    }
    m2snet_result_destroy(result);
    m2snet_image_release(&image);
    return status;
}

/* Where everything will be written is known, and checked, before anything is. */
static bool outputs_are_safe(const settings *set, const path_list *pictures)
{
    path_list inputs = { 0 };
    output_list outputs = { 0 };
    bool safe;

    for (size_t i = 0; i < pictures->count; i++) {
        const char *picture = pictures->items[i];

        path_list_add(&inputs, format_text("%s", picture));
        output_list_add(&outputs, output_path(set->output, picture, ".png"), i);
        if (set->mask) {
            output_list_add(&outputs, output_path(set->output, picture, "_mask.png"), i);
        }
        if (set->labels) {
            output_list_add(&outputs, output_path(set->output, picture, "_labels.png"), i);
        }
        if (set->overlay) {
            output_list_add(&outputs, output_path(set->output, picture, "_overlay.png"), i);
        }
        if (set->receipt) {
            output_list_add(&outputs, output_path(set->output, picture, ".json"), i);
        }
        if (set->predict.gradcam != NULL) {
            output_list_add(&outputs, output_path(set->output, picture, "_gradcam.png"), i);
        }
        if (set->features != NULL) {
            output_list_add(&outputs, output_path(set->features, picture, "_features.png"), i);
        }
    }
    path_list_add(&inputs, format_text("%s", set->run.model));
    for (int i = 0; i < set->views.model_count; i++) {
        path_list_add(&inputs, format_text("%s", set->views.models[i]));
    }
    safe = check_outputs(&inputs, &outputs);
    path_list_free(&inputs);
    output_list_free(&outputs);
    return safe;
}

static int segment_pictures(const settings *set, const engine_handles *engine, const path_list *pictures)
{
    size_t done = 0;
    size_t hits = 0;
    bool interrupted = false;
    double start = now_ms();
    char of_class[96];
    progress_bar bar;

    progress_bar_start(&bar, set->quiet, pictures->count);
    for (size_t i = 0; i < pictures->count && !interrupted; i++) {
        m2snet_error error;
        int32_t found = 0;
        m2snet_status status = segment_picture(set, engine, pictures->items[i], &bar, &found, &error);

        if (status == M2SNET_STATUS_OK) {
            done++;
            hits += found != 0;
        } else {
            progress_bar_clear(&bar);
            library_error(pictures->items[i], &error);
            interrupted = status == M2SNET_STATUS_CANCELLED;
        }
        progress_bar_step(&bar);
    }
    progress_bar_clear(&bar);
    class_words(set, engine, of_class);
    progress_bar_line(&bar, "%s%zu of %zu pictures done in %.1f s: %s%zu found, %zu %s",
                      interrupted ? "interrupted, " : "", done, pictures->count, 1e-3 * (now_ms() - start), of_class,
                      hits, done - hits, of_class[0] != '\0' ? "not found" : "nothing found");
    return done == pictures->count ? EXIT_DONE : EXIT_FAILED;
}

static int run_pictures(settings *set, char *const *arguments, m2snet_cancel *cancel)
{
    path_list pictures = { 0 };
    engine_handles engine = { 0 };
    bool all_there = true;
    int code;

    for (; *arguments != NULL; arguments++) {
        all_there = collect_pictures(*arguments, &pictures) && all_there;
    }
    if (!outputs_are_safe(set, &pictures)) {
        code = EXIT_USAGE;
    } else if (pictures.count == 0) {
        code = EXIT_FAILED;
    } else {
        code = open_engine(set, cancel, &engine);
        if (code == EXIT_DONE) {
            bool made = make_folder(set->output) && (set->features == NULL || make_folder(set->features));

            code = made ? segment_pictures(set, &engine, &pictures) : EXIT_FAILED;
        }
    }
    close_engine(&engine);
    path_list_free(&pictures);
    return code == EXIT_DONE && !all_there ? EXIT_FAILED : code;
}

/* ---- Arrays -------------------------------------------------------------- */

/* A view of an (n, c, h, w) array: the strides say where what is, nothing is moved. */
static m2snet_status view_array(m2snet_context *context, const npy_array *array, m2snet_tensor **tensor,
                                m2snet_error *error)
{
    int64_t item = (int64_t)array->item_bytes;
    int64_t c = array->dims[1];
    int64_t h = array->dims[2];
    int64_t w = array->dims[3];
    m2snet_tensor_desc desc = { .dtype = item == 8 ? M2SNET_DTYPE_F64 : M2SNET_DTYPE_F32,
                                .n = array->dims[0],
                                .h = h,
                                .w = w,
                                .c = c,
                                .stride_n_bytes = item * c * h * w,
                                .stride_h_bytes = item * w,
                                .stride_w_bytes = item,
                                .stride_c_bytes = item * h * w };

    return m2snet_tensor_create(context, &desc, array->data, tensor, error);
}

static int run_array(const settings *set, const engine_handles *engine, const npy_array *input, npy_array *logits,
                     const m2snet_control *control)
{
    m2snet_tensor *src = NULL;
    m2snet_tensor *dst = NULL;
    m2snet_error error;
    size_t bytes;
    double start = now_ms();
    int code = EXIT_DONE;

    *logits = *input;
    logits->dims[1] = engine->info.classes;
    logits->item_bytes = set->run.precision == M2SNET_PRECISION_F64 ? 8 : 4;
    logits->data = NULL;
    if (!npy_size(logits, &bytes)) {
        complain("%s: too large", set->input_npy);
        return EXIT_FAILED;
    }
    logits->data = must_alloc(bytes);
    if (view_array(engine->context, input, &src, &error) != M2SNET_STATUS_OK ||
        view_array(engine->context, logits, &dst, &error) != M2SNET_STATUS_OK ||
        m2snet_session_run(engine->session, src, dst, control, &error) != M2SNET_STATUS_OK) {
        library_error(set->input_npy, &error);
        code = EXIT_FAILED;
    } else if (!npy_write(set->logits_npy, logits)) {
        code = EXIT_FAILED;
    } else if (!set->quiet) {
        printf("%s: (%lld, %lld, %lld, %lld) float%zu logits in %.0f ms\n", set->logits_npy, (long long)logits->dims[0],
               (long long)logits->dims[1], (long long)logits->dims[2], (long long)logits->dims[3],
               8 * logits->item_bytes, now_ms() - start);
    }
    m2snet_tensor_destroy(dst);
    m2snet_tensor_destroy(src);
    return code;
}

static int run_arrays(settings *set, m2snet_cancel *cancel)
{
    path_list inputs = { 0 };
    output_list outputs = { 0 };
    npy_array input = { 0 };
    npy_array logits = { 0 };
    engine_handles engine = { 0 };
    m2snet_control control = { .cancel = cancel };
    int code;

    path_list_add(&inputs, format_text("%s", set->input_npy));
    path_list_add(&inputs, format_text("%s", set->run.model));
    output_list_add(&outputs, format_text("%s", set->logits_npy), 0);
    if (!check_outputs(&inputs, &outputs)) {
        code = EXIT_USAGE;
    } else if (!npy_read(set->input_npy, &input)) {
        code = EXIT_FAILED;
    } else if (input.rank != 4 || input.dims[1] != 3) {
        complain("%s: expected an array of shape (n, 3, h, w), got %d axes%s", set->input_npy, input.rank,
                 input.rank == 4 ? " with another number of channels" : "");
        code = EXIT_FAILED;
    } else {
        code = open_engine(set, cancel, &engine);
        if (code == EXIT_DONE) {
            code = run_array(set, &engine, &input, &logits, &control);
        }
    }
    close_engine(&engine);
    free(input.data);
    free(logits.data);
    path_list_free(&inputs);
    output_list_free(&outputs);
    return code;
}

/* ---- Command line -------------------------------------------------------- */

static bool parse_option(int option, settings *set)
{
    int64_t number;

    set->picture_option = set->picture_option || (option >= OPTION_OUTPUT && option <= OPTION_SPACING) ||
                          option == OPTION_SIZE || option >= OPTION_TILES ||
                          (option == OPTION_MODEL && set->run.model != NULL);
    switch (option) {
    case OPTION_OUTPUT:
        set->output = optarg;
        return true;
    case OPTION_MASK:
        return set->mask = true;
    case OPTION_LABELS:
        set->predict.label_map = 1;
        return set->labels = true;
    case OPTION_OVERLAY:
        return set->overlay = true;
    case OPTION_RECEIPT:
        return set->receipt = true;
    case OPTION_FEATURES:
        set->features = optarg;
        return true;
    case OPTION_GRADCAM:
        set->predict.gradcam = optarg;
        return true;
    case OPTION_THRESHOLD:
        return parse_number("--threshold", optarg, 0.0, 1.0, &set->predict.threshold);
    case OPTION_CLASS:
        if (!parse_integer("--class", optarg, 0, INT32_MAX, &number)) {
            return false;
        }
        set->predict.class_index = (int32_t)number;
        set->class_given = true;
        return true;
    case OPTION_LARGEST:
        set->predict.largest_component = 1;
        return true;
    case OPTION_FILL_HOLES:
        set->predict.fill_holes = 1;
        return true;
    case OPTION_MIN_AREA:
        return parse_number("--min-area", optarg, 0.0, 1e12, &set->predict.min_area_px);
    case OPTION_SPACING:
        return parse_pair("--spacing", optarg, &set->predict.spacing_y_mm, &set->predict.spacing_x_mm);
    case OPTION_INPUT_NPY:
        set->input_npy = optarg;
        return true;
    case OPTION_LOGITS_NPY:
        set->logits_npy = optarg;
        return true;
    case OPTION_QUIET:
        return set->quiet = true;
    default:
        return parse_view_option(option, optarg, &set->run, &set->views);
    }
}

int main(int argc, char **argv)
{
    settings set = { 0 };
    int option;
    int code;

    m2snet_predict_options_init(&set.predict);
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
    if (set.run.model == NULL) {
        return usage_error("--model is missing");
    }
    if ((set.input_npy != NULL) != (set.logits_npy != NULL)) {
        return usage_error("--input-npy and --logits-npy go together");
    }
    if (set.input_npy != NULL && (optind < argc || set.picture_option)) {
        return usage_error("--input-npy takes neither pictures nor their options");
    }
    if (set.input_npy == NULL && set.output == NULL) {
        return usage_error("--output is missing");
    }
    if (set.input_npy == NULL && optind == argc) {
        return usage_error("no picture given");
    }
    if (check_view_options(&set.views) != EXIT_DONE) {
        return EXIT_USAGE;
    }
    if ((set.features != NULL || set.predict.gradcam != NULL) && has_views(&set.views)) {
        return usage_error(
            "--features and --gradcam look into one run of one model: not with --tiles, --mirror or several "
            "models");
    }
    set.predict.control.cancel = interrupt_install();
    code = set.input_npy != NULL ? run_arrays(&set, set.predict.control.cancel)
                                 : run_pictures(&set, argv + optind, set.predict.control.cancel);
    close_views(&set.views);
    interrupt_remove(set.predict.control.cancel);
    return finish(code);
}
