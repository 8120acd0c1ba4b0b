/* SPDX-License-Identifier: Apache-2.0
 * Progress and cancel inside the library: one m2s_control per public call. */
#ifndef M2S_CORE_CONTROL_H
#define M2S_CORE_CONTROL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/error.h"

typedef struct m2s_control {
    m2snet_control user;
    atomic_bool stop; /* latched: the callback asked once */
    uint64_t last_report_ns;
} m2s_control;

struct m2snet_cancel {
    atomic_int requested; /* lock free: m2snet_cancel_request may run in a signal handler */
};

/* user NULL = nobody watches. */
void m2s_control_init(m2s_control *control, const m2snet_control *user);
/* Calling thread only: reports progress (at most every few ms, and at done == total) and returns whether to stop. */
bool m2s_control_report(m2s_control *control, const char *phase, uint64_t done, uint64_t total);
/* Any thread, cheap: whether to stop. NULL control = never. */
bool m2s_control_stopped(const m2s_control *control);
/* "cancelled during PHASE" */
m2snet_status m2s_fail_cancelled(m2snet_error *error, const char *phase);
uint64_t m2s_now_ns(void); /* monotonic */

#endif
