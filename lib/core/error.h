/* SPDX-License-Identifier: Apache-2.0
 * How errors travel: functions return m2snet_status, the message is written once, nearest the cause. */
#ifndef M2S_CORE_ERROR_H
#define M2S_CORE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

#include "m2snet.h"

/* Jumps to the function's `fail:` label when `call` fails. Needs `m2snet_status status;` in scope. */
#define M2S_TRY(call)                                                                                                  \
    do {                                                                                                               \
        status = (call);                                                                                               \
        if (status != M2SNET_STATUS_OK) {                                                                              \
            goto fail;                                                                                                 \
        }                                                                                                              \
    } while (0)

/* Writes status and message into error (nullable) and returns status. Cuts long messages at a character. */
__attribute__((format(printf, 3, 4))) m2snet_status m2s_fail(m2snet_error *error, m2snet_status status,
                                                             const char *format, ...);
m2snet_status m2s_fail_v(m2snet_error *error, m2snet_status status, const char *format, va_list arguments);

/* "out of memory: NAME needs BYTES bytes" */
m2snet_status m2s_fail_memory(m2snet_error *error, const char *name, size_t bytes);

/* Puts "PREFIX: " in front of the message that is there, for callers that know the file or the model. */
__attribute__((format(printf, 2, 3))) void m2s_error_prefix(m2snet_error *error, const char *format, ...);

#endif
