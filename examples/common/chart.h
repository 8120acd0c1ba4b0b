/* SPDX-License-Identifier: Apache-2.0
 * Charts as SVG elements: lines, bands, points, bars, with axes, grid and legend. Colours come from CSS variables that
 * follow the reader's light or dark scheme: a page carries chart_style once, in its <style>; chart_write_file writes a
 * picture that stands alone. Numbers that are not finite are gaps. Nothing is kept after a call. */
#ifndef EXAMPLES_COMMON_CHART_H
#define EXAMPLES_COMMON_CHART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define CHART_COLORS 8
#define CHART_GRAY   (-1)

typedef enum chart_mark {
    CHART_LINE, /* with low and high: over a band */
    CHART_DASHES,
    CHART_POINTS, /* with low and high: on whiskers */
    CHART_BARS    /* bar i stands on 0 and covers x[i] .. x[i] + bar_width */
} chart_mark;

typedef struct chart_series {
    const char *name; /* in the legend; NULL: not there */
    chart_mark mark;
    int color; /* 0 .. CHART_COLORS - 1, taken modulo; or CHART_GRAY */
    size_t count;
    const double *x; /* NULL: 0, 1, 2, ... */
    const double *y;
    const double *low, *high;  /* NULL, or the ends of an interval around each y */
    const char *const *titles; /* NULL, or what the pointer shows over each of CHART_POINTS */
    double bar_width;          /* CHART_BARS */
} chart_series;

typedef struct chart_axis {
    const char *label;
    double low, high;  /* equal: from the data */
    bool logarithmic;  /* values of 0 and less are gaps */
    bool whole_labels; /* ticks at whole numbers only (epochs, counts) */
} chart_axis;

/* A straight line across the plot with a word at its end. */
typedef struct chart_rule {
    double at;
    bool vertical;
    const char *label; /* may be NULL */
} chart_rule;

typedef struct chart_spec {
    const char *title; /* may be NULL */
    chart_axis x, y;
    const chart_series *series;
    size_t series_count;
    const chart_rule *rules;
    size_t rule_count;
    int width, height; /* px of the drawing's own space; 0: 480 x 300. It is shown as wide as the page gives it. */
    bool diagonal;     /* the line y = x, dashed */
} chart_spec;

/* CSS for the elements that chart_write writes. */
extern const char chart_style[];

/* An <svg> element. Write errors are left in the stream for ferror. */
void chart_write(FILE *stream, const chart_spec *chart);
/* The same as a whole SVG file; false after a complaint. */
bool chart_write_file(const char *path, const chart_spec *chart);

/* How many of the count values (finite ones only) fall into each of bins equal parts of low..high; values outside go
 * into the first and last part. starts and counts have room for bins numbers: x and y of CHART_BARS. Returns the width
 * of a part. */
double chart_histogram(const double *values, size_t count, double low, double high, size_t bins, double *starts,
                       double *counts);

#endif
