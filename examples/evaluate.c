/* SPDX-License-Identifier: Apache-2.0
 *
 * m2snet-evaluate: predictions against masks, with the metrics of the papers. */
#define _GNU_SOURCE 1
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/args.h"
#include "common/paths.h"
#include "common/progress_bar.h"
#include "common/timing.h"
#include "m2snet.h"

const char *const program_name = "m2snet-evaluate";

static const char help[] =
    "Usage: m2snet-evaluate [OPTION...] PREDICTIONS MASKS\n"
    "       m2snet-evaluate --model FILE [OPTION...] IMAGES MASKS\n"
    "Scores 8-bit probability maps or masks, of any program, against masks. Two folders of PNG or JPEG files matched "
    "by\n"
    "stem (a.jpg belongs to a.png), or two files. docs/metrics.md has every definition.\n"
    "Not a medical device.\n\n"
    "  --json FILE         everything: \"images\" and \"dataset\" with the keys below, null where undefined\n"
    "  --csv FILE          one line an image, and the set's in the last\n"
    "  --profile P         default, authors (adds the published test script's numbers) or pranet (adds what the\n"
    "                      PraNet protocol prints)\n"
    "  --empty P           images with an empty mask: zero (default), skip (left out of all means), one (1 where the\n"
    "                      prediction is empty too)\n"
    "  --spacing Y,X       pixel size in mm for the distances; repeatable; default 1.0,1.0\n"
    "  --connectivity N    of borders: 1 (default, four neighbours) or 2 (eight)\n"
    "  --penalty           distances are the image's diagonal where one side is empty, 0 where both are; default:\n"
    "                      undefined and counted\n"
    "  --no-surface        no distances\n"
    "  --resize            bring predictions of another size to the mask's; default: refused\n"
    "  --folds K           cross-validation: pair i belongs to fold i mod K; default 4, 0 none\n"
    "  --labels LIST       label maps: NAME=VALUE,... scores each class and its boundaries, such as\n"
    "                      rnfl=0,gcipl=80,choroid=160\n"
    "Pictures instead of predictions: the model's probability maps are scored.\n" RUN_OPTION_HELP
    "  --quiet             only errors\n" COMMON_OPTION_HELP "\n"
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
    "  HD, HD95, ASD       surface[\"Y,X\"].hd, .hd95, .assd; p>g, g>p: .asd_pred_to_gt, .asd_gt_to_pred; "
    ".hd95_maxdir\n"
    "  pooled              dataset.pooled: from tp fp fn tn summed over images\n"
    "Of the set, curves are averaged over images before their mean and maximum are taken.\n"
    "Exit status: 0 done, 1 something failed and the rest was done, 2 the command line makes no sense.\n";

enum {
    OPTION_JSON = 1,
    OPTION_CSV,
    OPTION_PROFILE,
    OPTION_EMPTY,
    OPTION_SPACING,
    OPTION_CONNECTIVITY,
    OPTION_PENALTY,
    OPTION_NO_SURFACE,
    OPTION_RESIZE,
    OPTION_FOLDS,
    OPTION_LABELS,
    OPTION_QUIET
};

static const struct option option_table[] = { { "json", required_argument, NULL, OPTION_JSON },
                                              { "csv", required_argument, NULL, OPTION_CSV },
                                              { "profile", required_argument, NULL, OPTION_PROFILE },
                                              { "empty", required_argument, NULL, OPTION_EMPTY },
                                              { "spacing", required_argument, NULL, OPTION_SPACING },
                                              { "connectivity", required_argument, NULL, OPTION_CONNECTIVITY },
                                              { "penalty", no_argument, NULL, OPTION_PENALTY },
                                              { "no-surface", no_argument, NULL, OPTION_NO_SURFACE },
                                              { "resize", no_argument, NULL, OPTION_RESIZE },
                                              { "folds", required_argument, NULL, OPTION_FOLDS },
                                              { "labels", required_argument, NULL, OPTION_LABELS },
                                              RUN_OPTION_ROWS,
                                              { "quiet", no_argument, NULL, OPTION_QUIET },
                                              COMMON_OPTION_ROWS,
                                              { NULL, 0, NULL, 0 } };

