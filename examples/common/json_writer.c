/* SPDX-License-Identifier: Apache-2.0 */
#include "json_writer.h"

#include <inttypes.h>
#include <math.h>

/* Length of the well-formed UTF-8 character at text, 0 when there is none. */
static int utf8_length(const unsigned char *text)
{
    int length = text[0] < 0x80   ? 1
                 : text[0] < 0xc2 ? 0
                 : text[0] < 0xe0 ? 2
                 : text[0] < 0xf0 ? 3
                 : text[0] < 0xf5 ? 4
                                  : 0;

    for (int i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f)) {
        return 0; /* overlong, a surrogate, or beyond U+10FFFF */
    }
    return length;
}

static void write_string(FILE *stream, const char *value)
{
    const unsigned char *text = (const unsigned char *)value;

    fputc('"', stream);
    while (*text != '\0') {
        int length = utf8_length(text);

        if (length == 0) {
            fputs("\\ufffd", stream);
            length = 1;
        } else if (*text == '"' || *text == '\\') {
            fprintf(stream, "\\%c", *text);
        } else if (*text == '\n') {
            fputs("\\n", stream);
        } else if (*text < 0x20 || *text == 0x7f) {
            fprintf(stream, "\\u%04x", *text);
        } else {
            fwrite(text, 1, (size_t)length, stream);
        }
        text += length;
    }
    fputc('"', stream);
}

static void begin(json_writer *json, const char *key)
{
    if (json->depth > 0) {
        fprintf(json->stream, "%s\n%*s", json->first ? "" : ",", 2 * json->depth, "");
    }
    json->first = false;
    if (key != NULL) {
        write_string(json->stream, key);
        fputs(": ", json->stream);
    }
}

void json_start(json_writer *json, FILE *stream)
{
    *json = (json_writer){ .stream = stream, .first = true };
}

void json_open(json_writer *json, const char *key, char bracket)
{
    begin(json, key);
    fputc(bracket, json->stream);
    json->depth++;
    json->first = true;
}

void json_close(json_writer *json, char bracket)
{
    json->depth--;
    if (!json->first) {
        fprintf(json->stream, "\n%*s", 2 * json->depth, "");
    }
    fprintf(json->stream, "%c%s", bracket, json->depth == 0 ? "\n" : "");
    json->first = false;
}

void json_string(json_writer *json, const char *key, const char *value)
{
    if (value == NULL) {
        json_verbatim(json, key, "null");
        return;
    }
    begin(json, key);
    write_string(json->stream, value);
}

void json_integer(json_writer *json, const char *key, int64_t value)
{
    begin(json, key);
    fprintf(json->stream, "%" PRId64, value);
}

void json_number(json_writer *json, const char *key, double value)
{
    if (!isfinite(value)) {
        json_verbatim(json, key, "null");
        return;
    }
    begin(json, key);
    fprintf(json->stream, "%.6g", value); /* the programs keep the "C" locale, so with a point */
}

void json_verbatim(json_writer *json, const char *key, const char *text)
{
    begin(json, key);
    fputs(text, json->stream);
}
