/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "common/chart.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/args.h"
#include "common/chart_axis.h"
#include "common/html.h"
#include "common/paths.h"

const char chart_style[] =
    ".chart { --c0: #2a78d6; --c1: #e0602b; --c2: #14936a; --c3: #b87f00; --c4: #6b4fc4; --c5: #cf4f86;\n"
    "         --c6: #4c7a1d; --c7: #c93a3a; --gray: #7a828e; --ink: #1c2127; --soft: #5c6570; --grid: #e3e6ea;\n"
    "         --plot: transparent; display: block; width: 100%; height: auto; }\n"
    "@media (prefers-color-scheme: dark) { .chart { --c0: #5b9df0; --c1: #f08a5d; --c2: #3cbd92; --c3: #dba528;\n"
    "         --c4: #a48ff0; --c5: #ea86b0; --c6: #8fbc56; --c7: #ee7272; --gray: #8f97a3; --ink: #e6e9ed;\n"
    "         --soft: #a3abb6; --grid: #323842; } }\n"
    ".chart text { font: 12px system-ui, sans-serif; fill: var(--soft); }\n"
    ".chart .title { font-size: 14px; font-weight: 600; fill: var(--ink); }\n"
    ".chart .note { paint-order: stroke; stroke: var(--panel, #8881); stroke-width: 3px; }\n"
    ".chart .grid { stroke: var(--grid); stroke-width: 1; }\n"
    ".chart .axis { stroke: var(--soft); stroke-width: 1; }\n"
    ".chart .rule { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 5 4; fill: none; }\n"
    ".chart .line { fill: none; stroke: var(--k); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }\n"
    ".chart .dashes { stroke-dasharray: 1 5; }\n"
    ".chart .band { fill: var(--k); opacity: .18; }\n"
    ".chart .whisker { stroke: var(--k); stroke-width: 1.5; opacity: .6; fill: none; }\n"
    ".chart .point { fill: var(--k); opacity: .65; }\n"
    ".chart .point:hover { opacity: 1; stroke: var(--ink); stroke-width: 1.5; }\n"
    ".chart .bars { fill: var(--k); }\n"
    ".chart .several { fill-opacity: .4; stroke: var(--k); stroke-width: 1; }\n";

enum { DEFAULT_WIDTH = 480, DEFAULT_HEIGHT = 300, RIGHT_PX = 14, LEGEND_ROW_PX = 18, LEGEND_MARK_PX = 18 };

/* Where things are, in px of the drawing; y grows downwards. */
typedef struct frame {
    FILE *stream;
    double left, right, top, bottom;
    int width, height;
    chart_scale x, y;
} frame;

static double place_x(const frame *f, double value)
{
    return f->left + chart_scale_place(&f->x, value) * (f->right - f->left);
}

static double place_y(const frame *f, double value)
{
    return f->bottom - chart_scale_place(&f->y, value) * (f->bottom - f->top);
}

/* ---- Ranges --------------------------------------------------------------- */

typedef struct range {
    double low, high;
} range;

static void widen(range *r, double value, bool logarithmic)
{
    if (isfinite(value) && (!logarithmic || value > 0.0)) {
        r->low = fmin(r->low, value);
        r->high = fmax(r->high, value);
    }
}

static double x_of(const chart_series *series, size_t i)
{
    return series->x != NULL ? series->x[i] : (double)i;
}

static range range_x(const chart_spec *chart)
{
    range r = { INFINITY, -INFINITY };

    for (size_t s = 0; s < chart->series_count; s++) {
        const chart_series *series = &chart->series[s];

        for (size_t i = 0; i < series->count; i++) {
            widen(&r, x_of(series, i), chart->x.logarithmic);
            if (series->mark == CHART_BARS) {
                widen(&r, x_of(series, i) + series->bar_width, chart->x.logarithmic);
            }
        }
    }
    return r;
}

/* Room beside the outermost points, which are drawn with a size. */
static range pad_points(const chart_spec *chart, range r)
{
    bool points = false;

    for (size_t s = 0; s < chart->series_count; s++) {
        points = points || chart->series[s].mark == CHART_POINTS;
    }
    if (!points || !(r.low < r.high)) {
        return r;
    }
    if (chart->x.logarithmic) {
        double factor = pow(r.high / r.low, 0.04);

        return (range){ r.low / factor, r.high * factor };
    }
    return (range){ r.low - 0.04 * (r.high - r.low), r.high + 0.04 * (r.high - r.low) };
}

