/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "views.h"

#include <string.h>

static bool parse_mirror(const char *text, m2snet_mirror *mirror)
{
    static const char *const words[] = { "horizontal", "vertical", "both" };

    *mirror = M2SNET_MIRROR_BOTH;
    for (int i = 0; text != NULL && i < 3; i++) {
        if (strcmp(text, words[i]) == 0) {
            *mirror = (m2snet_mirror)(i + 1);
            return true;
        }
    }
    if (text != NULL) {
        complain("--mirror: expected horizontal, vertical or both, got \"%s\"", text);
    }
    return text == NULL;
}

bool parse_view_option(int option, const char *text, run_options *run, view_options *views)
{
    switch (option) {
    case OPTION_MODEL:
        if (run->model == NULL) {
            run->model = text;
        } else if (views->model_count == M2SNET_MAX_ENSEMBLE) {
            complain("--model: more than %d", M2SNET_MAX_ENSEMBLE + 1);
            return false;
        } else {
            views->models[views->model_count++] = text;
        }
        return true;
    case OPTION_TILES:
        views->tiles = true;
        if (strcmp(text, "auto") == 0) {
            run->width = run->height = 0; /* whatever an earlier one said */
            return true;
        }
        return parse_size("--tiles", text, &run->width, &run->height);
    case OPTION_TILE_STEP:
        return parse_number("--tile-step", text, 0.05, 1.0, &views->tile_step);
    case OPTION_MIRROR:
        return parse_mirror(text, &views->mirror);
    case OPTION_SIZE:
        views->size = true;
        break;
    default:
        break;
    }
    return parse_run_option(option, text, run);
}

int check_view_options(const view_options *views)
{
    if (views->tiles && views->size) {
        return usage_error("--size and --tiles exclude each other: with windows the picture keeps its size");
    }
    if (views->tile_step != 0.0 && !views->tiles) {
        return usage_error("--tile-step goes with --tiles");
    }
    return EXIT_DONE;
}

bool has_views(const view_options *views)
{
    return views->tiles || views->mirror != M2SNET_MIRROR_NONE || views->model_count > 0;
}

static m2snet_status open_member(view_options *views, int index, const run_options *run, m2snet_context *context,
                                 const m2snet_model_info *first, const m2snet_control *control, m2snet_error *error)
{
    m2snet_model_options options;
    m2snet_model *model = NULL;
    run_options sized = *run;
    m2snet_status status;

    sized.width = run->width != 0 ? run->width : first->input_width;
    sized.height = run->height != 0 ? run->height : first->input_height;
    m2snet_model_options_init(&options);
    options.control = *control;
    status = m2snet_model_load_file(context, views->models[index], &options, &model, error);
    if (status == M2SNET_STATUS_OK) {
        status = open_session(&sized, model, &views->sessions[index], error);
    }
    m2snet_model_destroy(model); /* the session keeps it */
    return status;
}

m2snet_status open_views(view_options *views, const run_options *run, m2snet_context *context,
                         const m2snet_model_info *first, m2snet_predict_options *predict, const char **subject,
                         m2snet_error *error)
{
    predict->tiles = views->tiles;
    if (views->tile_step != 0.0) {
        predict->tile_step = views->tile_step;
    }
    predict->mirror = views->mirror;
    predict->ensemble = views->sessions;
    predict->ensemble_count = (int32_t)views->model_count;
    for (int i = 0; i < views->model_count; i++) {
        m2snet_status status = open_member(views, i, run, context, first, &predict->control, error);
        if (status != M2SNET_STATUS_OK) {
            *subject = views->models[i];
            return status;
        }
    }
    return M2SNET_STATUS_OK;
}

void close_views(view_options *views)
{
    for (int i = 0; i < views->model_count; i++) {
        m2snet_session_destroy(views->sessions[i]);
        views->sessions[i] = NULL;
    }
}

int32_t first_class(const m2snet_model_info *info)
{
    return info->softmax ? 1 : 0;
}
