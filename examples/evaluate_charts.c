/* SPDX-License-Identifier: Apache-2.0
 * m2snet-evaluate: the page's charts: distributions, threshold curves, calibration, areas. */
#define _GNU_SOURCE 1
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/chart.h"
#include "common/html.h"
#include "evaluate.h"

enum { BINS = 20, FEW_BINS = 10, FEW_IMAGES = 15, CALIBRATION_BINS = 10 };

/* ---- The numbers of each image --------------------------------------------- */

/* One number of the images of a set that count, with their names; undefined ones are left out. */
typedef struct column {
    double *values;
    const char **names; /* the evaluator's */
    size_t count;
} column;

static bool counts(const evaluation *all, const m2snet_scores *scores)
{
    return all->set->options.empty != M2SNET_EMPTY_SKIP || !scores->mask_empty;
}

typedef double (*number_fn)(const m2snet_scores *scores, int index);

static column make_column(const evaluation *all, const score_set *scored, number_fn number, int index)
{
    int32_t count = m2snet_evaluator_count(scored->evaluator);
    column c = { .values = must_alloc((size_t)count * sizeof(double)),
                 .names = must_alloc((size_t)count * sizeof(char *)) };

    for (int32_t i = 0; i < count; i++) {
        m2snet_scores scores = { .struct_size = sizeof(scores) };

        if (m2snet_evaluator_image_scores(scored->evaluator, i, &scores, NULL) == M2SNET_STATUS_OK &&
            counts(all, &scores) && !isnan(number(&scores, index))) {
            c.values[c.count] = number(&scores, index);
            c.names[c.count++] = m2snet_evaluator_name(scored->evaluator, i);
        }
    }
    return c;
}

static void column_free(column *c)
{
    free(c->values);
    free(c->names);
}

static double mean_of(const column *c)
{
    double sum = 0.0;

    for (size_t i = 0; i < c->count; i++) {
        sum += c->values[i];
    }
    return c->count > 0 ? sum / (double)c->count : (double)NAN;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;

    return a < b ? -1 : a > b;
}

/* ---- Distributions --------------------------------------------------------- */

static void set_range(const column *columns, int count, bool distance, double *low, double *high)
{
    *low = distance ? 0.0 : 1.0;
    *high = distance ? 0.0 : 1.0;
    for (int s = 0; s < count; s++) {
        for (size_t i = 0; i < columns[s].count; i++) {
            *low = fmin(*low, columns[s].values[i]);
            *high = fmax(*high, columns[s].values[i]);
        }
    }
    *low = distance ? 0.0 : fmax(0.0, fmin(0.9, floor(10.0 * *low) / 10.0));
    *high = *high > *low ? *high : *low + 1.0;
}

static void write_histograms(FILE *page, const evaluation *all, const column *columns, const chart_spec *frame)
{
    chart_spec chart = *frame;
    double starts[MAX_SETS][BINS];
    double numbers[MAX_SETS][BINS];
    chart_series series[MAX_SETS];
    chart_rule rules[MAX_SETS];
    char labels[MAX_SETS][48];
    size_t bins = columns[0].count < FEW_IMAGES ? FEW_BINS : BINS;

    for (int s = 0; s < all->count; s++) {
        double width = chart_histogram(columns[s].values, columns[s].count, chart.x.low, chart.x.high, bins, starts[s],
                                       numbers[s]);

        series[s] = (chart_series){ .name = all->count > 1 ? all->sets[s].name : NULL,
                                    .mark = CHART_BARS,
                                    .color = s,
                                    .count = bins,
                                    .x = starts[s],
                                    .y = numbers[s],
                                    .bar_width = width };
        snprintf(labels[s], sizeof(labels[s]), "mean %.3g", mean_of(&columns[s]));
        rules[s] = (chart_rule){ mean_of(&columns[s]), true, all->count == 1 ? labels[s] : NULL };
    }
    chart.y.label = "images";
    chart.y.whole_labels = true;
    chart.series = series;
    chart.series_count = (size_t)all->count;
    chart.rules = rules;
    chart.rule_count = (size_t)all->count;
    chart_write(page, &chart);
}

