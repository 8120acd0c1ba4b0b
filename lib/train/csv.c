/* SPDX-License-Identifier: Apache-2.0 */
#include "train/csv.h"

#include <inttypes.h>
#include <string.h>

#include "core/quote.h"

m2snet_status m2s_csv_begin(m2s_csv *csv, const char *name, char *text, size_t bytes, m2snet_error *error)
{
    if (memchr(text, '\0', bytes) != NULL || !m2s_is_utf8(text, bytes)) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "'%s': not a list: it is not UTF-8 text", name);
    }
    size_t mark = bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    *csv = (m2s_csv){ .name = name, .at = text + mark, .end = text + bytes, .line = 1, .row_line = 1 };
    return M2SNET_STATUS_OK;
}

static m2snet_status fail_at(const m2s_csv *csv, m2snet_error *error, const char *what)
{
    return m2s_fail(error, M2SNET_STATUS_FORMAT, "'%s', line %" PRId64 ": %s", csv->name, csv->line, what);
}

/* Length of the line end at p: 0 = there is none. */
static size_t line_end(const m2s_csv *csv, const char *p)
{
    if (p < csv->end && *p == '\n') {
        return 1;
    }
    return csv->end - p >= 2 && p[0] == '\r' && p[1] == '\n' ? 2 : 0;
}

static bool is_field_end(const m2s_csv *csv, const char *p)
{
    return p == csv->end || *p == ',' || line_end(csv, p) > 0;
}

/* Moves a quoted field's characters to its beginning. Leaves csv->at behind the closing quote. */
static m2snet_status read_quoted(m2s_csv *csv, const char **field, char **field_end, m2snet_error *error)
{
    char *to = csv->at;
    char *from = csv->at + 1;
    int64_t lines = 0;

    *field = to;
    for (;; from++) {
        if (from == csv->end) {
            return fail_at(csv, error, "a quote is not closed");
        }
        if (*from == '"') {
            if (from + 1 == csv->end || from[1] != '"') {
                break;
            }
            from++;
        }
        lines += *from == '\n';
        *to++ = *from;
    }
    csv->line += lines;
    csv->at = from + 1;
    *field_end = to;
    return is_field_end(csv, csv->at) ? M2SNET_STATUS_OK : fail_at(csv, error, "text follows a closing quote");
}

static m2snet_status read_plain(m2s_csv *csv, const char **field, char **field_end, m2snet_error *error)
{
    *field = csv->at;
    while (!is_field_end(csv, csv->at)) {
        if (*csv->at == '"') {
            return fail_at(csv, error, "a quote inside a field that does not begin with one");
        }
        csv->at++;
    }
    *field_end = csv->at;
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_csv_row(m2s_csv *csv, const char *fields[M2S_CSV_MAX_FIELDS], int32_t *count, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;
    bool more = true;

    *count = 0;
    for (size_t skip; (skip = line_end(csv, csv->at)) > 0; csv->at += skip) {
        csv->line++;
    }
    csv->row_line = csv->line;
    if (csv->at == csv->end) {
        return M2SNET_STATUS_OK;
    }
    while (more) {
        char *field_end = csv->at;
        if (*count == M2S_CSV_MAX_FIELDS) {
            return fail_at(csv, error, "more than 256 fields");
        }
        if (csv->at < csv->end && *csv->at == '"') {
            M2S_TRY(read_quoted(csv, &fields[*count], &field_end, error));
        } else {
            M2S_TRY(read_plain(csv, &fields[*count], &field_end, error));
        }
        ++*count;
        size_t skip = line_end(csv, csv->at);
        more = csv->at < csv->end && skip == 0;
        csv->line += skip > 0;
        csv->at += more ? 1 : (ptrdiff_t)skip;
        *field_end = '\0'; /* perhaps over the separator, which has been read */
    }
fail:
    return status;
}