typedef struct settings {
    run_options run;
    m2snet_evaluator_options options;
    double spacings[2 * M2SNET_MAX_SPACINGS];
    char *label_text; /* names lie in it */
    uint8_t labels[M2SNET_MAX_LABELS];
    const char *label_names[M2SNET_MAX_LABELS];
    const char *json, *csv;
    int32_t folds;
    bool quiet;
} settings;

/* ---- Pairs --------------------------------------------------------------- */

typedef struct pair_list {
    path_list names, predictions, masks;
    size_t unmatched;
} pair_list;

static void pair_list_free(pair_list *list)
{
    path_list_free(&list->names);
    path_list_free(&list->predictions);
    path_list_free(&list->masks);
}

static char *stem_of(const char *path)
{
    const char *name = file_name(path);
    const char *dot = strrchr(name, '.');

    return format_text("%.*s", (int)(dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name)), name);
}

/* A file by its stem. */
typedef struct stemmed {
    char *stem;
    const char *path;
    bool used;
} stemmed;

static int compare_stems(const void *left, const void *right)
{
    return strcmp(((const stemmed *)left)->stem, ((const stemmed *)right)->stem);
}

static stemmed *sort_by_stem(const path_list *paths)
{
    stemmed *sorted = must_alloc(paths->count * sizeof(*sorted));

    for (size_t i = 0; i < paths->count; i++) {
        sorted[i] = (stemmed){ .stem = stem_of(paths->items[i]), .path = paths->items[i] };
    }
    qsort(sorted, paths->count, sizeof(*sorted), compare_stems);
    return sorted;
}

/* Files of one folder that share a stem cannot be told apart: all of them are left out. */
static void drop_ambiguous(stemmed *sorted, size_t count, pair_list *list)
{
    for (size_t i = 0; i < count;) {
        size_t end = i + 1;

        while (end < count && compare_stems(&sorted[i], &sorted[end]) == 0) {
            end++;
        }
        for (size_t k = i; end - i > 1 && k < end; k++) {
            complain("%s: another file of this folder has the stem \"%s\" too", sorted[k].path, sorted[k].stem);
            sorted[k].used = true;
            list->unmatched += k == i;
        }
        i = end;
    }
}

static void match_files(const path_list *predictions, const path_list *masks, pair_list *list)
{
    stemmed *left = sort_by_stem(predictions);
    stemmed *right = sort_by_stem(masks);

    drop_ambiguous(left, predictions->count, list);
    drop_ambiguous(right, masks->count, list);
    for (size_t i = 0; i < masks->count; i++) {
        stemmed *partner = bsearch(&right[i], left, predictions->count, sizeof(*left), compare_stems);

        if (partner == NULL && !right[i].used) {
            complain("%s: no prediction of this stem", right[i].path);
            list->unmatched++;
        } else if (partner != NULL && !partner->used && !right[i].used) {
            path_list_add(&list->names, format_text("%s", right[i].stem));
            path_list_add(&list->predictions, format_text("%s", partner->path));
            path_list_add(&list->masks, format_text("%s", right[i].path));
            partner->used = true;
        } else if (partner != NULL) {
            partner->used = true; /* one side is ambiguous, which was said */
        }
    }
    for (size_t i = 0; i < predictions->count; i++) {
        if (!left[i].used) {
            complain("%s: no mask of this stem", left[i].path);
            list->unmatched++;
        }
        free(left[i].stem);
    }
    for (size_t i = 0; i < masks->count; i++) {
        free(right[i].stem);
    }
    free(left);
    free(right);
}

