/* SPDX-License-Identifier: Apache-2.0
 * JSON: strict reading with limits, getters whose messages name the key, building, and writing.
 *
 * A document is a tree; m2s_json_parse and m2s_json_object/_array give a root that m2s_json_free ends, everything
 * reached from it is borrowed and dies with it. Trees live in malloc memory (jansson's), written text in an
 * m2s_memory. A tree may be read by several threads, changed by one. Independent of the locale. */
#ifndef M2S_CORE_JSON_H
#define M2S_CORE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/memory.h"

#define M2S_JSON_MAX_DEPTH  64u        /* nested objects and arrays */
#define M2S_JSON_MAX_VALUES (2u << 20) /* objects, arrays, members and elements of one document */

typedef struct m2s_json m2s_json;

/* Where a document came from, for messages: `config key "threshold": expected ...` */
typedef struct m2s_json_source {
    const char *name;     /* "config" */
    m2snet_status status; /* what a fault in it is: FORMAT in a file, INVALID_ARGUMENT in an option */
} m2s_json_source;

typedef enum m2s_json_kind {
    M2S_JSON_NULL,
    M2S_JSON_BOOL,
    M2S_JSON_INTEGER, /* within int64_t */
    M2S_JSON_REAL,    /* finite */
    M2S_JSON_STRING,
    M2S_JSON_ARRAY,
    M2S_JSON_OBJECT
} m2s_json_kind;

typedef enum m2s_json_need {
    M2S_JSON_OPTIONAL, /* an absent key leaves *value as it was */
    M2S_JSON_REQUIRED  /* an absent key is a fault */
} m2s_json_need;

/* ---- Reading ---- */

/* text is UTF-8, need not end with a zero, and must hold one object or array. Duplicate keys, NUL in strings, deep or
 * huge documents, integers beyond 64 bits and reals beyond double are faults; messages give line and column. */
m2snet_status m2s_json_parse(const m2s_json_source *source, const char *text, size_t bytes, m2s_json **json,
                             m2snet_error *error);
void m2s_json_free(m2s_json *root); /* NULL is fine */

m2s_json_kind m2s_json_kind_of(const m2s_json *json);
const char *m2s_json_kind_name(m2s_json_kind kind);               /* "an object", "a string", ... */
size_t m2s_json_count(const m2s_json *json);                      /* members or elements; 0 for other kinds */
m2s_json *m2s_json_find(const m2s_json *object, const char *key); /* NULL: no such key, or not an object */
m2s_json *m2s_json_at(const m2s_json *array, size_t index);       /* NULL: outside, or not an array */
const char *m2s_json_string(const m2s_json *json, size_t *bytes); /* NULL: not a string; bytes may be NULL */
bool m2s_json_integer(const m2s_json *json, int64_t *value);      /* false: not an integer */
bool m2s_json_number(const m2s_json *json, double *value);        /* integer or real */

/* Members in the document's order:
 *     m2s_json_cursor cursor = { 0 };
 *     while (m2s_json_next(object, &cursor)) use(cursor.key, cursor.value); */
typedef struct m2s_json_cursor {
    const char *key;
    size_t key_bytes;
    m2s_json *value;
    void *position;
} m2s_json_cursor;
bool m2s_json_next(const m2s_json *object, m2s_json_cursor *cursor);
/* The first key that is not in known, or NULL. */
const char *m2s_json_unknown_key(const m2s_json *object, const char *const *known, size_t count);

/* Members of an object, checked: low <= value <= high, and so on. On a fault *value is untouched. */
m2snet_status m2s_json_get_integer(const m2s_json_source *source, const m2s_json *object, const char *key,
                                   m2s_json_need need, int64_t low, int64_t high, int64_t *value, m2snet_error *error);
m2snet_status m2s_json_get_number(const m2s_json_source *source, const m2s_json *object, const char *key,
                                  m2s_json_need need, double low, double high, double *value, m2snet_error *error);
m2snet_status m2s_json_get_bool(const m2s_json_source *source, const m2s_json *object, const char *key,
                                m2s_json_need need, bool *value, m2snet_error *error);
/* Borrowed, ends with a zero. */
m2snet_status m2s_json_get_string(const m2s_json_source *source, const m2s_json *object, const char *key,
                                  m2s_json_need need, const char **value, m2snet_error *error);
/* One of count words; *index is its place. */
m2snet_status m2s_json_get_choice(const m2s_json_source *source, const m2s_json *object, const char *key,
                                  m2s_json_need need, const char *const *words, size_t count, size_t *index,
                                  m2snet_error *error);
/* Borrowed; an object or an array, as kind says. */
m2snet_status m2s_json_get_child(const m2s_json_source *source, const m2s_json *object, const char *key,
                                 m2s_json_need need, m2s_json_kind kind, m2s_json **value, m2snet_error *error);
/* An array of low_count..high_count integers or numbers within low..high; values has room for high_count. */
m2snet_status m2s_json_get_integers(const m2s_json_source *source, const m2s_json *object, const char *key,
                                    m2s_json_need need, size_t low_count, size_t high_count, int64_t low, int64_t high,
                                    int64_t *values, size_t *count, m2snet_error *error);
m2snet_status m2s_json_get_numbers(const m2s_json_source *source, const m2s_json *object, const char *key,
                                   m2s_json_need need, size_t low_count, size_t high_count, double low, double high,
                                   double *values, size_t *count, m2snet_error *error);

/* ---- Building ---- */

m2snet_status m2s_json_object(m2s_json **json, m2snet_error *error);
m2snet_status m2s_json_array(m2s_json **json, m2snet_error *error);

/* Put a value under key (container an object; a value that is there is replaced) or at the end (container an array;
 * key NULL). Text must be UTF-8 without NUL, numbers finite: INVALID_ARGUMENT otherwise. */
m2snet_status m2s_json_put_null(m2s_json *container, const char *key, m2snet_error *error);
m2snet_status m2s_json_put_bool(m2s_json *container, const char *key, bool value, m2snet_error *error);
m2snet_status m2s_json_put_integer(m2s_json *container, const char *key, int64_t value, m2snet_error *error);
m2snet_status m2s_json_put_number(m2s_json *container, const char *key, double value, m2snet_error *error);
m2snet_status m2s_json_put_string(m2s_json *container, const char *key, const char *value, m2snet_error *error);
/* A new empty object or array, borrowed. */
m2snet_status m2s_json_put_child(m2s_json *container, const char *key, m2s_json_kind kind, m2s_json **child,
                                 m2snet_error *error);
/* A deep copy of a value of any tree. */
m2snet_status m2s_json_put_copy(m2s_json *container, const char *key, const m2s_json *value, m2snet_error *error);
void m2s_json_remove(m2s_json *object, const char *key);

/* ---- Writing ---- */

typedef enum m2s_json_style {
    M2S_JSON_COMPACT = 0,
    M2S_JSON_INDENT = 1, /* two spaces, one member a line; arrays of numbers stay on one line */
    M2S_JSON_SORTED = 2  /* keys by byte value instead of in order of insertion */
} m2s_json_style;

/* UTF-8, zero at the end; reals in the fewest digits that read back equal. style is a sum of m2s_json_style.
 * Free *text with m2s_free. bytes (without the zero) may be NULL. */
m2snet_status m2s_json_write(m2s_memory *memory, const m2s_json *json, int style, char **text, size_t *bytes,
                             m2snet_error *error);

#endif