/* Histograms of more than two sets on top of each other cannot be read: the share of images up to each value. */
static void write_shares(FILE *page, const evaluation *all, const column *columns, const chart_spec *frame)
{
    chart_spec chart = *frame;
    chart_series series[MAX_SETS];
    double *shares[MAX_SETS];

    for (int s = 0; s < all->count; s++) {
        size_t count = columns[s].count;

        shares[s] = must_alloc(count * sizeof(double));
        qsort(columns[s].values, count, sizeof(double), compare_doubles);
        for (size_t i = 0; i < count; i++) {
            shares[s][i] = (double)(i + 1) / (double)count;
        }
        series[s] = (chart_series){ .name = all->sets[s].name,
                                    .mark = CHART_LINE,
                                    .color = s,
                                    .count = count,
                                    .x = columns[s].values,
                                    .y = shares[s] };
    }
    chart.y = (chart_axis){ .label = "share of images up to", .low = 0.0, .high = 1.0 };
    chart.series = series;
    chart.series_count = (size_t)all->count;
    chart_write(page, &chart);
    for (int s = 0; s < all->count; s++) {
        free(shares[s]);
    }
}

static void write_distribution(FILE *page, const evaluation *all, int index)
{
    column columns[MAX_SETS] = { { 0 } };
    const main_number *number = &main_numbers[index];
    const char *unit = !number->distance ? "" : all->set->options.spacing_count == 0 ? ", px" : ", mm";
    char *label = format_text("%s%s", number->name, unit);
    chart_spec chart = { .title = number->name, .x = { .label = label } };

    for (int s = 0; s < all->count; s++) {
        columns[s] = make_column(all, &all->sets[s], main_number_of, index);
    }
    set_range(columns, all->count, number->distance || number->smaller_is_better, &chart.x.low, &chart.x.high);
    fputs("<div>", page);
    if (all->count <= 2) {
        write_histograms(page, all, columns, &chart);
    } else {
        write_shares(page, all, columns, &chart);
    }
    fputs("</div>\n", page);
    for (int s = 0; s < all->count; s++) {
        column_free(&columns[s]);
    }
    free(label);
}

static void write_distributions(FILE *page, const evaluation *all)
{
    static const char *const shown[] = { "dice", "iou", "sm", "wfm", "hd95", "assd" };

    fputs("<h2>Distribution over images</h2>\n<div class=\"charts\">\n", page);
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
        for (int k = 0; k < MAIN_NUMBERS; k++) {
            if (strcmp(main_numbers[k].key, shown[i]) == 0 &&
                !(main_numbers[k].distance && all->set->options.without_surface)) {
                write_distribution(page, all, k);
            }
        }
    }
    fputs("</div>\n", page);
}

/* ---- Threshold curves ------------------------------------------------------ */

typedef struct named_curve {
    const char *name;
    m2snet_curve curve;
} named_curve;

enum { CURVES_A_CHART = 3 };

/* One set: several curves in a chart. */
static void write_curves(FILE *page, const score_set *scored, const char *title, const named_curve *curves, int count)
{
    double values[CURVES_A_CHART][256];
    chart_series series[CURVES_A_CHART];
    chart_spec chart = { .title = title,
                         .x = { .label = "threshold", .low = 0.0, .high = 255.0 },
                         .y = { .low = 0.0, .high = 1.0 },
                         .series = series };

    for (int i = 0; i < count; i++) {
        if (m2snet_evaluator_curve(scored->evaluator, -1, curves[i].curve, values[i], NULL) == M2SNET_STATUS_OK) {
            series[chart.series_count] =
                (chart_series){ .name = curves[i].name, .mark = CHART_LINE, .color = i, .count = 256, .y = values[i] };
            chart.series_count++;
        }
    }
    fputs("<div>", page);
    chart_write(page, &chart);
    fputs("</div>\n", page);
}

/* Several sets: one curve of each. x_curve NULL: over the threshold. */
static void write_curve_of_sets(FILE *page, const evaluation *all, const named_curve *y, const named_curve *x)
{
    double values[MAX_SETS][2][256];
    chart_series series[MAX_SETS];
    char *title = x == NULL ? format_text("%s", y->name) : format_text("%s and %s", y->name, x->name);
    chart_spec chart = { .title = title,
                         .x = { .label = "threshold", .low = 0.0, .high = 255.0 },
                         .y = { .label = y->name, .low = 0.0, .high = 1.0 },
                         .series = series };

    if (x != NULL) {
        chart.x = (chart_axis){ .label = x->name, .low = 0.0, .high = 1.0 };
    }
    for (int s = 0; s < all->count; s++) {
        const m2snet_evaluator *evaluator = all->sets[s].evaluator;

        if (m2snet_evaluator_curve(evaluator, -1, y->curve, values[s][0], NULL) == M2SNET_STATUS_OK &&
            (x == NULL || m2snet_evaluator_curve(evaluator, -1, x->curve, values[s][1], NULL) == M2SNET_STATUS_OK)) {
            series[chart.series_count] = (chart_series){ .name = all->sets[s].name,
                                                         .mark = CHART_LINE,
                                                         .color = s,
                                                         .count = 256,
                                                         .x = x == NULL ? NULL : values[s][1],
                                                         .y = values[s][0] };
            chart.series_count++;
        }
    }
    fputs("<div>", page);
    chart_write(page, &chart);
    fputs("</div>\n", page);
    free(title);
}