/* False after a complaint: there is nothing to score. */
static bool collect_pairs(const char *predictions, const char *masks, pair_list *list)
{
    path_list left = { 0 };
    path_list right = { 0 };
    bool there = collect_pictures(predictions, &left);

    there = collect_pictures(masks, &right) && there;
    if (there && left.count == 1 && right.count == 1 && strcmp(left.items[0], predictions) == 0 &&
        strcmp(right.items[0], masks) == 0) { /* two files belong together, whatever they are called */
        path_list_add(&list->names, stem_of(masks));
        path_list_add(&list->predictions, format_text("%s", predictions));
        path_list_add(&list->masks, format_text("%s", masks));
    } else if (there) {
        match_files(&left, &right, list);
        if (list->names.count == 0) {
            complain("no pair of equal stems in %s and %s", predictions, masks);
            there = false;
        }
    }
    path_list_free(&left);
    path_list_free(&right);
    return there;
}

/* ---- Table --------------------------------------------------------------- */

typedef struct column {
    const char *name;
    double value;
} column;

static void print_columns(const char *title, const column *columns, size_t count)
{
    printf("\n%s\n", title);
    for (size_t i = 0; i < count; i++) {
        printf(" %8s", columns[i].name);
    }
    putchar('\n');
    for (size_t i = 0; i < count; i++) {
        if (isnan(columns[i].value)) {
            printf(" %8s", "-");
        } else {
            printf(" %8.*f", columns[i].value < 100.0 ? 4 : 2, columns[i].value);
        }
    }
    putchar('\n');
}
#define PRINT_COLUMNS(title, columns) print_columns((title), (columns), sizeof(columns) / sizeof((columns)[0]))

static void print_overlap(const m2snet_scores *s, const m2snet_set_info *info)
{
    const column sweep[] = { { "mDice", s->dice_mean },  { "mIoU", s->iou_mean },
                             { "wFm", s->wfm },          { "Sm", s->sm },
                             { "maxEm", s->em_max },     { "MAE", s->mae },
                             { "maxDice", s->dice_max }, { "maxIoU", s->iou_max } };
    const column more[] = { { "meanEm", s->em_mean }, { "adpEm", s->em_adp },  { "maxFm", s->fm_max },
                            { "meanFm", s->fm_mean }, { "adpFm", s->fm_adp },  { "mPre", s->pre_mean },
                            { "mSen", s->rec_mean },  { "mSpe", s->spec_mean } };
    const column fixed[] = { { "Dice", s->dice },  { "IoU", s->iou },         { "Pre", s->precision },
                             { "Rec", s->recall }, { "Spe", s->specificity }, { "Acc", s->accuracy },
                             { "BER", s->ber } };
    const column pooled[] = { { "Dice", info->pooled_dice },
                              { "IoU", info->pooled_iou },
                              { "Pre", info->pooled_precision },
                              { "Rec", info->pooled_recall },
                              { "Spe", info->pooled_specificity } };

    PRINT_COLUMNS("Over 256 thresholds, x stretched to 0..1 (PraNet protocol)", sweep);
    PRINT_COLUMNS("The same, other summaries", more);
    PRINT_COLUMNS("At x > 0.5, mean over images", fixed);
    PRINT_COLUMNS("At x > 0.5, pixels of all images pooled", pooled);
}

static void print_profile(const settings *set, const m2snet_scores *s)
{
    if (set->options.profile == M2SNET_PROFILE_AUTHORS) {
        const column authors[] = { { "MAE", s->authors_mae },
                                   { "maxF", s->authors_fm_max },
                                   { "avgF", s->authors_fm_adp },
                                   { "Sm", s->authors_sm },
                                   { "Em", s->authors_em },
                                   { "wfm", s->authors_wfm },
                                   { "M_dice", s->authors_dice_soft },
                                   { "M_iou", s->authors_iou },
                                   { "Ber", s->authors_ber },
                                   { "Acc", s->authors_acc } };

        PRINT_COLUMNS("Profile authors: the published test script (soft Dice, adaptive E)", authors);
    } else if (set->options.profile == M2SNET_PROFILE_PRANET) {
        const column pranet[] = {
            { "meanDic", s->dice_mean },     { "meanIoU", s->iou_mean }, { "wFm", s->wfm },
            { "Sm", s->sm_matlab_rounding }, { "meanEm", s->em_mean },   { "MAE", s->mae },
            { "maxEm", s->em_max },          { "maxDice", s->dice_max }, { "maxIoU", s->iou_max },
            { "meanSen", s->rec_mean },      { "maxSen", s->rec_max },   { "meanSpe", s->spec_pranet_mean },
            { "maxSpe", s->spec_pranet_max }
        };

        PRINT_COLUMNS("Profile pranet", pranet);
    }
}

