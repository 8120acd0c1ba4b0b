/* SPDX-License-Identifier: Apache-2.0
 * JSON onto a stream, indented, valid whatever the strings and numbers are: bytes that are not UTF-8 become U+FFFD,
 * numbers that are not finite become null. key is NULL inside arrays and for the outermost value. */
#ifndef EXAMPLES_COMMON_JSON_WRITER_H
#define EXAMPLES_COMMON_JSON_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct json_writer {
    FILE *stream;
    int depth;
    bool first; /* nothing stands yet in the innermost object or array */
} json_writer;

void json_start(json_writer *json, FILE *stream);
void json_open(json_writer *json, const char *key, char bracket);        /* '{' or '[' */
void json_close(json_writer *json, char bracket);                        /* '}' or ']'; the outermost ends the line */
void json_string(json_writer *json, const char *key, const char *value); /* NULL becomes null */
void json_integer(json_writer *json, const char *key, int64_t value);
void json_number(json_writer *json, const char *key, double value);
/* text is a JSON value itself. */
void json_verbatim(json_writer *json, const char *key, const char *text);

#endif
