/* SPDX-License-Identifier: Apache-2.0
 * The scale of a chart's axis: its range, where its ticks stand and how they are written. */
#ifndef EXAMPLES_COMMON_CHART_AXIS_H
#define EXAMPLES_COMMON_CHART_AXIS_H

#include <stdbool.h>
#include <stddef.h>

#define CHART_MAX_TICKS  16
#define CHART_TICK_BYTES 24

typedef struct chart_scale {
    double low, high; /* low < high; of a logarithmic scale both positive */
    bool logarithmic;
    size_t tick_count;
    double ticks[CHART_MAX_TICKS];
    char labels[CHART_MAX_TICKS][CHART_TICK_BYTES];
} chart_scale;

/* Ticks at 1, 2 or 5 times a power of ten, about `wanted` of them. fit: low and high may be widened to the next tick.
 * Any two numbers are fine: equal, swapped or not finite ones become a range that can be drawn. */
void chart_scale_make(chart_scale *scale, double low, double high, bool fit, bool logarithmic, bool whole, int wanted);

/* 0 at low, 1 at high; NaN where the scale has no place for the value. */
double chart_scale_place(const chart_scale *scale, double value);

#endif
