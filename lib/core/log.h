/* SPDX-License-Identifier: Apache-2.0
 * The log: lines for the caller's callback, nothing otherwise. */
#ifndef M2S_CORE_LOG_H
#define M2S_CORE_LOG_H

#include <stdbool.h>

#include "m2snet.h"

typedef struct m2s_log {
    m2snet_log_fn write; /* NULL = silent */
    void *user;
    m2snet_log_level level;
} m2s_log;

bool m2s_log_wants(const m2s_log *log, m2snet_log_level level);
__attribute__((format(printf, 3, 4))) void m2s_log_write(const m2s_log *log, m2snet_log_level level, const char *format,
                                                         ...);

#endif