static void write_threshold_curves(FILE *page, const evaluation *all)
{
    static const named_curve overlap[] = { { "Dice", M2SNET_CURVE_DICE },
                                           { "IoU", M2SNET_CURVE_IOU },
                                           { "F", M2SNET_CURVE_F } };
    static const named_curve rates[] = { { "precision", M2SNET_CURVE_PRECISION },
                                         { "recall", M2SNET_CURVE_RECALL },
                                         { "specificity", M2SNET_CURVE_SPECIFICITY } };
    static const named_curve alignment[] = { { "E-measure", M2SNET_CURVE_E } };

    fputs("<h2>Threshold curves</h2>\n<p class=\"soft\">Mean over images; foreground where the stretched prediction "
          "reaches the threshold (0 to 255).</p>\n<div class=\"charts\">\n",
          page);
    if (all->count == 1) {
        write_curves(page, &all->sets[0], "Overlap", overlap, 3);
        write_curves(page, &all->sets[0], "Rates", rates, 3);
        write_curves(page, &all->sets[0], "Alignment", alignment, 1);
    } else {
        write_curve_of_sets(page, all, &overlap[0], NULL);
        write_curve_of_sets(page, all, &alignment[0], NULL);
        write_curve_of_sets(page, all, &rates[0], &rates[1]);
    }
    fputs("</div>\n", page);
}

/* ---- Calibration ----------------------------------------------------------- */

typedef struct reliability {
    m2snet_calibration numbers;
    double probability[CALIBRATION_BINS], observed[CALIBRATION_BINS];
    double starts[CALIBRATION_BINS], pixels[CALIBRATION_BINS];
    bool there;
} reliability;

static void gather_reliability(const score_set *scored, reliability *r)
{
    r->numbers.struct_size = sizeof(r->numbers);
    r->there =
        m2snet_evaluator_calibration(scored->evaluator, -1, CALIBRATION_BINS, &r->numbers, NULL) == M2SNET_STATUS_OK;
    for (int i = 0; r->there && i < CALIBRATION_BINS; i++) {
        r->probability[i] = r->numbers.bins[i].probability;
        r->observed[i] = r->numbers.bins[i].observed;
        r->starts[i] = (double)i / CALIBRATION_BINS;
        r->pixels[i] = (double)r->numbers.bins[i].pixels;
    }
}

/* Line and points of each set; then how many pixels each bin is of. */
static void write_calibration(FILE *page, const evaluation *all)
{
    reliability *sets = must_alloc((size_t)all->count * sizeof(*sets));
    chart_series series[2 * MAX_SETS];
    chart_series bars[MAX_SETS];
    char *names[MAX_SETS];
    chart_spec chart = { .title = "Calibration",
                         .x = { .label = "predicted probability", .low = 0.0, .high = 1.0 },
                         .y = { .label = "share inside the mask", .low = 0.0, .high = 1.0 },
                         .series = series,
                         .diagonal = true };
    chart_spec below = { .title = "Pixels in each bin",
                         .x = { .label = "predicted probability", .low = 0.0, .high = 1.0 },
                         .y = { .label = "pixels", .logarithmic = true },
                         .series = bars };

    for (int s = 0; s < all->count; s++) {
        reliability *r = &sets[s];

        gather_reliability(&all->sets[s], r);
        names[s] = all->count > 1 ? format_text("%s, ECE %.4f", all->sets[s].name, r->numbers.ece)
                                  : format_text("ECE %.4f", r->numbers.ece);
        if (r->there) {
            chart_series line = { .name = names[s],
                                  .mark = CHART_LINE,
                                  .color = s,
                                  .count = CALIBRATION_BINS,
                                  .x = r->probability,
                                  .y = r->observed };

            series[chart.series_count++] = line;
            line.name = NULL;
            line.mark = CHART_POINTS;
            series[chart.series_count++] = line;
            bars[below.series_count++] = (chart_series){ .name = all->count > 1 ? all->sets[s].name : NULL,
                                                         .mark = all->count > 2 ? CHART_LINE : CHART_BARS,
                                                         .color = s,
                                                         .count = CALIBRATION_BINS,
                                                         .x = r->starts,
                                                         .y = r->pixels,
                                                         .bar_width = 1.0 / CALIBRATION_BINS };
        }
    }
    fputs("<div>", page);
    chart_write(page, &chart);
    fputs("</div>\n<div>", page);
    chart_write(page, &below);
    fputs("</div>\n", page);
    for (int s = 0; s < all->count; s++) {
        free(names[s]);
    }
    free(sets);
}