static void print_surfaces(const settings *set, const m2snet_scores *s, int32_t counted)
{
    for (int32_t i = 0; i < s->surface_count; i++) {
        const m2snet_surface_scores *d = &s->surface[i];
        const column columns[] = { { "HD", d->hd },
                                   { "HD95", d->hd95 },
                                   { "ASD", d->assd },
                                   { "p>g", d->asd_pred_to_gt },
                                   { "g>p", d->asd_gt_to_pred },
                                   { "HD95dir", d->hd95_maxdir } };
        char *title = set->options.spacing_count == 0 ? format_text("Surface distances, pixels")
                                                      : format_text("Surface distances, mm, spacing %g,%g",
                                                                    set->spacings[2 * i], set->spacings[2 * i + 1]);

        PRINT_COLUMNS(title, columns);
        free(title);
    }
    if (s->surface_undefined > 0) {
        printf(" of %d images; undefined for %d more, where a side is empty\n", counted - s->surface_undefined,
               s->surface_undefined);
    }
}

static void print_folds(const settings *set, const m2snet_evaluator *evaluator, int32_t counted)
{
    m2snet_scores mean = { .struct_size = sizeof(mean) };
    m2snet_scores deviation = { .struct_size = sizeof(deviation) };

    if (set->folds < 2 || set->folds > counted ||
        m2snet_evaluator_folds(evaluator, set->folds, 0, &mean, &deviation, NULL) != M2SNET_STATUS_OK) {
        return;
    }
    printf("\n%d folds, mean +- standard deviation of the folds' means (divisor %d)\n", set->folds, set->folds);
    printf(" Dice %.4f +- %.4f   IoU %.4f +- %.4f   Pre %.4f +- %.4f   Rec %.4f +- %.4f\n", mean.dice, deviation.dice,
           mean.iou, deviation.iou, mean.precision, deviation.precision, mean.recall, deviation.recall);
    if (mean.surface_count > 0 && !isnan(mean.surface[0].assd)) {
        printf(" HD95 %.4f +- %.4f   ASD %.4f +- %.4f\n", mean.surface[0].hd95, deviation.surface[0].hd95,
               mean.surface[0].assd, deviation.surface[0].assd);
    }
}

static void print_labels(const settings *set, const m2snet_evaluator *evaluator)
{
    for (int32_t i = 0; i < set->options.label_count; i++) {
        m2snet_label_scores s = { .struct_size = sizeof(s) };

        if (m2snet_evaluator_set_label(evaluator, i, &s, NULL) != M2SNET_STATUS_OK) {
            continue;
        }
        printf("\n%s: Dice %.4f, IoU %.4f\n", set->label_names[i], s.dice, s.iou);
        for (int32_t k = 0; k < s.surface_count; k++) {
            char *title = format_text(" boundaries and surfaces, spacing %g,%g",
                                      set->options.spacing_count == 0 ? 1.0 : set->spacings[2 * k],
                                      set->options.spacing_count == 0 ? 1.0 : set->spacings[2 * k + 1]);
            const column columns[] = { { "MED", s.spacing[k].med },
                                       { "top", s.spacing[k].med_top },
                                       { "bottom", s.spacing[k].med_bottom },
                                       { "HD95", s.spacing[k].surface.hd95 },
                                       { "ASD", s.spacing[k].surface.assd } };

            PRINT_COLUMNS(title, columns);
            free(title);
        }
        if (s.boundary_undefined > 0 || s.surface_undefined > 0) {
            printf(" undefined: boundaries of %d images, surfaces of %d\n", s.boundary_undefined, s.surface_undefined);
        }
    }
}

