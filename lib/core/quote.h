/* SPDX-License-Identifier: Apache-2.0
 * Names that come out of files, made fit for a message: quoted, cut, without control characters. */
#ifndef M2S_CORE_QUOTE_H
#define M2S_CORE_QUOTE_H

#include <stdbool.h>
#include <stddef.h>

/* Strict: no overlong forms, no surrogates. A zero byte is a character like any other. */
bool m2s_is_utf8(const char *text, size_t length);

typedef struct m2s_quoted {
    char text[132];
} m2s_quoted;

/* "text" in double quotes, at most 120 bytes of it ("..." marks a cut); control characters and what is not UTF-8
 * become '?'. Use as m2s_quote(name, length).text inside the call that needs it. */
m2s_quoted m2s_quote(const char *text, size_t length);

#endif
