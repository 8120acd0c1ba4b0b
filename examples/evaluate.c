/* SPDX-License-Identifier: Apache-2.0
 *
 * m2snet-evaluate: predictions against masks, with the metrics of the papers. This file is the command line. */
#define _GNU_SOURCE 1
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate.h"

const char *const program_name = "m2snet-evaluate";

static const char help[] =
    "Usage: m2snet-evaluate [OPTION...] PREDICTIONS... MASKS\n"
    "       m2snet-evaluate --model FILE [OPTION...] IMAGES MASKS\n"
    "Scores 8-bit probability maps or masks, of any program, against masks. Folders of PNG or JPEG files matched by\n"
    "stem (a.jpg belongs to a.png), or two files. Several folders of predictions are compared: each difference comes\n"
    "with a paired bootstrap interval over the images that both have. docs/metrics.md has every definition.\n"
    "Not a medical device.\n\n"
    "  --json FILE         everything: \"images\" and \"dataset\" with the keys below, null where undefined\n"
    "  --csv FILE          one line an image, and the set's in the last\n"
    "  --html FILE         a page: scores, distributions, threshold curves, calibration, areas, best and worst cases\n"
    "  --images DIR        the pictures that were segmented, for the page; default with --model: IMAGES\n"
    "  --cases N           best and worst cases on the page, of each so many; default 4\n"
    "  --name NAME         of a folder of predictions, in their order; repeatable; default: the folder's own\n"
    "  --resamples N       of the bootstrap; default 10000\n"
    "  --seed N            of the bootstrap; default 0\n"
    "  --profile P         default, authors (adds the published test script's numbers) or pranet (adds what the\n"
    "                      PraNet protocol prints)\n"
    "  --empty P           images with an empty mask: zero (default), skip (left out of all means), one (1 where the\n"
    "                      prediction is empty too)\n"
    "  --spacing Y,X       pixel size in mm for the distances; repeatable; default 1.0,1.0\n"
    "  --connectivity N    of borders: 1 (default, four neighbours) or 2 (eight)\n"
    "  --penalty           distances are the image's diagonal where one side is empty, 0 where both are; default:\n"
    "                      undefined and counted\n"
    "  --no-surface        no distances\n"
    "  --suffix TEXT       predictions are the files STEM<TEXT>.png of their folder, as _mask or _labels of\n"
    "                      m2snet-segment; the others are passed over\n"
    "  --resize            bring predictions of another size to the mask's; default: refused\n"
    "  --folds K           cross-validation: pair i belongs to fold i mod K; default 4, 0 none\n"
    "  --group-separator T what stands before it in a name is the clip (patient): the main numbers clip by clip, and\n"
    "                      their mean over clips\n"
    "  --labels LIST       label maps: NAME=VALUE,... scores each class and its boundaries, such as\n"
    "                      rnfl=0,gcipl=80,choroid=160\n"
    "Pictures instead of predictions: the model's probability maps are scored, with --labels its label "
    "maps.\n" RUN_OPTION_HELP VIEW_OPTION_HELP "  --quiet             only errors\n" COMMON_OPTION_HELP "\n"
    "The table's names and the JSON's keys, of images and of the set:\n"
    "  mDice, mIoU         dice_mean, iou_mean: mean over 256 thresholds\n"
    "  maxDice, maxIoU     dice_max, iou_max: maximum of the same curve\n"
    "  wFm                 wfm\n"
    "  Sm                  sm (sm_matlab_rounding: centroid rounded as MATLAB does)\n"
    "  maxEm, meanEm       em_max, em_mean; adpEm em_adp\n"
    "  maxFm, meanFm       fm_max, fm_mean; adpFm fm_adp (beta^2 0.3); f1_max, f1_mean (beta 1)\n"
    "  mPre, mSen, mSpe    pre_mean, rec_mean, spec_mean; maxSpe spec_max; spec_pranet_*: 0 where nothing was hit\n"
    "  MAE                 mae\n"
    "  Dice, IoU           dice (= f1), iou, at x > 0.5; miou: mean of iou and iou_bg\n"
    "  Pre, Rec, Spe, Acc  precision, recall, specificity, accuracy, at x > 0.5; BER ber; counts tp fp fn tn\n"
    "  HD, HD95, ASD       surface[\"Y,X\"].hd, .hd95, .assd; p>g .asd_pred_to_gt, g>p .asd_gt_to_pred,\n"
    "                      HD95dir .hd95_maxdir\n"
    "  pooled              dataset.pooled: from tp fp fn tn summed over images\n"
    "  folds               dataset.four_fold_cv, with another number of folds k_fold_cv\n"
    "  authors             authors.: MAE mae, maxF fm_max, avgF fm_adp, Sm sm, Em em, wfm wfm, M_dice dice_soft,\n"
    "                      M_iou iou, Ber ber, Acc acc\n"
    "  pranet              pranet.: meanDic dice_mean, meanIoU iou_mean, wFm wfm, Sm sm_matlab_rounding, meanEm "
    "em_mean,\n"
    "                      MAE mae, maxEm em_max, maxDice dice_max, maxIoU iou_max, meanSen sen_mean, maxSen sen_max,\n"
    "                      meanSpe spe_mean, maxSpe spe_max\n"
    "  labels              layers.NAME.: Dice dice, IoU iou; .\"Y,X\".: MED med, top med_top, bottom med_bottom,\n"
    "                      HD95 surface_hd95_medpy, ASD surface_assd_medpy\n"
    "  clips               clips.mean and clips.clips[].numbers, by --group-separator\n"
    "  differences         of several folders: differences[].numbers.KEY.difference, .low, .high; sets[].scores is "
    "what\n"
    "                      the JSON of one folder holds\n"
    "Of the set, curves are averaged over images before their mean and maximum are taken.\n"
    "Exit status: 0 done, 1 something failed and the rest was done, 2 the command line makes no sense.\n";

