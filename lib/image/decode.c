/* SPDX-License-Identifier: Apache-2.0 */
#include "image/decode.h"

#include <stdio.h>

#include "core/file.h"
#include "image/file_jpeg.h"
#include "image/file_png.h"

/* The largest pixel of a file is RGBA with 16 bits; the rest is room for metadata. */
#define FILE_PIXEL_BYTES   8u
#define FILE_EXTRA_BYTES   ((uint64_t)64 << 20)
#define SHOWN_BYTES        8u
#define SHOWN_BYTE_LETTERS 3u

static m2snet_status fail_unknown(const uint8_t *data, size_t size_bytes, m2snet_error *error)
{
    char shown[SHOWN_BYTES * SHOWN_BYTE_LETTERS + 1] = "";

    if (size_bytes == 0) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "neither PNG nor JPEG: it is empty");
    }
    for (size_t i = 0; i < size_bytes && i < SHOWN_BYTES; i++) {
        snprintf(shown + i * SHOWN_BYTE_LETTERS, SHOWN_BYTE_LETTERS + 1, " %02x", data[i]);
    }
    return m2s_fail(error, M2SNET_STATUS_FORMAT, "neither PNG nor JPEG: it begins with the bytes%s", shown);
}

m2snet_status m2s_image_decode(m2s_memory *memory, const void *data, size_t size_bytes,
                               const m2s_decode_options *options, m2s_control *control, m2s_bitmap *bitmap,
                               m2snet_error *error)
{
    *bitmap = (m2s_bitmap){ 0 };
    if (data == NULL) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "no picture to decode: the data pointer is NULL");
    }
    if (m2s_png_recognise(data, size_bytes)) {
        return m2s_png_decode(memory, data, size_bytes, options->max_pixels, options->apply_exif, control, bitmap,
                              error);
    }
    if (m2s_jpeg_recognise(data, size_bytes)) {
        return m2s_jpeg_decode(memory, data, size_bytes, options->max_pixels, options->apply_exif, control, bitmap,
                               error);
    }
    return fail_unknown(data, size_bytes, error);
}

m2snet_status m2s_image_read(m2s_memory *memory, const char *path, const m2s_decode_options *options,
                             m2s_control *control, m2s_bitmap *bitmap, m2snet_error *error)
{
    uint8_t *data = NULL;
    size_t size_bytes;
    uint64_t max_pixels = options->max_pixels < M2S_MAX_PIXELS ? options->max_pixels : M2S_MAX_PIXELS;

    *bitmap = (m2s_bitmap){ 0 };
    m2snet_status status = m2s_file_read(memory, path, max_pixels * FILE_PIXEL_BYTES + FILE_EXTRA_BYTES, control, &data,
                                         &size_bytes, error);
    if (status == M2SNET_STATUS_OK) {
        status = m2s_image_decode(memory, data, size_bytes, options, control, bitmap, error);
        if (status != M2SNET_STATUS_OK) {
            m2s_error_prefix(error, "'%s'", path);
        }
    }
    m2s_free(memory, data);
    return status;
}
