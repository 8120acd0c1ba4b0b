/* SPDX-License-Identifier: Apache-2.0
 * Comma-separated lists after RFC 4180: fields may be quoted, "" stands for a quote inside, quoted fields may hold
 * commas and line ends; lines end with LF or CR LF. A byte order mark in front and empty lines are passed over. */
#ifndef M2S_TRAIN_CSV_H
#define M2S_TRAIN_CSV_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

#define M2S_CSV_MAX_FIELDS 256

typedef struct m2s_csv {
    const char *name; /* for messages; borrowed */
    char *at, *end;
    int64_t line;     /* where the next row begins, from 1 */
    int64_t row_line; /* where the last row began */
} m2s_csv;

/* text is read and changed in place: `bytes` bytes and one more, which may be written. FORMAT unless it is UTF-8
 * without zero bytes. */
m2snet_status m2s_csv_begin(m2s_csv *csv, const char *name, char *text, size_t bytes, m2snet_error *error);

/* The next row's fields, zero-terminated inside text; *count 0 = there is none. FORMAT, with the line: a quote inside
 * an unquoted field, text after a closing quote, a quote that is never closed, more than M2S_CSV_MAX_FIELDS fields. */
m2snet_status m2s_csv_row(m2s_csv *csv, const char *fields[M2S_CSV_MAX_FIELDS], int32_t *count, m2snet_error *error);

#endif
