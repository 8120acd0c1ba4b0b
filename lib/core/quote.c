/* SPDX-License-Identifier: Apache-2.0 */
#include "core/quote.h"

#include <string.h>

#define SHOWN_BYTES 120u

/* Bytes of the UTF-8 character at text, 0 when there is none. */
static size_t character_bytes(const unsigned char *text, size_t length)
{
    unsigned char lead = text[0];
    unsigned char low = 0x80u; /* of the second byte, narrower after some first bytes */
    unsigned char high = 0xbfu;
    size_t bytes = 1;

    if (lead < 0x80u) {
        return 1;
    }
    if (lead >= 0xc2u && lead <= 0xdfu) {
        bytes = 2;
    } else if (lead >= 0xe0u && lead <= 0xefu) {
        bytes = 3;
        low = lead == 0xe0u ? 0xa0u : low;
        high = lead == 0xedu ? 0x9fu : high;
    } else if (lead >= 0xf0u && lead <= 0xf4u) {
        bytes = 4;
        low = lead == 0xf0u ? 0x90u : low;
        high = lead == 0xf4u ? 0x8fu : high;
    } else {
        return 0;
    }
    if (bytes > length || text[1] < low || text[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < bytes; i++) {
        if ((text[i] & 0xc0u) != 0x80u) {
            return 0;
        }
    }
    return bytes;
}

bool m2s_is_utf8(const char *text, size_t length)
{
    for (size_t i = 0, bytes; i < length; i += bytes) {
        bytes = character_bytes((const unsigned char *)text + i, length - i);
        if (bytes == 0) {
            return false;
        }
    }
    return true;
}

m2s_quoted m2s_quote(const char *text, size_t length)
{
    m2s_quoted quoted;
    size_t used = 0;
    size_t i = 0;

    quoted.text[used++] = '"';
    while (i < length) {
        size_t bytes = character_bytes((const unsigned char *)text + i, length - i);
        unsigned char lead = (unsigned char)text[i];
        if (used + (bytes == 0 ? 1 : bytes) > SHOWN_BYTES + 1) {
            break;
        }
        if (bytes == 0 || lead < 0x20u || lead == 0x7fu) {
            quoted.text[used++] = '?';
            i++;
        } else {
            memcpy(quoted.text + used, text + i, bytes);
            used += bytes;
            i += bytes;
        }
    }
    memcpy(quoted.text + used, i < length ? "...\"" : "\"", i < length ? 5 : 2);
    return quoted;
}
