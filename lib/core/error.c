/* SPDX-License-Identifier: Apache-2.0 */
#include "core/error.h"

#include <stdio.h>
#include <string.h>

/* Removes a UTF-8 character that the end of the buffer cut in two. */
static void trim_partial_character(char *text)
{
    size_t length = strlen(text);
    size_t i = length;

    while (i > 0 && length - i < 4 && ((unsigned char)text[i - 1] & 0xc0u) == 0x80u) {
        i--;
    }
    if (i == 0) {
        return;
    }
    unsigned char lead = (unsigned char)text[i - 1];
    size_t wanted = lead >= 0xf0u ? 4 : lead >= 0xe0u ? 3 : lead >= 0xc0u ? 2 : 1;
    if (length - (i - 1) < wanted) {
        text[i - 1] = '\0';
    }
}

m2snet_status m2s_fail_v(m2snet_error *error, m2snet_status status, const char *format, va_list arguments)
{
    if (error != NULL) {
        error->status = status;
        int length = vsnprintf(error->message, sizeof error->message, format, arguments);
        if (length < 0) {
            error->message[0] = '\0';
        } else if ((size_t)length >= sizeof error->message) {
            trim_partial_character(error->message);
        }
    }
    return status;
}

m2snet_status m2s_fail(m2snet_error *error, m2snet_status status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    m2s_fail_v(error, status, format, arguments);
    va_end(arguments);
    return status;
}

m2snet_status m2s_fail_memory(m2snet_error *error, const char *name, size_t bytes)
{
    return m2s_fail(error, M2SNET_STATUS_OUT_OF_MEMORY, "out of memory: %s needs %zu bytes", name, bytes);
}

void m2s_error_prefix(m2snet_error *error, const char *format, ...)
{
    char rest[sizeof error->message];
    va_list arguments;

    if (error == NULL) {
        return;
    }
    memcpy(rest, error->message, sizeof rest);
    va_start(arguments, format);
    int length = vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    size_t used = length < 0 ? 0 : (size_t)length;
    if (used < sizeof error->message) {
        length = snprintf(error->message + used, sizeof error->message - used, ": %s", rest);
    }
    if (length < 0) {
        error->message[0] = '\0';
    }
    trim_partial_character(error->message);
}