static range range_y(const chart_spec *chart)
{
    range r = { INFINITY, -INFINITY };

    for (size_t s = 0; s < chart->series_count; s++) {
        const chart_series *series = &chart->series[s];

        for (size_t i = 0; i < series->count; i++) {
            widen(&r, series->y[i], chart->y.logarithmic);
            if (series->low != NULL && series->high != NULL) {
                widen(&r, series->low[i], chart->y.logarithmic);
                widen(&r, series->high[i], chart->y.logarithmic);
            }
        }
        if (series->mark == CHART_BARS) {
            widen(&r, 0.0, chart->y.logarithmic);
        }
    }
    for (size_t i = 0; i < chart->rule_count; i++) {
        if (!chart->rules[i].vertical) {
            widen(&r, chart->rules[i].at, chart->y.logarithmic);
        }
    }
    return r;
}

static void make_scale(chart_scale *scale, const chart_axis *axis, range data, bool fit, int wanted)
{
    if (axis->low < axis->high) {
        chart_scale_make(scale, axis->low, axis->high, false, axis->logarithmic, axis->whole_labels, wanted);
    } else {
        chart_scale_make(scale, data.low, data.high, fit, axis->logarithmic, axis->whole_labels, wanted);
    }
}

/* ---- Legend --------------------------------------------------------------- */

/* Nearly the width of 12 px text; nothing here can measure. UTF-8's later bytes have no width. */
static double text_width(const char *text)
{
    double width = 0.0;

    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0u) == 0x80u ? 0.0 : 7.2;
    }
    return width;
}

static void color_style(const frame *f, int color)
{
    if (color < 0) {
        fputs(" style=\"--k:var(--gray)\"", f->stream);
    } else {
        fprintf(f->stream, " style=\"--k:var(--c%d)\"", color % CHART_COLORS);
    }
}

static void draw_legend_mark(const frame *f, const chart_series *series, double x, double y)
{
    switch (series->mark) {
    case CHART_LINE:
    case CHART_DASHES:
        fprintf(f->stream, "<path class=\"line%s\"", series->mark == CHART_DASHES ? " dashes" : "");
        color_style(f, series->color);
        fprintf(f->stream, " d=\"M%.1f %.1fh12\"/>", x, y);
        break;
    case CHART_POINTS:
        fputs("<circle class=\"point\"", f->stream);
        color_style(f, series->color);
        fprintf(f->stream, " cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>", x + 6.0, y);
        break;
    case CHART_BARS:
        fputs("<rect class=\"bars\"", f->stream);
        color_style(f, series->color);
        fprintf(f->stream, " x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" rx=\"2\"/>", x, y - 5.5);
        break;
    }
}

/* Draws, or only measures: the number of rows. */
static int legend(const frame *f, const chart_spec *chart, double top, bool draw)
{
    double x = f->left;
    int rows = 0;

    for (size_t s = 0; s < chart->series_count; s++) {
        const chart_series *series = &chart->series[s];
        double wide = 0.0;

        if (series->name == NULL) {
            continue;
        }
        wide = LEGEND_MARK_PX + text_width(series->name) + 14.0;
        if (rows == 0 || x + wide > f->width) {
            rows++;
            x = f->left;
        }
        if (draw) {
            double y = top + (rows - 1) * LEGEND_ROW_PX + 8.0;

            draw_legend_mark(f, series, x, y);
            fprintf(f->stream, "<text x=\"%.1f\" y=\"%.1f\">", x + LEGEND_MARK_PX, y + 4.0);
            html_text(f->stream, series->name);
            fputs("</text>\n", f->stream);
        }
        x += wide;
    }
    return rows;
}

/* ---- Axes ----------------------------------------------------------------- */

