/* SPDX-License-Identifier: Apache-2.0 */
#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>

bool m2s_log_wants(const m2s_log *log, m2snet_log_level level)
{
    return log != NULL && log->write != NULL && level <= log->level;
}

void m2s_log_write(const m2s_log *log, m2snet_log_level level, const char *format, ...)
{
    char line[1024];
    va_list arguments;

    if (!m2s_log_wants(log, level)) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    log->write(log->user, level, line);
}
