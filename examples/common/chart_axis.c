/* SPDX-License-Identifier: Apache-2.0 */
#include "common/chart_axis.h"

#include <math.h>
#include <stdio.h>

/* unit 1, 1e3 or 1e6 takes zeros off long labels: "50k". */
static void add_tick(chart_scale *scale, double value, int decimals, double unit)
{
    char *label = scale->labels[scale->tick_count];

    if (scale->tick_count == CHART_MAX_TICKS) {
        return;
    }
    scale->ticks[scale->tick_count++] = value;
    if (value != 0.0 && (fabs(value) >= 1e9 || fabs(value) < 1e-4)) {
        snprintf(label, CHART_TICK_BYTES, "%.3g", value);
    } else if (unit > 1.0) {
        snprintf(label, CHART_TICK_BYTES, "%g%s", value / unit, value == 0.0 ? "" : unit > 1e3 ? "M" : "k");
    } else {
        snprintf(label, CHART_TICK_BYTES, "%.*f", decimals, value);
    }
}

static double unit_for(double largest)
{
    return largest >= 1e7 ? 1e6 : largest >= 1e4 ? 1e3 : 1.0;
}

/* The smallest of 1, 2, 5, 10 times a power of ten that is at least raw. */
static double nice_step(double raw)
{
    double power = pow(10.0, floor(log10(raw)));
    double digit = raw / power;

    return power * (digit <= 1.0 + 1e-9 ? 1.0 : digit <= 2.0 + 1e-9 ? 2.0 : digit <= 5.0 + 1e-9 ? 5.0 : 10.0);
}

static void linear_ticks(chart_scale *scale, bool fit, bool whole, int wanted)
{
    double step = nice_step((scale->high - scale->low) / wanted);
    int decimals;
    double first, last;

    if (whole && step < 1.0) {
        step = 1.0;
    }
    if (fit) {
        scale->low = floor(scale->low / step + 1e-9) * step;
        scale->high = ceil(scale->high / step - 1e-9) * step;
    }
    decimals = (int)fmax(0.0, -floor(log10(step) + 1e-9));
    first = ceil(scale->low / step - 1e-9);
    last = floor(scale->high / step + 1e-9);
    for (int k = 0; first + k <= last && scale->tick_count < CHART_MAX_TICKS; k++) {
        add_tick(scale, (first + k) * step + 0.0, decimals,
                 unit_for(fmax(fabs(scale->low), fabs(scale->high)))); /* no "-0" */
    }
}

static void logarithmic_ticks(chart_scale *scale, bool fit)
{
    static const double digits[] = { 1.0, 2.0, 5.0 };
    double decades;
    int first, last;
    int every;
    size_t kinds;

    if (fit && log10(scale->high / scale->low) > 1.0) {
        scale->low = pow(10.0, floor(log10(scale->low) + 1e-9));
        scale->high = pow(10.0, ceil(log10(scale->high) - 1e-9));
    }
    decades = log10(scale->high / scale->low);
    first = (int)floor(log10(scale->low) + 1e-9);
    last = (int)ceil(log10(scale->high) - 1e-9);
    every = (int)ceil(decades / 8.0);
    kinds = decades <= 3.0 ? 3 : 1;
    for (int k = first; k <= last; k += every > 0 ? every : 1) {
        for (size_t d = 0; d < kinds; d++) {
            double value = digits[d] * pow(10.0, k);

            if (value >= scale->low * (1.0 - 1e-9) && value <= scale->high * (1.0 + 1e-9)) {
                add_tick(scale, value, k < 0 ? -k : 0, value >= 1e6 ? 1e6 : unit_for(value));
            }
        }
    }
}

void chart_scale_make(chart_scale *scale, double low, double high, bool fit, bool logarithmic, bool whole, int wanted)
{
    *scale = (chart_scale){ .logarithmic = logarithmic };
    if (!isfinite(low) || !isfinite(high) || (logarithmic && (low <= 0.0 || high <= 0.0))) {
        low = logarithmic ? 1.0 : 0.0;
        high = logarithmic ? 10.0 : 1.0;
    }
    scale->low = fmin(low, high);
    scale->high = fmax(low, high);
    if (logarithmic) {
        if (scale->high / scale->low < 1.001) {
            scale->low /= 2.0;
            scale->high *= 2.0;
        }
        logarithmic_ticks(scale, fit);
        return;
    }
    if (scale->high - scale->low <= 1e-9 * fmax(fabs(scale->low), fabs(scale->high))) {
        double room = scale->low != 0.0 ? 0.1 * fabs(scale->low) : 0.5;

        scale->low -= room;
        scale->high += room;
    }
    linear_ticks(scale, fit, whole, wanted);
}

double chart_scale_place(const chart_scale *scale, double value)
{
    if (!isfinite(value) || (scale->logarithmic && value <= 0.0)) {
        return NAN;
    }
    if (scale->logarithmic) {
        return log(value / scale->low) / log(scale->high / scale->low);
    }
    return (value - scale->low) / (scale->high - scale->low);
}
