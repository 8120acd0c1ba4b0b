/* SPDX-License-Identifier: Apache-2.0
 * m2snet-evaluate: one line an image as comma-separated values. */
#define _GNU_SOURCE 1
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate.h"

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

static void csv_header(FILE *stream, const settings *set, bool several, int32_t surfaces)
{
    static const char *const distances[] = { "hd", "hd95", "assd", "asd_pred_to_gt", "asd_gt_to_pred", "hd95_maxdir" };

    fputs(several ? "set," : "", stream);
    fputs("name,tp,fp,fn,tn,dice_mean,iou_mean,wfm,sm,em_max,em_mean,em_adp,mae,dice_max,iou_max,fm_max,fm_mean,fm_adp,"
          "dice,iou,precision,recall,specificity,accuracy,ber",
          stream);
    for (int32_t i = 0; i < surfaces; i++) {
        for (size_t k = 0; k < sizeof(distances) / sizeof(distances[0]); k++) {
            fprintf(stream, ",%s %g x %g", distances[k], spacing_y(set, i), spacing_x(set, i));
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

static void csv_set(FILE *stream, const settings *set, const score_set *scored, bool several)
{
    m2snet_scores scores = { .struct_size = sizeof(scores) };
    int32_t count = m2snet_evaluator_count(scored->evaluator);

    for (int32_t i = 0; i <= count; i++) {
        m2snet_status status = i < count ? m2snet_evaluator_image_scores(scored->evaluator, i, &scores, NULL)
                                         : m2snet_evaluator_set_scores(scored->evaluator, &scores, NULL);

        if (status == M2SNET_STATUS_OK) {
            if (several) {
                csv_text(stream, scored->name);
                fputc(',', stream);
            }
            csv_line(stream, set, i < count ? m2snet_evaluator_name(scored->evaluator, i) : "(set)", &scores);
        }
    }
}

bool write_csv(const evaluation *all)
{
    const settings *set = all->set;
    char *text = NULL;
    size_t size_bytes = 0;
    FILE *stream = open_memstream(&text, &size_bytes);
    int32_t surfaces = set->options.without_surface      ? 0
                       : set->options.spacing_count == 0 ? 1
                                                         : set->options.spacing_count;
    bool written = stream != NULL;

    if (written) {
        csv_header(stream, set, all->count > 1, surfaces);
        for (int i = 0; i < all->count; i++) {
            csv_set(stream, set, &all->sets[i], all->count > 1);
        }
        written = fclose(stream) == 0;
    }
    if (!written) {
        complain("%s: out of memory", set->csv);
    }
    written = written && write_whole_file(set->csv, NULL, 0, text, size_bytes);
    free(text);
    return written;
}
