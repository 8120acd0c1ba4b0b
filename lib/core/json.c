/* SPDX-License-Identifier: Apache-2.0 */
#include "core/json.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/quote.h"

#define REAL_TEXT_BYTES 40

static json_t *foreign(const m2s_json *json)
{
    return (json_t *)(uintptr_t)json;
}

static m2s_json *own(json_t *json)
{
    return (m2s_json *)json;
}

/* The fewest digits that read back equal, '.' whatever the locale says, and always recognisable as a real. */
static void format_real(double value, char text[REAL_TEXT_BYTES])
{
    char raw[REAL_TEXT_BYTES];
    size_t used = 0;
    bool real = false;

    for (int digits = 1; digits <= 17; digits++) {
        snprintf(raw, sizeof raw, "%.*g", digits, value);
        if (strtod(raw, NULL) == value) {
            break;
        }
    }
    for (const char *c = raw; *c != '\0'; c++) {
        bool number = (*c >= '0' && *c <= '9') || *c == '-' || *c == '+' || *c == 'e';
        if (number) {
            real = real || *c == 'e';
            text[used++] = *c;
        } else if (!real) { /* the decimal point, which may have several bytes */
            real = true;
            text[used++] = '.';
        }
    }
    if (!real) {
        text[used++] = '.';
        text[used++] = '0';
    }
    text[used] = '\0';
}

/* ---- reading ---- */

