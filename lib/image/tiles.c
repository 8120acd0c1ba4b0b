/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tiles.h"

#include <math.h>
#include <string.h>

int32_t m2s_tile_count(int32_t length, int32_t window, double step)
{
    if (length <= window) {
        return 1;
    }
    return (int32_t)ceil((double)(length - window) / (step * (double)window)) + 1;
}

/* To the nearest whole number, half to even, whatever the caller's rounding mode. */
static int32_t round_even(double value)
{
    double below = floor(value), part = value - below;
    int32_t whole = (int32_t)below;

    return part > 0.5 || (part == 0.5 && whole % 2 != 0) ? whole + 1 : whole;
}

int32_t m2s_tile_begin(int32_t length, int32_t window, int32_t count, int32_t index)
{
    if (count == 1) {
        return length < window ? -((window - length) / 2) : 0;
    }
    return round_even((double)(length - window) / (double)(count - 1) * (double)index);
}

void m2s_tile_weights(int32_t window, float *weights)
{
    double sigma = (double)window / 8.0;
    int32_t centre = window / 2;

    for (int32_t i = 0; i < window; i++) {
        double distance = (double)(i - centre) / sigma;
        weights[i] = (float)exp(-0.5 * distance * distance);
    }
}

void m2s_tile_sums(int32_t length, int32_t window, int32_t count, const float *weights, double *sums)
{
    memset(sums, 0, (size_t)length * sizeof *sums);
    for (int32_t k = 0; k < count; k++) {
        int32_t begin = m2s_tile_begin(length, window, count, k);
        for (int32_t i = begin < 0 ? -begin : 0; i < window && begin + i < length; i++) {
            sums[begin + i] += (double)weights[i];
        }
    }
}
