/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "json_reader.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "paths.h"

#define MAX_DEPTH 32

typedef struct reader {
    const char *name, *text, *at;
    json_member_fn member;
    void *user;
    bool failed;
} reader;

static bool fail(reader *r, const char *expected)
{
    int line = 1;

    for (const char *c = r->text; c < r->at; c++) {
        line += *c == '\n';
    }
    if (!r->failed) {
        complain("%s, line %d: expected %s", r->name, line, expected);
    }
    r->failed = true;
    return false;
}

static void skip_space(reader *r)
{
    while (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r') {
        r->at++;
    }
}

static bool take(reader *r, char c)
{
    skip_space(r);
    if (*r->at != c) {
        return false;
    }
    r->at++;
    return true;
}

static int hex_digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

static bool read_unit(reader *r, uint32_t *unit)
{
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(*r->at);
        if (digit < 0) {
            return fail(r, "four hexadecimal digits");
        }
        *unit = *unit << 4 | (uint32_t)digit;
        r->at++;
    }
    return true;
}

static char *put_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

/* After the backslash and the u. */
static bool read_code(reader *r, uint32_t *code)
{
    uint32_t low;

    if (!read_unit(r, code)) {
        return false;
    }
    if (*code >= 0xd800 && *code < 0xdc00) {
        if (r->at[0] != '\\' || r->at[1] != 'u') {
            return fail(r, "the second half of a surrogate pair");
        }
        r->at += 2;
        if (!read_unit(r, &low) || low < 0xdc00 || low > 0xdfff) {
            return fail(r, "the second half of a surrogate pair");
        }
        *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    }
    return (*code != 0 && (*code < 0xdc00 || *code > 0xdfff)) || fail(r, "a character");
}

static char *read_string(reader *r)
{
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char *text = must_alloc(strlen(r->at) + 1), *to = text;
    uint32_t code;

    r->at++;
    while (*r->at != '"') {
        if ((unsigned char)*r->at < 0x20) {
            fail(r, "the end of a string");
            free(text);
            return NULL;
        }
        if (*r->at != '\\') {
            *to++ = *r->at++;
            continue;
        }
        const char *found = r->at[1] != '\0' ? strchr(escapes, r->at[1]) : NULL;
        if (found != NULL) {
            *to++ = meanings[found - escapes];
            r->at += 2;
        } else if (r->at[1] == 'u') {
            r->at += 2;
            if (!read_code(r, &code)) {
                free(text);
                return NULL;
            }
            to = put_utf8(to, code);
        } else {
            fail(r, "an escape that JSON has");
            free(text);
            return NULL;
        }
    }
    r->at++;
    *to = '\0';
    return text;
}

static bool skip_value(reader *r, int depth);

static bool skip_members(reader *r, char close, int depth)
{
    r->at++;
    if (take(r, close)) {
        return true;
    }
    do {
        skip_space(r);
        if (close == '}') {
            char *key = *r->at == '"' ? read_string(r) : NULL;
            if (key == NULL || !take(r, ':')) {
                free(key);
                return fail(r, "a key and a colon");
            }
            free(key);
        }
        if (!skip_value(r, depth + 1)) {
            return false;
        }
    } while (take(r, ','));
    return take(r, close) || fail(r, close == '}' ? "} or a comma" : "] or a comma");
}

/* A number, true, false or null: from *start to r->at. */
static bool skip_word(reader *r, const char **start)
{
    char *end;

    *start = r->at;
    for (const char *const *word = (const char *const[]){ "true", "false", "null", NULL }; *word != NULL; word++) {
        if (strncmp(r->at, *word, strlen(*word)) == 0 && !isalnum((unsigned char)r->at[strlen(*word)])) {
            r->at += strlen(*word);
            return true;
        }
    }
    if (*r->at != '-' && !isdigit((unsigned char)*r->at)) {
        return fail(r, "a value");
    }
    strtod(r->at, &end);
    for (const char *c = r->at; c < end; c++) {
        if (strchr("0123456789+-.eE", *c) == NULL) {
            return fail(r, "a number");
        }
    }
    r->at = end;
    return true;
}

static bool skip_value(reader *r, int depth)
{
    const char *start;

    skip_space(r);
    if (depth > MAX_DEPTH) {
        return fail(r, "less nesting");
    }
    if (*r->at == '{' || *r->at == '[') {
        return skip_members(r, *r->at == '{' ? '}' : ']', depth);
    }
    if (*r->at == '"') {
        char *text = read_string(r);
        free(text);
        return text != NULL;
    }
    return skip_word(r, &start);
}

static char *copy(const char *from, const char *to)
{
    char *text = must_alloc((size_t)(to - from) + 1);

    memcpy(text, from, (size_t)(to - from));
    text[to - from] = '\0';
    return text;
}

static bool read_value(reader *r, const char *key, int index);

static bool read_array(reader *r, const char *key)
{
    int index = 0;

    r->at++;
    if (take(r, ']')) {
        return r->member(r->user, key, NULL, 0);
    }
    do {
        if (!read_value(r, key, index++)) {
            return false;
        }
    } while (take(r, ','));
    return take(r, ']') || fail(r, "] or a comma");
}

static bool read_value(reader *r, const char *key, int index)
{
    const char *start;
    char *text;

    skip_space(r);
    if (*r->at == '[' && index < 0) {
        return read_array(r, key);
    }
    if (*r->at == '"') {
        text = read_string(r);
    } else if (*r->at == '{') {
        start = r->at;
        text = skip_value(r, 1) ? copy(start, r->at) : NULL;
    } else if (*r->at == '[') {
        return fail(r, "no array within an array");
    } else {
        text = skip_word(r, &start) ? copy(start, r->at) : NULL;
        if (text != NULL && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)) {
            text[0] = text[0] == 't' ? '1' : '0';
            text[1] = '\0';
        } else if (text != NULL && strcmp(text, "null") == 0) {
            free(text);
            return r->member(r->user, key, NULL, index);
        }
    }
    bool done = text != NULL && r->member(r->user, key, text, index);
    free(text);
    return done;
}

bool json_read_object(const char *name, const char *text, json_member_fn member, void *user)
{
    reader r = { .name = name, .text = text, .at = text, .member = member, .user = user };

    if (!take(&r, '{')) {
        return fail(&r, "an object");
    }
    if (!take(&r, '}')) {
        do {
            skip_space(&r);
            char *key = *r.at == '"' ? read_string(&r) : NULL;
            if (key == NULL || !take(&r, ':')) {
                free(key);
                return fail(&r, "a key and a colon");
            }
            bool done = read_value(&r, key, -1);
            free(key);
            if (!done) {
                return false;
            }
        } while (take(&r, ','));
        if (!take(&r, '}')) {
            return fail(&r, "} or a comma");
        }
    }
    skip_space(&r);
    return *r.at == '\0' || fail(&r, "nothing after the object");
}
