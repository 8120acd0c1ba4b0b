/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a list. Rows that are accepted, written again with every field quoted, must be read as they were. */
#include <stdlib.h>
#include <string.h>

#include "train/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *copy_of(const void *data, size_t size)
{
    char *copy = malloc(size + 1);

    if (copy == NULL) {
        abort();
    }
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

/* Everything quoted, at most twice the bytes and three more a field. */
static size_t write_field(char *to, const char *field, char separator)
{
    size_t used = 0;

    to[used++] = '"';
    for (; *field != '\0'; field++) {
        if (*field == '"') {
            to[used++] = '"';
        }
        to[used++] = *field;
    }
    to[used++] = '"';
    to[used++] = separator;
    return used;
}

/* The rows of text, quoted anew; NULL when it is refused. */
static char *rewrite(char *text, size_t size, size_t *written)
{
    const char *fields[M2S_CSV_MAX_FIELDS];
    char *out = malloc(5 * size + 16);
    m2snet_error error;
    m2s_csv csv;
    int32_t count;

    if (out == NULL) {
        abort();
    }
    *written = 0;
    m2snet_status status = m2s_csv_begin(&csv, "list", text, size, &error);
    while (status == M2SNET_STATUS_OK) {
        status = m2s_csv_row(&csv, fields, &count, &error);
        if (status != M2SNET_STATUS_OK || count == 0) {
            break;
        }
        for (int32_t i = 0; i < count; i++) {
            *written += write_field(out + *written, fields[i], i + 1 < count ? ',' : '\n');
        }
    }
    if (status != M2SNET_STATUS_OK) {
        free(out);
        return NULL;
    }
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t once_bytes, twice_bytes;
    char *text = copy_of(data, size);
    char *once = rewrite(text, size, &once_bytes);

    free(text);
    if (once != NULL) {
        text = copy_of(once, once_bytes);
        char *twice = rewrite(text, once_bytes, &twice_bytes);
        if (twice == NULL || twice_bytes != once_bytes || memcmp(once, twice, once_bytes) != 0) {
            abort();
        }
        free(text);
        free(twice);
        free(once);
    }
    return 0;
}
