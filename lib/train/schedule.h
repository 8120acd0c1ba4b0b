/* SPDX-License-Identifier: Apache-2.0
 * The learning rate's course over a run (MODELS.md 4.2 for the triangle), as a factor of the peak rate. */
#ifndef M2S_TRAIN_SCHEDULE_H
#define M2S_TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef struct m2s_schedule {
    m2snet_schedule kind;
    double warmup;           /* share of all steps, 0..1; without effect on the triangle */
    double power;            /* POLY */
    int64_t epochs;          /* at least 1 */
    int64_t steps_per_epoch; /* at least 1 */
    bool per_epoch;          /* every step of an epoch has the factor of its first */
} m2s_schedule;

/* INVALID_ARGUMENT names the member that makes no sense. */
m2snet_status m2s_schedule_check(const m2s_schedule *schedule, m2snet_error *error);

/* 0..1, for the step number `batch` of an epoch (both from 0). Beyond the last epoch: what the last step had for the
 * triangle and CONSTANT, 0 for the others. */
double m2s_schedule_factor(const m2s_schedule *schedule, int64_t epoch, int64_t batch);

#endif