static void print_set(const settings *set, const m2snet_evaluator *evaluator, const pair_list *pairs, int32_t failed)
{
    m2snet_set_info info = { .struct_size = sizeof(info) };
    m2snet_scores scores = { .struct_size = sizeof(scores) };

    if (set->quiet || m2snet_evaluator_set_info(evaluator, &info, NULL) != M2SNET_STATUS_OK) {
        return;
    }
    printf("%d pairs scored, %d failed, %zu without a partner\n", info.scored, failed, pairs->unmatched);
    if (set->options.label_count > 0) {
        print_labels(set, evaluator);
        return;
    }
    printf("empty masks: %d (%s), empty predictions: %d, both: %d\n", info.empty_masks,
           set->options.empty == M2SNET_EMPTY_SKIP  ? "left out of all means"
           : set->options.empty == M2SNET_EMPTY_ONE ? "1 where the prediction is empty too"
                                                    : "overlap counts as 0",
           info.empty_predictions, info.both_empty);
    if (info.counted == 0 || m2snet_evaluator_set_scores(evaluator, &scores, NULL) != M2SNET_STATUS_OK) {
        printf("no image counts: there is no mean\n");
        return;
    }
    print_overlap(&scores, &info);
    print_profile(set, &scores);
    print_surfaces(set, &scores, info.counted);
    print_folds(set, evaluator, info.counted);
}

/* ---- Files --------------------------------------------------------------- */

typedef struct text_buffer {
    FILE *stream;
    char *text;
    size_t bytes;
} text_buffer;

static bool write_json(const settings *set, m2snet_evaluator *evaluator)
{
    const char *json;
    m2snet_error error;

    if (m2snet_evaluator_json(evaluator, set->folds, &json, &error) != M2SNET_STATUS_OK) {
        library_error(set->json, &error);
        return false;
    }
    return write_whole_file(set->json, NULL, 0, json, strlen(json));
}

static void csv_text(FILE *stream, const char *text)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, stream);
        return;
    }
    fputc('"', stream);
    for (; *text != '\0'; text++) {
        if (*text == '"') {
            fputc('"', stream);
        }
        fputc(*text, stream);
    }
    fputc('"', stream);
}

static void csv_number(FILE *stream, double value)
{
    if (isnan(value)) {
        fputc(',', stream); /* undefined: an empty cell */
    } else {
        fprintf(stream, ",%.17g", value);
    }
}

static void csv_header(FILE *stream, const settings *set, int32_t surfaces)
{
    static const char *const distances[] = { "hd", "hd95", "assd", "asd_pred_to_gt", "asd_gt_to_pred", "hd95_maxdir" };

    fputs("name,tp,fp,fn,tn,dice_mean,iou_mean,wfm,sm,em_max,em_mean,em_adp,mae,dice_max,iou_max,fm_max,fm_mean,fm_adp,"
          "dice,iou,precision,recall,specificity,accuracy,ber",
          stream);
    for (int32_t i = 0; i < surfaces; i++) {
        double y = set->options.spacing_count == 0 ? 1.0 : set->spacings[2 * i];
        double x = set->options.spacing_count == 0 ? 1.0 : set->spacings[2 * i + 1];

        for (size_t k = 0; k < sizeof(distances) / sizeof(distances[0]); k++) {
            fprintf(stream, ",%s %g x %g", distances[k], y, x);
        }
    }
    if (set->options.profile == M2SNET_PROFILE_AUTHORS) {
        fputs(",authors_mae,authors_fm_max,authors_fm_adp,authors_sm,authors_em,authors_wfm,authors_dice_soft,"
              "authors_iou,authors_ber,authors_acc",
              stream);
    } else if (set->options.profile == M2SNET_PROFILE_PRANET) {
        fputs(",sm_matlab_rounding,rec_mean,rec_max,spec_pranet_mean,spec_pranet_max", stream);
    }
    fputc('\n', stream);
}

