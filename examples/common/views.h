/* SPDX-License-Identifier: Apache-2.0
 * The options of the programs that predict: windows, mirrored inputs, and several models. */
#ifndef EXAMPLES_COMMON_VIEWS_H
#define EXAMPLES_COMMON_VIEWS_H

#include "args.h"

typedef struct view_options {
    m2snet_session *sessions[M2SNET_MAX_ENSEMBLE]; /* of the models after the first, once they are open */
    const char *models[M2SNET_MAX_ENSEMBLE];       /* their files */
    int model_count;
    bool tiles; /* a size that was given with it is the run's input size */
    bool size;  /* --size was given */
    double tile_step;
    m2snet_mirror mirror;
} view_options;

enum { OPTION_TILES = 2000, OPTION_TILE_STEP, OPTION_MIRROR };

/* clang-format off */
#define VIEW_OPTION_ROWS                                      \
    { "tiles", required_argument, NULL, OPTION_TILES },        \
    { "tile-step", required_argument, NULL, OPTION_TILE_STEP },\
    { "mirror", optional_argument, NULL, OPTION_MIRROR }
/* clang-format on */
#define VIEW_OPTION_HELP                                                                                               \
    "  --model FILE ...    several times: the mean of their logits, all with the input size of the first\n"            \
    "  --tiles N|WxH|auto  the picture keeps its size, and a window of that size (auto: the model's input) slides\n"   \
    "                      over it\n"                                                                                  \
    "  --tile-step S       largest distance of neighbouring windows, 0.05 to 1 of their sides; default 0.5\n"          \
    "  --mirror[=AXES]     the mean over mirror images, too: both (default), horizontal (left and right exchanged)\n"  \
    "                      or vertical\n"

/* Takes one option of VIEW_OPTION_ROWS or RUN_OPTION_ROWS; false after a complaint. */
bool parse_view_option(int option, const char *text, run_options *run, view_options *views);
/* EXIT_DONE, or EXIT_USAGE after a complaint about options that exclude each other. */
int check_view_options(const view_options *views);
/* Whether anything but the picture as a whole, once, by one model was asked for. */
bool has_views(const view_options *views);

/* Opens the further models beside the first session and points predict to all. On failure *subject (may be set to
 * NULL) names the file. close_views in any case. */
m2snet_status open_views(view_options *views, const run_options *run, m2snet_context *context,
                         const m2snet_model_info *first, m2snet_predict_options *predict, const char **subject,
                         m2snet_error *error);
void close_views(view_options *views);

/* The channel that is asked for where none is named: the first that is not the background. */
int32_t first_class(const m2snet_model_info *info);

#endif
