/* SPDX-License-Identifier: Apache-2.0
 * m2snet-evaluate: the tables on the terminal. */
#define _GNU_SOURCE 1
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate.h"

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
        char *title = set->options.spacing_count == 0
                          ? format_text("Surface distances, pixels")
                          : format_text("Surface distances, mm, spacing %g,%g", spacing_y(set, i), spacing_x(set, i));

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

static void print_counts(const settings *set, const score_set *scored, const m2snet_set_info *info)
{
    printf("%d pairs scored, %d failed, %zu without a partner\n", info->scored, scored->failed,
           scored->pairs.unmatched.count);
    if (set->options.label_count == 0) {
        printf("empty masks: %d (%s), empty predictions: %d, both: %d\n", info->empty_masks,
               set->options.empty == M2SNET_EMPTY_SKIP  ? "left out of all means"
               : set->options.empty == M2SNET_EMPTY_ONE ? "1 where the prediction is empty too"
                                                        : "overlap counts as 0",
               info->empty_predictions, info->both_empty);
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
            char *title = format_text(" boundaries and surfaces, spacing %g,%g", spacing_y(set, k), spacing_x(set, k));
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

static void print_set(const settings *set, const score_set *scored)
{
    m2snet_set_info info = { .struct_size = sizeof(info) };
    m2snet_scores scores = { .struct_size = sizeof(scores) };

    if (m2snet_evaluator_set_info(scored->evaluator, &info, NULL) != M2SNET_STATUS_OK) {
        return;
    }
    print_counts(set, scored, &info);
    if (set->options.label_count > 0) {
        print_labels(set, scored->evaluator);
        return;
    }
    if (info.counted == 0 || m2snet_evaluator_set_scores(scored->evaluator, &scores, NULL) != M2SNET_STATUS_OK) {
        printf("no image counts: there is no mean\n");
        return;
    }
    print_overlap(&scores, &info);
    print_profile(set, &scores);
    print_surfaces(set, &scores, info.counted);
    print_folds(set, scored->evaluator, info.counted);
}

/* ---- Several sets --------------------------------------------------------- */

static int longest_name(const evaluation *all)
{
    size_t longest = 3;

    for (int i = 0; i < all->count; i++) {
        size_t length = strlen(all->sets[i].name);

        longest = length > longest ? length : longest;
    }
    return longest < 40 ? (int)longest : 40;
}

static void print_number(double value, int decimals)
{
    if (isnan(value)) {
        printf(" %8s", "-");
    } else {
        printf(" %8.*f", decimals, value);
    }
}

static void print_side_by_side(const evaluation *all)
{
    int width = longest_name(all);

    printf("\n%-*s", width, "set");
    for (int k = 0; k < MAIN_NUMBERS; k++) {
        printf(" %8s", main_numbers[k].name);
    }
    putchar('\n');
    for (int i = 0; i < all->count; i++) {
        m2snet_scores scores = { .struct_size = sizeof(scores) };

        printf("%-*s", width, all->sets[i].name);
        if (m2snet_evaluator_set_scores(all->sets[i].evaluator, &scores, NULL) != M2SNET_STATUS_OK) {
            printf(" no image counts: there is no mean\n");
            continue;
        }
        for (int k = 0; k < MAIN_NUMBERS; k++) {
            print_number(main_number_of(&scores, k), main_number_decimals(k));
        }
        putchar('\n');
    }
}

static const char *verdict(const evaluation *all, const comparison *c, int index)
{
    const m2snet_difference *d = &c->differences[index];

    if (isnan(d->low) || (d->low <= 0.0 && d->high >= 0.0)) {
        return "";
    }
    return all->sets[(d->difference > 0.0) != main_numbers[index].smaller_is_better ? c->second : c->first].name;
}

static void print_comparison(const evaluation *all, const comparison *c)
{
    const m2snet_compare_options *options = &all->set->compare;

    printf("\n%s less %s, images in both; paired bootstrap, %d resamples, %g %% interval\n", all->sets[c->second].name,
           all->sets[c->first].name, options->resamples, 100.0 * options->level);
    printf(" %-7s %10s %10s %10s %7s  better where the interval is on one side of 0\n", "", "difference", "from", "to",
           "images");
    for (int k = 0; k < MAIN_NUMBERS; k++) {
        const m2snet_difference *d = &c->differences[k];
        int decimals = main_number_decimals(k);

        if (d->pairs == 0) {
            continue;
        }
        if (isnan(d->low)) {
            printf(" %-7s %+10.*f %10s %10s %7d\n", main_numbers[k].name, decimals, d->difference, "-", "-", d->pairs);
        } else {
            printf(" %-7s %+10.*f %+10.*f %+10.*f %7d  %s\n", main_numbers[k].name, decimals, d->difference, decimals,
                   d->low, decimals, d->high, d->pairs, verdict(all, c, k));
        }
    }
}

static void print_clips(const settings *set, const score_set *scored)
{
    clip_list clips = { 0 };
    int width = 15;

    if (set->group_separator == NULL || clips_of(set, scored, &clips, NULL) != M2SNET_STATUS_OK) {
        clip_list_free(&clips);
        return;
    }
    for (size_t i = 0; i < clips.count; i++) {
        int length = (int)strlen(clips.items[i].name);
        width = length > width ? length < 40 ? length : 40 : width;
    }
    printf("\nClip by clip (%zu of them)\n%-*s images", clips.count, width, "clip");
    for (int k = 0; k < MAIN_NUMBERS; k++) {
        printf(" %8s", main_numbers[k].name);
    }
    for (size_t i = 0; i <= clips.count; i++) {
        bool is_mean = i == clips.count;
        if (is_mean) {
            printf("\n%-*s %6s", width, "mean over clips", "");
        } else {
            printf("\n%-*s %6d", width, clips.items[i].name, (int)clips.items[i].images);
        }
        for (int k = 0; k < MAIN_NUMBERS; k++) {
            print_number(is_mean ? clips.mean[k] : clips.items[i].numbers[k], main_number_decimals(k));
        }
    }
    putchar('\n');
    clip_list_free(&clips);
}

void print_tables(const evaluation *all, const comparison_list *comparisons)
{
    if (all->count == 1) {
        print_set(all->set, &all->sets[0]);
        print_clips(all->set, &all->sets[0]);
        return;
    }
    for (int i = 0; i < all->count; i++) {
        m2snet_set_info info = { .struct_size = sizeof(info) };

        if (m2snet_evaluator_set_info(all->sets[i].evaluator, &info, NULL) == M2SNET_STATUS_OK) {
            printf("%s: ", all->sets[i].name);
            print_counts(all->set, &all->sets[i], &info);
        }
    }
    print_side_by_side(all);
    for (int i = 0; i < all->count && all->set->group_separator != NULL; i++) {
        printf("\n%s:", all->sets[i].name);
        print_clips(all->set, &all->sets[i]);
    }
    for (int i = 0; i < comparisons->count; i++) {
        print_comparison(all, &comparisons->items[i]);
    }
}

/* ---- Problems ------------------------------------------------------------- */

static void print_set_problems(const score_set *scored, const char *prefix)
{
    const m2snet_evaluator *evaluator = scored->evaluator;
    m2snet_scores scores = { .struct_size = sizeof(scores) };
    m2snet_label_scores label = { .struct_size = sizeof(label) };

    /* the unmatched come last and were complained about before */
    for (int32_t i = 0; i < m2snet_evaluator_count(evaluator) - (int32_t)scored->pairs.unmatched.count; i++) {
        m2snet_error error;
        m2snet_status status = m2snet_evaluator_image_scores(evaluator, i, &scores, &error);

        if (status == M2SNET_STATUS_UNSUPPORTED) {
            status = m2snet_evaluator_image_label(evaluator, i, 0, &label, &error);
        }
        if (status != M2SNET_STATUS_OK) {
            complain("%s%s", prefix, error.message);
        } else if (m2snet_evaluator_warning(evaluator, i) != NULL) {
            complain("warning: %s%s: %s", prefix, m2snet_evaluator_name(evaluator, i),
                     m2snet_evaluator_warning(evaluator, i));
        }
    }
}

void print_problems(const evaluation *all)
{
    for (int i = 0; i < all->count; i++) {
        char *prefix = format_text(all->count > 1 ? "%s: " : "%.0s", all->sets[i].name);

        print_set_problems(&all->sets[i], prefix);
        free(prefix);
    }
}
