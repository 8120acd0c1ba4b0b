/* SPDX-License-Identifier: Apache-2.0
 * m2snet-evaluate: the page: scores, differences, every image, problems. Charts and cases are files of their own. */
#define _GNU_SOURCE 1
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/html.h"
#include "evaluate.h"

static const char page_style[] =
    "td.best { font-weight: 700; }\ntr:hover td { background: var(--panel); }\n"
    ".interval { width: 12rem; height: 1.25rem; display: block; }\n"
    ".zero { stroke: var(--soft); stroke-dasharray: 2 2; }\n"
    "details { margin: .75rem 0; }\nsummary { cursor: pointer; color: var(--soft); }\n"
    ".case { margin: 1.25rem 0; }\n.case h3 { font-size: 1rem; margin: 0 0 .4rem; font-weight: 600;\n"
    "         overflow-wrap: anywhere; }\n.case h3 span { font-weight: 400; color: var(--soft); }\n"
    ".tiles { display: flex; flex-wrap: wrap; gap: .75rem; }\n.tiles figure { max-width: 17.5rem; }\n"
    ".tiles img { background: #000; }\n"
    ".key { display: inline-block; width: 1.4em; height: .3em; vertical-align: middle; border-radius: 2px;\n"
    "       outline: 1px solid #0006; }\n";

/* ---- Numbers --------------------------------------------------------------- */

static void write_number(FILE *page, double value, int decimals, const char *attributes)
{
    if (isnan(value)) {
        fprintf(page, "<td%s>&ndash;</td>", attributes);
    } else {
        fprintf(page, "<td%s>%.*f</td>", attributes, decimals, value);
    }
}

static void write_main_head(FILE *page, const settings *set)
{
    for (int k = 0; k < MAIN_NUMBERS; k++) {
        if (!main_numbers[k].distance || !set->options.without_surface) {
            fprintf(page, "<th title=\"%s\">%s&nbsp;%s</th>", main_numbers[k].key, main_numbers[k].name,
                    main_numbers[k].smaller_is_better ? "&darr;" : "&uarr;");
        }
    }
}

/* The best value of each number among the sets. */
static void find_best(const evaluation *all, double best[MAIN_NUMBERS])
{
    for (int k = 0; k < MAIN_NUMBERS; k++) {
        best[k] = NAN;
    }
    for (int i = 0; all->count > 1 && i < all->count; i++) {
        m2snet_scores scores = { .struct_size = sizeof(scores) };

        if (m2snet_evaluator_set_scores(all->sets[i].evaluator, &scores, NULL) != M2SNET_STATUS_OK) {
            continue;
        }
        for (int k = 0; k < MAIN_NUMBERS; k++) {
            double value = main_number_of(&scores, k);

            best[k] = main_numbers[k].smaller_is_better ? fmin(best[k], value) : fmax(best[k], value);
        }
    }
}

static void write_main_row(FILE *page, const settings *set, const m2snet_scores *scores,
                           const double best[MAIN_NUMBERS])
{
    for (int k = 0; k < MAIN_NUMBERS; k++) {
        double value = main_number_of(scores, k);

        if (!main_numbers[k].distance || !set->options.without_surface) {
            write_number(page, value, main_number_decimals(k),
                         best != NULL && value == best[k] ? " class=\"best\"" : "");
        }
    }
}

static void write_scores(FILE *page, const evaluation *all)
{
    double best[MAIN_NUMBERS];

    find_best(all, best);
    fputs("<h2>Scores</h2>\n<div class=\"scroll\"><table>\n<tr><th>set</th>", page);
    write_main_head(page, all->set);
    fputs("</tr>\n", page);
    for (int i = 0; i < all->count; i++) {
        m2snet_scores scores = { .struct_size = sizeof(scores) };

        fputs("<tr><td>", page);
        html_text(page, all->sets[i].name);
        fputs("</td>", page);
        if (m2snet_evaluator_set_scores(all->sets[i].evaluator, &scores, NULL) == M2SNET_STATUS_OK) {
            write_main_row(page, all->set, &scores, best);
        } else {
            fputs("<td>no image counts</td>", page);
        }
        fputs("</tr>\n", page);
    }
    fputs("</table></div>\n<p class=\"soft\">mDice, mIoU and maxEm over 256 thresholds; Dice and IoU at x &gt; 0.5",
          page);
    if (!all->set->options.without_surface) {
        fprintf(page, "; HD95 and ASD in %s",
                all->set->options.spacing_count == 0 ? "pixels" : "mm, of the first spacing");
    }
    fputs(".</p>\n", page);
}

/* ---- Counts ---------------------------------------------------------------- */