enum {
    OPTION_JSON = 1,
    OPTION_CSV,
    OPTION_HTML,
    OPTION_IMAGES,
    OPTION_CASES,
    OPTION_NAME,
    OPTION_RESAMPLES,
    OPTION_SEED,
    OPTION_PROFILE,
    OPTION_EMPTY,
    OPTION_SPACING,
    OPTION_CONNECTIVITY,
    OPTION_PENALTY,
    OPTION_NO_SURFACE,
    OPTION_RESIZE,
    OPTION_SUFFIX,
    OPTION_FOLDS,
    OPTION_GROUP_SEPARATOR,
    OPTION_LABELS,
    OPTION_QUIET
};

static const struct option option_table[] = { { "json", required_argument, NULL, OPTION_JSON },
                                              { "csv", required_argument, NULL, OPTION_CSV },
                                              { "html", required_argument, NULL, OPTION_HTML },
                                              { "images", required_argument, NULL, OPTION_IMAGES },
                                              { "cases", required_argument, NULL, OPTION_CASES },
                                              { "name", required_argument, NULL, OPTION_NAME },
                                              { "resamples", required_argument, NULL, OPTION_RESAMPLES },
                                              { "seed", required_argument, NULL, OPTION_SEED },
                                              { "profile", required_argument, NULL, OPTION_PROFILE },
                                              { "empty", required_argument, NULL, OPTION_EMPTY },
                                              { "spacing", required_argument, NULL, OPTION_SPACING },
                                              { "connectivity", required_argument, NULL, OPTION_CONNECTIVITY },
                                              { "penalty", no_argument, NULL, OPTION_PENALTY },
                                              { "no-surface", no_argument, NULL, OPTION_NO_SURFACE },
                                              { "resize", no_argument, NULL, OPTION_RESIZE },
                                              { "suffix", required_argument, NULL, OPTION_SUFFIX },
                                              { "folds", required_argument, NULL, OPTION_FOLDS },
                                              { "group-separator", required_argument, NULL, OPTION_GROUP_SEPARATOR },
                                              { "labels", required_argument, NULL, OPTION_LABELS },
                                              RUN_OPTION_ROWS,
                                              VIEW_OPTION_ROWS,
                                              { "quiet", no_argument, NULL, OPTION_QUIET },
                                              COMMON_OPTION_ROWS,
                                              { NULL, 0, NULL, 0 } };

double spacing_y(const settings *set, int32_t index)
{
    return set->options.spacing_count == 0 ? 1.0 : set->spacings[2 * index];
}

double spacing_x(const settings *set, int32_t index)
{
    return set->options.spacing_count == 0 ? 1.0 : set->spacings[2 * index + 1];
}