static void draw_axes(const frame *f, const chart_spec *chart)
{
    FILE *stream = f->stream;

    for (size_t i = 0; i < f->y.tick_count; i++) {
        double y = place_y(f, f->y.ticks[i]);

        fprintf(stream, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", f->left, y, f->right);
        fprintf(stream, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", f->left - 6.0, y + 4.0,
                f->y.labels[i]);
    }
    for (size_t i = 0; i < f->x.tick_count; i++) {
        double x = place_x(f, f->x.ticks[i]);

        fprintf(stream, "<path class=\"axis\" d=\"M%.1f %.1fv4\"/>", x, f->bottom);
        fprintf(stream, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", x, f->bottom + 17.0,
                f->x.labels[i]);
    }
    fprintf(stream, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>\n", f->left, f->bottom, f->right);
    if (chart->x.label != NULL) {
        fprintf(stream, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", (f->left + f->right) / 2.0,
                f->bottom + 35.0);
        html_text(stream, chart->x.label);
        fputs("</text>\n", stream);
    }
    if (chart->y.label != NULL) {
        fprintf(stream, "<text transform=\"translate(13 %.1f) rotate(-90)\" text-anchor=\"middle\">",
                (f->top + f->bottom) / 2.0);
        html_text(stream, chart->y.label);
        fputs("</text>\n", stream);
    }
}

static void draw_rules(const frame *f, const chart_spec *chart)
{
    if (chart->diagonal) {
        double low = fmax(f->x.low, f->y.low);
        double high = fmin(f->x.high, f->y.high);

        fprintf(f->stream, "<path class=\"rule\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", place_x(f, low), place_y(f, low),
                place_x(f, high), place_y(f, high));
    }
    for (size_t i = 0; i < chart->rule_count; i++) {
        const chart_rule *rule = &chart->rules[i];
        double x = rule->vertical ? place_x(f, rule->at) : f->right;
        double y = rule->vertical ? f->top : place_y(f, rule->at);

        if (!(x >= f->left - 0.5 && x <= f->right + 0.5 && y >= f->top - 0.5 && y <= f->bottom + 0.5)) {
            continue;
        }
        if (rule->vertical) {
            fprintf(f->stream, "<path class=\"rule\" d=\"M%.1f %.1fV%.1f\"/>", x, f->top, f->bottom);
        } else {
            fprintf(f->stream, "<path class=\"rule\" d=\"M%.1f %.1fH%.1f\"/>", f->left, y, f->right);
        }
        if (rule->label != NULL) {
            bool left = rule->vertical && x + text_width(rule->label) < f->right;

            double below = !rule->vertical && y < f->top + 12.0 ? 17.0 : 0.0;

            fprintf(f->stream, "<text class=\"note\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">",
                    rule->vertical ? x : x - 4.0, y - 4.0 + below, left ? "start" : "end");
            html_text(f->stream, rule->label);
            fputs("</text>\n", f->stream);
        }
    }
}

/* ---- Series --------------------------------------------------------------- */

static void point_to(const frame *f, double x, double y, bool *pen_down)
{
    fprintf(f->stream, "%c%.1f %.1f", *pen_down ? 'L' : 'M', x, y);
    *pen_down = true;
}

/* A long line has more points than the drawing has columns: of each column its lowest and its highest are enough. */
static void draw_polyline(const frame *f, const chart_series *series)
{
    bool pen_down = false;
    double column = -1.0, low = 0.0, high = 0.0;
    bool thin = series->count > 4 * (size_t)f->width;

    fprintf(f->stream, "<path class=\"line%s\"", series->mark == CHART_DASHES ? " dashes" : "");
    color_style(f, series->color);
    fputs(" d=\"", f->stream);
    for (size_t i = 0; i < series->count; i++) {
        double x = place_x(f, x_of(series, i));
        double y = place_y(f, series->y[i]);
        bool gap = isnan(x) || isnan(y);

        if (!thin) {
            if (gap) {
                pen_down = false;
            } else {
                point_to(f, x, y, &pen_down);
            }
            continue;
        }
        if (column >= 0.0 && (gap || floor(x) != column)) {
            point_to(f, column, low, &pen_down);
            point_to(f, column, high, &pen_down);
            column = -1.0;
        }
        if (gap) {
            pen_down = false;
        } else if (column < 0.0) {
            column = floor(x);
            low = high = y;
        } else {
            low = fmin(low, y);
            high = fmax(high, y);
        }
    }
    if (column >= 0.0) {
        point_to(f, column, low, &pen_down);
        point_to(f, column, high, &pen_down);
    }
    fputs("\"/>\n", f->stream);
}

/* One closed path for each run without a gap; of a long one every so many points. */
static void draw_band(const frame *f, const chart_series *series)
{
    size_t step = series->count / (2 * (size_t)f->width) + 1;

    fputs("<path class=\"band\"", f->stream);
    color_style(f, series->color);
    fputs(" d=\"", f->stream);
    for (size_t i = 0; i < series->count;) {
        size_t end = i;
        bool pen_down = false;

        while (end < series->count && !isnan(place_x(f, x_of(series, end))) && !isnan(place_y(f, series->low[end])) &&
               !isnan(place_y(f, series->high[end]))) {
            point_to(f, place_x(f, x_of(series, end)), place_y(f, series->low[end]), &pen_down);
            end += step;
        }
        for (size_t k = end; k > i; k -= step) {
            size_t back = k - step;

            point_to(f, place_x(f, x_of(series, back)), place_y(f, series->high[back]), &pen_down);
        }
        if (pen_down) {
            fputc('Z', f->stream);
        }
        i = end + step;
    }
    fputs("\"/>\n", f->stream);
}

static void draw_whiskers(const frame *f, const chart_series *series)
{
    double half = series->mark == CHART_BARS ? series->bar_width / 2.0 : 0.0;

    fputs("<path class=\"whisker\"", f->stream);
    color_style(f, series->color);
    fputs(" d=\"", f->stream);
    for (size_t i = 0; i < series->count; i++) {
        double x = place_x(f, x_of(series, i) + half);
        double low = place_y(f, series->low[i]);
        double high = place_y(f, series->high[i]);

        if (!isnan(x) && !isnan(low) && !isnan(high)) {
            fprintf(f->stream, "M%.1f %.1fV%.1f", x, low, high);
        }
    }
    fputs("\"/>\n", f->stream);
}

static void draw_points(const frame *f, const chart_series *series)
{
    double radius = series->count > 400 ? 2.5 : series->count > 60 ? 3.5 : 4.5;

    fputs("<g", f->stream);
    color_style(f, series->color);
    fputs(">\n", f->stream);
    for (size_t i = 0; i < series->count; i++) {
        double x = place_x(f, x_of(series, i));
        double y = place_y(f, series->y[i]);

        if (isnan(x) || isnan(y)) {
            continue;
        }
        fprintf(f->stream, "<circle class=\"point\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"", x, y, radius);
        if (series->titles != NULL) {
            fputs("><title>", f->stream);
            html_text(f->stream, series->titles[i]);
            fputs("</title></circle>\n", f->stream);
        } else {
            fputs("/>\n", f->stream);
        }
    }
    fputs("</g>\n", f->stream);
}

static void draw_bars(const frame *f, const chart_series *series, bool several)
{
    double ground = place_y(f, f->y.logarithmic ? f->y.low : fmax(f->y.low, fmin(f->y.high, 0.0)));

    fprintf(f->stream, "<path class=\"bars%s\"", several ? " several" : "");
    color_style(f, series->color);
    fputs(" d=\"", f->stream);
    for (size_t i = 0; i < series->count; i++) {
        double x0 = place_x(f, x_of(series, i));
        double x1 = place_x(f, x_of(series, i) + series->bar_width);
        double y = place_y(f, series->y[i]);

        if (!isnan(x0) && !isnan(x1) && !isnan(y) && fabs(y - ground) > 0.05) {
            /* a gap of 1 px between neighbours, where that leaves something */
            x1 -= !several && x1 - x0 > 3.0 ? 1.0 : 0.0;
            fprintf(f->stream, "M%.1f %.1fV%.1fH%.1fV%.1fZ", x0, ground, y, x1, ground);
        }
    }
    fputs("\"/>\n", f->stream);
}

static void draw_series(const frame *f, const chart_spec *chart)
{
    size_t bars = 0;

    for (size_t s = 0; s < chart->series_count; s++) {
        bars += chart->series[s].mark == CHART_BARS;
    }
    for (size_t s = 0; s < chart->series_count; s++) {
        const chart_series *series = &chart->series[s];
        bool interval = series->low != NULL && series->high != NULL;

        if (series->count == 0) {
            continue;
        }
        switch (series->mark) {
        case CHART_LINE:
        case CHART_DASHES:
            if (interval) {
                draw_band(f, series);
            }
            draw_polyline(f, series);
            break;
        case CHART_POINTS:
            draw_points(f, series);
            break;
        case CHART_BARS:
            draw_bars(f, series, bars > 1);
            break;
        }
        if (interval && (series->mark == CHART_POINTS || series->mark == CHART_BARS)) {
            draw_whiskers(f, series);
        }
    }
}

/* ---- The whole ------------------------------------------------------------ */

static void lay_out(frame *f, const chart_spec *chart)
{
    double widest = 0.0;
    double head = chart->title != NULL ? 26.0 : 8.0;

    f->width = chart->width > 0 ? chart->width : DEFAULT_WIDTH;
    f->height = chart->height > 0 ? chart->height : DEFAULT_HEIGHT;
    make_scale(&f->y, &chart->y, range_y(chart), true, f->height / 45);
    for (size_t i = 0; i < f->y.tick_count; i++) {
        widest = fmax(widest, text_width(f->y.labels[i]));
    }
    f->left = widest + (chart->y.label != NULL ? 30.0 : 12.0);
    f->right = f->width - RIGHT_PX;
    make_scale(&f->x, &chart->x, pad_points(chart, range_x(chart)), false, f->width / 80);
    f->top = head + legend(f, chart, 0.0, false) * LEGEND_ROW_PX + 6.0;
    for (size_t i = 0; i < chart->rule_count; i++) {
        if (chart->rules[i].vertical && chart->rules[i].label != NULL) { /* their words stand above the plot */
            f->top += 13.0;
            break;
        }
    }
    f->bottom = f->height - (chart->x.label != NULL ? 44.0 : 26.0);
}

static void write_svg(FILE *stream, const chart_spec *chart, bool alone)
{
    frame f = { .stream = stream };

    lay_out(&f, chart);
    fprintf(stream, "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\"",
            f.width, f.height);
    if (chart->title != NULL) {
        fputs(" aria-label=\"", stream);
        html_text(stream, chart->title);
        fputc('"', stream);
    }
    fputs(">\n", stream);
    if (alone) {
        fprintf(stream,
                "<style>%s.chart { background: #fff; }\n"
                "@media (prefers-color-scheme: dark) { .chart { background: #16191e; } }\n</style>\n",
                chart_style);
    }
    if (chart->title != NULL) {
        fprintf(stream, "<text class=\"title\" x=\"%.1f\" y=\"17\">", f.left);
        html_text(stream, chart->title);
        fputs("</text>\n", stream);
    }
    legend(&f, chart, chart->title != NULL ? 26.0 : 8.0, true);
    draw_axes(&f, chart);
    /* what a given range leaves out must not leave the plot */
    fprintf(stream, "<svg x=\"0\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" viewBox=\"0 %.1f %d %.1f\">\n", f.top - 6.0,
            f.width, f.bottom - f.top + 7.0, f.top - 6.0, f.width, f.bottom - f.top + 7.0);
    draw_series(&f, chart);
    fputs("</svg>\n", stream);
    draw_rules(&f, chart); /* last: their words stay readable */
    fputs("</svg>\n", stream);
}

void chart_write(FILE *stream, const chart_spec *chart)
{
    write_svg(stream, chart, false);
}

bool chart_write_file(const char *path, const chart_spec *chart)
{
    char *text = NULL;
    size_t size_bytes = 0;
    FILE *stream = open_memstream(&text, &size_bytes);
    bool fine = stream != NULL;

    if (fine) {
        write_svg(stream, chart, true);
        fine = fclose(stream) == 0;
    }
    if (!fine) {
        complain("%s: out of memory", path);
    }
    fine = fine && write_whole_file(path, NULL, 0, text, size_bytes);
    free(text);
    return fine;
}

double chart_histogram(const double *values, size_t count, double low, double high, size_t bins, double *starts,
                       double *counts)
{
    double width = (high - low) / (double)bins;

    for (size_t i = 0; i < bins; i++) {
        starts[i] = low + width * (double)i;
        counts[i] = 0.0;
    }
    for (size_t i = 0; i < count; i++) {
        double place = floor((values[i] - low) / width);

        if (isfinite(values[i])) {
            counts[(size_t)fmin(fmax(place, 0.0), (double)bins - 1.0)] += 1.0;
        }
    }
    return width;
}
