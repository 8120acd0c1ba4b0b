/* SPDX-License-Identifier: Apache-2.0 */
#include "train/schedule.h"

#include <inttypes.h>
#include <math.h>

#define PI 3.14159265358979323846

m2snet_status m2s_schedule_check(const m2s_schedule *s, m2snet_error *error)
{
    if (s->kind < M2SNET_SCHEDULE_TRIANGLE || s->kind > M2SNET_SCHEDULE_CONSTANT) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "schedule is %d: expected TRIANGLE, WARMUP_LINEAR, POLY, COSINE or CONSTANT", (int)s->kind);
    }
    if (!(s->warmup >= 0.0 && s->warmup <= 1.0)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "warmup is %g: expected 0 to 1, a share of all steps",
                        s->warmup);
    }
    if (!(s->power > 0.0 && s->power <= 100.0)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "power is %g: expected more than 0, at most 100",
                        s->power);
    }
    if (s->epochs < 1 || s->epochs > 1000000) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "epochs is %" PRId64 ": expected 1 to 1000000",
                        s->epochs);
    }
    if (s->steps_per_epoch < 1 || s->steps_per_epoch > 1000000000) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "steps_per_epoch is %" PRId64 ": expected 1 to 1000000000", s->steps_per_epoch);
    }
    return M2SNET_STATUS_OK;
}

static double triangle(int64_t epoch, int64_t epochs)
{
    int64_t last = epoch < epochs ? epoch : epochs - 1;

    return 1.0 - fabs(2.0 * (double)(last + 1) / (double)(epochs + 1) - 1.0);
}

double m2s_schedule_factor(const m2s_schedule *s, int64_t epoch, int64_t batch)
{
    double total = (double)s->epochs * (double)s->steps_per_epoch;
    double done = (double)epoch * (double)s->steps_per_epoch + (s->per_epoch ? 0.0 : (double)batch);
    double rise = s->warmup * total;

    if (s->kind == M2SNET_SCHEDULE_TRIANGLE) {
        return triangle(epoch, s->epochs);
    }
    if (done < rise) {
        return done + 1.0 < rise ? (done + 1.0) / rise : 1.0; /* the first step moves, too */
    }
    if (s->kind == M2SNET_SCHEDULE_CONSTANT) {
        return 1.0;
    }
    if (done >= total) {
        return 0.0;
    }
    switch (s->kind) {
    case M2SNET_SCHEDULE_POLY:
        return pow(1.0 - done / total, s->power);
    case M2SNET_SCHEDULE_COSINE:
        return 0.5 * (1.0 + cos(PI * done / total));
    default:
        return (total - done) / (total - rise);
    }
}