/* ---- Options -------------------------------------------------------------- */

static bool parse_word(const char *option, const char *text, const char *const *words, int count, int *index)
{
    for (*index = 0; *index < count; (*index)++) {
        if (strcmp(text, words[*index]) == 0) {
            return true;
        }
    }
    complain("%s: expected %s, %s or %s, got \"%s\"", option, words[0], words[1], words[2], text);
    return false;
}

/* "rnfl=0,gcipl=80" */
static bool parse_labels(const char *text, settings *set)
{
    char *rest;

    free(set->label_text);
    set->label_text = format_text("%s", text);
    set->options.label_count = 0;
    for (char *entry = strtok_r(set->label_text, ",", &rest); entry != NULL; entry = strtok_r(NULL, ",", &rest)) {
        char *value = strchr(entry, '=');
        int64_t number;
        int32_t count = set->options.label_count;

        if (value == NULL || value == entry) {
            complain("--labels: expected NAME=VALUE, got \"%s\"", entry);
            return false;
        }
        *value++ = '\0';
        if (!parse_integer("--labels", value, 0, 255, &number)) {
            return false;
        }
        if (count == M2SNET_MAX_LABELS) {
            complain("--labels: more than %d", M2SNET_MAX_LABELS);
            return false;
        }
        set->labels[count] = (uint8_t)number;
        set->label_names[count] = entry;
        set->options.label_count++;
    }
    if (set->options.label_count == 0) {
        complain("--labels: expected NAME=VALUE,...");
        return false;
    }
    return true;
}

static bool parse_spacing(const char *text, settings *set)
{
    int32_t count = set->options.spacing_count;

    if (count == M2SNET_MAX_SPACINGS) {
        complain("--spacing: more than %d", M2SNET_MAX_SPACINGS);
        return false;
    }
    set->options.spacing_count++;
    return parse_pair("--spacing", text, &set->spacings[2 * count], &set->spacings[2 * count + 1]);
}

static bool parse_option(int option, settings *set)
{
    static const char *const profiles[] = { "default", "authors", "pranet" };
    static const char *const policies[] = { "zero", "skip", "one" };
    int64_t number;
    int index;

    switch (option) {
    case OPTION_JSON:
        set->json = optarg;
        return true;
    case OPTION_CSV:
        set->csv = optarg;
        return true;
    case OPTION_HTML:
        set->html = optarg;
        return true;
    case OPTION_IMAGES:
        set->images = optarg;
        return true;
    case OPTION_CASES:
        if (!parse_integer("--cases", optarg, 0, 100, &number)) {
            return false;
        }
        set->cases = (int32_t)number;
        return set->cases_given = true;
    case OPTION_NAME:
        if (set->name_count == MAX_SETS) {
            complain("--name: more than %d", MAX_SETS);
            return false;
        }
        set->names[set->name_count++] = optarg;
        return true;
    case OPTION_RESAMPLES:
        if (!parse_integer("--resamples", optarg, 100, 1000000, &number)) {
            return false;
        }
        set->compare.resamples = (int32_t)number;
        return set->compare_given = true;
    case OPTION_SEED:
        if (!parse_integer("--seed", optarg, 0, INT64_MAX, &number)) {
            return false;
        }
        set->compare.seed = (uint64_t)number;
        return set->compare_given = true;
    case OPTION_PROFILE:
        if (!parse_word("--profile", optarg, profiles, 3, &index)) {
            return false;
        }
        set->options.profile = (m2snet_profile)index;
        return true;
    case OPTION_EMPTY:
        if (!parse_word("--empty", optarg, policies, 3, &index)) {
            return false;
        }
        set->options.empty = (m2snet_empty)index;
        return true;
    case OPTION_SPACING:
        return parse_spacing(optarg, set);
    case OPTION_CONNECTIVITY:
        if (!parse_integer("--connectivity", optarg, 1, 2, &number)) {
            return false;
        }
        set->options.connectivity = (int32_t)number;
        return true;
    case OPTION_PENALTY:
        set->options.surface_penalty = 1;
        return true;
    case OPTION_NO_SURFACE:
        set->options.without_surface = 1;
        return true;
    case OPTION_SUFFIX:
        set->suffix = optarg;
        return true;
    case OPTION_RESIZE:
        set->options.resize_prediction = 1;
        return true;
    case OPTION_FOLDS:
        if (!parse_integer("--folds", optarg, 0, 1000, &number)) {
            return false;
        }
        set->folds = (int32_t)number;
        if (number == 1) {
            complain("--folds: expected 0, or 2 and more");
        }
        return number != 1;
    case OPTION_GROUP_SEPARATOR:
        set->group_separator = optarg;
        return optarg[0] != '\0' || (complain("--group-separator: expected a text"), false);
    case OPTION_LABELS:
        return parse_labels(optarg, set);
    case OPTION_QUIET:
        return set->quiet = true;
    case OPTION_PRECISION:
        set->precision_given = true;
        break;
    default:
        break;
    }
    return parse_view_option(option, optarg, &set->run, &set->views);
}