static void csv_line(FILE *stream, const settings *set, const char *name, const m2snet_scores *s)
{
    const double numbers[] = { s->dice_mean, s->iou_mean, s->wfm,         s->sm,       s->em_max,
                               s->em_mean,   s->em_adp,   s->mae,         s->dice_max, s->iou_max,
                               s->fm_max,    s->fm_mean,  s->fm_adp,      s->dice,     s->iou,
                               s->precision, s->recall,   s->specificity, s->accuracy, s->ber };
    const double authors[] = {
        s->authors_mae, s->authors_fm_max,    s->authors_fm_adp, s->authors_sm,  s->authors_em,
        s->authors_wfm, s->authors_dice_soft, s->authors_iou,    s->authors_ber, s->authors_acc
    };
    const double pranet[] = { s->sm_matlab_rounding, s->rec_mean, s->rec_max, s->spec_pranet_mean, s->spec_pranet_max };

    csv_text(stream, name);
    fprintf(stream, ",%lld,%lld,%lld,%lld", (long long)s->tp, (long long)s->fp, (long long)s->fn, (long long)s->tn);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        csv_number(stream, numbers[i]);
    }
    for (int32_t i = 0; i < s->surface_count; i++) {
        const m2snet_surface_scores *d = &s->surface[i];
        const double distances[] = { d->hd, d->hd95, d->assd, d->asd_pred_to_gt, d->asd_gt_to_pred, d->hd95_maxdir };

        for (size_t k = 0; k < sizeof(distances) / sizeof(distances[0]); k++) {
            csv_number(stream, distances[k]);
        }
    }
    for (size_t i = 0; set->options.profile == M2SNET_PROFILE_AUTHORS && i < sizeof(authors) / sizeof(authors[0]);
         i++) {
        csv_number(stream, authors[i]);
    }
    for (size_t i = 0; set->options.profile == M2SNET_PROFILE_PRANET && i < sizeof(pranet) / sizeof(pranet[0]); i++) {
        csv_number(stream, pranet[i]);
    }
    fputc('\n', stream);
}

static bool write_csv(const settings *set, const m2snet_evaluator *evaluator)
{
    text_buffer csv = { 0 };
    m2snet_scores scores = { .struct_size = sizeof(scores) };
    int32_t surfaces = set->options.without_surface      ? 0
                       : set->options.spacing_count == 0 ? 1
                                                         : set->options.spacing_count;
    bool written = false;

    csv.stream = open_memstream(&csv.text, &csv.bytes);
    if (csv.stream == NULL) {
        complain("%s: out of memory", set->csv);
        return false;
    }
    csv_header(csv.stream, set, surfaces);
    for (int32_t i = 0; i < m2snet_evaluator_count(evaluator); i++) {
        if (m2snet_evaluator_image_scores(evaluator, i, &scores, NULL) == M2SNET_STATUS_OK) {
            csv_line(csv.stream, set, m2snet_evaluator_name(evaluator, i), &scores);
        }
    }
    if (m2snet_evaluator_set_scores(evaluator, &scores, NULL) == M2SNET_STATUS_OK) {
        csv_line(csv.stream, set, "(set)", &scores);
    }
    if (fclose(csv.stream) != 0) {
        complain("%s: out of memory", set->csv);
    } else {
        written = write_whole_file(set->csv, NULL, 0, csv.text, csv.bytes);
    }
    free(csv.text);
    return written;
}

/* ---- Running ------------------------------------------------------------- */

static int on_progress(void *user, const m2snet_progress *progress)
{
    progress_bar *bar = user;

    while (bar->done < progress->done && bar->done < bar->total) {
        progress_bar_step(bar);
    }
    return 0;
}

/* Names every pair that failed or is suspicious. */
static void print_problems(const m2snet_evaluator *evaluator)
{
    m2snet_scores scores = { .struct_size = sizeof(scores) };
    m2snet_label_scores label = { .struct_size = sizeof(label) };

    for (int32_t i = 0; i < m2snet_evaluator_count(evaluator); i++) {
        m2snet_error error;
        m2snet_status status = m2snet_evaluator_image_scores(evaluator, i, &scores, &error);

        if (status == M2SNET_STATUS_UNSUPPORTED) {
            status = m2snet_evaluator_image_label(evaluator, i, 0, &label, &error);
        }
        if (status != M2SNET_STATUS_OK) {
            complain("%s", error.message);
        } else if (m2snet_evaluator_warning(evaluator, i) != NULL) {
            complain("warning: %s: %s", m2snet_evaluator_name(evaluator, i), m2snet_evaluator_warning(evaluator, i));
        }
    }
}

