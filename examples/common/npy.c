/* SPDX-License-Identifier: Apache-2.0 */
#include "npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "paths.h"

#define MAGIC       "\x93NUMPY"
#define MAGIC_BYTES 6

bool npy_size(const npy_array *array, size_t *size_bytes)
{
    size_t size = array->item_bytes;

    for (int i = 0; i < array->rank; i++) {
        if (__builtin_mul_overflow(size, (size_t)array->dims[i], &size)) {
            return false;
        }
    }
    *size_bytes = size;
    return size <= PTRDIFF_MAX;
}

static const char *skip_spaces(const char *text)
{
    return text + strspn(text, " \t\n");
}

/* Takes a token and the spaces around it; NULL, like its input, when something else is there. */
static const char *take(const char *text, const char *token)
{
    size_t length = strlen(token);

    if (text == NULL) {
        return NULL;
    }
    text = skip_spaces(text);
    return strncmp(text, token, length) == 0 ? skip_spaces(text + length) : NULL;
}

static const char *take_shape(const char *text, npy_array *array)
{
    text = take(text, "(");
    array->rank = 0;
    while (text != NULL && *text != ')') {
        int64_t value = 0;
        const char *digits = text;

        while (*text >= '0' && *text <= '9') {
            if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *text - '0', &value)) {
                return NULL;
            }
            text++;
        }
        if (text == digits || array->rank == NPY_MAX_RANK) {
            return NULL;
        }
        array->dims[array->rank++] = value;
        text = skip_spaces(text);
        if (*text != ')') {
            text = take(text, ",");
        }
    }
    return take(text, ")");
}

/* The header is a Python dictionary of three keys in any order. */
static const char *parse_header(const char *text, npy_array *array)
{
    bool has_type = false;
    bool has_order = false;
    bool has_shape = false;

    text = take(text, "{");
    while (text != NULL && *text != '}') {
        const char *value;

        if ((value = take(take(text, "'descr'"), ":")) != NULL && !has_type) {
            array->item_bytes = take(value, "'<f8'") != NULL ? 8 : 4;
            text = take(value, array->item_bytes == 8 ? "'<f8'" : "'<f4'");
            if (text == NULL) {
                return "expected '<f4' or '<f8' (little-endian float32 or float64) numbers";
            }
            has_type = true;
        } else if ((value = take(take(text, "'fortran_order'"), ":")) != NULL && !has_order) {
            text = take(value, "False");
            if (text == NULL) {
                return "expected C order, got Fortran order: save numpy.ascontiguousarray(a)";
            }
            has_order = true;
        } else if ((value = take(take(text, "'shape'"), ":")) != NULL && !has_shape) {
            text = take_shape(value, array);
            if (text == NULL) {
                return "the shape cannot be read";
            }
            has_shape = true;
        } else {
            return "the header cannot be read";
        }
        if (*text != '}') {
            text = take(text, ",");
        }
    }
    text = take(text, "}");
    if (text == NULL || *text != '\0' || !has_type || !has_order || !has_shape) {
        return "the header cannot be read";
    }
    return NULL;
}

bool npy_read(const char *path, npy_array *array)
{
    size_t file_bytes = 0;
    size_t header_at = 10;
    size_t header_bytes = 0;
    size_t data_bytes;
    const char *problem = NULL;
    char *header;
    unsigned char *file = read_whole_file(path, &file_bytes);

    *array = (npy_array){ 0 };
    if (file == NULL) {
        return false;
    }
    if (file_bytes < 12 || memcmp(file, MAGIC, MAGIC_BYTES) != 0) {
        complain("%s: not a .npy file", path);
        goto fail;
    }
    if ((file[6] != 1 && file[6] != 2) || file[7] != 0) {
        complain("%s: expected .npy version 1.0 or 2.0, got %d.%d", path, file[6], file[7]);
        goto fail;
    }
    header_bytes = (size_t)file[8] | (size_t)file[9] << 8;
    if (file[6] == 2) {
        header_bytes |= (size_t)file[10] << 16 | (size_t)file[11] << 24;
        header_at = 12;
    }
    if (header_bytes > file_bytes - header_at) {
        complain("%s: the file ends inside its header", path);
        goto fail;
    }
    header = must_alloc(header_bytes + 1);
    memcpy(header, file + header_at, header_bytes);
    header[header_bytes] = '\0';
    problem = parse_header(header, array);
    free(header);
    if (problem != NULL) {
        complain("%s: %s", path, problem);
        goto fail;
    }
    if (!npy_size(array, &data_bytes) || data_bytes != file_bytes - header_at - header_bytes) {
        complain("%s: the shape and the %zu bytes of data do not fit each other", path,
                 file_bytes - header_at - header_bytes);
        goto fail;
    }
    memmove(file, file + header_at + header_bytes, data_bytes); /* to the start, for its alignment */
    array->data = file;
    return true;

fail:
    free(file);
    return false;
}

bool npy_write(const char *path, const npy_array *array)
{
    char head[512] = MAGIC "\x01";
    size_t data_bytes;
    size_t length = 10;

    if (!npy_size(array, &data_bytes)) {
        complain("%s: the array is too large", path);
        return false;
    }
    length += (size_t)snprintf(head + length, sizeof(head) - length,
                               "{'descr': '<f%zu', 'fortran_order': False, 'shape': (", array->item_bytes);
    for (int i = 0; i < array->rank; i++) {
        length += (size_t)snprintf(head + length, sizeof(head) - length, "%lld%s", (long long)array->dims[i],
                                   i + 1 < array->rank ? ", "
                                   : array->rank == 1  ? ","
                                                       : "");
    }
    length += (size_t)snprintf(head + length, sizeof(head) - length, "), }");
    while (length % 64 != 63) {
        head[length++] = ' ';
    }
    head[length++] = '\n';
    head[8] = (char)((length - 10) & 0xff);
    head[9] = (char)((length - 10) >> 8);
    return write_whole_file(path, head, length, array->data, data_bytes);
}