static void write_counts(FILE *page, const evaluation *all)
{
    const char *area = all->set->options.spacing_count == 0 ? "px" : "mm&sup2;";

    fprintf(page,
            "<div class=\"scroll\"><table>\n<tr><th>set</th><th>scored</th><th>failed</th><th>no partner</th>"
            "<th title=\"empty masks\">empty m.</th><th title=\"empty predictions\">empty "
            "p.</th><th>warned</th><th>ECE</th><th>Brier</th>"
            "<th>area bias, %s</th><th title=\"limits of agreement\">limits</th></tr>\n",
            area);
    for (int i = 0; i < all->count; i++) {
        const score_set *scored = &all->sets[i];
        m2snet_set_info info = { .struct_size = sizeof(info) };
        m2snet_calibration calibration = { .struct_size = sizeof(calibration), .ece = NAN, .brier = NAN };
        m2snet_area_agreement areas = { .struct_size = sizeof(areas), .bias = NAN, .lower = NAN, .upper = NAN };

        /* where no image counts the numbers stay undefined */
        (void)m2snet_evaluator_set_info(scored->evaluator, &info, NULL);
        (void)m2snet_evaluator_calibration(scored->evaluator, -1, 10, &calibration, NULL);
        (void)m2snet_evaluator_area_agreement(scored->evaluator, &areas, NULL);
        fputs("<tr><td>", page);
        html_text(page, scored->name);
        fprintf(page, "</td><td>%d</td><td>%d</td><td>%zu</td><td>%d</td><td>%d</td><td>%d</td>", info.scored,
                scored->failed, scored->pairs.unmatched.count, info.empty_masks, info.empty_predictions, info.warned);
        write_number(page, calibration.ece, 4, "");
        write_number(page, calibration.brier, 4, "");
        write_number(page, areas.bias, 1, "");
        if (isnan(areas.lower)) {
            fputs("<td>&ndash;</td></tr>\n", page);
        } else {
            fprintf(page, "<td>%.1f to %.1f</td></tr>\n", areas.lower, areas.upper);
        }
    }
    fputs("</table></div>\n", page);
}

/* ---- Differences ----------------------------------------------------------- */

/* The interval on a scale of its own, 0 in the middle; in the colour of the set it speaks for. */
static void write_interval(FILE *page, const comparison *c, int index)
{
    const m2snet_difference *d = &c->differences[index];
    double reach = 1.1 * fmax(fmax(fabs(d->low), fabs(d->high)), fabs(d->difference));
    bool undecided = d->low <= 0.0 && d->high >= 0.0;
    int speaks_for = (d->difference > 0.0) != main_numbers[index].smaller_is_better ? c->second : c->first;
    double scale = reach > 0.0 ? 96.0 / reach : 0.0;
    char color[16];

    if (undecided) {
        snprintf(color, sizeof(color), "--gray");
    } else {
        snprintf(color, sizeof(color), "--c%d", speaks_for);
    }
    fprintf(page,
            "<svg class=\"chart interval\" viewBox=\"0 0 200 20\" role=\"img\" aria-label=\"interval\">"
            "<path class=\"zero\" d=\"M100 1V19\"/><g stroke=\"var(%s)\" fill=\"var(%s)\">"
            "<path stroke-width=\"3\" d=\"M%.1f 10H%.1f\"/><circle cx=\"%.1f\" cy=\"10\" r=\"4\"/></g></svg>",
            color, color, 100.0 + scale * d->low, 100.0 + scale * d->high, 100.0 + scale * d->difference);
}

static void write_comparison(FILE *page, const evaluation *all, const comparison *c)
{
    fputs("<h3>", page);
    html_text(page, all->sets[c->second].name);
    fputs(" &minus; ", page);
    html_text(page, all->sets[c->first].name);
    fputs("</h3>\n<div class=\"scroll\"><table>\n<tr><th>number</th><th>first</th><th>second</th><th>difference</th>"
          "<th>interval</th><th></th><th>images</th></tr>\n",
          page);
    for (int k = 0; k < MAIN_NUMBERS; k++) {
        const m2snet_difference *d = &c->differences[k];
        int decimals = main_number_decimals(k);

        if (d->pairs == 0) {
            continue;
        }
        fprintf(page, "<tr><td>%s %s</td><td>%.*f</td><td>%.*f</td><td>%+.*f</td>", main_numbers[k].name,
                main_numbers[k].smaller_is_better ? "&darr;" : "&uarr;", decimals, d->first, decimals, d->second,
                decimals, d->difference);
        if (isnan(d->low)) {
            fputs("<td>&ndash;</td><td></td>", page);
        } else {
            fprintf(page, "<td>%+.*f to %+.*f</td><td>", decimals, d->low, decimals, d->high);
            write_interval(page, c, k);
            fputs("</td>", page);
        }
        fprintf(page, "<td>%d</td></tr>\n", d->pairs);
    }
    fputs("</table></div>\n", page);
}

static void write_differences(FILE *page, const evaluation *all, const comparison_list *comparisons)
{
    const m2snet_compare_options *options = &all->set->compare;

    if (comparisons->count == 0) {
        return;
    }
    fprintf(
        page,
        "<h2>Differences</h2>\n<p class=\"soft\">Over the images scored in both; %g&nbsp;%% percentile intervals of a "
        "paired bootstrap, %d resamples, seed %llu. Gray: the interval holds 0. Not corrected for looking at many "
        "differences.</p>\n",
        100.0 * options->level, options->resamples, (unsigned long long)options->seed);
    for (int i = 0; i < comparisons->count; i++) {
        write_comparison(page, all, &comparisons->items[i]);
    }
}

