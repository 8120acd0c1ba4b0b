/* SPDX-License-Identifier: Apache-2.0 */
#include "core/control.h"

#include <time.h>

#define REPORT_INTERVAL_NS 5000000u

uint64_t m2s_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void m2s_control_init(m2s_control *control, const m2snet_control *user)
{
    control->user = user != NULL ? *user : (m2snet_control){ 0 };
    atomic_init(&control->stop, false);
    control->last_report_ns = 0;
}

bool m2s_control_stopped(const m2s_control *control)
{
    return control != NULL && (atomic_load_explicit(&control->stop, memory_order_relaxed) ||
                               (control->user.cancel != NULL &&
                                atomic_load_explicit(&control->user.cancel->requested, memory_order_relaxed) != 0));
}

bool m2s_control_report(m2s_control *control, const char *phase, uint64_t done, uint64_t total)
{
    if (control == NULL) {
        return false;
    }
    if (control->user.progress != NULL && !atomic_load_explicit(&control->stop, memory_order_relaxed)) {
        uint64_t now = m2s_now_ns();
        if (now - control->last_report_ns >= REPORT_INTERVAL_NS || (total != 0 && done == total)) {
            m2snet_progress progress = { phase, done, total };
            control->last_report_ns = now;
            if (control->user.progress(control->user.progress_user, &progress) != 0) {
                atomic_store(&control->stop, true);
            }
        }
    }
    return m2s_control_stopped(control);
}

m2snet_status m2s_fail_cancelled(m2snet_error *error, const char *phase)
{
    return m2s_fail(error, M2SNET_STATUS_CANCELLED, "cancelled by the caller during \"%s\"", phase);
}