/* Counts depth and values before the parser, which has fixed limits of its own, allocates anything. */
static m2snet_status check_limits(const m2s_json_source *source, const char *text, size_t bytes, m2snet_error *error)
{
    size_t depth = 0;
    size_t values = 0;
    size_t line = 1;
    const char *line_start = text;
    bool string = false;

    for (const char *c = text, *end = text + bytes; c < end; c++) {
        if (*c == '\n') {
            line++;
            line_start = c + 1;
        }
        if (string) {
            if (*c == '\\' && c + 1 < end) {
                c++;
            } else if (*c == '"') {
                string = false;
            }
            continue;
        }
        switch (*c) {
        case '"':
            string = true;
            break;
        case '{':
        case '[':
            depth++;
            values++;
            break;
        case '}':
        case ']':
            depth -= depth > 0;
            break;
        case ',':
            values++;
            break;
        default:
            break;
        }
        if (depth > M2S_JSON_MAX_DEPTH) {
            return m2s_fail(error, source->status, "%s: line %zu, column %zu: nested deeper than %u levels",
                            source->name, line, (size_t)(c - line_start) + 1, M2S_JSON_MAX_DEPTH);
        }
        if (values > M2S_JSON_MAX_VALUES) {
            return m2s_fail(error, source->status == M2SNET_STATUS_FORMAT ? M2SNET_STATUS_LIMIT : source->status,
                            "%s: line %zu, column %zu: more than %u values", source->name, line,
                            (size_t)(c - line_start) + 1, M2S_JSON_MAX_VALUES);
        }
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_json_parse(const m2s_json_source *source, const char *text, size_t bytes, m2s_json **json,
                             m2snet_error *error)
{
    json_error_t fault;

    *json = NULL;
    m2snet_status status = check_limits(source, text, bytes, error);
    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &fault);
    if (root == NULL) {
        /* Without memory jansson often says nothing; faults of the text always have words. */
        if (fault.text[0] == '\0' || json_error_code(&fault) == json_error_out_of_memory) {
            return m2s_fail_memory(error, source->name, bytes);
        }
        for (char *c = fault.text; *c != '\0'; c++) {
            if ((unsigned char)*c < 0x20u || (unsigned char)*c >= 0x7fu) {
                *c = '?';
            }
        }
        return m2s_fail(error, source->status, "%s: line %d, column %d: %s", source->name, fault.line, fault.column,
                        fault.text);
    }
    *json = own(root);
    return M2SNET_STATUS_OK;
}

void m2s_json_free(m2s_json *root)
{
    json_decref(foreign(root));
}

m2s_json_kind m2s_json_kind_of(const m2s_json *json)
{
    switch (json_typeof(foreign(json))) {
    case JSON_OBJECT:
        return M2S_JSON_OBJECT;
    case JSON_ARRAY:
        return M2S_JSON_ARRAY;
    case JSON_STRING:
        return M2S_JSON_STRING;
    case JSON_INTEGER:
        return M2S_JSON_INTEGER;
    case JSON_REAL:
        return M2S_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return M2S_JSON_BOOL;
    case JSON_NULL:
    default:
        return M2S_JSON_NULL;
    }
}

const char *m2s_json_kind_name(m2s_json_kind kind)
{
    static const char *const names[] = { "null",     "true or false", "an integer", "a number",
                                         "a string", "an array",      "an object" };

    return names[kind];
}

size_t m2s_json_count(const m2s_json *json)
{
    return json_is_object(foreign(json)) ? json_object_size(foreign(json)) : json_array_size(foreign(json));
}

m2s_json *m2s_json_find(const m2s_json *object, const char *key)
{
    return own(json_object_get(foreign(object), key));
}

m2s_json *m2s_json_at(const m2s_json *array, size_t index)
{
    return own(json_array_get(foreign(array), index));
}

const char *m2s_json_string(const m2s_json *json, size_t *bytes)
{
    if (!json_is_string(foreign(json))) {
        return NULL;
    }
    if (bytes != NULL) {
        *bytes = json_string_length(foreign(json));
    }
    return json_string_value(foreign(json));
}

bool m2s_json_integer(const m2s_json *json, int64_t *value)
{
    if (!json_is_integer(foreign(json))) {
        return false;
    }
    *value = json_integer_value(foreign(json));
    return true;
}

bool m2s_json_number(const m2s_json *json, double *value)
{
    if (!json_is_number(foreign(json))) {
        return false;
    }
    *value = json_number_value(foreign(json));
    return true;
}

bool m2s_json_next(const m2s_json *object, m2s_json_cursor *cursor)
{
    json_t *json = foreign(object);

    cursor->position =
        cursor->position == NULL ? json_object_iter(json) : json_object_iter_next(json, cursor->position);
    if (cursor->position == NULL) {
        return false;
    }
    cursor->key = json_object_iter_key(cursor->position);
    cursor->key_bytes = strlen(cursor->key); /* keys hold no NUL: reading refuses them, building cannot make them */
    cursor->value = own(json_object_iter_value(cursor->position));
    return true;
}

const char *m2s_json_unknown_key(const m2s_json *object, const char *const *known, size_t count)
{
    m2s_json_cursor cursor = { 0 };

    while (m2s_json_next(object, &cursor)) {
        size_t i = 0;
        while (i < count && strcmp(known[i], cursor.key) != 0) {
            i++;
        }
        if (i == count) {
            return cursor.key;
        }
    }
    return NULL;
}

/* ---- checked members ---- */

typedef struct description {
    char text[sizeof(m2s_quoted)];
} description;

static description describe(const m2s_json *json)
{
    description d;
    char real[REAL_TEXT_BYTES];
    size_t length = 0;
    const char *text;

    switch (m2s_json_kind_of(json)) {
    case M2S_JSON_STRING:
        text = m2s_json_string(json, &length);
        memcpy(d.text, m2s_quote(text, length).text, sizeof d.text);
        break;
    case M2S_JSON_INTEGER:
        snprintf(d.text, sizeof d.text, "%" JSON_INTEGER_FORMAT, json_integer_value(foreign(json)));
        break;
    case M2S_JSON_REAL:
        format_real(json_real_value(foreign(json)), real);
        snprintf(d.text, sizeof d.text, "%s", real);
        break;
    case M2S_JSON_BOOL:
        snprintf(d.text, sizeof d.text, "%s", json_is_true(foreign(json)) ? "true" : "false");
        break;
    case M2S_JSON_ARRAY:
        snprintf(d.text, sizeof d.text, "an array of %zu", m2s_json_count(json));
        break;
    case M2S_JSON_OBJECT:
        snprintf(d.text, sizeof d.text, "an object");
        break;
    case M2S_JSON_NULL:
    default:
        snprintf(d.text, sizeof d.text, "null");
        break;
    }
    return d;
}

__attribute__((format(printf, 5, 6))) static m2snet_status fail_key(const m2s_json_source *source, const char *key,
                                                                    const m2s_json *got, m2snet_error *error,
                                                                    const char *format, ...)
{
    char expected[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(expected, sizeof expected, format, arguments);
    va_end(arguments);
    return m2s_fail(error, source->status, "%s key %s: expected %s, got %s", source->name,
                    m2s_quote(key, strlen(key)).text, expected, got == NULL ? "nothing" : describe(got).text);
}

static const char *range_text(double low, double high, char text[2 * REAL_TEXT_BYTES + 2])
{
    char first[REAL_TEXT_BYTES];
    char last[REAL_TEXT_BYTES];

    format_real(low, first);
    format_real(high, last);
    snprintf(text, 2 * REAL_TEXT_BYTES + 2, "%s..%s", first, last);
    return text;
}

m2snet_status m2s_json_get_integer(const m2s_json_source *source, const m2s_json *object, const char *key,
                                   m2s_json_need need, int64_t low, int64_t high, int64_t *value, m2snet_error *error)
{
    const m2s_json *member = m2s_json_find(object, key);
    int64_t got;

    if (member == NULL && need == M2S_JSON_OPTIONAL) {
        return M2SNET_STATUS_OK;
    }
    if (member == NULL || !m2s_json_integer(member, &got) || got < low || got > high) {
        return fail_key(source, key, member, error, "an integer %" PRId64 "..%" PRId64, low, high);
    }
    *value = got;
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_json_get_number(const m2s_json_source *source, const m2s_json *object, const char *key,
                                  m2s_json_need need, double low, double high, double *value, m2snet_error *error)
{
    const m2s_json *member = m2s_json_find(object, key);
    char range[2 * REAL_TEXT_BYTES + 2];
    double got;

    if (member == NULL && need == M2S_JSON_OPTIONAL) {
        return M2SNET_STATUS_OK;
    }
    if (member == NULL || !m2s_json_number(member, &got) || got < low || got > high) {
        return fail_key(source, key, member, error, "a number %s", range_text(low, high, range));
    }
    *value = got;
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_json_get_bool(const m2s_json_source *source, const m2s_json *object, const char *key,
                                m2s_json_need need, bool *value, m2snet_error *error)
{
    const m2s_json *member = m2s_json_find(object, key);

    if (member == NULL && need == M2S_JSON_OPTIONAL) {
        return M2SNET_STATUS_OK;
    }
    if (member == NULL || m2s_json_kind_of(member) != M2S_JSON_BOOL) {
        return fail_key(source, key, member, error, "true or false");
    }
    *value = json_is_true(foreign(member));
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_json_get_string(const m2s_json_source *source, const m2s_json *object, const char *key,
                                  m2s_json_need need, const char **value, m2snet_error *error)
{
    const m2s_json *member = m2s_json_find(object, key);

    if (member == NULL && need == M2S_JSON_OPTIONAL) {
        return M2SNET_STATUS_OK;
    }
    if (member == NULL || m2s_json_kind_of(member) != M2S_JSON_STRING) {
        return fail_key(source, key, member, error, "a string");
    }
    *value = m2s_json_string(member, NULL);
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_json_get_choice(const m2s_json_source *source, const m2s_json *object, const char *key,
                                  m2s_json_need need, const char *const *words, size_t count, size_t *index,
                                  m2snet_error *error)
{
    const m2s_json *member = m2s_json_find(object, key);
    const char *text = member != NULL ? m2s_json_string(member, NULL) : NULL;
    char list[200] = "";

    if (member == NULL && need == M2S_JSON_OPTIONAL) {
        return M2SNET_STATUS_OK;
    }
    for (size_t i = 0; text != NULL && i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            *index = i;
            return M2SNET_STATUS_OK;
        }
    }
    for (size_t i = 0, used = 0; i < count && used < sizeof list; i++) {
        int wrote = snprintf(list + used, sizeof list - used, "%s\"%s\"", i == 0 ? "" : ", ", words[i]);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    return fail_key(source, key, member, error, "one of %s", list);
}

m2snet_status m2s_json_get_child(const m2s_json_source *source, const m2s_json *object, const char *key,
                                 m2s_json_need need, m2s_json_kind kind, m2s_json **value, m2snet_error *error)
{
    m2s_json *member = m2s_json_find(object, key);

    if (member == NULL && need == M2S_JSON_OPTIONAL) {
        return M2SNET_STATUS_OK;
    }
    if (member == NULL || m2s_json_kind_of(member) != kind) {
        return fail_key(source, key, member, error, "%s", m2s_json_kind_name(kind));
    }
    *value = member;
    return M2SNET_STATUS_OK;
}

/* An array of low_count..high_count elements, or a fault that says so. */
static m2snet_status get_list(const m2s_json_source *source, const m2s_json *object, const char *key,
                              m2s_json_need need, size_t low_count, size_t high_count, const char *of,
                              const m2s_json **list, m2snet_error *error)
{
    const m2s_json *member = m2s_json_find(object, key);

    *list = NULL;
    if (member == NULL && need == M2S_JSON_OPTIONAL) {
        return M2SNET_STATUS_OK;
    }
    if (member == NULL || m2s_json_kind_of(member) != M2S_JSON_ARRAY || m2s_json_count(member) < low_count ||
        m2s_json_count(member) > high_count) {
        if (low_count == high_count) {
            return fail_key(source, key, member, error, "an array of %zu %s", low_count, of);
        }
        return fail_key(source, key, member, error, "an array of %zu to %zu %s", low_count, high_count, of);
    }
    *list = member;
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_json_get_integers(const m2s_json_source *source, const m2s_json *object, const char *key,
                                    m2s_json_need need, size_t low_count, size_t high_count, int64_t low, int64_t high,
                                    int64_t *values, size_t *count, m2snet_error *error)
{
    const m2s_json *list;
    int64_t got;
    m2snet_status status = get_list(source, object, key, need, low_count, high_count, "integers", &list, error);

    if (status != M2SNET_STATUS_OK || list == NULL) {
        return status;
    }
    for (int write = 0; write < 2; write++) { /* checked whole before anything is written */
        for (size_t i = 0; i < m2s_json_count(list); i++) {
            const m2s_json *element = m2s_json_at(list, i);
            if (!m2s_json_integer(element, &got) || got < low || got > high) {
                return fail_key(source, key, element, error,
                                "integers %" PRId64 "..%" PRId64 " in the array (number %zu)", low, high, i + 1);
            }
            if (write != 0) {
                values[i] = got;
            }
        }
    }
    *count = m2s_json_count(list);
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_json_get_numbers(const m2s_json_source *source, const m2s_json *object, const char *key,
                                   m2s_json_need need, size_t low_count, size_t high_count, double low, double high,
                                   double *values, size_t *count, m2snet_error *error)
{
    const m2s_json *list;
    char range[2 * REAL_TEXT_BYTES + 2];
    double got;
    m2snet_status status = get_list(source, object, key, need, low_count, high_count, "numbers", &list, error);

    if (status != M2SNET_STATUS_OK || list == NULL) {
        return status;
    }
    for (int write = 0; write < 2; write++) {
        for (size_t i = 0; i < m2s_json_count(list); i++) {
            const m2s_json *element = m2s_json_at(list, i);
            if (!m2s_json_number(element, &got) || got < low || got > high) {
                return fail_key(source, key, element, error, "numbers %s in the array (number %zu)",
                                range_text(low, high, range), i + 1);
            }
            if (write != 0) {
                values[i] = got;
            }
        }
    }
    *count = m2s_json_count(list);
    return M2SNET_STATUS_OK;
}

/* ---- building ---- */

static m2snet_status fail_build(m2snet_error *error)
{
    return m2s_fail_memory(error, "a JSON value", sizeof(json_t));
}

m2snet_status m2s_json_object(m2s_json **json, m2snet_error *error)
{
    *json = own(json_object());
    return *json != NULL ? M2SNET_STATUS_OK : fail_build(error);
}

m2snet_status m2s_json_array(m2s_json **json, m2snet_error *error)
{
    *json = own(json_array());
    return *json != NULL ? M2SNET_STATUS_OK : fail_build(error);
}

/* Takes over value, which is NULL when it could not be made. */
static m2snet_status put(m2s_json *container, const char *key, json_t *value, m2snet_error *error)
{
    json_t *into = foreign(container);

    if (value == NULL) {
        return fail_build(error);
    }
    if (key == NULL) {
        return json_array_append_new(into, value) == 0 ? M2SNET_STATUS_OK : fail_build(error);
    }
    if (!m2s_is_utf8(key, strlen(key))) { /* the setter would not say whether the key or memory was at fault */
        json_decref(value);
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "JSON key %s: expected UTF-8",
                        m2s_quote(key, strlen(key)).text);
    }
    return json_object_set_new(into, key, value) == 0 ? M2SNET_STATUS_OK : fail_build(error);
}

m2snet_status m2s_json_put_null(m2s_json *container, const char *key, m2snet_error *error)
{
    return put(container, key, json_null(), error);
}

m2snet_status m2s_json_put_bool(m2s_json *container, const char *key, bool value, m2snet_error *error)
{
    return put(container, key, json_boolean(value), error);
}

m2snet_status m2s_json_put_integer(m2s_json *container, const char *key, int64_t value, m2snet_error *error)
{
    return put(container, key, json_integer(value), error);
}

m2snet_status m2s_json_put_number(m2s_json *container, const char *key, double value, m2snet_error *error)
{
    if (!isfinite(value)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "JSON key %s: expected a finite number, got %s",
                        key == NULL ? "(element)" : m2s_quote(key, strlen(key)).text,
                        isnan(value) ? "NaN" : "infinity");
    }
    return put(container, key, json_real(value), error);
}

m2snet_status m2s_json_put_string(m2s_json *container, const char *key, const char *value, m2snet_error *error)
{
    if (!m2s_is_utf8(value, strlen(value))) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "JSON key %s: expected UTF-8, got %s",
                        key == NULL ? "(element)" : m2s_quote(key, strlen(key)).text,
                        m2s_quote(value, strlen(value)).text);
    }
    return put(container, key, json_string(value), error);
}

m2snet_status m2s_json_put_child(m2s_json *container, const char *key, m2s_json_kind kind, m2s_json **child,
                                 m2snet_error *error)
{
    json_t *made = kind == M2S_JSON_OBJECT ? json_object() : json_array();
    m2snet_status status = put(container, key, made, error);

    *child = status == M2SNET_STATUS_OK ? own(made) : NULL;
    return status;
}

m2snet_status m2s_json_put_copy(m2s_json *container, const char *key, const m2s_json *value, m2snet_error *error)
{
    return put(container, key, json_deep_copy(foreign(value)), error);
}

void m2s_json_remove(m2s_json *object, const char *key)
{
    json_object_del(foreign(object), key);
}

/* ---- writing ---- */

typedef struct writer {
    m2s_memory *memory;
    char *text;
    size_t used, capacity;
    int style;
    bool failed; /* out of memory; everything after it is ignored */
} writer;

static void emit(writer *w, const char *text, size_t bytes)
{
    size_t need;

    if (w->failed || bytes == 0) {
        return;
    }
    if (!m2s_add(w->used, bytes, &need)) {
        w->failed = true;
        return;
    }
    if (w->text == NULL || need > w->capacity) {
        size_t capacity = need < SIZE_MAX / 2 ? 2 * need + 256 : need;
        char *grown = m2s_realloc(w->memory, w->text, capacity);
        if (grown == NULL) {
            w->failed = true;
            return;
        }
        w->text = grown;
        w->capacity = capacity;
    }
    memcpy(w->text + w->used, text, bytes);
    w->used = need;
}

static void emit_text(writer *w, const char *text)
{
    emit(w, text, strlen(text));
}

static void emit_string(writer *w, const char *text, size_t length)
{
    size_t start = 0;

    emit(w, "\"", 1);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        char escape[8];
        if (c >= 0x20u && c != '"' && c != '\\') {
            continue;
        }
        emit(w, text + start, i - start);
        start = i + 1;
        switch (c) {
        case '"':
            emit_text(w, "\\\"");
            break;
        case '\\':
            emit_text(w, "\\\\");
            break;
        case '\n':
            emit_text(w, "\\n");
            break;
        case '\t':
            emit_text(w, "\\t");
            break;
        case '\r':
            emit_text(w, "\\r");
            break;
        default:
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)c);
            emit_text(w, escape);
            break;
        }
    }
    emit(w, text + start, length - start);
    emit(w, "\"", 1);
}

static void emit_break(writer *w, size_t depth)
{
    if ((w->style & M2S_JSON_INDENT) != 0) {
        emit(w, "\n", 1);
        for (size_t i = 0; i < depth; i++) {
            emit(w, "  ", 2);
        }
    }
}

static int compare_keys(const void *a, const void *b)
{
    const m2s_json_cursor *left = a;
    const m2s_json_cursor *right = b;

    return strcmp(left->key, right->key);
}

static void emit_value(writer *w, const m2s_json *json, size_t depth);

static void emit_member(writer *w, const m2s_json_cursor *member, bool first, size_t depth)
{
    if (!first) {
        emit(w, ",", 1);
    }
    emit_break(w, depth + 1);
    emit_string(w, member->key, member->key_bytes);
    emit_text(w, (w->style & M2S_JSON_INDENT) != 0 ? ": " : ":");
    emit_value(w, member->value, depth + 1);
}

static void emit_object(writer *w, const m2s_json *json, size_t depth)
{
    size_t count = m2s_json_count(json);
    m2s_json_cursor cursor = { 0 };

    emit(w, "{", 1);
    if ((w->style & M2S_JSON_SORTED) != 0 && count > 1) {
        m2s_json_cursor *members = m2s_alloc_array(w->memory, count, sizeof *members);
        if (members == NULL) {
            w->failed = true;
            return;
        }
        for (size_t i = 0; m2s_json_next(json, &cursor); i++) {
            members[i] = cursor;
        }
        qsort(members, count, sizeof *members, compare_keys);
        for (size_t i = 0; i < count; i++) {
            emit_member(w, &members[i], i == 0, depth);
        }
        m2s_free(w->memory, members);
    } else {
        bool first = true;
        while (m2s_json_next(json, &cursor)) {
            emit_member(w, &cursor, first, depth);
            first = false;
        }
    }
    if (count > 0) {
        emit_break(w, depth);
    }
    emit(w, "}", 1);
}

static void emit_array(writer *w, const m2s_json *json, size_t depth)
{
    size_t count = m2s_json_count(json);
    bool nested = false;

    for (size_t i = 0; i < count && !nested; i++) {
        m2s_json_kind kind = m2s_json_kind_of(m2s_json_at(json, i));
        nested = kind == M2S_JSON_OBJECT || kind == M2S_JSON_ARRAY;
    }
    emit(w, "[", 1);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            emit_text(w, (w->style & M2S_JSON_INDENT) != 0 && !nested ? ", " : ",");
        }
        if (nested) {
            emit_break(w, depth + 1);
        }
        emit_value(w, m2s_json_at(json, i), depth + 1);
    }
    if (nested) {
        emit_break(w, depth);
    }
    emit(w, "]", 1);
}