/* False after a complaint. */
static bool options_fit(const settings *set, int sets)
{
    if (sets < 1) {
        return usage_error("expected folders or files, PREDICTIONS and MASKS; got %d", sets + 1) == EXIT_DONE;
    }
    if (sets > MAX_SETS) {
        return usage_error("%d folders of predictions: at most %d", sets, MAX_SETS) == EXIT_DONE;
    }
    if (set->run.model != NULL && sets > 1) {
        return usage_error("--model takes the place of PREDICTIONS: expected IMAGES and MASKS") == EXIT_DONE;
    }
    if (check_view_options(&set->views) != EXIT_DONE) {
        return false;
    }
    if (has_views(&set->views) && set->run.model == NULL) {
        return usage_error("--tiles and --mirror go with --model") == EXIT_DONE;
    }
    if ((set->views.size || set->precision_given) && set->run.model == NULL) {
        return usage_error("--size and --precision are of a network: they go with --model") == EXIT_DONE;
    }
    if ((set->cases_given || set->images != NULL) && set->html == NULL) {
        return usage_error("--cases and --images are of the page: they go with --html") == EXIT_DONE;
    }
    if (set->compare_given && sets < 2) {
        return usage_error("--resamples and --seed are of differences: they go with several folders") == EXIT_DONE;
    }
    if (set->options.without_surface && (set->options.spacing_count > 0 || set->options.surface_penalty)) {
        return usage_error("--no-surface leaves distances out: --spacing and --penalty do not go with it") == EXIT_DONE;
    }
    if (set->suffix != NULL && set->run.model != NULL) {
        return usage_error("--suffix is of predictions, and --model makes them") == EXIT_DONE;
    }
    if (set->name_count > sets) {
        return usage_error("--name: %d names for %d folders of predictions", set->name_count, sets) == EXIT_DONE;
    }
    if (set->options.label_count == 0) {
        return true;
    }
    if (set->group_separator != NULL) {
        return usage_error("--group-separator does not go with --labels") == EXIT_DONE;
    }
    if (sets > 1) {
        return usage_error("--labels goes with one folder of predictions") == EXIT_DONE;
    }
    if (set->csv != NULL || set->html != NULL) {
        return usage_error("--csv and --html do not go with --labels: the classes are in --json") == EXIT_DONE;
    }
    if (set->options.resize_prediction) {
        return usage_error("--resize does not go with --labels: label values are names") == EXIT_DONE;
    }
    return true;
}

/* ---- Files ---------------------------------------------------------------- */

/* The folder's or the model's own name; told apart from earlier ones by the whole path or a number. */
static char *name_set(const evaluation *all, const char *folder, int index)
{
    char *path;
    char *name;

    if (index < all->set->name_count) {
        return format_text("%s", all->set->names[index]);
    }
    path = format_text("%s", all->set->run.model != NULL ? all->set->run.model : folder);
    for (size_t end = strlen(path); end > 1 && path[end - 1] == '/'; end--) {
        path[end - 1] = '\0';
    }
    name = format_text("%s", file_name(path));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < index; i++) {
            if (strcmp(all->sets[i].name, name) == 0) {
                free(name);
                name = round == 0 ? format_text("%s", path) : format_text("%s (%d)", path, index + 1);
                break;
            }
        }
    }
    free(path);
    return name;
}

static bool collect_sets(evaluation *all, char *const *arguments)
{
    const char *masks = arguments[all->count];

    for (int i = 0; i < all->count; i++) {
        all->sets[i].folder = arguments[i];
        all->sets[i].name = name_set(all, arguments[i], i);
        if (!collect_pairs(arguments[i], masks, all->set->suffix, &all->sets[i].pairs)) {
            return false;
        }
    }
    return true;
}