static m2snet_status score_pairs(const settings *set, const pair_list *list, m2snet_evaluator *evaluator,
                                 m2snet_cancel *cancel, int32_t *failed, m2snet_error *error)
{
    size_t count = list->names.count;
    m2snet_file_pair *pairs = must_alloc(count * sizeof(*pairs));
    progress_bar bar;
    m2snet_control control = { .progress = on_progress, .progress_user = &bar, .cancel = cancel };
    m2snet_status status;

    for (size_t i = 0; i < count; i++) {
        pairs[i] = (m2snet_file_pair){ list->names.items[i], list->predictions.items[i], list->masks.items[i] };
    }
    progress_bar_start(&bar, set->quiet, count);
    status = m2snet_evaluator_add_files(evaluator, pairs, (int32_t)count, &control, failed, error);
    progress_bar_clear(&bar);
    free(pairs);
    return status;
}

/* ---- A model instead of predictions --------------------------------------- */

static m2snet_status score_picture(m2snet_context *context, m2snet_session *session, m2snet_evaluator *evaluator,
                                   const m2snet_file_pair *pair, const m2snet_control *control, m2snet_error *error)
{
    m2snet_image_read_options reading;
    m2snet_predict_options predicting;
    m2snet_image picture = { 0 };
    m2snet_image mask = { 0 };
    m2snet_result *result = NULL;
    m2snet_status status;

    m2snet_image_read_options_init(&reading);
    m2snet_predict_options_init(&predicting);
    reading.control = *control;
    predicting.control = *control;
    status = m2snet_image_read_file(context, pair->prediction_path, &reading, &picture, error);
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_image_read_file(context, pair->mask_path, &reading, &mask, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_predict(session, &picture, &predicting, &result, error);
    }
    if (status == M2SNET_STATUS_OK) {
        m2snet_image map = { .data = m2snet_result_map(result),
                             .width = m2snet_result_width(result),
                             .height = m2snet_result_height(result),
                             .format = M2SNET_PIXEL_GRAY8 };

        status = m2snet_evaluator_add(evaluator, pair->name, &map, &mask, error);
    }
    m2snet_result_destroy(result);
    m2snet_image_release(&mask);
    m2snet_image_release(&picture);
    return status;
}

/* Pictures that fail are complained about and counted; OUT_OF_MEMORY and CANCELLED end it. */
static m2snet_status score_pictures(const settings *set, const pair_list *list, m2snet_context *context,
                                    m2snet_evaluator *evaluator, m2snet_cancel *cancel, int32_t *failed,
                                    m2snet_error *error)
{
    m2snet_model_options options;
    m2snet_model *model = NULL;
    m2snet_session *session = NULL;
    m2snet_control control = { .cancel = cancel };
    progress_bar bar;
    m2snet_status status;

    m2snet_model_options_init(&options);
    options.control = control;
    status = m2snet_model_load_file(context, set->run.model, &options, &model, error);
    if (status == M2SNET_STATUS_OK) {
        status = open_session(&set->run, model, &session, error);
    }
    progress_bar_start(&bar, set->quiet, list->names.count);
    for (size_t i = 0; status == M2SNET_STATUS_OK && i < list->names.count; i++) {
        m2snet_file_pair pair = { list->names.items[i], list->predictions.items[i], list->masks.items[i] };

        status = score_picture(context, session, evaluator, &pair, &control, error);
        if (status != M2SNET_STATUS_OK && status != M2SNET_STATUS_OUT_OF_MEMORY && status != M2SNET_STATUS_CANCELLED) {
            progress_bar_clear(&bar);
            complain("%s: %s", pair.name, error->message);
            (*failed)++;
            status = M2SNET_STATUS_OK;
        }
        progress_bar_step(&bar);
    }
    progress_bar_clear(&bar);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    return status;
}