static void emit_value(writer *w, const m2s_json *json, size_t depth)
{
    char number[REAL_TEXT_BYTES];

    if (w->failed) {
        return;
    }
    switch (m2s_json_kind_of(json)) {
    case M2S_JSON_OBJECT:
        emit_object(w, json, depth);
        break;
    case M2S_JSON_ARRAY:
        emit_array(w, json, depth);
        break;
    case M2S_JSON_STRING:
        emit_string(w, json_string_value(foreign(json)), json_string_length(foreign(json)));
        break;
    case M2S_JSON_INTEGER:
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(foreign(json)));
        emit_text(w, number);
        break;
    case M2S_JSON_REAL:
        format_real(json_real_value(foreign(json)), number);
        emit_text(w, number);
        break;
    case M2S_JSON_BOOL:
        emit_text(w, json_is_true(foreign(json)) ? "true" : "false");
        break;
    case M2S_JSON_NULL:
    default:
        emit_text(w, "null");
        break;
    }
}

m2snet_status m2s_json_write(m2s_memory *memory, const m2s_json *json, int style, char **text, size_t *bytes,
                             m2snet_error *error)
{
    writer w = { .memory = memory, .style = style };

    *text = NULL;
    emit_value(&w, json, 0);
    emit(&w, "", 1);
    if (w.failed) {
        size_t held = w.used;
        m2s_free(memory, w.text);
        return m2s_fail_memory(error, "JSON text", held);
    }
    *text = w.text;
    if (bytes != NULL) {
        *bytes = w.used - 1;
    }
    return M2SNET_STATUS_OK;
}