/* ---- Areas ----------------------------------------------------------------- */

enum { AREA_MEAN, AREA_DIFFERENCE, AREA_MASK };

static double area_of(const m2snet_scores *s, int index)
{
    double predicted = (double)(s->tp + s->fp);
    double mask = (double)(s->tp + s->fn);

    return index == AREA_MEAN ? (predicted + mask) / 2.0 : index == AREA_DIFFERENCE ? predicted - mask : mask;
}

static void scale(column *c, double factor)
{
    for (size_t i = 0; i < c->count; i++) {
        c->values[i] *= factor;
    }
}

static void write_bland_altman(FILE *page, const evaluation *all, int s)
{
    const score_set *scored = &all->sets[s];
    column x = make_column(all, scored, area_of, AREA_MEAN);
    column y = make_column(all, scored, area_of, AREA_DIFFERENCE);
    m2snet_area_agreement areas = { .struct_size = sizeof(areas) };
    const char *unit = all->set->options.spacing_count == 0 ? "px" : "mm\xc2\xb2";
    char *title = all->count > 1 ? format_text("Area: %s", scored->name) : format_text("Area, Bland-Altman");
    char *x_label = format_text("mean of both areas, %s", unit);
    char *y_label = format_text("prediction less mask, %s", unit);
    chart_series series = { .mark = CHART_POINTS, .color = s, .count = x.count, .titles = x.names };
    chart_rule rules[3];
    chart_spec chart = { .title = title,
                         .x = { .label = x_label },
                         .y = { .label = y_label },
                         .series = &series,
                         .series_count = 1,
                         .rules = rules };

    scale(&x, spacing_y(all->set, 0) * spacing_x(all->set, 0));
    scale(&y, spacing_y(all->set, 0) * spacing_x(all->set, 0));
    series.x = x.values;
    series.y = y.values;
    if (m2snet_evaluator_area_agreement(scored->evaluator, &areas, NULL) == M2SNET_STATUS_OK) {
        rules[0] = (chart_rule){ areas.bias, false, "bias" };
        rules[1] = (chart_rule){ areas.upper, false, "+1.96 s" };
        rules[2] = (chart_rule){ areas.lower, false,
                                 "\xe2\x88\x92"
                                 "1.96 s" };
        chart.rule_count = isnan(areas.upper) ? 1 : 3;
    }
    fputs("<div>", page);
    chart_write(page, &chart);
    fputs("</div>\n", page);
    free(y_label);
    free(x_label);
    free(title);
    column_free(&y);
    column_free(&x);
}

/* Are small things found worse? */
static void write_dice_by_size(FILE *page, const evaluation *all)
{
    column sizes[MAX_SETS];
    column dices[MAX_SETS];
    chart_series series[MAX_SETS];
    chart_spec chart = { .title = "Dice by size of the mask",
                         .x = { .label = all->set->options.spacing_count == 0 ? "mask, px" : "mask, mm\xc2\xb2",
                                .logarithmic = true },
                         .y = { .label = "Dice", .low = 0.0, .high = 1.0 },
                         .series = series,
                         .series_count = (size_t)all->count };

    for (int s = 0; s < all->count; s++) {
        sizes[s] = make_column(all, &all->sets[s], area_of, AREA_MASK);
        dices[s] = make_column(all, &all->sets[s], main_number_of, 6);
        scale(&sizes[s], spacing_y(all->set, 0) * spacing_x(all->set, 0));
        series[s] = (chart_series){ .name = all->count > 1 ? all->sets[s].name : NULL,
                                    .mark = CHART_POINTS,
                                    .color = s,
                                    .count = sizes[s].count,
                                    .x = sizes[s].values,
                                    .y = dices[s].values,
                                    .titles = sizes[s].names };
    }
    fputs("<div>", page);
    chart_write(page, &chart);
    fputs("</div>\n", page);
    for (int s = 0; s < all->count; s++) {
        column_free(&sizes[s]);
        column_free(&dices[s]);
    }
}

void page_charts(FILE *page, const evaluation *all)
{
    write_distributions(page, all);
    write_threshold_curves(page, all);
    fputs("<h2>Calibration and areas</h2>\n<p class=\"soft\">Calibration is of the prediction as it came, over all "
          "pixels "
          "of the images that count. Point at a dot for its image.</p>\n<div class=\"charts\">\n",
          page);
    write_calibration(page, all);
    for (int s = 0; s < all->count; s++) {
        write_bland_altman(page, all, s);
    }
    write_dice_by_size(page, all);
    fputs("</div>\n", page);
}
