/* SPDX-License-Identifier: Apache-2.0
 * A clock, and what is said of a series of times. */
#ifndef EXAMPLES_COMMON_TIMING_H
#define EXAMPLES_COMMON_TIMING_H

#include <stddef.h>

/* A monotonic clock, in milliseconds. */
double now_ms(void);

typedef struct time_series {
    double *ms;
    size_t count;
    size_t capacity;
} time_series;

void time_series_add(time_series *series, double ms);
void time_series_free(time_series *series);

typedef struct time_summary {
    double median_ms;
    double min_ms;
    double p95_ms; /* the smallest time that 95 % of them do not exceed */
} time_summary;

/* Sorts the series; all zero when it is empty. */
time_summary time_series_summary(time_series *series);

#endif