static bool outputs_are_safe(const settings *set, const pair_list *list)
{
    path_list inputs = { 0 };
    output_list outputs = { 0 };
    bool safe;

    for (size_t i = 0; i < list->names.count; i++) {
        path_list_add(&inputs, format_text("%s", list->predictions.items[i]));
        path_list_add(&inputs, format_text("%s", list->masks.items[i]));
    }
    if (set->json != NULL) {
        output_list_add(&outputs, format_text("%s", set->json), 0);
    }
    if (set->run.model != NULL) {
        path_list_add(&inputs, format_text("%s", set->run.model));
    }
    if (set->csv != NULL) {
        output_list_add(&outputs, format_text("%s", set->csv), 0);
    }
    safe = outputs.paths.count == 0 || check_outputs(&inputs, &outputs);
    path_list_free(&inputs);
    output_list_free(&outputs);
    return safe;
}

static int evaluate(const settings *set, const pair_list *list, m2snet_cancel *cancel)
{
    m2snet_context *context = NULL;
    m2snet_evaluator *evaluator = NULL;
    m2snet_error error;
    int32_t failed = 0;
    int code = EXIT_DONE;

    if (open_context(&set->run, &context, &error) != M2SNET_STATUS_OK ||
        m2snet_evaluator_create(context, &set->options, &evaluator, &error) != M2SNET_STATUS_OK ||
        (set->run.model != NULL ? score_pictures(set, list, context, evaluator, cancel, &failed, &error)
                                : score_pairs(set, list, evaluator, cancel, &failed, &error)) != M2SNET_STATUS_OK) {
        code = library_error(NULL, &error);
    } else {
        print_problems(evaluator);
        print_set(set, evaluator, list, failed);
        if ((set->json != NULL && !write_json(set, evaluator)) || (set->csv != NULL && !write_csv(set, evaluator)) ||
            failed > 0 || list->unmatched > 0) {
            code = EXIT_FAILED;
        }
    }
    m2snet_evaluator_destroy(evaluator);
    m2snet_context_destroy(context);
    return code;
}

/* ---- Command line -------------------------------------------------------- */

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
    case OPTION_LABELS:
        return parse_labels(optarg, set);
    case OPTION_QUIET:
        return set->quiet = true;
    default:
        return parse_run_option(option, optarg, &set->run);
    }
}

static int run(settings *set, char *const *folders)
{
    pair_list list = { 0 };
    m2snet_cancel *cancel = NULL;
    int code;

    set->options.spacings_mm = set->spacings;
    if (set->options.label_count > 0) {
        set->options.labels = set->labels;
        set->options.label_names = set->label_names;
    }
    if (!collect_pairs(folders[0], folders[1], &list)) {
        code = EXIT_FAILED;
    } else if (!outputs_are_safe(set, &list)) {
        code = EXIT_USAGE;
    } else {
        cancel = interrupt_install();
        code = evaluate(set, &list, cancel);
        interrupt_remove(cancel);
    }
    pair_list_free(&list);
    return code;
}

int main(int argc, char **argv)
{
    settings set = { .folds = 4 };
    int option;
    int code;

    m2snet_evaluator_options_init(&set.options);
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
    if (argc - optind != 2) {
        code = usage_error("expected two folders or files, PREDICTIONS and MASKS; got %d", argc - optind);
    } else if (set.options.label_count > 0 && set.csv != NULL) {
        code = usage_error("--csv does not go with --labels: the classes are in --json");
    } else if (set.options.label_count > 0 && set.run.model != NULL) {
        code = usage_error("--labels does not go with --model: its maps are no label maps");
    } else if (set.options.label_count > 0 && set.options.resize_prediction) {
        code = usage_error("--resize does not go with --labels: label values are names");
    } else {
        code = run(&set, argv + optind);
    }
    free(set.label_text);
    return finish(code);
}