/* ---- Every image ----------------------------------------------------------- */

static void write_images(FILE *page, const evaluation *all)
{
    fputs("<h2>Every image</h2>\n", page);
    for (int s = 0; s < all->count; s++) {
        const score_set *scored = &all->sets[s];

        fputs("<details><summary>", page);
        html_text(page, scored->name);
        fputs("</summary>\n<div class=\"scroll\"><table>\n<tr><th>image</th>", page);
        write_main_head(page, all->set);
        fputs("</tr>\n", page);
        for (int32_t i = 0; i < m2snet_evaluator_count(scored->evaluator); i++) {
            m2snet_scores scores = { .struct_size = sizeof(scores) };

            if (m2snet_evaluator_image_scores(scored->evaluator, i, &scores, NULL) == M2SNET_STATUS_OK) {
                fputs("<tr><td>", page);
                html_text(page, m2snet_evaluator_name(scored->evaluator, i));
                fputs("</td>", page);
                write_main_row(page, all->set, &scores, NULL);
                fputs("</tr>\n", page);
            }
        }
        fputs("</table></div>\n</details>\n", page);
    }
}

static void write_problem(FILE *page, const score_set *scored, const char *kind, const char *name, const char *text)
{
    fputs("<tr><td>", page);
    html_text(page, scored->name);
    fprintf(page, "</td><td>%s</td><td style=\"text-align:left;white-space:normal\">", kind);
    if (name != NULL) {
        html_text(page, name);
        fputs(": ", page);
    }
    html_text(page, text);
    fputs("</td></tr>\n", page);
}

static void write_problems(FILE *page, const evaluation *all)
{
    bool any = false;

    for (int s = 0; s < all->count; s++) {
        const score_set *scored = &all->sets[s];

        for (int32_t i = 0; i < m2snet_evaluator_count(scored->evaluator); i++) {
            m2snet_scores scores = { .struct_size = sizeof(scores) };
            const char *warning = m2snet_evaluator_warning(scored->evaluator, i);
            m2snet_error error;
            bool failed = m2snet_evaluator_image_scores(scored->evaluator, i, &scores, &error) != M2SNET_STATUS_OK;

            if ((failed || warning != NULL) && !any) {
                fputs("<h2>Problems</h2>\n<div class=\"scroll\"><table>\n", page);
                any = true;
            }
            if (failed) {
                write_problem(page, scored, "failed", NULL, error.message);
            } else if (warning != NULL) {
                write_problem(page, scored, "warning", m2snet_evaluator_name(scored->evaluator, i), warning);
            }
        }
    }
    fputs(any ? "</table></div>\n" : "", page);
}

/* ---- The whole ------------------------------------------------------------- */

static char *page_title(const evaluation *all)
{
    char *title = format_text("Evaluation of %s", all->sets[0].name);

    for (int i = 1; i < all->count; i++) {
        char *longer = format_text("%s%s%s", title, i + 1 < all->count ? ", " : " and ", all->sets[i].name);

        free(title);
        title = longer;
    }
    return title;
}

static m2snet_status write_body(FILE *page, const evaluation *all, const comparison_list *comparisons,
                                m2snet_error *error)
{
    static const char *const policies[] = { "count with 0", "are left out of all means",
                                            "count 1 where the prediction is empty too" };
    char *title = page_title(all);
    m2snet_status status;

    html_begin(page, title, page_style);
    fprintf(page,
            "<p class=\"soft\">libm2snet %s &middot; images with an empty mask %s &middot; definitions in "
            "docs/metrics.md &middot; not a medical device</p>\n",
            m2snet_version_string(), policies[all->set->options.empty]);
    write_scores(page, all);
    write_counts(page, all);
    write_differences(page, all, comparisons);
    page_charts(page, all);
    status = page_cases(page, all, error);
    write_images(page, all);
    write_problems(page, all);
    html_end(page);
    free(title);
    return status;
}

bool write_page(const evaluation *all, const comparison_list *comparisons)
{
    const char *path = all->set->html;
    char *text = NULL;
    size_t size_bytes = 0;
    FILE *page = open_memstream(&text, &size_bytes);
    m2snet_error error;
    bool fine = page != NULL;

    if (!fine) {
        complain("%s: out of memory", path);
        return false;
    }
    if (write_body(page, all, comparisons, &error) != M2SNET_STATUS_OK) {
        library_error(path, &error);
        fine = false;
    }
    if (fclose(page) != 0) {
        complain("%s: out of memory", path);
        fine = false;
    }
    fine = fine && write_whole_file(path, NULL, 0, text, size_bytes);
    free(text);
    return fine;
}
