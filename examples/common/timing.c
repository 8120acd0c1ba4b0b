/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "timing.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "paths.h"

double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

void time_series_add(time_series *series, double ms)
{
    if (series->count == series->capacity) {
        size_t capacity = series->capacity == 0 ? 64 : 2 * series->capacity;
        double *larger = must_alloc(capacity * sizeof(*larger));

        if (series->count != 0) {
            memcpy(larger, series->ms, series->count * sizeof(*larger));
        }
        free(series->ms);
        series->ms = larger;
        series->capacity = capacity;
    }
    series->ms[series->count++] = ms;
}

void time_series_free(time_series *series)
{
    free(series->ms);
    *series = (time_series){ 0 };
}

static int compare_times(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;

    return a < b ? -1 : a > b;
}

time_summary time_series_summary(time_series *series)
{
    size_t n = series->count;

    if (n == 0) {
        return (time_summary){ 0 };
    }
    qsort(series->ms, n, sizeof(double), compare_times);
    return (time_summary){ .median_ms = 0.5 * (series->ms[(n - 1) / 2] + series->ms[n / 2]),
                           .min_ms = series->ms[0],
                           .p95_ms = series->ms[(95 * n + 99) / 100 - 1] };
}
