/* SPDX-License-Identifier: Apache-2.0
 * Data sets from lists. */
#include <inttypes.h>
#include <string.h>

#include "core/file.h"
#include "core/quote.h"
#include "train/csv.h"
#include "train/dataset.h"
#include "train/dataset_names.h"

#define MAX_LIST_BYTES ((uint64_t)256 << 20)

typedef struct columns {
    int32_t image, mask, split, group; /* -1 = there is none */
    int32_t count;
} columns;

static m2snet_status find_column(const m2s_csv *csv, const char *const *fields, int32_t count, const char *name,
                                 int32_t *column, m2snet_error *error)
{
    *column = -1;
    for (int32_t i = 0; i < count; i++) {
        if (m2s_name_same(fields[i], name)) {
            if (*column >= 0) {
                return m2s_fail(error, M2SNET_STATUS_FORMAT, "'%s': column \"%s\" is there twice", csv->name, name);
            }
            *column = i;
        }
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status read_header(m2s_csv *csv, const m2snet_source_options *o, const char **fields, columns *c,
                                 m2snet_error *error)
{
    static const char *const groups[] = { "group", "patient", "sequence" };
    m2snet_status status;

    M2S_TRY(m2s_csv_row(csv, fields, &c->count, error));
    if (c->count == 0) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "'%s': empty, expected a header with the columns image and mask",
                        csv->name);
    }
    M2S_TRY(find_column(csv, fields, c->count, "image", &c->image, error));
    M2S_TRY(find_column(csv, fields, c->count, "mask", &c->mask, error));
    if (c->image < 0 || c->mask < 0) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "'%s', line %" PRId64 ": the header has no column \"%s\"",
                        csv->name, csv->row_line, c->image < 0 ? "image" : "mask");
    }
    M2S_TRY(find_column(csv, fields, c->count, "split", &c->split, error));
    if (o->group_column != NULL) {
        M2S_TRY(find_column(csv, fields, c->count, o->group_column, &c->group, error));
        if (c->group < 0) {
            return m2s_fail(error, M2SNET_STATUS_FORMAT, "'%s': the header has no column %s", csv->name,
                            m2s_quote(o->group_column, strlen(o->group_column)).text);
        }
        return M2SNET_STATUS_OK;
    }
    c->group = -1;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0] && c->group < 0; i++) {
        M2S_TRY(find_column(csv, fields, c->count, groups[i], &c->group, error));
    }
fail:
    return status;
}

/* Joins, or fails for want of memory. */
static m2snet_status resolve(m2s_pile *pile, const char *folder, const char *field, const char **path,
                             m2snet_error *error)
{
    *path = m2s_name_join(pile, folder, field);
    return *path != NULL ? M2SNET_STATUS_OK : m2s_fail_memory(error, "a path", strlen(folder) + strlen(field) + 2);
}

static m2snet_status add_row(m2snet_dataset *d, const m2s_csv *csv, const columns *c, const char *const *fields,
                             const char *folder, const m2snet_source_options *o, m2s_pile *pile, m2snet_error *error)
{
    m2s_sample sample = { .split = c->split >= 0 ? fields[c->split] : NULL };
    size_t length;
    m2snet_status status;

    if (fields[c->image][0] == '\0') {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "'%s', line %" PRId64 ": the image is empty", csv->name,
                        csv->row_line);
    }
    M2S_TRY(resolve(pile, folder, fields[c->image], &sample.image_path, error));
    const char *name = m2s_name_of_path(fields[c->image], &length);
    sample.name = m2s_pile_printf(pile, "%.*s", (int)length, name);
    sample.group = c->group >= 0 && fields[c->group][0] != '\0' ? fields[c->group]
                   : sample.name != NULL                        ? m2s_name_group(pile, sample.name, o->group_separator)
                                                                : NULL;
    if (sample.name == NULL || sample.group == NULL) {
        return m2s_fail_memory(error, "a name", length + 1);
    }
    if (fields[c->mask][0] != '\0') {
        M2S_TRY(resolve(pile, folder, fields[c->mask], &sample.mask_path, error));
    } else if (o->missing == M2SNET_MISSING_REFUSE) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                        "'%s', line %" PRId64 ": the mask is empty, and the options do not allow it", csv->name,
                        csv->row_line);
    } else if (o->missing == M2SNET_MISSING_SKIP) {
        return m2s_finding_add(d, &d->noticed, d->names, M2SNET_FINDING_NO_MASK, -1, sample.image_path, error,
                               "the list names no mask for it");
    }
    M2S_TRY(m2s_dataset_add_sample(d, &sample, error));
fail:
    return status;
}

m2snet_status m2s_dataset_add_csv(m2snet_dataset *d, const char *path, const m2snet_source_options *o,
                                  m2snet_error *error)
{
    m2s_memory *memory = &d->context->memory;
    m2s_dataset_mark mark;
    const char *fields[M2S_CSV_MAX_FIELDS];
    uint8_t *text = NULL;
    m2s_pile *pile = NULL;
    size_t bytes, length;
    columns c;
    m2s_csv csv;
    int32_t count;
    m2snet_status status;

    M2S_TRY(m2s_file_read(memory, path, MAX_LIST_BYTES, NULL, &text, &bytes, error));
    M2S_TRY(m2s_csv_begin(&csv, path, (char *)text, bytes, error));
    M2S_TRY(read_header(&csv, o, fields, &c, error));
    pile = m2s_pile_create(memory);
    const char *file = m2s_name_of_path(path, &length);
    char *folder = pile != NULL ? m2s_pile_printf(pile, "%.*s", (int)(file - path), path) : NULL;
    if (folder == NULL) {
        status = m2s_fail_memory(error, "a list's folder", strlen(path) + 1);
        goto fail;
    }
    M2S_TRY(m2s_dataset_begin_source(d, o->name != NULL ? o->name : path, o->weight, &mark, error));
    for (;;) {
        status = m2s_csv_row(&csv, fields, &count, error);
        if (status != M2SNET_STATUS_OK || count == 0) {
            break;
        }
        if (count != c.count) {
            status = m2s_fail(error, M2SNET_STATUS_FORMAT, "'%s', line %" PRId64 ": %d fields, the header has %d", path,
                              csv.row_line, count, c.count);
            break;
        }
        status = add_row(d, &csv, &c, fields, folder, o, pile, error);
        if (status != M2SNET_STATUS_OK) {
            break;
        }
    }
    if (status == M2SNET_STATUS_OK && d->count == mark.samples && d->noticed.count == mark.findings) {
        status = m2s_fail(error, M2SNET_STATUS_FORMAT, "'%s': no row follows the header", path);
    }
    if (status != M2SNET_STATUS_OK) {
        m2s_dataset_undo(d, &mark);
    }
fail:
    m2s_pile_destroy(pile);
    m2s_free(memory, text);
    return status;
}