static void add_output(output_list *outputs, const char *path)
{
    if (path != NULL) {
        output_list_add(outputs, format_text("%s", path), 0);
    }
}

static bool outputs_are_safe(const evaluation *all)
{
    const settings *set = all->set;
    path_list inputs = { 0 };
    output_list outputs = { 0 };
    bool safe;

    for (int k = 0; k < all->count; k++) {
        const pair_list *list = &all->sets[k].pairs;

        for (size_t i = 0; i < list->names.count; i++) {
            char *picture = set->images != NULL ? find_same_stem(set->images, list->masks.items[i]) : NULL;

            path_list_add(&inputs, format_text("%s", list->predictions.items[i]));
            path_list_add(&inputs, format_text("%s", list->masks.items[i]));
            if (picture != NULL) {
                path_list_add(&inputs, picture);
            }
        }
    }
    if (set->run.model != NULL) {
        path_list_add(&inputs, format_text("%s", set->run.model));
    }
    for (int i = 0; i < set->views.model_count; i++) {
        path_list_add(&inputs, format_text("%s", set->views.models[i]));
    }
    add_output(&outputs, set->json);
    add_output(&outputs, set->csv);
    add_output(&outputs, set->html);
    safe = outputs.paths.count == 0 || check_outputs(&inputs, &outputs);
    path_list_free(&inputs);
    output_list_free(&outputs);
    return safe;
}

/* ---- Running -------------------------------------------------------------- */

static int report(const evaluation *all)
{
    const settings *set = all->set;
    comparison_list comparisons = { 0 };
    m2snet_error error;
    bool fine = true;

    print_problems(all);
    if (compare_sets(all, &comparisons, &error) != M2SNET_STATUS_OK) {
        return library_error(NULL, &error);
    }
    if (!set->quiet) {
        print_tables(all, &comparisons);
    }
    fine = (set->json == NULL || write_json(all, &comparisons)) && fine;
    fine = (set->csv == NULL || write_csv(all)) && fine;
    fine = (set->html == NULL || write_page(all, &comparisons)) && fine;
    for (int i = 0; i < all->count; i++) {
        fine = fine && all->sets[i].failed == 0 && all->sets[i].pairs.unmatched.count == 0;
    }
    return fine ? EXIT_DONE : EXIT_FAILED;
}

static int run(settings *set, int sets, char *const *arguments)
{
    evaluation all = { .set = set, .count = sets };
    m2snet_error error;
    int code;

    set->options.spacings_mm = set->spacings;
    if (set->options.label_count > 0) {
        set->options.labels = set->labels;
        set->options.label_names = set->label_names;
    }
    if (!collect_sets(&all, arguments)) {
        code = EXIT_FAILED;
    } else if (!outputs_are_safe(&all)) {
        code = EXIT_USAGE;
    } else {
        all.cancel = interrupt_install();
        code = score_sets(&all, &error) != M2SNET_STATUS_OK ? library_error(NULL, &error) : report(&all);
        interrupt_remove(all.cancel);
    }
    for (int i = 0; i < sets; i++) {
        m2snet_evaluator_destroy(all.sets[i].evaluator);
        pair_list_free(&all.sets[i].pairs);
        free(all.sets[i].name);
    }
    close_views(&all.views);
    m2snet_session_destroy(all.session);
    m2snet_context_destroy(all.context);
    return code;
}

int main(int argc, char **argv)
{
    settings set = { .folds = 4, .cases = 4 };
    int option;
    int code;

    m2snet_evaluator_options_init(&set.options);
    m2snet_compare_options_init(&set.compare);
    while ((option = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
        if (option == OPTION_HELP || option == OPTION_VERSION) {
            if (option == OPTION_HELP) {
                fputs(help, stdout);
            } else {
                print_version();
            }
            free(set.label_text);
            return finish(EXIT_DONE);
        }
        if (!parse_option(option, &set)) {
            free(set.label_text);
            return usage_hint();
        }
    }
    code = options_fit(&set, argc - optind - 1) ? run(&set, argc - optind - 1, argv + optind) : EXIT_USAGE;
    free(set.label_text);
    return finish(code);
}
